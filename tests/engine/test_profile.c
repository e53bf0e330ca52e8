/* The profile counts the work of every kind of step, and changes nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <umbra/umbra.h>

static const char tiny[] = "models/tiny-q8_0.gguf";
enum { PROMPT = 21, STEPS = 3 };

typedef struct run {
    float *logits; /* of the last token */
    size_t vocabulary;
    umbra_profile profile;
} run;

static int keep_logits(void *user, int index, const float *logits)
{
    (void)index;
    run *r = user;
    memcpy(r->logits, logits, r->vocabulary * sizeof *logits);
    return 0;
}

static void evaluate(umbra_engine *engine, run *r, int first, int n)
{
    umbra_token tokens[PROMPT];
    umbra_tap tap = {.user = r, .logits = keep_logits};
    for (int i = 0; i < n; i++)
        tokens[i] = (umbra_token){100 + first + i, 0, i == n - 1};
    assert_int_equal(umbra_engine_eval(engine, tokens, n, &tap, NULL), UMBRA_OK);
}

static run run_model(const umbra_model *model, umbra_engine_options options)
{
    umbra_engine *engine;
    run r = {.vocabulary = (size_t)umbra_model_get_info(model)->vocabulary};
    r.logits = calloc(r.vocabulary, sizeof *r.logits);
    assert_non_null(r.logits);
    assert_int_equal(umbra_engine_open(&engine, model, &options, NULL), UMBRA_OK);
    evaluate(engine, &r, 0, PROMPT);
    for (int i = 0; i < STEPS; i++)
        evaluate(engine, &r, PROMPT + i, 1);
    umbra_engine_get_profile(engine, &r.profile);
    umbra_engine_close(&engine);
    return r;
}

static umbra_model *open_model(void)
{
    umbra_model *model;
    assert_int_equal(umbra_model_open(&model, tiny, NULL), UMBRA_OK);
    return model;
}

/* Multiply-adds of all experts of one row. */
static double expert_macs(const umbra_model_info *m, int matrices)
{
    return (double)matrices * m->hidden * m->expert_width * m->experts_used * m->moe_layers;
}

static void work_is_counted(void **state)
{
    (void)state;
    umbra_model *model = open_model();
    const umbra_model_info *m = umbra_model_get_info(model);
    for (int threads = 1; threads <= 2; threads++) {
        run r = run_model(model, (umbra_engine_options){.threads = threads, .profile = true});
        const int rows[] = {PROMPT, STEPS};
        for (int phase = 0; phase < UMBRA_PROFILE_PHASES; phase++) {
            const umbra_profile_entry *step = r.profile.step[phase];
            assert_int_equal(r.profile.rows[phase], rows[phase]);
            assert_true(step[UMBRA_PROFILE_GATE_UP].macs == rows[phase] * expert_macs(m, 2));
            assert_true(step[UMBRA_PROFILE_DOWN].macs == rows[phase] * expert_macs(m, 1));
            assert_true(step[UMBRA_PROFILE_GATE_UP].bytes > 0);
            assert_true(step[UMBRA_PROFILE_ATTEND].macs > 0);
            double logits = phase == UMBRA_PROFILE_PREFILL ? 1 : STEPS;
            assert_true(step[UMBRA_PROFILE_OUTPUT].macs == logits * m->hidden * m->vocabulary);
            for (int i = 0; i < UMBRA_PROFILE_STEPS; i++) {
                assert_true(step[i].seconds >= 0 && step[i].seconds < 1000);
                assert_true(threads > 1 || step[i].runs == 0);
            }
        }
        assert_true(r.profile.bytes_per_s > 0 && r.profile.macs_per_s > 0);
        free(r.logits);
    }
    umbra_model_close(&model);
}

static void nothing_changes(void **state)
{
    (void)state;
    umbra_model *model = open_model();
    run with = run_model(model, (umbra_engine_options){.threads = 2, .profile = true});
    run without = run_model(model, (umbra_engine_options){.threads = 2});
    assert_memory_equal(with.logits, without.logits, with.vocabulary * sizeof *with.logits);
    static const umbra_profile none;
    assert_memory_equal(&without.profile, &none, sizeof none);
    free(with.logits);
    free(without.logits);
    umbra_model_close(&model);
}

static void steps_have_names(void **state)
{
    (void)state;
    for (int i = 0; i < UMBRA_PROFILE_STEPS; i++)
        assert_non_null(umbra_profile_step_name(i));
    assert_null(umbra_profile_step_name(UMBRA_PROFILE_STEPS));
    assert_null(umbra_profile_step_name(-1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_is_counted),
        cmocka_unit_test(nothing_changes),
        cmocka_unit_test(steps_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
