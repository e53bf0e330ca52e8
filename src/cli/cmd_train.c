/* umbra train: makes a shadow model from traces. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json_writer.h"
#include "cli/cli.h"
#include "cli/ranks.h"

/* Progress of the epochs: one line each, on stderr. */
static void show_epoch(void *user, const umbra_train_epoch *e)
{
    (void)user;
    cli_progress_end();
    char name[32];
    if (e->source < 0)
        snprintf(name, sizeof name, "shared");
    else
        snprintf(name, sizeof name, "source %d", e->source);
    fprintf(stderr, "%-10s epoch %d of %d", name, e->epoch, e->epochs);
    if (isfinite(e->loss))
        fprintf(stderr, "  loss %.4f", e->loss);
    fputs("  recall", stderr);
    for (int d = 0; d < UMBRA_MAX_DISTANCE; d++)
        if (e->recall[d] >= 0)
            fprintf(stderr, " %.3f", e->recall[d]);
    fprintf(stderr, "%s\n", e->best ? "" : "  (not better)");
}

static void json_series(umbra_json *j, const char *key, const double *values)
{
    umbra_json_key(j, key);
    umbra_json_open(j, '[');
    for (int d = 0; d < UMBRA_MAX_DISTANCE; d++)
        umbra_json_double(j, values[d] < -0.5 ? NAN : values[d], 6);
    umbra_json_close(j, ']');
}

static void print_json(const char *output, const umbra_train_result *r)
{
    umbra_json j;
    umbra_json_begin(&j, stdout);
    umbra_json_open(&j, '{');
    umbra_json_put_text(&j, "file", output);
    const struct {
        const char *key;
        uint64_t value;
    } counts[] = {
        {"networks", (uint64_t)r->networks},
        {"epochs", (uint64_t)r->epochs},
        {"documents", r->documents},
        {"validation_documents", r->validation_documents},
        {"rows", r->rows},
        {"validation_rows", r->validation_rows},
        {"tokens", r->tokens},
        {"parameters", r->parameters},
        {"file_bytes", r->file_bytes},
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        umbra_json_put_uint(&j, counts[i].key, counts[i].value);
    }
    umbra_json_key(&j, "recall");
    umbra_json_open(&j, '{');
    for (int b = 0; b < UMBRA_TRAIN_BUDGETS; b++) {
        char m[16];
        snprintf(m, sizeof m, "%d", r->m[b]);
        json_series(&j, m, r->recall[b]);
    }
    umbra_json_close(&j, '}');
    json_series(&j, "untrained_recall", r->untrained_recall);
    json_series(&j, "lost_by_rounding", r->lost);
    json_series(&j, "ece", r->ece);
    umbra_json_put_double(&j, "seconds", r->seconds, 6);
    umbra_json_close(&j, '}');
    putchar('\n');
}

static void print_series(const char *name, const double *values)
{
    printf("  %-22s", name);
    for (int d = 0; d < UMBRA_MAX_DISTANCE; d++)
        if (values[d] >= 0)
            printf("  %.3f", values[d]);
    putchar('\n');
}

static void print_text(const char *output, const umbra_train_result *r)
{
    printf("%s: %s, %llu parameters in %d networks, trained in %.0f s\n", cli_plain(output),
           cli_size(r->file_bytes), (unsigned long long)r->parameters, r->networks, r->seconds);
    printf("on %llu documents (%llu validation documents kept apart); slot recall there at "
           "distance 1..4:\n",
           (unsigned long long)r->documents, (unsigned long long)r->validation_documents);
    print_series("untrained", r->untrained_recall);
    for (int b = 0; b < UMBRA_TRAIN_BUDGETS; b++) {
        char name[32];
        snprintf(name, sizeof name, "trained, m = %d", r->m[b]);
        print_series(name, r->recall[b]);
    }
    print_series("calibration error", r->ece);
}

/* Options that the library takes as numbers. */
typedef struct words {
    const char *arch, *scope, *loss, *weights;
} words;

static int parse_words(const words *w, umbra_train_options *o)
{
    umbra_error err = {0};
    int rc = umbra_train_arch_parse(w->arch, &o->arch, &err);
    if (rc == UMBRA_OK)
        rc = umbra_train_scope_parse(w->scope, &o->scope, &err);
    if (rc == UMBRA_OK)
        rc = umbra_train_loss_parse(w->loss, &o->loss, &err);
    if (rc == UMBRA_OK)
        rc = umbra_weight_form_parse(w->weights, &o->weights, &err);
    o->weight_decay = cli_amount(o->weight_decay);
    o->patience = cli_count(o->patience);
    return rc == UMBRA_OK ? -1 : cli_fail(&err);
}

int cli_train(int argc, char **argv)
{
    umbra_train_options o = {.weight_decay = cli_not_given, .patience = -1};
    words w = {0};
    bool json = false;
    const cli_option options[] = {
        {"--output", 'o', CLI_TEXT, "FILE", "the shadow file to write", &o.output},
        {"--arch", 0, CLI_TEXT, "residual|seed", "network (default: residual)", &w.arch},
        {"--scope", 0, CLI_TEXT, "layer|shared",
         "a network per layer, or one for all (default: layer)", &w.scope},
        {"--features", 0, CLI_TEXT, "LIST",
         "routing features: some of now,previous,previous2, or none (default: all for residual)",
         &o.features},
        {"--averages", 0, CLI_TEXT, "LIST",
         "decays of running averages of the state, as 0.8,0.95, or none (default: 0.8,0.95 for "
         "residual)",
         &o.averages},
        {"--hidden", 0, CLI_INT, "N", "inner width (default: 256 for residual, 1024 for seed)",
         &o.width, 1, 65536},
        {"--loss", 0, CLI_TEXT, "bce|kl", "what is minimised (default: bce)", &w.loss},
        {"--quantize", 0, CLI_TEXT, "f32|bf16|i8", "form of the weights in the file (default: f32)",
         &w.weights},
        {"--force", 0, CLI_FLAG, NULL,
         "write it even if --quantize costs more than 0.2 points of recall", &o.force},
        {"--epochs", 0, CLI_INT, "N", "passes over the traces at most (default: 4)", &o.epochs, 1,
         100000},
        {"--batch", 0, CLI_INT, "N", "rows per step (default: 256)", &o.batch, 1, 65536},
        {"--lr", 0, CLI_FLOAT, "X", "learning rate at its peak (default: 0.004)", &o.learning_rate,
         1e-9, 10},
        {"--decay", 0, CLI_FLOAT, "X", "weight decay (default: 0.01)", &o.weight_decay, 0, 10},
        {"--dropout", 0, CLI_FLOAT, "X", "share of inner values dropped, for seed (default: 0)",
         &o.dropout, 0, 0.999999},
        {"--average", 0, CLI_FLOAT, "X", "decay of averaged weights (default: 0, off)", &o.average,
         0, 0.999999},
        {"--patience", 0, CLI_INT, "N",
         "epochs without a better recall before it stops (default: 2; 0: never)", &o.patience, 0,
         100000},
        {"--val", 0, CLI_FLOAT, "SHARE",
         "share of the documents kept for validation (default: 0.1)", &o.validation, 1e-6, 0.9},
        {"--seed", 0, CLI_U64, "S", "seed of the first weights and of the order (default: 1)",
         &o.seed, 1},
        {"--threads", 't', CLI_INT, "N", "threads that compute (default: the processors at hand)",
         &o.threads, 1, CLI_MOST_WORKERS},
        {"--resume", 0, CLI_FLAG, NULL, "go on from FILE.checkpoint", &o.resume},
        {"--json", 0, CLI_FLAG, NULL, "print one JSON object at the end", &json},
        {0},
    };
    const cli_syntax syntax = {
        "train",
        "DIR... -o FILE",
        "Trains a shadow model on traces of a model, as umbra collect records them. Several "
        "folders are mixed. A run that is stopped goes on with --resume to the same result.",
        options,
        CLI_ANY,
        "umbra train traces -o MODEL.shadow.safetensors\n"
        "umbra train traces more-traces -o MODEL.shadow.safetensors --quantize i8 --resume\n"};
    const char *folders[CLI_MOST_OPERANDS + 1] = {0};
    int code = cli_parse(&syntax, argc, argv, folders);
    if (code < 0)
        code = parse_words(&w, &o);
    if (code >= 0)
        return code;
    if (!o.output) {
        fputs("umbra train: name the file to write with -o FILE\n", stderr);
        return EXIT_MISUSE;
    }
    o.traces = folders;
    while (o.n_traces < CLI_MOST_OPERANDS && folders[o.n_traces])
        o.n_traces++;
    o.progress = cli_progress();
    o.ranks = cli_ranks();
    o.on_epoch = isatty(STDERR_FILENO) || !json ? show_epoch : NULL;
    umbra_error err = {0};
    umbra_train_result result;
    int rc = umbra_train(&o, &result, &err);
    cli_progress_end();
    if (rc != UMBRA_OK)
        return cli_fail(&err);
    if (json)
        print_json(o.output, &result);
    else
        print_text(o.output, &result);
    return EXIT_DONE;
}
