/* Matrix products: each table against scalar, scalar against the reference within the rounding of
 * q16, the reference against a plain loop in double; batch invariance bit for bit. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { TOKENS_MAX = 9, ROWS_MAX = 19, STRIDE_GAP = 3 };

typedef struct problem {
    umbra_dtype type;
    int rows, columns, tokens;
    umbra_matmul m;
    umbra_activations x;
    float *expanded; /* (rows, columns) weights as floats */
    float *offsets;  /* (rows, columns) their offsets alone, zeros for types without */
    int32_t *gather;
} problem;

static bool is_float(umbra_dtype type)
{
    return umbra_dtype_get(type).block_values == 1;
}

static float *expand(umbra_dtype type, const uint8_t *weights, int rows, int columns)
{
    const umbra_kernels *scalar = umbra_kernels_find("scalar");
    size_t row_bytes = umbra_dtype_row_bytes(umbra_dtype_get(type), (uint64_t)columns);
    float *out = umbra_check_alloc((size_t)rows * (size_t)columns * sizeof(float), 0);
    for (int r = 0; r < rows; r++) {
        scalar->dequantize[type](out + (size_t)r * (size_t)columns, weights + (size_t)r * row_bytes,
                                 columns);
    }
    return out;
}

static float *expand_offsets(umbra_dtype type, const uint8_t *weights, int rows, int columns)
{
    umbra_dtype_info info = umbra_dtype_get(type);
    size_t values = (size_t)rows * (size_t)columns;
    size_t bytes = umbra_dtype_row_bytes(info, values);
    uint8_t *copy = umbra_check_alloc(bytes, 0);
    memcpy(copy, weights, bytes);
    return umbra_check_clear_values(type, copy, bytes / info.block_bytes)
               ? expand(type, copy, rows, columns)
               : umbra_check_alloc(values * sizeof(float), 0);
}

static problem make_problem(const umbra_kernels *k, umbra_dtype type, int rows, int columns,
                            int tokens, check_pattern pattern, bool extreme)
{
    size_t shift = umbra_check_random() % 4;
    problem p = {.type = type, .rows = rows, .columns = columns, .tokens = tokens};
    p.x = umbra_check_activations(k, TOKENS_MAX, columns, pattern, shift % 2);
    p.gather = umbra_check_alloc(TOKENS_MAX * sizeof *p.gather, 0);
    for (int i = 0; i < TOKENS_MAX; i++) {
        p.gather[i] = (int32_t)(umbra_check_random() % TOKENS_MAX);
    }
    p.m = (umbra_matmul){
        .weights = umbra_check_weights(type, rows, columns, extreme, shift),
        .row_bytes = umbra_dtype_row_bytes(umbra_dtype_get(type), (uint64_t)columns),
        .gather = shift >= 2 ? p.gather : NULL,
        .tokens = tokens,
        .out_stride = (uint64_t)rows + STRIDE_GAP,
    };
    p.m.out = umbra_check_alloc((size_t)p.m.out_stride * TOKENS_MAX * sizeof(float), 0);
    p.expanded = expand(type, p.m.weights, rows, columns);
    p.offsets = expand_offsets(type, p.m.weights, rows, columns);
    return p;
}

static int token_of(const problem *p, int i)
{
    return p->m.gather ? p->m.gather[i] : i;
}

/* Runs rows [begin, end) into a fresh output that is otherwise full of a marker. */
static float *run(const problem *p, const umbra_kernels *k, int begin, int end)
{
    size_t floats = (size_t)p->m.out_stride * TOKENS_MAX;
    umbra_matmul m = p->m;
    m.x = &p->x;
    m.out = umbra_check_alloc(floats * sizeof(float), 0);
    memset(m.out, 0xa5, floats * sizeof(float));
    k->matmul[p->type](&m, begin, end);
    return m.out;
}

static bool is_marker(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits == 0xa5a5a5a5u;
}

typedef struct truth {
    double value;     /* sum of w x */
    double magnitude; /* sum of |w x|, where w's scaled integer and offset may cancel: of both */
    double q16_error; /* bound of what rounding x to q16 changes */
} truth;

static truth truth_of(const problem *p, int row, int i)
{
    const float *w = p->expanded + (size_t)row * (size_t)p->columns;
    const float *offset = p->offsets + (size_t)row * (size_t)p->columns;
    size_t first = (size_t)token_of(p, i) * (size_t)p->columns;
    truth t = {0};
    for (int c = 0; c < p->columns; c++) {
        double product = (double)w[c] * p->x.f32[first + (size_t)c];
        t.value += product;
        t.magnitude += fabs(product) + 2 * fabs((double)offset[c] * p->x.f32[first + (size_t)c]);
        if (!is_float(p->type)) {
            double scale = p->x.scale[(first + (size_t)c) / UMBRA_Q16_BLOCK];
            double step = scale > 0 ? 0.51 * scale : fabs(p->x.f32[first + (size_t)c]);
            t.q16_error += fabs(w[c]) * step;
        }
    }
    return t;
}

static void check_values(const problem *p, const umbra_kernels *k, const char *what)
{
    const float *got = run(p, k, 0, p->rows);
    const float *scalar = run(p, umbra_kernels_find("scalar"), 0, p->rows);
    for (int i = 0; i < p->tokens; i++) {
        for (int r = 0; r < p->rows; r++) {
            size_t at = (size_t)i * p->m.out_stride + (size_t)r;
            truth t = truth_of(p, r, i);
            double rounding = 32 * (double)FLT_EPSILON * t.magnitude + 0x1p-140;
            double bound = k->exact ? 0.51 * (double)FLT_EPSILON * fabs(t.value) +
                                          1e-12 * t.magnitude + 0x1p-149
                                    : rounding + t.q16_error;
            umbra_check(fabs(got[at] - t.value) <= bound,
                        "%s matmul %s: row %d token %d is %.9g, should be %.9g within %.3g", what,
                        umbra_dtype_get(p->type).name, r, i, (double)got[at], t.value, bound);
            if (!k->exact) {
                umbra_check(fabs((double)got[at] - scalar[at]) <= rounding,
                            "%s matmul %s: row %d token %d is %.9g, scalar %.9g", what,
                            umbra_dtype_get(p->type).name, r, i, (double)got[at],
                            (double)scalar[at]);
            }
        }
    }
}

/* Nothing outside of the asked rows and tokens is written. */
static void check_bounds(const problem *p, const umbra_kernels *k, int begin, int end)
{
    const float *got = run(p, k, begin, end);
    for (int i = 0; i < TOKENS_MAX; i++) {
        for (int r = 0; r < (int)p->m.out_stride; r++) {
            bool inside = i < p->tokens && r >= begin && r < end;
            umbra_check(is_marker(got[(size_t)i * p->m.out_stride + (size_t)r]) != inside,
                        "%s matmul %s: rows [%d, %d) of %d, tokens %d: output (%d, %d) was %s",
                        k->name, umbra_dtype_get(p->type).name, begin, end, p->rows, p->tokens, i,
                        r, inside ? "left out" : "overwritten");
        }
    }
}

static int columns_of(umbra_dtype type, int choice)
{
    static const int floats[] = {1, 7, 8, 9, 33, 100, 384};
    static const int blocks[] = {1, 2, 3, 4, 8, 12, 65};
    static const int long_blocks[] = {1, 2, 3, 1, 4, 5, 7};
    int values = (int)umbra_dtype_get(type).block_values;
    return values == 1    ? floats[choice]
           : values <= 32 ? blocks[choice] * values
                          : long_blocks[choice] * values;
}

void umbra_check_matmul(const umbra_kernels *k)
{
    static const int row_counts[] = {1, 2, 3, 4, 5, 7, ROWS_MAX};
    umbra_check_seed(2);
    for (int type = 0; type < CHECK_TYPES; type++) {
        for (int c = 0; c < 7; c++) {
            for (int tokens = 1; tokens <= TOKENS_MAX; tokens++) {
                check_pattern pattern = umbra_check_random() % CHECK_PATTERNS;
                bool extreme = umbra_check_random() % 2;
                int rows = row_counts[(c + tokens) % 7];
                umbra_dtype t = umbra_check_types[type];
                problem p = make_problem(k, t, rows, columns_of(t, c), tokens, pattern, extreme);
                check_values(&p, k, k->name);
                check_bounds(&p, k, rows / 3, rows);
                check_bounds(&p, k, rows / 2, rows / 2);
                umbra_check_release();
            }
        }
        for (check_pattern pattern = 0; pattern < CHECK_PATTERNS; pattern++) {
            umbra_dtype t = umbra_check_types[type];
            int columns = umbra_dtype_get(t).block_values > 32 ? 512 : 384;
            problem p = make_problem(k, t, 6, columns, 5, pattern, true);
            check_values(&p, k, umbra_check_pattern_name(pattern));
            umbra_check_release();
        }
    }
}

static void check_alone(const problem *p, const umbra_kernels *k, const float *whole)
{
    for (int i = 0; i < p->tokens; i++) {
        for (int r = 0; r < p->rows; r++) {
            float cell[ROWS_MAX + STRIDE_GAP];
            int32_t token = token_of(p, i);
            umbra_matmul m = p->m;
            m.x = &p->x;
            m.gather = &token;
            m.tokens = 1;
            m.out = cell;
            k->matmul[p->type](&m, r, r + 1);
            float alone = cell[r];
            const float *in_batch = &whole[(size_t)i * p->m.out_stride + (size_t)r];
            umbra_check(memcmp(&alone, in_batch, sizeof alone) == 0,
                        "%s matmul %s %dx%d: row %d token %d of %d: %.9g in the batch, %.9g alone",
                        k->name, umbra_dtype_get(p->type).name, p->rows, p->columns, r, i,
                        p->tokens, (double)*in_batch, (double)alone);
        }
    }
}

static void check_split(const problem *p, const umbra_kernels *k, const float *whole, int at)
{
    const float *front = run(p, k, 0, at), *back = run(p, k, at, p->rows);
    for (int i = 0; i < p->tokens; i++) {
        size_t first = (size_t)i * p->m.out_stride;
        bool same = memcmp(front + first, whole + first, (size_t)at * sizeof(float)) == 0 &&
                    memcmp(back + first + at, whole + first + at,
                           (size_t)(p->rows - at) * sizeof(float)) == 0;
        umbra_check(same, "%s matmul %s %dx%d, token %d of %d: split at row %d changes the result",
                    k->name, umbra_dtype_get(p->type).name, p->rows, p->columns, i, p->tokens, at);
    }
}

enum { MANY_TOKENS = 139, MANY_ROWS = 37 };

/* More tokens and rows than any kernel takes at once. */
static umbra_matmul make_many(umbra_dtype type, umbra_activations *x)
{
    int columns = columns_of(type, 4);
    *x = umbra_check_activations(umbra_kernels_find("scalar"), MANY_TOKENS, columns, CHECK_NORMAL,
                                 0);
    return (umbra_matmul){
        .weights = umbra_check_weights(type, MANY_ROWS, columns, false, 0),
        .row_bytes = umbra_dtype_row_bytes(umbra_dtype_get(type), (uint64_t)columns),
        .x = x,
        .tokens = MANY_TOKENS,
        .out = umbra_check_alloc(sizeof(float) * MANY_TOKENS * MANY_ROWS, 0),
        .out_stride = MANY_ROWS,
    };
}

/* Some of the pairs, alone. */
static void check_many(const umbra_kernels *k, umbra_dtype type)
{
    umbra_activations x;
    umbra_matmul m = make_many(type, &x);
    k->matmul[type](&m, 0, MANY_ROWS);
    for (int32_t token = 0; token < MANY_TOKENS; token += token % 8 ? 5 : 3) {
        float alone[MANY_ROWS];
        umbra_matmul one = m;
        one.gather = &token;
        one.tokens = 1;
        one.out = alone;
        k->matmul[type](&one, 0, MANY_ROWS);
        umbra_check(memcmp(alone, m.out + (size_t)token * MANY_ROWS, sizeof alone) == 0,
                    "%s matmul %s: token %d of %d differs from itself alone", k->name,
                    umbra_dtype_get(type).name, token, (int)MANY_TOKENS);
    }
    umbra_check_release();
}

static void check_same_many(const umbra_kernels *a, const umbra_kernels *b, umbra_dtype type)
{
    const size_t bytes = sizeof(float) * MANY_TOKENS * MANY_ROWS;
    umbra_activations x;
    umbra_matmul of_a = make_many(type, &x), of_b = of_a;
    of_b.out = umbra_check_alloc(bytes, 0);
    a->matmul[type](&of_a, 0, MANY_ROWS);
    b->matmul[type](&of_b, 0, MANY_ROWS);
    umbra_check(memcmp(of_a.out, of_b.out, bytes) == 0, "%s and %s differ in %s", a->name, b->name,
                umbra_dtype_get(type).name);
    umbra_check_release();
}

void umbra_check_same_products(const umbra_kernels *a, const umbra_kernels *b, bool floats)
{
    umbra_check_seed(4);
    for (int type = 0; type < CHECK_TYPES; type++) {
        umbra_dtype t = umbra_check_types[type];
        if (is_float(t) && !floats) {
            continue;
        }
        check_same_many(a, b, t);
        for (int c = 0; c < 7; c++) {
            problem p =
                make_problem(a, t, ROWS_MAX, columns_of(t, c), TOKENS_MAX, CHECK_NORMAL, c % 2);
            const size_t bytes = sizeof(float) * (size_t)p.m.out_stride * TOKENS_MAX;
            umbra_check(memcmp(run(&p, a, 0, p.rows), run(&p, b, 0, p.rows), bytes) == 0,
                        "%s and %s differ in %s, %d columns", a->name, b->name,
                        umbra_dtype_get(t).name, p.columns);
            umbra_check_release();
        }
    }
}

void umbra_check_invariance(const umbra_kernels *k)
{
    umbra_check_seed(3);
    for (int type = 0; type < CHECK_TYPES; type++) {
        for (int tokens = 1; tokens <= TOKENS_MAX; tokens++) {
            umbra_dtype t = umbra_check_types[type];
            problem p = make_problem(k, t, ROWS_MAX, columns_of(t, 3 + tokens % 3), tokens,
                                     CHECK_NORMAL, false);
            const float *whole = run(&p, k, 0, p.rows);
            check_alone(&p, k, whole);
            for (int at = 1; at < p.rows; at += 3) {
                check_split(&p, k, whole, at);
            }
            umbra_check_release();
        }
        check_many(k, umbra_check_types[type]);
    }
}
