/* Every function in plain C: the fall-back of each table, and what the vector code is held
 * against. Sums that can be long run in double or in eight partial sums. */
#include <math.h>

#include "kernels/blocks.h"

enum { LANES = 8, TOKEN_TILE = 8 };

/* Quantised weights, q16 activations. The row's blocks are unpacked once per TOKEN_TILE tokens. */
UMBRA_INLINE void matmul_blocks(const umbra_matmul *m, int row_begin, int row_end,
                                umbra_unpack_fn unpack, size_t block_bytes)
{
    const umbra_activations *x = m->x;
    size_t blocks = (size_t)x->columns / UMBRA_Q16_BLOCK;
    for (int row = row_begin; row < row_end; row++) {
        const uint8_t *weights = umbra_weight_row(m, row);
        for (int first = 0; first < m->tokens; first += TOKEN_TILE) {
            int tokens = umbra_min_int(TOKEN_TILE, m->tokens - first);
            float sum[TOKEN_TILE] = {0};
            for (size_t b = 0; b < blocks; b++) {
                int8_t w[UMBRA_Q16_BLOCK];
                float d = unpack(weights + b * block_bytes, w);
                for (int t = 0; t < tokens; t++) {
                    size_t at = umbra_token_row(m, first + t) * blocks + b;
                    const int16_t *q = x->q + at * UMBRA_Q16_BLOCK;
                    int32_t dot = 0;
                    for (int i = 0; i < UMBRA_Q16_BLOCK; i++) {
                        dot += w[i] * q[i];
                    }
                    sum[t] += d * x->scale[at] * (float)dot;
                }
            }
            for (int t = 0; t < tokens; t++) {
                *umbra_output(m, first + t, row) = sum[t];
            }
        }
    }
}

static void matmul_q8_0(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_blocks(m, row_begin, row_end, umbra_unpack_q8_0, UMBRA_Q8_0_BYTES);
}

static void matmul_q4_0(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_blocks(m, row_begin, row_end, umbra_unpack_q4_0, UMBRA_Q4_0_BYTES);
}

UMBRA_INLINE float read_f32(const uint8_t *row, size_t i)
{
    return umbra_load_f32(row + 4 * i);
}

UMBRA_INLINE float read_f16(const uint8_t *row, size_t i)
{
    return umbra_f16_to_f32(umbra_load_u16(row + 2 * i));
}

UMBRA_INLINE float read_bf16(const uint8_t *row, size_t i)
{
    return umbra_bf16_to_f32(umbra_load_u16(row + 2 * i));
}

typedef float (*read_fn)(const uint8_t *row, size_t i);

UMBRA_INLINE float dot_floats(const uint8_t *row, const float *x, size_t n, read_fn read)
{
    float part[LANES] = {0};
    size_t whole = n / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            part[j] += read(row, i + j) * x[i + j];
        }
    }
    for (size_t i = whole; i < n; i++) {
        part[i - whole] += read(row, i) * x[i];
    }
    return ((part[0] + part[4]) + (part[2] + part[6])) +
           ((part[1] + part[5]) + (part[3] + part[7]));
}

UMBRA_INLINE void matmul_floats(const umbra_matmul *m, int row_begin, int row_end, read_fn read)
{
    size_t columns = (size_t)m->x->columns;
    for (int row = row_begin; row < row_end; row++) {
        const uint8_t *weights = umbra_weight_row(m, row);
        for (int t = 0; t < m->tokens; t++) {
            const float *x = m->x->f32 + umbra_token_row(m, t) * columns;
            *umbra_output(m, t, row) = dot_floats(weights, x, columns, read);
        }
    }
}

static void matmul_f32(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_floats(m, row_begin, row_end, read_f32);
}

static void matmul_f16(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_floats(m, row_begin, row_end, read_f16);
}

static void matmul_bf16(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_floats(m, row_begin, row_end, read_bf16);
}

UMBRA_INLINE void dequantize_blocks(float *out, const uint8_t *row, int n, umbra_unpack_fn unpack,
                                    size_t block_bytes)
{
    for (int i = 0; i < n; i += UMBRA_Q16_BLOCK, row += block_bytes) {
        int8_t w[UMBRA_Q16_BLOCK];
        float d = unpack(row, w);
        for (int j = 0; j < UMBRA_Q16_BLOCK; j++) {
            out[i + j] = d * (float)w[j];
        }
    }
}

static void dequantize_q8_0(float *out, const void *row, int n)
{
    dequantize_blocks(out, row, n, umbra_unpack_q8_0, UMBRA_Q8_0_BYTES);
}

static void dequantize_q4_0(float *out, const void *row, int n)
{
    dequantize_blocks(out, row, n, umbra_unpack_q4_0, UMBRA_Q4_0_BYTES);
}

static void dequantize_f32(float *out, const void *row, int n)
{
    memcpy(out, row, (size_t)n * sizeof *out);
}

static void dequantize_f16(float *out, const void *row, int n)
{
    for (int i = 0; i < n; i++) {
        out[i] = read_f16(row, (size_t)i);
    }
}

static void dequantize_bf16(float *out, const void *row, int n)
{
    for (int i = 0; i < n; i++) {
        out[i] = read_bf16(row, (size_t)i);
    }
}

static void quantize(const float *x, int n, int16_t *q, float *scale, float *sum)
{
    for (int b = 0; b < n / UMBRA_Q16_BLOCK; b++, x += UMBRA_Q16_BLOCK, q += UMBRA_Q16_BLOCK) {
        float largest = 0;
        for (int i = 0; i < UMBRA_Q16_BLOCK; i++) {
            largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
        }
        bool zeros = largest < UMBRA_Q16_TINY;
        float inverse = zeros ? 0.0f : UMBRA_Q16_MAX / largest;
        int32_t total = 0;
        for (int i = 0; i < UMBRA_Q16_BLOCK; i++) {
            q[i] = (int16_t)lrintf(x[i] * inverse);
            total += q[i];
        }
        scale[b] = zeros ? 0.0f : largest / UMBRA_Q16_MAX;
        sum[b] = scale[b] * (float)total;
    }
}

static void rms_norm(float *out, const float *x, const float *weight, int n, float eps)
{
    double squares = 0;
    for (int i = 0; i < n; i++) {
        squares += (double)x[i] * x[i];
    }
    float inverse = 1.0f / sqrtf((float)(squares / n) + eps);
    for (int i = 0; i < n; i++) {
        out[i] = x[i] * inverse * weight[i];
    }
}

static void rope_halves(float *x, const float *table, int n)
{
    float *y = x + n / 2;
    for (int i = 0; i < n / 2; i++) {
        float c = table[2 * i], s = table[2 * i + 1];
        float a = x[i], b = y[i];
        x[i] = a * c - b * s;
        y[i] = a * s + b * c;
    }
}

static void rope_adjacent(float *x, const float *table, int n)
{
    for (int i = 0; i < n; i += 2) {
        float c = table[i], s = table[i + 1];
        float a = x[i], b = x[i + 1];
        x[i] = a * c - b * s;
        x[i + 1] = a * s + b * c;
    }
}

static float largest_of(const float *x, int n)
{
    float largest = -INFINITY;
    for (int i = 0; i < n; i++) {
        largest = x[i] > largest ? x[i] : largest;
    }
    return largest;
}

static void softmax(float *x, int n)
{
    float largest = largest_of(x, n);
    double sum = 0;
    for (int i = 0; i < n; i++) {
        x[i] = expf(x[i] - largest);
        sum += x[i];
    }
    float inverse = (float)(1.0 / sum);
    for (int i = 0; i < n; i++) {
        x[i] *= inverse;
    }
}

static void swiglu(float *out, const float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i++) {
        out[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
    }
}

static void add_scaled(float *y, const float *x, float a, int n)
{
    for (int i = 0; i < n; i++) {
        y[i] += a * x[i];
    }
}

static void attend(const umbra_attend *a)
{
    size_t head_dim = (size_t)a->head_dim, value_dim = (size_t)a->value_dim;
    for (int g = 0; g < a->group; g++) {
        float *scores = a->scores + (size_t)g * (size_t)a->scores_stride;
        float *out = a->out + (size_t)g * value_dim;
        const uint8_t *k = a->k, *v = a->v;
        for (int j = 0; j < a->positions; j++, k += 2 * head_dim) {
            scores[j] = a->scale * dot_floats(k, a->q + (size_t)g * head_dim, head_dim, read_f16);
        }
        if (a->sinks) {
            scores[a->positions] = a->sinks[g];
        }
        softmax(scores, a->positions + (a->sinks != NULL));
        memset(out, 0, value_dim * sizeof *out);
        for (int j = 0; j < a->positions; j++, v += 2 * (size_t)a->value_stride) {
            for (size_t i = 0; i < value_dim; i++) {
                out[i] += scores[j] * read_f16(v, i);
            }
        }
    }
}

static void store_kv(void *out, const float *x, int n)
{
    uint8_t *bytes = out;
    for (int i = 0; i < n; i++) {
        uint16_t h = umbra_f16_from_f32(x[i]);
        memcpy(bytes + 2 * (size_t)i, &h, sizeof h);
    }
}

static double log_sum_exp(const float *x, int n)
{
    float largest = largest_of(x, n);
    if (isinf(largest)) {
        return largest;
    }
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += expf(x[i] - largest);
    }
    return largest + log(sum);
}

void umbra_kernels_fill_scalar(umbra_kernels *k)
{
    k->kv_bytes = 2;
    k->matmul[UMBRA_F32] = matmul_f32;
    k->matmul[UMBRA_F16] = matmul_f16;
    k->matmul[UMBRA_BF16] = matmul_bf16;
    k->matmul[UMBRA_Q8_0] = matmul_q8_0;
    k->matmul[UMBRA_Q4_0] = matmul_q4_0;
    k->dequantize[UMBRA_F32] = dequantize_f32;
    k->dequantize[UMBRA_F16] = dequantize_f16;
    k->dequantize[UMBRA_BF16] = dequantize_bf16;
    k->dequantize[UMBRA_Q8_0] = dequantize_q8_0;
    k->dequantize[UMBRA_Q4_0] = dequantize_q4_0;
    k->quantize = quantize;
    k->rms_norm = rms_norm;
    k->rope_halves = rope_halves;
    k->rope_adjacent = rope_adjacent;
    k->softmax = softmax;
    k->swiglu = swiglu;
    k->add_scaled = add_scaled;
    k->attend = attend;
    k->store_kv = store_kv;
    k->log_sum_exp = log_sum_exp;
}
