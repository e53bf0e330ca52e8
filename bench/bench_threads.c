/* bench_threads MODEL [--threads N...] [--prompt N...] [--tokens N] [--kernels NAME...] [--rounds
 * N]: tokens per second of prefill and decode with all experts in memory, by number of threads (4,
 * 8, 16), length of the prompt (512, 2048) and instruction set (all of this machine); medians of
 * the rounds (3). Made for files of tools/random_gguf. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <umbra/umbra.h>

#include "numbers.h"

enum { MOST_WORDS = 8, MOST_ROUNDS = 64, CONTEXT_SPARE = 64 };

typedef struct numbers {
    int value[MOST_WORDS];
    int n;
} numbers;

typedef struct settings {
    const char *model;
    numbers threads, prompts;
    const char *kernels[MOST_WORDS];
    int n_kernels, tokens, rounds;
} settings;

typedef struct speeds {
    double prefill[MOST_WORDS][MOST_ROUNDS], decode[MOST_ROUNDS]; /* tokens/s */
} speeds;

static int ignore_logits(void *user, int index, const float *logits)
{
    (void)user;
    (void)index;
    (void)logits;
    return 0;
}

/* Seconds for n tokens, all at once or one by one, from position 0 on. */
static double evaluate(umbra_engine *engine, int vocabulary, int n, bool together)
{
    umbra_error err = {0};
    umbra_tap tap = {.logits = ignore_logits};
    umbra_token *tokens = calloc((size_t)n, sizeof *tokens);
    if (!tokens)
        exit(1);
    for (int i = 0; i < n; i++)
        tokens[i] = (umbra_token){(int32_t)((uint32_t)i * 2654435761u % (uint32_t)vocabulary), 0,
                                  !together || i == n - 1};
    umbra_engine_truncate(engine, 0, 0);
    double start = now();
    for (int i = 0; i < n; i += together ? n : 1)
        must(umbra_engine_eval(engine, tokens + i, together ? n : 1, &tap, &err), &err);
    double seconds = now() - start;
    free(tokens);
    return seconds;
}

static int longest(const numbers *n)
{
    int most = 0;
    for (int i = 0; i < n->n; i++)
        most = n->value[i] > most ? n->value[i] : most;
    return most;
}

static umbra_engine *open_engine(const umbra_model *model, const settings *s, int threads,
                                 const char *kernels)
{
    umbra_error err = {0};
    umbra_engine *engine;
    umbra_engine_options options = {
        .threads = threads, .kernels = kernels, .context = longest(&s->prompts) + CONTEXT_SPARE};
    if (options.context > umbra_model_get_info(model)->context)
        options.context = umbra_model_get_info(model)->context;
    must(umbra_engine_open(&engine, model, &options, &err), &err);
    return engine;
}

static void measure(const umbra_model *model, const settings *s, int threads)
{
    int vocabulary = umbra_model_get_info(model)->vocabulary;
    speeds *all = calloc((size_t)s->n_kernels, sizeof *all);
    if (!all)
        exit(1);
    for (int k = 0; k < s->n_kernels; k++) {
        umbra_engine *engine = open_engine(model, s, threads, s->kernels[k]);
        evaluate(engine, vocabulary, longest(&s->prompts), true); /* all experts are read now */
        for (int round = 0; round < s->rounds; round++) {
            for (int p = 0; p < s->prompts.n; p++)
                all[k].prefill[p][round] =
                    s->prompts.value[p] / evaluate(engine, vocabulary, s->prompts.value[p], true);
            all[k].decode[round] = s->tokens / evaluate(engine, vocabulary, s->tokens, false);
        }
        umbra_engine_close(&engine);
    }
    for (int k = 0; k < s->n_kernels; k++) {
        printf("%7d %-10s", threads, s->kernels[k]);
        for (int p = 0; p < s->prompts.n; p++)
            printf(" %12.1f", median(all[k].prefill[p], s->rounds));
        printf(" %12.1f\n", median(all[k].decode, s->rounds));
        fflush(stdout);
    }
    free(all);
}

/* ---- the command line ---- */

static void usage(void)
{
    fputs("usage: bench_threads MODEL [--threads N...] [--prompt N...] [--tokens N]\n"
          "                     [--kernels NAME...] [--rounds N]\n",
          stderr);
    exit(2);
}

static void add(numbers *to, const char *text)
{
    if (to->n == MOST_WORDS)
        usage();
    to->value[to->n++] = number_of(text, 1 << 20, usage);
}

static void parse(settings *s, int argc, char **argv)
{
    const char *option = "";
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strncmp(word, "--", 2) == 0)
            option = word;
        else if (strcmp(option, "--threads") == 0)
            add(&s->threads, word);
        else if (strcmp(option, "--prompt") == 0)
            add(&s->prompts, word);
        else if (strcmp(option, "--tokens") == 0)
            s->tokens = number_of(word, 4096, usage);
        else if (strcmp(option, "--rounds") == 0)
            s->rounds = number_of(word, MOST_ROUNDS, usage);
        else if (strcmp(option, "--kernels") == 0 && s->n_kernels < MOST_WORDS)
            s->kernels[s->n_kernels++] = word;
        else if (*option == '\0' && !s->model)
            s->model = word;
        else
            usage();
    }
    if (!s->model)
        usage();
}

static void complete(settings *s)
{
    if (s->threads.n == 0)
        s->threads = (numbers){{4, 8, 16}, 3};
    if (s->prompts.n == 0)
        s->prompts = (numbers){{512, 2048}, 2};
    if (s->n_kernels > 0)
        return;
    const char *name;
    for (int i = 0; s->n_kernels < MOST_WORDS && (name = umbra_kernel_name(i)); i++)
        if (strcmp(name, "reference") != 0 && strcmp(name, "scalar") != 0)
            s->kernels[s->n_kernels++] = name;
}

int main(int argc, char **argv)
{
    settings s = {.tokens = 32, .rounds = 3};
    umbra_error err = {0};
    umbra_model *model;
    parse(&s, argc, argv);
    complete(&s);
    must(umbra_model_open(&model, s.model, &err), &err);
    printf("%s, all in memory; tokens/s, medians of %d rounds\n%7s %-10s", s.model, s.rounds,
           "threads", "kernels");
    for (int p = 0; p < s.prompts.n; p++)
        printf(" prefill %4d", s.prompts.value[p]);
    puts("       decode");
    for (int t = 0; t < s.threads.n; t++)
        measure(model, &s, s.threads.value[t]);
    umbra_model_close(&model);
    return 0;
}
