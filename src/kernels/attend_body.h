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

enum {
    BLOCK = UMBRA_ATTEND_BLOCK,
    COLUMNS = 64, /* values of an only row that are mixed together */
    VECTORS = 2,
    PANEL = VECTORS * LANES,
    PANELS = BLOCK / PANEL, /* most that go through together */
};

/* The block expanded. */
typedef struct block {
    float *keys;   /* (BLOCK / PANEL, head_dim, PANEL) */
    float *values; /* (width / PANEL, BLOCK, PANEL) */
    float *scores; /* (rows, BLOCK) */
    int end;       /* positions [attend.first, end) of the block are there */
} block;

/* Panels of a product's right side, `stride` floats apart; n rows of each. */
typedef struct right_side {
    const float *panel;
    size_t stride;
    int n;
} right_side;

/* out[r][0 .. panels * PANEL) = factor * sum over i below n of a[r][i] * row i of the panels, which
 * goes on from what out holds where `resumed`. */
UMBRA_INLINE void multiply_tile(const float *const *a, const right_side *b, float factor,
                                float *const *out, bool resumed, const int rows, const int panels)
{
    vec sum[ROWS][VECTORS * PANELS];
    UMBRA_UNROLL(8)
    for (int r = 0; r < rows; r++) {
        UMBRA_UNROLL(8)
        for (int v = 0; v < panels * VECTORS; v++) {
            sum[r][v] = resumed ? vec_load(out[r] + v * LANES) : vec_zero();
        }
    }
    const float *at = b->panel;
    for (int i = 0; i < b->n; i++, at += PANEL) {
        vec column[VECTORS * PANELS];
        UMBRA_UNROLL(8)
        for (int v = 0; v < panels * VECTORS; v++) {
            column[v] =
                vec_load(at + (size_t)(v / VECTORS) * b->stride + (size_t)(v % VECTORS * LANES));
            vec_keep(column[v]);
        }
        UMBRA_UNROLL(8)
        for (int r = 0; r < rows; r++) {
            vec value = vec_broadcast(a[r] + i);
            UMBRA_UNROLL(8)
            for (int v = 0; v < panels * VECTORS; v++) {
                sum[r][v] = vec_fma(value, column[v], sum[r][v]);
            }
        }
    }
    UMBRA_UNROLL(8)
    for (int r = 0; r < rows; r++) {
        UMBRA_UNROLL(8)
        for (int v = 0; v < panels * VECTORS; v++) {
            vec_store(out[r] + v * LANES, vec_mul(vec_set(factor), sum[r][v]));
        }
    }
}

/* The same for 1, 2, 4 or ROWS rows and any number of panels. The fewer the rows, the more panels
 * go through together, so that additions do not wait for each other. */
static void multiply_rows(const float *const *a, const right_side *b, int panels, float factor,
                          float *const *out, bool resumed, int rows)
{
    int together = rows == 1 ? PANELS : rows == 2 ? 2 : 1;
    for (int p = 0; p < panels;) {
        int n = p + together <= panels ? together : 1;
        right_side at = {b->panel + (size_t)p * b->stride, b->stride, b->n};
        float *to[ROWS];
        for (int r = 0; r < rows; r++) {
            to[r] = out[r] + (size_t)p * PANEL;
        }
        if (rows == ROWS) {
            multiply_tile(a, &at, factor, to, resumed, ROWS, 1);
        } else if (rows == 4) {
            multiply_tile(a, &at, factor, to, resumed, 4, 1);
        } else if (rows == 2 && n == 2) {
            multiply_tile(a, &at, factor, to, resumed, 2, 2);
        } else if (rows == 2) {
            multiply_tile(a, &at, factor, to, resumed, 2, 1);
        } else if (n == PANELS) {
            multiply_tile(a, &at, factor, to, resumed, 1, PANELS);
        } else {
            multiply_tile(a, &at, factor, to, resumed, 1, 1);
        }
        p += n;
    }
}

/* The same for up to ROWS rows. */
static void multiply(const float *const *a, const right_side *b, int panels, float factor,
                     float *const *out, bool resumed, int rows)
{
    for (int r = 0, n; r < rows; r += n) {
        int left = rows - r;
        n = left == ROWS ? ROWS : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        multiply_rows(a + r, b, panels, factor, out + r, resumed, n);
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

/* The first n values of a panel's row, and zeros behind them. */
UMBRA_INLINE void expand_row(float *out, const uint8_t *halves, int n)
{
    int i = 0;
    for (; i + GROUP <= n; i += GROUP) {
        expand_group(out + i, halves + 2 * i);
    }
    for (; i < PANEL; i++) {
        out[i] = i < n ? f16_value(umbra_load_u16(halves + 2 * i)) : 0;
    }
}

static void expand_values(const umbra_attend *a, const block *b)
{
    const uint8_t *value[BLOCK];
    find_positions(a, b, true, value);
    for (int column = 0; column < a->value_dim; column += PANEL) {
        float *panel = b->values + (size_t)column * BLOCK;
        int n = a->value_dim - column;
        for (int j = a->first; j < b->end; j++) {
            const uint8_t *halves = value[j] + 2 * (size_t)column;
            if (n >= PANEL) {
                expand_row(panel + (size_t)j * PANEL, halves, PANEL);
            } else {
                expand_row(panel + (size_t)j * PANEL, halves, n);
            }
        }
    }
}

/* scores[r][j] of rows r .. r + n and `panels` panels of keys, whether a row sees them or not. */
static void score_tile(const umbra_attend *a, const block *b, int panel, int panels, int r, int n)
{
    size_t stride = (size_t)a->head_dim * PANEL;
    right_side keys = {b->keys + (size_t)panel * stride, stride, a->head_dim};
    const float *q[ROWS];
    float *out[ROWS];
    for (int i = 0; i < n; i++) {
        q[i] = a->rows[r + i].q;
        out[i] = b->scores + (size_t)(r + i) * BLOCK + (size_t)panel * PANEL;
    }
    multiply(q, &keys, panels, a->scale, out, false, n);
}

/* Values of positions [from, to), weighed. */
static void mix_rows(const block *b, int column, int panels, const float *const *scores,
                     float *const *out, int from, int to, bool resumed, int rows)
{
    const float *weights[ROWS];
    size_t at = (size_t)column * BLOCK + (size_t)from * PANEL;
    right_side values = {b->values + at, (size_t)BLOCK * PANEL, to - from};
    for (int r = 0; r < rows; r++) {
        weights[r] = scores[r] + from;
    }
    if (from < to || !resumed) {
        multiply(weights, &values, panels, 1, out, resumed, rows);
    }
}

/* Rows r .. r + n, and the panels of values that begin with a column. What all rows see goes
 * through together; in front of it and behind are positions that only some do, at the edges of what
 * a chunk sees. */
static void mix_tile(const umbra_attend *a, const block *b, int column, int panels, int r, int n)
{
    const umbra_attend_row *rows = a->rows + r;
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
    const float *weights[ROWS];
    float *out[ROWS];
    for (int i = 0; i < n; i++) {
        weights[i] = b->scores + (size_t)(r + i) * BLOCK;
        out[i] = rows[i].mixed + column;
    }
    for (int i = 0; !alike && i < n; i++) {
        int end = umbra_min_int(from, rows[i].to);
        mix_rows(b, column, panels, &weights[i], &out[i], rows[i].from, end, false, 1);
    }
    if (from < to) {
        mix_rows(b, column, panels, weights, out, from, to, !alike, n);
    }
    for (int i = 0; !alike && i < n; i++) {
        mix_rows(b, column, panels, &weights[i], &out[i], to, rows[i].to, true, 1);
    }
}

typedef void (*tile_fn)(const umbra_attend *a, const block *b, int first, int panels, int r, int n);

/* Whole tiles panel by panel, which stays in the first-level cache; the rest of the rows with all
 * panels at once. unit: columns that the tile's `first` counts. */
UMBRA_INLINE void walk_tiles(const umbra_attend *a, const block *b, int first, int panels, int unit,
                             tile_fn tile)
{
    int whole = a->n_rows / ROWS * ROWS;
    for (int p = 0; p < panels; p++) {
        for (int r = 0; r < whole; r += ROWS) {
            tile(a, b, (first + p) * unit, 1, r, ROWS);
        }
    }
    if (whole < a->n_rows) {
        tile(a, b, first * unit, panels, whole, a->n_rows - whole);
    }
}

/* Values [i, i + n) of all positions' keys, n at most GROUP: out (n, BLOCK). */
UMBRA_INLINE void turn_keys(float *out, const uint8_t *const *key, int i, int n)
{
    if (n == GROUP) {
        for (int j = 0; j < BLOCK; j += GROUP) {
            turn_group(key + j, 2 * (size_t)i, out + j, BLOCK);
        }
        return;
    }
    for (int k = 0; k < n; k++) {
        for (int j = 0; j < BLOCK; j++) {
            out[k * BLOCK + j] = f16_value(umbra_load_u16(key[j] + 2 * (i + k)));
        }
    }
}

/* As score_tile, of the only row: its keys are turned a few values at a time, which stay in the
 * first-level cache; the block as a whole would not. */
static void score_one(const umbra_attend *a, const block *b)
{
    enum { ALL = BLOCK / LANES };
    const uint8_t *key[BLOCK];
    const float *q = a->rows->q;
    float turned[GROUP * BLOCK];
    vec sum[ALL];
    find_positions(a, b, false, key);
    UMBRA_UNROLL(16)
    for (int v = 0; v < ALL; v++) {
        sum[v] = vec_zero();
    }
    for (int i = 0, n; i < a->head_dim; i += n) {
        n = umbra_min_int(GROUP, a->head_dim - i);
        turn_keys(turned, key, i, n);
        for (int k = 0; k < n; k++) {
            vec value = vec_broadcast(q + i + k);
            UMBRA_UNROLL(16)
            for (int v = 0; v < ALL; v++) {
                sum[v] = vec_fma(value, vec_load(turned + k * BLOCK + v * LANES), sum[v]);
            }
        }
    }
    UMBRA_UNROLL(16)
    for (int v = 0; v < ALL; v++) {
        vec_store(b->scores + v * LANES, vec_mul(vec_set(a->scale), sum[v]));
    }
}

/* As mix_tile, of the only row, COLUMNS values of it from `column` on or, at the end, n. */
UMBRA_INLINE void mix_columns(const umbra_attend *a, const block *b, const uint8_t *const *value,
                              int column, int n)
{
    enum { ALL = COLUMNS / LANES };
    const umbra_attend_row *row = a->rows;
    float expanded[COLUMNS] = {0};
    vec sum[ALL];
    UMBRA_UNROLL(16)
    for (int v = 0; v < ALL; v++) {
        sum[v] = vec_zero();
    }
    for (int j = row->from; j < row->to; j++) {
        const uint8_t *halves = value[j] + 2 * (size_t)column;
        int i = 0;
        UMBRA_UNROLL(16)
        for (; i + GROUP <= n; i += GROUP) {
            expand_group(expanded + i, halves + 2 * i);
        }
        for (; i < n; i++) {
            expanded[i] = f16_value(umbra_load_u16(halves + 2 * i));
        }
        vec weight = vec_broadcast(b->scores + j);
        UMBRA_UNROLL(16)
        for (int v = 0; v < ALL; v++) {
            sum[v] = vec_fma(weight, vec_load(expanded + v * LANES), sum[v]);
        }
    }
    float *out = row->mixed + column;
    UMBRA_UNROLL(16)
    for (int v = 0; v < ALL; v++) {
        vec_store(expanded + v * LANES, sum[v]);
    }
    memcpy(out, expanded, (size_t)n * sizeof *out);
}

static void mix_one(const umbra_attend *a, const block *b)
{
    const uint8_t *value[BLOCK];
    int column = 0;
    find_positions(a, b, true, value);
    for (; column + COLUMNS <= a->value_dim; column += COLUMNS) {
        mix_columns(a, b, value, column, COLUMNS);
    }
    if (column < a->value_dim) {
        mix_columns(a, b, value, column, a->value_dim - column);
    }
}

static void weigh_row(const block *b, umbra_attend_row *row, int r)
{
    row->sum = weigh(b->scores + (size_t)r * BLOCK + row->from, row->to - row->from, &row->most);
}

static void attend(const umbra_attend *a)
{
    block b = {.keys = a->scratch, .end = a->first};
    b.values = b.keys + (size_t)a->head_dim * BLOCK;
    b.scores = b.values + umbra_attend_width(a->value_dim) * BLOCK;
    for (int r = 0; r < a->n_runs; r++) {
        b.end += a->runs[r].positions;
    }
    if (a->n_rows == 1) {
        score_one(a, &b);
        weigh_row(&b, a->rows, 0);
        mix_one(a, &b);
        return;
    }
    expand_keys(a, &b);
    int panel = a->first / PANEL;
    walk_tiles(a, &b, panel, (b.end + PANEL - 1) / PANEL - panel, 1, score_tile);
    for (int r = 0; r < a->n_rows; r++) {
        weigh_row(&b, &a->rows[r], r);
    }
    expand_values(a, &b);
    walk_tiles(a, &b, 0, (a->value_dim + PANEL - 1) / PANEL, PANEL, mix_tile);
}

#endif
