/* An evaluation as JSON. */
#include <math.h>

#include "base/json_writer.h"
#include "lab/evaluate/evaluation.h"

enum { D = UMBRA_MAX_DISTANCE };

static const char *const kinds[] = {"oracle", "frequency", "previous", "gate",
                                    "shadow", "roll",      "runahead"};
static const char *const forecasts[] = {"none", "own", "platt"};

static void put_number(umbra_json *j, const char *key, double value)
{
    umbra_json_key(j, key);
    umbra_json_double(j, value, 6);
}

static void put_integer(umbra_json *j, const char *key, uint64_t value)
{
    umbra_json_key(j, key);
    umbra_json_uint(j, value);
}

static void put_string(umbra_json *j, const char *key, const char *value)
{
    umbra_json_key(j, key);
    umbra_json_text(j, value);
}

/* "key": {"m": [d1..d4], ...} */
static void put_by_m(umbra_json *j, const umbra_evaluation *e, const char *key,
                     umbra_eval_figure figure, const umbra_tally *tallies, const int *m, int n)
{
    umbra_json_key(j, key);
    umbra_json_open(j, '{');
    for (int i = 0; i < n; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", m[i]);
        umbra_json_key(j, text);
        umbra_json_open(j, '[');
        for (int d = 0; d < D; d++)
            umbra_json_double(j, figure(e, &tallies[d], m[i]), 6);
        umbra_json_close(j, ']');
    }
    umbra_json_close(j, '}');
}

static void put_by_distance(umbra_json *j, const char *key, double (*figure)(const umbra_tally *),
                            const umbra_tally *tallies)
{
    umbra_json_key(j, key);
    umbra_json_open(j, '[');
    for (int d = 0; d < D; d++)
        umbra_json_double(j, figure(&tallies[d]), 6);
    umbra_json_close(j, ']');
}

/* [[m = k, k + 1, ... per distance], ...] */
static void put_curves(umbra_json *j, const umbra_evaluation *e, const umbra_eval_row *row)
{
    umbra_json_key(j, "curve");
    umbra_json_open(j, '[');
    for (int d = 0; d < D; d++) {
        umbra_json_open(j, '[');
        for (int m = e->model.used; m <= e->curve_last; m++)
            umbra_json_double(j, umbra_eval_recall(e, &row->inner[d], m), 6);
        umbra_json_close(j, ']');
    }
    umbra_json_close(j, ']');
}

/* Recall at m = k, [target layer][distance]; null where no inner source predicts it. */
static void put_layers(umbra_json *j, const umbra_evaluation *e, const umbra_eval_row *row)
{
    umbra_json_key(j, "by_layer");
    umbra_json_open(j, '[');
    for (int layer = 0; layer < e->model.layers; layer++) {
        umbra_json_open(j, '[');
        for (int d = 1; d <= D; d++) {
            const umbra_tally *t = d <= layer ? umbra_eval_at_layer(e, row, layer, d) : NULL;
            umbra_json_double(j, t ? umbra_eval_recall(e, t, e->model.used) : NAN, 6);
        }
        umbra_json_close(j, ']');
    }
    umbra_json_close(j, ']');
}

/* [distance][bin]: [mean probability, share used, forecasts] */
static void put_reliability(umbra_json *j, const umbra_eval_row *row)
{
    umbra_json_key(j, "reliability");
    umbra_json_open(j, '[');
    for (int d = 0; d < D; d++) {
        umbra_json_open(j, '[');
        for (int b = 0; b < UMBRA_TALLY_BINS; b++) {
            const umbra_tally_bin *bin = &row->inner[d].bins[b];
            umbra_json_open(j, '[');
            umbra_json_double(j, bin->count > 0 ? bin->sum / (double)bin->count : NAN, 6);
            umbra_json_double(j, bin->count > 0 ? (double)bin->used / (double)bin->count : NAN, 6);
            umbra_json_uint(j, bin->count);
            umbra_json_close(j, ']');
        }
        umbra_json_close(j, ']');
    }
    umbra_json_close(j, ']');
}

static void put_platt(umbra_json *j, const umbra_eval_row *row)
{
    umbra_json_key(j, "platt");
    umbra_json_open(j, '[');
    for (int d = 0; d < D; d++) {
        umbra_json_open(j, '[');
        umbra_json_double(j, (double)row->platt[d][0], 6);
        umbra_json_double(j, (double)row->platt[d][1], 6);
        umbra_json_close(j, ']');
    }
    umbra_json_close(j, ']');
}

static void put_ablations(umbra_json *j, const umbra_evaluation *e, int shadow)
{
    const umbra_eval_shadow *s = &e->shadows[shadow];
    umbra_json_key(j, "ablations");
    umbra_json_open(j, '[');
    for (int a = 0; a < s->n_ablations; a++) {
        umbra_json_open(j, '{');
        put_string(j, "without", s->ablations[a].without);
        umbra_json_key(j, "recall_lost");
        umbra_json_open(j, '[');
        for (int d = 1; d <= D; d++)
            umbra_json_double(j, umbra_eval_loss(e, shadow, a, d), 6);
        umbra_json_close(j, ']');
        umbra_json_close(j, '}');
    }
    umbra_json_close(j, ']');
}

static void put_shadow(umbra_json *j, const umbra_evaluation *e, int index)
{
    const umbra_eval_shadow *s = &e->shadows[index];
    char about[256];
    umbra_eval_describe(s, about, sizeof about);
    put_string(j, "path", s->path);
    put_string(j, "about", about);
    put_integer(j, "trained_on_documents", (uint64_t)s->training.n_hashes);
    put_number(j, "trained_on_tokens", s->training.tokens);
    if (s->n_ablations > 0)
        put_ablations(j, e, index);
}

static void put_row(umbra_json *j, const umbra_evaluation *e, const umbra_eval_row *row)
{
    static const int tops[] = {1, 4, 8};
    umbra_json_open(j, '{');
    put_string(j, "name", row->name);
    put_string(j, "kind", kinds[row->kind]);
    put_by_m(j, e, "recall", umbra_eval_recall, row->inner, e->budgets, e->n_budgets);
    put_by_m(j, e, "all_k", umbra_eval_all, row->inner, e->budgets, e->n_budgets);
    put_by_m(j, e, "top", umbra_eval_top, row->inner, tops, 3);
    umbra_json_key(j, "recall_standard_error");
    umbra_json_open(j, '[');
    for (int d = 0; d < D; d++)
        umbra_json_double(j, row->deviation[d], 4);
    umbra_json_close(j, ']');
    put_by_distance(j, "nll", umbra_tally_nll, row->inner);
    put_by_distance(j, "ece", umbra_tally_ece, row->inner);
    put_string(j, "calibration", forecasts[row->forecast]);
    if (row->forecast == UMBRA_EVAL_PLATT)
        put_platt(j, row);
    if (row->forecast != UMBRA_EVAL_NO_FORECAST)
        put_reliability(j, row);
    put_integer(j, "bytes", row->bytes);
    put_integer(j, "macs", row->macs);
    umbra_json_key(j, "source0");
    umbra_json_open(j, '{');
    put_by_m(j, e, "recall", umbra_eval_recall, row->start, e->budgets, e->n_budgets);
    put_by_m(j, e, "all_k", umbra_eval_all, row->start, e->budgets, e->n_budgets);
    umbra_json_close(j, '}');
    put_curves(j, e, row);
    put_layers(j, e, row);
    if (row->shadow >= 0)
        put_shadow(j, e, row->shadow);
    umbra_json_close(j, '}');
}

/* ---- walks ---- */

static void put_shares(umbra_json *j, const char *key, const umbra_eval_share *shares, int n)
{
    umbra_json_key(j, key);
    umbra_json_open(j, '[');
    for (int i = 0; i < n; i++)
        umbra_json_double(j, umbra_eval_share_of(&shares[i]), 6);
    umbra_json_close(j, ']');
}

/* "key": {"k": [d = 1, ... n]} */
static void put_by_k(umbra_json *j, const umbra_evaluation *e, const char *key,
                     const umbra_eval_share *shares, int n)
{
    char k[16];
    snprintf(k, sizeof k, "%d", e->model.used);
    umbra_json_key(j, key);
    umbra_json_open(j, '{');
    put_shares(j, k, shares, n);
    umbra_json_close(j, '}');
}

static void put_walk(umbra_json *j, const umbra_evaluation *e, const umbra_eval_walk *walk)
{
    bool walks = walk->kind == UMBRA_EVAL_ROLL || walk->kind == UMBRA_EVAL_RUNAHEAD;
    int near = e->walk_reach < D ? e->walk_reach : D, reach = walks ? e->walk_reach : near;
    umbra_json_open(j, '{');
    put_string(j, "name", walk->name);
    put_string(j, "kind", kinds[walk->kind]);
    put_number(j, "residency", walk->residency);
    put_by_k(j, e, "recall", walk->within[UMBRA_EVAL_ALL], near);
    put_by_k(j, e, "recall_missing", walk->within[UMBRA_EVAL_MISSING], near);
    put_shares(j, "reach", walk->within[UMBRA_EVAL_ALL], reach);
    put_shares(j, "reach_missing", walk->within[UMBRA_EVAL_MISSING], reach);
    if (walks) {
        put_by_k(j, e, "recall_beyond", walk->beyond[UMBRA_EVAL_ALL], near);
        put_by_k(j, e, "recall_beyond_missing", walk->beyond[UMBRA_EVAL_MISSING], near);
        put_shares(j, "beyond", walk->beyond[UMBRA_EVAL_ALL], reach);
        put_shares(j, "beyond_missing", walk->beyond[UMBRA_EVAL_MISSING], reach);
        put_number(j, "next_token", umbra_eval_named(e, walk));
        put_shares(j, "next_token_by_layer", walk->next, e->walk_reach);
    }
    put_integer(j, "bytes", walk->bytes);
    put_integer(j, "macs", walk->macs);
    umbra_json_close(j, '}');
}

static void put_control(umbra_json *j, const umbra_evaluation *e)
{
    umbra_json_key(j, "control");
    umbra_json_open(j, '{');
    for (int all = 0; all < 2; all++) {
        umbra_json_key(j, all ? "all_k" : "recall");
        umbra_json_open(j, '{');
        for (int i = 0; i < e->n_budgets; i++) {
            char text[16];
            snprintf(text, sizeof text, "%d", e->budgets[i]);
            put_number(
                j, text,
                (all ? umbra_eval_all : umbra_eval_recall)(e, &e->control_sum, e->budgets[i]));
        }
        umbra_json_close(j, '}');
    }
    umbra_json_close(j, '}');
}

static void put_amount(umbra_json *j, const char *key, umbra_eval_amount amount)
{
    umbra_json_key(j, key);
    umbra_json_open(j, '{');
    put_integer(j, "documents", (uint64_t)amount.documents);
    put_integer(j, "tokens", amount.tokens);
    umbra_json_close(j, '}');
}

static void put_data(umbra_json *j, const umbra_evaluation *e)
{
    umbra_json_key(j, "data");
    umbra_json_open(j, '{');
    put_amount(j, "evaluated", e->table);
    put_amount(j, "calibration", e->calibration);
    put_amount(j, "ablation", e->ablation);
    if (e->n_walks > 0)
        put_amount(j, "walked", e->walked);
    put_integer(j, "document_limit", e->document_limit);
    umbra_json_key(j, "folders");
    umbra_json_open(j, '[');
    for (int i = 0; i < e->n_folders; i++) {
        const umbra_eval_folder *f = &e->folders[i];
        umbra_json_open(j, '{');
        put_string(j, "path", f->path);
        put_amount(j, "generated", f->generated);
        put_amount(j, "read", f->read);
        put_integer(j, "too_short", (uint64_t)f->short_documents);
        put_integer(j, "repeated", (uint64_t)f->repeated);
        put_integer(j, "stride", (uint64_t)f->stride);
        umbra_json_close(j, '}');
    }
    umbra_json_close(j, ']');
    umbra_json_close(j, '}');
}

void umbra_evaluation_json(const umbra_evaluation *e, FILE *file)
{
    umbra_json writer, *j = &writer;
    umbra_json_begin(j, file);
    umbra_json_open(j, '{');
    put_integer(j, "k", (uint64_t)e->model.used);
    put_integer(j, "layers", (uint64_t)e->model.layers);
    put_integer(j, "experts", (uint64_t)e->model.experts);
    put_string(j, "model", e->model.model_name);
    put_string(j, "model_hash", e->model.model_hash);
    umbra_json_key(j, "distances");
    umbra_json_open(j, '[');
    for (int d = 1; d <= D; d++)
        umbra_json_int(j, d);
    umbra_json_close(j, ']');
    umbra_json_key(j, "predictors");
    umbra_json_open(j, '[');
    for (int r = 0; r < e->n_rows; r++)
        put_row(j, e, &e->rows[r]);
    for (int w = 0; w < e->n_walks; w++)
        put_walk(j, e, &e->walks[w]);
    umbra_json_close(j, ']');
    put_control(j, e);
    put_string(j, "frequency_from", e->frequency_from);
    put_data(j, e);
    put_integer(j, "threads", (uint64_t)e->threads);
    put_number(j, "seconds", e->seconds);
    umbra_json_close(j, '}');
    fputc('\n', file);
}
