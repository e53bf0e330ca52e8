/* bench_texts MODEL [--ram SIZE] [--io IO] [--texts N...] [--policy NAME...] [--draft NAME...]
 * [--tokens N] [--prompt N] [--rounds N] [--temp T] [--text FILE]: several texts (1, 2, 4, 8)
 * written at once in one engine, a step at a time for all, and for each number, way of reading
 * ahead (off, auto) and way to draft (off): tokens per second of all texts, of each, and beside the
 * first way to draft (gain), tokens of a text's step, bytes read per token, how many of the experts
 * that steps used were in memory (hits) or on their way (late), and what became of what was read
 * ahead. Medians of the rounds (3), whose configurations take turns. Prompts (64 tokens) come from
 * different places of a file, by default docs/architecture.md. --tokens: of each text on average;
 * those whose drafts come true write more. The best token is taken, or with --temp one drawn. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <umbra/umbra.h>

#include "engine/engine.h"
#include "generate/drafts.h"
#include "numbers.h"

enum {
    MOST_TEXTS = 64,
    MOST_WORDS = 8,
    MOST_ROUNDS = 16,
    MOST_ROWS = 512,
    WARM = 8,   /* tokens of each text until the cache holds what decoding uses */
    LONGEST = 4 /* times the tokens of all on average, of one text at most */
};

typedef struct settings {
    const char *model, *io, *file;
    uint64_t ram;
    int texts[MOST_WORDS], n_texts;
    umbra_policy policies[MOST_WORDS];
    umbra_draft drafts[MOST_WORDS];
    int n_policies, n_drafts, tokens, prompt, rounds;
    double temperature;
} settings;

/* Of one configuration: per round, or of all. */
typedef struct figures {
    double speed[MOST_ROUNDS];
    umbra_store_stats store; /* sums */
    uint64_t tokens, steps;
    uint64_t parts; /* texts of all steps */
} figures;

/* What is measured at once. */
typedef struct setup {
    int texts;
    umbra_policy policy;
    umbra_draft draft;
} setup;

typedef struct writing {
    umbra_engine *engine;
    umbra_drafts *drafts; /* or NULL */
    int texts, longest;   /* tokens of a text */
    int32_t next[MOST_TEXTS];
    int32_t *text[MOST_TEXTS]; /* (longest) all that the engine holds, then the next */
    umbra_sampler *sampler[MOST_TEXTS];
    /* Of the step in progress. */
    umbra_drafted part[MOST_TEXTS];
    int first[MOST_TEXTS];    /* row of each text, */
    int agreeing[MOST_TEXTS]; /* of its drafts those that agree so far, */
    int held[MOST_TEXTS];     /* and what it held before */
    const umbra_token *tokens;
} writing;

/* The next token of the row's text, unless a draft before it did not agree. */
static int take_row(void *user, int index, const float *logits)
{
    writing *w = user;
    int t = w->tokens[index].sequence, row = index - w->first[t];
    umbra_drafted *part = &w->part[t];
    if (row > w->agreeing[t])
        return 0;
    int held = w->held[t] + row + 1;
    int32_t id = umbra_sampler_next(w->sampler[t], logits, w->text[t], held);
    if (row < w->agreeing[t] && part->token[row] != id)
        w->agreeing[t] = row;
    w->next[t] = w->text[t][held] = id;
    return id < 0 ? id : 0;
}

static int show_rows(void *user, const umbra_rows *rows)
{
    const writing *w = user;
    if (w->drafts)
        umbra_drafts_rows(w->drafts, rows);
    return 0;
}

/* ---- one run ---- */

static void step(writing *w, const umbra_token *tokens, int n)
{
    umbra_error err = {0};
    umbra_tap tap = {.user = w, .logits = take_row, .at = {[UMBRA_TAP_LEAVE] = show_rows}};
    w->tokens = tokens;
    must(umbra_engine_eval(w->engine, tokens, n, &tap, &err), &err);
}

static void read_prompts(writing *w, const settings *s, const int32_t *ids, int n_ids)
{
    umbra_token *tokens = need(calloc((size_t)s->prompt, sizeof *tokens));
    for (int t = 0; t < w->texts; t++) {
        int from = (int)((int64_t)t * (n_ids - s->prompt) / w->texts);
        for (int i = 0; i < s->prompt; i++) {
            tokens[i] = (umbra_token){ids[from + i], t, i == s->prompt - 1};
            w->text[t][i] = ids[from + i];
        }
        w->first[t] = s->prompt - 1;
        w->held[t] = s->prompt - 1;
        w->agreeing[t] = 0;
        step(w, tokens, s->prompt);
        if (w->drafts)
            umbra_drafts_begin(w->drafts, t, 0, w->text[t], s->prompt, w->next[t]);
    }
    free(tokens);
}

/* A step of all texts, with drafts where there are any. Returns the tokens that it gave. */
static int write_step(writing *w)
{
    umbra_token tokens[MOST_ROWS];
    int n = 0, given = 0, room = umbra_engine_get_plan(w->engine)->chunk;
    room = (room < MOST_ROWS ? room : MOST_ROWS) - w->texts;
    for (int t = 0; t < w->texts; t++) {
        w->held[t] = umbra_engine_length(w->engine, t);
        w->part[t] = (umbra_drafted){.sequence = t, .most = w->longest - w->held[t] - 2};
    }
    if (w->drafts)
        umbra_drafts_make(w->drafts, w->part, w->texts, room, false);
    for (int t = 0; t < w->texts; t++) {
        w->first[t] = n;
        w->agreeing[t] = w->part[t].n;
        tokens[n++] = (umbra_token){w->next[t], t, true};
        for (int i = 0; i < w->part[t].n; i++)
            tokens[n++] = (umbra_token){w->part[t].token[i], t, true};
        umbra_engine_set_checking(w->engine, t, w->part[t].n > 0);
    }
    step(w, tokens, n);
    for (int t = 0; t < w->texts; t++) {
        int came = w->agreeing[t] + 1;
        umbra_engine_set_checking(w->engine, t, false);
        umbra_engine_truncate(w->engine, t, w->held[t] + came);
        memcpy(w->part[t].token, w->text[t] + w->held[t] + 1,
               (size_t)came * sizeof *w->part[t].token);
        w->part[t].n = came;
        given += came;
    }
    if (w->drafts)
        umbra_drafts_end(w->drafts, w->part, w->texts);
    return given;
}

/* Until the texts together have n tokens each on average. */
static void write_tokens(writing *w, int n, figures *f)
{
    for (int given = 0; given < w->texts * n; f->steps++, f->parts += (uint64_t)w->texts) {
        int came = write_step(w);
        given += came;
        f->tokens += (uint64_t)came;
    }
}

/* Adds what came between two looks; what was read ahead, of all distances, at [0]. */
static void add_stats(umbra_store_stats *to, const umbra_store_stats *from,
                      const umbra_store_stats *until)
{
    to->hits += until->hits - from->hits;
    to->late += until->late - from->late;
    to->misses += until->misses - from->misses;
    to->bytes_read += until->bytes_read - from->bytes_read;
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++) {
        const umbra_ahead_stats *a = &from->ahead[d], *b = &until->ahead[d];
        to->ahead[0].useful_bytes += b->useful_bytes - a->useful_bytes;
        to->ahead[0].late_bytes += b->late_bytes - a->late_bytes;
        to->ahead[0].wasted_bytes += b->wasted_bytes - a->wasted_bytes;
    }
}

static void open_texts(writing *w, const settings *s)
{
    umbra_error err = {0};
    for (int t = 0; t < w->texts; t++) {
        const umbra_sampling sampling = {.temperature = (float)s->temperature,
                                         .seed = (uint64_t)t + 1};
        int vocabulary = umbra_model_get_info(umbra_engine_model(w->engine))->vocabulary;
        must(umbra_sampler_open(&w->sampler[t], &sampling, vocabulary, &err), &err);
        w->text[t] = need(calloc((size_t)w->longest, sizeof *w->text[t]));
    }
}

static void close_texts(writing *w)
{
    for (int t = 0; t < w->texts; t++) {
        umbra_sampler_close(&w->sampler[t]);
        free(w->text[t]);
    }
}

/* A step gives a text as many tokens as it has drafts, and one. */
static int longest_text(const settings *s)
{
    return s->prompt + LONGEST * (WARM + s->tokens) + 2;
}

static void measure_writing(writing *w, const settings *s, int round, figures *f)
{
    umbra_store_stats before, stats;
    figures warm = {.tokens = 0};
    write_tokens(w, WARM, &warm);
    uint64_t tokens = f->tokens;
    umbra_engine_get_store_stats(w->engine, &before);
    double start = now();
    write_tokens(w, s->tokens, f);
    f->speed[round] = (double)(f->tokens - tokens) / (now() - start);
    umbra_engine_get_store_stats(w->engine, &stats);
    add_stats(&f->store, &before, &stats);
}

static void run(const umbra_model *model, const settings *s, const setup *at, const int32_t *ids,
                int n_ids, int round, figures *f)
{
    umbra_error err = {0};
    umbra_prefetch *ahead;
    writing w = {.texts = at->texts, .longest = longest_text(s)};
    umbra_prefetch_options p = {.policy = at->policy};
    umbra_draft_options d = {.source = at->draft};
    umbra_engine_options o = {
        .ram_bytes = s->ram, .io = s->io, .sequences = at->texts, .context = w.longest};
    must(umbra_prefetch_fit(model, &o, &p, &err), &err);
    must(umbra_drafts_fit(model, &o, &d, &err), &err);
    must(umbra_engine_open(&w.engine, model, &o, &err), &err);
    must(umbra_prefetch_open(&ahead, w.engine, &p, &err), &err);
    d.ahead = ahead;
    if (at->draft != UMBRA_DRAFT_OFF)
        must(umbra_drafts_open(&w.drafts, w.engine, &d, &err), &err);
    open_texts(&w, s);
    read_prompts(&w, s, ids, n_ids);
    measure_writing(&w, s, round, f);
    close_texts(&w);
    umbra_drafts_close(&w.drafts);
    umbra_prefetch_close(&ahead);
    umbra_engine_close(&w.engine);
}

/* ---- all ---- */

static void print(const settings *s, const setup *at, figures *f, double *without)
{
    const umbra_store_stats *t = &f->store;
    double used = (double)(t->hits + t->late + t->misses), mega = 1e-6 / (double)f->tokens;
    double speed = median(f->speed, s->rounds);
    if (at->draft == s->drafts[0])
        *without = speed;
    printf("%5d %-9s %-9s %9.2f %9.2f %6.3f %8.2f %9.3f %11.1f %6.1f %6.1f %8.3f %8.3f %8.3f\n",
           at->texts, umbra_policy_name(at->policy), umbra_draft_name(at->draft), speed,
           speed / at->texts, speed / *without, (double)f->tokens / (double)f->parts,
           (double)t->bytes_read * mega, used / (double)f->steps, 100 * (double)t->hits / used,
           100 * (double)t->late / used, (double)t->ahead[0].useful_bytes * mega,
           (double)t->ahead[0].late_bytes * mega, (double)t->ahead[0].wasted_bytes * mega);
    fflush(stdout);
}

static setup setup_of(const settings *s, int i)
{
    return (setup){.texts = s->texts[i / (s->n_policies * s->n_drafts)],
                   .policy = s->policies[i / s->n_drafts % s->n_policies],
                   .draft = s->drafts[i % s->n_drafts]};
}

static void measure(const umbra_model *model, const settings *s, const int32_t *ids, int n_ids)
{
    int n = s->n_texts * s->n_policies * s->n_drafts;
    double without = 0;
    figures *all = need(calloc((size_t)n, sizeof *all));
    for (int round = 0; round < s->rounds; round++)
        for (int i = 0; i < n; i++) {
            const setup at = setup_of(s, i);
            run(model, s, &at, ids, n_ids, round, &all[i]);
        }
    printf("%5s %-9s %-9s %9s %9s %6s %8s %9s %11s %6s %6s %8s %8s %8s\n", "texts", "ahead",
           "drafts", "tokens/s", "each", "gain", "tok/step", "MB/token", "used/step", "hits%",
           "late%", "useful", "late", "wasted");
    for (int i = 0; i < n; i++) {
        const setup at = setup_of(s, i);
        print(s, &at, &all[i], &without);
    }
    free(all);
}

static void usage(void)
{
    fputs("usage: bench_texts MODEL [--ram SIZE] [--io IO] [--texts N...] [--policy NAME...]\n"
          "                   [--draft NAME...] [--tokens N] [--prompt N] [--rounds N] [--temp T]\n"
          "                   [--text FILE]\n",
          stderr);
    exit(2);
}

static void take_word(void *self, const char *option, const char *word)
{
    settings *s = self;
    umbra_error err = {0};
    if (strcmp(option, "--ram") == 0 && size_of(word) > 0)
        s->ram = size_of(word);
    else if (strcmp(option, "--io") == 0)
        s->io = word;
    else if (strcmp(option, "--text") == 0)
        s->file = word;
    else if (strcmp(option, "--texts") == 0 && s->n_texts < MOST_WORDS)
        s->texts[s->n_texts++] = number_of(word, MOST_TEXTS, usage);
    else if (strcmp(option, "--policy") == 0 && s->n_policies < MOST_WORDS)
        must(umbra_policy_parse(word, &s->policies[s->n_policies++], &err), &err);
    else if (strcmp(option, "--draft") == 0 && s->n_drafts < MOST_WORDS)
        must(umbra_draft_parse(word, &s->drafts[s->n_drafts++], &err), &err);
    else if (strcmp(option, "--temp") == 0)
        s->temperature = atof(word);
    else if (strcmp(option, "--tokens") == 0)
        s->tokens = number_of(word, 1 << 16, usage);
    else if (strcmp(option, "--prompt") == 0)
        s->prompt = number_of(word, 1 << 16, usage);
    else if (strcmp(option, "--rounds") == 0)
        s->rounds = number_of(word, MOST_ROUNDS, usage);
    else if (*option == '\0' && !s->model)
        s->model = word;
    else
        usage();
}

static void parse(settings *s, int argc, char **argv)
{
    each_word(argc, argv, take_word, s);
    if (!s->model)
        usage();
    bool none = s->n_texts == 0;
    for (int n = 1; none && n <= 8; n *= 2)
        s->texts[s->n_texts++] = n;
    if (s->n_policies == 0) {
        s->policies[0] = UMBRA_POLICY_OFF;
        s->policies[1] = UMBRA_POLICY_AUTO;
        s->n_policies = 2;
    }
    if (s->n_drafts == 0)
        s->drafts[s->n_drafts++] = UMBRA_DRAFT_OFF;
}

static char *read_file(const char *path, size_t *bytes)
{
    enum { MOST = 1 << 20 };
    FILE *f = fopen(path, "rb");
    char *text = malloc(MOST);
    if (!f || !text) {
        fprintf(stderr, "bench_texts: %s: cannot be read; --text names another file\n", path);
        exit(1);
    }
    *bytes = fread(text, 1, MOST, f);
    fclose(f);
    return text;
}

int main(int argc, char **argv)
{
    settings s = {.file = "docs/architecture.md", .tokens = 64, .prompt = 64, .rounds = 3};
    umbra_error err = {0};
    umbra_model *model;
    int32_t *ids;
    size_t n, bytes;
    parse(&s, argc, argv);
    must(umbra_model_open(&model, s.model, &err), &err);
    char *text = read_file(s.file, &bytes);
    must(umbra_tokenize(model, text, bytes, false, false, &ids, &n, &err), &err);
    if (n < (size_t)s.prompt + 1) {
        fprintf(stderr, "bench_texts: %s has %zu tokens only\n", s.file, n);
        return 1;
    }
    measure(model, &s, ids, (int)n);
    umbra_free_tokens(ids);
    free(text);
    umbra_model_close(&model);
    return 0;
}
