/* The tools that write model files: what they write must open, and say what it should. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <umbra/umbra.h>

#include "base/memory.h"
#include "gguf/gguf.h"

#define TINY    "models/tiny-q8_0.gguf"
#define FILES   UMBRA_TEST_DIR "/"
#define MESSAGE FILES "message.txt"

static const char text[] = "The index lists each shelf, and every page is where the index says.";

/* Runs a tool with arguments; returns its exit code. Its stderr is in MESSAGE. */
__attribute__((format(printf, 2, 3))) static int tool(const char *program, const char *format, ...)
{
    char arguments[1024], command[2048];
    va_list list;
    va_start(list, format);
    vsnprintf(arguments, sizeof arguments, format, list);
    va_end(list);
    snprintf(command, sizeof command, "%s %s 2>" MESSAGE, program, arguments);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void assert_message(const char *words)
{
    char message[1024] = "";
    FILE *f = fopen(MESSAGE, "r");
    assert_non_null(f);
    size_t n = fread(message, 1, sizeof message - 1, f);
    message[n] = '\0';
    fclose(f);
    if (!strstr(message, words))
        fail_msg("wanted \"%s\", got %s", words, message);
}

typedef struct logits {
    float *values; /* (tokens, vocabulary) */
    int tokens, vocabulary;
} logits;

static int take_logits(void *user, int index, const float *values)
{
    logits *l = user;
    memcpy(l->values + (size_t)index * (size_t)l->vocabulary, values,
           (size_t)l->vocabulary * sizeof *values);
    return 0;
}

/* The logits of every token of the text; share: of the way from the smallest budget to the one at
 * which nothing is read twice. */
static logits compute(const char *path, double share)
{
    umbra_error err = {0};
    umbra_model *model;
    umbra_engine *engine;
    if (umbra_model_open(&model, path, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    umbra_memory_plan plan;
    umbra_engine_options options = {.ram_bytes = UINT64_C(1) << 40, .threads = 2};
    assert_int_equal(umbra_engine_plan(model, &options, &plan, &err), UMBRA_OK);
    options.ram_bytes =
        plan.min_bytes + (uint64_t)(share * (double)(plan.all_bytes - plan.min_bytes));
    if (umbra_engine_open(&engine, model, &options, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    int32_t *ids;
    size_t n;
    assert_int_equal(umbra_tokenize(model, text, sizeof text - 1, true, false, &ids, &n, &err), 0);
    logits l = {NULL, (int)n, umbra_model_get_info(model)->vocabulary};
    l.values = calloc(n * (size_t)l.vocabulary, sizeof *l.values);
    umbra_token *tokens = calloc(n, sizeof *tokens);
    assert_true(l.values && tokens);
    for (size_t i = 0; i < n; i++)
        tokens[i] = (umbra_token){ids[i], 0, true};
    umbra_tap tap = {.user = &l, .logits = take_logits};
    if (umbra_engine_eval(engine, tokens, (int)n, &tap, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    free(tokens);
    umbra_free_tokens(ids);
    umbra_engine_close(&engine);
    umbra_model_close(&model);
    return l;
}

static void assert_same_logits(const char *a, const char *b, double share)
{
    logits x = compute(a, 1), y = compute(b, share);
    assert_int_equal(x.tokens, y.tokens);
    assert_int_equal(x.vocabulary, y.vocabulary);
    assert_memory_equal(x.values, y.values,
                        (size_t)x.tokens * (size_t)x.vocabulary * sizeof *x.values);
    free(x.values);
    free(y.values);
}

static void wider_experts_say_the_same(void **state)
{
    (void)state;
    static const char wide[] = FILES "wide.gguf";
    assert_int_equal(tool(WIDEN_GGUF, TINY " 3 %s", wide), 0);
    umbra_error err;
    umbra_model *before, *after;
    assert_int_equal(umbra_model_open(&before, TINY, &err), UMBRA_OK);
    assert_int_equal(umbra_model_open(&after, wide, &err), UMBRA_OK);
    const umbra_model_info *a = umbra_model_get_info(before), *b = umbra_model_get_info(after);
    assert_int_equal(b->expert_bytes, 3 * a->expert_bytes);
    assert_int_equal(b->expert_width, 3 * a->expert_width);
    assert_int_equal(b->dense_bytes, a->dense_bytes);
    umbra_model_close(&before);
    umbra_model_close(&after);
    assert_same_logits(TINY, wide, 0.2);
    unlink(wide);
}

static void widening_refuses(void **state)
{
    (void)state;
    assert_int_equal(tool(WIDEN_GGUF, TINY " 0 " FILES "x.gguf"), 2);
    assert_int_equal(tool(WIDEN_GGUF, TINY " 2x " FILES "x.gguf"), 2);
    assert_int_equal(tool(WIDEN_GGUF, "README.md 2 " FILES "x.gguf"), 1);
    assert_message("README.md: not a GGUF file");
    assert_int_equal(tool(WIDEN_GGUF, "tests/gguf/corpus/sound.gguf 2 " FILES "x.gguf"), 1);
    assert_message("sound.gguf");
    assert_int_equal(tool(WIDEN_GGUF, TINY " 2 " FILES "no/x.gguf"), 1);
    assert_message("no/x.gguf.part: cannot create");
    assert_int_equal(access(FILES "x.gguf", F_OK), -1);
    assert_int_equal(access(FILES "x.gguf.part", F_OK), -1);
}

static void assert_tensor(const umbra_gguf *gguf, const char *name, const char *type, uint64_t x,
                          uint64_t y, uint64_t z)
{
    const umbra_gguf_tensor *t = umbra_gguf_tensor_find(gguf, name);
    if (!t)
        fail_msg("no tensor %s", name);
    assert_string_equal(umbra_dtype_get(t->dtype).name, type);
    assert_int_equal(t->shape[0], x);
    assert_int_equal(t->shape[1], y);
    assert_int_equal(t->shape[2], z);
}

static int check_finite(void *user, int index, const float *values)
{
    (void)user;
    (void)index;
    for (int i = 0; i < 1024; i++)
        assert_true(isfinite(values[i]));
    return 0;
}

static umbra_gguf *make_random(const char *arguments)
{
    umbra_error err;
    umbra_gguf *gguf;
    assert_int_equal(tool(RANDOM_GGUF, "%s", arguments), 0);
    if (umbra_gguf_open(&gguf, FILES "random.gguf", &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    unlink(FILES "random.gguf");
    return gguf;
}

static void random_files_have_the_shapes(void **state)
{
    (void)state;
    umbra_gguf *g = make_random("test-qwen3moe " FILES "random.gguf");
    assert_tensor(g, "token_embd.weight", "Q4_K", 256, 1024, 1);
    assert_tensor(g, "blk.0.attn_q.weight", "Q4_K", 256, 256, 1);
    assert_tensor(g, "blk.0.attn_v.weight", "Q6_K", 256, 128, 1);
    assert_tensor(g, "blk.1.attn_v.weight", "Q4_K", 256, 128, 1);
    assert_tensor(g, "blk.3.ffn_down_exps.weight", "Q6_K", 256, 256, 8);
    assert_tensor(g, "blk.7.ffn_up_exps.weight", "Q4_K", 256, 256, 8);
    assert_tensor(g, "output.weight", "Q6_K", 256, 1024, 1);
    umbra_gguf_close(&g);

    umbra_error err;
    umbra_model *model;
    assert_int_equal(tool(RANDOM_GGUF, "test-qwen3moe " FILES "random.gguf --seed 5"), 0);
    if (umbra_model_open(&model, FILES "random.gguf", &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    const umbra_model_info *info = umbra_model_get_info(model);
    assert_int_equal(info->vocabulary, 1024);
    assert_int_equal(info->layers, 8);
    assert_int_equal(info->experts_used, 2);
    int32_t *ids;
    size_t n;
    assert_int_equal(umbra_tokenize(model, "abab", 4, true, false, &ids, &n, &err), UMBRA_OK);
    assert_int_equal(n, 2);
    umbra_free_tokens(ids);
    umbra_model_close(&model);

    g = make_random("test-deepseek2 " FILES "random.gguf --layers 2");
    assert_tensor(g, "blk.0.ffn_up.weight", "Q4_K", 256, 512, 1);
    assert_tensor(g, "blk.1.attn_k_b.weight", "Q5_0", 32, 256, 4);
    assert_tensor(g, "blk.1.ffn_down_shexp.weight", "Q6_K", 256, 256, 1);
    assert_tensor(g, "blk.1.exp_probs_b.bias", "F32", 8, 1, 1);
    assert_null(umbra_gguf_tensor_find(g, "blk.2.attn_norm.weight"));
    umbra_gguf_close(&g);

    g = make_random("test-glm4moe " FILES "random.gguf");
    assert_tensor(g, "blk.2.attn_q.bias", "F32", 256, 1, 1);
    assert_tensor(g, "blk.2.ffn_gate_exps.weight", "Q4_K", 256, 352, 8);
    assert_tensor(g, "blk.1.ffn_down_exps.weight", "Q5_0", 352, 256, 8);
    assert_tensor(g, "blk.2.ffn_down_exps.weight", "Q8_0", 352, 256, 8);
    umbra_gguf_close(&g);
    assert_int_equal(tool(RANDOM_GGUF, "test-glm4moe " FILES "random.gguf"), 0);
    assert_int_equal(umbra_model_open(&model, FILES "random.gguf", &err), UMBRA_OK);
    assert_int_equal(umbra_model_get_info(model)->moe_layers, 2);
    umbra_model_close(&model);
}

/* Layouts with delta nets, several residual streams, n-grams and hashed routing open, and speak. */
static void random_files_run(void **state)
{
    (void)state;
    static const char *const shapes[] = {"test-qwen35moe", "test-gpt-oss",
                                         "test-qwen4exp --rows 500", "test-deepseek4"};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        char arguments[128];
        size_t name = strcspn(shapes[i], " ");
        umbra_error err;
        umbra_model *model;
        umbra_engine *engine;
        const umbra_token tokens[] = {{5, 0, false}, {7, 0, false}, {9, 0, true}};
        umbra_tap tap = {.logits = check_finite};
        snprintf(arguments, sizeof arguments, "%.*s " FILES "random.gguf%s", (int)name, shapes[i],
                 shapes[i] + name);
        assert_int_equal(tool(RANDOM_GGUF, "%s", arguments), 0);
        if (umbra_model_open(&model, FILES "random.gguf", &err) != UMBRA_OK)
            fail_msg("%s: %s", shapes[i], err.message);
        assert_int_equal(umbra_engine_open(&engine, model, NULL, &err), UMBRA_OK);
        assert_int_equal(umbra_engine_eval(engine, tokens, 3, &tap, &err), UMBRA_OK);
        umbra_engine_close(&engine);
        umbra_model_close(&model);
    }
    umbra_gguf *g = make_random("test-qwen4exp " FILES "random.gguf --rows 500");
    assert_tensor(g, "per_layer_token_embd.weight", "IQ4_NL", 32, 7936, 1);
    assert_tensor(g, "blk.0.ffn_up_exps.weight", "IQ3_XXS", 512, 160, 8);
    assert_tensor(g, "blk.0.ffn_down_exps.weight", "IQ4_NL", 160, 512, 8);
    umbra_gguf_close(&g);
}

static void random_files_refuse(void **state)
{
    (void)state;
    assert_int_equal(tool(RANDOM_GGUF, "no-such-shape " FILES "random.gguf"), 2);
    assert_message("qwen3-30b-a3b-q4_k_m");
    assert_int_equal(tool(RANDOM_GGUF, "kimi-k2-62 " FILES "random.gguf"), 1);
    assert_message("\"62\" must be a number from 1 to 61");
    assert_int_equal(tool(RANDOM_GGUF, "test-qwen3moe " FILES "random.gguf --layers 0"), 1);
}

#define SHARD(number) FILES "shard-0000" number "-of-00003.gguf"

static void shards_are_one_model(void **state)
{
    (void)state;
    assert_int_equal(tool(SPLIT_GGUF, TINY " 3 " FILES "shard"), 0);
    umbra_error err;
    umbra_model *whole, *shards;
    assert_int_equal(umbra_model_open(&whole, TINY, &err), UMBRA_OK);
    char a[UMBRA_MODEL_HASH_CHARS], b[UMBRA_MODEL_HASH_CHARS];
    assert_int_equal(umbra_model_hash(whole, a, &err), UMBRA_OK);
    static const char *const paths[] = {SHARD("1"), SHARD("2"), SHARD("3")};
    for (int i = 0; i < 3; i++) { /* any of them stands for all */
        if (umbra_model_open(&shards, paths[i], &err) != UMBRA_OK)
            fail_msg("%s", err.message);
        assert_int_equal(umbra_model_hash(shards, b, &err), UMBRA_OK);
        assert_string_equal(a, b);
        const umbra_model_info *x = umbra_model_get_info(whole), *y = umbra_model_get_info(shards);
        assert_int_equal(x->expert_bytes, y->expert_bytes);
        assert_int_equal(x->dense_bytes, y->dense_bytes);
        assert_in_range(y->file_bytes, x->file_bytes, x->file_bytes + 4096);
        umbra_model_close(&shards);
    }
    umbra_model_close(&whole);
    assert_same_logits(TINY, SHARD("1"), 1);
    assert_same_logits(TINY, SHARD("2"), 0);
}

static void expect_refusal(int status, const char *words)
{
    umbra_error err = {0};
    umbra_gguf *gguf;
    int rc = umbra_gguf_open_all(&gguf, SHARD("1"), &err);
    if (rc != status || !strstr(err.message, words))
        fail_msg("wanted \"%s\", got %s: %s", words, umbra_status_name(rc), err.message);
    assert_null(gguf);
}

static void splitting_refuses(void **state)
{
    (void)state;
    assert_int_equal(tool(SPLIT_GGUF, TINY " 1 " FILES "x"), 2);
    assert_int_equal(tool(SPLIT_GGUF, TINY " 1000 " FILES "x"), 1);
    assert_message("has only 98 tensors");
    assert_int_equal(tool(SPLIT_GGUF, SHARD("1") " 2 " FILES "x"), 1);
    assert_message("is one of 3 shards");
    assert_int_equal(access(FILES "x-00001-of-00002.gguf", F_OK), -1);
}

/* Leaves out, exchanges and renames the shards that the test before has made. */
static void wrong_shards_are_named(void **state)
{
    (void)state;
    umbra_error err;
    umbra_gguf *gguf;
    assert_int_equal(rename(SHARD("2"), FILES "two.gguf"), 0);
    expect_refusal(UMBRA_E_IO, "shard 2 of 3: " SHARD("2") ": cannot open");
    assert_int_equal(link(SHARD("3"), SHARD("2")), 0);
    expect_refusal(UMBRA_E_MISMATCH, SHARD("2") ": is shard 3 of 3 by its keys, not shard 2 of 3");
    unlink(SHARD("2"));
    assert_int_equal(system("cp " TINY " " SHARD("2")), 0);
    expect_refusal(UMBRA_E_MISMATCH, SHARD("2") ": is a whole model by its keys");
    unlink(SHARD("2"));
    assert_int_equal(umbra_gguf_open_all(&gguf, FILES "two.gguf", &err), UMBRA_E_MISMATCH);
    assert_non_null(strstr(err.message, "a name that ends in -00002-of-00003.gguf"));

    /* The same number of shards of another model. */
    assert_int_equal(tool(RANDOM_GGUF, "test-qwen3moe " FILES "random.gguf"), 0);
    assert_int_equal(tool(SPLIT_GGUF, FILES "random.gguf 3 " FILES "other"), 0);
    assert_int_equal(rename(FILES "other-00002-of-00003.gguf", SHARD("2")), 0);
    expect_refusal(UMBRA_E_MISMATCH, SHARD("2") ": belongs to a model of ");
    /* And of the same one, cut elsewhere: a tensor twice. */
    assert_int_equal(tool(WIDEN_GGUF, TINY " 4 " FILES "wide.gguf"), 0);
    assert_int_equal(tool(SPLIT_GGUF, FILES "wide.gguf 3 " FILES "other"), 0);
    assert_int_equal(rename(FILES "other-00002-of-00003.gguf", SHARD("2")), 0);
    expect_refusal(UMBRA_E_MISMATCH, "is in " FILES "shard-0000");
    assert_int_equal(rename(FILES "two.gguf", SHARD("2")), 0);
    assert_int_equal(umbra_gguf_open_all(&gguf, SHARD("1"), &err), UMBRA_OK);
    umbra_gguf_close(&gguf);
    for (long n = 1; gguf == NULL; n++) { /* until nothing fails */
        umbra_memory_fail_after(n);
        int rc = umbra_gguf_open_all(&gguf, SHARD("3"), &err);
        umbra_memory_fail_after(0);
        assert_int_equal(rc, gguf ? UMBRA_OK : UMBRA_E_NOMEM);
    }
    umbra_gguf_close(&gguf);
    assert_int_equal(system("rm " FILES "*.gguf"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wider_experts_say_the_same),
        cmocka_unit_test(widening_refuses),
        cmocka_unit_test(random_files_have_the_shapes),
        cmocka_unit_test(random_files_run),
        cmocka_unit_test(random_files_refuse),
        cmocka_unit_test(shards_are_one_model),
        cmocka_unit_test(splitting_refuses),
        cmocka_unit_test(wrong_shards_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
