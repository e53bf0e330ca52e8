/* The kernels of predictions, against the scalar ones: the same bits, on random and on extreme
 * inputs; and those against plain sums. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "check.h"
#include "kernels/predict.h"

enum { COLUMNS = 2048, ROWS = 12, INPUTS = 3, ROUNDS = 60 };

static const char *isa; /* the table under test */

static void *array(size_t n, size_t size)
{
    return memset(umbra_check_alloc(n * size, 0), 0, n * size);
}

static void expect_same(const void *a, const void *b, size_t bytes, const char *what, int round)
{
    umbra_check(memcmp(a, b, bytes) == 0, "%s: %s differs from scalar in round %d", isa, what,
                round);
}

static float random_value(umbra_random *r, int round)
{
    float x = (float)umbra_random_normal(r);
    switch (round % 6) {
    case 1: /* few values far above the rest */
        return umbra_random_below(r, 700) == 0 ? x * 1000.0f : x;
    case 2:
        return umbra_random_below(r, 3) == 0 ? 0.0f : x * 1e-3f;
    case 3: /* ties of the rounding */
        return rintf(x * 20.0f) * 0.5f;
    case 4:
        return umbra_random_below(r, 200) == 0 ? (x > 1.0f ? NAN : x > 0.0f ? INFINITY : 1e38f) : x;
    case 5:
        return ldexpf(x, (int)umbra_random_below(r, 270) - 145);
    default:
        return x;
    }
}

static void check_vectors(const umbra_predict_kernels *a, const umbra_predict_kernels *b,
                          umbra_random *r, int round)
{
    static float x[COLUMNS], gain[COLUMNS], shift[COLUMNS], y[2][COLUMNS];
    int n = 1 + (int)umbra_random_below(r, COLUMNS);
    for (int i = 0; i < n; i++) {
        x[i] = random_value(r, round);
        gain[i] = random_value(r, 0);
        shift[i] = random_value(r, 0);
    }
    size_t bytes = (size_t)n * sizeof *x;
    a->normalise(x, n, y[0]);
    b->normalise(x, n, y[1]);
    if (round % 6 != 4) { /* which NaN it is may differ */
        expect_same(y[0], y[1], bytes, "normalise", round);
        a->activate(x, gain, shift, n, y[0]);
        b->activate(x, gain, shift, n, y[1]);
        expect_same(y[0], y[1], bytes, "activate", round);
    }
    for (int kl = 0; kl < 2; kl++) {
        a->calibrate(x, n, kl, 1.5f, -0.3f, y[0]);
        b->calibrate(x, n, kl, 1.5f, -0.3f, y[1]);
        expect_same(y[0], y[1], bytes, "calibrate", round);
    }
    for (int m = 1; m <= 16; m += 5) {
        float floor[2] = {a->floor(x, n, m), b->floor(x, n, m)};
        int reach = 0, numbers = 0;
        for (int i = 0; i < n; i++) {
            reach += x[i] >= floor[0];
            numbers += !isnan(x[i]);
        }
        expect_same(&floor[0], &floor[1], sizeof floor[0], "floor", round);
        umbra_check(reach >= (m < numbers ? m : numbers),
                    "%s: floor: only %d of %d reach it in round %d", isa, reach, m, round);
    }
    static uint8_t row[COLUMNS * 4] __attribute__((aligned(64)));
    for (int form = 0; form < 3; form++) {
        int padded = (n + 15) / 16 * 16;
        for (size_t i = 0; i < sizeof row; i++)
            row[i] = (uint8_t)umbra_random_below(r, 127);
        memset(y, 0, sizeof y);
        for (int k = 0; k < 3; k++) {
            a->add[form](y[0], row, 0.37f, padded);
            b->add[form](y[1], row, 0.37f, padded);
        }
        expect_same(y[0], y[1], sizeof y[0], "add", round);
    }
}

typedef struct buffers {
    umbra_fast_inputs x[2];
    uint8_t *weights;
    float scale[ROWS];
    int32_t sum[ROWS];
} buffers;

static void buffers_init(buffers *b)
{
    size_t n = (size_t)INPUTS * COLUMNS;
    for (int k = 0; k < 2; k++) {
        umbra_fast_inputs *x = &b->x[k];
        x->stride = COLUMNS;
        x->f32 = array(n, sizeof *x->f32);
        x->u = array(n, sizeof *x->u);
        x->scale = array(INPUTS, sizeof *x->scale);
        x->q = array(n, sizeof *x->q);
        x->wide = array(n / UMBRA_FAST_BLOCK, sizeof *x->wide);
        x->widest = array(INPUTS, sizeof *x->widest);
    }
    b->weights = array((size_t)ROWS * COLUMNS, 4);
}

static void fill_weights(buffers *b, umbra_random *r, int form, int round)
{
    size_t n = (size_t)ROWS * COLUMNS;
    bool extreme = round % 7 == 3; /* the largest sums there can be */
    for (size_t i = 0; i < n; i++) {
        float x = (float)umbra_random_normal(r);
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        if (form == UMBRA_PREDICT_F32)
            memcpy(b->weights + i * 4, &x, 4);
        else if (form == UMBRA_PREDICT_BF16)
            ((uint16_t *)b->weights)[i] = (uint16_t)(bits >> 16);
        else
            b->weights[i] =
                (uint8_t)(extreme ? i & 1 ? -127 : 127 : (int)umbra_random_below(r, 255) - 127);
    }
    for (int i = 0; i < ROWS; i++)
        b->scale[i] = (float)umbra_random_unit(r);
}

/* The sums that belong to I8 weights of so many steps. */
static void fill_sums(buffers *b, int steps)
{
    memset(b->sum, 0, sizeof b->sum);
    for (int row = 0; row < ROWS; row++)
        for (int s = 0; s < steps; s++)
            for (int c = 0; c < 64; c++)
                b->sum[row] +=
                    64 * (int8_t)b->weights[(row / 4 * steps + s) * 256 + row % 4 * 64 + c];
}

static void check_products(const umbra_predict_kernels *a, const umbra_predict_kernels *b,
                           umbra_random *r, buffers *w, int round)
{
    size_t n = (size_t)INPUTS * COLUMNS;
    for (size_t i = 0; i < n; i++)
        w->x[0].f32[i] = round % 7 == 3 ? (i & 1 ? -1.0f : 1.0f) : random_value(r, round);
    memcpy(w->x[1].f32, w->x[0].f32, n * sizeof(float));
    for (int k = 0; k < 2; k++) /* of narrow blocks it says nothing */
        memset(w->x[k].q, 0, n * sizeof(int16_t));
    for (int i = 0; i < INPUTS; i++) {
        a->quantise(&w->x[0], i);
        b->quantise(&w->x[1], i);
    }
    size_t blocks = n / UMBRA_FAST_BLOCK;
    expect_same(w->x[0].u, w->x[1].u, n, "quantise: u", round);
    expect_same(w->x[0].scale, w->x[1].scale, INPUTS * 4, "quantise: scale", round);
    expect_same(w->x[0].q, w->x[1].q, n * 2, "quantise: q", round);
    expect_same(w->x[0].wide, w->x[1].wide, blocks * 4, "quantise: wide", round);
    expect_same(w->x[0].widest, w->x[1].widest, INPUTS * 4, "quantise: widest", round);
    for (int form = 0; form < 3; form++) {
        static float y[2][INPUTS][ROWS];
        int most = COLUMNS *
                   (form == UMBRA_PREDICT_F32    ? 4
                    : form == UMBRA_PREDICT_BF16 ? 2
                                                 : 1) /
                   64;
        umbra_fast_matrix m = {.data = w->weights,
                               .scale = form == UMBRA_PREDICT_I8 ? w->scale : NULL,
                               .sum = form == UMBRA_PREDICT_I8 ? w->sum : NULL,
                               .steps = 1 + (int)umbra_random_below(r, (uint64_t)most)};
        if (form != UMBRA_PREDICT_I8 && round % 6 == 4) /* which NaN it is may differ */
            continue;
        fill_weights(w, r, form, round);
        fill_sums(w, form == UMBRA_PREDICT_I8 ? m.steps : 0);
        memset(y, 0, sizeof y);
        a->product[form](&m, ROWS, &w->x[0], INPUTS, 0.7f, y[0][0], ROWS);
        b->product[form](&m, ROWS, &w->x[1], INPUTS, 0.7f, y[1][0], ROWS);
        expect_same(y[0], y[1], sizeof y[0], "product", round * 10 + form);
    }
}

/* The sum of a product written as plainly as can be, in 64 bits. */
static void check_scalar_sums(const umbra_predict_kernels *k, umbra_random *r, buffers *w)
{
    for (int round = 0; round < ROUNDS; round++) {
        umbra_fast_inputs *x = &w->x[0];
        umbra_fast_matrix m = {
            .data = w->weights, .scale = w->scale, .sum = w->sum, .steps = COLUMNS / 64};
        float y[4] = {0};
        for (size_t i = 0; i < COLUMNS; i++)
            x->f32[i] = random_value(r, round % 3);
        fill_weights(w, r, UMBRA_PREDICT_I8, round);
        fill_sums(w, m.steps);
        k->quantise(x, 0);
        k->product[UMBRA_PREDICT_I8](&m, 4, x, 1, 1.0f, y, 4);
        for (size_t row = 0; row < 4; row++) {
            double sum = 0.0, size = 0.0;
            for (size_t c = 0; c < COLUMNS; c++) {
                float own = x->wide[c / UMBRA_FAST_BLOCK];
                int8_t weight = (int8_t)w->weights[c / 64 * 256 + row * 64 + c % 64];
                double input =
                    own > 0.0f ? (double)own * x->q[c] : (double)x->scale[0] * (x->u[c] - 64);
                double value = input * weight;
                sum += value;
                size += fabs(value);
            }
            sum *= (double)w->scale[row];
            umbra_check(fabs(sum - (double)y[row]) <= 1e-6 * size,
                        "scalar: row %zu of round %d is %g, not %g", row, round, (double)y[row],
                        sum);
        }
    }
}

void umbra_check_predict(const umbra_kernels *k)
{
    const umbra_predict_kernels *scalar = umbra_kernels_find("scalar")->predict;
    umbra_random random;
    buffers w;
    isa = k->name;
    umbra_random_seed(&random, 1);
    buffers_init(&w);
    if (k->predict == scalar)
        check_scalar_sums(scalar, &random, &w);
    for (int round = 0; k->predict != scalar && round < ROUNDS; round++) {
        check_vectors(scalar, k->predict, &random, round);
        check_products(scalar, k->predict, &random, &w, round);
    }
    umbra_check_release();
}
