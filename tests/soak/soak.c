/* soak_engine MODEL [--steps N] [--seconds S] [--seed N] [--io NAME] [--log FILE]: runs a model for
 * long with everything changing that may change: budgets while the engine is open, policies,
 * drafts, ways to read, threads, sequences that come, fork, go back, leave and return as bytes. A
 * second engine with everything in memory and nothing read ahead does the same, and after every
 * step logits, lengths and states must be the same bits. The store must keep its budget, be left
 * without a lease, and no memory may be lost. Exits with 0, or 1 and what was wrong. */
#include <inttypes.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <umbra/umbra.h>

#include "base/clock.h"
#include "base/random.h"
#include "engine/engine.h"

enum {
    SEQUENCES = 4,
    CONTEXT = 160,
    PROMPT = 24,
    EPOCH_STEPS = 600,
    NEW_TOKENS = 24,
    LOST_BYTES = 256 << 10,
    GROWN_BYTES = 24 << 20
};

typedef struct soak {
    umbra_model *model;
    int vocabulary;
    umbra_engine *plain, *tried;
    umbra_prefetch *prefetch;
    umbra_drafts *drafts;
    umbra_store *store;   /* of the engine that is tried */
    uint64_t least, most; /* budgets of it */
    const char *io;       /* NULL: any */
    umbra_random random;
    float *logits; /* (SEQUENCES, vocabulary) of the plain engine */
    int wanted;    /* rows of them */
    int checked;
    uint64_t steps, budgets, generated, forks, returns;
    char what[200]; /* the engine that is tried, in words */
} soak;

__attribute__((format(printf, 2, 3), noreturn)) static void wrong(const soak *s, const char *format,
                                                                  ...)
{
    va_list list;
    va_start(list, format);
    fprintf(stderr, "soak: step %" PRIu64 ", %s: ", s->steps, s->what);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    exit(1);
}

static void must(const soak *s, int rc, const umbra_error *err)
{
    if (rc != UMBRA_OK)
        wrong(s, "%s", err->message);
}

static int below(soak *s, int n)
{
    return (int)umbra_random_below(&s->random, (uint64_t)n);
}

/* ---- engines ---- */

static void open_plain(soak *s)
{
    umbra_error err = {0};
    const umbra_engine_options o = {
        .threads = 1, .context = CONTEXT, .sequences = SEQUENCES, .chunk = PROMPT};
    umbra_memory_plan plan;
    umbra_engine_options all = o;
    must(s, umbra_engine_plan(s->model, &o, &plan, &err), &err);
    all.ram_bytes = plan.all_bytes;
    must(s, umbra_engine_open(&s->plain, s->model, &all, &err), &err);
}

/* The budgets that the store may have: from as many slots of each size as the smallest engine has.
 */
static void find_budgets(soak *s, umbra_engine_options o, const umbra_memory_plan *plan)
{
    umbra_memory_plan smallest;
    umbra_store_stats stats;
    umbra_slot_plan sizes;
    umbra_error err = {0};
    o.ram_bytes = plan->min_bytes;
    must(s, umbra_engine_plan(s->model, &o, &smallest, &err), &err);
    umbra_store_get_stats(s->store, &stats);
    umbra_store_get_slots(s->store, &sizes);
    s->least = 0;
    for (int i = 0; i < sizes.n; i++)
        s->least += smallest.slots * sizes.size[i].bytes;
    s->most = stats.budget_bytes;
    if (s->least > s->most)
        s->least = s->most;
}

static umbra_engine_options any_options(soak *s)
{
    static const char *const io[] = {"sim:4G,5us", "threads", "auto", "sim:500M,20us"};
    return (umbra_engine_options){.threads = 1 + below(s, 2),
                                  .context = CONTEXT,
                                  .sequences = SEQUENCES,
                                  .chunk = 16 + below(s, 3) * 8,
                                  .io = s->io ? s->io : io[below(s, 4)],
                                  .buffered = below(s, 4) == 0,
                                  .verify = below(s, 3) == 0};
}

static void open_ahead(soak *s, const umbra_prefetch_options *p, umbra_draft_options *d)
{
    umbra_error err = {0};
    must(s, umbra_prefetch_open(&s->prefetch, s->tried, p, &err), &err);
    d->ahead = s->prefetch;
    must(s, umbra_drafts_open(&s->drafts, s->tried, d, &err), &err);
}

static void open_tried(soak *s)
{
    static const umbra_policy policies[] = {UMBRA_POLICY_AUTO, UMBRA_POLICY_OFF,
                                            UMBRA_POLICY_PREVIOUS, UMBRA_POLICY_GATE,
                                            UMBRA_POLICY_RUNAHEAD};
    static const umbra_draft sources[] = {UMBRA_DRAFT_AUTO, UMBRA_DRAFT_OFF, UMBRA_DRAFT_LOOKUP};
    umbra_engine_options o = any_options(s);
    umbra_prefetch_options p = {.policy = policies[below(s, 5)], .every = below(s, 3)};
    umbra_draft_options d = {.source = sources[below(s, 3)], .most = 1 + below(s, 8)};
    umbra_memory_plan plan;
    umbra_error err = {0};
    must(s, umbra_prefetch_fit(s->model, &o, &p, &err), &err);
    must(s, umbra_drafts_fit(s->model, &o, &d, &err), &err);
    (void)umbra_engine_plan(s->model, &o, &plan, NULL);
    double share = (double)below(s, 101) * 0.01;
    o.ram_bytes = plan.min_bytes + (uint64_t)(share * (double)(plan.all_bytes - plan.min_bytes));
    snprintf(s->what, sizeof s->what, "%s, %s, drafts %s, %d threads, %.1f MB%s%s", o.io,
             umbra_policy_name(p.policy), umbra_draft_name(d.source), o.threads,
             (double)o.ram_bytes * 1e-6, o.verify ? ", verified" : "",
             o.buffered ? ", buffered" : "");
    must(s, umbra_engine_open(&s->tried, s->model, &o, &err), &err);
    s->store = umbra_engine_store(s->tried);
    find_budgets(s, o, &plan);
    open_ahead(s, &p, &d);
}

static void close_tried(soak *s)
{
    umbra_drafts_close(&s->drafts);
    umbra_prefetch_close(&s->prefetch);
    umbra_engine_close(&s->tried);
}

/* ---- what must be so after every step ---- */

static void check_store(const soak *s)
{
    umbra_store_stats stats;
    umbra_store_get_stats(s->store, &stats);
    if (stats.resident_bytes_max > stats.budget_bytes || stats.budget_bytes > s->most)
        wrong(s, "%" PRIu64 " bytes resident of a budget of %" PRIu64, stats.resident_bytes_max,
              stats.budget_bytes);
    if (stats.resident_bytes > stats.slots * stats.slot_bytes)
        wrong(s, "more slots in use than there are");
}

static void check_lengths(const soak *s)
{
    for (int i = 0; i < SEQUENCES; i++)
        if (umbra_engine_length(s->plain, i) != umbra_engine_length(s->tried, i))
            wrong(s, "sequence %d holds %d tokens in place of %d", i,
                  umbra_engine_length(s->tried, i), umbra_engine_length(s->plain, i));
}

static char *snapshot_of(const soak *s, umbra_engine *e, int sequence, uint64_t *bytes)
{
    umbra_error err = {0};
    *bytes = umbra_engine_snapshot_bytes(e, umbra_engine_length(e, sequence));
    char *out = malloc(*bytes);
    if (!out)
        wrong(s, "no memory");
    must(s, umbra_engine_snapshot(e, sequence, out, *bytes, &err), &err);
    return out;
}

static void check_state(const soak *s, int sequence)
{
    uint64_t n, m;
    char *a = snapshot_of(s, s->plain, sequence, &n), *b = snapshot_of(s, s->tried, sequence, &m);
    if (n != m || memcmp(a, b, n) != 0)
        wrong(s, "the state of sequence %d differs", sequence);
    free(a);
    free(b);
}

/* ---- what may happen ---- */

static int keep_logits(void *user, int index, const float *logits)
{
    soak *s = user;
    (void)index;
    memcpy(s->logits + (size_t)s->wanted++ * (size_t)s->vocabulary, logits,
           (size_t)s->vocabulary * sizeof *logits);
    return 0;
}

static int compare_logits(void *user, int index, const float *logits)
{
    soak *s = user;
    const float *plain = s->logits + (size_t)s->checked++ * (size_t)s->vocabulary;
    if (memcmp(plain, logits, (size_t)s->vocabulary * sizeof *logits) != 0)
        wrong(s, "the logits of row %d differ", index);
    return 0;
}

/* Both engines compute the same rows. */
static void eval_both(soak *s, const umbra_token *tokens, int n)
{
    umbra_error err = {0};
    const umbra_tap keep = {.user = s, .logits = keep_logits};
    const umbra_tap compare = {.user = s, .logits = compare_logits};
    s->wanted = s->checked = 0;
    must(s, umbra_engine_eval(s->plain, tokens, n, &keep, &err), &err);
    must(s, umbra_engine_eval(s->tried, tokens, n, &compare, &err), &err);
    if (s->wanted != s->checked)
        wrong(s, "%d rows of logits in place of %d", s->checked, s->wanted);
}

static int32_t any_token(soak *s)
{
    return below(s, s->vocabulary);
}

/* One token each for some sequences, and now and then a prompt in the same call. */
static void step(soak *s)
{
    umbra_token tokens[SEQUENCES + PROMPT];
    int n = 0, first = below(s, SEQUENCES);
    for (int i = 0; i < 1 + below(s, SEQUENCES); i++) {
        int sequence = (first + i) % SEQUENCES;
        if (umbra_engine_length(s->plain, sequence) + PROMPT + NEW_TOKENS >= CONTEXT)
            continue;
        int rows = below(s, 12) == 0 ? 2 + below(s, PROMPT - 2) : 1;
        rows = n + rows > SEQUENCES + PROMPT - SEQUENCES ? 1 : rows;
        for (int r = 0; r < rows; r++)
            tokens[n++] = (umbra_token){
                .id = any_token(s), .sequence = sequence, .want_logits = r == rows - 1};
        s->steps++;
    }
    if (n > 0)
        eval_both(s, tokens, n);
}

static void go_back(soak *s)
{
    int sequence = below(s, SEQUENCES), length = umbra_engine_length(s->plain, sequence);
    int to = below(s, 3) == 0 ? 0 : below(s, length + 1);
    int a = umbra_engine_truncate(s->plain, sequence, to);
    int b = umbra_engine_truncate(s->tried, sequence, to);
    if (a != b)
        wrong(s, "sequence %d goes back to %d in place of %d", sequence, b, a);
}

static void fork_one(soak *s)
{
    int from = below(s, SEQUENCES), to = below(s, SEQUENCES);
    umbra_error err = {0};
    must(s, umbra_engine_fork(s->plain, from, to, &err), &err);
    must(s, umbra_engine_fork(s->tried, from, to, &err), &err);
    s->forks++;
}

/* A sequence becomes bytes, and these another sequence. */
static void leave_and_return(soak *s, umbra_engine *from_engine, umbra_engine *to_engine, int from,
                             int to)
{
    uint64_t bytes;
    umbra_error err = {0};
    char *out = snapshot_of(s, from_engine, from, &bytes);
    must(s, umbra_engine_restore(to_engine, to, out, bytes, &err), &err);
    free(out);
    s->returns++;
}

static void change_budget(soak *s)
{
    umbra_error err = {0};
    uint64_t bytes = s->least + umbra_random_below(&s->random, s->most - s->least + 1);
    must(s, umbra_store_set_budget(s->store, bytes, &err), &err);
    s->budgets++;
}

typedef struct text {
    int32_t ids[NEW_TOKENS];
    int n;
} text;

static int take(void *user, int32_t id)
{
    text *t = user;
    t->ids[t->n++] = id;
    return 0;
}

static text generate(soak *s, umbra_engine *e, umbra_drafts *drafts, int sequence,
                     const int32_t *prompt, int n)
{
    text t = {.n = 0};
    umbra_generation did = {0};
    umbra_error err = {0};
    const umbra_generate_options o = {.max_tokens = NEW_TOKENS,
                                      .ignore_end = true,
                                      .sequence = sequence,
                                      .on_token = take,
                                      .user = &t,
                                      .drafts = drafts};
    must(s, umbra_generate(e, s->model, prompt, n, &o, &did, &err), &err);
    return t;
}

/* A text, which repeats itself, with drafts and without. */
static void generate_both(soak *s)
{
    int32_t prompt[8];
    int sequence = below(s, SEQUENCES);
    if (umbra_engine_length(s->plain, sequence) + 8 + NEW_TOKENS >= CONTEXT)
        return;
    for (int i = 0; i < 8; i++)
        prompt[i] = i < 4 ? any_token(s) : prompt[i - 4];
    text a = generate(s, s->plain, NULL, sequence, prompt, 8);
    text b = generate(s, s->tried, s->drafts, sequence, prompt, 8);
    if (a.n != b.n || memcmp(a.ids, b.ids, (size_t)a.n * sizeof *a.ids) != 0)
        wrong(s, "another text");
    s->steps += (uint64_t)a.n;
    s->generated += (uint64_t)a.n;
}

static void anything(soak *s)
{
    int dice = below(s, 100);
    if (dice < 6)
        change_budget(s);
    else if (dice < 12)
        go_back(s);
    else if (dice < 15)
        fork_one(s);
    else if (dice < 17) {
        int from = below(s, SEQUENCES), to = below(s, SEQUENCES);
        leave_and_return(s, s->plain, s->plain, from, to);
        leave_and_return(s, s->tried, s->tried, from, to);
    } else if (dice < 19)
        generate_both(s);
    else if (dice < 22)
        check_state(s, below(s, SEQUENCES));
    else
        step(s);
}

/* An engine's life. It begins with what the plain one holds. */
static void epoch(soak *s, uint64_t end_ns)
{
    uint64_t end = s->steps + EPOCH_STEPS;
    open_tried(s);
    for (int i = 0; i < SEQUENCES; i++) {
        if (umbra_engine_length(s->plain, i) + PROMPT + NEW_TOKENS >= CONTEXT)
            umbra_engine_truncate(s->plain, i, 0);
        leave_and_return(s, s->plain, s->tried, i, i);
    }
    while (s->steps < end && umbra_clock_ns() < end_ns) {
        anything(s);
        check_store(s);
        check_lengths(s);
        bool full = true;
        for (int i = 0; i < SEQUENCES; i++)
            full = full && umbra_engine_length(s->plain, i) + PROMPT + NEW_TOKENS >= CONTEXT;
        if (full)
            go_back(s);
    }
    for (int i = 0; i < SEQUENCES; i++)
        check_state(s, i);
    close_tried(s);
}

/* What malloc has handed out and not got back. */
static uint64_t held_bytes(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static void check_memory(const soak *s, int epochs)
{
    static uint64_t held, resident;
    if (epochs == 4) {
        held = held_bytes();
        resident = umbra_process_rss();
    } else if (epochs > 4) {
        if (held_bytes() > held + LOST_BYTES)
            wrong(s, "%" PRIu64 " bytes are allocated, after the first epochs %" PRIu64,
                  held_bytes(), held);
        if (umbra_process_rss() > resident + GROWN_BYTES)
            wrong(s, "%" PRIu64 " bytes are resident, after the first epochs %" PRIu64,
                  umbra_process_rss(), resident);
    }
}

static void print_progress(const soak *s, int epochs, uint64_t begin_ns)
{
    printf("%8.0f s  %9" PRIu64 " steps  %5d engines  %7" PRIu64 " budgets  %7" PRIu64
           " generated  %6" PRIu64 " forks  %6" PRIu64
           " returns  %6.1f MB held  %6.1f MB resident\n",
           umbra_seconds_since(begin_ns), s->steps, epochs, s->budgets, s->generated, s->forks,
           s->returns, (double)held_bytes() * 1e-6, (double)umbra_process_rss() * 1e-6);
    fflush(stdout);
}

static const char *option(int argc, char **argv, const char *name)
{
    for (int i = 2; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return NULL;
}

static uint64_t number(int argc, char **argv, const char *name, uint64_t other)
{
    const char *value = option(argc, argv, name);
    return value ? strtoull(value, NULL, 10) : other;
}

int main(int argc, char **argv)
{
    static soak s;
    umbra_error err = {0};
    if (argc < 2 || argc % 2 != 0) {
        fprintf(stderr, "usage: %s MODEL [--steps N] [--seconds S] [--seed N] [--io NAME]\n",
                argv[0]);
        return 2;
    }
    uint64_t begin_ns = umbra_clock_ns(), seconds = number(argc, argv, "--seconds", 0);
    uint64_t steps = number(argc, argv, "--steps", seconds ? UINT64_MAX : 100000);
    uint64_t end_ns = seconds ? begin_ns + seconds * 1000000000u : UINT64_MAX;
    int epochs = 0;
    s.io = option(argc, argv, "--io");
    snprintf(s.what, sizeof s.what, "opening");
    umbra_random_seed(&s.random, number(argc, argv, "--seed", 1));
    must(&s, umbra_model_open(&s.model, argv[1], &err), &err);
    s.vocabulary = umbra_model_get_info(s.model)->vocabulary;
    s.logits = calloc((size_t)SEQUENCES * (size_t)s.vocabulary, sizeof *s.logits);
    if (!s.logits)
        wrong(&s, "no memory");
    open_plain(&s);
    while (s.steps < steps && umbra_clock_ns() < end_ns) {
        epoch(&s, end_ns);
        check_memory(&s, ++epochs);
        if (epochs % 10 == 0)
            print_progress(&s, epochs, begin_ns);
    }
    print_progress(&s, epochs, begin_ns);
    umbra_engine_close(&s.plain);
    umbra_model_close(&s.model);
    free(s.logits);
    return 0;
}
