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
typedef struct news {
    umbra_train_epoch epoch;
    struct news *next;
} news;

typedef struct crew {
    const umbra_train_plan *plan;
    umbra_shadow *shadow;
    umbra_train_network *networks;
    umbra_learner_host host;

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    int next;    /* network that nobody has taken */
    int working; /* threads that have not ended */
    uint64_t rows_done;
    bool failed, interrupted;
    umbra_error error; /* the first */
    news *first_news, **last_news;
} crew;

/* ---- what learners tell, from their threads ---- */

static void take_rows(void *user, uint64_t rows)
{
    crew *c = user;
    pthread_mutex_lock(&c->mutex);
    c->rows_done += rows;
    pthread_mutex_unlock(&c->mutex);
}

static void take_epoch(void *user, const umbra_train_epoch *epoch)
{
    crew *c = user;
    news *n = c->plan->options.on_epoch ? umbra_calloc(1, sizeof *n) : NULL;
    if (!n)
        return; /* without memory for news the work still goes on */
    n->epoch = *epoch;
    pthread_mutex_lock(&c->mutex);
    *c->last_news = n;
    c->last_news = &n->next;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

static bool is_stopped(void *user)
{
    crew *c = user;
    if (umbra_progress_interrupted(c->plan->options.progress))
        return true;
    pthread_mutex_lock(&c->mutex);
    bool stopped = c->failed || c->interrupted;
    pthread_mutex_unlock(&c->mutex);
    return stopped;
}

/* ---- workers ---- */

/* Moves what a finished learner has to the shadow model and to the summary. */
static void keep(crew *c, umbra_learner *l)
{
    const umbra_shadow_spec *spec = &c->plan->spec;
    float *parts[UMBRA_SHADOW_PARTS];
    size_t lengths[UMBRA_SHADOW_PARTS];
    umbra_shadow_parts(spec, &c->shadow->networks[l->network], parts, lengths);
    for (int i = 0; i < UMBRA_SHADOW_PARTS; i++)
        if (lengths[i] > 0)
            memcpy(parts[i], l->state.best + l->optimizer.first[i], lengths[i] * sizeof(float));
    for (int source = l->first_source; source < l->end_source; source++) {
        const umbra_train_outcome *o = &l->outcomes[source - l->first_source];
        float *calibration = c->shadow->calibration + (size_t)source * UMBRA_MAX_DISTANCE * 2;
        for (int d = 0; d < UMBRA_MAX_DISTANCE; d++)
            for (int i = 0; i < 2; i++)
                calibration[2 * d + i] = (float)o->calibration[d][i];
    }
    c->networks[l->network] = (umbra_train_network){
        .epochs = l->state.epoch,
        .best_epoch = l->state.best_epoch,
        .history = l->state.history,
        .outcomes = l->outcomes,
    };
    l->state.history = NULL;
    l->outcomes = NULL;
}

static void train_network(crew *c, int network)
{
    umbra_error error = {0};
    umbra_learner learner;
    int rc = umbra_learner_open(&learner, c->plan, &c->host, network, &error);
    if (rc == UMBRA_OK)
        rc = umbra_learner_run(&learner, &error);
    if (rc == UMBRA_OK)
        keep(c, &learner);
    umbra_learner_release(&learner);
    if (rc == UMBRA_OK)
        return;
    pthread_mutex_lock(&c->mutex);
    if (rc == UMBRA_E_INTERRUPTED) {
        c->interrupted = true;
    } else if (!c->failed) {
        c->failed = true;
        c->error = error;
    }
    pthread_mutex_unlock(&c->mutex);
}

static void *worker_main(void *user)
{
    crew *c = user;
    for (;;) {
        bool stopped = is_stopped(c);
        pthread_mutex_lock(&c->mutex);
        int network = c->next;
        bool end = stopped || network == c->plan->networks;
        if (end) {
            c->interrupted |= network < c->plan->networks;
            c->working--;
            pthread_cond_signal(&c->changed);
        } else {
            c->next++;
        }
        pthread_mutex_unlock(&c->mutex);
        if (end)
            return NULL;
        train_network(c, network);
    }
}

/* ---- the calling thread ---- */

static void tell_news(crew *c)
{
    const umbra_train_options *o = &c->plan->options;
    pthread_mutex_lock(&c->mutex);
    news *list = c->first_news;
    c->first_news = NULL;
    c->last_news = &c->first_news;
    uint64_t done = c->rows_done;
    pthread_mutex_unlock(&c->mutex);
    while (list) {
        news *n = list;
        list = n->next;
        o->on_epoch(o->user, &n->epoch);
        umbra_free(n);
    }
    uint64_t total = 0;
    for (int source = 0; source < umbra_shadow_sources(&c->plan->spec); source++)
        if (umbra_train_has_source(&c->plan->data, &c->plan->spec, source))
            total += c->plan->data.training_rows * (uint64_t)o->epochs;
    umbra_progress_report(o->progress, "training", "rows", done, total);
}

static void wait_for_workers(crew *c)
{
    bool working = true;
    while (working) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += REPORT_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_mutex_lock(&c->mutex);
        int rc = 0;
        while (c->working > 0 && !c->first_news && rc == 0)
            rc = pthread_cond_timedwait(&c->changed, &c->mutex, &until);
        working = c->working > 0;
        pthread_mutex_unlock(&c->mutex);
        tell_news(c);
    }
}

static int start_worker(crew *c, pthread_t *thread)
{
    pthread_mutex_lock(&c->mutex);
    c->working++;
    pthread_mutex_unlock(&c->mutex);
    int rc = umbra_thread_start(thread, worker_main, c, STACK_BYTES);
    if (rc == 0)
        return 0;
    pthread_mutex_lock(&c->mutex);
    c->working--;
    pthread_mutex_unlock(&c->mutex);
    return rc;
}

/* Starts as many of n workers as can be had: fewer only take longer. */
static int start_workers(crew *c, pthread_t *threads, int n, int *started, umbra_error *err)
{
    int rc = 0;
    for (*started = 0; *started < n && rc == 0; *started += rc == 0)
        rc = start_worker(c, &threads[*started]);
    if (*started > 0)
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_SYSTEM, "cannot start a training thread: %s", strerror(rc));
}

/* Trains all networks. Networks share nothing, so each is trained by one thread with one thread's
 * products; a single network for all sources gets the threads inside its products. */
static int run_workers(crew *c, umbra_error *err)
{
    const umbra_train_plan *plan = c->plan;
    int workers = plan->threads < plan->networks ? plan->threads : plan->networks;
    int inside = plan->networks == 1 ? plan->threads : 1;
    int rc = umbra_blas_open(&workers, inside, err);
    if (rc != UMBRA_OK)
        return rc;
    pthread_t *threads = umbra_calloc((size_t)workers, sizeof *threads);
    if (!threads)
        return umbra_fail_nomem(err, "threads", (uint64_t)workers * sizeof *threads);
    int before = umbra_blas_set_threads(inside), started;
    rc = start_workers(c, threads, workers, &started, err);
    wait_for_workers(c);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    umbra_blas_set_threads(before);
    umbra_free(threads);
    if (rc != UMBRA_OK)
        return rc;
    if (c->failed) {
        if (err)
            *err = c->error;
        return c->error.status;
    }
    if (c->interrupted)
        return umbra_fail(err, UMBRA_E_INTERRUPTED,
                          "training was interrupted; %s holds what was done: go on with resume",
                          plan->checkpoint);
    return UMBRA_OK;
}

static int train_all(const umbra_train_plan *plan, umbra_shadow *shadow,
                     umbra_train_network *networks, umbra_error *err)
{
    crew c = {
        .plan = plan,
        .shadow = shadow,
        .networks = networks,
        .host = {.advance = take_rows, .epoch = take_epoch, .stopped = is_stopped},
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };
    c.host.user = &c;
    c.last_news = &c.first_news;
    int rc = umbra_checkpoint_folder_open(plan, err);
    if (rc == UMBRA_OK)
        rc = run_workers(&c, err);
    pthread_cond_destroy(&c.changed);
    pthread_mutex_destroy(&c.mutex);
    return rc;
}

static int check_rounding(const umbra_train_plan *plan, const umbra_train_result *result,
                          umbra_error *err)
{
    static const double most = 0.002;
    for (int d = 0; d < UMBRA_MAX_DISTANCE && !plan->options.force; d++)
        if (result->lost[d] > most)
            return umbra_fail(err, UMBRA_E_ARGUMENT,
                              "%s weights cost %.2f points of recall at distance %d, more than "
                              "%.1f: resume with another form, or force it",
                              umbra_weight_form_name(plan->options.weights), 100 * result->lost[d],
                              d + 1, 100 * most);
    return UMBRA_OK;
}

static int save(const umbra_train_plan *plan, umbra_shadow *shadow,
                const umbra_train_network *networks, uint64_t start_ns, umbra_train_result *result,
                umbra_error *err)
{
    umbra_train_summarise(plan, networks, result);
    result->seconds = umbra_seconds_since(start_ns);
    int rc = check_rounding(plan, result, err);
    if (rc == UMBRA_OK)
        rc = umbra_train_training_json(&shadow->training, plan, networks, result, err);
    if (rc == UMBRA_OK)
        rc = umbra_train_recall_json(&shadow->recall, plan, networks, result, err);
    if (rc == UMBRA_OK)
        rc = umbra_shadow_save(shadow, plan->options.output, err);
    struct stat st;
    if (rc == UMBRA_OK && stat(plan->options.output, &st) != 0)
        rc = umbra_fail(err, UMBRA_E_IO, "%s: cannot stat: %s", plan->options.output,
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
    umbra_train_plan plan;
    umbra_train_result result = {0};
    umbra_shadow *shadow = NULL;
    umbra_train_network *networks = NULL;
    int rc = umbra_train_plan_open(&plan, options, err);
    if (rc == UMBRA_OK)
        rc = umbra_shadow_create(&shadow, &plan.spec, err);
    if (rc == UMBRA_OK) {
        networks = umbra_calloc((size_t)plan.networks, sizeof *networks);
        rc = networks ? train_all(&plan, shadow, networks, err)
                      : umbra_fail_nomem(err, "the networks", 0);
    }
    if (rc == UMBRA_OK)
        rc = save(&plan, shadow, networks, start_ns, &result, err);
    if (rc == UMBRA_OK) {
        umbra_checkpoint_folder_remove(&plan);
        if (out)
            *out = result;
    } else if (plan.checkpoint) {
        umbra_checkpoint_folder_tidy(&plan);
    }
    for (int i = 0; networks && i < plan.networks; i++)
        umbra_train_network_release(&networks[i]);
    umbra_free(networks);
    umbra_shadow_free(&shadow);
    umbra_train_plan_release(&plan);
    return rc;
}
