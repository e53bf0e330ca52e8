/* The products and the table of an ISA, made of what its file has defined before including this:
 *
 *   lanes         16 floats; zeros are a start
 *   load_f32      lanes of 16 columns, from F32 at p
 *   load_bf16     the same from BF16
 *   add_products  s + w * x, each rounded
 *   put_lanes     to memory
 *
 *   sums          the integer sums of a group's 4 rows, in whatever lanes; zeros are a start
 *   add_narrow    adds the products of `steps` steps of w and u
 *   add_wide      the same with q
 *   put_sums      total[r] += scale * (sum of row r - less[r])
 *   OFFSET        whether add_narrow multiplies by u itself, not by u - 64
 *   TABLE         the table's name */
#include "kernels/predict_body.h"

UMBRA_INLINE void group_floats(const uint8_t *w, int steps, const float *x, bool bf16,
                               float out[GROUP])
{
    lanes s[GROUP] = {0};
    const int bytes = bf16 ? UMBRA_FAST_LINE / 2 : UMBRA_FAST_LINE; /* of 16 columns */
    for (int k = 0; k < steps; k++, w += UMBRA_FAST_STEP) {
        prefetch(w);
        for (int part = 0; part < UMBRA_FAST_LINE; part += bytes, x += LANES) {
            lanes values = load_f32(x);
            for (int r = 0; r < GROUP; r++) {
                const uint8_t *line = w + r * UMBRA_FAST_LINE + part;
                s[r] = add_products(s[r], bf16 ? load_bf16(line) : load_f32(line), values);
            }
        }
    }
    for (int r = 0; r < GROUP; r++) {
        float all[LANES];
        put_lanes(all, s[r]);
        out[r] = sum_lanes(all);
    }
}

UMBRA_INLINE void product_floats(const umbra_fast_matrix *m, int rows, const umbra_fast_inputs *x,
                                 int n, float factor, float *out, int stride, bool bf16)
{
    const uint8_t *w = m->data;
    for (int row = 0; row < rows; row += GROUP, w += (size_t)m->steps * UMBRA_FAST_STEP)
        for (int i = 0; i < n; i++) {
            float total[GROUP], *y = out + (size_t)i * (size_t)stride + row;
            group_floats(w, m->steps, x->f32 + (size_t)i * (size_t)x->stride, bf16, total);
            for (int r = 0; r < GROUP; r++)
                y[r] += factor * total[r];
        }
}

static void product_f32(const umbra_fast_matrix *m, int rows, const umbra_fast_inputs *x, int n,
                        float factor, float *out, int stride)
{
    product_floats(m, rows, x, n, factor, out, stride, false);
}

static void product_bf16(const umbra_fast_matrix *m, int rows, const umbra_fast_inputs *x, int n,
                         float factor, float *out, int stride)
{
    product_floats(m, rows, x, n, factor, out, stride, true);
}

/* The four dot products of a group, from row `row` on, with input i. */
UMBRA_INLINE void group_i8(const umbra_fast_matrix *m, const uint8_t *w, int row,
                           const umbra_fast_inputs *x, int i, float total[GROUP])
{
    static const int32_t nothing[GROUP];
    size_t at = (size_t)i * (size_t)x->stride;
    sums narrow = {0};
    add_narrow(&narrow, w, m->steps, x->u + at);
    put_sums(&narrow, OFFSET ? m->sum + row : nothing, x->scale[i], total);
    for (int b = 0; b < x->widest[i]; b++) {
        int begin = b * UMBRA_FAST_BLOCK_STEPS, left = m->steps - begin;
        float scale = x->wide[at / UMBRA_FAST_BLOCK + (size_t)b];
        if (left <= 0 || scale == 0.0f)
            continue;
        sums wide = {0};
        add_wide(&wide, w + (size_t)begin * UMBRA_FAST_STEP,
                 left < UMBRA_FAST_BLOCK_STEPS ? left : UMBRA_FAST_BLOCK_STEPS,
                 x->q + at + (size_t)b * UMBRA_FAST_BLOCK);
        put_sums(&wide, nothing, scale, total);
    }
}

static void product_i8(const umbra_fast_matrix *m, int rows, const umbra_fast_inputs *x, int n,
                       float factor, float *out, int stride)
{
    const uint8_t *w = m->data;
    for (int row = 0; row < rows; row += GROUP, w += (size_t)m->steps * UMBRA_FAST_STEP)
        for (int i = 0; i < n; i++) {
            float total[GROUP] = {0}, *y = out + (size_t)i * (size_t)stride + row;
            group_i8(m, w, row, x, i, total);
            for (int r = 0; r < GROUP; r++)
                y[r] += factor * (total[r] * m->scale[row + r]);
        }
}

const umbra_predict_kernels TABLE = {
    .product = {[UMBRA_PREDICT_F32] = product_f32,
                [UMBRA_PREDICT_BF16] = product_bf16,
                [UMBRA_PREDICT_I8] = product_i8},
    .add = {[UMBRA_PREDICT_F32] = add_f32,
            [UMBRA_PREDICT_BF16] = add_bf16,
            [UMBRA_PREDICT_I8] = add_i8},
    .normalise = normalise,
    .quantise = quantise,
    .activate = activate,
    .calibrate = calibrate,
    .floor = floor_of,
    .touch = touch,
};
