/* Every rounding against a definition of nearest that compares distances. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>

#include "base/random.h"
#include "kernels/half.h"
#include "lab/trace/internal.h"

static float bits_of(uint32_t bits)
{
    return umbra_f32_from_bits(bits);
}

/* Around every BF16: itself, the middle to the next one, and the neighbours of both. */
static void bf16_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7f7f; h++)
        for (uint32_t sign = 0; sign <= 0x8000; sign += 0x8000) {
            const struct {
                uint32_t low;
                uint32_t expected;
            } cases[] = {{0, h},          {1, h},         {0x7fff, h}, {0x8000, h + (h & 1)},
                         {0x8001, h + 1}, {0xffff, h + 1}};
            for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                float x = bits_of((sign | h) << 16 | cases[i].low);
                uint16_t out;
                assert_int_equal(umbra_trace_first_bad(&x, 1), 1);
                umbra_trace_to_bf16(&x, 1, &out);
                if (out != (sign | cases[i].expected))
                    fail_msg("%a: %04x instead of %04x", (double)x, out, sign | cases[i].expected);
                float back;
                assert_true(umbra_trace_from_bf16(&out, 1, &back));
                assert_int_equal(umbra_f32_bits(back), (uint32_t)out << 16);
            }
        }
}

static void bad_values_are_found(void **state)
{
    (void)state;
    float x[100];
    const float bad[] = {INFINITY,
                         -INFINITY,
                         NAN,
                         -NAN,
                         FLT_MAX,
                         -FLT_MAX,
                         bits_of(0x7f7f8000),
                         bits_of(0x7f800001),
                         bits_of(0xffffffff)};
    const float good[] = {0, -0.0f, 1e38f, bits_of(0x7f7f7fff), bits_of(0xff7f7fff), bits_of(1)};
    for (size_t i = 0; i < 100; i++)
        x[i] = good[i % 6];
    assert_int_equal(umbra_trace_first_bad(x, 100), 100);
    assert_int_equal(umbra_trace_first_bad(x, 0), 0);
    for (size_t at = 0; at < 100; at++)
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            float saved = x[at];
            x[at] = bad[i];
            assert_int_equal(umbra_trace_first_bad(x, 100), at);
            if (at < 99)
                x[at + 1] = NAN; /* the first is wanted */
            assert_int_equal(umbra_trace_first_bad(x, 100), at);
            x[at] = saved;
            if (at < 99)
                x[at + 1] = good[(at + 1) % 6];
        }
    /* The largest one rounds to the largest BF16. */
    uint16_t out;
    umbra_trace_to_bf16(&good[3], 1, &out);
    assert_int_equal(out, 0x7f7f);
}

static void i8_scale_and_steps(void **state)
{
    (void)state;
    umbra_random r;
    umbra_random_seed(&r, 3);
    static const float sizes[] = {1, 1e-6f, 1e30f, 1e-38f, 1e-40f, 1e-44f, 3e38f};
    float x[64], back[64];
    int8_t q[64];
    for (int round = 0; round < 20000; round++) {
        float size = sizes[round % 7], largest = 0;
        for (int i = 0; i < 64; i++) {
            x[i] = size * (float)(2 * umbra_random_unit(&r) - 1);
            largest = fmaxf(largest, fabsf(x[i]));
        }
        float scale = umbra_trace_to_i8(x, 64, q);
        assert_true(scale == largest / 127);
        assert_true(umbra_trace_from_i8(q, 64, scale, back));
        for (int i = 0; i < 64; i++) {
            /* The nearest step, the even one of two: found by rounding the exact quotient, which a
             * rounded quotient may only miss where it lies a rounding error beside the middle. */
            double exact = scale > 0 ? (double)x[i] / (double)scale : 0;
            exact = fmin(fmax(exact, -127), 127);
            double off = fabs(exact - q[i]);
            assert_true(off <= 0.5 + 127 * 0x1p-24);
            assert_true(back[i] == scale * (float)q[i]);
            assert_true(fabs(exact - nearbyint(exact)) > 0.4999 || q[i] == nearbyint(exact));
        }
    }
    /* Exact quotients in the middle go to the even step. */
    float ties[8] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f};
    const int8_t expected[8] = {127, 0, 2, 2, 0, -2, -2, 126};
    assert_true(umbra_trace_to_i8(ties, 8, q) == 1);
    assert_memory_equal(q, expected, 8);
    float zeros[3] = {0, -0.0f, 0};
    assert_true(umbra_trace_to_i8(zeros, 3, q) == 0);
    assert_int_equal(q[0] | q[1] | q[2], 0);
}

static void i8_scales_refused(void **state)
{
    (void)state;
    int8_t q[2] = {127, -127};
    float out[2];
    assert_true(umbra_trace_from_i8(q, 2, 0, out));
    assert_true(umbra_trace_from_i8(q, 2, bits_of(0x7f7f7fff) / 127, out));
    assert_true(isfinite(out[0]) && isfinite(out[1]));
    const float bad[] = {-1, NAN, INFINITY, -INFINITY, FLT_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(umbra_trace_from_i8(q, 2, bad[i], out));
    q[1] = -128;
    assert_false(umbra_trace_from_i8(q, 2, 1, out));
}

static void f16_weights(void **state)
{
    (void)state;
    const float good[] = {0, 1, -1, 0.333f, 65504, 1e-8f, 6e-8f};
    uint16_t h[7];
    float back[7];
    assert_true(umbra_trace_to_f16(good, 7, h));
    assert_true(umbra_trace_from_f16(h, 7, back));
    assert_true(back[4] == 65504 && back[5] == 0 && fabsf(back[3] - 0.333f) < 0.0002f);
    const float bad[] = {65520, INFINITY, -INFINITY, NAN, 1e38f};
    for (size_t i = 0; i < 5; i++) {
        assert_false(umbra_trace_to_f16(&bad[i], 1, h));
        assert_false(umbra_trace_from_f16(h, 1, back));
    }
}

static void rows_of_a_stride(void **state)
{
    (void)state;
    for (int stride = 1; stride < 8; stride++)
        for (int n = 0, rows = 0; n < 50; n++) {
            assert_int_equal(umbra_trace_rows(n, stride), rows);
            rows += n % stride == 0;
        }
    assert_int_equal(umbra_trace_rows(INT32_MAX, 1), INT32_MAX);
    assert_int_equal(umbra_trace_rows(1, INT32_MAX), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_nearest_even),  cmocka_unit_test(bad_values_are_found),
        cmocka_unit_test(i8_scale_and_steps), cmocka_unit_test(i8_scales_refused),
        cmocka_unit_test(f16_weights),        cmocka_unit_test(rows_of_a_stride),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
