/* What files of a layout may have beside its own tensors is computed: biases, scales of experts.
 * What is left out leaves no trace. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"

/* Experts' weights are halved as often as e % 3, and a scale per expert makes that good. Powers of
 * two change no rounding. */
static void halve_experts(umbra_builder *b, const char *stem, int layer)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%d.%s.scale", layer, stem);
    float *scale = (float *)(b->bytes + umbra_builder_field(b, UMBRA_FIELD_DATA, name, 0)->at);
    snprintf(name, sizeof name, "blk.%d.%s.weight", layer, stem);
    float *weight = (float *)(b->bytes + umbra_builder_field(b, UMBRA_FIELD_DATA, name, 0)->at);
    for (int e = 0; e < MAKE_EXPERTS; e++) {
        scale[e] = (float)(1 << e % 3);
        for (int i = 0; i < MAKE_WIDTH * MAKE_HIDDEN; i++)
            weight[e * MAKE_WIDTH * MAKE_HIDDEN + i] /= scale[e];
    }
}

static void scales_of_experts_are_followed(void **state)
{
    (void)state;
    static const char *const stems[] = {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"};
    const make_tensor scales[] = {{"ffn_gate_exps.scale", {MAKE_EXPERTS}, 0, 0},
                                  {"ffn_up_exps.scale", {MAKE_EXPERTS}, 0, 0},
                                  {"ffn_down_exps.scale", {MAKE_EXPERTS}, 0, 0},
                                  {0}};
    const umbra_engine_options options = {.threads = 1};
    umbra_builder b;
    make_build(&b, &make_gpt_oss, NULL, scales, NULL);
    for (int l = 0; l < MAKE_LAYERS; l++)
        for (int i = 0; i < 3; i++)
            halve_experts(&b, stems[i], l);
    opened o = open_built(&b, &options);
    answer *got = evaluate(&o, -1), *want = answer_of(&make_gpt_oss, NULL, NULL, &options);
    assert_memory_equal(got->logits, want->logits, sizeof got->logits);
    free(got);
    free(want);
    close_it(&o);
}

/* Each alone makes a difference in every layout that takes it. */
static void biases_are_followed(void **state)
{
    (void)state;
    static const make_tensor biases[][2] = {
        {{"attn_output.bias", {MAKE_HIDDEN}, 0, 0}, {0}},
        {{"ffn_gate_inp.bias", {MAKE_EXPERTS}, 1, 0}, {0}},
        {{"exp_probs_b.bias", {MAKE_EXPERTS}, 1, 0}, {0}},
        {{"ffn_gate_exps.bias", {MAKE_WIDTH, MAKE_EXPERTS}, 1, 0}, {0}},
        {{"ffn_up_exps.bias", {MAKE_WIDTH, MAKE_EXPERTS}, 1, 0}, {0}},
        {{"ffn_down_exps.bias", {MAKE_HIDDEN, MAKE_EXPERTS}, 1, 0}, {0}},
        /* not with a compressed cache */
        {{"attn_q.bias", {MAKE_HEADS * MAKE_DIM}, 0, 0}, {0}},
        {{"attn_k.bias", {MAKE_HEADS * MAKE_DIM}, 0, 0}, {0}},
        {{"attn_v.bias", {MAKE_HEADS * MAKE_DIM}, 0, 0}, {0}},
    };
    const make_layout *const layouts[] = {&make_llama, &make_olmoe, &make_deepseek2};
    const umbra_engine_options options = {.threads = 1};
    for (int i = 0; i < 3; i++) {
        answer *without = answer_of(layouts[i], NULL, NULL, &options);
        for (int k = 0; k < (i == 2 ? 6 : 9); k++) {
            answer *with = answer_of(layouts[i], NULL, biases[k], &options);
            assert_true(largest_difference(with, without) > 1e-3);
            free(with);
        }
        free(without);
    }
}

/* Opens the layout with one id of a table of ids replaced. */
static void check_ids(int at, int32_t id, const char *message)
{
    umbra_builder b;
    opened o = {0};
    umbra_error err = {0};
    const char *name = "blk.0.ffn_gate_tid2eid.weight";
    make_build(&b, &make_deepseek4, NULL, NULL, NULL);
    int32_t *ids = (int32_t *)(b.bytes + umbra_builder_field(&b, UMBRA_FIELD_DATA, name, 0)->at);
    ids[at] = id == MAKE_EXPERTS + 1 ? ids[at - 1] : id;
    umbra_memory_file_init(&o.file);
    umbra_memory_file_set(&o.file, b.bytes, b.count, b.count);
    umbra_builder_release(&b);
    assert_int_equal(umbra_model_open(&o.model, o.file.path, &err), 0);
    assert_int_equal(umbra_engine_open(&o.engine, o.model, NULL, &err), UMBRA_E_FORMAT);
    assert_non_null(strstr(err.message, message));
    close_it(&o);
}

static void ids_of_experts_are_checked(void **state)
{
    (void)state;
    check_ids(0, -1, "expert -1 for token 0");
    check_ids(7, MAKE_EXPERTS, "expert 8 for token 3");
    check_ids(9, MAKE_EXPERTS + 1, "for token 4, which must be a distinct one of 0..7");
}

static void mtp_blocks_leave_no_trace(void **state)
{
    (void)state;
    const make_key keys[] = {{"block_count", MAKE_LAYERS + 1, MAKE_U32, NULL},
                             {"nextn_predict_layers", 1, MAKE_U32, NULL},
                             {0}};
    const make_tensor nextn[] = {
        {"nextn.eh_proj.weight", {2 * MAKE_HIDDEN, MAKE_HIDDEN}, MAKE_LAYERS, 0}, {0}};
    const umbra_engine_options options = {.threads = 1};
    answer *with = answer_of(&make_deepseek2, keys, nextn, &options);
    answer *without = answer_of(&make_deepseek2, NULL, NULL, &options);
    assert_memory_equal(with, without, sizeof *with);
    free(with);
    free(without);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_of_experts_are_followed),
        cmocka_unit_test(biases_are_followed),
        cmocka_unit_test(ids_of_experts_are_checked),
        cmocka_unit_test(mtp_blocks_leave_no_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
