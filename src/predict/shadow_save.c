/* Writes shadow files. */
#include <math.h>
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"
#include "predict/forms.h"
#include "predict/internal.h"

enum { NUMBER_CHARS = 16, LIST_CHARS = 64, METADATA_MAX = 20 };

typedef struct metadata {
    umbra_safetensors_pair pairs[METADATA_MAX];
    size_t n;
    char numbers[METADATA_MAX][NUMBER_CHARS];
    char features[LIST_CHARS], averages[LIST_CHARS];
} metadata;

static void put(metadata *m, const char *key, const char *value)
{
    m->pairs[m->n++] = (umbra_safetensors_pair){.key = key, .value = value};
}

static void put_number(metadata *m, const char *key, int value)
{
    char *text = m->numbers[m->n];
    snprintf(text, NUMBER_CHARS, "%d", value);
    put(m, key, text);
}

static void put_lists(metadata *m, const umbra_shadow_spec *spec)
{
    int at = 0;
    for (unsigned bit = 1; umbra_shadow_feature_name(bit); bit <<= 1)
        if (spec->features & bit)
            at += snprintf(m->features + at, LIST_CHARS - (size_t)at, "%s%s", at > 0 ? "," : "",
                           umbra_shadow_feature_name(bit));
    at = 0;
    for (int i = 0; i < spec->averages; i++)
        at += snprintf(m->averages + at, LIST_CHARS - (size_t)at, "%s%.9g", i > 0 ? "," : "",
                       (double)spec->decay[i]);
    put(m, "features", m->features);
    put(m, "averages", m->averages);
}

static void put_metadata(metadata *m, const umbra_shadow *shadow)
{
    const umbra_shadow_spec *spec = &shadow->spec;
    *m = (metadata){0};
    put(m, "format", "umbra-shadow");
    put(m, "version", "1");
    put(m, "model_hash", spec->model_hash);
    put(m, "model_name", spec->model_name);
    put(m, "architecture", spec->architecture);
    put_number(m, "layers", spec->layers);
    put_number(m, "hidden", spec->hidden);
    put_number(m, "experts", spec->experts);
    put_number(m, "experts_used", spec->used);
    put_number(m, "distances", UMBRA_MAX_DISTANCE);
    put(m, "arch", umbra_shadow_arch_name(spec->arch));
    put(m, "scope", spec->shared ? "shared" : "layer");
    put_number(m, "width", spec->width);
    put_lists(m, spec);
    put(m, "loss", umbra_shadow_loss_name(spec->loss));
    put(m, "weights", umbra_shadow_weights_name(spec->weights));
    if (shadow->training)
        put(m, "training", shadow->training);
    if (shadow->recall)
        put(m, "recall", shadow->recall);
}

static int check_values(const char *path, const char *name, const float *values, size_t n,
                        umbra_safetensors_dtype dtype, umbra_error *err)
{
    /* The largest value that BF16 rounds to a finite one. */
    float most = dtype == UMBRA_ST_BF16 ? 0x1.fefffep127f : 0x1.fffffep127f;
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(values[i]) <= most))
            return umbra_fail(err, UMBRA_E_ARGUMENT,
                              "%s: not written: value %zu of %s is %g; the training diverged", path,
                              i, name, (double)values[i]);
    return UMBRA_OK;
}

/* Writes entry i, and the scales that follow it if it is I8, by way of `buffer` (bytes of the
 * largest matrix's reduced form) and `scales` (its rows). */
static int write_entry(umbra_safetensors_writer *writer, const umbra_shadow_contents *contents,
                       size_t i, const float *values, size_t length, void *buffer, float *scales,
                       umbra_error *err)
{
    const umbra_safetensors_tensor *t = &contents->tensors[i];
    if (t->dtype == UMBRA_ST_F32)
        return umbra_safetensors_write(writer, i, 0, values, length * sizeof *values, err);
    if (t->dtype == UMBRA_ST_BF16) {
        uint16_t *out = buffer;
        for (uint64_t k = 0; k < length; k++)
            out[k] = umbra_bf16_from_f32(values[k]);
        return umbra_safetensors_write(writer, i, 0, out, length * sizeof *out, err);
    }
    uint64_t columns = t->shape[1];
    for (uint64_t row = 0; row < t->shape[0]; row++)
        scales[row] =
            umbra_i8_from_f32(values + row * columns, columns, (int8_t *)buffer + row * columns);
    int rc = umbra_safetensors_write(writer, i, 0, buffer, length, err);
    return rc != UMBRA_OK ? rc
                          : umbra_safetensors_write(writer, i + 1, 0, scales,
                                                    t->shape[0] * sizeof *scales, err);
}

static const float *values_of(const umbra_shadow *shadow, const umbra_shadow_entry *entry,
                              size_t *length)
{
    float *parts[UMBRA_SHADOW_PARTS];
    size_t lengths[UMBRA_SHADOW_PARTS];
    if (entry->part == UMBRA_SHADOW_PARTS) {
        *length = (size_t)(shadow->spec.layers + 1) * UMBRA_MAX_DISTANCE * 2;
        return shadow->calibration;
    }
    umbra_shadow_parts(&shadow->spec, &shadow->networks[entry->network], parts, lengths);
    *length = lengths[entry->part];
    return parts[entry->part];
}

static int check_all(const umbra_shadow *shadow, const umbra_shadow_contents *contents,
                     const char *path, umbra_error *err)
{
    if (shadow->training && !umbra_shadow_is_object(shadow->training))
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: not written: training is no JSON object",
                          path);
    if (shadow->recall && !umbra_shadow_is_object(shadow->recall))
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: not written: recall is no JSON object", path);
    for (size_t i = 0; i < contents->n; i++) {
        if (contents->entries[i].scale)
            continue;
        size_t length;
        const float *values = values_of(shadow, &contents->entries[i], &length);
        int rc = check_values(path, contents->tensors[i].name, values, length,
                              contents->tensors[i].dtype, err);
        if (rc != UMBRA_OK)
            return rc;
    }
    return UMBRA_OK;
}

static int write_all(umbra_safetensors_writer *writer, const umbra_shadow *shadow,
                     const umbra_shadow_contents *contents, umbra_error *err)
{
    uint64_t most_values = 1, most_rows = 1;
    for (int part = 0; part < UMBRA_SHADOW_PARTS; part++) {
        umbra_part_shape shape = umbra_shadow_part_shape(&shadow->spec, part);
        if (shape.rows * shape.columns > most_values)
            most_values = shape.rows * shape.columns;
        if (shape.rows > most_rows)
            most_rows = shape.rows;
    }
    void *buffer = umbra_calloc(most_values, sizeof(uint16_t));
    float *scales = umbra_calloc(most_rows, sizeof *scales);
    int rc = buffer && scales
                 ? UMBRA_OK
                 : umbra_fail_nomem(err, "a buffer for quantising", most_values * sizeof(uint16_t));
    for (size_t i = 0; i < contents->n && rc == UMBRA_OK; i++) {
        if (contents->entries[i].scale)
            continue;
        size_t length;
        const float *values = values_of(shadow, &contents->entries[i], &length);
        rc = write_entry(writer, contents, i, values, length, buffer, scales, err);
    }
    umbra_free(buffer);
    umbra_free(scales);
    return rc;
}

int umbra_shadow_save(const umbra_shadow *shadow, const char *path, umbra_error *err)
{
    const char *fault = umbra_shadow_spec_fault(&shadow->spec);
    if (fault)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: not written: %s", path, fault);
    umbra_shadow_contents contents;
    umbra_safetensors_writer *writer = NULL;
    metadata m;
    int rc = umbra_shadow_contents_init(&contents, &shadow->spec, err);
    if (rc == UMBRA_OK)
        rc = check_all(shadow, &contents, path, err);
    if (rc == UMBRA_OK) {
        put_metadata(&m, shadow);
        rc = umbra_safetensors_create(&writer, path, contents.tensors, contents.n, m.pairs, m.n,
                                      err);
    }
    if (rc == UMBRA_OK)
        rc = write_all(writer, shadow, &contents, err);
    if (rc == UMBRA_OK)
        rc = umbra_safetensors_finish(&writer, err);
    umbra_safetensors_abandon(&writer);
    umbra_shadow_contents_release(&contents);
    return rc;
}
