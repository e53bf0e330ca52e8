/* Reading ahead by the engine itself with a clock of its own: documents are decoded, walks walked,
 * experts computed as ever, but time is what the steps are said to cost and what a simulated disk
 * takes, so that nothing depends on the machine that runs it, and every run gives the same.
 *
 *   simulate_runs MODEL TRACES [--disk RATE,LATENCY...] [--residency SHARE...] [--policy NAME...]
 *                 [--tokens N] [--warm N] [--widen N] [--rate GB/S] [--output GB/S] [--step US]
 *                 [--walk TIMES] [--predict US] [--spare TIMES EXPERTS LAYERS]
 *
 * A step of products takes --step microseconds, for its barrier and the small things before it, and
 * the time in which --rate would read its weights; the output matrix, which is long, is read at
 * --output. --walk: walks take so much of that (1), where the weights that they read often lie in
 * caches. --widen: experts are so many times as large, for the processor and the disk. --predict:
 * microseconds of a prediction by gate or shadow.
 *
 * What a policy loses is found by taking away from it what may be the cause. Behind its name:
 *   +true    what is foretold is what will be used, of the same layers at the same time
 *   +free    walks take no time
 *   +routed  every layer's walk begins when its experts are known, and comes to its end, whether
 *            anything is waited for or not
 *   +spare   walks are walked by a core of their own, from the newest layer as soon as it has done
 *            the layer that it was at, taking what earlier walks of the token found; it is --spare
 *            TIMES as slow as those that compute (2), computes that many EXPERTS of a layer (0),
 *            but all of the first, goes so many LAYERS (4), and never over the token's end
 * For instance runahead+true+free.
 *
 * Behind each table stands what no walk can beat, from what off waited in each layer and what a
 * walked layer took: of the layers that waited longest so many are walked and never waited for, at
 * that price each, that the price is what the others wait, since waiting is free for walking; the
 * same where nobody knows which layers will wait longest, so that they are taken as they come; and
 * with a core to spare so many as that core gets done meanwhile. */
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "numbers.h"
#include "simulated_runs.h"

enum { MOST = 16 };

static const char *const fate_name[FATES] = {"unseen", "doubted", "unread", "late"};

static void print_outcome(const simulation *s, const outcome *o, const char *policy, double off_s)
{
    double tokens = s->tokens - s->warm, mb = 1e-6 * s->widen / tokens;
    double used = (double)(o->stats.hits + o->stats.late + o->stats.misses);
    umbra_ahead_stats ahead;
    umbra_store_sum_ahead(&o->stats, &ahead);
    double all_ms = o->seconds * 1e3 / tokens, compute_ms = s->compute_ns * 1e-6 / tokens,
           walk_ms = s->walk_ns * 1e-6 / tokens;
    printf("%-22s %7.1f %+6.1f%% %6.2f %6.2f %6.2f %5.1f%% %6.2f %6.2f %6.2f %6.2f ", policy,
           tokens / o->seconds, off_s > 0 ? 100 * (off_s / o->seconds - 1) : 0, compute_ms, walk_ms,
           all_ms - compute_ms - walk_ms, 100 * (double)o->stats.hits / used,
           (double)o->stats.bytes_read * mb, (double)ahead.useful_bytes * mb,
           (double)ahead.late_bytes * mb, (double)ahead.wasted_bytes * mb);
    for (int i = 0; i < FATES; i++)
        printf(" %7.2f", (double)s->fates[i] / tokens);
    printf(" %4.0f\n", (double)o->prefetch.runner.predictions / tokens);
    fflush(stdout);
}

/* What was named of what layers used, and how many were foretold, 1 to 4 layers ahead. first, last:
 * of simulation.recall, taken together. */
static void print_named(const simulation *s, const char *from, int first, int last)
{
    double k = s->model->config.experts_used, tokens = s->tokens - s->warm;
    double named[UMBRA_MAX_DISTANCE + 1] = {0}, layers[UMBRA_MAX_DISTANCE + 1] = {0};
    printf("  named from %-12s", from);
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++) {
        for (int i = first; i <= last; i++) {
            named[d] += (double)s->recall[i].named[d];
            layers[d] += (double)s->recall[i].layers[d];
        }
        printf(" %.3f", layers[d] > 0 ? named[d] / (k * layers[d]) : 0);
    }
    printf(" of");
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++)
        printf(" %.1f", layers[d] / tokens);
    printf(" layers\n");
}

static void print_recall(const simulation *s)
{
    if (s->recall[1].layers[1] == 0)
        return;
    print_named(s, "all layers", 0, 1);
    print_named(s, "the first", 0, 0);
    print_named(s, "the others", 1, 1);
}

static void print_head(const char *disk, double residency)
{
    printf("\ndisk %s, %.1f %% resident\n%-22s %7s %7s %6s %6s %6s %6s %6s %6s %6s %6s ", disk,
           100 * residency, "policy", "tok/s", "to off", "comp", "walk", "wait", "hits", "read",
           "useful", "late", "wasted");
    for (int i = 0; i < FATES; i++)
        printf(" %7s", fate_name[i]);
    printf(" %4s\n", "told");
}

/* ---- what no walk can beat ---- */

/* What the runs of one disk say of it; times in ns per token. */
typedef struct limits {
    double compute_ns, read_ns; /* of off: C and I */
    double step_ns;             /* a walked layer of runahead */
    double oracle_ns;
} limits;

static int falling(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Time of a token if the layers that wait longest are foretold, as many as is best. times: how slow
 * the core to spare is; 0: there is none. stalls_ns (n), falling. */
static double least_ns(const limits *l, const double *stalls_ns, int n, double tokens, double times)
{
    double left_ns = 0, least = INFINITY;
    for (int i = 0; i < n; i++)
        left_ns += stalls_ns[i] / tokens;
    for (int i = 0; i <= n; i++) {
        double walked_ns = i * l->step_ns / tokens;
        double all_ns = times > 0 ? fmax(l->compute_ns + left_ns, walked_ns * times)
                                  : l->compute_ns + fmax(left_ns, walked_ns);
        least = fmin(least, all_ns);
        left_ns -= i < n ? stalls_ns[i] / tokens : 0;
    }
    return fmax(least, l->read_ns);
}

static void print_limit(const char *name, double ns, const limits *l, double off_ns)
{
    printf("%-36s %7.1f tok/s %+6.1f%%", name, 1e9 / ns, 100 * (off_ns / ns - 1));
    if (l->oracle_ns > 0)
        printf("  %.2f of the oracle", l->oracle_ns / ns);
    printf("\n");
}

static void print_limits(simulation *s, const limits *l)
{
    if (s->n_stalls == 0 || l->step_ns <= 0)
        return;
    double tokens = (double)s->n_stalls / s->model->config.layers, off_ns = l->compute_ns;
    qsort(s->stalls_ns, (size_t)s->n_stalls, sizeof *s->stalls_ns, falling);
    for (int i = 0; i < s->n_stalls; i++)
        off_ns += s->stalls_ns[i] / tokens;
    printf("C %.2f ms, I %.2f ms, a walked layer %.1f us\n", l->compute_ns * 1e-6,
           l->read_ns * 1e-6, l->step_ns * 1e-3);
    print_limit("bound max(C, I)", fmax(l->compute_ns, l->read_ns), l, off_ns);
    print_limit("bound of walks, every core computing",
                least_ns(l, s->stalls_ns, s->n_stalls, tokens, 0), l, off_ns);
    double all_ns = l->step_ns * s->model->config.layers, wait_ns = off_ns - l->compute_ns;
    print_limit("the same, layers taken as they come",
                fmax(l->compute_ns + wait_ns * all_ns / (wait_ns + all_ns), l->read_ns), l, off_ns);
    print_limit("bound of walks, a core to spare",
                least_ns(l, s->stalls_ns, s->n_stalls, tokens, s->spare_times), l, off_ns);
}

/* What the run is worth for them. */
static void take_limits(limits *l, const simulation *s, const outcome *o, const char *policy,
                        const char *disk)
{
    double tokens = s->tokens - s->warm;
    char *unit;
    double rate = strtod(disk, &unit) * (*unit == 'G' ? 1e9 : *unit == 'M' ? 1e6 : 1);
    if (strcmp(policy, "off") == 0) {
        l->compute_ns = s->compute_ns / tokens;
        l->read_ns = (double)o->stats.bytes_read * s->widen / tokens / rate * 1e9;
    } else if (strcmp(policy, "runahead") == 0 && o->prefetch.runner.predictions > 0) {
        l->step_ns = s->walk_ns / (double)o->prefetch.runner.predictions;
    } else if (strcmp(policy, "oracle") == 0) {
        l->oracle_ns = o->seconds * 1e9 / tokens;
    }
}

/* ---- the program ---- */

/* One processor is all that it needs: then predictions are made by the thread that computes. */
static void stay_on_one_processor(void)
{
    cpu_set_t one;
    int here = sched_getcpu();
    CPU_ZERO(&one);
    CPU_SET(here < 0 ? 0 : here, &one);
    (void)sched_setaffinity(0, sizeof one, &one);
}

/* The words behind an option. */
static int words_of(int argc, char **argv, int *i, const char **out)
{
    int n = 0;
    while (*i + 1 < argc && argv[*i + 1][0] != '-' && n < MOST)
        out[n++] = argv[++*i];
    return n;
}

typedef struct choice {
    const char *disks[MOST], *policies[MOST];
    double residencies[MOST], rate, output, step_us, walk, predict_us, spare[3];
    int n_disks, n_policies, n_residencies;
} choice;

static void parse(int argc, char **argv, choice *o, simulation *s)
{
    for (int i = 3; i < argc; i++) {
        const char *option = argv[i];
        double one = 0;
        if (strcmp(option, "--disk") == 0)
            o->n_disks = words_of(argc, argv, &i, o->disks);
        else if (strcmp(option, "--policy") == 0)
            o->n_policies = words_of(argc, argv, &i, o->policies);
        else if (strcmp(option, "--residency") == 0)
            o->n_residencies = numbers_of(argc, argv, &i, o->residencies, MOST);
        else if (strcmp(option, "--spare") == 0)
            (void)numbers_of(argc, argv, &i, o->spare, 3);
        else if (numbers_of(argc, argv, &i, &one, 1) == 0)
            continue;
        else if (strcmp(option, "--tokens") == 0)
            s->tokens = (int)one;
        else if (strcmp(option, "--warm") == 0)
            s->warm = (int)one;
        else if (strcmp(option, "--widen") == 0 && one >= 1)
            s->widen = (int)one;
        else if (strcmp(option, "--rate") == 0 && one > 0)
            o->rate = one;
        else if (strcmp(option, "--output") == 0 && one > 0)
            o->output = one;
        else if (strcmp(option, "--step") == 0)
            o->step_us = one;
        else if (strcmp(option, "--walk") == 0 && one > 0)
            o->walk = one;
        else if (strcmp(option, "--predict") == 0)
            o->predict_us = one;
    }
    s->ns_per_byte = 1 / o->rate;
    s->output_ns_per_byte = 1 / o->output;
    s->step_ns = o->step_us * 1e3;
    s->walk_times = o->walk;
    s->predict_ns = o->predict_us * 1e3;
    s->spare_times = o->spare[0];
    s->spare_experts = (int)o->spare[1];
    s->spare_layers = (int)o->spare[2];
    s->now_ns = 1;
}

static void allocate(simulation *s)
{
    size_t layers = (size_t)s->model->config.layers, experts = (size_t)s->model->config.experts;
    size_t rows = (size_t)s->tokens * layers;
    s->routing = need(calloc(rows, (size_t)s->model->config.experts_used * sizeof *s->routing));
    s->stalls_ns = need(calloc(rows, sizeof *s->stalls_ns));
    s->foretold = need(calloc(layers * experts, sizeof *s->foretold));
    s->foretold_of = need(calloc(layers, sizeof *s->foretold_of));
    for (int i = 0; i < SIMULATED_PENDING; i++)
        s->pending[i].probability = need(calloc(experts, sizeof *s->pending[i].probability));
}

static void release(simulation *s)
{
    free(s->routing);
    free(s->stalls_ns);
    free(s->foretold);
    free(s->foretold_of);
    for (int i = 0; i < SIMULATED_PENDING; i++)
        free(s->pending[i].probability);
}

/* All policies on one disk with one share in memory. */
static void compare_policies(simulation *s, umbra_trace *trace, const choice *o, const char *disk,
                             double residency)
{
    limits l = {0};
    double off_s = 0;
    print_head(disk, residency);
    for (int p = 0; p < o->n_policies; p++) {
        outcome out = simulated_run(s, trace, o->policies[p], disk, residency);
        off_s = strcmp(o->policies[p], "off") == 0 ? out.seconds : off_s;
        print_outcome(s, &out, o->policies[p], off_s);
        print_recall(s);
        take_limits(&l, s, &out, o->policies[p], disk);
    }
    print_limits(s, &l);
}

int main(int argc, char **argv)
{
    choice o = {.disks = {"2G,100us", "5G,100us", "8G,100us"},
                .n_disks = 3,
                .policies = {"off", "gate", "runahead", "auto", "oracle", "runahead+spare"},
                .n_policies = 6,
                .residencies = {0.411},
                .n_residencies = 1,
                .rate = 12.5,
                .output = 38,
                .step_us = 1,
                .walk = 1,
                .predict_us = 15,
                .spare = {2, 0, UMBRA_MAX_DISTANCE}};
    simulation s = {.tokens = 224, .warm = 64, .widen = 1};
    if (argc < 3) {
        fputs("usage: simulate_runs MODEL TRACES [OPTIONS]; the source's head explains them\n",
              stderr);
        return 2;
    }
    parse(argc, argv, &o, &s);
    umbra_error err = {0};
    umbra_model *model;
    umbra_trace *trace;
    stay_on_one_processor();
    must(umbra_model_open(&model, argv[1], &err), &err);
    must(umbra_trace_open(&trace, argv[2], &err), &err);
    const umbra_clock clock = {simulated_runs_now, simulated_runs_wait, &s};
    s.model = model;
    allocate(&s);
    umbra_clock_replace(&clock);
    simulated_run(&s, trace, "off", "100G,1us", 1); /* to know what is used */
    printf("tokens/s; ms per token that are computed, walked, waited; MB per token; of the used "
           "experts per token that\nwere not there: nothing foretold of their layer, foretold as "
           "unlikely, foretold but not read, being read\n");
    for (int d = 0; d < o.n_disks; d++)
        for (int r = 0; r < o.n_residencies; r++)
            compare_policies(&s, trace, &o, o.disks[d], o.residencies[r]);
    umbra_clock_replace(NULL);
    release(&s);
    umbra_trace_close(&trace);
    umbra_model_close(&model);
    return 0;
}
