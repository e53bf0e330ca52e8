/* The fast form without instruction-set extensions: the standard for the others. */
#include "predict/fast_body.h"

#define ISA    "scalar"
#define TABLE  umbra_fast_scalar
#define LIFTED 0

typedef struct lanes {
    float v[LANES];
} lanes;

FAST_INLINE lanes load_f32(const void *p)
{
    lanes l;
    memcpy(&l, p, sizeof l);
    return l;
}

FAST_INLINE lanes load_bf16(const void *p)
{
    lanes l;
    for (int i = 0; i < LANES; i++)
        l.v[i] = bits_to_f32((uint32_t)((const uint16_t *)p)[i] << 16);
    return l;
}

FAST_INLINE lanes add_products(lanes s, lanes w, lanes x)
{
    for (int i = 0; i < LANES; i++)
        s.v[i] += w.v[i] * x.v[i];
    return s;
}

FAST_INLINE void put_lanes(float *out, lanes l)
{
    memcpy(out, l.v, sizeof l.v);
}

typedef struct sums {
    int32_t row[GROUP];
} sums;

FAST_INLINE void add_wide(sums *s, const uint8_t *w, int steps, const umbra_fast_inputs *x,
                          size_t at)
{
    for (int k = 0; k < steps; k++, at += UMBRA_FAST_LINE)
        for (int r = 0; r < GROUP; r++, w += UMBRA_FAST_LINE)
            for (int c = 0; c < UMBRA_FAST_LINE; c++)
                s->row[r] += (int32_t)((const int8_t *)w)[c] * x->q[at + (size_t)c];
}

FAST_INLINE void add_narrow(sums *s, const uint8_t *w, int steps, const umbra_fast_inputs *x,
                            size_t at)
{
    add_wide(s, w, steps, x, at);
}

FAST_INLINE void put_sums(const sums *s, int32_t lift, float scale, float total[GROUP])
{
    for (int r = 0; r < GROUP; r++)
        total[r] += scale * (float)(s->row[r] + lift);
}

#include "predict/fast_product.h"
