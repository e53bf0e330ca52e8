/* The shadow runner's beginning and end: what options come to, its memory, its thread. */
#include <string.h>

#include "ahead/runner_internal.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/thread.h"

enum { D = UMBRA_MAX_DISTANCE, NONE = 0xffff, STACK_BYTES = 256 << 10, MOST_SEQUENCES = 1 << 16 };

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
        r->memory[i] = (umbra_runner_memory){
            .now = own, .previous = own + table, .previous2 = own + 2 * table, .text = 1};
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
    int rc = umbra_thread_start(&r->thread, umbra_runner_thread, r, STACK_BYTES);
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

void umbra_runner_set_recall(umbra_runner *r, umbra_recall *recall)
{
    r->recall = recall;
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
