/* bench_texts MODEL [--ram SIZE] [--io IO] [--texts N...] [--policy NAME...] [--tokens N]
 * [--prompt N] [--rounds N] [--text FILE]: several texts (1, 2, 4, 8) written at once in one
 * engine, a step at a time for all, and for each number and way of reading ahead (off, auto):
 * tokens per second of all texts, bytes read per token, how many of the experts that steps used
 * were in memory (hits) or on their way (late), and what became of what was read ahead. Medians of
 * the rounds (3), whose configurations take turns. Prompts (64 tokens) come from different places
 * of a file, by default docs/architecture.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <umbra/umbra.h>

#include "numbers.h"

enum { MOST_TEXTS = 64, MOST_WORDS = 8, MOST_ROUNDS = 16 };

typedef struct settings {
    const char *model, *io, *file;
    uint64_t ram;
    int texts[MOST_WORDS], n_texts;
    umbra_policy policies[MOST_WORDS];
    int n_policies, tokens, prompt, rounds;
} settings;

/* Of one configuration: per round, or of all. */
typedef struct figures {
    double speed[MOST_ROUNDS];
    umbra_store_stats store; /* sums */
    uint64_t tokens, steps;
} figures;

typedef struct writing {
    int32_t next[MOST_TEXTS];
    const umbra_token *tokens;
    int vocabulary;
} writing;

static int take_best(void *user, int index, const float *logits)
{
    writing *w = user;
    int32_t best = 0;
    for (int i = 1; i < w->vocabulary; i++)
        if (logits[i] > logits[best])
            best = i;
    w->next[w->tokens[index].sequence] = best;
    return 0;
}

/* ---- one run ---- */

static void step(umbra_engine *engine, writing *w, const umbra_token *tokens, int n)
{
    umbra_error err = {0};
    umbra_tap tap = {.user = w, .logits = take_best};
    w->tokens = tokens;
    must(umbra_engine_eval(engine, tokens, n, &tap, &err), &err);
}

static void read_prompts(umbra_engine *engine, writing *w, const settings *s, int texts,
                         const int32_t *ids, int n_ids)
{
    umbra_token *tokens = calloc((size_t)s->prompt, sizeof *tokens);
    for (int t = 0; tokens && t < texts; t++) {
        int from = (int)((int64_t)t * (n_ids - s->prompt) / texts);
        for (int i = 0; i < s->prompt; i++)
            tokens[i] = (umbra_token){ids[from + i], t, i == s->prompt - 1};
        step(engine, w, tokens, s->prompt);
    }
    free(tokens);
}

static void write_tokens(umbra_engine *engine, writing *w, int texts, int n)
{
    umbra_token tokens[MOST_TEXTS];
    for (int i = 0; i < n; i++) {
        for (int t = 0; t < texts; t++)
            tokens[t] = (umbra_token){w->next[t], t, true};
        step(engine, w, tokens, texts);
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

static void run(const umbra_model *model, const settings *s, int texts, umbra_policy policy,
                const int32_t *ids, int n_ids, int round, figures *f)
{
    umbra_error err = {0};
    umbra_engine *engine;
    umbra_prefetch *ahead;
    umbra_store_stats before, stats;
    writing w = {.vocabulary = umbra_model_get_info(model)->vocabulary};
    umbra_prefetch_options p = {.policy = policy};
    umbra_engine_options o = {.ram_bytes = s->ram,
                              .io = s->io,
                              .sequences = texts,
                              .context = s->prompt + s->tokens + 8 + 1};
    must(umbra_prefetch_fit(model, &o, &p, &err), &err);
    must(umbra_engine_open(&engine, model, &o, &err), &err);
    must(umbra_prefetch_open(&ahead, engine, &p, &err), &err);
    read_prompts(engine, &w, s, texts, ids, n_ids);
    write_tokens(engine, &w, texts, 8); /* the cache holds what decoding uses */
    umbra_engine_get_store_stats(engine, &before);
    double start = now();
    write_tokens(engine, &w, texts, s->tokens);
    f->speed[round] = texts * s->tokens / (now() - start);
    umbra_engine_get_store_stats(engine, &stats);
    add_stats(&f->store, &before, &stats);
    f->tokens += (uint64_t)(texts * s->tokens);
    f->steps += (uint64_t)s->tokens;
    umbra_prefetch_close(&ahead);
    umbra_engine_close(&engine);
}

/* ---- all ---- */

static void print(const settings *s, int texts, umbra_policy policy, figures *f)
{
    const umbra_store_stats *t = &f->store;
    double used = (double)(t->hits + t->late + t->misses), mega = 1e-6 / (double)f->tokens;
    double speed = median(f->speed, s->rounds);
    printf("%5d %-9s %9.2f %9.2f %9.3f %11.1f %6.1f %6.1f %8.3f %8.3f %8.3f\n", texts,
           umbra_policy_name(policy), speed, speed / texts, (double)t->bytes_read * mega,
           used / (double)f->steps, 100 * (double)t->hits / used, 100 * (double)t->late / used,
           (double)t->ahead[0].useful_bytes * mega, (double)t->ahead[0].late_bytes * mega,
           (double)t->ahead[0].wasted_bytes * mega);
    fflush(stdout);
}

static void measure(const umbra_model *model, const settings *s, const int32_t *ids, int n_ids)
{
    figures *all = calloc((size_t)(s->n_texts * s->n_policies), sizeof *all);
    if (!all)
        exit(1);
    for (int round = 0; round < s->rounds; round++)
        for (int i = 0; i < s->n_texts; i++)
            for (int p = 0; p < s->n_policies; p++)
                run(model, s, s->texts[i], s->policies[p], ids, n_ids, round,
                    &all[i * s->n_policies + p]);
    printf("%5s %-9s %9s %9s %9s %11s %6s %6s %8s %8s %8s\n", "texts", "ahead", "tokens/s", "each",
           "MB/token", "used/step", "hits%", "late%", "useful", "late", "wasted");
    for (int i = 0; i < s->n_texts; i++)
        for (int p = 0; p < s->n_policies; p++)
            print(s, s->texts[i], s->policies[p], &all[i * s->n_policies + p]);
    free(all);
}

static void usage(void)
{
    fputs("usage: bench_texts MODEL [--ram SIZE] [--io IO] [--texts N...] [--policy NAME...]\n"
          "                   [--tokens N] [--prompt N] [--rounds N] [--text FILE]\n",
          stderr);
    exit(2);
}

static int number(const char *text, int most)
{
    int n = count_of(text, most);
    if (n == 0)
        usage();
    return n;
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
        s->texts[s->n_texts++] = number(word, MOST_TEXTS);
    else if (strcmp(option, "--policy") == 0 && s->n_policies < MOST_WORDS)
        must(umbra_policy_parse(word, &s->policies[s->n_policies++], &err), &err);
    else if (strcmp(option, "--tokens") == 0)
        s->tokens = number(word, 1 << 16);
    else if (strcmp(option, "--prompt") == 0)
        s->prompt = number(word, 1 << 16);
    else if (strcmp(option, "--rounds") == 0)
        s->rounds = number(word, MOST_ROUNDS);
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
