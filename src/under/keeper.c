/* Reads begin and end while llama.cpp computes, which knows nothing of them. */
#include <time.h>

#include "base/error.h"
#include "base/thread.h"
#include "under/under.h"

enum { PAUSE_NS = 100000, STACK_BYTES = 256 << 10 };

static void *keep(void *user)
{
    umbra_under *u = user;
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    pthread_mutex_lock(&u->mutex);
    while (!u->stop) {
        if (u->computing == 0) {
            pthread_cond_wait(&u->changed, &u->mutex);
            continue;
        }
        /* What fails is told to the batch that needs it. */
        (void)umbra_store_poll(u->store, NULL);
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
