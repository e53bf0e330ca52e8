/* Room for rows of training data. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/train/network.h"
#include "predict/features.h"

enum { D = UMBRA_MAX_DISTANCE, ALIGN = 64 };

typedef struct widths {
    size_t dense, gate, truth, targets; /* values of a row */
    int feature_slots;
} widths;

static widths widths_of(const umbra_shadow_spec *spec)
{
    size_t outputs = D * (size_t)spec->experts;
    return (widths){
        .dense = (size_t)umbra_shadow_inputs(spec),
        .gate = spec->arch == UMBRA_SHADOW_RESIDUAL ? outputs : 0,
        .truth = spec->loss == UMBRA_LOSS_KL ? outputs : 0,
        .targets = D * (size_t)spec->used,
        .feature_slots = umbra_shadow_feature_most(spec, 0),
    };
}

uint64_t umbra_train_row_bytes(const umbra_shadow_spec *spec)
{
    widths w = widths_of(spec);
    return (w.dense + w.gate + w.truth) * sizeof(float) +
           (size_t)w.feature_slots * sizeof(uint32_t) + w.targets * sizeof(uint16_t);
}

int umbra_train_rows_open(umbra_train_rows *rows, const umbra_shadow_spec *spec, int capacity,
                          umbra_error *err)
{
    widths w = widths_of(spec);
    size_t n = (size_t)capacity;
    *rows = (umbra_train_rows){.capacity = capacity, .feature_slots = w.feature_slots};
    rows->dense = umbra_aligned_alloc(ALIGN, n * w.dense * sizeof *rows->dense);
    rows->targets = umbra_aligned_alloc(ALIGN, n * w.targets * sizeof *rows->targets);
    rows->features =
        umbra_aligned_alloc(ALIGN, n * (size_t)w.feature_slots * sizeof *rows->features);
    if (w.gate > 0)
        rows->gate = umbra_aligned_alloc(ALIGN, n * w.gate * sizeof *rows->gate);
    if (w.truth > 0)
        rows->truth = umbra_aligned_alloc(ALIGN, n * w.truth * sizeof *rows->truth);
    if (rows->dense && rows->targets && rows->features && (rows->gate || w.gate == 0) &&
        (rows->truth || w.truth == 0))
        return UMBRA_OK;
    umbra_train_rows_release(rows);
    return umbra_fail_nomem(err, "training rows", n * umbra_train_row_bytes(spec));
}

void umbra_train_rows_release(umbra_train_rows *rows)
{
    umbra_free(rows->dense);
    umbra_free(rows->gate);
    umbra_free(rows->truth);
    umbra_free(rows->features);
    umbra_free(rows->targets);
    *rows = (umbra_train_rows){0};
}

umbra_train_rows umbra_train_rows_part(const umbra_train_rows *rows, const umbra_shadow_spec *spec,
                                       int first, int n)
{
    widths w = widths_of(spec);
    size_t at = (size_t)first;
    umbra_train_rows part = *rows;
    part.n = part.capacity = n;
    part.dense += at * w.dense;
    part.targets += at * w.targets;
    part.features += at * (size_t)w.feature_slots;
    part.gate = w.gate > 0 ? part.gate + at * w.gate : NULL;
    part.truth = w.truth > 0 ? part.truth + at * w.truth : NULL;
    return part;
}

void umbra_train_rows_copy(umbra_train_rows *to, int to_at, const umbra_train_rows *from, int at,
                           const umbra_shadow_spec *spec)
{
    widths w = widths_of(spec);
    size_t t = (size_t)to_at, f = (size_t)at, slots = (size_t)w.feature_slots;
    memcpy(to->dense + t * w.dense, from->dense + f * w.dense, w.dense * sizeof *to->dense);
    memcpy(to->targets + t * w.targets, from->targets + f * w.targets,
           w.targets * sizeof *to->targets);
    memcpy(to->features + t * slots, from->features + f * slots, slots * sizeof *to->features);
    if (w.gate > 0)
        memcpy(to->gate + t * w.gate, from->gate + f * w.gate, w.gate * sizeof *to->gate);
    if (w.truth > 0)
        memcpy(to->truth + t * w.truth, from->truth + f * w.truth, w.truth * sizeof *to->truth);
}
