/* A training run: its threads, its networks and the file in the end. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "lab/train/blas.h"
#include "lab/train/checkpoint.h"
#include "lab/train/summary.h"

enum { REPORT_MS = 100, STACK_BYTES = 8 << 20 };

/* An epoch that a worker finished and the calling thread has not yet told of. */
typedef struct event {
    umbra_train_epoch epoch;
    struct event *next;
} event;

typedef struct training {
    const umbra_train_setup *setup;
    umbra_shadow *shadow;
    umbra_train_network *networks;
    umbra_learner_callbacks callbacks;

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    int next;    /* network that nobody has taken */
    int working; /* threads that have not ended */
    uint64_t rows_done;
    bool failed, interrupted;
    umbra_error error; /* the first */
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

static bool is_stopped(void *user)
{
    training *t = user;
    if (umbra_progress_interrupted(t->setup->options.progress))
        return true;
    pthread_mutex_lock(&t->mutex);
    bool stopped = t->failed || t->interrupted;
    pthread_mutex_unlock(&t->mutex);
    return stopped;
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

static void train_network(training *t, int network)
{
    umbra_error error = {0};
    umbra_learner learner;
    int rc = umbra_learner_open(&learner, t->setup, &t->callbacks, network, &error);
    if (rc == UMBRA_OK)
        rc = umbra_learner_run(&learner, &error);
    if (rc == UMBRA_OK)
        keep(t, &learner);
    umbra_learner_release(&learner);
    if (rc == UMBRA_OK)
        return;
    pthread_mutex_lock(&t->mutex);
    if (rc == UMBRA_E_INTERRUPTED) {
        t->interrupted = true;
    } else if (!t->failed) {
        t->failed = true;
        t->error = error;
    }
    pthread_mutex_unlock(&t->mutex);
}

static void *worker_main(void *user)
{
    training *t = user;
    for (;;) {
        bool stopped = is_stopped(t);
        pthread_mutex_lock(&t->mutex);
        int network = t->next;
        bool end = stopped || network == t->setup->networks;
        if (end) {
            t->interrupted |= network < t->setup->networks;
            t->working--;
            pthread_cond_signal(&t->changed);
        } else {
            t->next++;
        }
        pthread_mutex_unlock(&t->mutex);
        if (end)
            return NULL;
        train_network(t, network);
    }
}

/* ---- the calling thread ---- */

static void report_events(training *t)
{
    const umbra_train_options *o = &t->setup->options;
    pthread_mutex_lock(&t->mutex);
    event *list = t->first_event;
    t->first_event = NULL;
    t->last_event = &t->first_event;
    uint64_t done = t->rows_done;
    pthread_mutex_unlock(&t->mutex);
    while (list) {
        event *n = list;
        list = n->next;
        o->on_epoch(o->user, &n->epoch);
        umbra_free(n);
    }
    uint64_t total = 0;
    for (int source = 0; source < umbra_shadow_sources(&t->setup->spec); source++)
        if (umbra_train_has_source(&t->setup->data, &t->setup->spec, source))
            total += t->setup->data.training_rows * (uint64_t)o->epochs;
    umbra_progress_report(o->progress, "training", "rows", done, total);
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
        working = t->working > 0;
        pthread_mutex_unlock(&t->mutex);
        report_events(t);
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
    if (*started > 0)
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_SYSTEM, "cannot start a training thread: %s", strerror(rc));
}

/* Trains all networks. Networks share nothing, so each is trained by one thread with one thread's
 * products; a single network for all sources gets the threads inside its products. */
static int run_workers(training *t, umbra_error *err)
{
    const umbra_train_setup *setup = t->setup;
    int workers = setup->threads < setup->networks ? setup->threads : setup->networks;
    int inside = setup->networks == 1 ? setup->threads : 1;
    int rc = umbra_blas_open(&workers, inside, err);
    if (rc != UMBRA_OK)
        return rc;
    pthread_t *threads = umbra_calloc((size_t)workers, sizeof *threads);
    if (!threads)
        return umbra_fail_nomem(err, "threads", (uint64_t)workers * sizeof *threads);
    int before = umbra_blas_set_threads(inside), started;
    rc = start_workers(t, threads, workers, &started, err);
    wait_for_workers(t);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    umbra_blas_set_threads(before);
    umbra_free(threads);
    if (rc != UMBRA_OK)
        return rc;
    if (t->failed) {
        if (err)
            *err = t->error;
        return t->error.status;
    }
    if (t->interrupted)
        return umbra_fail(err, UMBRA_E_INTERRUPTED,
                          "training was interrupted; %s holds what was done: go on with resume",
                          setup->checkpoint);
    return UMBRA_OK;
}

static int train_all(const umbra_train_setup *setup, umbra_shadow *shadow,
                     umbra_train_network *networks, umbra_error *err)
{
    training t = {
        .setup = setup,
        .shadow = shadow,
        .networks = networks,
        .callbacks = {.advance = take_rows, .epoch = take_epoch, .stopped = is_stopped},
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };
    t.callbacks.user = &t;
    t.last_event = &t.first_event;
    int rc = umbra_checkpoint_folder_open(setup, err);
    if (rc == UMBRA_OK)
        rc = run_workers(&t, err);
    pthread_cond_destroy(&t.changed);
    pthread_mutex_destroy(&t.mutex);
    return rc;
}

static int check_rounding(const umbra_train_setup *setup, const umbra_train_result *result,
                          umbra_error *err)
{
    static const double most = 0.002;
    for (int d = 0; d < UMBRA_MAX_DISTANCE && !setup->options.force; d++)
        if (result->lost[d] > most)
            return umbra_fail(err, UMBRA_E_ARGUMENT,
                              "%s weights cost %.2f points of recall at distance %d, more than "
                              "%.1f: resume with another form, or force it",
                              setup->options.weights, 100 * result->lost[d], d + 1, 100 * most);
    return UMBRA_OK;
}

static int save(const umbra_train_setup *setup, umbra_shadow *shadow,
                const umbra_train_network *networks, uint64_t start_ns, umbra_train_result *result,
                umbra_error *err)
{
    umbra_train_summarise(setup, networks, result);
    result->seconds = umbra_seconds_since(start_ns);
    int rc = check_rounding(setup, result, err);
    if (rc == UMBRA_OK)
        rc = umbra_train_training_json(&shadow->training, setup, networks, result, err);
    if (rc == UMBRA_OK)
        rc = umbra_train_recall_json(&shadow->recall, setup, networks, result, err);
    if (rc == UMBRA_OK)
        rc = umbra_shadow_save(shadow, setup->options.output, err);
    struct stat st;
    if (rc == UMBRA_OK && stat(setup->options.output, &st) != 0)
        rc = umbra_fail(err, UMBRA_E_IO, "%s: cannot stat: %s", setup->options.output,
                        strerror(errno));
    if (rc == UMBRA_OK)
        result->file_bytes = (uint64_t)st.st_size;
    return rc;
}

int umbra_train(const umbra_train_options *options, umbra_train_result *out, umbra_error *err)
{
    uint64_t start_ns = umbra_clock_ns();
    if (out)
        *out = (umbra_train_result){0};
    umbra_train_setup setup;
    umbra_train_result result = {0};
    umbra_shadow *shadow = NULL;
    umbra_train_network *networks = NULL;
    int rc = umbra_train_setup_open(&setup, options, err);
    if (rc == UMBRA_OK)
        rc = umbra_shadow_create(&shadow, &setup.spec, err);
    if (rc == UMBRA_OK) {
        networks = umbra_calloc((size_t)setup.networks, sizeof *networks);
        rc = networks ? train_all(&setup, shadow, networks, err)
                      : umbra_fail_nomem(err, "the networks", 0);
    }
    if (rc == UMBRA_OK)
        rc = save(&setup, shadow, networks, start_ns, &result, err);
    if (rc == UMBRA_OK) {
        umbra_checkpoint_folder_remove(&setup);
        if (out)
            *out = result;
    } else if (setup.checkpoint) {
        umbra_checkpoint_folder_tidy(&setup);
    }
    for (int i = 0; networks && i < setup.networks; i++)
        umbra_train_network_release(&networks[i]);
    umbra_free(networks);
    umbra_shadow_free(&shadow);
    umbra_train_setup_release(&setup);
    return rc;
}
