/* Predictions without instruction-set extensions: the standard for the others. */
#include "kernels/predict_body.h"

#define TABLE  umbra_predict_scalar
#define OFFSET 0

typedef struct lanes {
    float v[LANES];
} lanes;

UMBRA_INLINE lanes load_f32(const void *p)
{
    lanes l;
    memcpy(&l, p, sizeof l);
    return l;
}

UMBRA_INLINE lanes load_bf16(const void *p)
{
    lanes l;
    for (int i = 0; i < LANES; i++)
        l.v[i] = bits_to_f32((uint32_t)((const uint16_t *)p)[i] << 16);
    return l;
}

UMBRA_INLINE lanes add_products(lanes s, lanes w, lanes x)
{
    for (int i = 0; i < LANES; i++)
        s.v[i] += w.v[i] * x.v[i];
    return s;
}

UMBRA_INLINE void put_lanes(float *out, lanes l)
{
    memcpy(out, l.v, sizeof l.v);
}

typedef struct sums {
    int32_t row[GROUP];
} sums;

UMBRA_INLINE void add_narrow(sums *s, const uint8_t *w, int steps, const uint8_t *u)
{
    for (int k = 0; k < steps; k++, u += UMBRA_FAST_LINE)
        for (int r = 0; r < GROUP; r++, w += UMBRA_FAST_LINE)
            for (int c = 0; c < UMBRA_FAST_LINE; c++)
                s->row[r] += ((const int8_t *)w)[c] * (u[c] - 64);
}

UMBRA_INLINE void add_wide(sums *s, const uint8_t *w, int steps, const int16_t *q)
{
    for (int k = 0; k < steps; k++, q += UMBRA_FAST_LINE)
        for (int r = 0; r < GROUP; r++, w += UMBRA_FAST_LINE)
            for (int c = 0; c < UMBRA_FAST_LINE; c++)
                s->row[r] += ((const int8_t *)w)[c] * q[c];
}

UMBRA_INLINE void put_sums(const sums *s, const int32_t *less, float scale, float total[GROUP])
{
    for (int r = 0; r < GROUP; r++)
        total[r] += scale * (float)(s->row[r] - less[r]);
}

#include "kernels/predict_product.h"
