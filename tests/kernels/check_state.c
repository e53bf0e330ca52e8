/* Recurrent states, and the convolutions in front of them, against the reference table. */
#include <math.h>
#include <string.h>

#include "check.h"

enum { KEYS_MAX = 128, N_MAX = 75, TAPS_MAX = 5, COLUMNS = UMBRA_STATE_COLUMNS };

static void fill(float *x, int n, float low, float high)
{
    for (int i = 0; i < n; i++) {
        x[i] = umbra_check_uniform(low, high);
    }
}

static float *make(int n, float low, float high)
{
    float *x = umbra_check_alloc((size_t)n * sizeof *x, 4);
    fill(x, n, low, high);
    return x;
}

static void expect(const umbra_kernels *k, const char *what, const float *got, const float *want,
                   int n)
{
    for (int i = 0; i < n; i++) {
        umbra_check(fabs((double)got[i] - (double)want[i]) <= 4e-6 * (1 + fabs((double)want[i])),
                    "%s %s: value %d of %d is %.9g, should be %.9g", k->name, what, i, n,
                    (double)got[i], (double)want[i]);
    }
}

/* Some positions, one after the other, in place and from one place to another. */
static void check_recur_of(const umbra_kernels *k, const umbra_kernels *exact, int keys,
                           int columns, bool key_decay, bool delta)
{
    int n = keys * COLUMNS;
    float *want = make(n, 0, 0), *got = make(n, 0, 0), *apart = make(n, 0, 0);
    for (int step = 0; step < 4; step++) {
        float *q = make(keys, -1, 1), *key = make(keys, -0.3f, 0.3f), *v = make(columns, -1, 1);
        float *decay = make(key_decay ? keys : 1, 0.2f, 1);
        float *out = make(columns, 0, 0), *exact_out = make(columns, 0, 0);
        umbra_recur r = {.from = want,
                         .to = want,
                         .k = key,
                         .q = q,
                         .v = v,
                         .decay = decay,
                         .out = exact_out,
                         .rate = umbra_check_uniform(0.1f, 1),
                         .keys = keys,
                         .columns = columns,
                         .key_decay = key_decay,
                         .delta = delta};
        exact->recur(&r);
        r.from = got;
        r.to = apart;
        r.q = NULL; /* as it is done again: nothing is read out */
        k->recur(&r);
        r.to = got;
        r.q = q;
        r.out = out;
        k->recur(&r);
        expect(k, "state", got, want, n);
        expect(k, "what a state gives", out, exact_out, columns);
        umbra_check(memcmp(got, apart, (size_t)n * sizeof *got) == 0,
                    "%s recur: the bits depend on where the state goes", k->name);
        for (int i = 0; i < keys; i++) {
            for (int j = columns; j < COLUMNS; j++) {
                umbra_check(got[i * COLUMNS + j] == 0, "%s recur: column %d of %d is written",
                            k->name, j, columns);
            }
        }
    }
    umbra_check_release();
}

static void check_convolve_of(const umbra_kernels *k, const umbra_kernels *exact, int n, int taps,
                              int missing)
{
    float *weights = make(n * taps, -1, 1), *bias = make(n, -1, 1);
    float *got = make(n, 0, 0), *want = make(n, 0, 0);
    const float *input[TAPS_MAX];
    for (int j = 0; j < taps; j++) {
        input[j] = j < missing ? NULL : make(n, -2, 2);
    }
    for (int biased = 0; biased < 2; biased++) {
        umbra_causal c = {.input = input,
                          .weights = weights,
                          .bias = biased ? bias : NULL,
                          .out = want,
                          .taps = taps,
                          .n = n};
        exact->convolve(&c);
        c.out = got;
        k->convolve(&c);
        expect(k, "convolve", got, want, n);
    }
    umbra_check_release();
}

static void check_open_gate(const umbra_kernels *k, const umbra_kernels *exact)
{
    for (int n = 1; n < N_MAX; n += 9) {
        float *gate = make(n, -30, 30), *x = make(n, -3, 3);
        float *want = make(n, 0, 0), *got = make(n, 0, 0);
        exact->open_gate(want, gate, x, n);
        k->open_gate(got, gate, x, n);
        expect(k, "open_gate", got, want, n);
        k->open_gate(gate, gate, x, n);
        expect(k, "open_gate in place", gate, want, n);
        umbra_check_release();
    }
}

void umbra_check_state(const umbra_kernels *k)
{
    static const int keys[] = {1, 40, KEYS_MAX}, columns[] = {1, 8, 31, COLUMNS};
    const umbra_kernels *exact = umbra_kernels_find("reference");
    umbra_check_seed(11);
    for (int i = 0; i < 3 * 4 * 4; i++) {
        check_recur_of(k, exact, keys[i % 3], columns[i / 3 % 4], i / 12 % 2 != 0, i / 24 != 0);
    }
    for (int n = 1; n < N_MAX; n += 7) {
        for (int taps = 1; taps <= TAPS_MAX; taps++) {
            for (int missing = 0; missing < taps; missing++) {
                check_convolve_of(k, exact, n, taps, missing);
            }
        }
    }
    check_open_gate(k, exact);
}
