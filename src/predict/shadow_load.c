/* Reads shadow files. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/quote.h"
#include "kernels/half.h"
#include "predict/internal.h"

static int bad_metadata(const umbra_safetensors *file, const char *key, const char *value,
                        const char *wanted, umbra_error *err)
{
    return umbra_fail(err, UMBRA_E_FORMAT, "%s: metadata \"%s\" is \"%s\", not %s",
                      umbra_safetensors_path(file), key, umbra_quote(value, strlen(value)).text,
                      wanted);
}

static int get(const umbra_safetensors *file, const char *key, const char **value, umbra_error *err)
{
    *value = umbra_safetensors_metadata(file, key);
    return *value ? UMBRA_OK
                  : umbra_fail(err, UMBRA_E_FORMAT, "%s: metadata \"%s\" is missing",
                               umbra_safetensors_path(file), key);
}

/* A whole number as umbra_shadow_save writes it; its range is the spec's matter. */
static int get_number(const umbra_safetensors *file, const char *key, int *out, umbra_error *err)
{
    const char *text;
    int rc = get(file, key, &text, err);
    if (rc != UMBRA_OK)
        return rc;
    size_t n = strlen(text);
    if (n < 1 || n > 9 || strspn(text, "0123456789") != n || (text[0] == '0' && n > 1))
        return bad_metadata(file, key, text, "a whole number of at most 9 digits", err);
    *out = (int)strtol(text, NULL, 10);
    return UMBRA_OK;
}

static int get_text(const umbra_safetensors *file, const char *key, char *out, size_t room,
                    umbra_error *err)
{
    const char *text;
    int rc = get(file, key, &text, err);
    if (rc != UMBRA_OK)
        return rc;
    if (strlen(text) >= room)
        return bad_metadata(file, key, text, "short enough", err);
    memcpy(out, text, strlen(text) + 1);
    return UMBRA_OK;
}

/* One of two words: *out is the index. */
static int get_either(const umbra_safetensors *file, const char *key, const char *first,
                      const char *second, int *out, umbra_error *err)
{
    const char *text;
    int rc = get(file, key, &text, err);
    if (rc != UMBRA_OK)
        return rc;
    *out = strcmp(text, second) == 0;
    return *out || strcmp(text, first) == 0
               ? UMBRA_OK
               : umbra_fail(err, UMBRA_E_FORMAT,
                            "%s: metadata \"%s\" is \"%s\", neither \"%s\" nor \"%s\"",
                            umbra_safetensors_path(file), key, umbra_quote(text, strlen(text)).text,
                            first, second);
}

static int get_weights(const umbra_safetensors *file, umbra_shadow_weights *out, umbra_error *err)
{
    const char *text;
    int rc = get(file, "weights", &text, err);
    if (rc != UMBRA_OK)
        return rc;
    for (*out = UMBRA_SHADOW_F32; umbra_shadow_weights_name(*out); ++*out)
        if (strcmp(text, umbra_shadow_weights_name(*out)) == 0)
            return UMBRA_OK;
    return bad_metadata(file, "weights", text, "\"f32\", \"bf16\" or \"i8\"", err);
}

static int get_features(const umbra_safetensors *file, unsigned *out, umbra_error *err)
{
    const char *text;
    int rc = get(file, "features", &text, err);
    if (rc != UMBRA_OK)
        return rc;
    *out = 0;
    for (const char *at = text; *at != '\0';) {
        size_t n = strcspn(at, ",");
        unsigned bit = 1;
        const char *name;
        while ((name = umbra_shadow_feature_name(bit)) != NULL &&
               (strlen(name) != n || memcmp(name, at, n) != 0))
            bit <<= 1;
        if (!name || (*out & bit) || strcmp(at + n, ",") == 0)
            return bad_metadata(file, "features", text,
                                "a list of \"now\", \"previous\" and \"previous2\"", err);
        *out |= bit;
        at += at[n] == ',' ? n + 1 : n;
    }
    return UMBRA_OK;
}

static int get_averages(const umbra_safetensors *file, umbra_shadow_spec *spec, umbra_error *err)
{
    const char *text;
    int rc = get(file, "averages", &text, err);
    if (rc != UMBRA_OK)
        return rc;
    spec->averages = 0;
    for (const char *at = text; *text != '\0'; at++) {
        char *end;
        float decay = strtof(at, &end);
        if (!strchr("0.", *at) || *at == '\0' || end == at || (*end != ',' && *end != '\0') ||
            !(decay > 0.0f && decay < 1.0f) || spec->averages == UMBRA_MAX_AVERAGES)
            return bad_metadata(file, "averages", text,
                                "a list of at most 4 numbers between 0 and 1", err);
        spec->decay[spec->averages++] = decay;
        at = end;
        if (*at == '\0')
            break;
    }
    return UMBRA_OK;
}

static int get_sizes(const umbra_safetensors *file, umbra_shadow_spec *spec, umbra_error *err)
{
    int distances = 0;
    int rc = get_number(file, "layers", &spec->layers, err);
    if (rc == UMBRA_OK)
        rc = get_number(file, "hidden", &spec->hidden, err);
    if (rc == UMBRA_OK)
        rc = get_number(file, "experts", &spec->experts, err);
    if (rc == UMBRA_OK)
        rc = get_number(file, "experts_used", &spec->used, err);
    if (rc == UMBRA_OK)
        rc = get_number(file, "width", &spec->width, err);
    if (rc == UMBRA_OK)
        rc = get_number(file, "distances", &distances, err);
    if (rc == UMBRA_OK && distances != UMBRA_MAX_DISTANCE)
        rc = umbra_fail(err, UMBRA_E_UNSUPPORTED,
                        "%s: metadata \"distances\" is %d; this version of Umbra knows 4 only",
                        umbra_safetensors_path(file), distances);
    return rc;
}

static int get_spec(const umbra_safetensors *file, umbra_shadow_spec *spec, umbra_error *err)
{
    int arch = 0, shared = 0, loss = 0;
    const char *format, *version, *path = umbra_safetensors_path(file);
    *spec = (umbra_shadow_spec){0};
    format = umbra_safetensors_metadata(file, "format");
    if (!format || strcmp(format, "umbra-shadow") != 0)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: not a shadow model (metadata \"format\" is not \"umbra-shadow\")",
                          path);
    int rc = get(file, "version", &version, err);
    if (rc == UMBRA_OK && strcmp(version, "1") != 0)
        rc = umbra_fail(err, UMBRA_E_UNSUPPORTED,
                        "%s: shadow format version \"%s\"; this version of Umbra reads \"1\"", path,
                        umbra_quote(version, strlen(version)).text);
    if (rc == UMBRA_OK)
        rc = get_text(file, "model_hash", spec->model_hash, sizeof spec->model_hash, err);
    if (rc == UMBRA_OK)
        rc = get_text(file, "model_name", spec->model_name, sizeof spec->model_name, err);
    if (rc == UMBRA_OK)
        rc = get_text(file, "architecture", spec->architecture, sizeof spec->architecture, err);
    if (rc == UMBRA_OK)
        rc = get_sizes(file, spec, err);
    if (rc == UMBRA_OK)
        rc = get_either(file, "arch", "residual", "seed", &arch, err);
    if (rc == UMBRA_OK)
        rc = get_either(file, "scope", "layer", "shared", &shared, err);
    if (rc == UMBRA_OK)
        rc = get_either(file, "loss", "bce", "kl", &loss, err);
    spec->arch = arch ? UMBRA_SHADOW_SEED : UMBRA_SHADOW_RESIDUAL;
    spec->shared = shared != 0;
    spec->loss = loss ? UMBRA_LOSS_KL : UMBRA_LOSS_BCE;
    if (rc == UMBRA_OK)
        rc = get_weights(file, &spec->weights, err);
    if (rc == UMBRA_OK)
        rc = get_features(file, &spec->features, err);
    if (rc == UMBRA_OK)
        rc = get_averages(file, spec, err);
    const char *fault = rc == UMBRA_OK ? umbra_shadow_spec_fault(spec) : NULL;
    return fault ? umbra_fail(err, UMBRA_E_FORMAT, "%s: metadata: %s", path, fault) : rc;
}

static int check_tensor(const umbra_safetensors *file, const umbra_safetensors_tensor *wanted,
                        umbra_error *err)
{
    const char *path = umbra_safetensors_path(file);
    const umbra_safetensors_tensor *t = umbra_safetensors_find(file, wanted->name);
    if (!t)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: tensor \"%s\" is missing", path, wanted->name);
    if (t->dtype != wanted->dtype)
        return umbra_fail_at(err, UMBRA_E_FORMAT, t->offset,
                             "%s: tensor \"%s\" is of type %s, not %s", path, wanted->name,
                             umbra_safetensors_dtype_name(t->dtype),
                             umbra_safetensors_dtype_name(wanted->dtype));
    if (t->dimensions != wanted->dimensions)
        return umbra_fail_at(err, UMBRA_E_FORMAT, t->offset,
                             "%s: tensor \"%s\" has %u dimensions, not %u", path, wanted->name,
                             t->dimensions, wanted->dimensions);
    for (uint32_t i = 0; i < t->dimensions; i++)
        if (t->shape[i] != wanted->shape[i])
            return umbra_fail_at(
                err, UMBRA_E_FORMAT, t->offset,
                "%s: dimension %u of tensor \"%s\" is %llu; the metadata makes it %llu", path, i,
                wanted->name, (unsigned long long)t->shape[i],
                (unsigned long long)wanted->shape[i]);
    return UMBRA_OK;
}

/* Before anything large is allocated: the file holds what its metadata says, and nothing else. */
static int check_tensors(const umbra_safetensors *file, const umbra_shadow_contents *contents,
                         umbra_error *err)
{
    for (size_t i = 0; i < contents->n; i++) {
        int rc = check_tensor(file, &contents->tensors[i], err);
        if (rc != UMBRA_OK)
            return rc;
    }
    if (umbra_safetensors_count(file) == contents->n)
        return UMBRA_OK;
    size_t i = 0, k = 0;
    for (; i < umbra_safetensors_count(file) && k < contents->n; i++)
        for (k = 0; k < contents->n; k++)
            if (strcmp(umbra_safetensors_at(file, i)->name, contents->tensors[k].name) == 0)
                break;
    const umbra_safetensors_tensor *extra = umbra_safetensors_at(file, i - 1);
    return umbra_fail_at(err, UMBRA_E_FORMAT, extra->offset,
                         "%s: tensor \"%s\" does not belong in this shadow model",
                         umbra_safetensors_path(file),
                         umbra_quote(extra->name, strlen(extra->name)).text);
}

static int bad_value(const umbra_safetensors *file, const umbra_safetensors_tensor *t, size_t i,
                     const char *what, umbra_error *err)
{
    return umbra_fail_at(
        err, UMBRA_E_FORMAT, t->offset + i * umbra_safetensors_dtype_bytes(t->dtype),
        "%s: value %zu of tensor \"%s\" is %s", umbra_safetensors_path(file), i, t->name, what);
}

static int read_f32(const umbra_safetensors *file, const umbra_safetensors_tensor *t, float *out,
                    umbra_error *err)
{
    int rc = umbra_safetensors_read(file, t, out, err);
    for (size_t i = 0; i < t->bytes / sizeof *out && rc == UMBRA_OK; i++)
        if (!isfinite(out[i]))
            rc = bad_value(file, t, i, "not finite", err);
    return rc;
}

static int read_bf16(const umbra_safetensors *file, const umbra_safetensors_tensor *t, float *out,
                     umbra_error *err)
{
    size_t n = t->bytes / sizeof(uint16_t);
    uint16_t *raw = umbra_calloc(n, sizeof *raw);
    if (!raw)
        return umbra_fail_nomem(err, "a tensor of a shadow model", t->bytes);
    int rc = umbra_safetensors_read(file, t, raw, err);
    for (size_t i = 0; i < n && rc == UMBRA_OK; i++) {
        out[i] = umbra_bf16_to_f32(raw[i]);
        if (!isfinite(out[i]))
            rc = bad_value(file, t, i, "not finite", err);
    }
    umbra_free(raw);
    return rc;
}

static int expand_i8(const umbra_safetensors *file, const umbra_safetensors_tensor *t,
                     const umbra_safetensors_tensor *scales_t, const int8_t *raw,
                     const float *scales, float *out, umbra_error *err)
{
    size_t columns = (size_t)t->shape[1];
    for (size_t row = 0; row < t->shape[0]; row++) {
        if (!(scales[row] >= 0.0f) || !isfinite(scales[row] * 127.0f))
            return bad_value(file, scales_t, row, "not a scale (negative or too large)", err);
        for (size_t i = row * columns; i < (row + 1) * columns; i++) {
            if (raw[i] == -128)
                return bad_value(file, t, i, "-128, outside of -127..127", err);
            out[i] = scales[row] * (float)raw[i];
        }
    }
    return UMBRA_OK;
}

static int read_i8(const umbra_safetensors *file, const umbra_safetensors_tensor *t,
                   const umbra_safetensors_tensor *scales_t, float *out, umbra_error *err)
{
    int8_t *raw = umbra_calloc(t->bytes, 1);
    float *scales = umbra_calloc(t->shape[0], sizeof *scales);
    int rc = raw && scales ? umbra_safetensors_read(file, t, raw, err)
                           : umbra_fail_nomem(err, "a tensor of a shadow model", t->bytes);
    if (rc == UMBRA_OK)
        rc = read_f32(file, scales_t, scales, err);
    if (rc == UMBRA_OK)
        rc = expand_i8(file, t, scales_t, raw, scales, out, err);
    umbra_free(raw);
    umbra_free(scales);
    return rc;
}

/* The parts of one network (or -1: the calibration) into their places. */
static int read_parts(const umbra_safetensors *file, const umbra_shadow_contents *contents,
                      int network, float *const parts[UMBRA_SHADOW_PARTS + 1], umbra_error *err)
{
    int rc = UMBRA_OK;
    for (size_t i = 0; i < contents->n && rc == UMBRA_OK; i++) {
        const umbra_shadow_entry *e = &contents->entries[i];
        bool wanted = network < 0 ? e->part == UMBRA_SHADOW_PARTS
                                  : e->part != UMBRA_SHADOW_PARTS && e->network == network;
        if (e->scale || !wanted) /* a scale is read with the values before it */
            continue;
        const umbra_safetensors_tensor *t = umbra_safetensors_find(file, contents->tensors[i].name);
        if (t->dtype == UMBRA_ST_I8)
            rc = read_i8(file, t, umbra_safetensors_find(file, contents->tensors[i + 1].name),
                         parts[e->part], err);
        else
            rc = (t->dtype == UMBRA_ST_BF16 ? read_bf16 : read_f32)(file, t, parts[e->part], err);
    }
    return rc;
}

/* An optional JSON object of the metadata. */
static int read_object(const umbra_safetensors *file, const char *key, char **out, umbra_error *err)
{
    const char *text = umbra_safetensors_metadata(file, key);
    if (!text)
        return UMBRA_OK;
    if (!umbra_shadow_is_object(text))
        return bad_metadata(file, key, text, "a JSON object", err);
    *out = umbra_strdup(text);
    return *out ? UMBRA_OK : umbra_fail_nomem(err, "a shadow model", strlen(text) + 1);
}

/* ---- a file, network by network ---- */

struct umbra_shadow_file {
    umbra_safetensors *file;
    umbra_shadow_contents contents;
    umbra_shadow_spec spec;
};

int umbra_shadow_file_open(umbra_shadow_file **out, const char *path, umbra_error *err)
{
    umbra_shadow_file *f = umbra_calloc(1, sizeof *f);
    *out = NULL;
    if (!f)
        return umbra_fail_nomem(err, "a shadow model", sizeof *f);
    int rc = umbra_safetensors_open(&f->file, path, err);
    if (rc == UMBRA_OK)
        rc = get_spec(f->file, &f->spec, err);
    if (rc == UMBRA_OK)
        rc = umbra_shadow_contents_init(&f->contents, &f->spec, err);
    if (rc == UMBRA_OK)
        rc = check_tensors(f->file, &f->contents, err);
    if (rc != UMBRA_OK) {
        umbra_shadow_file_close(&f);
        return rc;
    }
    *out = f;
    return UMBRA_OK;
}

void umbra_shadow_file_close(umbra_shadow_file **file)
{
    umbra_shadow_file *f = *file;
    if (!f)
        return;
    umbra_shadow_contents_release(&f->contents);
    if (f->file)
        umbra_safetensors_close(&f->file);
    umbra_free(f);
    *file = NULL;
}

const umbra_shadow_spec *umbra_shadow_file_spec(const umbra_shadow_file *f)
{
    return &f->spec;
}

int umbra_shadow_file_network(umbra_shadow_file *f, int i, const umbra_shadow_network *network,
                              umbra_error *err)
{
    float *parts[UMBRA_SHADOW_PARTS + 1] = {0};
    size_t lengths[UMBRA_SHADOW_PARTS];
    umbra_shadow_parts(&f->spec, network, parts, lengths);
    return read_parts(f->file, &f->contents, i, parts, err);
}

int umbra_shadow_file_calibration(umbra_shadow_file *f, float *out, umbra_error *err)
{
    float *parts[UMBRA_SHADOW_PARTS + 1] = {[UMBRA_SHADOW_PARTS] = out};
    return read_parts(f->file, &f->contents, -1, parts, err);
}

int umbra_shadow_load(umbra_shadow **out, const char *path, umbra_error *err)
{
    umbra_shadow_file *f;
    *out = NULL;
    int rc = umbra_shadow_file_open(&f, path, err);
    if (rc != UMBRA_OK)
        return rc;
    rc = umbra_shadow_create(out, &f->spec, err);
    for (int i = 0; rc == UMBRA_OK && i < (*out)->count; i++)
        rc = umbra_shadow_file_network(f, i, &(*out)->networks[i], err);
    if (rc == UMBRA_OK)
        rc = umbra_shadow_file_calibration(f, (*out)->calibration, err);
    if (rc == UMBRA_OK)
        rc = read_object(f->file, "training", &(*out)->training, err);
    if (rc == UMBRA_OK)
        rc = read_object(f->file, "recall", &(*out)->recall, err);
    umbra_shadow_file_close(&f);
    if (rc != UMBRA_OK)
        umbra_shadow_free(out);
    return rc;
}
