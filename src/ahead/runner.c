/* The shadow runner: takes states in as jobs, and foretells to the store what comes of them. */
#include "ahead/runner.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

enum { D = UMBRA_MAX_DISTANCE, NONE = 0xffff, STACK_BYTES = 256 << 10, ABSORB_AT_MOST = 64 };

struct umbra_runner {
    umbra_store *store;
    umbra_policy policy;
    int layers, hidden, experts, used;
    int *rank;    /* (L) layers with experts up to this one, it included */
    bool *sparse; /* (L) */

    /* The calling thread's: routing (L, k) of this token and of the two before. */
    uint16_t *now, *previous, *previous2;
    int known; /* tokens of this text before this one, at most 2 */
    uint32_t text;
    const uint16_t *oracle; /* (oracle_tokens, L, k) */
    int oracle_tokens, oracle_next;

    pthread_mutex_t mutex; /* guards the queue and the statistics */
    pthread_cond_t queued;
    umbra_job jobs[UMBRA_RUNNER_JOBS + 1];
    int queue[UMBRA_RUNNER_JOBS], queue_first, queue_n; /* places in jobs, oldest first */
    int idle[UMBRA_RUNNER_JOBS + 1], idle_n;
    bool quit;
    umbra_runner_stats stats;

    pthread_mutex_t work; /* held by who predicts; guards the foresight */
    umbra_foresight foresight;
    pthread_t thread;
    bool has_thread;
};

const char *umbra_policy_name(umbra_policy policy)
{
    static const char *const names[] = {
        [UMBRA_POLICY_OFF] = "off",       [UMBRA_POLICY_PREVIOUS] = "previous",
        [UMBRA_POLICY_GATE] = "gate",     [UMBRA_POLICY_SHADOW] = "shadow",
        [UMBRA_POLICY_ORACLE] = "oracle",
    };
    return (size_t)policy < sizeof names / sizeof names[0] ? names[policy] : NULL;
}

/* ---- predicting ---- */

static void foretell(umbra_runner *r, const umbra_job *job)
{
    int base = job->source > 0 ? r->rank[job->source - 1] : 0;
    for (int d = 1; d <= D && job->source + d <= r->layers; d++) {
        int layer = umbra_shadow_target(job->source, d);
        if (r->sparse[layer])
            umbra_store_foretell(r->store, layer, d, job->clock + (uint64_t)(r->rank[layer] - base),
                                 r->foresight.probability + (size_t)(d - 1) * (size_t)r->experts);
    }
}

/* The oldest job, or -1. Called with the mutex held. */
static int take_job(umbra_runner *r)
{
    if (r->queue_n == 0)
        return -1;
    int place = r->queue[r->queue_first];
    r->queue_first = (r->queue_first + 1) % UMBRA_RUNNER_JOBS;
    r->queue_n--;
    return place;
}

int umbra_runner_work(umbra_runner *r)
{
    int done = 0;
    pthread_mutex_lock(&r->work);
    pthread_mutex_lock(&r->mutex);
    for (int place; (place = take_job(r)) >= 0; done++) {
        pthread_mutex_unlock(&r->mutex);
        uint64_t start_ns = umbra_clock_ns();
        if (umbra_foresight_predict(&r->foresight, &r->jobs[place]))
            foretell(r, &r->jobs[place]);
        uint64_t took_ns = umbra_clock_ns() - start_ns;
        pthread_mutex_lock(&r->mutex);
        r->idle[r->idle_n++] = place;
        r->stats.predictions++;
        r->stats.predict_ns += took_ns;
    }
    pthread_mutex_unlock(&r->mutex);
    pthread_mutex_unlock(&r->work);
    return done;
}

static void *thread_main(void *argument)
{
    umbra_runner *r = argument;
    for (;;) {
        pthread_mutex_lock(&r->mutex);
        while (r->queue_n == 0 && !r->quit)
            pthread_cond_wait(&r->queued, &r->mutex);
        bool quit = r->quit;
        pthread_mutex_unlock(&r->mutex);
        if (quit)
            return NULL;
        umbra_runner_work(r);
    }
}

/* ---- submitting ---- */

static size_t row_of(const umbra_runner *r, int layer)
{
    return (size_t)layer * (size_t)r->used;
}

static void fill_job(const umbra_runner *r, umbra_job *job, int source, const float *state)
{
    size_t row_bytes = (size_t)r->used * sizeof *r->now;
    job->source = source;
    job->clock = umbra_store_clock(r->store);
    job->text = r->text;
    job->has_previous = r->known >= 1;
    job->has_previous2 = r->known >= 2;
    job->truth = r->oracle_next < r->oracle_tokens
                     ? r->oracle + (size_t)r->oracle_next * row_of(r, r->layers)
                     : NULL;
    if (r->foresight.fast)
        memcpy(job->state, state, (size_t)r->hidden * sizeof *state);
    if (source > 0)
        memcpy(job->now + row_of(r, source - 1), r->now + row_of(r, source - 1), row_bytes);
    for (int d = 1; d <= D && source + d <= r->layers; d++) {
        size_t row = row_of(r, umbra_shadow_target(source, d));
        memcpy(job->previous + row, r->previous + row, row_bytes);
        memcpy(job->previous2 + row, r->previous2 + row, row_bytes);
    }
}

static void submit(umbra_runner *r, int source, const float *state)
{
    if (!umbra_foresight_has(&r->foresight, source))
        return;
    pthread_mutex_lock(&r->mutex);
    if (r->queue_n == UMBRA_RUNNER_JOBS) {
        r->idle[r->idle_n++] = take_job(r);
        r->stats.dropped++;
    }
    int place = r->idle[--r->idle_n];
    pthread_mutex_unlock(&r->mutex);
    fill_job(r, &r->jobs[place], source, state);
    pthread_mutex_lock(&r->mutex);
    r->queue[(r->queue_first + r->queue_n++) % UMBRA_RUNNER_JOBS] = place;
    pthread_cond_signal(&r->queued);
    pthread_mutex_unlock(&r->mutex);
}

static void note_routing(umbra_runner *r, uint16_t *table, int layer, const int32_t *experts)
{
    for (int i = 0; i < r->used; i++)
        table[row_of(r, layer) + (size_t)i] = (uint16_t)experts[i];
}

static void learn(umbra_runner *r, int layer)
{
    /* Who predicts at this moment is not waited for: there will be other layers to learn from. */
    if (r->foresight.ranks.n == 0 || pthread_mutex_trylock(&r->work) != 0)
        return;
    umbra_foresight_learn(&r->foresight, layer, r->now + row_of(r, layer));
    pthread_mutex_unlock(&r->work);
}

void umbra_runner_enter(umbra_runner *r, const float *embedding)
{
    submit(r, 0, embedding);
}

void umbra_runner_routed(umbra_runner *r, int layer, const float *hidden, const int32_t *experts)
{
    note_routing(r, r->now, layer, experts);
    learn(r, layer);
    submit(r, layer + 1, hidden);
}

void umbra_runner_note(umbra_runner *r, int layer, const int32_t *experts)
{
    note_routing(r, r->now, layer, experts);
}

void umbra_runner_leave(umbra_runner *r)
{
    uint16_t *oldest = r->previous2;
    r->previous2 = r->previous;
    r->previous = r->now;
    r->now = oldest;
    r->known += r->known < 2;
    r->oracle_next += r->oracle_next < r->oracle_tokens;
}

void umbra_runner_restart(umbra_runner *r)
{
    r->known = 0;
    r->text++;
}

void umbra_runner_absorb(umbra_runner *r, int layer, int n, const float *hidden,
                         const int32_t *experts)
{
    int skipped =
        n > ABSORB_AT_MOST ? n - ABSORB_AT_MOST : 0; /* what the averages have forgotten */
    if (umbra_foresight_has(&r->foresight, layer + 1)) {
        pthread_mutex_lock(&r->work);
        umbra_foresight_absorb(&r->foresight, layer + 1, r->text, n - skipped,
                               hidden + (size_t)skipped * (size_t)r->hidden);
        pthread_mutex_unlock(&r->work);
    }
    if (!experts)
        return;
    /* The last two tokens become those before the next one. */
    if (n > 1)
        note_routing(r, r->previous2, layer, experts + (size_t)(n - 2) * (size_t)r->used);
    else if (r->known >= 1)
        memcpy(r->previous2 + row_of(r, layer), r->previous + row_of(r, layer),
               (size_t)r->used * sizeof *r->previous);
    note_routing(r, r->previous, layer, experts + (size_t)(n - 1) * (size_t)r->used);
    if (r->rank[layer] == r->rank[r->layers - 1])
        r->known = r->known + n < 2 ? r->known + n : 2;
}

/* States that wait would look into the routing that is replaced, so they go. */
void umbra_runner_set_oracle(umbra_runner *r, const uint16_t *routing, int tokens)
{
    pthread_mutex_lock(&r->work);
    pthread_mutex_lock(&r->mutex);
    while (r->policy == UMBRA_POLICY_ORACLE && r->queue_n > 0) {
        r->idle[r->idle_n++] = take_job(r);
        r->stats.dropped++;
    }
    pthread_mutex_unlock(&r->mutex);
    pthread_mutex_unlock(&r->work);
    r->oracle = routing;
    r->oracle_tokens = routing ? tokens : 0;
    r->oracle_next = 0;
}

void umbra_runner_get_stats(const umbra_runner *runner, umbra_runner_stats *out)
{
    umbra_runner *r = (umbra_runner *)runner; /* only the lock is changed */
    pthread_mutex_lock(&r->mutex);
    *out = r->stats;
    pthread_mutex_unlock(&r->mutex);
}

/* ---- opening ---- */

static int check_options(const umbra_runner_options *o, umbra_error *err)
{
    if (!umbra_policy_name(o->policy) || o->layers < 1 || o->hidden < 1 || o->experts < 1 ||
        o->experts >= NONE || o->used < 1 || o->used > o->experts)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "a shadow runner for %d layers of %d experts, %d used, hidden %d: out of "
                          "range",
                          o->layers, o->experts, o->used, o->hidden);
    if (o->every < 0 || o->every > D)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "predictions at every %d-th layer: must be 1 to %d", o->every, (int)D);
    return UMBRA_OK;
}

static int open_tables(umbra_runner *r, const umbra_runner_options *o, umbra_error *err)
{
    size_t layers = (size_t)o->layers, table = layers * (size_t)o->used;
    r->rank = umbra_calloc(layers, sizeof *r->rank);
    r->sparse = umbra_calloc(layers, sizeof *r->sparse);
    r->now = umbra_calloc(table, sizeof *r->now);
    r->previous = umbra_calloc(table, sizeof *r->now);
    r->previous2 = umbra_calloc(table, sizeof *r->now);
    bool ok = r->rank && r->sparse && r->now && r->previous && r->previous2;
    for (int i = 0; i <= UMBRA_RUNNER_JOBS; i++) {
        umbra_job *job = &r->jobs[i];
        job->state = umbra_calloc((size_t)o->hidden, sizeof *job->state);
        job->now = umbra_calloc(table, sizeof *job->now);
        job->previous = umbra_calloc(table, sizeof *job->now);
        job->previous2 = umbra_calloc(table, sizeof *job->now);
        ok = ok && job->state && job->now && job->previous && job->previous2;
        r->idle[r->idle_n++] = i;
    }
    if (!ok)
        return umbra_fail_nomem(err, "the shadow runner's queue", 0);
    memset(r->now, 0xff, table * sizeof *r->now);
    memset(r->previous, 0xff, table * sizeof *r->now);
    memset(r->previous2, 0xff, table * sizeof *r->now);
    for (int l = 0; l < o->layers; l++) {
        r->sparse[l] = !o->sparse || o->sparse[l];
        r->rank[l] = (l > 0 ? r->rank[l - 1] : 0) + r->sparse[l];
    }
    return UMBRA_OK;
}

static int start_thread(umbra_runner *r, umbra_error *err)
{
    int rc = umbra_thread_start(&r->thread, thread_main, r, STACK_BYTES);
    r->has_thread = rc == 0;
    return rc == 0 ? UMBRA_OK
                   : umbra_fail(err, UMBRA_E_SYSTEM, "cannot start the shadow's thread: %s",
                                strerror(rc));
}

int umbra_runner_bytes(const umbra_runner_options *o, uint64_t *out, umbra_error *err)
{
    *out = 0;
    int rc = check_options(o, err);
    if (rc == UMBRA_OK)
        rc = umbra_foresight_plan(o, out, err);
    if (rc != UMBRA_OK)
        return rc;
    uint64_t table = (uint64_t)o->layers * (uint64_t)o->used * sizeof(uint16_t);
    *out += (UMBRA_RUNNER_JOBS + 1) * ((uint64_t)o->hidden * sizeof(float) + 3 * table);
    return UMBRA_OK;
}

int umbra_runner_open(umbra_runner **out, const umbra_runner_options *o, umbra_error *err)
{
    *out = NULL;
    int rc = check_options(o, err);
    if (rc == UMBRA_OK && !o->store)
        rc = umbra_fail(err, UMBRA_E_ARGUMENT, "a shadow runner needs a store to foretell to");
    if (rc != UMBRA_OK)
        return rc;
    umbra_runner *r = umbra_calloc(1, sizeof *r);
    if (!r)
        return umbra_fail_nomem(err, "the shadow runner", sizeof *r);
    pthread_mutex_init(&r->mutex, NULL);
    pthread_mutex_init(&r->work, NULL);
    pthread_cond_init(&r->queued, NULL);
    r->store = o->store;
    r->policy = o->policy;
    r->layers = o->layers;
    r->hidden = o->hidden;
    r->experts = o->experts;
    r->used = o->used;
    r->text = 1;
    rc = open_tables(r, o, err);
    if (rc == UMBRA_OK)
        rc = umbra_runner_bytes(o, &r->stats.bytes, err);
    if (rc == UMBRA_OK)
        rc = umbra_foresight_open(&r->foresight, o, err);
    if (rc == UMBRA_OK && o->own_thread)
        rc = start_thread(r, err);
    if (rc != UMBRA_OK) {
        umbra_runner_close(&r);
        return rc;
    }
    *out = r;
    return UMBRA_OK;
}

void umbra_runner_close(umbra_runner **p)
{
    umbra_runner *r = *p;
    if (!r)
        return;
    if (r->has_thread) {
        pthread_mutex_lock(&r->mutex);
        r->quit = true;
        pthread_cond_broadcast(&r->queued);
        pthread_mutex_unlock(&r->mutex);
        pthread_join(r->thread, NULL);
    }
    umbra_foresight_close(&r->foresight);
    for (int i = 0; i <= UMBRA_RUNNER_JOBS; i++) {
        umbra_free(r->jobs[i].state);
        umbra_free(r->jobs[i].now);
        umbra_free(r->jobs[i].previous);
        umbra_free(r->jobs[i].previous2);
    }
    umbra_free(r->rank);
    umbra_free(r->sparse);
    umbra_free(r->now);
    umbra_free(r->previous);
    umbra_free(r->previous2);
    pthread_cond_destroy(&r->queued);
    pthread_mutex_destroy(&r->work);
    pthread_mutex_destroy(&r->mutex);
    umbra_free(r);
    *p = NULL;
}
