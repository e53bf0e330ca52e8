/* umbra bench MODEL: generation under budgets, policies and disks, in turns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_writer.h"
#include "base/quote.h"
#include "cli/cli.h"
#include "cli/drafts.h"
#include "cli/ranks.h"

/* ---- printing ---- */

static const char *ms(double seconds)
{
    static char ring[4][24];
    static int next;
    char *out = ring[next++ % 4];
    snprintf(out, sizeof ring[0], "%.2f", seconds * 1e3);
    return out;
}

static void print_group(const umbra_bench_row *row, int width)
{
    printf("\n%s, budget %s (%.1f %% of the experts fit)", row->io, cli_size(row->ram_bytes),
           row->residency * 100);
    if (row->disk_bytes_per_s > 0)
        printf(", reads experts at %s/s", cli_size((uint64_t)row->disk_bytes_per_s));
    printf("\nC %s ms%s, I %s ms per token; the bound max(C, I) is %.1f tokens/s\n",
           ms(row->compute_s), row->compute_is_estimate ? " (off without its waits)" : "",
           ms(row->io_s), 1 / (row->compute_s > row->io_s ? row->compute_s : row->io_s));
    printf("%-*s %8s %8s %8s %6s %6s %9s %9s %8s %8s %8s %6s\n", width, "policy", "tok/s", "min",
           "max", "bound", "hits", "read/tok", "stall ms", "useful", "late", "wasted", "disk");
}

static void print_row(const umbra_bench_row *r, int width)
{
    double ahead = r->bytes_per_token > 0 ? 100 / r->bytes_per_token : 0;
    printf("%-*s %8.1f %8.1f %8.1f %5.0f%% %5.1f%% %9s %9s %7.1f%% %7.1f%% %7.1f%% %5.0f%%\n",
           width, r->policy, r->tok_s.median, r->tok_s.min, r->tok_s.max, r->bound_share * 100,
           r->hits * 100, cli_size((uint64_t)r->bytes_per_token), ms(r->stall_s),
           r->useful_bytes * ahead, r->late_bytes * ahead, r->wasted_bytes * ahead,
           r->disk_busy * 100);
}

static bool in_group(const umbra_bench_row *row, const umbra_bench_row *first)
{
    return row->io == first->io && row->ram_bytes == first->ram_bytes;
}

/* What every policy of a group gained or lost against off, where off was measured. */
static void print_gains(const umbra_bench *b, const umbra_bench_row *first)
{
    const umbra_bench_row *end = b->rows + b->n_rows, *off = NULL;
    for (const umbra_bench_row *row = first; row < end && in_group(row, first); row++)
        if (strcmp(row->policy, "off") == 0 && row->tok_s.median > 0)
            off = row;
    bool chance = false;
    const char *lead = "against off: ";
    for (const umbra_bench_row *row = first; off && row < end && in_group(row, first); row++) {
        if (row == off)
            continue;
        bool overlap = row->tok_s.min <= off->tok_s.max && off->tok_s.min <= row->tok_s.max;
        printf("%s%s %+.1f %%%s", lead, row->policy,
               100 * (row->tok_s.median / off->tok_s.median - 1), overlap ? "~" : "");
        chance = chance || overlap;
        lead = ", ";
    }
    if (*lead == ',')
        printf("%s\n", chance ? " (~: the rounds overlap, it may be chance)" : "");
}

static void print_shares(const umbra_foretold_stats *of, uint64_t layers)
{
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++)
        printf("%*.1f", d > 1 ? 6 : 7, 100 * cli_share(of[d].layers, layers));
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++)
        printf("%*.1f", d > 1 ? 6 : 9, 100 * cli_share(of[d].named, of[d].used));
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++)
        printf("%*.1f", d > 1 ? 6 : 9, 100 * cli_share(of[d].missing_named, of[d].missing));
    printf("\n");
}

static uint64_t foretold_layers(const umbra_foretold_stats *of)
{
    uint64_t layers = 0;
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++)
        layers += of[d].layers;
    return layers;
}

/* What forecasts named of what layers used, where a group had any. */
static void print_recall(const umbra_bench *b, const umbra_bench_row *first, int width)
{
    bool headed = false;
    for (const umbra_bench_row *r = first; r < b->rows + b->n_rows && in_group(r, first); r++) {
        const umbra_recall_stats *s = &r->recall;
        const umbra_foretold_stats *const of[] = {s->within, s->beyond};
        for (int beyond = 0; beyond < 2; beyond++) {
            if (foretold_layers(of[beyond]) == 0)
                continue;
            if (!headed)
                printf(
                    "%-*s             %% of layers foretold      %% of used experts named    %% of "
                    "missing ones named\n%-*s  layers ahead: 1     2     3     4 %*s %*s\n",
                    width, "forecasts", width, "", 29, "1     2     3     4", 26,
                    "1     2     3     4");
            headed = true;
            printf("%-*s %-11s", width, beyond ? "" : r->policy,
                   beyond ? "next token" : "its token");
            print_shares(of[beyond], s->layers);
        }
    }
}

/* What became of drafts, where a group had any. */
static void print_drafts(const umbra_bench *b, const umbra_bench_row *first)
{
    bool headed = false;
    for (const umbra_bench_row *r = first; r < b->rows + b->n_rows && in_group(r, first); r++) {
        const umbra_draft_stats *d = &r->drafts;
        if (d->source == UMBRA_DRAFT_OFF)
            continue;
        if (!headed)
            printf("%-21s %8s %8s %8s %10s %14s\n", "drafts", "drafted", "accepted", "tok/step",
                   "exp/step", "exp/checking");
        headed = true;
        printf("%-21s %8llu %8llu %8.2f %10.0f %14.0f\n", r->policy,
               (unsigned long long)cli_sum_drafts(d->drafted),
               (unsigned long long)cli_sum_drafts(d->accepted), cli_share(d->tokens, d->steps),
               cli_share(d->step_experts, d->steps - d->checks),
               cli_share(d->check_experts, d->checks));
    }
}

static void print_text(const umbra_bench *b)
{
    printf("%s: %s of experts, %d layers; %d threads, %s kernels; medians of %d rounds of %d "
           "tokens after %d\n",
           b->model, cli_size(b->expert_bytes), b->layers, b->threads, b->kernels, b->rounds,
           b->tokens, b->warm_tokens);
    printf("bound: share of what the bound allows; useful, late, wasted: of the bytes read\n");
    const umbra_bench_row *first = NULL; /* of a group */
    int width = 9;
    for (int i = 0; i < b->n_rows; i++)
        width = (int)strlen(b->rows[i].policy) > width ? (int)strlen(b->rows[i].policy) : width;
    for (int i = 0; i < b->n_rows; i++) {
        const umbra_bench_row *row = &b->rows[i];
        if (strcmp(row->policy, "resident") == 0) {
            printf("\nresident (everything in memory): %.1f tokens/s (%.1f to %.1f), C %s ms\n",
                   row->tok_s.median, row->tok_s.min, row->tok_s.max, ms(row->token_s));
            continue;
        }
        if (!first || !in_group(row, first)) {
            print_group(row, width);
            first = row;
        }
        print_row(row, width);
        if (i + 1 < b->n_rows && in_group(row + 1, first))
            continue;
        print_gains(b, first);
        print_recall(b, first, width);
        print_drafts(b, first);
    }
    if (b->against)
        printf("\npeer: %.1f tokens/s (%.1f to %.1f): %s\n", b->against_tok_s.median,
               b->against_tok_s.min, b->against_tok_s.max, b->against);
}

static void json_spread(umbra_json *j, const char *key, const umbra_spread *s)
{
    umbra_json_key(j, key);
    umbra_json_open(j, '{');
    umbra_json_put_double(j, "median", s->median, 6);
    umbra_json_put_double(j, "min", s->min, 6);
    umbra_json_put_double(j, "max", s->max, 6);
    umbra_json_close(j, '}');
}

static void json_drafts(umbra_json *j, const umbra_draft_stats *d)
{
    umbra_json_put_uint(j, "drafted", cli_sum_drafts(d->drafted));
    umbra_json_put_uint(j, "accepted", cli_sum_drafts(d->accepted));
    umbra_json_put_double(j, "tokens_per_step", cli_share(d->tokens, d->steps), 6);
    umbra_json_put_double(j, "step_experts", cli_share(d->step_experts, d->steps - d->checks), 6);
    umbra_json_put_double(j, "check_experts", cli_share(d->check_experts, d->checks), 6);
    umbra_json_put_double(j, "draft_gain", d->gain, 6);
}

static void json_foretold(umbra_json *j, const char *key, const umbra_foretold_stats *of)
{
    umbra_json_key(j, key);
    umbra_json_open(j, '[');
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++) {
        umbra_json_open(j, '{');
        umbra_json_put_uint(j, "layers", of[d].layers);
        umbra_json_put_double(j, "recall", cli_share(of[d].named, of[d].used), 6);
        umbra_json_put_double(j, "recall_missing", cli_share(of[d].missing_named, of[d].missing),
                              6);
        umbra_json_close(j, '}');
    }
    umbra_json_close(j, ']');
}

static void json_recall(umbra_json *j, const umbra_recall_stats *s)
{
    umbra_json_key(j, "foretold");
    umbra_json_open(j, '{');
    umbra_json_put_uint(j, "layers", s->layers);
    umbra_json_put_uint(j, "missing", s->missing);
    json_foretold(j, "within", s->within);
    json_foretold(j, "beyond", s->beyond);
    umbra_json_close(j, '}');
}

static void json_row(umbra_json *j, const umbra_bench *b, const umbra_bench_row *r)
{
    umbra_json_open(j, '{');
    umbra_json_put_text(j, "policy", r->policy);
    umbra_json_put_uint(j, "ram_bytes", r->ram_bytes);
    umbra_json_put_text(j, "io", r->io);
    json_spread(j, "tok_s", &r->tok_s);
    umbra_json_put_double(j, "compute_s", r->compute_s, 6);
    umbra_json_put_bool(j, "compute_is_estimate", r->compute_is_estimate);
    umbra_json_put_double(j, "io_s", r->io_s, 6);
    umbra_json_put_double(j, "bound_share", r->bound_share, 6);
    umbra_json_put_double(j, "bytes_per_token", r->bytes_per_token, 9);
    umbra_json_put_double(j, "useful_bytes", r->useful_bytes, 9);
    umbra_json_put_double(j, "late_bytes", r->late_bytes, 9);
    umbra_json_put_double(j, "wasted_bytes", r->wasted_bytes, 9);
    umbra_json_put_double(j, "stall_s_per_token", r->stall_s, 6);
    umbra_json_put_double(j, "residency", r->residency, 6);
    umbra_json_put_double(j, "hits", r->hits, 6);
    umbra_json_put_double(j, "disk_bytes_per_s", r->disk_bytes_per_s, 9);
    umbra_json_put_double(j, "disk_busy", r->disk_busy, 6);
    umbra_json_put_double(j, "predict_s_per_token", r->predict_s, 6);
    umbra_json_put_double(j, "on", r->on, 6);
    umbra_json_key(j, "distances");
    umbra_json_open(j, '[');
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++) {
        umbra_json_open(j, '{');
        umbra_json_put_double(j, "useful_bytes", r->distance_bytes[d][0], 9);
        umbra_json_put_double(j, "late_bytes", r->distance_bytes[d][1], 9);
        umbra_json_put_double(j, "wasted_bytes", r->distance_bytes[d][2], 9);
        umbra_json_close(j, '}');
    }
    umbra_json_close(j, ']');
    umbra_json_key(j, "layer_stall_s");
    umbra_json_open(j, '[');
    for (int l = 0; r->layer_stall_s && l < b->layers; l++)
        umbra_json_double(j, r->layer_stall_s[l], 6);
    umbra_json_close(j, ']');
    json_recall(j, &r->recall);
    if (r->drafts.source != UMBRA_DRAFT_OFF)
        json_drafts(j, &r->drafts);
    umbra_json_close(j, '}');
}

static void print_json(const umbra_bench *b)
{
    umbra_json j;
    umbra_json_begin(&j, stdout);
    umbra_json_open(&j, '{');
    umbra_json_put_text(&j, "model", b->model);
    umbra_json_put_uint(&j, "expert_bytes", b->expert_bytes);
    umbra_json_put_uint(&j, "threads", (uint64_t)b->threads);
    umbra_json_put_text(&j, "kernels", b->kernels);
    umbra_json_put_uint(&j, "rounds", (uint64_t)b->rounds);
    umbra_json_put_uint(&j, "tokens", (uint64_t)b->tokens);
    umbra_json_key(&j, "rows");
    umbra_json_open(&j, '[');
    for (int i = 0; i < b->n_rows; i++)
        json_row(&j, b, &b->rows[i]);
    umbra_json_close(&j, ']');
    if (b->against) {
        umbra_json_key(&j, "peer");
        umbra_json_open(&j, '{');
        umbra_json_put_text(&j, "command", b->against);
        json_spread(&j, "tok_s", &b->against_tok_s);
        umbra_json_close(&j, '}');
    }
    umbra_json_close(&j, '}');
    putchar('\n');
}

/* ---- the command ---- */

typedef struct words {
    cli_list ram, io, policies, drafts;
    uint64_t ram_bytes[CLI_MOST_OPERANDS];
    umbra_policy policy[CLI_MOST_OPERANDS];
    const char *report;
    bool json;
} words;

static int parse_budgets(words *w, umbra_bench_options *o)
{
    for (int i = 0; i < w->ram.count; i++)
        if (i == CLI_MOST_OPERANDS || !cli_parse_size(w->ram.words[i], &w->ram_bytes[i])) {
            fprintf(
                stderr,
                "umbra bench: not a budget: %s (--ram SIZE: at least 1 byte, as 8G or 512MiB)\n",
                umbra_quote(w->ram.words[i], strlen(w->ram.words[i])).text);
            return EXIT_MISUSE;
        }
    o->ram = w->ram_bytes;
    o->n_ram = w->ram.count;
    o->io = (const char *const *)w->io.words;
    o->n_io = w->io.count;
    return -1;
}

static int parse_policies(words *w, umbra_bench_options *o)
{
    umbra_error err = {0};
    int rc = UMBRA_OK;
    if (w->policies.count > CLI_MOST_OPERANDS) {
        fprintf(stderr, "umbra bench: at most %d policies\n", (int)CLI_MOST_OPERANDS);
        return EXIT_MISUSE;
    }
    for (int i = 0; rc == UMBRA_OK && i < w->policies.count; i++)
        rc = umbra_policy_parse(w->policies.words[i], &w->policy[i], &err);
    o->policies = w->policy;
    o->n_policies = w->policies.count;
    o->drafts = (const char *const *)w->drafts.words;
    o->n_drafts = w->drafts.count;
    return rc == UMBRA_OK ? -1 : cli_fail(&err);
}

static void print_profile(void *user, const umbra_bench_profile *p)
{
    (void)user;
    cli_progress_end();
    fprintf(stderr, "\n%s, %s, budget %s\n", p->policy, p->io, cli_size(p->ram_bytes));
    cli_print_profile(&p->profile, p->threads, p->kernels);
}

static int measure(const char *path, const umbra_bench_options *o, const words *w)
{
    umbra_error err = {0};
    umbra_model *model;
    umbra_bench *bench = NULL;
    int rc = umbra_model_open(&model, path, &err);
    if (rc != UMBRA_OK)
        return cli_fail(&err);
    for (int i = 0; i < o->n_ram; i++) {
        umbra_engine_options engine = o->engine;
        engine.ram_bytes = o->ram[i];
        cli_warn_budget(model, &engine);
    }
    rc = umbra_bench_model(&bench, model, o, &err);
    cli_progress_end();
    if (rc == UMBRA_OK && w->json)
        print_json(bench);
    else if (rc == UMBRA_OK)
        print_text(bench);
    if (rc == UMBRA_OK && w->report)
        rc = umbra_bench_report(bench, w->report, &err);
    umbra_bench_free(&bench);
    umbra_model_close(&model);
    return rc == UMBRA_OK ? EXIT_DONE : cli_fail(&err);
}

int cli_bench_model(int argc, char **argv)
{
    umbra_bench_options o = {0};
    words w = {0};
    float temperature = cli_not_given;
    const cli_option options[] = {
        {"--ram", 0, CLI_LIST, "SIZE...", "budgets for the whole process (default: what is free)",
         &w.ram},
        {"--io", 0, CLI_LIST, "NAME...",
         "auto, uring, threads, or a simulated disk as sim:500M,100us (default: auto)", &w.io},
        {"--policy", 0, CLI_LIST, "NAME...",
         "off, previous, gate, shadow, runahead, auto, oracle (default: all)", &w.policies},
        {"--draft", 0, CLI_LIST, "WORD...",
         "ways to draft, each with every policy: off, auto, lookup, runahead, mtp, or told:SHARE, "
         "the text's own tokens with so many errors; with :N at most N at once, of told always "
         "(default: off)",
         &w.drafts},
        {"--shadow", 0, CLI_TEXT, "FILE",
         "shadow model (default: MODEL.shadow.safetensors beside the model)", &o.shadow},
        {"--every", 0, CLI_INT, "N", "predict at every n-th layer (default: as time allows)",
         &o.every, 1, 4},
        {"--rounds", 0, CLI_INT, "N", "runs of each policy, in turns (default: 5)", &o.rounds, 1,
         1000},
        {"--tokens", 'n', CLI_INT, "N", "tokens decoded while the clock runs (default: 128)",
         &o.tokens, 1},
        {"--warm", 0, CLI_INT, "N", "tokens decoded before (default: 32)", &o.warm_tokens, 1},
        {"--prompt", 'p', CLI_TEXT, "TEXT", "what the text begins with", &o.prompt},
        {"--temp", 0, CLI_FLOAT, "T", "temperature; 0 takes the best token (default: 0.8)",
         &temperature, 0, 100},
        {"--seed", 0, CLI_U64, "S", "seed of the text (default: 1)", &o.seed, 1},
        {"--threads", 't', CLI_INT, "N", "threads that compute (default: the processors at hand)",
         &o.engine.threads, 1, CLI_MOST_THREADS},
        {"--kernels", 0, CLI_TEXT, "auto|reference|scalar|avx2|avxvnni|avx512|amx|neon",
         "instruction set to compute with (default: auto, the best of this processor)",
         &o.engine.kernels},
        {"--buffered", 0, CLI_FLAG, NULL, "read experts through the page cache, not with O_DIRECT",
         &o.engine.buffered},
        {"--against", 0, CLI_TEXT, "COMMAND",
         "run a peer by the shell between the rounds and show the speed that it prints",
         &o.against},
        {"--report", 0, CLI_TEXT, "FILE", "write an HTML report with charts and a token's timeline",
         &w.report},
        {"--json", 0, CLI_FLAG, NULL, "print one JSON object", &w.json},
        CLI_PROFILE_OPTION(o.engine),
        {0},
    };
    const cli_syntax syntax = {
        "bench",
        "MODEL",
        "Lets the model write the same text under every policy, budget and backend, in turns, and "
        "prints what each reached, and how near that is to what is possible. The logits of every "
        "run "
        "are held against the first one's, bit for bit.",
        options,
        1,
        "umbra bench MODEL.gguf --ram 8G 4G\n"
        "umbra bench MODEL.gguf --ram 8G --io sim:500M,100us --policy off auto oracle --json\n"
        "umbra bench MODEL.gguf --ram 8G --policy off --draft off auto told:0.8 told:0.8:4\n"};
    const char *path;
    int code = cli_parse(&syntax, argc, argv, &path);
    if (code < 0)
        code = parse_budgets(&w, &o);
    if (code < 0)
        code = parse_policies(&w, &o);
    if (code >= 0)
        return code;
    o.warn = cli_warn_without;
    o.profile = print_profile;
    o.temperature = cli_amount(temperature);
    o.engine.progress = cli_progress();
    o.engine.ranks = cli_ranks();
    return measure(path, &o, &w);
}
