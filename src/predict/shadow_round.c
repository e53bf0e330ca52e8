/* Rounds a shadow model to the type it is stored in. */
#include "predict/forms.h"
#include "predict/internal.h"

static void round_row_bf16(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)umbra_bf16_from_f32(x[i]) << 16;
        memcpy(&x[i], &bits, sizeof bits);
    }
}

static void round_row_i8(float *x, size_t n)
{
    enum { PIECE = 4096 };
    int8_t q[PIECE];
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i]));
    for (size_t at = 0; at < n; at += PIECE) { /* each piece by the scale of the whole row */
        size_t count = n - at < PIECE ? n - at : PIECE;
        umbra_i8_with_scale(x + at, count, most / 127.0f, q);
        for (size_t i = 0; i < count; i++)
            x[at + i] = most / 127.0f * (float)q[i];
    }
}

void umbra_shadow_round(const umbra_shadow_spec *spec, const umbra_shadow_network *network)
{
    float *parts[UMBRA_SHADOW_PARTS];
    size_t lengths[UMBRA_SHADOW_PARTS];
    umbra_shadow_parts(spec, network, parts, lengths);
    for (int p = 0; p < UMBRA_SHADOW_PARTS && spec->weights != UMBRA_SHADOW_F32; p++) {
        umbra_part_shape shape = umbra_shadow_part_shape(spec, p);
        for (uint64_t r = 0; shape.matrix && lengths[p] > 0 && r < shape.rows; r++) {
            float *row = parts[p] + r * shape.columns;
            if (spec->weights == UMBRA_SHADOW_BF16)
                round_row_bf16(row, (size_t)shape.columns);
            else
                round_row_i8(row, (size_t)shape.columns);
        }
    }
}
