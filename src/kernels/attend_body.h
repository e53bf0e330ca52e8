/* Attention of several rows over a block of f16 keys and values. An instruction set's file includes
 * this once it has defined
 *
 *   LANES        floats in a vector
 *   ROWS         rows of a tile, a power of 2
 *   vec          a vector; vec_zero, vec_set, vec_broadcast (of the float at p), vec_load,
 * vec_store vec_fma      a * b + c, rounded once; vec_mul GROUP        halves that are expanded at
 * a time expand_group GROUP halves from any address, as GROUP floats turn_group   GROUP halves from
 * each of GROUP addresses and `offset` bytes on: the i-th of all as row i, rows `stride` floats
 * apart f16_value    one half as a float weigh        of the table: exp(x - most) and their sum
 *
 * Both products of attention, of queries with keys and of weights with values, run over one form:
 * panels of PANEL columns (positions, or values of a row) whose rows lie one behind the other. So
 * every key and value is expanded once for all rows, and each element of a product is one chain of
 * additions, in the order of the values of a key or of positions, whatever the tile's shape. */
#ifndef UMBRA_KERNELS_ATTEND_BODY_H
#define UMBRA_KERNELS_ATTEND_BODY_H

#include <string.h>

enum { VECTORS = 2, PANEL = VECTORS * LANES, BLOCK = UMBRA_ATTEND_BLOCK };

/* The block expanded. */
typedef struct block {
    float *keys;   /* (BLOCK / PANEL, head_dim, PANEL) */
    float *values; /* (width / PANEL, BLOCK, PANEL) */
    float *scores; /* (rows, BLOCK) */
    int end;       /* positions [attend.first, end) of the block are there */
} block;

/* out[r][0 .. PANEL) = factor * sum over i below n of a[r][i] * panel[i], which goes on from what
 * out holds where `resumed`. */
UMBRA_INLINE void multiply_tile(const float *const *a, const float *panel, int n, float factor,
                                float *const *out, bool resumed, const int rows)
{
    vec sum[ROWS][VECTORS];
    for (int r = 0; r < rows; r++) {
        for (int v = 0; v < VECTORS; v++) {
            sum[r][v] = resumed ? vec_load(out[r] + v * LANES) : vec_zero();
        }
    }
    for (int i = 0; i < n; i++, panel += PANEL) {
        vec column[VECTORS];
        for (int v = 0; v < VECTORS; v++) {
            column[v] = vec_load(panel + v * LANES);
        }
        for (int r = 0; r < rows; r++) {
            vec value = vec_broadcast(a[r] + i);
            for (int v = 0; v < VECTORS; v++) {
                sum[r][v] = vec_fma(value, column[v], sum[r][v]);
            }
        }
    }
    for (int r = 0; r < rows; r++) {
        for (int v = 0; v < VECTORS; v++) {
            vec_store(out[r] + v * LANES, vec_mul(vec_set(factor), sum[r][v]));
        }
    }
}

/* The same for any number of rows up to ROWS. */
static void multiply(const float *const *a, const float *panel, int n, float factor,
                     float *const *out, bool resumed, int rows)
{
    if (rows == ROWS) {
        multiply_tile(a, panel, n, factor, out, resumed, ROWS);
        return;
    }
    int r = 0;
    for (; r + 4 <= rows; r += 4) {
        multiply_tile(a + r, panel, n, factor, out + r, resumed, 4);
    }
    for (; r + 2 <= rows; r += 2) {
        multiply_tile(a + r, panel, n, factor, out + r, resumed, 2);
    }
    if (r < rows) {
        multiply_tile(a + r, panel, n, factor, out + r, resumed, 1);
    }
}

/* Where the keys, or values, of the block's positions lie; positions that no run has look like
 * their neighbours. */
static void find_positions(const umbra_attend *a, const block *b, bool values, const uint8_t **at)
{
    size_t bytes = 2 * (size_t)(values ? a->value_stride : a->head_dim);
    int position = a->first;
    for (int r = 0; r < a->n_runs; r++) {
        const uint8_t *p = values ? a->runs[r].v : a->runs[r].k;
        for (int j = 0; j < a->runs[r].positions; j++, p += bytes) {
            at[position++] = p;
        }
    }
    for (int j = 0; j < BLOCK; j++) {
        at[j] = at[j < a->first ? a->first : j < b->end ? j : b->end - 1];
    }
}

static void expand_keys(const umbra_attend *a, const block *b)
{
    const uint8_t *key[BLOCK];
    int n = a->head_dim, whole = n / GROUP * GROUP;
    find_positions(a, b, false, key);
    for (int j = a->first / GROUP * GROUP; j < b->end; j += GROUP) {
        float *out = b->keys + (size_t)(j / PANEL * n) * PANEL + j % PANEL;
        for (int i = 0; i < whole; i += GROUP) {
            turn_group(key + j, 2 * (size_t)i, out + (size_t)i * PANEL, PANEL);
        }
        for (int i = whole; i < n; i++) {
            for (int k = 0; k < GROUP; k++) {
                out[(size_t)i * PANEL + (size_t)k] = f16_value(umbra_load_u16(key[j + k] + 2 * i));
            }
        }
    }
}

static void expand_values(const umbra_attend *a, const block *b)
{
    const uint8_t *value[BLOCK];
    int n = a->value_dim, whole = n / GROUP * GROUP;
    find_positions(a, b, true, value);
    for (int j = a->first; j < b->end; j++) {
        float *out = b->values + (size_t)j * PANEL;
        for (int i = 0; i < whole; i += GROUP) {
            expand_group(out + (size_t)(i / PANEL) * BLOCK * PANEL + i % PANEL, value[j] + 2 * i);
        }
        for (int i = whole; i < n; i++) {
            out[(size_t)(i / PANEL) * BLOCK * PANEL + (size_t)(i % PANEL)] =
                f16_value(umbra_load_u16(value[j] + 2 * i));
        }
        for (int i = n; i % PANEL != 0; i++) {
            out[(size_t)(i / PANEL) * BLOCK * PANEL + (size_t)(i % PANEL)] = 0;
        }
    }
}

/* scores[r][j] of all positions that are there, whether the row sees them or not. */
static void score_rows(const umbra_attend *a, const block *b)
{
    for (int p = a->first / PANEL; p * PANEL < b->end; p++) {
        const float *panel = b->keys + (size_t)(p * a->head_dim) * PANEL;
        for (int r = 0; r < a->n_rows; r += ROWS) {
            int n = umbra_min_int(ROWS, a->n_rows - r);
            const float *q[ROWS];
            float *out[ROWS];
            for (int i = 0; i < n; i++) {
                q[i] = a->rows[r + i].q;
                out[i] = b->scores + (size_t)(r + i) * BLOCK + (size_t)p * PANEL;
            }
            multiply(q, panel, a->head_dim, a->scale, out, false, n);
        }
    }
}

/* One row and panel of values over positions [from, to). */
static void mix_row(const float *scores, const float *panel, int from, int to, float *out,
                    bool resumed)
{
    const float *weights = scores + from;
    if (from < to || !resumed) {
        multiply(&weights, panel + (size_t)from * PANEL, to - from, 1, &out, resumed, 1);
    }
}

/* Rows r .. r + n and the panel of values that begins with a column. What all rows see goes through
 * together; in front of it and behind are positions that only some do, at the edges of what a chunk
 * sees. */
static void mix_tile(const umbra_attend *a, const block *b, int column, int r, int n)
{
    const umbra_attend_row *rows = a->rows + r;
    const float *panel = b->values + (size_t)column * BLOCK, *weights[ROWS];
    float *out[ROWS];
    int from = rows->from, to = rows->to;
    bool alike = true;
    for (int i = 1; i < n; i++) {
        alike = alike && rows[i].from == rows->from && rows[i].to == rows->to;
        from = rows[i].from > from ? rows[i].from : from;
        to = umbra_min_int(to, rows[i].to);
    }
    if (from >= to) {
        from = to = BLOCK; /* nothing is common: all is in front */
    }
    for (int i = 0; i < n; i++) {
        const float *scores = b->scores + (size_t)(r + i) * BLOCK;
        weights[i] = scores + from;
        out[i] = rows[i].mixed + column;
        if (!alike) {
            mix_row(scores, panel, rows[i].from, umbra_min_int(from, rows[i].to), out[i], false);
        }
    }
    if (from < to) {
        multiply(weights, panel + (size_t)from * PANEL, to - from, 1, out, !alike, n);
    }
    for (int i = 0; !alike && i < n; i++) {
        mix_row(b->scores + (size_t)(r + i) * BLOCK, panel, to, rows[i].to, out[i], true);
    }
}

static void attend(const umbra_attend *a)
{
    block b = {.keys = a->scratch, .end = a->first};
    b.values = b.keys + (size_t)a->head_dim * BLOCK;
    b.scores = b.values + umbra_attend_width(a->value_dim) * BLOCK;
    for (int r = 0; r < a->n_runs; r++) {
        b.end += a->runs[r].positions;
    }
    expand_keys(a, &b);
    score_rows(a, &b);
    for (int r = 0; r < a->n_rows; r++) {
        umbra_attend_row *row = &a->rows[r];
        row->sum = weigh(b.scores + (size_t)r * BLOCK + row->from, row->to - row->from, &row->most);
    }
    expand_values(a, &b);
    for (int column = 0; column < a->value_dim; column += PANEL) {
        for (int r = 0; r < a->n_rows; r += ROWS) {
            mix_tile(a, &b, column, r, umbra_min_int(ROWS, a->n_rows - r));
        }
    }
}

#endif
