/* Models that are well-formed GGUF but cannot be: each is refused with a message that names what is
 * wrong, and one without a fault is opened and run. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include <umbra/engine.h>
#include <umbra/model.h>

#include "make.h"

enum { HIDDEN = 256, WIDTH = 256, EXPERTS = 4, USED = 2, HEADS = 2, DIM = 16, LAYERS = 2 };
enum { TYPES_MAX = 32 };

static void put_tensor(umbra_builder *b, const fault *f, const char *name, uint32_t dtype,
                       uint64_t d0, uint64_t d1, uint64_t d2)
{
    if (make_hits(f, name, ABSENT))
        return;
    uint64_t shape[3] = {d0, d1, d2};
    uint32_t dimensions = d2 ? 3 : d1 ? 2 : 1;
    if (make_hits(f, name, SHAPE))
        shape[dimensions - 1] = f->value;
    if (make_hits(f, name, DTYPE))
        dtype = (uint32_t)f->value;
    umbra_builder_tensor(b, name, dtype, dimensions, shape, NULL);
}

static void put_tensors(umbra_builder *b, const fault *f)
{
    put_tensor(b, f, "token_embd.weight", UMBRA_Q8_0, HIDDEN, MAKE_TOKENS, 0);
    put_tensor(b, f, "output_norm.weight", UMBRA_F32, HIDDEN, 0, 0);
    for (int l = 0; l < LAYERS; l++) {
        const struct {
            const char *name;
            uint32_t dtype[LAYERS];
            uint64_t d0, d1, d2;
        } tensors[] = {
            {"attn_norm", {UMBRA_F32, UMBRA_F32}, HIDDEN, 0, 0},
            {"attn_q", {UMBRA_Q4_0, UMBRA_IQ1_S}, HIDDEN, HEADS * DIM, 0},
            {"attn_k", {UMBRA_Q8_0, UMBRA_IQ2_XXS}, HIDDEN, DIM, 0},
            {"attn_v", {UMBRA_F16, UMBRA_TQ1_0}, HIDDEN, DIM, 0},
            {"attn_q_norm", {UMBRA_F32, UMBRA_F32}, DIM, 0, 0},
            {"attn_k_norm", {UMBRA_F32, UMBRA_F32}, DIM, 0, 0},
            {"attn_output", {UMBRA_BF16, UMBRA_BF16}, HEADS * DIM, HIDDEN, 0},
            {"ffn_norm", {UMBRA_F32, UMBRA_F32}, HIDDEN, 0, 0},
            {"ffn_gate_inp", {UMBRA_F32, UMBRA_F32}, HIDDEN, EXPERTS, 0},
            {"ffn_gate_exps", {UMBRA_Q4_0, UMBRA_IQ2_S}, HIDDEN, WIDTH, EXPERTS},
            {"ffn_up_exps", {UMBRA_Q8_0, UMBRA_IQ3_XXS}, HIDDEN, WIDTH, EXPERTS},
            {"ffn_down_exps", {UMBRA_F32, UMBRA_NVFP4}, WIDTH, HIDDEN, EXPERTS},
        };
        for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s.weight", l, tensors[i].name);
            put_tensor(b, f, name, tensors[i].dtype[l], tensors[i].d0, tensors[i].d1,
                       tensors[i].d2);
        }
    }
}

/* Builds the model with the fault and opens it. */
static int open_with(const fault *f, umbra_memory_file *file, umbra_model **model, umbra_error *err)
{
    umbra_builder b;
    umbra_builder_init(&b, 3);
    make_string(&b, f, "general.architecture", "qwen3moe");
    make_u32(&b, f, "qwen3moe.block_count", LAYERS);
    make_u32(&b, f, "qwen3moe.context_length", 64);
    make_u32(&b, f, "qwen3moe.embedding_length", HIDDEN);
    make_u32(&b, f, "qwen3moe.attention.head_count", HEADS);
    make_u32(&b, f, "qwen3moe.attention.head_count_kv", 1);
    make_u32(&b, f, "qwen3moe.attention.key_length", DIM);
    make_u32(&b, f, "qwen3moe.attention.value_length", DIM);
    make_u32(&b, f, "qwen3moe.expert_count", EXPERTS);
    make_u32(&b, f, "qwen3moe.expert_used_count", USED);
    make_u32(&b, f, "qwen3moe.expert_feed_forward_length", WIDTH);
    if (f->name && f->text && f->kind == TEXT &&
        (strstr(f->name, "rope") || strstr(f->name, "name")))
        umbra_builder_string(&b, f->name, f->text);
    if (make_hits(f, "qwen3moe.rope.freq_base", VALUE))
        umbra_builder_f32(&b, f->name, -1.0f);
    make_tokenizer(&b, f);
    put_tensors(&b, f);
    umbra_builder_finish(&b);
    umbra_memory_file_init(file);
    umbra_memory_file_set(file, b.bytes, b.count, b.count);
    umbra_builder_release(&b);
    return umbra_model_open(model, file->path, err);
}

static const fault faults[] = {
    {"general.architecture", ABSENT, 0, NULL, "general.architecture"},
    {"general.architecture", TEXT, 0, "mamba", "\"mamba\" is not supported; supported: qwen3moe"},
    {"general.architecture", TEXT, 0, "\x1b[2J", "\\x1b"},
    {"qwen3moe.block_count", ABSENT, 0, NULL, "block_count"},
    {"qwen3moe.block_count", VALUE, 0, NULL, "block_count is 0"},
    {"qwen3moe.block_count", VALUE, 3, NULL, "blk.2."},
    {"qwen3moe.block_count", VALUE, 4000000000u, NULL, "block_count"},
    {"qwen3moe.embedding_length", VALUE, 0, NULL, "embedding_length"},
    {"qwen3moe.embedding_length", VALUE, 64, NULL, "shape"},
    {"qwen3moe.context_length", VALUE, 0, NULL, "context_length"},
    {"qwen3moe.attention.head_count", VALUE, 0, NULL, "head_count"},
    {"qwen3moe.attention.head_count", VALUE, 3, NULL, "attn_q"},
    {"qwen3moe.attention.head_count_kv", VALUE, 0, NULL, "head_count_kv"},
    {"qwen3moe.attention.head_count_kv", VALUE, 3, NULL, "cannot share"},
    {"qwen3moe.attention.key_length", VALUE, 15, NULL, "odd"},
    {"qwen3moe.attention.key_length", VALUE, 100000, NULL, "key_length"},
    {"qwen3moe.expert_count", VALUE, 0, NULL, "expert_count is 0"},
    {"qwen3moe.expert_count", VALUE, 5, NULL, "ffn_gate_inp"},
    {"qwen3moe.expert_count", VALUE, 65536, NULL, "expert_count"},
    {"qwen3moe.expert_used_count", VALUE, 0, NULL, "expert_used_count is 0"},
    {"qwen3moe.expert_used_count", VALUE, 5, NULL, "5 experts are used of only 4"},
    {"qwen3moe.expert_used_count", VALUE, 65, NULL, "expert_used_count"},
    {"qwen3moe.expert_feed_forward_length", ABSENT, 0, NULL, "expert_feed_forward_length"},
    {"qwen3moe.expert_feed_forward_length", VALUE, 64, NULL, "ffn_gate_exps"},
    {"qwen3moe.rope.scaling.type", TEXT, 0, "longrope", "\"longrope\" is not supported"},
    {"qwen3moe.rope.freq_base", VALUE, 0, NULL, "freq_base"},
    {"tokenizer.ggml.model", ABSENT, 0, NULL, "tokenizer.ggml.model"},
    {"tokenizer.ggml.model", TEXT, 0, "rwkv", "rwkv"},
    {"tokenizer.ggml.pre", TEXT, 0, "klingon", "klingon"},
    {"token_embd.weight", ABSENT, 0, NULL, "token_embd.weight is missing"},
    {"token_embd.weight", SHAPE, 256, NULL, "256 x 256"},
    {"output_norm.weight", ABSENT, 0, NULL, "output_norm"},
    {"output_norm.weight", DTYPE, UMBRA_F16, NULL, "only F32"},
    {"blk.1.attn_q.weight", ABSENT, 0, NULL, "blk.1.attn_q.weight is missing"},
    {"blk.0.attn_k.weight", SHAPE, 32, NULL, "attn_k"},
    {"blk.0.attn_k_norm.weight", SHAPE, 8, NULL, "attn_k_norm"},
    {"blk.1.ffn_gate_inp.weight", SHAPE, 3, NULL, "ffn_gate_inp"},
    {"blk.1.ffn_gate_exps.weight", SHAPE, 3, NULL, "ffn_gate_exps"},
    {"blk.0.ffn_up_exps.weight", ABSENT, 0, NULL, "ffn_up_exps"},
    {"blk.1.ffn_down_exps.weight", SHAPE, 5, NULL, "ffn_down_exps"},
};

/* What a survey says stands in the way; it names what opening names, but for architectures. */
static void check_survey(const char *path, const fault *f)
{
    static umbra_model_survey s;
    umbra_error err = {0};
    if (umbra_model_survey_file(&s, path, &err) != UMBRA_OK)
        fail_msg("%s: %s", f->name, err.message);
    bool unknown = strcmp(f->name, "general.architecture") == 0, told = unknown;
    assert_true(s.architecture_known != unknown);
    assert_in_range(s.n_obstacles, 1, UMBRA_SURVEY_OBSTACLES);
    for (int i = 0; i < s.n_obstacles; i++)
        told = told || strstr(s.obstacle[i], f->message);
    if (!told)
        fail_msg("%s: \"%s\"", f->name, s.obstacle[0]);
    assert_true(s.tensors > 10 && s.keys > 10 && s.expert_bytes > 0);
    assert_true(s.expert_bytes + s.other_bytes < s.file_bytes);
    assert_non_null(strstr(s.roles, "attn_norm, attn_q, "));
    assert_null(strstr(strstr(s.roles, "attn_norm") + 1, "attn_norm,"));
}

static void a_survey_of_a_model_that_runs(void **state)
{
    (void)state;
    static umbra_model_survey s;
    const fault f = {"general.name", TEXT, 0, "Some", NULL};
    umbra_memory_file file;
    umbra_model *model;
    umbra_error err = {0};
    assert_int_equal(open_with(&f, &file, &model, &err), UMBRA_OK);
    assert_int_equal(umbra_model_survey_file(&s, file.path, &err), UMBRA_OK);
    assert_int_equal(s.n_obstacles, 0);
    assert_string_equal(s.architecture, "qwen3moe");
    assert_string_equal(s.name, "Some");
    assert_int_equal(s.layers, LAYERS);
    assert_int_equal(s.experts, EXPERTS);
    assert_int_equal(s.experts_used, USED);
    assert_int_equal(s.hidden, HIDDEN);
    assert_int_equal(s.expert_bytes, umbra_model_get_info(model)->expert_bytes);
    umbra_model_close(&model);
    umbra_memory_file_release(&file);
    assert_int_equal(umbra_model_survey_file(&s, "/no/such/file", &err), UMBRA_E_IO);
}

static void impossible_models_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        umbra_memory_file file;
        umbra_model *model;
        umbra_error err = {0};
        int rc = open_with(&faults[i], &file, &model, &err);
        if (rc == UMBRA_OK || model || !strstr(err.message, faults[i].message) ||
            !strstr(err.message, file.path))
            fail_msg("%s: %d, \"%s\"", faults[i].name, rc, err.message);
        check_survey(file.path, &faults[i]);
        umbra_memory_file_release(&file);
    }
}

/* Types without kernels open (inspect must be able to show them) but do not run. */
static void types_without_kernels_do_not_run(void **state)
{
    (void)state;
    static const fault unknown[] = {
        {"blk.0.attn_q.weight", DTYPE, UMBRA_I8, NULL, "I8"},
        {"blk.1.ffn_up_exps.weight", DTYPE, UMBRA_Q8_1, NULL, "Q8_1"},
    };
    for (size_t i = 0; i < 2; i++) {
        umbra_memory_file file;
        umbra_model *model;
        umbra_engine *engine;
        umbra_error err = {0};
        assert_int_equal(open_with(&unknown[i], &file, &model, &err), 0);
        umbra_model_type types[TYPES_MAX];
        int n = umbra_model_get_types(model, types, TYPES_MAX), missing = 0;
        for (int t = 0; t < n; t++)
            missing += !types[t].supported;
        assert_int_equal(missing, 1);
        umbra_engine_options options = {.threads = 1};
        assert_int_equal(umbra_engine_open(&engine, model, &options, &err), UMBRA_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, unknown[i].message));
        assert_non_null(strstr(err.message, "not supported; supported: F32, F16, Q4_0"));
        umbra_model_close(&model);
        umbra_memory_file_release(&file);
    }
}

/* Many weight types at once, all zeros: every logit is zero, nothing is divided by zero. */
static void a_model_of_zeros_runs(void **state)
{
    (void)state;
    const fault none = {0};
    umbra_memory_file file;
    umbra_model *model;
    umbra_error err = {0};
    if (open_with(&none, &file, &model, &err) != 0)
        fail_msg("%s", err.message);
    for (int i = 0; umbra_kernel_name(i); i++) {
        umbra_engine *engine;
        umbra_engine_options options = {.threads = 1, .kernels = umbra_kernel_name(i)};
        if (umbra_engine_open(&engine, model, &options, &err) != 0)
            fail_msg("%s", err.message);
        umbra_token tokens[3] = {{1, 0, true}, {2, 0, true}, {256, 0, true}};
        assert_int_equal(umbra_engine_eval(engine, tokens, 3, NULL, &err), 0);
        umbra_engine_close(&engine);
    }
    umbra_model_close(&model);
    umbra_memory_file_release(&file);
}

/* A name is shown and recorded as it is: whole characters, and nothing that a terminal obeys. */
static void names_are_plain_text(void **state)
{
    (void)state;
    char accents[129] = "", kept[127] = "";
    for (int i = 0; i < 64; i++)
        strcat(accents, "\xc3\xa9");
    memcpy(kept, accents, 126);
    const struct {
        const char *name, *shown;
    } cases[] = {
        {"Mixture \"8x7B\"", "Mixture \"8x7B\""},
        {accents, kept},
        {"\x1b]0;title\x07\x1b[31mred\n", "\\x1b]0;title\\x07\\x1b[31mred\\x0a"},
        {"caf\xe9 \xe2\x80\xaetxt", "caf\\xe9 \\xe2\\x80\\xaetxt"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const fault f = {"general.name", TEXT, 0, cases[i].name, NULL};
        umbra_memory_file file;
        umbra_model *model;
        umbra_error err = {0};
        if (open_with(&f, &file, &model, &err) != 0)
            fail_msg("%s", err.message);
        assert_string_equal(umbra_model_get_info(model)->name, cases[i].shown);
        umbra_model_close(&model);
        umbra_memory_file_release(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(impossible_models_are_refused),
        cmocka_unit_test(a_survey_of_a_model_that_runs),
        cmocka_unit_test(types_without_kernels_do_not_run),
        cmocka_unit_test(a_model_of_zeros_runs),
        cmocka_unit_test(names_are_plain_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
