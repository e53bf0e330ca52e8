/* Writes a shadow model in fewer bits and measures what that costs. */
#include <umbra/lab/quantize.h>

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "lab/evaluate/evaluation.h"
#include "predict/form.h"
#include "predict/shadow.h"

enum { DEFAULT_TOKENS = 20000 };

static const double most_lost = 0.002;

static uint64_t file_bytes(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* Slot recall at m = k of both files on the same documents. */
static int measure(const umbra_quantize_options *o, const char *rounded, umbra_quantization *out,
                   umbra_error *err)
{
    const char *shadows[] = {o->input, rounded};
    const umbra_evaluate_options options = {
        .traces = o->traces,
        .n_traces = o->n_traces,
        .shadows = shadows,
        .n_shadows = 2,
        .threads = o->threads,
        .max_tokens = o->max_tokens ? o->max_tokens : DEFAULT_TOKENS,
        .no_ablations = true,
        .progress = o->progress,
    };
    umbra_evaluation *e;
    int rc = umbra_evaluate(&e, &options, err);
    if (rc != UMBRA_OK)
        return rc;
    out->measured = true;
    out->m = e->budgets[0];
    for (int i = 0; i < e->n_rows; i++) {
        const umbra_eval_row *row = &e->rows[i];
        for (int d = 0; row->kind == UMBRA_EVAL_SHADOW && d < UMBRA_MAX_DISTANCE; d++) {
            double recall = umbra_eval_recall(e, &row->inner[d], out->m);
            if (row->shadow == 0)
                out->recall[d] = recall;
            else
                out->lost[d] = out->recall[d] - recall;
        }
    }
    umbra_evaluation_free(&e);
    return UMBRA_OK;
}

/* Puts {"quantized": {"weights", "lost"}} into the file's recall summary. */
static int note_loss(umbra_shadow *shadow, const char *weights, const umbra_quantization *q,
                     umbra_error *err)
{
    json_t *summary = shadow->recall ? json_loads(shadow->recall, 0, NULL) : json_object();
    json_t *lost = json_array();
    for (int d = 0; d < UMBRA_MAX_DISTANCE; d++)
        json_array_append_new(lost, q->measured ? json_real(q->lost[d]) : json_null());
    json_t *note = json_pack("{s:s, s:o}", "weights", weights, "lost", lost);
    char *text = NULL;
    if (summary && note && json_object_set_new(summary, "quantized", note) == 0)
        text = json_dumps(summary, JSON_COMPACT);
    json_decref(summary);
    char *copy = text ? umbra_strdup(text) : NULL;
    json_free_t release;
    json_get_alloc_funcs(NULL, &release);
    release(text);
    if (!copy)
        return umbra_fail_nomem(err, "the recall summary", 0);
    umbra_free(shadow->recall);
    shadow->recall = copy;
    return UMBRA_OK;
}

static int check_loss(const umbra_quantize_options *o, const umbra_quantization *q,
                      umbra_error *err)
{
    for (int d = 0; d < UMBRA_MAX_DISTANCE; d++)
        if (q->lost[d] > most_lost && !o->force)
            return umbra_fail(
                err, UMBRA_E_ARGUMENT,
                "%s: rounding its weights costs %.2f points of recall at distance %d, "
                "more than %.1f; force it if that is worth the bytes",
                o->input, 100 * q->lost[d], d + 1, 100 * most_lost);
    return UMBRA_OK;
}

int umbra_quantize_shadow(const umbra_quantize_options *o, umbra_quantization *out,
                          umbra_error *err)
{
    *out = (umbra_quantization){0};
    if (!o || !o->input || !o->output)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "name a shadow file to read and one to write");
    out->bytes_before = file_bytes(o->input);
    umbra_shadow *shadow = NULL;
    umbra_shadow_weights form = UMBRA_SHADOW_I8;
    umbra_weight_form shown = o->weights ? o->weights : UMBRA_WEIGHT_FORM_I8;
    size_t room = strlen(o->output) + sizeof ".measured";
    char *trial = umbra_calloc(room, 1);
    int rc = trial ? UMBRA_CHECK_RESERVED(o, err) : umbra_fail_nomem(err, "a path", room);
    if (rc == UMBRA_OK)
        rc = umbra_weight_form_find(o->weights, UMBRA_SHADOW_I8, &form, err);
    if (rc == UMBRA_OK)
        rc = umbra_shadow_load(&shadow, o->input, err);
    if (rc == UMBRA_OK && o->n_traces > 0) {
        snprintf(trial, room, "%s.measured", o->output);
        shadow->spec.weights = form;
        rc = umbra_shadow_save(shadow, trial, err);
        if (rc == UMBRA_OK)
            rc = measure(o, trial, out, err);
        unlink(trial);
        if (rc == UMBRA_OK)
            rc = check_loss(o, out, err);
    }
    if (rc == UMBRA_OK)
        rc = note_loss(shadow, umbra_weight_form_name(shown), out, err);
    if (rc == UMBRA_OK) {
        shadow->spec.weights = form;
        rc = umbra_shadow_save(shadow, o->output, err);
    }
    out->bytes_after = rc == UMBRA_OK ? file_bytes(o->output) : 0;
    umbra_shadow_free(&shadow);
    umbra_free(trial);
    return rc;
}
