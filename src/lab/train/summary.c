/* What a training run says of itself, as JSON. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "lab/train/summary.h"

enum { D = UMBRA_MAX_DISTANCE, DIGITS = 6 };

void umbra_train_network_release(umbra_train_network *network)
{
    umbra_free(network->history);
    umbra_free(network->outcomes);
    *network = (umbra_train_network){0};
}

/* ---- sums over networks ---- */

/* A mean in the making; none: -1. */
typedef struct mean {
    double sum;
    int n;
} mean;

static void mean_add(mean *m, double value)
{
    if (value >= 0.0) { /* neither absent (-1) nor unknown (not a number) */
        m->sum += value;
        m->n++;
    }
}

static double mean_of(const mean *m)
{
    return m->n > 0 ? m->sum / m->n : -1.0;
}

static void sum_outcomes(const umbra_train_setup *setup, const umbra_train_network *networks,
                         umbra_measure *sum, umbra_measure *exact, mean ece[D], mean raw_ece[D])
{
    for (int i = 0; i < setup->networks; i++) {
        int first, end;
        umbra_learner_sources(setup, i, &first, &end);
        for (int j = 0; j < end - first; j++) {
            const umbra_train_outcome *o = &networks[i].outcomes[j];
            umbra_measure_add(sum, &o->measure);
            umbra_measure_add(exact, &o->exact);
            for (int d = 0; d < D; d++) {
                mean_add(&ece[d], o->ece[d]);
                mean_add(&raw_ece[d], o->raw_ece[d]);
            }
        }
    }
}

/* Mean of the networks' records of one epoch; a network that stopped earlier counts with its best
 * record, whose weights it has. */
static umbra_train_record record_of(const umbra_train_setup *setup,
                                    const umbra_train_network *networks, int epoch)
{
    mean loss = {0}, validation_loss = {0}, recall[D] = {0};
    for (int i = 0; i < setup->networks; i++) {
        const umbra_train_network *n = &networks[i];
        if (n->epochs < 0)
            continue;
        const umbra_train_record *r = &n->history[epoch <= n->epochs ? epoch : n->best_epoch];
        mean_add(&loss, r->loss);
        mean_add(&validation_loss, r->validation_loss);
        for (int d = 0; d < D; d++)
            mean_add(&recall[d], r->recall[d]);
    }
    umbra_train_record out = {
        .loss = loss.n > 0 ? mean_of(&loss) : (double)NAN,
        .validation_loss = validation_loss.n > 0 ? mean_of(&validation_loss) : (double)NAN,
    };
    for (int d = 0; d < D; d++)
        out.recall[d] = mean_of(&recall[d]);
    return out;
}

void umbra_train_summarise(const umbra_train_setup *setup, const umbra_train_network *networks,
                           umbra_train_result *out)
{
    size_t first[UMBRA_SHADOW_PARTS + 1];
    umbra_measure sum = {0}, exact = {0};
    mean ece[D] = {0}, raw_ece[D] = {0};
    sum_outcomes(setup, networks, &sum, &exact, ece, raw_ece);
    out->networks = setup->networks;
    out->documents = (uint64_t)setup->data.n_training;
    out->validation_documents = (uint64_t)setup->data.n_validation;
    out->rows = setup->data.training_rows;
    out->validation_rows = setup->data.validation_rows;
    out->tokens = setup->data.tokens;
    out->parameters =
        (uint64_t)setup->networks * (uint64_t)umbra_train_parameters(&setup->spec, first);
    for (int i = 0; i < setup->networks; i++)
        out->epochs = networks[i].epochs > out->epochs ? networks[i].epochs : out->epochs;
    umbra_train_record start = record_of(setup, networks, 0);
    for (int d = 0; d < D; d++) {
        for (int b = 0; b < UMBRA_TRAIN_BUDGETS; b++)
            out->recall[b][d] = umbra_measure_recall(&sum, b, d + 1);
        out->untrained_recall[d] = start.recall[d];
        out->lost[d] = umbra_measure_recall(&exact, 0, d + 1) - out->recall[0][d];
        out->ece[d] = mean_of(&ece[d]);
        out->raw_ece[d] = mean_of(&raw_ece[d]);
    }
    for (int b = 0; b < UMBRA_TRAIN_BUDGETS; b++)
        out->m[b] = umbra_measure_m(&setup->spec, b);
}

/* ---- JSON ---- */

/* What does not exist (-1) or is not known is null. */
static void put_number(umbra_json *j, double value)
{
    umbra_json_double(j, value < 0.0 ? (double)NAN : value, DIGITS);
}

static void put_numbers(umbra_json *j, const char *key, const double *values, int n)
{
    if (key)
        umbra_json_key(j, key);
    umbra_json_open(j, '[');
    for (int i = 0; i < n; i++)
        put_number(j, values[i]);
    umbra_json_close(j, ']');
}

static void put_count(umbra_json *j, const char *key, uint64_t value)
{
    umbra_json_key(j, key);
    umbra_json_uint(j, value);
}

static void put_epochs(umbra_json *j, const umbra_train_setup *setup,
                       const umbra_train_network *networks, int epochs)
{
    umbra_json_key(j, "epochs");
    umbra_json_open(j, '[');
    for (int i = 0; i <= epochs; i++) {
        umbra_train_record r = record_of(setup, networks, i);
        umbra_json_open(j, '{');
        umbra_json_key(j, "loss");
        put_number(j, r.loss);
        umbra_json_key(j, "validation_loss");
        put_number(j, r.validation_loss);
        put_numbers(j, "recall", r.recall, D);
        umbra_json_close(j, '}');
    }
    umbra_json_close(j, ']');
}

static void put_network(umbra_json *j, const umbra_train_network *n, int source)
{
    umbra_json_open(j, '{');
    umbra_json_key(j, "source");
    umbra_json_int(j, source);
    umbra_json_key(j, "epochs");
    umbra_json_int(j, n->epochs);
    umbra_json_key(j, "best_epoch");
    umbra_json_int(j, n->best_epoch);
    umbra_json_key(j, "loss");
    umbra_json_open(j, '[');
    for (int i = 0; i <= n->epochs; i++)
        put_number(j, n->history[i].loss);
    umbra_json_close(j, ']');
    umbra_json_key(j, "validation_loss");
    umbra_json_open(j, '[');
    for (int i = 0; i <= n->epochs; i++)
        put_number(j, n->history[i].validation_loss);
    umbra_json_close(j, ']');
    umbra_json_key(j, "recall");
    umbra_json_open(j, '[');
    for (int i = 0; i <= n->epochs; i++)
        put_numbers(j, NULL, n->history[i].recall, D);
    umbra_json_close(j, ']');
    umbra_json_close(j, '}');
}

/* Ends a text begun by open_memstream, which finds no memory for its last piece without a word;
 * *out belongs to the caller. */
static int finish_text(FILE *file, char **text, char **out, umbra_error *err)
{
    bool good = file && ferror(file) == 0;
    if (file && fclose(file) != 0)
        good = false;
    *out = good && *text ? umbra_strdup(*text) : NULL;
    free(*text);
    return *out ? UMBRA_OK : umbra_fail_nomem(err, "the training's summary", 0);
}

/* What an evaluation needs in order to tell documents that were never trained on. */
static void put_documents(umbra_json *j, const umbra_train_data *data)
{
    int n = data->n_training + data->n_validation;
    umbra_json_key(j, "documents");
    umbra_json_open(j, '[');
    for (int i = 0; i < n; i++) {
        char hash[17];
        snprintf(hash, sizeof hash, "%016" PRIx64, data->documents[i].at->hash);
        umbra_json_text(j, hash);
    }
    umbra_json_close(j, ']');
    umbra_json_key(j, "ids");
    umbra_json_open(j, '[');
    for (int i = 0; i < n; i++)
        umbra_json_text(j, data->documents[i].at->id);
    umbra_json_close(j, ']');
}

static void put_frequency(umbra_json *j, const umbra_shadow_spec *spec, const uint64_t *counts)
{
    umbra_json_key(j, "frequency");
    umbra_json_open(j, '[');
    for (int layer = 0; layer < spec->layers; layer++) {
        umbra_json_open(j, '[');
        for (int e = 0; e < spec->experts; e++)
            umbra_json_uint(j, *counts++);
        umbra_json_close(j, ']');
    }
    umbra_json_close(j, ']');
}

static void put_training(umbra_json *j, const umbra_train_setup *setup,
                         const umbra_train_network *networks, const uint64_t *counts,
                         const umbra_train_result *result)
{
    umbra_json_open(j, '{');
    umbra_json_key(j, "settings");
    umbra_json_open(j, '{');
    for (int i = 0; i < setup->n_settings; i++) {
        umbra_json_key(j, setup->settings[i].name);
        umbra_json_text(j, setup->settings[i].value);
    }
    umbra_json_close(j, '}');
    umbra_json_key(j, "trace_folders");
    umbra_json_open(j, '[');
    for (int i = 0; i < setup->options.n_traces; i++)
        umbra_json_text(j, setup->options.traces[i]);
    umbra_json_close(j, ']');
    put_count(j, "training_documents", result->documents);
    put_count(j, "validation_documents", result->validation_documents);
    put_count(j, "rows", result->rows);
    put_count(j, "validation_rows", result->validation_rows);
    put_count(j, "tokens", result->tokens);
    put_count(j, "parameters", result->parameters);
    put_epochs(j, setup, networks, result->epochs);
    put_documents(j, &setup->data);
    put_frequency(j, &setup->spec, counts);
    umbra_json_key(j, "networks");
    umbra_json_open(j, '[');
    for (int i = 0; i < setup->networks; i++)
        put_network(j, &networks[i], setup->spec.shared ? -1 : i);
    umbra_json_close(j, ']');
    umbra_json_close(j, '}');
}

int umbra_train_training_json(char **out, const umbra_train_setup *setup,
                              const umbra_train_network *networks, const umbra_train_result *result,
                              umbra_error *err)
{
    const umbra_shadow_spec *spec = &setup->spec;
    size_t n = (size_t)spec->layers * (size_t)spec->experts;
    uint64_t *counts = umbra_calloc(n, sizeof *counts);
    if (!counts)
        return umbra_fail_nomem(err, "expert frequencies", n * sizeof *counts);
    int rc = umbra_train_count_experts(&setup->data, counts, err);
    if (rc == UMBRA_OK) {
        char *text = NULL;
        size_t bytes = 0;
        FILE *file = open_memstream(&text, &bytes);
        if (file) {
            umbra_json j;
            umbra_json_begin(&j, file);
            put_training(&j, setup, networks, counts, result);
        }
        rc = finish_text(file, &text, out, err);
    }
    umbra_free(counts);
    return rc;
}

/* "recall": by m, then by distance. */
static void put_recall(umbra_json *j, const umbra_train_result *result,
                       const double recall[UMBRA_TRAIN_BUDGETS][D])
{
    umbra_json_key(j, "recall");
    umbra_json_open(j, '{');
    for (int b = 0; b < UMBRA_TRAIN_BUDGETS; b++) {
        char key[16];
        snprintf(key, sizeof key, "%d", result->m[b]);
        if (b > 0 && result->m[b] == result->m[b - 1])
            continue; /* m is at most the experts there are */
        put_numbers(j, key, recall[b], D);
    }
    umbra_json_close(j, '}');
}

static void put_source(umbra_json *j, const umbra_train_result *result, int source,
                       const umbra_measure *measure)
{
    double recall[UMBRA_TRAIN_BUDGETS][D];
    for (int b = 0; b < UMBRA_TRAIN_BUDGETS; b++)
        for (int d = 0; d < D; d++)
            recall[b][d] = umbra_measure_recall(measure, b, d + 1);
    umbra_json_open(j, '{');
    umbra_json_key(j, "source");
    umbra_json_int(j, source);
    put_recall(j, result, (const double(*)[D])recall);
    umbra_json_close(j, '}');
}

static void put_recalls(umbra_json *j, const umbra_train_setup *setup,
                        const umbra_train_network *networks, const umbra_train_result *result)
{
    umbra_json_open(j, '{');
    umbra_json_key(j, "on");
    umbra_json_text(j, "validation");
    put_count(j, "rows", result->validation_rows);
    umbra_json_key(j, "m");
    umbra_json_open(j, '[');
    for (int b = 0; b < UMBRA_TRAIN_BUDGETS; b++)
        umbra_json_int(j, result->m[b]);
    umbra_json_close(j, ']');
    put_recall(j, result, (const double(*)[D])result->recall);
    put_numbers(j, "untrained", result->untrained_recall, D);
    put_numbers(j, "ece", result->ece, D);
    put_numbers(j, "raw_ece", result->raw_ece, D);
    umbra_json_key(j, "quantized");
    umbra_json_open(j, '{');
    umbra_json_put_text(j, "weights", umbra_weight_form_name(setup->options.weights));
    umbra_json_key(j, "lost"); /* a gain is negative */
    umbra_json_open(j, '[');
    for (int d = 0; d < D; d++)
        umbra_json_double(j, result->lost[d], 6);
    umbra_json_close(j, ']');
    umbra_json_close(j, '}');
    umbra_json_key(j, "sources");
    umbra_json_open(j, '[');
    for (int i = 0; i < setup->networks; i++) {
        int first, end;
        umbra_learner_sources(setup, i, &first, &end);
        for (int source = first; source < end; source++)
            put_source(j, result, source, &networks[i].outcomes[source - first].measure);
    }
    umbra_json_close(j, ']');
    umbra_json_close(j, '}');
}

int umbra_train_recall_json(char **out, const umbra_train_setup *setup,
                            const umbra_train_network *networks, const umbra_train_result *result,
                            umbra_error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    if (file) {
        umbra_json j;
        umbra_json_begin(&j, file);
        put_recalls(&j, setup, networks, result);
    }
    return finish_text(file, &text, out, err);
}
