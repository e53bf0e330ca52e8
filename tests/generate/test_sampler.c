/* The sampler answers with a token of the vocabulary, whatever the logits are. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <string.h>

#include <umbra/generate.h>

enum { N = 6, DRAWS = 200 };

static const float temperatures[] = {0, FLT_TRUE_MIN, 1e-3f, 1, 100};
static const float top_ps[] = {0, FLT_TRUE_MIN, 1e-6f, 0.5f, 0.999999f, 1};

enum { TEMPERATURES = sizeof temperatures / sizeof *temperatures };
enum { TOP_PS = sizeof top_ps / sizeof *top_ps };

/* Draws often with every setting: each token must be one of `allowed` (a bit each). */
static void assert_draws(const float *logits, unsigned allowed)
{
    float copy[N];
    memcpy(copy, logits, sizeof copy);
    for (int t = 0; t < TEMPERATURES; t++)
        for (int p = 0; p < TOP_PS; p++) {
            umbra_sampling s = {.temperature = temperatures[t], .top_p = top_ps[p], .seed = 3};
            umbra_sampler *sampler;
            assert_int_equal(umbra_sampler_open(&sampler, &s, N, NULL), UMBRA_OK);
            for (int i = 0; i < DRAWS; i++) {
                int32_t id = umbra_sampler_next(sampler, logits, NULL, i);
                if (id < 0 || id >= N || !(allowed >> id & 1))
                    fail_msg("token %d at temperature %g, top-p %g", id, (double)s.temperature,
                             (double)s.top_p);
            }
            umbra_sampler_close(&sampler);
        }
    assert_memory_equal(copy, logits, sizeof copy);
}

static void any_logits_give_a_token(void **state)
{
    (void)state;
    static const struct {
        float logits[N];
        unsigned allowed;
    } cases[] = {
        {{NAN, NAN, NAN, NAN, NAN, NAN}, 0x3f},
        {{NAN, 1, NAN, NAN, NAN, NAN}, 0x02},
        {{1, NAN, 1, NAN, NAN, 1}, 0x25},
        {{INFINITY, 1, 2, 3, 4, 5}, 0x01},
        {{1, INFINITY, 2, INFINITY, NAN, -INFINITY}, 0x0a},
        {{-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY}, 0x3f},
        {{-INFINITY, -INFINITY, 0, -INFINITY, NAN, -INFINITY}, 0x04},
        {{7, 7, 7, 7, 7, 7}, 0x3f},
        {{FLT_MAX, -FLT_MAX, -FLT_MAX, -FLT_MAX, -FLT_MAX, FLT_MAX}, 0x21},
        {{1e-45f, 0, -1e-45f, -0.0f, 1e-45f, 0}, 0x3f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_draws(cases[i].logits, cases[i].allowed);
}

/* As top-p goes to 0 the best token alone is left: what the best is at temperature 0. */
static void a_small_top_p_is_greedy(void **state)
{
    (void)state;
    static const float logits[N] = {1, 4, 2, 4, 3, 0};
    umbra_sampling s = {.temperature = 5, .top_p = 1e-6f, .seed = 11};
    umbra_sampler *sampler;
    assert_int_equal(umbra_sampler_open(&sampler, &s, N, NULL), UMBRA_OK);
    for (int i = 0; i < DRAWS; i++)
        assert_int_equal(umbra_sampler_next(sampler, logits, NULL, i), 1);
    umbra_sampler_close(&sampler);
}

static void settings_out_of_range_are_refused(void **state)
{
    (void)state;
    static const umbra_sampling wrong[] = {{.temperature = -1},
                                           {.temperature = NAN},
                                           {.temperature = 101},
                                           {.temperature = 1, .top_p = -0.1f},
                                           {.temperature = 1, .top_p = 1.1f},
                                           {.temperature = 1, .top_p = NAN}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        umbra_sampler *sampler;
        assert_int_equal(umbra_sampler_open(&sampler, &wrong[i], N, NULL), UMBRA_E_ARGUMENT);
        assert_null(sampler);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_logits_give_a_token),
        cmocka_unit_test(a_small_top_p_is_greedy),
        cmocka_unit_test(settings_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
