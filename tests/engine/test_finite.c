/* A weight that is NaN or infinite ends the evaluation at the first numbers that it spoils. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include <umbra/engine.h>

#include "../model/make.h"
#include "device/device.h"

enum { TOKENS = 20 };

/* Every value of the tensor becomes `value`, or only the first. */
static umbra_model *open_spoiled(const make_layout *layout, const char *tensor, float value,
                                 bool only_first, umbra_memory_file *file)
{
    umbra_builder b;
    umbra_model *model;
    umbra_error err = {0};
    make_build(&b, layout, NULL, NULL, NULL);
    const umbra_field *data = umbra_builder_field(&b, UMBRA_FIELD_DATA, tensor, 0);
    for (size_t at = 0; at < (only_first ? sizeof value : data->bytes); at += sizeof value)
        memcpy(b.bytes + data->at + at, &value, sizeof value);
    umbra_memory_file_init(file);
    umbra_memory_file_set(file, b.bytes, b.count, b.count);
    umbra_builder_release(&b);
    if (umbra_model_open(&model, file->path, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    return model;
}

static int take(void *user, int index, const float *logits)
{
    (void)index;
    for (int i = 0; i < MAKE_TOKENS; i++)
        assert_true(isfinite(logits[i]));
    (*(int *)user)++;
    return 0;
}

static int take_states(void *user, const umbra_rows *rows)
{
    (void)user;
    assert_true(umbra_all_finite(rows->x, (size_t)rows->n * MAKE_HIDDEN));
    return 0;
}

static int take_routing(void *user, const umbra_rows *rows)
{
    (void)user;
    for (int i = 0; i < rows->n * MAKE_USED; i++)
        assert_true(rows->experts[i] >= 0 && rows->experts[i] < MAKE_EXPERTS &&
                    isfinite(rows->weights[i]));
    return 0;
}

static void assert_stops(const make_layout *layout, const char *tensor, float value,
                         bool only_first, const char *words)
{
    umbra_memory_file file;
    umbra_model *model = open_spoiled(layout, tensor, value, only_first, &file);
    for (int k = 0; umbra_kernel_name(k); k++) {
        umbra_engine_options o = {.threads = 2, .chunk = 8, .kernels = umbra_kernel_name(k)};
        umbra_engine *engine;
        umbra_error err = {0};
        umbra_token tokens[TOKENS];
        int seen = 0;
        umbra_tap tap = {.user = &seen,
                         .logits = take,
                         .at = {[UMBRA_TAP_INPUT] = take_states,
                                [UMBRA_TAP_HIDDEN] = take_states,
                                [UMBRA_TAP_ROUTED] = take_routing}};
        assert_int_equal(umbra_engine_open(&engine, model, &o, &err), UMBRA_OK);
        for (int t = 0; t < TOKENS; t++)
            tokens[t] = (umbra_token){t % 4 + 1, 0, true};
        int rc = umbra_engine_eval(engine, tokens, TOKENS, &tap, &err);
        if (rc != UMBRA_E_NONFINITE || !strstr(err.message, words) ||
            !strstr(err.message, "token 0 of the text") || seen != 0)
            fail_msg("%s, %s, %s: %d, %s", layout->name, tensor, o.kernels, rc, err.message);
        umbra_engine_close(&engine);
    }
    umbra_model_close(&model);
    umbra_memory_file_release(&file);
}

static void the_first_bad_numbers_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *tensor, *words;
    } cases[] = {
        {"token_embd.weight", "the embedding's values are"},
        {"blk.0.attn_norm.weight", "states after the attention of layer 0"},
        {"blk.1.attn_q.weight", "states after the attention of layer 1"},
        {"blk.2.attn_output.weight", "states after the attention of layer 2"},
        {"blk.1.ffn_gate_inp.weight", "router's scores of layer 1"},
        {"blk.2.ffn_norm.weight", "router's scores of layer 2"},
        {"blk.0.ffn_up_exps.weight", "experts' outputs of layer 0"},
        {"blk.2.ffn_down_exps.weight", "experts' outputs of layer 2"},
        {"output_norm.weight", "logits are"},
        {"output.weight", "logits are"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_stops(&make_olmoe, cases[i].tensor, NAN, false, cases[i].words);
        assert_stops(&make_llama, cases[i].tensor, INFINITY, false, cases[i].words);
    }
}

/* One bad score among sound ones is neither chosen nor passed over. */
static void one_bad_expert_is_enough(void **state)
{
    (void)state;
    static const make_layout *const layouts[] = {&make_olmoe, &make_qwen2moe, &make_gpt_oss};
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        assert_stops(layouts[i], "blk.1.ffn_gate_inp.weight", NAN, true,
                     "router's scores of layer 1");
    assert_stops(&make_deepseek2, "blk.1.ffn_gate_inp.weight", NAN, true,
                 "router's scores of layer 1");
    assert_stops(&make_gpt_oss, "blk.0.ffn_gate_exps.bias", NAN, false,
                 "experts' outputs of layer 0");
}

/* What is finite, but so large that a norm would make zeros of it, and text of nothing. */
static void values_too_large_for_a_norm_stop(void **state)
{
    (void)state;
    assert_stops(&make_olmoe, "token_embd.weight", 1e38f, false, "the embedding's values are");
    assert_stops(&make_llama, "blk.1.ffn_down_exps.weight", 1e30f, false,
                 "experts' outputs of layer 1");
    float x[4] = {1e18f, -1e18f, 1e18f, 1e18f};
    umbra_device d = {0};
    assert_int_equal(umbra_device_first_bad(&d, x, 4, 1), UMBRA_NO_ROW);
    x[1] = -1e19f;
    assert_int_equal(umbra_device_first_bad(&d, x, 4, 1), 0);
}

/* Minus infinity among raw scores would become a share of 0: an expert that is never asked. */
static void an_expert_ruled_out_is_noticed(void **state)
{
    (void)state;
    assert_stops(&make_olmoe, "blk.1.ffn_gate_inp.weight", INFINITY, true,
                 "router's scores of layer 1");
    assert_stops(&make_olmoe, "blk.1.ffn_gate_inp.weight", -INFINITY, true,
                 "router's scores of layer 1");
}

static void sound_numbers_pass(void **state)
{
    (void)state;
    float x[70] = {[3] = -3.4e38f, [69] = 1e-45f};
    assert_true(umbra_all_finite(x, 70));
    assert_true(umbra_all_finite(x, 0));
    for (size_t i = 0; i < 70; i++) {
        float kept = x[i];
        static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
        for (int b = 0; b < 4; b++) {
            x[i] = bad[b];
            assert_false(umbra_all_finite(x, 70));
        }
        x[i] = kept;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_bad_numbers_are_named),
        cmocka_unit_test(one_bad_expert_is_enough),
        cmocka_unit_test(values_too_large_for_a_norm_stop),
        cmocka_unit_test(an_expert_ruled_out_is_noticed),
        cmocka_unit_test(sound_numbers_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
