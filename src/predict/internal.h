/* What the files of this layer share. */
#ifndef UMBRA_PREDICT_INTERNAL_H
#define UMBRA_PREDICT_INTERNAL_H

#include "predict/features.h"
#include "predict/predictor.h"
#include "safetensors/safetensors.h"

/* Sizes that a spec may name. Expert ids are 16 bits, 0xffff meaning none. */
enum {
    UMBRA_SHADOW_LAYERS_MAX = 1024,
    UMBRA_SHADOW_HIDDEN_MAX = 1 << 16,
    UMBRA_SHADOW_WIDTH_MAX = 1 << 16,
    UMBRA_SHADOW_EXPERTS_MAX = 0xfffe,
    UMBRA_NO_EXPERT = 0xffff,
};

/* Indices of umbra_shadow_parts. */
enum {
    UMBRA_PART_W1,
    UMBRA_PART_W1_FEATURES,
    UMBRA_PART_B1,
    UMBRA_PART_GAIN,
    UMBRA_PART_SHIFT,
    UMBRA_PART_W2,
    UMBRA_PART_BIAS,
    UMBRA_PART_W,
    UMBRA_PART_W_FEATURES,
    UMBRA_PART_A,
};

/* A part as it lies in memory and in the file. A vector is columns = 1, matrix false; a part that
 * the spec does not have is 0 by 0. */
typedef struct umbra_part_shape {
    uint64_t rows, columns;
    bool matrix;
} umbra_part_shape;

umbra_part_shape umbra_shadow_part_shape(const umbra_shadow_spec *spec, int part);

/* What is wrong with a spec, or NULL. Static text. */
const char *umbra_shadow_spec_fault(const umbra_shadow_spec *spec);

/* Fails unless the gates are there, if the shadow needs them, and have its shape. */
int umbra_shadow_check_gates(const umbra_shadow_spec *spec, const umbra_gates *gates,
                             umbra_error *err);

static inline int umbra_shadow_networks(const umbra_shadow_spec *spec)
{
    return spec->shared ? 1 : umbra_shadow_sources(spec);
}

/* umbra_predict_top, knowing that at least m scores reach `floor` (-INFINITY: any that are not
 * NaN). */
void umbra_predict_top_above(const float *scores, int experts, int m, float floor, uint16_t *out);

/* The tensors of a shadow file in their order: what save writes and load expects. Names belong to
 * the contents; offsets and bytes are not set. */
typedef struct umbra_shadow_entry {
    int network, part; /* part UMBRA_SHADOW_PARTS: the calibration */
    bool scale;        /* the scales of the I8 part before it */
} umbra_shadow_entry;

typedef struct umbra_shadow_contents {
    size_t n;
    umbra_safetensors_tensor *tensors; /* (n) */
    umbra_shadow_entry *entries;       /* (n) */
    char (*names)[32];                 /* (n) */
} umbra_shadow_contents;

int umbra_shadow_contents_init(umbra_shadow_contents *contents, const umbra_shadow_spec *spec,
                               umbra_error *err);
void umbra_shadow_contents_release(umbra_shadow_contents *contents);

/* Names of the values that metadata carries as words. */
const char *umbra_shadow_arch_name(umbra_shadow_arch arch);
const char *umbra_shadow_loss_name(umbra_shadow_loss loss);
const char *umbra_shadow_weights_name(umbra_shadow_weights weights);
/* UMBRA_FEATURE_NOW -> "now"; NULL for no single known bit. */
const char *umbra_shadow_feature_name(unsigned feature);

/* Is text a JSON object? */
bool umbra_shadow_is_object(const char *text);

#endif
