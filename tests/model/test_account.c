/* All that a file holds is used, known to be of no matter, or refused by its name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "make.h"
#include "model/model.h"

/* One key and one tensor (either NULL) beside the layout's own. */
typedef struct addition {
    const make_layout *layout;
    const make_key *key;
    const make_tensor *tensor;
    const char *message; /* of the refusal; NULL: the file is sound */
} addition;

#define NUMBER(NAME, VALUE)                                                                        \
    (const make_key[])                                                                             \
    {                                                                                              \
        {NAME, VALUE, MAKE_F32, NULL},                                                             \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define WHOLE(NAME, VALUE)                                                                         \
    (const make_key[])                                                                             \
    {                                                                                              \
        {NAME, VALUE, MAKE_U32, NULL},                                                             \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define TRUTH(NAME, VALUE)                                                                         \
    (const make_key[])                                                                             \
    {                                                                                              \
        {NAME, VALUE, MAKE_BOOL, NULL},                                                            \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define WORD(NAME, VALUE)                                                                          \
    (const make_key[])                                                                             \
    {                                                                                              \
        {NAME, 0, MAKE_STRING, VALUE},                                                             \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define VECTOR(NAME, N)                                                                            \
    (const make_tensor[])                                                                          \
    {                                                                                              \
        {NAME, {N}, 0, 0},                                                                         \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define MATRIX(NAME, N, M)                                                                         \
    (const make_tensor[])                                                                          \
    {                                                                                              \
        {NAME, {N, M}, 0, 0},                                                                      \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

enum { ALL_HEADS = MAKE_HEADS * MAKE_DIM };

static void check(const addition *a)
{
    umbra_memory_file file;
    umbra_model *model;
    umbra_error err = {0};
    int rc = make_open(a->layout, a->key, a->tensor, NULL, &file, &model, &err);
    const char *what = a->key ? a->key->name : a->tensor->name;
    if (a->message ? rc == UMBRA_OK || !strstr(err.message, a->message) : rc != UMBRA_OK)
        fail_msg("%s, %s: %d, \"%s\"", a->layout->name, what, rc, err.message);
    if (a->message)
        assert_non_null(strstr(err.message, file.path));
    umbra_model_close(&model);
    umbra_memory_file_release(&file);
}

static void check_all(const addition *additions, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check(&additions[i]);
}

static void unknown_keys_are_refused(void **state)
{
    (void)state;
    const addition additions[] = {
        {&make_llama, NUMBER("no.such_key", 1), NULL, "llama.no.such_key is not known"},
        {&make_llama, NUMBER("rope.scaling.low_freq_factor", 1), NULL, "low_freq_factor"},
        {&make_llama, NUMBER("logit_scale", 0.25), NULL, "llama.logit_scale is 0.25"},
        {&make_llama, NUMBER("residual_scale", 0.5), NULL, "residual_scale is 0.5"},
        {&make_llama, NUMBER("embedding_scale", 12), NULL, "embedding_scale is 12"},
        {&make_llama, NUMBER("attn_logit_softcapping", 50), NULL, "softcapping is 50"},
        {&make_llama, NUMBER("final_logit_softcapping", 30), NULL, "softcapping is 30"},
        {&make_llama, NUMBER("attention.clamp_kqv", 8), NULL, "clamp_kqv is 8"},
        {&make_llama, NUMBER("rope.scaling.yarn_log_multiplier", 0.1), NULL, "log_multiplier"},
        {&make_llama, TRUTH("attention.causal", 0), NULL, "attention.causal is 0"},
        {&make_llama, TRUTH("use_parallel_residual", 1), NULL, "use_parallel_residual is 1"},
        {&make_llama, WHOLE("leading_dense_block_count", 1), NULL, "dense_block_count is 1"},
        {&make_llama, WHOLE("attention.sliding_window", 8), NULL, "sliding_window is 8"},
        {&make_llama, WORD("tensor_data_layout", "other"), NULL, "tensor_data_layout is \"other\""},
        {&make_llama, WORD("hidden_act", "gelu"), NULL, "hidden_act is \"gelu\""},
        {&make_olmoe, WHOLE("expert_shared_count", 1), NULL, "expert_shared_count is 1"},
        {&make_qwen2moe, WHOLE("expert_shared_count", 2), NULL, "expert_shared_count is 2"},
        {&make_gpt_oss, NUMBER("rope.freq_base_swa", 500), NULL, "freq_base_swa is 500"},
        {&make_deepseek2, NUMBER("attention.scale", 0.5), NULL, "attention.scale is 0.5"},
        {&make_deepseek2, WHOLE("attention.indexer.top_k", 9), NULL, "indexer.top_k is not known"},
    };
    check_all(additions, sizeof additions / sizeof additions[0]);
}

static void keys_of_no_matter_are_taken(void **state)
{
    (void)state;
    const addition additions[] = {
        {&make_llama, WHOLE("vocab_size", 3), NULL, NULL},
        {&make_llama, NUMBER("attention.layer_norm_epsilon", 1), NULL, NULL},
        {&make_llama, TRUTH("rope.scaling.finetuned", 1), NULL, NULL},
        {&make_llama, WHOLE("rope.scaling.original_context_length", 32), NULL, NULL},
        {&make_llama, NUMBER("logit_scale", 1), NULL, NULL},
        {&make_llama, NUMBER("attention.scale", 0), NULL, NULL},
        {&make_llama, TRUTH("attention.causal", 1), NULL, NULL},
        {&make_llama, WHOLE("attention.sliding_window", 0), NULL, NULL},
        {&make_llama, WHOLE("attention.sliding_window", MAKE_CONTEXT), NULL, NULL},
        {&make_llama, WORD("tensor_data_layout", "Meta AI original pth"), NULL, NULL},
        {&make_olmoe, NUMBER("attention.clamp_kqv", 0), NULL, NULL},
        {&make_qwen2moe, WHOLE("expert_shared_count", 1), NULL, NULL},
        {&make_gpt_oss, NUMBER("rope.freq_base_swa", 1000), NULL, NULL},
        {&make_deepseek2, WHOLE("nextn_predict_layers", 0), NULL, NULL},
    };
    check_all(additions, sizeof additions / sizeof additions[0]);
}

static void keys_of_another_type_are_refused(void **state)
{
    (void)state;
    const addition additions[] = {
        {&make_llama, WORD("rope.scale_linear", "8"), NULL, "rope.scale_linear"},
        {&make_llama, WHOLE("rope.scaling.factor", 8), NULL, "rope.scaling.factor"},
        {&make_llama, WHOLE("rope.scaling.type", 2), NULL, "rope.scaling.type"},
        {&make_llama, NUMBER("expert_gating_func", 2), NULL, "expert_gating_func"},
        {&make_llama, WHOLE("expert_weights_norm", 1), NULL, "expert_weights_norm"},
        {&make_llama, WORD("logit_scale", "1"), NULL, "logit_scale"},
        {&make_llama, NUMBER("attention.sliding_window", 8), NULL, "sliding_window"},
        {&make_llama, NUMBER("hidden_act", 1), NULL, "hidden_act"},
        {&make_deepseek2, NUMBER("nextn_predict_layers", 1), NULL, "nextn_predict_layers"},
    };
    check_all(additions, sizeof additions / sizeof additions[0]);
}

static void unknown_tensors_are_refused(void **state)
{
    (void)state;
    const addition additions[] = {
        {&make_llama, NULL, VECTOR("attn_norm.bias", MAKE_HIDDEN), "blk.0.attn_norm.bias"},
        {&make_llama, NULL, VECTOR("attn_sinks.weight", MAKE_HEADS), "attn_sinks"},
        {&make_llama, NULL, VECTOR("attn_q_norm.weight", MAKE_DIM), "attn_q_norm"},
        {&make_llama, NULL, VECTOR("attn_q.scale", 1), "blk.0.attn_q.scale"},
        {&make_llama, NULL, VECTOR("ffn_up_exps.scale", 3), "shape 3"},
        {&make_llama, NULL, VECTOR("attn_rot_embd.weight", MAKE_DIM / 2), "attn_rot_embd"},
        {&make_llama, NULL, VECTOR("nextn.enorm.weight", MAKE_HIDDEN), "nextn.enorm"},
        {&make_llama, NULL, MATRIX("ffn_gate.weight", MAKE_HIDDEN, MAKE_WIDTH), "blk.0.ffn_gate.w"},
        {&make_llama, NULL, MATRIX("ffn_up.8.weight", MAKE_HIDDEN, MAKE_WIDTH), "ffn_up.8.weight"},
        {&make_llama, NULL, MATRIX("ffn_up.3.weight", MAKE_HIDDEN, MAKE_WIDTH), "ffn_up.3.weight"},
        {&make_llama, NULL, VECTOR("exp_probs_b.weight", MAKE_EXPERTS), "exp_probs_b.weight"},
        {&make_olmoe, NULL, VECTOR("post_ffw_norm.weight", MAKE_HIDDEN), "post_ffw_norm"},
        {&make_qwen2moe, NULL, VECTOR("ffn_down_shexp.bias", MAKE_HIDDEN), "ffn_down_shexp.bias"},
        {&make_gpt_oss, NULL, VECTOR("ffn_norm.weight", MAKE_HIDDEN), "ffn_norm"},
        {&make_deepseek2, NULL, VECTOR("attn_q.bias", ALL_HEADS), "attn_q.bias"},
        {&make_deepseek2, NULL, MATRIX("attn_q_a.weight", MAKE_HIDDEN, 32), "attn_q_a"},
        {&make_deepseek2, NULL, VECTOR("attn_sinks.weight", MAKE_HEADS), "attn_sinks"},
    };
    check_all(additions, sizeof additions / sizeof additions[0]);
}

static void tensors_of_no_matter_are_taken(void **state)
{
    (void)state;
    const make_tensor both[] = {{"attn_k_b.weight", {MAKE_DIM, MAKE_LATENT, MAKE_HEADS}, 0, 0},
                                {"attn_v_b.weight", {MAKE_LATENT, MAKE_DIM, MAKE_HEADS}, 0, 0},
                                {0}};
    const addition additions[] = {
        {&make_llama, NULL, VECTOR("ffn_up_exps.input_scale", MAKE_EXPERTS), NULL},
        {&make_llama, NULL, VECTOR("attn_q.input_scale", 1), NULL},
        {&make_deepseek2, NULL, both, NULL},
    };
    check_all(additions, sizeof additions / sizeof additions[0]);
}

/* ---- keys that are followed ---- */

static umbra_model *open_sound(const make_layout *layout, const make_key *keys,
                               const make_tensor *tensors, umbra_memory_file *file)
{
    umbra_model *model;
    umbra_error err = {0};
    if (make_open(layout, keys, tensors, NULL, file, &model, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    return model;
}

static umbra_config config_of(const make_layout *layout, const make_key *keys,
                              const make_tensor *tensors)
{
    umbra_memory_file file;
    umbra_model *model = open_sound(layout, keys, tensors, &file);
    umbra_config c = model->config;
    umbra_model_close(&model);
    umbra_memory_file_release(&file);
    return c;
}

static void keys_are_followed(void **state)
{
    (void)state;
    umbra_config c = config_of(&make_llama, NUMBER("rope.scale_linear", 8), NULL);
    assert_float_equal(c.rope[0].factor, 8, 0);
    assert_float_equal(c.rope[0].ramp_high, -1, 0);
    c = config_of(&make_llama, NUMBER("rope.scaling.attn_factor", 1.25), NULL);
    assert_float_equal(c.rope[0].magnitude, 1.25, 0);
    c = config_of(&make_llama, NUMBER("attention.scale", 0.25), NULL);
    assert_float_equal(c.usual.scale, 0.25, 0);
    c = config_of(&make_olmoe, WHOLE("expert_gating_func", 2), NULL);
    assert_int_equal(c.router.gating, UMBRA_GATING_SIGMOID);
    c = config_of(&make_olmoe, TRUTH("expert_weights_norm", 1), NULL);
    assert_true(c.router.renormalise);
    c = config_of(&make_llama, NUMBER("expert_weights_scale", 2.5), NULL);
    assert_float_equal(c.router.scale, 2.5, 0);
}

static void windows_are_the_layers_own(void **state)
{
    (void)state;
    umbra_memory_file file;
    const make_key *third = WHOLE("attention.sliding_window_pattern", 3);
    umbra_model *model = open_sound(&make_gpt_oss, third, NULL, &file);
    const umbra_attention *a = model->config.attention;
    assert_int_equal(a[0].window, 8);
    assert_int_equal(a[1].window, 8);
    assert_int_equal(a[2].window, 0);
    umbra_model_close(&model);
    umbra_memory_file_release(&file);
}

/* Where a file does not name its gating, a bias for choosing tells V3's from V2's. */
static void a_selection_bias_means_sigmoid(void **state)
{
    (void)state;
    const make_tensor bias[] = {{"exp_probs_b.bias", {MAKE_EXPERTS}, 1, 0}, {0}};
    assert_int_equal(config_of(&make_deepseek2, NULL, NULL).router.gating, UMBRA_GATING_SOFTMAX);
    assert_int_equal(config_of(&make_deepseek2, NULL, bias).router.gating, UMBRA_GATING_SIGMOID);
    umbra_config c = config_of(&make_deepseek2, WHOLE("expert_gating_func", 1), bias);
    assert_int_equal(c.router.gating, UMBRA_GATING_SOFTMAX);
}

static void two_names_must_agree(void **state)
{
    (void)state;
    const make_key same[] = {
        {"rope.scaling.factor", 4, MAKE_F32, NULL}, {"rope.scale_linear", 4, MAKE_F32, NULL}, {0}};
    const make_key other[] = {
        {"rope.scaling.factor", 4, MAKE_F32, NULL}, {"rope.scale_linear", 8, MAKE_F32, NULL}, {0}};
    const addition additions[] = {{&make_llama, same, NULL, NULL},
                                  {&make_llama, other, NULL, "llama.rope.scale_linear"}};
    check_all(additions, 2);
}

/* ---- blocks that foretell further tokens ---- */

static void mtp_blocks_are_left_out(void **state)
{
    (void)state;
    const make_key keys[] = {{"block_count", MAKE_LAYERS + 1, MAKE_U32, NULL},
                             {"nextn_predict_layers", 1, MAKE_U32, NULL},
                             {0}};
    const make_tensor nextn[] = {
        {"nextn.eh_proj.weight", {2 * MAKE_HIDDEN, MAKE_HIDDEN}, MAKE_LAYERS, 0},
        {"nextn.shared_head_norm.weight", {MAKE_HIDDEN}, MAKE_LAYERS, 0},
        {0}};
    umbra_memory_file file;
    umbra_model *model = open_sound(&make_deepseek2, keys, nextn, &file);
    const umbra_model_info *info = umbra_model_get_info(model);
    assert_int_equal(info->layers, MAKE_LAYERS);
    assert_int_equal(info->mtp_layers, 1);
    umbra_model_close(&model);
    umbra_memory_file_release(&file);

    const make_key all[] = {{"nextn_predict_layers", MAKE_LAYERS, MAKE_U32, NULL}, {0}};
    const make_key unsaid[] = {{"block_count", MAKE_LAYERS + 1, MAKE_U32, NULL}, {0}};
    const addition additions[] = {
        {&make_deepseek2, keys, NULL, "blk.3.nextn.eh_proj.weight"},
        {&make_deepseek2, all, NULL, "nextn_predict_layers is 3"},
        {&make_deepseek2, unsaid, nextn, "blk.3.nextn."},
    };
    check_all(additions, 3);
}

/* ---- files that are no models ---- */

static void what_lies_beside_a_model_is_refused(void **state)
{
    (void)state;
    static const char *const keys[][2] = {
        {"general.type", "adapter"}, {"general.type", "mmproj"}, {"adapter.type", "lora"}};
    for (size_t i = 0; i < 4; i++) {
        umbra_builder b;
        umbra_memory_file file;
        umbra_model *model;
        umbra_error err = {0};
        umbra_builder_init(&b, 3);
        umbra_builder_string(&b, "general.architecture", "llama");
        if (i < 3)
            umbra_builder_string(&b, keys[i][0], keys[i][1]);
        else
            umbra_builder_u32(&b, "general.quantization_version", 1);
        umbra_builder_finish(&b);
        umbra_memory_file_init(&file);
        umbra_memory_file_set(&file, b.bytes, b.count, b.count);
        assert_int_equal(umbra_model_open(&model, file.path, &err), UMBRA_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, i < 3 ? keys[i][0] : "quantization_version is 1"));
        umbra_memory_file_release(&file);
        umbra_builder_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_keys_are_refused),
        cmocka_unit_test(keys_of_no_matter_are_taken),
        cmocka_unit_test(keys_of_another_type_are_refused),
        cmocka_unit_test(unknown_tensors_are_refused),
        cmocka_unit_test(tensors_of_no_matter_are_taken),
        cmocka_unit_test(keys_are_followed),
        cmocka_unit_test(windows_are_the_layers_own),
        cmocka_unit_test(a_selection_bias_means_sigmoid),
        cmocka_unit_test(two_names_must_agree),
        cmocka_unit_test(mtp_blocks_are_left_out),
        cmocka_unit_test(what_lies_beside_a_model_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
