/* Looks keys and tensors up and refuses what is wrong. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/error.h"
#include "model/lookup.h"

enum { NAME_BYTES = 128 };

static int lookup_int(const umbra_gguf *gguf, const char *architecture, const umbra_int_key *k,
                      umbra_error *err)
{
    char key[NAME_BYTES];
    snprintf(key, sizeof key, "%s.%s", architecture, k->name);
    uint32_t value;
    int rc = umbra_gguf_get_u32(gguf, key, &value, err);
    if (rc < 0)
        return rc;
    if (rc == 0 && k->fallback < 0)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: the key %s is missing", umbra_gguf_path(gguf),
                          key);
    if (rc == 0)
        value = (uint32_t)k->fallback;
    if (value < (uint32_t)k->least || value > (uint32_t)k->most)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: %s is %" PRIu32 ", it must be %d to %d",
                          umbra_gguf_path(gguf), key, value, k->least, k->most);
    *k->out = (int)value;
    return UMBRA_OK;
}

int umbra_lookup_ints(const umbra_gguf *gguf, const char *architecture, const umbra_int_key *keys,
                      size_t n, umbra_error *err)
{
    int rc = UMBRA_OK;
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++)
        rc = lookup_int(gguf, architecture, &keys[i], err);
    return rc;
}

int umbra_lookup_float(const umbra_gguf *gguf, const char *architecture, const char *name,
                       float fallback, float *out, umbra_error *err)
{
    char key[NAME_BYTES];
    snprintf(key, sizeof key, "%s.%s", architecture, name);
    *out = fallback;
    int rc = umbra_gguf_get_f32(gguf, key, out, err);
    if (rc < 0)
        return rc;
    if (!isfinite(*out) || *out < 0 || (*out == 0 && fallback != 0))
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: %s is %g, it must be positive",
                          umbra_gguf_path(gguf), key, (double)*out);
    return UMBRA_OK;
}

int umbra_lookup_bool(const umbra_gguf *gguf, const char *architecture, const char *name,
                      bool fallback, bool *out, umbra_error *err)
{
    char key[NAME_BYTES];
    snprintf(key, sizeof key, "%s.%s", architecture, name);
    *out = fallback;
    int rc = umbra_gguf_get_bool(gguf, key, out, err);
    return rc < 0 ? rc : UMBRA_OK;
}

static void describe_shape(char *out, size_t size, const uint64_t *shape, int dimensions)
{
    size_t used = 0;
    for (int i = 0; i < dimensions && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%" PRIu64, i ? " x " : "", shape[i]);
}

static void put_name(char *out, size_t size, int layer, const char *name)
{
    if (layer < 0)
        snprintf(out, size, "%s", name);
    else
        snprintf(out, size, "blk.%d.%s", layer, name);
}

bool umbra_has_tensor(const umbra_gguf *gguf, int layer, const char *name)
{
    char whole[NAME_BYTES];
    put_name(whole, sizeof whole, layer, name);
    return umbra_gguf_tensor_find(gguf, whole) != NULL;
}

int umbra_lookup_tensor(const umbra_gguf *gguf, int layer, const umbra_tensor_rule *rule,
                        const umbra_gguf_tensor **out, umbra_error *err)
{
    char name[NAME_BYTES];
    put_name(name, sizeof name, layer, rule->name);
    const umbra_gguf_tensor *t = umbra_gguf_tensor_find(gguf, name);
    const char *path = umbra_gguf_file_path(gguf, t ? t->file : 0);
    *out = t;
    if (!t)
        return rule->optional
                   ? UMBRA_OK
                   : umbra_fail(err, UMBRA_E_FORMAT, "%s: the tensor %s is missing", path, name);

    int dimensions = 0;
    while (dimensions < 3 && rule->shape[dimensions] != 0)
        dimensions++;
    bool same = t->shape[3] == 1;
    for (int i = 0; i < 3; i++)
        same = same && t->shape[i] == (i < dimensions ? rule->shape[i] : 1);
    if (!same) {
        char is[96], wanted[96];
        describe_shape(is, sizeof is, t->shape, (int)t->dimensions);
        describe_shape(wanted, sizeof wanted, rule->shape, dimensions);
        return umbra_fail_at(err, UMBRA_E_FORMAT, t->offset,
                             "%s: tensor %s has shape %s, but the metadata ask for %s", path, name,
                             is, wanted);
    }
    if (rule->vector && t->dtype != UMBRA_F32)
        return umbra_fail_at(err, UMBRA_E_UNSUPPORTED, t->offset,
                             "%s: tensor %s has type %s; only F32 is supported for it", path, name,
                             umbra_dtype_get(t->dtype).name);
    return UMBRA_OK;
}
