/* The arithmetic of the hot loops: a table of functions per instruction set, filled scalar first
 * and overwritten upwards, chosen at run time.
 *
 * Letters in shapes: R rows of a weight matrix, C its columns (input width), T tokens.
 *
 * Two rules hold for every table:
 *  - Batch invariance: the value of one (row, token) pair does not depend on which other rows and
 *    tokens are computed with it. So prefill in any chunk size, decode, and any split over
 *    threads give the same bits.
 *  - Nothing allocates, nothing blocks, nothing keeps state; all functions may run concurrently
 *    on disjoint outputs.
 *
 * Weights of a quantised type (blocks with a scale) are multiplied with activations rounded to
 * 16 bits per value and one scale per 32 values ("q16"): products and their sum over a block of 32
 * are exact in 32-bit integers (at most 32 * 128 * 32767 < 2^31), then scaled in float. Rounding
 * to 8 bits, as llama.cpp does, costs 256 times the error and hardly less time on AVX2. Q2_K, Q3_K
 * and Q6_K multiply weights by their scales of 16 values first, as integers of 16 bits; a vector of
 * at least 4 lanes then sums at most 8 products per lane (8 * 32 * 128 * 32767 < 2^31). Other types
 * with scales of 16 values scale the sums of either half of 32 in float; so do AVX-512 and AMX with
 * all of them. Offsets are multiplied with the sum of a block's activations. blocks.h lists the
 * types and their layouts.
 * MXFP4 blocks smaller than about 2^-100 lose precision, as activations do.
 * Weights of type F32, F16 and BF16 are multiplied with float activations.
 * The `reference` table dequantises to float and sums in double instead. */
#ifndef UMBRA_KERNELS_KERNELS_H
#define UMBRA_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"

enum { UMBRA_Q16_BLOCK = 32 };

/* T rows of activations, width C. All arrays belong to the caller; alignment 64 is best, none is
 * needed. The q16 part is only valid after `quantize`; C is a multiple of 32 there. */
typedef struct umbra_activations {
    int rows;     /* T */
    int columns;  /* C */
    float *f32;   /* (T, C) */
    int16_t *q;   /* (T, C)     round(f32 / scale), nearest even, in [-32767, 32767] */
    float *scale; /* (T, C/32)  largest |f32| of the block / 32767; 0, as are its q, if that
                     largest is below 2^-100 */
    float *sum;   /* (T, C/32)  scale * sum of q over the block, for types with an offset */
} umbra_activations;

/* out[i * out_stride + r] = sum_c weights[r][c] * x[token(i)][c],  r in [row_begin, row_end),
 * i in [0, tokens), token(i) = gather ? gather[i] : i. */
typedef struct umbra_matmul {
    const void *weights; /* (R, C), rows row_bytes apart; any alignment */
    uint64_t row_bytes;
    const umbra_activations *x; /* (T, C) */
    const int32_t *gather;      /* (tokens) rows of x, or NULL */
    int tokens;
    float *out;          /* (tokens, R) */
    uint64_t out_stride; /* floats from one token's output to the next */
} umbra_matmul;

typedef void (*umbra_matmul_fn)(const umbra_matmul *m, int row_begin, int row_end);

/* Keys and values of consecutive positions that lie one behind the other. */
typedef struct umbra_kv_run {
    const void *k; /* (positions, head_dim) f16, or f32 in the reference table */
    const void *v; /* (positions, value_dim) the same, rows value_stride values apart */
    int positions;
} umbra_kv_run;

enum {
    UMBRA_ATTEND_BLOCK = 64, /* positions of a block */
    UMBRA_ATTEND_ROWS = 64,  /* most rows that go through a block together */
};

/* What a row (a query head of a token) gets of positions j, with the scores s[j] = scale * dot(q,
 * K[j]): the softmax and its product with the values are mixed / sum. */
typedef struct umbra_attend_row {
    const float *q; /* (head_dim) */
    float *mixed;   /* sum_j exp(s[j] - most) * V[j]: (value_dim), and of what `attend` fills
                       umbra_attend_width(value_dim) */
    float most;     /* largest s[j]; -infinity before there is one */
    double sum;     /* sum_j exp(s[j] - most) */
    int from, to;   /* the positions [from, to) of the block that the row sees, at least one */
} umbra_attend_row;

/* One block of positions for several rows: each gets mixed, most and sum of what it sees of it.
 * Positions of one key/value head; a row's bits depend neither on the other rows nor on where runs
 * end. `join` brings a row's blocks together: whoever does so in the order of positions, with
 * blocks that begin at multiples of UMBRA_ATTEND_BLOCK, has the same bits in chunks of any size. */
typedef struct umbra_attend {
    const umbra_kv_run *runs; /* (n_runs) in the order of positions */
    int n_runs;
    int first;               /* position of the block with which the runs begin */
    umbra_attend_row *rows;  /* (n_rows) */
    int n_rows;              /* at most UMBRA_ATTEND_ROWS */
    int head_dim, value_dim; /* any; multiples of 32 are fast */
    int value_stride;        /* at least value_dim: values may lie inside longer rows */
    float scale;
    float *scratch; /* (umbra_attend_scratch), aligned to 64 bytes */
} umbra_attend;

/* Floats of a row's values, up to whole vectors. */
static inline size_t umbra_attend_width(int value_dim)
{
    return ((size_t)value_dim + 31) / 32 * 32;
}

/* Floats: the block's keys and values, expanded, and the rows' scores. */
static inline size_t umbra_attend_scratch(int head_dim, int value_dim)
{
    return UMBRA_ATTEND_BLOCK *
           ((size_t)head_dim + umbra_attend_width(value_dim) + UMBRA_ATTEND_ROWS);
}

enum { UMBRA_STATE_COLUMNS = 32 };

/* One position's step of up to UMBRA_STATE_COLUMNS columns of a recurrent state S, which is
 * (keys, UMBRA_STATE_COLUMNS):
 *   S[i] *= decay[i];  w = rate * (v - S^T k) if delta, rate * v if not;  S += k w^T;  out = S^T q.
 * No column depends on another. Whether `from` and `to` are the same leaves no trace in the bits.
 */
typedef struct umbra_recur {
    const float *from;  /* S before */
    float *to;          /* S behind */
    const float *k;     /* (keys) */
    const float *q;     /* (keys); NULL: nothing is read out */
    const float *v;     /* (columns); columns of S behind these stay 0 if they were */
    const float *decay; /* (keys), or one for all */
    float *out;         /* (columns) */
    float rate;
    int keys, columns;
    bool key_decay, delta;
} umbra_recur;

/* Causal convolution of n channels by themselves, each over its last `taps` inputs:
 * out[c] = silu(bias[c] + sum_j weights[c][j] * input[j][c]). */
typedef struct umbra_causal {
    const float *const *input; /* (taps) rows (n), oldest first; NULL: zeros */
    const float *weights;      /* (n, taps) */
    const float *bias;         /* (n) or NULL */
    float *out;                /* (n) */
    int taps, n;
} umbra_causal;

typedef struct umbra_kernels {
    const char *name;  /* "reference", "scalar", "avx2", "avxvnni", "avx512", "amx", "neon" */
    bool exact;        /* reference: activations stay 32-bit, keys and values are f32 */
    uint32_t kv_bytes; /* bytes of one cached key or value: 2 (f16) or 4 (f32) */

    /* By weight type; NULL where the type is not supported. Every table has the same ones. */
    umbra_matmul_fn matmul[UMBRA_DTYPE_COUNT];
    /* Expands a row of n values (a multiple of the block) exactly; same support as matmul. */
    void (*dequantize[UMBRA_DTYPE_COUNT])(float *out, const void *row, int n);

    /* One row of n values (a multiple of 32) to q16. A block with a value that is not finite gets a
     * scale that is not, so that no product with it is. */
    void (*quantize)(const float *x, int n, int16_t *q, float *scale, float *sum);
    /* out = x / sqrt(mean(x^2) + eps) * weight; weight NULL: 1; out may be x. */
    void (*rms_norm)(float *out, const float *x, const float *weight, int n, float eps);
    /* Rotates pairs (x[i], x[i + n/2]) by the angles whose (cos, sin) are in table (n/2, 2). */
    void (*rope_halves)(float *x, const float *table, int n);
    /* The same for pairs (x[2i], x[2i + 1]). */
    void (*rope_adjacent)(float *x, const float *table, int n);
    /* In place, shifted by the maximum. */
    void (*softmax)(float *x, int n);
    /* out = silu(gate) * up, silu(v) = v / (1 + exp(-v)); out may be gate or up. */
    void (*swiglu)(float *out, const float *gate, const float *up, int n);
    /* out = sigmoid(gate) * x; out may be gate or x. */
    void (*open_gate)(float *out, const float *gate, const float *x, int n);
    /* y += a * x */
    void (*add_scaled)(float *y, const float *x, float a, int n);
    void (*attend)(const umbra_attend *a);
    /* The positions of `to` and behind them those of `part`, together: mixed (value_dim), most and
     * sum of `to`. */
    void (*join)(umbra_attend_row *to, const umbra_attend_row *part, int value_dim);
    void (*recur)(const umbra_recur *r);
    void (*convolve)(const umbra_causal *c);
    /* Rounds n floats to the cache format (kv_bytes each): nearest even; too large is infinity. */
    void (*store_kv)(void *out, const float *x, int n);
    /* log(sum(exp(x))), summed in double. */
    double (*log_sum_exp)(const float *x, int n);

    const struct umbra_predict_kernels *predict; /* predict.h: predictions by a shadow model */
} umbra_kernels;

/* The table of that name, or the best one this CPU runs for "auto" or NULL. NULL if the name is
 * unknown or the CPU (or the build) lacks it. Static storage; thread-safe. */
const umbra_kernels *umbra_kernels_find(const char *name);

/* Names of the tables this CPU runs, best first, reference last; NULL past the end. */
const char *umbra_kernels_name(int index);

#endif
