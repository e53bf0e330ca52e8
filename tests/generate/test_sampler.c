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
    const umbra_sampling wrong[] = {{.temperature = -1},
                                    {.temperature = NAN},
                                    {.temperature = 101},
                                    {.temperature = 1, .top_p = -0.1f},
                                    {.temperature = 1, .top_p = 1.1f},
                                    {.temperature = 1, .top_p = NAN},
                                    {.top_k = -1},
                                    {.min_p = 1.1f},
                                    {.typical_p = -1},
                                    {.repetition_penalty = -1},
                                    {.presence_penalty = 2.1f},
                                    {.frequency_penalty = NAN},
                                    {.n_bias = -1},
                                    {.n_bias = 1, .bias = &(umbra_bias){N, 1}},
                                    {.n_bias = 1, .bias = &(umbra_bias){0, NAN}}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        umbra_sampler *sampler;
        assert_int_equal(umbra_sampler_open(&sampler, &wrong[i], N, NULL), UMBRA_E_ARGUMENT);
        assert_null(sampler);
    }
}

/* ---- options ---- */

enum { V = 8 };

/* The tokens that are ever drawn, a bit each. */
static unsigned drawn(const umbra_sampling *s, const float *logits, const int32_t *tokens, int n)
{
    umbra_sampler *sampler;
    unsigned seen = 0;
    umbra_error err = {0};
    umbra_sampling with_seed = *s;
    for (int i = 0; i < 600; i++) {
        with_seed.seed = (uint64_t)i;
        if (umbra_sampler_open(&sampler, &with_seed, V, &err) != UMBRA_OK)
            fail_msg("%s", err.message);
        seen |= 1u << umbra_sampler_next(sampler, logits, tokens, n);
        umbra_sampler_close(&sampler);
    }
    return seen;
}

/* Probabilities 0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.03, 0.02. */
static void make_logits(float *logits)
{
    static const double p[V] = {0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.03, 0.02};
    for (int i = 0; i < V; i++)
        logits[i] = (float)log(p[i]) + 3;
}

static void filters_keep_what_they_say(void **state)
{
    (void)state;
    float logits[V];
    make_logits(logits);
    static const struct {
        umbra_sampling s;
        unsigned kept;
    } cases[] = {
        {{.temperature = 1}, 0xff},
        {{.temperature = 1, .top_k = 3}, 0x07},
        {{.temperature = 1, .top_k = 8}, 0xff},
        {{.temperature = 1, .top_k = 1}, 0x01},
        {{.temperature = 1, .top_p = 0.59f}, 0x03},
        {{.temperature = 1, .top_p = 0.65f}, 0x07},
        {{.temperature = 1, .min_p = 0.2f}, 0x1f},
        {{.temperature = 1, .min_p = 1}, 0x01},
        /* The expected surprise is 1.73; the nearest are -log 0.2, then -log 0.1, -log 0.4. */
        {{.temperature = 1, .typical_p = 0.19f}, 0x02},
        {{.temperature = 1, .typical_p = 0.45f}, 0x1e},
        {{.temperature = 1, .typical_p = 0.55f}, 0x1f},
        {{.temperature = 1, .top_k = 5, .top_p = 0.6f}, 0x03},
        {{.temperature = 1, .top_k = 5, .min_p = 0.4f}, 0x03},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (drawn(&cases[i].s, logits, NULL, 0) != cases[i].kept)
            fail_msg("case %zu: %x", i, drawn(&cases[i].s, logits, NULL, 0));
}

/* Any number of candidates, in any order: the best k, as sorting finds them. */
static void the_best_are_found_among_many(void **state)
{
    (void)state;
    enum { MANY = 3000 };
    static float logits[MANY];
    for (int round = 0; round < 40; round++) {
        uint64_t x = (uint64_t)round * 977 + 5;
        for (int i = 0; i < MANY; i++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            logits[i] = round % 4 == 0 ? (float)i : round % 4 == 1 ? 1 : (float)(x >> 58);
        }
        umbra_sampling s = {.temperature = 100, .top_k = 1 + round * 3};
        umbra_sampler *sampler;
        assert_int_equal(umbra_sampler_open(&sampler, &s, MANY, NULL), UMBRA_OK);
        for (int i = 0; i < 50; i++) {
            int32_t id = umbra_sampler_next(sampler, logits, NULL, i);
            int better = 0;
            for (int j = 0; j < MANY; j++)
                better += logits[j] > logits[id] || (logits[j] == logits[id] && j < id);
            assert_in_range(better, 0, s.top_k - 1);
        }
        umbra_sampler_close(&sampler);
    }
}

static int32_t greedy(umbra_sampling s, const float *logits, const int32_t *tokens, int n)
{
    umbra_sampler *sampler;
    assert_int_equal(umbra_sampler_open(&sampler, &s, V, NULL), UMBRA_OK);
    int32_t id = umbra_sampler_next(sampler, logits, tokens, n);
    umbra_sampler_close(&sampler);
    return id;
}

static void penalties_look_at_the_last_tokens(void **state)
{
    (void)state;
    static const float logits[V] = {3, 2.5f, 2, 1.9f, -1, -1, -1, -1};
    static const int32_t text[] = {2, 0, 0, 0, 1, -1, 99};
    assert_int_equal(greedy((umbra_sampling){.presence_penalty = 0.6f}, logits, text, 4), 1);
    assert_int_equal(greedy((umbra_sampling){.presence_penalty = 1.5f}, logits, text, 5), 3);
    assert_int_equal(greedy((umbra_sampling){.presence_penalty = 0.6f}, logits, text, 1), 0);
    assert_int_equal(greedy((umbra_sampling){.frequency_penalty = 0.2f}, logits, text, 2), 0);
    assert_int_equal(greedy((umbra_sampling){.frequency_penalty = 0.2f}, logits, text, 4), 1);
    assert_int_equal(greedy((umbra_sampling){.repetition_penalty = 1.3f}, logits, text, 4), 1);
    umbra_sampling two = {.presence_penalty = 2, .penalty_tokens = 2};
    assert_int_equal(greedy(two, logits, text, 5), 2);
    two.penalty_tokens = -1;
    assert_int_equal(greedy(two, logits, text, 5), 3);
    static const float below[V] = {-1, -1.1f, -9, -9, -9, -9, -9, -9};
    assert_int_equal(greedy((umbra_sampling){.repetition_penalty = 1.2f}, below, text, 4), 1);
    static const umbra_bias bias[] = {{3, 1}, {3, 1}, {0, -INFINITY}};
    assert_int_equal(greedy((umbra_sampling){.n_bias = 3, .bias = bias}, logits, NULL, 0), 3);
}

/* Even tokens alone, after a first token that may be any; nothing after the third. */
static int allow_even(void *user, const int32_t *tokens, int n, uint64_t *allowed)
{
    ++*(int *)user;
    if (n == 0)
        return 0;
    allowed[0] = n > 2 ? 0 : 0x55;
    return n > 3 || tokens[0] > 100 ? UMBRA_E_NOMEM : 1;
}

static void a_mask_rules(void **state)
{
    (void)state;
    int calls = 0;
    static const float logits[V] = {0, 9, 0, 9, 0, NAN, 0, 9};
    static const float none[V] = {-INFINITY, 1, -INFINITY, 1, -INFINITY, -INFINITY, -INFINITY, 1};
    static const int32_t text[] = {1, 2, 3, 4};
    umbra_sampling s = {.allow = allow_even, .user = &calls};
    assert_int_equal(greedy(s, logits, text, 0), 1);
    assert_int_equal(greedy(s, logits, text, 1), 0);
    assert_int_equal(greedy(s, logits, text, 3), UMBRA_E_UNSUPPORTED);
    assert_int_equal(greedy(s, logits, text, 4), UMBRA_E_NOMEM);
    assert_int_equal(calls, 4);
    s.temperature = 1;
    assert_int_equal(drawn(&s, logits, text, 1), 0x55);
    assert_int_equal(drawn(&s, none, text, 1), 0x55);
}

/* The draw at a position is the same whatever was drawn before, and differs between positions. */
static void draws_belong_to_their_position(void **state)
{
    (void)state;
    enum { DRAWN = 64 };
    static const float logits[V] = {0};
    umbra_sampling s = {.temperature = 1, .seed = 5};
    umbra_sampler *sampler;
    int32_t ids[DRAWN];
    unsigned seen = 0;
    assert_int_equal(umbra_sampler_open(&sampler, &s, V, NULL), UMBRA_OK);
    for (int i = 0; i < DRAWN; i++)
        seen |= 1u << (ids[i] = umbra_sampler_next(sampler, logits, NULL, i));
    for (int i = DRAWN - 1; i >= 0; i--)
        assert_int_equal(umbra_sampler_next(sampler, logits, NULL, i), ids[i]);
    assert_int_equal(seen, 0xff);
    umbra_sampler_close(&sampler);
}

static void logprobs_are_the_models(void **state)
{
    (void)state;
    float logits[V];
    umbra_logprob chosen, best[V + 1];
    make_logits(logits);
    assert_int_equal(umbra_logprobs(logits, V, 5, &chosen, best, 3), 3);
    assert_int_equal(chosen.id, 5);
    assert_true(fabsf(chosen.logprob - logf(0.05f)) < 1e-5f);
    assert_int_equal(best[0].id, 0);
    assert_int_equal(best[1].id, 1);
    assert_int_equal(best[2].id, 2);
    assert_true(fabsf(best[2].logprob - logf(0.1f)) < 1e-5f);
    assert_int_equal(umbra_logprobs(logits, V, 0, NULL, best, V + 1), V);
    logits[0] = NAN;
    logits[1] = -INFINITY;
    assert_int_equal(umbra_logprobs(logits, V, 2, &chosen, best, V + 1), V - 1);
    assert_int_equal(best[V - 2].id, 1);
    assert_true(isinf(best[V - 2].logprob));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_logits_give_a_token),
        cmocka_unit_test(a_small_top_p_is_greedy),
        cmocka_unit_test(settings_out_of_range_are_refused),
        cmocka_unit_test(filters_keep_what_they_say),
        cmocka_unit_test(the_best_are_found_among_many),
        cmocka_unit_test(penalties_look_at_the_last_tokens),
        cmocka_unit_test(a_mask_rules),
        cmocka_unit_test(draws_belong_to_their_position),
        cmocka_unit_test(logprobs_are_the_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
