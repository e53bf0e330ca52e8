/* Looks keys and tensors up and refuses what is wrong. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "model/lookup.h"

enum { NAME_BYTES = 128 };

/* Notes that a key is asked for, and puts its whole name into key. */
static const char *ask(umbra_keys *keys, const char *name, char key[NAME_BYTES])
{
    if (keys->asked_count < UMBRA_MAX_ASKED)
        keys->asked[keys->asked_count++] = name;
    snprintf(key, NAME_BYTES, "%s.%s", keys->architecture, name);
    return key;
}

static int check_int(const umbra_gguf *gguf, const char *key, const umbra_int_key *k, int64_t value,
                     umbra_error *err)
{
    if (value >= k->least && value <= k->most)
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_FORMAT, "%s: %s is %" PRId64 ", it must be %d to %d",
                      umbra_gguf_path(gguf), key, value, k->least, k->most);
}

static int lookup_int(umbra_keys *keys, const umbra_int_key *k, umbra_error *err)
{
    char key[NAME_BYTES];
    const umbra_gguf *gguf = keys->gguf;
    uint32_t value;
    int rc = umbra_gguf_get_u32(gguf, ask(keys, k->name, key), &value, err);
    if (rc < 0)
        return rc;
    if (rc == 0 && k->fallback < 0)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: the key %s is missing", umbra_gguf_path(gguf),
                          key);
    if (rc == 0)
        value = (uint32_t)k->fallback;
    rc = check_int(gguf, key, k, value, err);
    if (rc == UMBRA_OK)
        *k->out = (int)value;
    return rc;
}

int umbra_lookup_ints(umbra_keys *keys, const umbra_int_key *wanted, size_t n, umbra_error *err)
{
    int rc = UMBRA_OK;
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++)
        rc = lookup_int(keys, &wanted[i], err);
    return rc;
}

static bool is_array(const umbra_gguf *gguf, const char *key)
{
    for (uint64_t i = 0; i < umbra_gguf_pair_count(gguf); i++) {
        umbra_string name = umbra_gguf_pair_key(gguf, i);
        if (name.bytes == strlen(key) && memcmp(name.data, key, name.bytes) == 0)
            return umbra_gguf_pair_type(gguf, i) == UMBRA_GGUF_ARRAY;
    }
    return false;
}

static int check_count(const umbra_gguf *gguf, const char *key, const umbra_gguf_array *array,
                       int n, umbra_error *err)
{
    if (array->count >= (uint64_t)n)
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_FORMAT, "%s: %s has %" PRIu64 " elements for %d layers",
                      umbra_gguf_path(gguf), key, array->count, n);
}

int umbra_lookup_array(umbra_keys *keys, const char *name, umbra_gguf_type element, int n,
                       umbra_gguf_array *out, umbra_error *err)
{
    char key[NAME_BYTES];
    const umbra_gguf *gguf = keys->gguf;
    int rc = umbra_gguf_get_array(gguf, ask(keys, name, key), element, out, err);
    if (rc == 0)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: the key %s is missing", umbra_gguf_path(gguf),
                          key);
    if (rc > 0 && out->count < (uint64_t)n)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: %s has %" PRIu64 " elements, it must have %d",
                          umbra_gguf_path(gguf), key, out->count, n);
    return rc < 0 ? rc : UMBRA_OK;
}

int umbra_lookup_layers(umbra_keys *keys, const umbra_int_key *k, umbra_gguf_type element, int n,
                        size_t stride, umbra_error *err)
{
    char key[NAME_BYTES];
    const umbra_gguf *gguf = keys->gguf;
    umbra_gguf_array array = {0};
    bool one = !is_array(gguf, ask(keys, k->name, key));
    int rc = one ? lookup_int(keys, k, err) : umbra_gguf_get_array(gguf, key, element, &array, err);
    if (rc < 0)
        return rc;
    rc = one ? UMBRA_OK : check_count(gguf, key, &array, n, err);
    for (int l = 0; rc == UMBRA_OK && l < n; l++) {
        int64_t value = *k->out;
        if (!one)
            umbra_gguf_next_int(&array, &value);
        rc = check_int(gguf, key, k, value, err);
        if (rc == UMBRA_OK)
            memcpy((char *)k->out + (size_t)l * stride, &(int){(int)value}, sizeof(int));
    }
    return rc;
}

int umbra_lookup_float(umbra_keys *keys, const char *name, float fallback, float *out,
                       umbra_error *err)
{
    char key[NAME_BYTES];
    *out = fallback;
    int rc = umbra_gguf_get_f32(keys->gguf, ask(keys, name, key), out, err);
    if (rc < 0)
        return rc;
    if (!isfinite(*out) || *out < 0 || (*out == 0 && fallback != 0))
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: %s is %g, it must be positive",
                          umbra_gguf_path(keys->gguf), key, (double)*out);
    return UMBRA_OK;
}

int umbra_lookup_layer_floats(umbra_keys *keys, const char *name, int n, float *out, size_t stride,
                              umbra_error *err)
{
    char key[NAME_BYTES];
    float all = 0;
    umbra_gguf_array array = {0};
    const umbra_gguf *gguf = keys->gguf;
    bool one = !is_array(gguf, ask(keys, name, key));
    int rc = one ? umbra_lookup_float(keys, name, 0, &all, err)
                 : umbra_gguf_get_array(gguf, key, UMBRA_GGUF_F32, &array, err);
    if (rc >= 0 && !one)
        rc = check_count(gguf, key, &array, n, err);
    for (int l = 0; rc >= 0 && l < n; l++) {
        double value = (double)all;
        if (!one)
            umbra_gguf_next_float(&array, &value);
        if (!isfinite(value) || value < 0)
            return umbra_fail(err, UMBRA_E_FORMAT, "%s: %s is %g for layer %d, it must be positive",
                              umbra_gguf_path(gguf), key, value, l);
        memcpy((char *)out + (size_t)l * stride, &(float){(float)value}, sizeof(float));
    }
    return rc < 0 ? rc : UMBRA_OK;
}

int umbra_lookup_bool(umbra_keys *keys, const char *name, bool fallback, bool *out,
                      umbra_error *err)
{
    char key[NAME_BYTES];
    *out = fallback;
    int rc = umbra_gguf_get_bool(keys->gguf, ask(keys, name, key), out, err);
    return rc < 0 ? rc : UMBRA_OK;
}

int umbra_lookup_string(umbra_keys *keys, const char *name, umbra_string *out, umbra_error *err)
{
    char key[NAME_BYTES];
    int rc = umbra_gguf_get_string(keys->gguf, ask(keys, name, key), out, err);
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

bool umbra_take_text(umbra_string *s, const char *text)
{
    size_t n = strlen(text);
    if (s->bytes < n || memcmp(s->data, text, n) != 0)
        return false;
    *s = (umbra_string){s->data + n, s->bytes - n};
    return true;
}

bool umbra_take_number(umbra_string *s, int *out)
{
    size_t n = 0;
    int value = 0;
    for (; n < s->bytes && n < 9 && s->data[n] >= '0' && s->data[n] <= '9'; n++)
        value = 10 * value + (s->data[n] - '0');
    if (n == 0)
        return false;
    *s = (umbra_string){s->data + n, s->bytes - n};
    *out = value;
    return true;
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
