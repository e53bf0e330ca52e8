/* The arithmetic truth that the other tables approximate: weights expanded to float, float
 * activations, keys and values, sums in double, libm's functions. */
#include <math.h>
#include <string.h>

#include "kernels/scalar/grid_blocks.h"

enum {
    PIECE = 1024, /* columns expanded at a time: whole blocks of every type */
    TOKEN_TILE = 256,
    LANES = 4, /* independent sums, so that additions do not wait for each other */
};

static double dot(const float *a, const float *b, size_t n)
{
    double part[LANES] = {0};
    size_t whole = n / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            part[j] += (double)a[i + j] * b[i + j];
        }
    }
    for (size_t i = whole; i < n; i++) {
        part[i - whole] += (double)a[i] * b[i];
    }
    return (part[0] + part[2]) + (part[1] + part[3]);
}

typedef void (*dequantize_fn)(float *out, const void *row, int n);

static void matmul(const umbra_matmul *m, int row_begin, int row_end, umbra_dtype type,
                   dequantize_fn dequantize)
{
    const umbra_activations *x = m->x;
    umbra_dtype_info info = umbra_dtype_get(type);
    float weights[PIECE];
    double sum[TOKEN_TILE];
    for (int first = 0; first < m->tokens; first += TOKEN_TILE) {
        int tokens = umbra_min_int(TOKEN_TILE, m->tokens - first);
        for (int row = row_begin; row < row_end; row++) {
            const uint8_t *bytes = umbra_weight_row(m, row);
            memset(sum, 0, sizeof sum);
            for (int c = 0; c < x->columns; c += PIECE) {
                int n = umbra_min_int(PIECE, x->columns - c);
                dequantize(weights, bytes + umbra_dtype_row_bytes(info, (uint64_t)c), n);
                for (int t = 0; t < tokens; t++) {
                    size_t at = umbra_token_row(m, first + t) * (size_t)x->columns + (size_t)c;
                    sum[t] += dot(weights, x->f32 + at, (size_t)n);
                }
            }
            for (int t = 0; t < tokens; t++) {
                *umbra_output(m, first + t, row) = (float)sum[t];
            }
        }
    }
}

/* The expansion of each type is the scalar table's, found there when the table is filled. */
static dequantize_fn expand[UMBRA_DTYPE_COUNT];

#define DEFINE_MATMUL(TYPE, name, halves, offset)                                                  \
    static void matmul_##TYPE(const umbra_matmul *m, int row_begin, int row_end)                   \
    {                                                                                              \
        matmul(m, row_begin, row_end, UMBRA_##TYPE, expand[UMBRA_##TYPE]);                         \
    }

DEFINE_MATMUL(F32, f32, false, false)
DEFINE_MATMUL(F16, f16, false, false)
DEFINE_MATMUL(BF16, bf16, false, false)
UMBRA_BLOCK_TYPES(DEFINE_MATMUL)

static void rms_norm(float *out, const float *x, const float *weight, int n, float eps)
{
    double inverse = 1.0 / sqrt(dot(x, x, (size_t)n) / n + (double)eps);
    for (int i = 0; i < n; i++) {
        out[i] = (float)(x[i] * inverse * (weight ? weight[i] : 1));
    }
}

static void rope_halves(float *x, const float *table, int n)
{
    float *y = x + n / 2;
    for (int i = 0; i < n / 2; i++) {
        double c = table[2 * i], s = table[2 * i + 1];
        double a = x[i], b = y[i];
        x[i] = (float)(a * c - b * s);
        y[i] = (float)(a * s + b * c);
    }
}

static void rope_adjacent(float *x, const float *table, int n)
{
    for (int i = 0; i < n; i += 2) {
        double c = table[i], s = table[i + 1];
        double a = x[i], b = x[i + 1];
        x[i] = (float)(a * c - b * s);
        x[i + 1] = (float)(a * s + b * c);
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

static double exp_sum(const float *x, int n, double largest)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += exp(x[i] - largest);
    }
    return sum;
}

static void softmax(float *x, int n)
{
    double largest = largest_of(x, n);
    double sum = exp_sum(x, n, largest);
    for (int i = 0; i < n; i++) {
        x[i] = (float)(exp(x[i] - largest) / sum);
    }
}

static double log_sum_exp(const float *x, int n)
{
    double largest = largest_of(x, n);
    return isinf(largest) ? largest : largest + log(exp_sum(x, n, largest));
}

static void swiglu(float *out, const float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i++) {
        out[i] = (float)(gate[i] / (1.0 + exp(-(double)gate[i])) * up[i]);
    }
}

static void open_gate(float *out, const float *gate, const float *x, int n)
{
    for (int i = 0; i < n; i++) {
        out[i] = (float)(x[i] / (1.0 + exp(-(double)gate[i])));
    }
}

static void add_scaled(float *y, const float *x, float a, int n)
{
    for (int i = 0; i < n; i++) {
        y[i] = (float)(y[i] + (double)a * x[i]);
    }
}

enum { COLUMNS = 32 }; /* summed at a time, because sums are double */

/* mixed[first .. first + n) */
static void mix_columns(const umbra_attend *a, const umbra_attend_row *row, const float *scores,
                        int first, int n)
{
    double sum[COLUMNS] = {0};
    for (int r = 0, at = a->first; r < a->n_runs; r++) {
        const float *value = (const float *)a->runs[r].v + first;
        for (int j = 0; j < a->runs[r].positions; j++, at++, value += a->value_stride) {
            for (int i = 0; at >= row->from && at < row->to && i < n; i++) {
                sum[i] += (double)scores[at] * value[i];
            }
        }
    }
    for (int i = 0; i < n; i++) {
        row->mixed[first + i] = (float)sum[i];
    }
}

static void attend_row(const umbra_attend *a, umbra_attend_row *row)
{
    float *scores = a->scratch;
    for (int r = 0, at = a->first; r < a->n_runs; r++) {
        const float *k = a->runs[r].k;
        for (int j = 0; j < a->runs[r].positions; j++, at++, k += a->head_dim) {
            scores[at] = (float)(a->scale * dot(row->q, k, (size_t)a->head_dim));
        }
    }
    row->most = largest_of(scores + row->from, row->to - row->from);
    row->sum = 0;
    for (int j = row->from; j < row->to; j++) {
        double e = exp((double)scores[j] - row->most);
        row->sum += e;
        scores[j] = (float)e;
    }
    for (int first = 0; first < a->value_dim; first += COLUMNS) {
        mix_columns(a, row, scores, first, umbra_min_int(COLUMNS, a->value_dim - first));
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
    double before = exp((double)to->most - most), here = exp((double)part->most - most);
    for (int i = 0; i < value_dim; i++) {
        to->mixed[i] = (float)(before * to->mixed[i] + here * part->mixed[i]);
    }
    to->sum = before * to->sum + here * part->sum;
    to->most = most;
}

static void store_kv(void *out, const float *x, int n)
{
    memcpy(out, x, (size_t)n * sizeof *x);
}

void umbra_kernels_fill_reference(umbra_kernels *k)
{
    memcpy(expand, k->dequantize, sizeof expand);
    k->exact = true;
    k->kv_bytes = 4;
    k->matmul[UMBRA_F32] = matmul_F32;
    k->matmul[UMBRA_F16] = matmul_F16;
    k->matmul[UMBRA_BF16] = matmul_BF16;
#define SET_MATMUL(TYPE, name, halves, offset) k->matmul[UMBRA_##TYPE] = matmul_##TYPE;
    UMBRA_BLOCK_TYPES(SET_MATMUL)
    k->rms_norm = rms_norm;
    k->rope_halves = rope_halves;
    k->rope_adjacent = rope_adjacent;
    k->softmax = softmax;
    k->swiglu = swiglu;
    k->open_gate = open_gate;
    k->add_scaled = add_scaled;
    k->attend = attend;
    k->join = join;
    umbra_kernels_fill_reference_state(k);
    k->store_kv = store_kv;
    k->log_sum_exp = log_sum_exp;
}
