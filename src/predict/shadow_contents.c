/* What a shadow file holds, by its spec: names, shapes, words. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/json_reader.h"
#include "base/memory.h"
#include "predict/internal.h"

enum { TENSORS_PER_PART = 2 /* values and their scales */ };

const char *umbra_shadow_arch_name(umbra_shadow_arch arch)
{
    return arch == UMBRA_SHADOW_RESIDUAL ? "residual" : arch == UMBRA_SHADOW_SEED ? "seed" : NULL;
}

const char *umbra_shadow_loss_name(umbra_shadow_loss loss)
{
    return loss == UMBRA_LOSS_BCE ? "bce" : loss == UMBRA_LOSS_KL ? "kl" : NULL;
}

const char *umbra_shadow_weights_name(umbra_shadow_weights weights)
{
    switch (weights) {
    case UMBRA_SHADOW_F32:
        return "f32";
    case UMBRA_SHADOW_BF16:
        return "bf16";
    case UMBRA_SHADOW_I8:
        return "i8";
    default:
        return NULL;
    }
}

const char *umbra_shadow_feature_name(unsigned feature)
{
    switch (feature) {
    case UMBRA_FEATURE_NOW:
        return "now";
    case UMBRA_FEATURE_PREVIOUS:
        return "previous";
    case UMBRA_FEATURE_PREVIOUS2:
        return "previous2";
    default:
        return NULL;
    }
}

bool umbra_shadow_is_object(const char *text)
{
    umbra_json_reader r = {.text = (char *)text, .n = strlen(text)}; /* skipping changes nothing */
    bool is_object = umbra_json_peek(&r) == '{' && umbra_json_skip(&r);
    return is_object && umbra_json_peek(&r) == '\0' && r.at == r.n;
}

static umbra_safetensors_dtype dtype_of(umbra_shadow_weights weights)
{
    return weights == UMBRA_SHADOW_F32    ? UMBRA_ST_F32
           : weights == UMBRA_SHADOW_BF16 ? UMBRA_ST_BF16
                                          : UMBRA_ST_I8;
}

static void name_tensor(char name[32], const umbra_shadow_spec *spec, int network, int part,
                        const char *suffix)
{
    const char *part_name = umbra_shadow_part_name(part);
    if (spec->shared)
        snprintf(name, 32, "all.%s%s", part_name, suffix);
    else
        snprintf(name, 32, "s.%d.%s%s", network, part_name, suffix);
}

static umbra_safetensors_tensor *add(umbra_shadow_contents *contents, int network, int part,
                                     bool scale)
{
    size_t i = contents->n++;
    contents->entries[i] = (umbra_shadow_entry){.network = network, .part = part, .scale = scale};
    contents->tensors[i] =
        (umbra_safetensors_tensor){.name = contents->names[i], .dtype = UMBRA_ST_F32};
    return &contents->tensors[i];
}

static void add_part(umbra_shadow_contents *contents, const umbra_shadow_spec *spec, int network,
                     int part)
{
    umbra_part_shape shape = umbra_shadow_part_shape(spec, part);
    if (shape.rows == 0)
        return;
    umbra_safetensors_tensor *t = add(contents, network, part, false);
    name_tensor(contents->names[contents->n - 1], spec, network, part, "");
    t->shape[0] = shape.rows;
    t->dimensions = 1;
    if (!shape.matrix)
        return;
    t->dtype = dtype_of(spec->weights);
    t->dimensions = 2;
    t->shape[1] = shape.columns;
    if (spec->weights != UMBRA_SHADOW_I8)
        return;
    t = add(contents, network, part, true);
    name_tensor(contents->names[contents->n - 1], spec, network, part, ".scale");
    t->dimensions = 1;
    t->shape[0] = shape.rows;
}

int umbra_shadow_contents_init(umbra_shadow_contents *contents, const umbra_shadow_spec *spec,
                               umbra_error *err)
{
    int networks = umbra_shadow_networks(spec);
    size_t most = (size_t)networks * UMBRA_SHADOW_PARTS * TENSORS_PER_PART + 1;
    *contents = (umbra_shadow_contents){0};
    contents->tensors = umbra_calloc(most, sizeof *contents->tensors);
    contents->entries = umbra_calloc(most, sizeof *contents->entries);
    contents->names = umbra_calloc(most, sizeof *contents->names);
    if (!contents->tensors || !contents->entries || !contents->names) {
        umbra_shadow_contents_release(contents);
        return umbra_fail_nomem(err, "the list of a shadow model's tensors",
                                most * sizeof *contents->tensors);
    }
    for (int i = 0; i < networks; i++)
        for (int part = 0; part < UMBRA_SHADOW_PARTS; part++)
            add_part(contents, spec, i, part);
    umbra_safetensors_tensor *t = add(contents, 0, UMBRA_SHADOW_PARTS, false);
    snprintf(contents->names[contents->n - 1], sizeof *contents->names, "calibration");
    t->dimensions = 3;
    t->shape[0] = (uint64_t)spec->layers + 1;
    t->shape[1] = UMBRA_MAX_DISTANCE;
    t->shape[2] = 2;
    return UMBRA_OK;
}

void umbra_shadow_contents_release(umbra_shadow_contents *contents)
{
    umbra_free(contents->tensors);
    umbra_free(contents->entries);
    umbra_free(contents->names);
    *contents = (umbra_shadow_contents){0};
}
