/* What drafts are worth on a disk and a processor of any speed, by the share that comes true, how
 * much of the experts memory holds and how many a step checks, and whether the gate finds the best
 * number: the store and the gate as they are, on recorded routing, with a clock of their own.
 * Nothing depends on the machine that runs it.
 *
 *   widths TRACES [--wide N...] [--disk BYTES/S,LATENCY...] [--residency SHARE...]
 *          [--agree SHARE...] [--width N...] [--tokens N] [--compute MS] [--experts SHARE]
 *          [--expert KB] [--row SHARE] [--make SHARE] [--text N] [--prompt N] [--kept 1]
 *          [--prompt-agree SHARE] [--cold 1] [--behind 1] [--strange 1] [--noise SHARE]
 *          [--seed N]
 *
 * --compute: milliseconds of computing per token, everything in memory (4.8), of which --experts
 * (.57) are experts, of --expert kilobytes each (83); --wide: experts so many times as large, in
 * bytes and time (1 8); --row: what a further row costs where it shares weights, beside the first
 * (.7); --make: what making a draft costs beside a token's computing (0); --tokens: measured, after
 * half as many that fill the cache (1200). A draft that does not come true asks for the experts of
 * some other token of the traces, and so do those behind it; --behind 1: those behind it are the
 * text's again, each as often as the first (as umbra bench --draft told: makes them); --strange 1:
 * a wrong one asks for experts by chance, as hardly any token does.
 * --noise: computing scatters by so much (0), alike in steps that follow each other, and one step
 * of fifty is a pause; --seed: of that, and of which drafts come true where the gate decides (1).
 *
 * --text: texts of so many tokens (0: all tokens are one), each by a gate that knows nothing but
 * what drafts behind the --prompt tokens before it (32) would have come to, and begins when the
 * cache is full; --kept 1: by one gate that goes from text to text; --prompt-agree: in the prompt
 * not the text's share but this comes true; --cold 1: a text's cache holds nothing but what its
 * prompt brought there.
 *
 * Prints by disk, residency and agreement the experts that were there (hits), the gain in time over
 * no drafts by number of drafts, the gate's (auto), and what that is of the best. */
#include <limits.h>
#include <math.h>
#include <unistd.h>

#include "base/random.h"
#include "routing.h"
#include "simulated_clock.h"
#include "generate/gate.h"
#include "store/store_internal.h"

enum { MOST = 16, ROWS = UMBRA_DRAFT_MOST + 1, USED = 64, PIECES = 8 };

/* As the engine does it, an expert is computed when it comes; between them reads are started. */
static const double output_share = 0.08; /* of what all tokens compute, behind the last layer */

/* Bytes are a hundredth of the true ones, rates too: times stay, memory does not. */
static const double scale = 0.01;

typedef struct simulation {
    const umbra_trace_info *info;
    uint16_t *routing; /* (T, L, k); with --strange as many more by chance */
    int recorded;      /* T */
    double compute_ms, experts_share, expert_kb, row_share, make_share, noise;
    int tokens, text, prompt;
    double prompt_agree; /* -1: as in the text */
    bool kept, behind, cold, strange;
    uint64_t seed;
    char file[64];
    /* Of the run in progress. */
    double wide;
    umbra_store *store;
    umbra_clock clock;
    uint64_t now_ns;
    umbra_random random, luck;
    double drift, slow; /* of the step's computing: logarithm of its noise; times as long */
    umbra_watch watch;
    int row[ROWS]; /* tokens of the step's rows */
    int rows;
    double hits, used; /* experts that were there, and all, of the timed steps */
} simulation;

/* A place of the table. */
typedef struct setup {
    const char *disk;
    double wide, residency, agree;
} setup;

typedef struct outcome {
    double seconds, hits, checked; /* of a token; a share; drafts of a step */
} outcome;

/* ---- a step ---- */

static void compute(simulation *s, double ns, int pieces)
{
    umbra_error err = {0};
    for (int i = 0; i < pieces; i++) {
        s->now_ns += (uint64_t)(ns * s->slow / pieces);
        must(umbra_store_poll(s->store, &err), &err);
    }
}

/* What so many rows take that share their weights, where one takes 1. */
static double shared(const simulation *s, int rows)
{
    return 1 + s->row_share * (rows - 1);
}

/* The experts of a layer that any row uses, and by how many each is used. Returns how many. */
static int join_rows(const simulation *s, int layer, int *experts, int *uses)
{
    size_t layers = (size_t)s->info->layers, used = (size_t)s->info->used;
    int n = 0;
    for (int r = 0; r < s->rows; r++)
        for (size_t j = 0; j < used; j++) {
            int e = s->routing[((size_t)s->row[r] * layers + (size_t)layer) * used + j], at = 0;
            while (at < n && experts[at] != e)
                at++;
            experts[at] = e;
            uses[at] = at < n ? uses[at] + 1 : 1;
            n += at == n;
        }
    return n;
}

static void run_layer(simulation *s, int layer)
{
    umbra_error err = {0};
    int experts[ROWS * USED], uses[ROWS * USED], n = join_rows(s, layer, experts, uses);
    double layer_ns = s->compute_ms * 1e6 / s->info->layers;
    double expert_ns = layer_ns * s->experts_share * s->wide / s->info->used;
    compute(s, layer_ns * (1 - s->experts_share) * (1 - output_share) * shared(s, s->rows), PIECES);
    const umbra_batch batch = {.kind = s->rows > 1 ? UMBRA_BATCH_VERIFY : UMBRA_BATCH_DECODE,
                               .layer = layer,
                               .experts = experts,
                               .uses = uses,
                               .n = n,
                               .tokens = s->rows};
    must(umbra_store_begin(s->store, &batch, &err), &err);
    umbra_lease lease;
    while ((n = umbra_store_next(s->store, &lease, 1, &err)) > 0) {
        compute(s, expert_ns * shared(s, uses[lease.index]), 1);
        umbra_store_release(s->store, &lease);
    }
    must(n, &err);
}

/* Of n drafts behind the token at place t, those that come true are the text's next tokens. What
 * follows a wrong one is as far from the text, or the text's again. Returns how many come true. */
static int set_rows(simulation *s, int t, const int32_t *wrong, int n)
{
    int agreed = 0;
    while (agreed < n && !wrong[agreed])
        agreed++;
    s->rows = n + 1;
    for (int r = 0; r <= n; r++)
        s->row[r] = r <= agreed || (s->behind && !wrong[r - 1])
                        ? (t + r) % s->recorded
                        : (s->strange ? s->recorded : 0) +
                              (int)umbra_random_below(&s->random, (uint64_t)s->recorded);
    return agreed;
}

/* Drafts, of which a share agrees with the text, which is all zeros. */
static void make_drafts(simulation *s, double agree, int32_t *wrong)
{
    for (int i = 0; i < UMBRA_DRAFT_MOST; i++)
        wrong[i] = umbra_random_unit(&s->random) >= agree;
}

/* How long the coming step computes beside what it should: alike to those before, with a standard
 * deviation of `noise`; and one of fifty is a pause, of half a step to four of them. */
static void vary_speed(simulation *s)
{
    double z = -6;
    for (int i = 0; i < 12; i++)
        z += umbra_random_unit(&s->luck);
    s->drift = 0.7 * s->drift + 0.7 * s->noise * z;
    s->slow = exp(s->drift);
    double pause = umbra_random_unit(&s->luck), long_pause = umbra_random_unit(&s->luck);
    if (s->noise > 0 && pause < 0.02)
        s->slow *= 1.5 + 3.5 * long_pause * long_pause;
}

/* A step from place t with a fixed number of drafts, or the gate's. Returns the tokens it gives. */
static int run_step(simulation *s, int t, double agree, umbra_gate *gate, int width, int *checked)
{
    int32_t wrong[UMBRA_DRAFT_MOST];
    make_drafts(s, agree, wrong);
    vary_speed(s);
    double make_ns = s->make_share * s->compute_ms * 1e6;
    if (gate && make_ns <= 0)
        umbra_gate_made(gate, &s->watch, 0, wrong, UMBRA_DRAFT_MOST, 0);
    umbra_offer offer = {.n = UMBRA_DRAFT_MOST};
    *checked = gate ? umbra_gate_choose(gate, &offer, 1, UMBRA_DRAFT_MOST) : width;
    if (gate && make_ns > 0)
        umbra_gate_made(gate, &s->watch, 0, wrong, *checked, *checked * make_ns * 1e-9);
    compute(s, *checked * make_ns, 1);
    uint64_t begin_ns = s->now_ns, waited_ns = umbra_store_waited_ns(s->store);
    int given = set_rows(s, t, wrong, *checked) + 1;
    for (int l = 0; l < s->info->layers; l++)
        run_layer(s, l);
    compute(s, s->compute_ms * 1e6 * (1 - s->experts_share) * output_share * shared(s, s->rows), 1);
    const umbra_step_cost cost = {.seconds = (double)(s->now_ns - begin_ns) * 1e-9,
                                  .waited_s =
                                      (double)(umbra_store_waited_ns(s->store) - waited_ns) * 1e-9};
    if (gate)
        umbra_gate_step(gate, 1, *checked, given, &cost);
    for (int i = 0; gate && i < given; i++)
        umbra_gate_came(gate, &s->watch, 0);
    return given;
}

/* ---- a run ---- */

static void open_store(simulation *s, const setup *at)
{
    umbra_error err = {0};
    int layers = s->info->layers, experts = s->info->experts;
    size_t pairs = (size_t)layers * (size_t)experts;
    uint64_t bytes = umbra_align_up((uint64_t)(s->expert_kb * 1e3 * at->wide * scale), 512);
    umbra_slice *slices = need(umbra_calloc(pairs * UMBRA_STORE_SLICES, sizeof *slices));
    for (size_t i = 0; i < pairs; i++)
        slices[i * UMBRA_STORE_SLICES] = (umbra_slice){0, bytes, 0};
    const char *path = s->file, *unit;
    char disk[64], *end;
    double rate = strtod(at->disk, &end);
    unit = strpbrk(end, "MG");
    rate *= unit && *unit == 'G' ? 1e9 : unit ? 1e6 : 1;
    /* What a rounded expert takes must be what the true one does. */
    rate *= (double)bytes / (s->expert_kb * 1e3 * at->wide);
    snprintf(disk, sizeof disk, "sim:%.0f%s", rate,
             strchr(at->disk, ',') ? strchr(at->disk, ',') : ",100us");
    double least = ROWS * s->info->used + 1, slots = at->residency * (double)pairs;
    umbra_store_options o = {.paths = &path,
                             .n_paths = 1,
                             .n_layers = layers,
                             .n_experts = experts,
                             .slices = slices,
                             .budget_bytes = bytes * (uint64_t)(slots > least ? slots : least),
                             .io = disk};
    must(umbra_store_open_with(&s->store, &o, &umbra_io_sim, &s->clock, &err), &err);
    umbra_free(slices);
}

/* Takes what the store counted into the run's sums. */
static void count_hits(simulation *s)
{
    umbra_store_stats stats;
    umbra_store_get_stats(s->store, &stats);
    umbra_store_reset_stats(s->store);
    s->hits += (double)stats.hits;
    s->used += (double)(stats.hits + stats.late + stats.misses);
}

/* A text begins at place t, with a prompt that is drafted on paper. */
static void begin_text(simulation *s, const setup *at, int t, umbra_gate *gate)
{
    int32_t wrong[UMBRA_DRAFT_MOST];
    int checked;
    if (s->cold) {
        count_hits(s);
        umbra_store_close(&s->store);
        open_store(s, at);
        for (int i = t - s->prompt; i < t; i++)
            run_step(s, i, at->agree, NULL, 0, &checked);
        umbra_store_reset_stats(s->store);
    }
    if (!gate)
        return;
    if (!s->kept)
        umbra_gate_init(gate);
    umbra_gate_forget(gate, &s->watch, false);
    for (int i = 0; i < s->prompt && s->make_share <= 0; i++) {
        make_drafts(s, s->prompt_agree < 0 ? at->agree : s->prompt_agree, wrong);
        umbra_gate_made(gate, &s->watch, 0, wrong, UMBRA_DRAFT_MOST, 0);
        umbra_gate_came(gate, &s->watch, 0);
    }
    umbra_gate_forget(gate, &s->watch, true);
}

/* width: of every step; -1: the gate's. */
static outcome run(simulation *s, const setup *at, int width)
{
    umbra_gate gate;
    outcome out = {0};
    bool gated = width < 0;
    int steps = 0, checked, t = 0, warm = s->tokens / 2, text = s->text > 0 ? s->text : INT_MAX;
    umbra_random_seed(&s->random, width < 0 ? s->seed : 1);
    umbra_random_seed(&s->luck, 100 * s->seed + (uint64_t)(width + 1));
    s->drift = 0;
    s->slow = 1;
    s->wide = at->wide;
    s->hits = s->used = 0;
    open_store(s, at);
    umbra_gate_init(&gate);
    s->watch.n = 0;
    while (t < warm && !s->cold)
        t += run_step(s, t, at->agree, gated && !s->text ? &gate : NULL, gated ? 0 : width,
                      &checked);
    t = s->cold ? warm : t;
    umbra_store_reset_stats(s->store);
    int first = t, end = s->text > 0 ? first : INT_MAX;
    for (; t < warm + s->tokens; steps++) {
        if (t >= end) {
            begin_text(s, at, t, gated ? &gate : NULL);
            end = t + text;
        }
        uint64_t begin_ns = s->now_ns;
        t += run_step(s, t, at->agree, gated ? &gate : NULL, width, &checked);
        out.seconds += (double)(s->now_ns - begin_ns) * 1e-9;
        out.checked += checked;
    }
    count_hits(s);
    out.seconds /= t - first;
    out.hits = s->hits / s->used;
    out.checked /= steps;
    umbra_store_close(&s->store);
    return out;
}

/* ---- the table ---- */

typedef struct worst {
    double of_best, of_none;
} worst;

static void print_row(simulation *s, const setup *at, const double *widths, int n, worst *w)
{
    outcome none = run(s, at, 0), by_gate = run(s, at, -1);
    double best = 1, gain = none.seconds / by_gate.seconds;
    printf("%4.0f %-12s %4.0f %5.0f %5.0f", at->wide, at->disk, 100 * at->residency,
           100 * at->agree, 100 * none.hits);
    for (int i = 0; i < n; i++) {
        double fixed = none.seconds / run(s, at, (int)widths[i]).seconds;
        best = fixed > best ? fixed : best;
        printf(" %5.2f", fixed);
    }
    printf(" %5.2f %6.2f %7.1f\n", gain, by_gate.checked, 100 * gain / best);
    fflush(stdout);
    w->of_best = gain / best < w->of_best ? gain / best : w->of_best;
    w->of_none = gain < w->of_none ? gain : w->of_none;
}

typedef struct lists {
    const char *disk[MOST];
    double wide[MOST], residency[MOST], agree[MOST], width[MOST];
    int disks, wides, residencies, agrees, widths;
} lists;

static void print_table(simulation *s, const lists *o)
{
    worst w = {1, 1};
    printf("wide disk         fit agree  hits");
    for (int i = 0; i < o->widths; i++)
        printf("   x%-2.0f", o->width[i]);
    printf("  auto drafts of best\n");
    for (int x = 0; x < o->wides; x++)
        for (int d = 0; d < o->disks; d++)
            for (int r = 0; r < o->residencies; r++)
                for (int a = 0; a < o->agrees; a++)
                    print_row(s, &(setup){o->disk[d], o->wide[x], o->residency[r], o->agree[a]},
                              o->width, o->widths, &w);
    printf("auto at worst %.1f %% of the best number of drafts, and %.1f %% of none\n",
           100 * w.of_best, 100 * w.of_none);
}

static void read_number(simulation *s, const char *option, double value)
{
    if (strcmp(option, "--tokens") == 0)
        s->tokens = (int)value;
    else if (strcmp(option, "--compute") == 0)
        s->compute_ms = value;
    else if (strcmp(option, "--experts") == 0)
        s->experts_share = value;
    else if (strcmp(option, "--expert") == 0)
        s->expert_kb = value;
    else if (strcmp(option, "--row") == 0)
        s->row_share = value;
    else if (strcmp(option, "--make") == 0)
        s->make_share = value;
    else if (strcmp(option, "--noise") == 0)
        s->noise = value;
    else if (strcmp(option, "--text") == 0)
        s->text = (int)value;
    else if (strcmp(option, "--prompt") == 0)
        s->prompt = (int)value;
    else if (strcmp(option, "--prompt-agree") == 0)
        s->prompt_agree = value;
    else if (strcmp(option, "--kept") == 0)
        s->kept = value > 0;
    else if (strcmp(option, "--cold") == 0)
        s->cold = value > 0;
    else if (strcmp(option, "--strange") == 0)
        s->strange = value > 0;
    else if (strcmp(option, "--behind") == 0)
        s->behind = value > 0;
    else if (strcmp(option, "--seed") == 0)
        s->seed = (uint64_t)value;
}

static void read_options(simulation *s, lists *o, int argc, char **argv)
{
    for (int i = 2; i + 1 < argc; i++) {
        const char *option = argv[i];
        if (strcmp(option, "--wide") == 0)
            o->wides = numbers_of(argc, argv, &i, o->wide, MOST);
        else if (strcmp(option, "--residency") == 0)
            o->residencies = numbers_of(argc, argv, &i, o->residency, MOST);
        else if (strcmp(option, "--agree") == 0)
            o->agrees = numbers_of(argc, argv, &i, o->agree, MOST);
        else if (strcmp(option, "--width") == 0)
            o->widths = numbers_of(argc, argv, &i, o->width, MOST);
        else if (strcmp(option, "--disk") == 0)
            for (o->disks = 0; i + 1 < argc && argv[i + 1][0] != '-' && o->disks < MOST;)
                o->disk[o->disks++] = argv[++i];
        else
            read_number(s, option, atof(argv[++i]));
    }
}

/* As many tokens again, each with distinct experts by chance in every layer. */
static void add_strangers(simulation *s)
{
    size_t used = (size_t)s->info->used;
    size_t all = (size_t)s->recorded * (size_t)s->info->layers * used;
    s->routing = need(umbra_reallocarray(s->routing, 2 * all, sizeof *s->routing));
    umbra_random_seed(&s->random, 1);
    for (uint16_t *of = s->routing + all; of < s->routing + 2 * all; of += used)
        for (size_t j = 0, k = 0; j < used; j += k == j) {
            of[j] = (uint16_t)umbra_random_below(&s->random, (uint64_t)s->info->experts);
            for (k = 0; of[k] != of[j]; k++)
                ;
        }
}

int main(int argc, char **argv)
{
    umbra_error err = {0};
    umbra_trace *trace;
    lists o = {.disk = {"500M,100us", "2G,100us", "8G,50us"},
               .wide = {1, 8},
               .residency = {0.25, 0.5, 1},
               .agree = {0, 0.3, 0.6, 0.8, 0.9, 1},
               .width = {1, 2, 3, 4, 6, 8, 12, 16},
               .disks = 3,
               .wides = 2,
               .residencies = 3,
               .agrees = 6,
               .widths = 8};
    simulation s = {.compute_ms = 4.8,
                    .experts_share = 0.57,
                    .expert_kb = 83,
                    .row_share = 0.7,
                    .tokens = 1200,
                    .prompt = 32,
                    .prompt_agree = -1,
                    .seed = 1,
                    .now_ns = 1};
    if (argc < 2) {
        fputs("usage: widths TRACES [OPTIONS]; the source's head explains them\n", stderr);
        return 2;
    }
    read_options(&s, &o, argc, argv);
    s.clock = simulated_clock(&s.now_ns);
    must(umbra_trace_open(&trace, argv[1], &err), &err);
    s.info = umbra_trace_get_info(trace);
    s.routing = read_routing(trace, &s.recorded);
    if (s.strange)
        add_strangers(&s);
    make_disk(s.file, 1 << 20);
    print_table(&s, &o);
    unlink(s.file);
    umbra_free(s.routing);
    umbra_trace_close(&trace);
    return 0;
}
