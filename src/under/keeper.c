/* Reads begin and end while llama.cpp computes, which knows nothing of them. */
#include <math.h>
#include <time.h>

#include "base/error.h"
#include "base/thread.h"
#include "under/under.h"

enum {
    STACK_BYTES = 256 << 10,
    /* Each look may take a processor from who computes, and all who compute wait for one another.
     */
    LOOKS = 16, /* at the reads, while a layer is computed */
    LEAST_PAUSE_NS = 150000,
    MOST_PAUSE_NS = 1000000,
};

/* Called with the mutex held. */
static struct timespec pause_of(const umbra_under *u)
{
    double ns = fmin(fmax(u->layer_ns / LOOKS, LEAST_PAUSE_NS), MOST_PAUSE_NS);
    return (struct timespec){.tv_nsec = (long)ns};
}

static void *keep(void *user)
{
    umbra_under *u = user;
    pthread_mutex_lock(&u->mutex);
    while (!u->stop) {
        if (u->kept == 0) {
            pthread_cond_wait(&u->changed, &u->mutex);
            continue;
        }
        /* What fails is told to the batch that needs it. */
        (void)umbra_store_poll(u->store, NULL);
        const struct timespec pause = pause_of(u);
        pthread_mutex_unlock(&u->mutex);
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&u->mutex);
    }
    pthread_mutex_unlock(&u->mutex);
    return NULL;
}

int umbra_under_keep(umbra_under *u, umbra_error *err)
{
    int code = umbra_thread_start(&u->keeper, keep, u, STACK_BYTES);
    if (code != 0)
        return umbra_fail(err, UMBRA_E_SYSTEM, "cannot start a thread (errno %d)", code);
    u->has_keeper = true;
    return UMBRA_OK;
}

void umbra_under_stop_keeping(umbra_under *u)
{
    if (!u->has_keeper)
        return;
    pthread_mutex_lock(&u->mutex);
    u->stop = true;
    pthread_cond_broadcast(&u->changed);
    pthread_mutex_unlock(&u->mutex);
    pthread_join(u->keeper, NULL);
    u->has_keeper = false;
}
