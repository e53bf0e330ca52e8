/* umbra score: how well a model predicts a given text. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json_writer.h"
#include "cli/cli.h"
#include "cli/ranks.h"

enum { DEFAULT_CONTEXT = 512 };

typedef struct text {
    const char *path;
    int32_t *tokens;
    int count;
} text;

typedef struct score_run {
    const umbra_model *model;
    umbra_engine *engine;
    umbra_score_options options;
    bool json;
    umbra_json writer;
} score_run;

static void json_tokens(umbra_json *j, const text *t)
{
    umbra_json_key(j, "tokens");
    umbra_json_open(j, '[');
    for (int i = 0; i < t->count; i++)
        umbra_json_int(j, t->tokens[i]);
    umbra_json_close(j, ']');
}

static void json_top(umbra_json *j, const umbra_scores *s)
{
    umbra_json_key(j, "top");
    umbra_json_open(j, '[');
    for (int i = 0; i < s->tokens; i++) {
        umbra_json_open(j, '[');
        for (int r = 0; r < s->top; r++) {
            size_t at = (size_t)i * (size_t)s->top + (size_t)r;
            umbra_json_open(j, '[');
            umbra_json_int(j, s->top_id[at]);
            umbra_json_double(j, (double)s->top_logit[at], 9);
            umbra_json_close(j, ']');
        }
        umbra_json_close(j, ']');
    }
    umbra_json_close(j, ']');
}

static int compare_u16(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

/* The ids of one position, ascending. */
static const uint16_t *sorted_experts(umbra_scores *s, int layer, int position)
{
    size_t at = ((size_t)layer * (size_t)s->tokens + (size_t)position) * (size_t)s->used;
    qsort(s->experts + at, (size_t)s->used, sizeof *s->experts, compare_u16);
    return s->experts + at;
}

static void json_experts(umbra_json *j, umbra_scores *s)
{
    umbra_json_key(j, "experts");
    umbra_json_open(j, '[');
    for (int l = 0; l < s->layers; l++) {
        umbra_json_open(j, '[');
        for (int i = 0; i < s->tokens; i++) {
            const uint16_t *ids = sorted_experts(s, l, i);
            umbra_json_open(j, '[');
            for (int k = 0; k < s->used && ids[k] != UINT16_MAX; k++)
                umbra_json_uint(j, ids[k]);
            umbra_json_close(j, ']');
        }
        umbra_json_close(j, ']');
    }
    umbra_json_close(j, ']');
}

static double nll_mean(const umbra_scores *s)
{
    return s->predicted > 0 ? s->nll_sum / s->predicted : NAN;
}

static void print_json(umbra_json *j, const text *t, umbra_scores *s)
{
    umbra_json_open(j, '{');
    umbra_json_put_text(j, "path", t->path);
    json_tokens(j, t);
    umbra_json_key(j, "lse");
    umbra_json_open(j, '[');
    for (int i = 0; i < s->tokens; i++)
        umbra_json_double(j, s->lse[i], 12);
    umbra_json_close(j, ']');
    if (s->top > 0)
        json_top(j, s);
    if (s->experts)
        json_experts(j, s);
    umbra_json_put_double(j, "nll_mean", nll_mean(s), 12);
    umbra_json_put_double(j, "perplexity", exp(nll_mean(s)), 12);
    umbra_json_put_double(j, "tok_s", s->seconds > 0 ? s->tokens / s->seconds : 0, 6);
    umbra_json_close(j, '}');
}

static void print_text(const text *t, umbra_scores *s)
{
    double tok_s = s->seconds > 0 ? s->tokens / s->seconds : 0;
    if (s->predicted > 0)
        printf("%s: %d tokens, mean NLL %.5f, perplexity %.4f, %.1f tokens/s\n", cli_plain(t->path),
               s->tokens, nll_mean(s), exp(nll_mean(s)), tok_s);
    else
        printf("%s: %d tokens, none after the first to predict\n", cli_plain(t->path), s->tokens);
    for (int i = 0; s->top > 0 && i < s->tokens; i++) {
        printf("%d %d %.5f", i, t->tokens[i], s->lse[i]);
        for (int r = 0; r < s->top; r++) {
            size_t at = (size_t)i * (size_t)s->top + (size_t)r;
            printf(" %d:%.5f", s->top_id[at], (double)s->top_logit[at]);
        }
        putchar('\n');
    }
    for (int l = 0; s->experts && l < s->layers; l++) {
        for (int i = 0; i < s->tokens; i++) {
            const uint16_t *ids = sorted_experts(s, l, i);
            if (ids[0] == UINT16_MAX)
                break; /* a layer without experts */
            printf("layer %d position %d:", l, i);
            for (int k = 0; k < s->used; k++)
                printf(" %d", ids[k]);
            putchar('\n');
        }
    }
}

static int score_text(score_run *run, const text *t, double *nll, int *predicted, umbra_error *err)
{
    umbra_scores scores;
    int rc = umbra_score(run->engine, run->model, t->tokens, t->count, &run->options, &scores, err);
    cli_progress_end();
    if (rc != UMBRA_OK)
        return rc;
    *nll += scores.nll_sum;
    *predicted += scores.predicted;
    if (run->json)
        print_json(&run->writer, t, &scores);
    else
        print_text(t, &scores);
    umbra_score_free(&scores);
    return UMBRA_OK;
}

static int score_texts(score_run *run, const text *texts, int n)
{
    umbra_error err = {0};
    double nll = 0;
    int predicted = 0, rc = UMBRA_OK;
    if (run->json) {
        umbra_json_begin(&run->writer, stdout);
        umbra_json_open(&run->writer, '{');
        umbra_json_key(&run->writer, "files");
        umbra_json_open(&run->writer, '[');
    }
    for (int i = 0; i < n && rc == UMBRA_OK; i++)
        rc = score_text(run, &texts[i], &nll, &predicted, &err);
    double mean = predicted > 0 ? nll / predicted : NAN;
    if (run->json) {
        umbra_json_close(&run->writer, ']');
        umbra_json_put_double(&run->writer, "nll_mean", mean, 12);
        umbra_json_put_bool(&run->writer, "complete", rc == UMBRA_OK);
        umbra_json_close(&run->writer, '}');
        putchar('\n');
    } else if (n > 1 && rc == UMBRA_OK && predicted > 0) {
        printf("all: %d tokens predicted, mean NLL %.5f, perplexity %.4f\n", predicted, mean,
               exp(mean));
    }
    return rc == UMBRA_OK ? EXIT_DONE : cli_fail(&err);
}

static int read_texts(const umbra_model *model, const cli_list *files, size_t most, text *texts)
{
    for (int i = 0; i < files->count; i++) {
        char *data;
        size_t bytes, count;
        int code = cli_ranks_read_file(files->words[i], most, &data, &bytes);
        if (code)
            return code;
        umbra_error err = {0};
        int rc = umbra_tokenize(model, data, bytes, true, false, &texts[i].tokens, &count, &err);
        free(data);
        if (rc != UMBRA_OK)
            return cli_fail(&err);
        texts[i].path = files->words[i];
        texts[i].count = count > 1 << 30 ? 1 << 30 : (int)count;
        if (count == 0) {
            fprintf(stderr, "umbra: %s is empty and the model has no BOS token\n",
                    cli_plain(files->words[i]));
            return EXIT_FAILED;
        }
    }
    return -1;
}

/* The context that holds the longest text, as far as the model goes. */
static int context_for(const umbra_model *model, const text *texts, int n)
{
    int needed = 0, most = umbra_model_get_info(model)->context;
    for (int i = 0; i < n; i++)
        needed = texts[i].count > needed ? texts[i].count : needed;
    if (needed <= DEFAULT_CONTEXT)
        return 0;
    return needed < most ? needed : most;
}

static int score(const char *path, const cli_list *files, umbra_engine_options *engine,
                 score_run *run)
{
    umbra_error err = {0};
    umbra_model *model;
    if (umbra_model_open(&model, path, &err) != UMBRA_OK)
        return cli_fail(&err);
    size_t most = cli_most_text(engine->ram_bytes, CLI_MOST_TEXT_BYTES);
    text *texts = calloc((size_t)files->count, sizeof *texts);
    int code = texts ? read_texts(model, files, most, texts) : cli_fail_text();
    if (code < 0) {
        if (engine->context == 0)
            engine->context = context_for(model, texts, files->count);
        engine->ranks = cli_ranks();
        engine->progress = run->options.progress = cli_progress();
        cli_warn_budget(model, engine);
        if (umbra_engine_open(&run->engine, model, engine, &err) != UMBRA_OK) {
            code = cli_fail(&err);
        } else {
            run->model = model;
            code = cli_ranks_follows() ? cli_ranks_follow(run->engine)
                                       : score_texts(run, texts, files->count);
            if (engine->profile)
                cli_profile_engine(run->engine);
            umbra_engine_close(&run->engine);
        }
    }
    for (int i = 0; texts && i < files->count; i++)
        umbra_free_tokens(texts[i].tokens);
    free(texts);
    umbra_model_close(&model);
    return code;
}

int cli_score(int argc, char **argv)
{
    umbra_engine_options engine = {0};
    score_run run = {0};
    cli_list files = {0};
    const cli_option options[] = {
        {"--text", 0, CLI_LIST, "FILE...", "texts to score, each for itself; - is stdin", &files},
        {"--top", 0, CLI_INT, "K", "print the best K logits per position (default: 0)",
         &run.options.top, 0, 1000},
        {"--experts", 0, CLI_FLAG, NULL, "print the experts used per layer and position",
         &run.options.experts},
        {"--json", 0, CLI_FLAG, NULL, "print one JSON object", &run.json},
        CLI_PROFILE_OPTION(engine),
        CLI_ENGINE_OPTIONS(engine),
        {0},
    };
    const cli_syntax syntax = {
        "score",
        "MODEL --text FILE...",
        "Reads texts and prints, for every position, the log of the sum of exp(logits), the best "
        "logits and the experts used, and per text the mean negative log-likelihood. Entry i "
        "belongs to the position of token i: it is what the model says about the token after it. "
        "Special "
        "tokens in the text are read as plain text.",
        options,
        1,
        "umbra score MODEL.gguf --text chapter.txt\n"
        "umbra score MODEL.gguf --text a.txt b.txt --top 5 --experts --json\n"};
    const char *path;
    int code = cli_parse(&syntax, argc, argv, &path);
    if (code >= 0)
        return code;
    if (files.count == 0) {
        fputs("umbra score: give at least one --text FILE\n", stderr);
        return EXIT_MISUSE;
    }
    return score(path, &files, &engine, &run);
}
