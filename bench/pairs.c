/* bench_pairs MODEL [--ram SIZE...] [--io IO...] [--policy A B] [--tokens N] [--turn N]
 * [--rounds N] [--threads N] [--kernels NAME]: how many times as fast the second policy (auto) is
 * as the first (off), told so that a machine which drifts takes no part in it. Two engines, one for
 * each, write the same text side by side, --turn tokens (8) in turns whose order is swapped each
 * time, from the first token on. A round (9) is a text of --tokens (200) and gives one ratio; what
 * is printed are which share of the experts each has room for, the quartiles and ends of the
 * rounds' ratios, and of the middle round what a token took, what of it was waited and walked in
 * waits, what it read, and for how much of the text the second read ahead. Rounds write different
 * texts. For the oracle a text is written once before. Where the second runs ahead and every core
 * computes, a second line says what walks in waits can be worth by what was measured, where nobody
 * knows which layers will wait longest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <umbra/umbra.h>

#include "base/system.h"
#include "numbers.h"

enum { MOST_WORDS = 16, MOST_ROUNDS = 256, MOST_TOKENS = 1 << 12 };

typedef struct settings {
    const char *model, *kernels, *io[MOST_WORDS];
    uint64_t ram[MOST_WORDS];
    int n_io, n_ram;
    umbra_policy policies[2];
    int n_policies, tokens, turn, rounds, threads;
} settings;

/* One of the two that write. */
typedef struct writer {
    umbra_engine *engine;
    umbra_prefetch *ahead;
    umbra_sampler *sampler;
    int32_t text[MOST_TOKENS + 1];
    int at; /* of the token to be computed next */
    double seconds;
    uint64_t waited_ns;
    double on, resident; /* shares: of the tokens, of the experts */
    double walks_s;      /* walks in waits, in all */
    double walked_s;     /* a layer of these; 0: none was walked */
    uint64_t bytes_read;
    uint16_t *routing; /* (tokens, layers, used) is kept there, or NULL: it is not */
    int layers, used;
} writer;

typedef struct figures {
    double ratio;
    writer of[2]; /* closed */
} figures;

static int draw(void *user, int index, const float *logits)
{
    writer *w = user;
    (void)index;
    int32_t next = umbra_sampler_next(w->sampler, logits, w->text, w->at + 1);
    w->text[w->at + 1] = next;
    return next < 0 ? next : 0;
}

static int keep_routing(void *user, const umbra_rows *rows)
{
    writer *w = user;
    size_t layer = (size_t)w->at * (size_t)w->layers + (size_t)rows->layer;
    uint16_t *row = w->routing + layer * (size_t)w->used;
    for (int j = 0; j < w->used; j++)
        row[j] = (uint16_t)rows->experts[j];
    return 0;
}

static void write_tokens(writer *w, int n)
{
    umbra_error err = {0};
    umbra_tap tap = {.user = w, .logits = draw};
    tap.at[UMBRA_TAP_ROUTED] = w->routing ? keep_routing : NULL;
    double start = now();
    for (int i = 0; i < n; i++, w->at++) {
        umbra_token token = {w->text[w->at], 0, true};
        must(umbra_engine_eval(w->engine, &token, 1, &tap, &err), &err);
    }
    w->seconds += now() - start;
}

static void open_writer(writer *w, const umbra_model *model, const settings *s, umbra_policy policy,
                        const char *io, uint64_t ram, int round)
{
    umbra_error err = {0};
    umbra_prefetch_options p = {.policy = policy};
    umbra_engine_options o = {.ram_bytes = ram,
                              .io = io,
                              .threads = s->threads,
                              .context = s->tokens + 1,
                              .kernels = s->kernels};
    const umbra_sampling sampling = {.temperature = 0.8f, .seed = (uint64_t)round + 1};
    const umbra_model_info *info = umbra_model_get_info(model);
    int vocabulary = info->vocabulary;
    *w = (writer){.text = {1000 % vocabulary}, .layers = info->layers, .used = info->experts_used};
    must(umbra_prefetch_fit(model, &o, &p, &err), &err);
    must(umbra_engine_open(&w->engine, model, &o, &err), &err);
    must(umbra_prefetch_open(&w->ahead, w->engine, &p, &err), &err);
    must(umbra_sampler_open(&w->sampler, &sampling, vocabulary, &err), &err);
    w->resident = umbra_engine_get_plan(w->engine)->residency;
}

static void close_writer(writer *w)
{
    umbra_store_stats store;
    umbra_prefetch_stats ahead;
    umbra_engine_get_store_stats(w->engine, &store);
    umbra_prefetch_get_stats(w->ahead, &ahead);
    w->waited_ns = store.wait_ns;
    w->bytes_read = store.bytes_read;
    if (ahead.policy == UMBRA_POLICY_RUNAHEAD)
        w->walks_s = 1e-9 * (double)ahead.runner.predict_ns;
    if (ahead.policy == UMBRA_POLICY_RUNAHEAD && ahead.runner.predictions > 0)
        w->walked_s = w->walks_s / (double)ahead.runner.predictions;
    w->on = ahead.tokens > 0 ? (double)ahead.tokens_on / (double)ahead.tokens : 0;
    umbra_sampler_close(&w->sampler);
    umbra_prefetch_close(&w->ahead);
    umbra_engine_close(&w->engine);
}

/* What the round's text will use, by writing it once with all in memory. */
static uint16_t *foresee(const umbra_model *model, const settings *s, int round)
{
    static writer w;
    open_writer(&w, model, s, UMBRA_POLICY_OFF, NULL, 0, round);
    size_t each = (size_t)w.layers * (size_t)w.used;
    uint16_t *routing = need(calloc((size_t)s->tokens, each * sizeof *routing));
    w.routing = routing;
    write_tokens(&w, s->tokens);
    close_writer(&w);
    return routing;
}

static void run_round(const umbra_model *model, const settings *s, const char *io, uint64_t ram,
                      int round, figures *f)
{
    bool oracle = s->policies[0] == UMBRA_POLICY_ORACLE || s->policies[1] == UMBRA_POLICY_ORACLE;
    uint16_t *routing = oracle ? foresee(model, s, round) : NULL;
    for (int i = 0; i < 2; i++) { /* also whose memory is laid out first takes turns */
        writer *w = &f->of[i ^ (round & 1)];
        open_writer(w, model, s, s->policies[i ^ (round & 1)], io, ram, round);
        if (routing)
            umbra_prefetch_set_oracle(w->ahead, 0, routing, s->tokens);
    }
    for (int at = 0, first = round / 2 % 2; at < s->tokens; at += s->turn, first = !first) {
        int n = s->tokens - at < s->turn ? s->tokens - at : s->turn;
        write_tokens(&f->of[first], n);
        write_tokens(&f->of[!first], n);
    }
    for (int i = 0; i < 2; i++)
        close_writer(&f->of[i]);
    free(routing);
    f->ratio = f->of[0].seconds / f->of[1].seconds;
    if (memcmp(f->of[0].text, f->of[1].text, sizeof f->of[0].text) != 0) {
        fputs("bench_pairs: the two wrote different texts, which must never be\n", stderr);
        exit(1);
    }
}

/* ---- what is printed ---- */

static int by_ratio(const void *a, const void *b)
{
    const figures *x = a, *y = b;
    return (x->ratio > y->ratio) - (x->ratio < y->ratio);
}

static double at_share(const figures *f, int n, double share)
{
    return f[(int)(share * (n - 1) + 0.5)].ratio;
}

static void print_head(const settings *s)
{
    printf(
        "%s, %s over %s, %d tokens from the first on, %d rounds\n%-16s %9s %5s %5s | %5s %5s %5s "
        "%5s %5s |%7s %6s %6s %6s |%7s %6s %6s %6s %4s\n",
        s->model, umbra_policy_name(s->policies[1]), umbra_policy_name(s->policies[0]), s->tokens,
        s->rounds, "disk", "ram", "in", "in", "min", "25%", "half", "75%", "max", "ms", "waits",
        "walks", "MB", "ms", "waits", "walks", "MB", "on");
}

/* C + S W / (S + W), from what the first computes and waits, C and S, and what walking all layers
 * takes, W: walks are free while somebody waits, and a layer that was walked waits no more. */
static void print_bound(const writer *first, double first_ms, double waited_ms, double walked_s)
{
    double all_ms = 1e3 * walked_s * first->layers;
    double bound_ms = first_ms - waited_ms + waited_ms * all_ms / (waited_ms + all_ms);
    printf("  a walked layer takes %.1f us: walks as they come are worth %.3f ms, %.2f\n",
           1e6 * walked_s, bound_ms, first_ms / bound_ms);
}

static void print(const settings *s, const char *io, uint64_t ram, figures *f)
{
    int n = s->rounds;
    qsort(f, (size_t)n, sizeof *f, by_ratio);
    const writer *a = &f[n / 2].of[0], *b = &f[n / 2].of[1];
    double each_ms = 1e3 / s->tokens, waited_ms = 1e-6 / s->tokens;
    printf("%-16s %9.3g %5.3f %5.3f | %5.2f %5.2f %5.2f %5.2f %5.2f ", io, (double)ram, a->resident,
           b->resident, f[0].ratio, at_share(f, n, 0.25), at_share(f, n, 0.5), at_share(f, n, 0.75),
           f[n - 1].ratio);
    for (int i = 0; i < 2; i++) {
        const writer *w = &f[n / 2].of[i];
        printf("|%7.3f %6.3f %6.3f %6.2f ", w->seconds * each_ms, (double)w->waited_ns * waited_ms,
               w->walks_s * each_ms, 1e-6 * (double)w->bytes_read / s->tokens);
    }
    printf("%4.2f\n", b->on);
    if (a->walked_s <= 0 && b->walked_s > 0 && !umbra_system_has_spare(s->threads))
        print_bound(a, a->seconds * each_ms, (double)a->waited_ns * waited_ms, b->walked_s);
    fflush(stdout);
}

static void measure(const umbra_model *model, const settings *s)
{
    figures *all = need(calloc((size_t)s->rounds, sizeof *all));
    print_head(s);
    for (int i = 0; i < s->n_io; i++)
        for (int r = 0; r < s->n_ram; r++) {
            for (int round = 0; round < s->rounds; round++)
                run_round(model, s, s->io[i], s->ram[r], round, &all[round]);
            print(s, s->io[i], s->ram[r], all);
        }
    free(all);
}

/* ---- the command line ---- */

static void usage(void)
{
    fputs("usage: bench_pairs MODEL [--ram SIZE...] [--io IO...] [--policy A B] [--tokens N]\n"
          "                   [--turn N] [--rounds N] [--threads N] [--kernels NAME]\n",
          stderr);
    exit(2);
}

static void take_word(void *self, const char *option, const char *word)
{
    settings *s = self;
    umbra_error err = {0};
    if (strcmp(option, "--ram") == 0 && s->n_ram < MOST_WORDS)
        s->ram[s->n_ram++] = bytes_of(word, usage);
    else if (strcmp(option, "--io") == 0 && s->n_io < MOST_WORDS)
        s->io[s->n_io++] = word;
    else if (strcmp(option, "--policy") == 0 && s->n_policies < 2)
        must(umbra_policy_parse(word, &s->policies[s->n_policies++], &err), &err);
    else if (strcmp(option, "--tokens") == 0)
        s->tokens = number_of(word, MOST_TOKENS, usage);
    else if (strcmp(option, "--turn") == 0)
        s->turn = number_of(word, MOST_TOKENS, usage);
    else if (strcmp(option, "--rounds") == 0)
        s->rounds = number_of(word, MOST_ROUNDS, usage);
    else if (strcmp(option, "--kernels") == 0)
        s->kernels = word;
    else if (strcmp(option, "--threads") == 0)
        s->threads = number_of(word, 1 << 10, usage);
    else if (*option == '\0' && !s->model)
        s->model = word;
    else
        usage();
}

static void parse(settings *s, int argc, char **argv)
{
    each_word(argc, argv, take_word, s);
    if (!s->model || s->n_policies == 1)
        usage();
    if (s->n_policies == 0) {
        s->policies[0] = UMBRA_POLICY_OFF;
        s->policies[1] = UMBRA_POLICY_AUTO;
    }
    s->n_io += s->n_io == 0;   /* the first word of main's */
    s->n_ram += s->n_ram == 0; /* 0: what is free */
}

int main(int argc, char **argv)
{
    settings s = {.io = {"auto"}, .tokens = 200, .turn = 8, .rounds = 9};
    umbra_error err = {0};
    umbra_model *model;
    parse(&s, argc, argv);
    must(umbra_model_open(&model, s.model, &err), &err);
    measure(model, &s);
    umbra_model_close(&model);
    return 0;
}
