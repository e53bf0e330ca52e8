/* The shadow runner: states into a queue, jobs out of it, forecasts to the store. */
#include "ahead/runner.h"

#include <pthread.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/thread.h"

enum {
    D = UMBRA_MAX_DISTANCE,
    NONE = 0xffff,
    STACK_BYTES = 256 << 10,
    ABSORB_AT_MOST = 64,
    MOST_SEQUENCES = 1 << 16
};

/* What is remembered of a sequence: routing (L, k) of its token in progress and of the two before.
 */
typedef struct memory {
    uint16_t *now, *previous, *previous2;
    int known; /* tokens of this text before this one, at most 2 */
    uint32_t text;
    const uint16_t *oracle; /* (oracle_tokens, L, k) */
    int oracle_tokens, oracle_next;
} memory;

struct umbra_runner {
    umbra_store *store;
    umbra_policy policy;
    int sequences, layers, hidden, experts, used;
    int *rank;    /* (L) layers with experts up to this one, it included */
    bool *sparse; /* (L) */
    bool *known;  /* (L) */

    memory *memory;  /* (S) the calling thread's */
    uint16_t *table; /* (S, 3, L, k) where their routing lies */

    pthread_mutex_t mutex; /* guards the queue and the statistics */
    pthread_cond_t queued;
    umbra_job
        *jobs; /* (n_jobs) who is neither in the queue nor idle is being filled or predicted */
    int n_jobs;
    int *queue, queue_size, queue_first, queue_n; /* (queue_size) places in jobs, oldest first */
    int *idle, idle_n;                            /* (n_jobs) */
    bool quit;
    umbra_runner_stats stats;

    pthread_mutex_t work; /* held by who predicts; guards the foresight */
    umbra_foresight foresight;
    int batch; /* jobs predicted together, at most */
    pthread_t thread;
    bool has_thread;
};

const char *umbra_policy_name(umbra_policy policy)
{
    static const char *const names[] = {
        [UMBRA_POLICY_AUTO] = "auto",         [UMBRA_POLICY_OFF] = "off",
        [UMBRA_POLICY_PREVIOUS] = "previous", [UMBRA_POLICY_GATE] = "gate",
        [UMBRA_POLICY_SHADOW] = "shadow",     [UMBRA_POLICY_ORACLE] = "oracle",
        [UMBRA_POLICY_RUNAHEAD] = "runahead",
    };
    return (size_t)policy < sizeof names / sizeof names[0] ? names[policy] : NULL;
}

int umbra_policy_parse(const char *name, umbra_policy *out, umbra_error *err)
{
    umbra_policy p = UMBRA_POLICY_AUTO;
    while (name && umbra_policy_name(p) && strcmp(name, umbra_policy_name(p)) != 0)
        p++;
    if (!umbra_policy_name(p))
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "no policy is called \"%s\"; there are auto, off, previous, gate, "
                          "shadow, oracle, runahead",
                          name);
    *out = p;
    return UMBRA_OK;
}

/* ---- predicting ---- */

static void foretell(umbra_runner *r, const umbra_job *job, const float *probability)
{
    int base = job->source > 0 ? r->rank[job->source - 1] : 0;
    for (int d = 1; d <= D && job->source + d <= r->layers; d++) {
        int layer = umbra_shadow_target(job->source, d);
        if (r->sparse[layer] && !r->known[layer])
            umbra_store_foretell(r->store, job->sequence, layer, d,
                                 job->clock + (uint64_t)(r->rank[layer] - base),
                                 probability + (size_t)(d - 1) * (size_t)r->experts);
    }
}

static void queue_job(umbra_runner *r, int place)
{
    umbra_assert(r->queue_n < r->queue_size);
    r->queue[(r->queue_first + r->queue_n++) % r->queue_size] = place;
}

/* The oldest job, of which there must be one. Called with the mutex held. */
static int take_job(umbra_runner *r)
{
    int place = r->queue[r->queue_first];
    r->queue_first = (r->queue_first + 1) % r->queue_size;
    r->queue_n--;
    return place;
}

/* The oldest jobs that are of one source. Returns how many. Called with the mutex held. */
static int take_jobs(umbra_runner *r, int *places)
{
    int n = 0;
    while (r->queue_n > 0 && n < r->batch &&
           (n == 0 || r->jobs[r->queue[r->queue_first]].source == r->jobs[places[0]].source))
        places[n++] = take_job(r);
    return n;
}

static void predict(umbra_runner *r, const int *places, int n)
{
    const umbra_job *jobs[UMBRA_RUNNER_BATCH];
    int known = 0;
    for (int i = 0; i < n; i++)
        if (umbra_foresight_knows(&r->foresight, &r->jobs[places[i]]))
            jobs[known++] = &r->jobs[places[i]];
    umbra_foresight_predict(&r->foresight, jobs, known);
    for (int i = 0; i < known; i++)
        foretell(r, jobs[i], r->foresight.probability + (size_t)i * (size_t)D * (size_t)r->experts);
}

int umbra_runner_work(umbra_runner *r)
{
    int places[UMBRA_RUNNER_BATCH], n, done = 0;
    pthread_mutex_lock(&r->work);
    pthread_mutex_lock(&r->mutex);
    for (; (n = take_jobs(r, places)) > 0; done += n) {
        pthread_mutex_unlock(&r->mutex);
        uint64_t start_ns = umbra_clock_ns();
        predict(r, places, n);
        uint64_t took_ns = umbra_clock_ns() - start_ns;
        pthread_mutex_lock(&r->mutex);
        for (int i = 0; i < n; i++)
            r->idle[r->idle_n++] = places[i];
        r->stats.predictions += (uint64_t)n;
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

static void fill_job(const umbra_runner *r, umbra_job *job, int sequence, int source,
                     const float *state)
{
    const memory *m = &r->memory[sequence];
    size_t row_bytes = (size_t)r->used * sizeof *m->now;
    job->sequence = sequence;
    job->source = source;
    job->clock = umbra_store_clock(r->store);
    job->text = m->text;
    job->draft = false;
    job->has_previous = m->known >= 1;
    job->has_previous2 = m->known >= 2;
    job->truth = m->oracle_next < m->oracle_tokens
                     ? m->oracle + (size_t)m->oracle_next * row_of(r, r->layers)
                     : NULL;
    if (r->foresight.fast)
        memcpy(job->state, state, (size_t)r->hidden * sizeof *state);
    if (source > 0)
        memcpy(job->now + row_of(r, source - 1), m->now + row_of(r, source - 1), row_bytes);
    for (int d = 1; d <= D && source + d <= r->layers; d++) {
        size_t row = row_of(r, umbra_shadow_target(source, d));
        memcpy(job->previous + row, m->previous + row, row_bytes);
        memcpy(job->previous2 + row, m->previous2 + row, row_bytes);
    }
}

static void drop_job(umbra_runner *r)
{
    r->idle[r->idle_n++] = take_job(r);
    r->stats.dropped++;
}

/* A job to be filled, or -1: a draft's does not push another out of the full queue. */
static int take_idle(umbra_runner *r, bool draft)
{
    int place = -1;
    pthread_mutex_lock(&r->mutex);
    if (r->queue_n == r->queue_size && draft)
        r->stats.dropped++;
    else if (r->queue_n == r->queue_size)
        drop_job(r);
    if (r->queue_n < r->queue_size) {
        umbra_assert(r->idle_n > 0);
        place = r->idle[--r->idle_n];
    }
    pthread_mutex_unlock(&r->mutex);
    return place;
}

static void hand_in(umbra_runner *r, int place)
{
    pthread_mutex_lock(&r->mutex);
    queue_job(r, place);
    pthread_cond_signal(&r->queued);
    pthread_mutex_unlock(&r->mutex);
}

static void submit(umbra_runner *r, int sequence, int source, const float *state)
{
    umbra_assert(sequence >= 0 && sequence < r->sequences);
    if (!umbra_foresight_has(&r->foresight, source))
        return;
    int place = take_idle(r, false);
    fill_job(r, &r->jobs[place], sequence, source, state);
    hand_in(r, place);
}

static void note_routing(const umbra_runner *r, uint16_t *table, int layer, const int32_t *experts)
{
    for (int i = 0; i < r->used; i++)
        table[row_of(r, layer) + (size_t)i] = (uint16_t)experts[i];
}

static void learn(umbra_runner *r, int sequence, int layer)
{
    /* Who predicts at this moment is not waited for: there will be other layers to learn from. */
    if (r->foresight.ranks.n == 0 || pthread_mutex_trylock(&r->work) != 0)
        return;
    umbra_foresight_learn(&r->foresight, sequence, layer,
                          r->memory[sequence].now + row_of(r, layer));
    pthread_mutex_unlock(&r->work);
}

void umbra_runner_enter(umbra_runner *r, int sequence, const float *embedding)
{
    submit(r, sequence, 0, embedding);
}

void umbra_runner_routed(umbra_runner *r, int sequence, int layer, const float *hidden,
                         const int32_t *experts)
{
    note_routing(r, r->memory[sequence].now, layer, experts);
    learn(r, sequence, layer);
    submit(r, sequence, layer + 1, hidden);
}

/* Predictors that know no state would say of a draft what they say of the row before it. */
void umbra_runner_draft(umbra_runner *r, int sequence, int layer, const float *hidden,
                        const int32_t *experts)
{
    if (!r->foresight.fast || !umbra_foresight_has(&r->foresight, layer + 1))
        return;
    int place = take_idle(r, true);
    if (place < 0)
        return;
    umbra_job *job = &r->jobs[place];
    fill_job(r, job, sequence, layer + 1, hidden);
    job->draft = true;
    if (experts)
        note_routing(r, job->now, layer, experts);
    hand_in(r, place);
}

void umbra_runner_note(umbra_runner *r, int sequence, int layer, const int32_t *experts)
{
    note_routing(r, r->memory[sequence].now, layer, experts);
}

void umbra_runner_leave(umbra_runner *r, int sequence)
{
    memory *m = &r->memory[sequence];
    uint16_t *oldest = m->previous2;
    m->previous2 = m->previous;
    m->previous = m->now;
    m->now = oldest;
    m->known += m->known < 2;
    m->oracle_next += m->oracle_next < m->oracle_tokens;
}

void umbra_runner_restart(umbra_runner *r, int sequence)
{
    r->memory[sequence].known = 0;
    r->memory[sequence].text++;
    umbra_store_forget(r->store, sequence);
}

void umbra_runner_absorb(umbra_runner *r, int sequence, int layer, int n, const float *hidden,
                         const int32_t *experts)
{
    memory *m = &r->memory[sequence];
    int skipped =
        n > ABSORB_AT_MOST ? n - ABSORB_AT_MOST : 0; /* what the averages have forgotten */
    if (umbra_foresight_has(&r->foresight, layer + 1)) {
        pthread_mutex_lock(&r->work);
        umbra_foresight_absorb(&r->foresight, sequence, layer + 1, m->text, n - skipped,
                               hidden + (size_t)skipped * (size_t)r->hidden);
        pthread_mutex_unlock(&r->work);
    }
    if (!experts)
        return;
    /* The last two tokens become those before the next one. */
    if (n > 1)
        note_routing(r, m->previous2, layer, experts + (size_t)(n - 2) * (size_t)r->used);
    else
        memcpy(m->previous2 + row_of(r, layer), m->previous + row_of(r, layer),
               (size_t)r->used * sizeof *m->previous);
    note_routing(r, m->previous, layer, experts + (size_t)(n - 1) * (size_t)r->used);
    if (r->rank[layer] == r->rank[r->layers - 1])
        m->known = m->known + n < 2 ? m->known + n : 2;
}

/* States that wait would look into the routing that is replaced, so they go. */
void umbra_runner_set_oracle(umbra_runner *r, int sequence, const uint16_t *routing, int tokens)
{
    memory *m = &r->memory[sequence];
    pthread_mutex_lock(&r->work);
    pthread_mutex_lock(&r->mutex);
    for (int left = r->policy == UMBRA_POLICY_ORACLE ? r->queue_n : 0; left > 0; left--) {
        if (r->jobs[r->queue[r->queue_first]].sequence == sequence)
            drop_job(r);
        else
            queue_job(r, take_job(r));
    }
    pthread_mutex_unlock(&r->mutex);
    pthread_mutex_unlock(&r->work);
    m->oracle = routing;
    m->oracle_tokens = routing ? tokens : 0;
    m->oracle_next = 0;
}

void umbra_runner_get_stats(const umbra_runner *runner, umbra_runner_stats *out)
{
    umbra_runner *r = (umbra_runner *)runner; /* only the lock is changed */
    pthread_mutex_lock(&r->mutex);
    *out = r->stats;
    pthread_mutex_unlock(&r->mutex);
}

/* ---- opening ---- */

/* What the caller's options come to: *o, with a policy that is not auto. */
static void settle(const umbra_runner_options *given, umbra_runner_options *o)
{
    *o = given ? *given : (umbra_runner_options){0};
    if (o->policy == UMBRA_POLICY_AUTO)
        o->policy = o->shadow ? UMBRA_POLICY_SHADOW
                    : o->gate ? UMBRA_POLICY_GATE
                              : UMBRA_POLICY_PREVIOUS;
}

static int check_options(const umbra_runner_options *o, umbra_error *err)
{
    if (!umbra_policy_name(o->policy) || o->policy == UMBRA_POLICY_RUNAHEAD || o->layers < 1 ||
        o->hidden < 1 || o->experts < 1 || o->experts >= NONE || o->used < 1 ||
        o->used > o->experts)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "a shadow runner for %d layers of %d experts, %d used, hidden %d: out of "
                          "range",
                          o->layers, o->experts, o->used, o->hidden);
    if (o->every < 0 || o->every > D)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "predictions at every %d-th layer: must be 1 to %d", o->every, (int)D);
    if (o->sequences < 0 || o->sequences > MOST_SEQUENCES)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "a shadow runner for %d sequences: must be 1 to %d", o->sequences,
                          (int)MOST_SEQUENCES);
    return UMBRA_CHECK_RESERVED(o, err);
}

static int open_jobs(umbra_runner *r, const umbra_runner_options *o, umbra_error *err)
{
    size_t table = (size_t)o->layers * (size_t)o->used;
    bool ok = true;
    r->queue_size = UMBRA_RUNNER_JOBS * r->sequences;
    r->n_jobs = r->queue_size + r->batch;
    r->jobs = umbra_calloc((size_t)r->n_jobs, sizeof *r->jobs);
    r->queue = umbra_calloc((size_t)r->queue_size, sizeof *r->queue);
    r->idle = umbra_calloc((size_t)r->n_jobs, sizeof *r->idle);
    for (int i = 0; r->jobs && r->idle && i < r->n_jobs; i++) {
        umbra_job *job = &r->jobs[i];
        job->state = umbra_calloc((size_t)o->hidden, sizeof *job->state);
        job->now = umbra_calloc(3 * table, sizeof *job->now);
        ok = ok && job->state && job->now;
        job->previous = job->now ? job->now + table : NULL;
        job->previous2 = job->now ? job->now + 2 * table : NULL;
        r->idle[r->idle_n++] = i;
    }
    return ok && r->jobs && r->queue && r->idle
               ? UMBRA_OK
               : umbra_fail_nomem(err, "the shadow runner's queue", 0);
}

static int open_tables(umbra_runner *r, const umbra_runner_options *o, umbra_error *err)
{
    size_t layers = (size_t)o->layers, table = layers * (size_t)o->used;
    size_t routing = (size_t)r->sequences * 3 * table;
    r->rank = umbra_calloc(layers, sizeof *r->rank);
    r->sparse = umbra_calloc(layers, sizeof *r->sparse);
    r->known = umbra_calloc(layers, sizeof *r->known);
    r->memory = umbra_calloc((size_t)r->sequences, sizeof *r->memory);
    r->table = umbra_calloc(routing, sizeof *r->table);
    if (!r->rank || !r->sparse || !r->known || !r->memory || !r->table)
        return umbra_fail_nomem(err, "the shadow runner's memory of sequences",
                                routing * sizeof *r->table);
    memset(r->table, 0xff, routing * sizeof *r->table);
    for (int i = 0; i < r->sequences; i++) {
        uint16_t *own = r->table + (size_t)i * 3 * table;
        r->memory[i] =
            (memory){.now = own, .previous = own + table, .previous2 = own + 2 * table, .text = 1};
    }
    for (int l = 0; l < o->layers; l++) {
        r->sparse[l] = !o->sparse || o->sparse[l];
        r->known[l] = o->known && o->known[l];
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

int umbra_runner_bytes(const umbra_runner_options *options, uint64_t *out, umbra_error *err)
{
    umbra_runner_options settled, *o = &settled;
    *out = 0;
    settle(options, o);
    int rc = check_options(o, err);
    if (rc == UMBRA_OK)
        rc = umbra_foresight_plan(o, out, err);
    if (rc != UMBRA_OK)
        return rc;
    uint64_t table = (uint64_t)o->layers * (uint64_t)o->used * sizeof(uint16_t);
    uint64_t sequences = (uint64_t)umbra_runner_sequences(o);
    uint64_t jobs = UMBRA_RUNNER_JOBS * sequences + (uint64_t)umbra_runner_batch(o);
    *out += jobs * ((uint64_t)o->hidden * sizeof(float) + 3 * table) + (sequences - 1) * 3 * table;
    return UMBRA_OK;
}

int umbra_runner_open(umbra_runner **out, const umbra_runner_options *options, umbra_error *err)
{
    umbra_runner_options settled, *o = &settled;
    *out = NULL;
    settle(options, o);
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
    r->sequences = umbra_runner_sequences(o);
    r->batch = umbra_runner_batch(o);
    rc = open_tables(r, o, err);
    if (rc == UMBRA_OK)
        rc = open_jobs(r, o, err);
    if (rc == UMBRA_OK)
        rc = umbra_runner_bytes(o, &r->stats.bytes, err);
    if (rc == UMBRA_OK)
        rc = umbra_foresight_open(&r->foresight, o, err);
    if (rc == UMBRA_OK && r->foresight.fast)
        r->stats.kernels = umbra_shadow_fast_isa(r->foresight.fast);
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
    for (int i = 0; r->jobs && i < r->n_jobs; i++) {
        umbra_free(r->jobs[i].state);
        umbra_free(r->jobs[i].now);
    }
    umbra_free(r->jobs);
    umbra_free(r->queue);
    umbra_free(r->idle);
    umbra_free(r->rank);
    umbra_free(r->sparse);
    umbra_free(r->known);
    umbra_free(r->memory);
    umbra_free(r->table);
    pthread_cond_destroy(&r->queued);
    pthread_mutex_destroy(&r->work);
    pthread_mutex_destroy(&r->mutex);
    umbra_free(r);
    *p = NULL;
}
