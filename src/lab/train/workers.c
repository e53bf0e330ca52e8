/* Trains the networks by threads, and tells how far they are. */
#include "lab/train/workers.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "lab/train/blas.h"
#include "lab/train/ranks.h"

enum { REPORT_MS = 100, STACK_BYTES = 8 << 20, EVENTS = 4 /* told at a time */ };

/* An epoch that a worker finished and the calling thread has not yet told of. */
typedef struct event {
    umbra_train_epoch epoch;
    struct event *next;
} event;

/* How far a rank is. */
typedef struct tick {
    uint64_t rows;
    int32_t working, failed, interrupted, n_events;
    umbra_train_epoch events[EVENTS];
} tick;

typedef struct training {
    const umbra_train_setup *setup;
    const umbra_ranks *ranks;
    umbra_shadow *shadow;
    umbra_train_network *networks;
    umbra_learner_callbacks callbacks;
    tick *ticks; /* (ranks) */
    bool over;   /* all know that it has ended, in failure */

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    int next;    /* network that nobody has taken */
    int working; /* threads that have not ended */
    uint64_t rows_done;
    bool failed, interrupted;
    bool others_failed, others_interrupted; /* on any rank */
    umbra_error error;                      /* the first */
    event *first_event, **last_event;
} training;

/* ---- what learners tell, from their threads ---- */

static void take_rows(void *user, uint64_t rows)
{
    training *t = user;
    pthread_mutex_lock(&t->mutex);
    t->rows_done += rows;
    pthread_mutex_unlock(&t->mutex);
}

static void take_epoch(void *user, const umbra_train_epoch *epoch)
{
    training *t = user;
    event *n = t->setup->options.on_epoch ? umbra_calloc(1, sizeof *n) : NULL;
    if (!n)
        return; /* without memory for the event the work still goes on */
    n->epoch = *epoch;
    pthread_mutex_lock(&t->mutex);
    *t->last_event = n;
    t->last_event = &n->next;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}

static bool is_stopped(training *t)
{
    if (umbra_progress_interrupted(t->setup->options.progress))
        return true;
    pthread_mutex_lock(&t->mutex);
    bool stopped = t->failed || t->interrupted || t->others_failed || t->others_interrupted;
    pthread_mutex_unlock(&t->mutex);
    return stopped;
}

static int meet_alone(void *user, int status, umbra_error *err)
{
    if (status == UMBRA_OK && is_stopped(user))
        return umbra_fail(err, UMBRA_E_INTERRUPTED, "interrupted");
    return status;
}

/* A rank that fails comes here once more, and the others' next meeting is the same one. */
static int meet_all(void *user, int status, umbra_error *err)
{
    training *t = user;
    if (t->over)
        return status;
    int rc = umbra_ranks_agree(t->ranks, meet_alone(t, status, err), err);
    t->over = rc != UMBRA_OK;
    return rc;
}

/* ---- workers ---- */

/* Moves what a finished learner has to the shadow model and to the summary. */
static void keep(training *t, umbra_learner *l)
{
    const umbra_shadow_spec *spec = &t->setup->spec;
    float *parts[UMBRA_SHADOW_PARTS];
    size_t lengths[UMBRA_SHADOW_PARTS];
    umbra_shadow_parts(spec, &t->shadow->networks[l->network], parts, lengths);
    for (int i = 0; i < UMBRA_SHADOW_PARTS; i++)
        if (lengths[i] > 0)
            memcpy(parts[i], l->state.best + l->optimizer.first[i], lengths[i] * sizeof(float));
    for (int source = l->first_source; source < l->end_source; source++) {
        const umbra_train_outcome *o = &l->outcomes[source - l->first_source];
        float *calibration = t->shadow->calibration + (size_t)source * UMBRA_MAX_DISTANCE * 2;
        for (int d = 0; d < UMBRA_MAX_DISTANCE; d++)
            for (int i = 0; i < 2; i++)
                calibration[2 * d + i] = (float)o->calibration[d][i];
    }
    t->networks[l->network] = (umbra_train_network){
        .epochs = l->state.epoch,
        .best_epoch = l->state.best_epoch,
        .history = l->state.history,
        .outcomes = l->outcomes,
    };
    l->state.history = NULL;
    l->outcomes = NULL;
}

static void take_failure(training *t, int rc, const umbra_error *error)
{
    pthread_mutex_lock(&t->mutex);
    if (rc == UMBRA_E_INTERRUPTED) {
        t->interrupted = true;
    } else if (!t->failed) {
        t->failed = true;
        t->error = *error;
    }
    pthread_mutex_unlock(&t->mutex);
}

static void train_network(training *t, int network)
{
    umbra_error error = {0};
    umbra_learner learner;
    int rc = umbra_learner_open(&learner, t->setup, &t->callbacks, network, &error);
    if (umbra_ranks_divide(learner.ranks)) {
        rc = meet_all(t, rc, &error);
        if (rc == UMBRA_OK)
            rc = umbra_learner_share(&learner, &error);
    }
    if (rc == UMBRA_OK)
        rc = umbra_learner_run(&learner, &error);
    if (umbra_ranks_divide(learner.ranks))
        rc = meet_all(t, rc, &error);
    if (rc == UMBRA_OK)
        keep(t, &learner);
    else
        take_failure(t, rc, &error);
    umbra_learner_release(&learner);
}

static void *worker_main(void *user)
{
    training *t = user;
    int step = umbra_ranks_count(t->ranks);
    for (;;) {
        bool stopped = is_stopped(t);
        pthread_mutex_lock(&t->mutex);
        int network = t->next;
        bool end = stopped || network >= t->setup->networks;
        if (end) {
            t->interrupted |= network < t->setup->networks;
            t->working--;
            pthread_cond_signal(&t->changed);
        } else {
            t->next += step;
        }
        pthread_mutex_unlock(&t->mutex);
        if (end)
            return NULL;
        train_network(t, network);
    }
}

/* ---- the calling thread ---- */

/* Takes what there is to tell. */
static void fill_tick(training *t, tick *own)
{
    *own = (tick){0};
    pthread_mutex_lock(&t->mutex);
    while (t->first_event && own->n_events < EVENTS) {
        event *n = t->first_event;
        own->events[own->n_events++] = n->epoch;
        t->first_event = n->next;
        if (!n->next)
            t->last_event = &t->first_event;
        umbra_free(n);
    }
    own->rows = t->rows_done;
    own->working = t->working > 0 || t->first_event;
    own->failed = t->failed;
    own->interrupted = t->interrupted;
    pthread_mutex_unlock(&t->mutex);
}

static uint64_t count_rows(const umbra_train_setup *setup)
{
    uint64_t total = 0;
    for (int source = 0; source < umbra_shadow_sources(&setup->spec); source++)
        if (umbra_train_has_source(&setup->data, &setup->spec, source))
            total += setup->data.training_rows * (uint64_t)setup->options.epochs;
    return total;
}

static void tell(const training *t, const tick *ticks, int n)
{
    const umbra_train_options *o = &t->setup->options;
    uint64_t done = 0;
    for (int r = 0; r < n; r++) {
        done += ticks[r].rows;
        for (int i = 0; i < ticks[r].n_events && umbra_ranks_own(t->ranks) == 0; i++)
            o->on_epoch(o->user, &ticks[r].events[i]);
    }
    umbra_progress_report(o->progress, "training", "rows", done, count_rows(t->setup));
}

/* Hears of all ranks and tells of them; whether any of them works. */
static bool report(training *t)
{
    int count = umbra_ranks_count(t->ranks);
    umbra_error error = {0};
    fill_tick(t, &t->ticks[umbra_ranks_own(t->ranks)]);
    int rc = umbra_ranks_gather(t->ranks, t->ticks, sizeof *t->ticks, &error);
    bool working = false, failed = rc != UMBRA_OK, interrupted = false;
    if (rc != UMBRA_OK)
        take_failure(t, rc, &error);
    for (int r = 0; r < count; r++) {
        working |= t->ticks[r].working != 0;
        failed |= t->ticks[r].failed != 0;
        interrupted |= t->ticks[r].interrupted != 0;
    }
    pthread_mutex_lock(&t->mutex);
    t->others_failed |= failed;
    t->others_interrupted |= interrupted;
    working = rc == UMBRA_OK ? working : t->working > 0;
    pthread_mutex_unlock(&t->mutex);
    tell(t, t->ticks, count);
    return working;
}

static void wait_for_workers(training *t)
{
    bool working = true;
    while (working) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += REPORT_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_mutex_lock(&t->mutex);
        int rc = 0;
        while (t->working > 0 && !t->first_event && rc == 0)
            rc = pthread_cond_timedwait(&t->changed, &t->mutex, &until);
        pthread_mutex_unlock(&t->mutex);
        working = report(t);
    }
}

static int start_worker(training *t, pthread_t *thread)
{
    pthread_mutex_lock(&t->mutex);
    t->working++;
    pthread_mutex_unlock(&t->mutex);
    int rc = umbra_thread_start(thread, worker_main, t, STACK_BYTES);
    if (rc == 0)
        return 0;
    pthread_mutex_lock(&t->mutex);
    t->working--;
    pthread_mutex_unlock(&t->mutex);
    return rc;
}

/* Starts as many of n workers as can be had: fewer only take longer. */
static int start_workers(training *t, pthread_t *threads, int n, int *started, umbra_error *err)
{
    int rc = 0;
    for (*started = 0; *started < n && rc == 0; *started += rc == 0)
        rc = start_worker(t, &threads[*started]);
    if (*started > 0 || n == 0)
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_SYSTEM, "cannot start a training thread: %s", strerror(rc));
}

/* Networks of this rank. */
static int count_own(const training *t)
{
    int own = 0;
    for (int i = 0; i < t->setup->networks; i++)
        own += umbra_train_owner(t->setup, i) == umbra_ranks_own(t->ranks);
    return own;
}

/* Trains all networks of this rank. Networks share nothing, so each is trained by one thread with
 * one thread's products; a single network for all sources gets the threads inside its products. */
static void run_workers(training *t)
{
    const umbra_train_setup *setup = t->setup;
    int own = count_own(t), workers = setup->threads < own ? setup->threads : own, started = 0;
    int inside = setup->networks == 1 ? setup->threads : 1, before = 0;
    umbra_error error = {0};
    int rc = workers > 0 ? umbra_blas_open(&workers, inside, &error) : UMBRA_OK;
    pthread_t *threads = umbra_calloc((size_t)workers + 1, sizeof *threads);
    if (rc == UMBRA_OK && !threads)
        rc = umbra_fail_nomem(&error, "threads", (uint64_t)workers * sizeof *threads);
    bool ready = rc == UMBRA_OK && workers > 0;
    if (ready)
        before = umbra_blas_set_threads(inside);
    if (ready)
        rc = start_workers(t, threads, workers, &started, &error);
    if (rc != UMBRA_OK)
        take_failure(t, rc, &error);
    wait_for_workers(t);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    if (ready)
        umbra_blas_set_threads(before);
    umbra_free(threads);
}

/* ---- one network of all ranks, by the calling threads ---- */

static void tell_rows(void *user, uint64_t rows)
{
    training *t = user;
    tick own;
    take_rows(t, rows);
    fill_tick(t, &own);
    tell(t, &own, 1);
}

static void run_together(training *t)
{
    int callers = 1, inside = t->setup->threads;
    umbra_error error = {0};
    int rc = umbra_blas_open(&callers, inside, &error);
    int before = rc == UMBRA_OK ? umbra_blas_set_threads(inside) : 0;
    if (meet_all(t, rc, &error) == UMBRA_OK)
        train_network(t, 0);
    else
        take_failure(t, error.status, &error);
    if (rc == UMBRA_OK)
        umbra_blas_set_threads(before);
    tell_rows(t, 0);
}

/* ---- all ---- */

/* A rank that was only stopped because another one failed has not failed. */
static int outcome_of(const training *t, umbra_error *err)
{
    if (t->failed) {
        if (err)
            *err = t->error;
        return t->error.status;
    }
    if ((t->interrupted || t->others_interrupted) && !t->others_failed)
        return umbra_fail(err, UMBRA_E_INTERRUPTED,
                          "training was interrupted; %s holds what was done: go on with resume",
                          t->setup->checkpoint);
    return UMBRA_OK;
}

int umbra_train_networks(const umbra_train_setup *setup, umbra_shadow *shadow,
                         umbra_train_network *networks, umbra_error *err)
{
    bool together = umbra_train_together(setup);
    training t = {
        .setup = setup,
        .ranks = setup->options.ranks,
        .shadow = shadow,
        .networks = networks,
        .next = umbra_ranks_own(setup->options.ranks),
        .callbacks = {.advance = together ? tell_rows : take_rows,
                      .epoch = take_epoch,
                      .meet = together ? meet_all : meet_alone},
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };
    t.callbacks.user = &t;
    t.last_event = &t.first_event;
    size_t count = (size_t)umbra_ranks_count(t.ranks);
    t.ticks = umbra_calloc(count, sizeof *t.ticks);
    int rc = t.ticks ? UMBRA_OK : umbra_fail_nomem(err, "the ranks' progress", count);
    rc = umbra_ranks_agree(t.ranks, rc, err);
    if (rc == UMBRA_OK && together)
        run_together(&t);
    else if (rc == UMBRA_OK)
        run_workers(&t);
    if (rc == UMBRA_OK)
        rc = outcome_of(&t, err);
    pthread_cond_destroy(&t.changed);
    pthread_mutex_destroy(&t.mutex);
    umbra_free(t.ticks);
    return rc;
}
