/* Every function in plain C: the fall-back of each table, and what the vector code is held
 * against. Sums that can be long run in double or in eight partial sums. */
#include <math.h>

#include "kernels/scalar/grid_blocks.h"

enum { LANES = 8, TOKEN_TILE = 8 };

typedef struct block_type {
    umbra_unpack_fn unpack;
    size_t bytes;
    int parts;
    bool halves, offset;
} block_type;

#define DEFINE_TYPE(TYPE, name, halves, offset)                                                    \
    static const block_type type_##name = {umbra_unpack_##name, UMBRA_##TYPE##_BYTES,              \
                                           UMBRA_##TYPE##_PARTS, halves, offset};
UMBRA_BLOCK_TYPES(DEFINE_TYPE)

UMBRA_INLINE int32_t dot_integers(const int8_t *w, const int16_t *q, int n)
{
    int32_t dot = 0;
    for (int i = 0; i < n; i++) {
        dot += w[i] * q[i];
    }
    return dot;
}

UMBRA_INLINE int32_t sum_integers(const int16_t *q, int n)
{
    int32_t sum = 0;
    for (int i = 0; i < n; i++) {
        sum += q[i];
    }
    return sum;
}

/* Adds to `sum` what part w gives with block `at` of the activations. */
UMBRA_INLINE float add_part(float sum, const umbra_part *w, const umbra_activations *x, size_t at,
                            const block_type *type)
{
    const int16_t *q = x->q + at * UMBRA_Q16_BLOCK;
    if (!type->halves) {
        sum += w->scale[0] * x->scale[at] * (float)dot_integers(w->w, q, UMBRA_Q16_BLOCK);
        return type->offset ? sum + w->offset[0] * x->sum[at] : sum;
    }
    for (int h = 0; h < 2; h++, q += UMBRA_HALF_PART) {
        int32_t dot = dot_integers(w->w + h * UMBRA_HALF_PART, q, UMBRA_HALF_PART);
        sum += w->scale[h] * x->scale[at] * (float)dot;
        if (type->offset) {
            sum += w->offset[h] * x->scale[at] * (float)sum_integers(q, UMBRA_HALF_PART);
        }
    }
    return sum;
}

/* Quantised weights, q16 activations. The row's blocks are unpacked once per TOKEN_TILE tokens. */
UMBRA_INLINE void matmul_blocks(const umbra_matmul *m, int row_begin, int row_end,
                                const block_type *type)
{
    size_t parts = (size_t)m->x->columns / UMBRA_Q16_BLOCK, members = (size_t)type->parts;
    for (int row = row_begin; row < row_end; row++) {
        const uint8_t *weights = umbra_weight_row(m, row);
        for (int first = 0; first < m->tokens; first += TOKEN_TILE) {
            int tokens = umbra_min_int(TOKEN_TILE, m->tokens - first);
            float sum[TOKEN_TILE] = {0};
            for (size_t i = 0; i < parts; i++) {
                umbra_part w;
                type->unpack(weights + i / members * type->bytes, (int)(i % members), &w);
                for (int t = 0; t < tokens; t++) {
                    size_t at = umbra_token_row(m, first + t) * parts + i;
                    sum[t] = add_part(sum[t], &w, m->x, at, type);
                }
            }
            for (int t = 0; t < tokens; t++) {
                *umbra_output(m, first + t, row) = sum[t];
            }
        }
    }
}

UMBRA_INLINE void dequantize_blocks(float *out, const uint8_t *row, int n, const block_type *type)
{
    for (int i = 0; i < n / UMBRA_Q16_BLOCK; i++, out += UMBRA_Q16_BLOCK) {
        umbra_part w;
        type->unpack(row + (size_t)(i / type->parts) * type->bytes, i % type->parts, &w);
        for (int j = 0; j < UMBRA_Q16_BLOCK; j++) {
            int h = j / UMBRA_HALF_PART;
            out[j] = w.scale[h] * (float)w.w[j] + w.offset[h];
        }
    }
}

#define DEFINE_FUNCTIONS(TYPE, name, halves, offset)                                               \
    static void matmul_##name(const umbra_matmul *m, int row_begin, int row_end)                   \
    {                                                                                              \
        matmul_blocks(m, row_begin, row_end, &type_##name);                                        \
    }                                                                                              \
    static void dequantize_##name(float *out, const void *row, int n)                              \
    {                                                                                              \
        dequantize_blocks(out, row, n, &type_##name);                                              \
    }
UMBRA_BLOCK_TYPES(DEFINE_FUNCTIONS)

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

/* Compared as whole numbers, NaN and infinity are the largest of all: no comparison loses them. */
static float largest_magnitude(const float *x, int n)
{
    uint32_t most = 0;
    for (int i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float largest;
    memcpy(&largest, &most, sizeof largest);
    return largest;
}

static void quantize(const float *x, int n, int16_t *q, float *scale, float *sum)
{
    for (int b = 0; b < n / UMBRA_Q16_BLOCK; b++, x += UMBRA_Q16_BLOCK, q += UMBRA_Q16_BLOCK) {
        float largest = largest_magnitude(x, UMBRA_Q16_BLOCK);
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
        out[i] = x[i] * inverse * (weight ? weight[i] : 1);
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

static void open_gate(float *out, const float *gate, const float *x, int n)
{
    for (int i = 0; i < n; i++) {
        out[i] = x[i] / (1.0f + expf(-gate[i]));
    }
}

static void add_scaled(float *y, const float *x, float a, int n)
{
    for (int i = 0; i < n; i++) {
        y[i] += a * x[i];
    }
}

/* x (n) becomes exp(x - most), most its largest. Returns their sum. */
static float weigh(float *x, int n, float *most)
{
    float sum = 0;
    *most = largest_of(x, n);
    for (int i = 0; i < n; i++) {
        x[i] = expf(x[i] - *most);
        sum += x[i];
    }
    return sum;
}

/* What a row sees of a run that begins at position `first` of the block: [*from, *to) of the run.
 */
static void find_seen(const umbra_attend_row *row, const umbra_kv_run *run, int first, int *from,
                      int *to)
{
    *from = row->from > first ? row->from - first : 0;
    *to = umbra_min_int(row->to - first, run->positions);
}

static void attend_row(const umbra_attend *a, umbra_attend_row *row)
{
    size_t head_dim = (size_t)a->head_dim;
    float *scores = a->scratch;
    int from, to;
    for (int r = 0, first = a->first; r < a->n_runs; first += a->runs[r++].positions) {
        const uint8_t *k = a->runs[r].k;
        find_seen(row, &a->runs[r], first, &from, &to);
        for (int j = from; j < to; j++) {
            scores[first + j] =
                a->scale * dot_floats(k + 2 * (size_t)j * head_dim, row->q, head_dim, read_f16);
        }
    }
    row->sum = weigh(scores + row->from, row->to - row->from, &row->most);
    memset(row->mixed, 0, (size_t)a->value_dim * sizeof *row->mixed);
    for (int r = 0, first = a->first; r < a->n_runs; first += a->runs[r++].positions) {
        find_seen(row, &a->runs[r], first, &from, &to);
        for (int j = from; j < to; j++) {
            const uint8_t *v = (const uint8_t *)a->runs[r].v + 2 * (size_t)(j * a->value_stride);
            for (size_t i = 0; i < (size_t)a->value_dim; i++) {
                row->mixed[i] += scores[first + j] * read_f16(v, i);
            }
        }
    }
}

static void attend(const umbra_attend *a)
{
    for (int r = 0; r < a->n_rows; r++) {
        attend_row(a, &a->rows[r]);
    }
}

static void join(umbra_attend_row *to, const umbra_attend_row *part, int value_dim)
{
    float most = to->most > part->most ? to->most : part->most;
    float before = expf(to->most - most), here = expf(part->most - most);
    for (int i = 0; i < value_dim; i++) {
        to->mixed[i] = before * to->mixed[i] + here * part->mixed[i];
    }
    to->sum = (double)before * to->sum + (double)here * part->sum;
    to->most = most;
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
    k->predict = &umbra_predict_scalar;
    k->kv_bytes = 2;
    k->matmul[UMBRA_F32] = matmul_f32;
    k->matmul[UMBRA_F16] = matmul_f16;
    k->matmul[UMBRA_BF16] = matmul_bf16;
    k->dequantize[UMBRA_F32] = dequantize_f32;
    k->dequantize[UMBRA_F16] = dequantize_f16;
    k->dequantize[UMBRA_BF16] = dequantize_bf16;
#define SET_FUNCTIONS(TYPE, name, halves, offset)                                                  \
    k->matmul[UMBRA_##TYPE] = matmul_##name;                                                       \
    k->dequantize[UMBRA_##TYPE] = dequantize_##name;
    UMBRA_BLOCK_TYPES(SET_FUNCTIONS)
    k->quantize = quantize;
    k->rms_norm = rms_norm;
    k->rope_halves = rope_halves;
    k->rope_adjacent = rope_adjacent;
    k->softmax = softmax;
    k->swiglu = swiglu;
    k->open_gate = open_gate;
    k->add_scaled = add_scaled;
    k->attend = attend;
    k->join = join;
    umbra_kernels_fill_scalar_state(k);
    k->store_kv = store_kv;
    k->log_sum_exp = log_sum_exp;
}
