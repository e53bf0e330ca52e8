/* The shadow runner: states into a queue, jobs out of it, forecasts to the store. */
#include "ahead/runner_internal.h"

#include <string.h>

#include "base/assert.h"
#include "base/clock.h"

enum { D = UMBRA_MAX_DISTANCE, ABSORB_AT_MOST = 64 };

/* ---- predicting ---- */

static void foretell(umbra_runner *r, const umbra_job *job, const float *probability)
{
    int base = job->source > 0 ? r->rank[job->source - 1] : 0;
    for (int d = 1; d <= D && job->source + d <= r->layers; d++) {
        int layer = umbra_shadow_target(job->source, d);
        const float *row = probability + (size_t)(d - 1) * (size_t)r->experts;
        uint64_t due = job->clock + (uint64_t)(r->rank[layer] - base);
        if (!r->sparse[layer] || r->known[layer])
            continue;
        umbra_store_foretell(r->store, job->sequence, layer, d, due, row);
        if (r->recall && !job->draft)
            umbra_recall_rate(
                r->recall,
                &(umbra_recall_place){
                    .sequence = job->sequence, .layer = layer, .distance = d, .due = due},
                row);
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

void *umbra_runner_thread(void *runner)
{
    umbra_runner *r = runner;
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
    const umbra_runner_memory *m = &r->memory[sequence];
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
    umbra_runner_memory *m = &r->memory[sequence];
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
    umbra_runner_memory *m = &r->memory[sequence];
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
    umbra_runner_memory *m = &r->memory[sequence];
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
