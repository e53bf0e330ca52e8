/* Vector operations against the reference table's arithmetic in double. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "check.h"

/* Below gate = -88.7, exp(-gate) is infinite in float and silu 0 instead of about 1e-37. */
static const double swiglu_floor = 0x1p-118;

enum { SIZES = 9, N_MAX = 2080 };
static const int sizes[SIZES] = {1, 2, 7, 8, 9, 31, 64, 384, 2053};

typedef struct buffers {
    float *a, *b, *got, *want;
} buffers;

/* Odd multiples of 4 bytes, so that nothing is aligned. */
static buffers make_buffers(void)
{
    return (buffers){
        .a = umbra_check_alloc(N_MAX * sizeof(float), 4),
        .b = umbra_check_alloc(N_MAX * sizeof(float), 12),
        .got = umbra_check_alloc(N_MAX * sizeof(float), 20),
        .want = umbra_check_alloc(N_MAX * sizeof(float), 28),
    };
}

static void expect_close(const umbra_kernels *k, const char *what, const buffers *b, int n,
                         double relative, double absolute)
{
    for (int i = 0; i < n; i++) {
        double want = b->want[i];
        umbra_check(fabs(b->got[i] - want) <= relative * fabs(want) + absolute,
                    "%s %s: value %d of %d is %.9g, should be %.9g", k->name, what, i, n,
                    (double)b->got[i], want);
    }
    uint32_t after;
    memcpy(&after, &b->got[n], sizeof after);
    umbra_check(after == 0, "%s %s: wrote past the end of %d values", k->name, what, n);
}

static void clear(const buffers *b)
{
    memset(b->got, 0, N_MAX * sizeof(float));
    memset(b->want, 0, N_MAX * sizeof(float));
}

static void check_rms_norm(const umbra_kernels *k, const umbra_kernels *exact)
{
    buffers b = make_buffers();
    for (int s = 0; s < SIZES; s++) {
        int n = sizes[s];
        clear(&b);
        umbra_check_fill(b.a, (size_t)n, CHECK_SPIKES);
        umbra_check_fill(b.b, (size_t)n, CHECK_NORMAL);
        exact->rms_norm(b.want, b.a, b.b, n, 1e-6f);
        k->rms_norm(b.got, b.a, b.b, n, 1e-6f);
        expect_close(k, "rms_norm", &b, n, 1e-6, 0);
        clear(&b);
        exact->rms_norm(b.want, b.a, b.b, n, 1e-6f);
        memcpy(b.got, b.a, (size_t)n * sizeof(float));
        k->rms_norm(b.got, b.got, b.b, n, 1e-6f);
        expect_close(k, "rms_norm in place", &b, n, 1e-6, 0);
        clear(&b);
        exact->rms_norm(b.want, b.a, NULL, n, 1e-6f);
        k->rms_norm(b.got, b.a, NULL, n, 1e-6f);
        expect_close(k, "rms_norm without weights", &b, n, 1e-6, 0);
    }
    clear(&b);
    k->rms_norm(b.got, b.want, b.b, 64, 1e-6f);
    expect_close(k, "rms_norm of zeros", &b, 64, 0, 0);
    umbra_check_release();
}

static void check_rope(const umbra_kernels *k, const umbra_kernels *exact)
{
    buffers b = make_buffers();
    for (int s = 0; s < SIZES; s++) {
        int n = sizes[s] / 2 * 2;
        clear(&b);
        for (int i = 0; i < n / 2; i++) {
            double angle = umbra_check_uniform(-4, 4);
            b.a[2 * i] = (float)cos(angle);
            b.a[2 * i + 1] = (float)sin(angle);
        }
        umbra_check_fill(b.want, (size_t)n, CHECK_NORMAL);
        memcpy(b.got, b.want, (size_t)n * sizeof(float));
        exact->rope_halves(b.want, b.a, n);
        k->rope_halves(b.got, b.a, n);
        expect_close(k, "rope_halves", &b, n, 2e-7, 1e-6);
        memcpy(b.got, b.want, (size_t)n * sizeof(float));
        exact->rope_adjacent(b.want, b.a, n);
        k->rope_adjacent(b.got, b.a, n);
        expect_close(k, "rope_adjacent", &b, n, 2e-7, 1e-6);
    }
    umbra_check_release();
}

static void check_softmax(const umbra_kernels *k, const umbra_kernels *exact)
{
    static const float widths[] = {0.01f, 3, 30, 120};
    buffers b = make_buffers();
    for (int s = 0; s < SIZES; s++) {
        for (int w = 0; w < 4; w++) {
            int n = sizes[s];
            clear(&b);
            for (int i = 0; i < n; i++) {
                b.want[i] = umbra_check_uniform(-widths[w], widths[w]);
            }
            memcpy(b.got, b.want, (size_t)n * sizeof(float));
            exact->softmax(b.want, n);
            k->softmax(b.got, n);
            /* x - max is rounded to float before exp, the sum at each addition, and a subnormal
             * result once more */
            double shift = 2.0 * widths[w] * FLT_EPSILON / 2;
            expect_close(k, "softmax", &b, n, 4e-7 + 6e-8 * sqrt(n) + shift, 0x1p-148);
        }
    }
    static const float hard[] = {-1e30f, 5, -INFINITY, -FLT_MAX, 5, -95, -3e4f, -82.5f, -100, -98};
    int n = sizeof hard / sizeof *hard;
    clear(&b);
    memcpy(b.got, hard, sizeof hard);
    memcpy(b.want, hard, sizeof hard);
    exact->softmax(b.want, n);
    k->softmax(b.got, n);
    expect_close(k, "softmax far below", &b, n, 4e-7, 0x1p-148);
    clear(&b);
    b.got[0] = FLT_MAX;
    b.got[1] = -FLT_MAX;
    b.want[0] = 1;
    k->softmax(b.got, 2);
    expect_close(k, "softmax of the largest numbers", &b, 2, 0, 0);
    umbra_check_release();
}

/* With the other values at -infinity, softmax of two values gives away exp itself:
 * p1 / p0 = exp(x1 - x0). The whole range of exponents, densely. */
static void check_exp(const umbra_kernels *k)
{
    double worst = 0, worst_at = 0;
    for (int i = 0; i < 40000; i++) {
        float x = -104.5f * (float)i / 40000 + umbra_check_uniform(-1e-3f, 0);
        float pair[2] = {0, x};
        k->softmax(pair, 2);
        double want = exp((double)x) / (1 + exp((double)x));
        double ulps = umbra_check_ulps(pair[1], want);
        if (ulps > worst) {
            worst = ulps;
            worst_at = x;
        }
    }
    /* up to 1.5 from exp, the rest from the sum, its inverse and their product */
    umbra_check(worst <= 4, "%s exp(%.9g) is off by %.2f units in the last place", k->name,
                worst_at, worst);
}

static void check_swiglu(const umbra_kernels *k, const umbra_kernels *exact)
{
    buffers b = make_buffers();
    for (int s = 0; s < SIZES; s++) {
        int n = sizes[s];
        clear(&b);
        for (int i = 0; i < n; i++) {
            b.a[i] = umbra_check_uniform(-20, 20) * (i % 4 ? 1.0f : 6.0f);
            b.b[i] = umbra_check_normal();
        }
        exact->swiglu(b.want, b.a, b.b, n);
        k->swiglu(b.got, b.a, b.b, n);
        expect_close(k, "swiglu", &b, n, 5e-7, swiglu_floor);
        for (int in_up = 0; in_up < 2; in_up++) {
            memcpy(b.got, in_up ? b.b : b.a, (size_t)n * sizeof(float));
            k->swiglu(b.got, in_up ? b.a : b.got, in_up ? b.got : b.b, n);
            expect_close(k, "swiglu in place", &b, n, 5e-7, swiglu_floor);
        }
    }
    static const float hard[] = {-FLT_MAX, FLT_MAX, 0, -0.0f, -88.8f, -104, 89, -1e5f, 1e-40f};
    int n = sizeof hard / sizeof *hard;
    clear(&b);
    for (int i = 0; i < n; i++) {
        b.b[i] = 1;
    }
    exact->swiglu(b.want, hard, b.b, n);
    k->swiglu(b.got, hard, b.b, n);
    expect_close(k, "swiglu of extremes", &b, n, 5e-7, swiglu_floor);
    umbra_check_release();
}

static void check_add_scaled(const umbra_kernels *k, const umbra_kernels *exact)
{
    buffers b = make_buffers();
    for (int s = 0; s < SIZES; s++) {
        int n = sizes[s];
        clear(&b);
        umbra_check_fill(b.a, (size_t)n, CHECK_NORMAL);
        umbra_check_fill(b.want, (size_t)n, CHECK_NORMAL);
        memcpy(b.got, b.want, (size_t)n * sizeof(float));
        exact->add_scaled(b.want, b.a, -0.37f, n);
        k->add_scaled(b.got, b.a, -0.37f, n);
        expect_close(k, "add_scaled", &b, n, 1e-7, 3e-7);
    }
    umbra_check_release();
}

static void check_log_sum_exp(const umbra_kernels *k, const umbra_kernels *exact)
{
    buffers b = make_buffers();
    for (int s = 0; s < SIZES; s++) {
        for (int i = 0; i < sizes[s]; i++) {
            b.a[i] = umbra_check_uniform(-30, 30);
        }
        double want = exact->log_sum_exp(b.a, sizes[s]), got = k->log_sum_exp(b.a, sizes[s]);
        double naive = 0;
        for (int i = 0; i < sizes[s]; i++) {
            naive += exp((double)b.a[i]);
        }
        umbra_check(fabs(want - log(naive)) <= 1e-12 * fabs(want) + 1e-12,
                    "reference log_sum_exp of %d: %.17g, plainly %.17g", sizes[s], want,
                    log(naive));
        umbra_check(fabs(got - want) <= 5e-7, "%s log_sum_exp of %d: %.17g, should be %.17g",
                    k->name, sizes[s], got, want);
    }
    static const float lowest[] = {-INFINITY, -INFINITY, -INFINITY};
    umbra_check(k->log_sum_exp(lowest, 3) == (double)-INFINITY, "%s log_sum_exp of -infinity",
                k->name);
    static const float wide[] = {FLT_MAX, -FLT_MAX, -INFINITY};
    umbra_check(k->log_sum_exp(wide, 3) == (double)FLT_MAX, "%s log_sum_exp of the largest",
                k->name);
    umbra_check_release();
}

static void check_quantize_rows(const umbra_kernels *k, check_pattern pattern)
{
    const umbra_kernels *scalar = umbra_kernels_find("scalar");
    umbra_activations x = umbra_check_activations(k, 3, 96, pattern, 1);
    int16_t q[3 * 96];
    float scale[9], sum[9];
    scalar->quantize(x.f32, 3 * 96, q, scale, sum);
    const char *name = umbra_check_pattern_name(pattern);
    umbra_check(memcmp(q, x.q, sizeof q) == 0 && memcmp(scale, x.scale, sizeof scale) == 0 &&
                    memcmp(sum, x.sum, sizeof sum) == 0,
                "%s quantize differs from scalar (%s)", k->name, name);
    for (int b = 0; b < 9; b++) {
        double total = 0;
        for (int i = 32 * b; i < 32 * b + 32; i++) {
            double step = x.scale[b] > 0 ? (double)x.scale[b] : 0x1p-99;
            total += x.q[i] * (double)x.scale[b];
            umbra_check(x.q[i] >= -32767 &&
                            fabs(x.q[i] * (double)x.scale[b] - x.f32[i]) <= 0.51 * step,
                        "%s quantize (%s): value %d is %d * %.9g, should be %.9g", k->name, name, i,
                        x.q[i], (double)x.scale[b], (double)x.f32[i]);
        }
        umbra_check(fabs(x.sum[b] - total) <= 1e-7 * fabs(total),
                    "%s quantize (%s): sum of block %d is %.9g, should be %.9g", k->name, name, b,
                    (double)x.sum[b], total);
    }
    umbra_check_release();
}

static void check_quantize_limits(const umbra_kernels *k)
{
    float x[64] = {[0] = INFINITY, [1] = 1, [40] = NAN, [41] = -1};
    int16_t q[64];
    float scale[2], sum[2];
    k->quantize(x, 64, q, scale, sum);
    umbra_check(!isfinite(scale[0]) && !isfinite(scale[1]),
                "%s quantize hides what is not finite: scales %g and %g", k->name, (double)scale[0],
                (double)scale[1]);
    for (int i = 0; i < 32; i++) { /* wherever it stands in a block */
        memset(x, 0, sizeof x);
        x[(i + 1) % 32] = -3;
        x[i] = NAN;
        k->quantize(x, 32, q, scale, sum);
        umbra_check(isnan(scale[0]), "%s quantize loses a NaN at %d", k->name, i);
    }
    memset(x, 0, sizeof x);
    x[3] = FLT_MAX;
    x[4] = -FLT_MAX;
    k->quantize(x, 32, q, scale, sum);
    umbra_check(q[3] == 32767 && q[4] == -32767 && q[5] == 0, "%s quantize of the largest numbers",
                k->name);
    static const float ties[5] = {32767, 0.5f, 1.5f, 2.5f, -3.5f};
    static const int16_t even[5] = {32767, 0, 2, 2, -4};
    memset(x, 0, sizeof x);
    memcpy(x, ties, sizeof ties);
    k->quantize(x, 32, q, scale, sum);
    umbra_check(memcmp(q, even, sizeof even) == 0 && scale[0] == 1 && sum[0] == 32767,
                "%s quantize does not round ties to even", k->name);
}

void umbra_check_vector(const umbra_kernels *k)
{
    const umbra_kernels *exact = umbra_kernels_find("reference");
    umbra_check_seed(4);
    check_rms_norm(k, exact);
    check_rope(k, exact);
    check_softmax(k, exact);
    check_exp(k);
    check_swiglu(k, exact);
    check_add_scaled(k, exact);
    check_log_sum_exp(k, exact);
    for (check_pattern p = 0; p < CHECK_PATTERNS; p++) {
        check_quantize_rows(k, p);
    }
    check_quantize_limits(k);
}
