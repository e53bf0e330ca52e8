/* A barrier, and memory that all see. */
#include "ranks.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct group {
    pthread_barrier_t barrier;
    int count;
    void *data[TEST_RANKS];
    umbra_error error[TEST_RANKS];
    int status[TEST_RANKS];
    pthread_mutex_t mutex; /* of bring */
    pthread_cond_t changed;
    void *brought[TEST_RANKS]; /* what a rank has for rank 0; NULL: nothing, or taken */
} group;

typedef struct member {
    group *group;
    umbra_ranks ranks;
    void (*body)(const umbra_ranks *ranks, void *user);
    void *user;
} member;

static void meet(member *m)
{
    pthread_barrier_wait(&m->group->barrier);
}

static int gather(void *user, float *data, const int *first, const int *n, umbra_error *err)
{
    (void)err;
    member *m = user;
    m->group->data[m->ranks.rank] = data;
    meet(m);
    for (int r = 0; r < m->group->count; r++)
        if (r != m->ranks.rank)
            memcpy(data + first[r], (const float *)m->group->data[r] + first[r],
                   (size_t)n[r] * sizeof *data);
    meet(m);
    return UMBRA_OK;
}

static int share(void *user, void *data, uint64_t bytes, umbra_error *err)
{
    (void)err;
    member *m = user;
    m->group->data[m->ranks.rank] = data;
    meet(m);
    if (m->ranks.rank != 0)
        memcpy(data, m->group->data[0], bytes);
    meet(m);
    return UMBRA_OK;
}

static int agree(void *user, int status, umbra_error *err)
{
    member *m = user;
    group *g = m->group;
    g->status[m->ranks.rank] = status;
    g->error[m->ranks.rank] = status == UMBRA_OK ? (umbra_error){0} : *err;
    meet(m);
    int failed = umbra_ranks_failure(g->status, g->count);
    int result = failed < 0 ? UMBRA_OK : g->status[failed];
    if (failed >= 0 && err)
        *err = g->error[failed];
    meet(m);
    return result;
}

/* The one who comes first waits until the other has been there. */
static int bring(void *user, int from, void *data, uint64_t bytes, umbra_error *err)
{
    (void)err;
    member *m = user;
    group *g = m->group;
    pthread_mutex_lock(&g->mutex);
    if (m->ranks.rank == from) {
        g->brought[from] = data;
        pthread_cond_broadcast(&g->changed);
        while (g->brought[from])
            pthread_cond_wait(&g->changed, &g->mutex);
    } else {
        while (!g->brought[from])
            pthread_cond_wait(&g->changed, &g->mutex);
        memcpy(data, g->brought[from], bytes);
        g->brought[from] = NULL;
        pthread_cond_broadcast(&g->changed);
    }
    pthread_mutex_unlock(&g->mutex);
    return UMBRA_OK;
}

static void *start(void *user)
{
    member *m = user;
    m->body(&m->ranks, m->user);
    return NULL;
}

void test_with_ranks(int count, const uint64_t *uses,
                     void (*body)(const umbra_ranks *ranks, void *user), void *user)
{
    group g = {
        .count = count, .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    member members[TEST_RANKS];
    pthread_t threads[TEST_RANKS];
    pthread_barrier_init(&g.barrier, NULL, (unsigned)count);
    for (int r = 0; r < count; r++) {
        members[r] = (member){.group = &g, .body = body, .user = user};
        members[r].ranks = (umbra_ranks){.rank = r,
                                         .count = count,
                                         .gather = gather,
                                         .share = share,
                                         .agree = agree,
                                         .bring = bring,
                                         .user = &members[r],
                                         .uses = uses};
        if (pthread_create(&threads[r], NULL, start, &members[r]) != 0) {
            fputs("a rank's thread could not be started\n", stderr);
            abort();
        }
    }
    for (int r = 0; r < count; r++)
        pthread_join(threads[r], NULL);
    pthread_barrier_destroy(&g.barrier);
}
