/* What the public structs promise: zeros and NULL are the default, room that is not zero is
 * refused, and no struct changes its size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include <umbra/lab/lab.h>
#include <umbra/umbra.h>
#include <umbra/under.h>

static const char tiny[] = "models/tiny-q8_0.gguf";

/* Programs that were compiled with other headers of this version hold structs of these sizes: an
 * option that is added takes its bytes from `reserved`. */
static void test_sizes(void **state)
{
    (void)state;
    if (sizeof(void *) != 8 || sizeof(long) != 8)
        skip();
#define SIZE(name, bytes) assert_int_equal(sizeof(name), bytes)
    SIZE(umbra_engine_options, 136);
    SIZE(umbra_memory_plan, 1216);
    SIZE(umbra_profile_entry, 32);
    SIZE(umbra_profile, 768);
    SIZE(umbra_bench_profile, 808);
    SIZE(umbra_token, 12);
    SIZE(umbra_rows, 64);
    SIZE(umbra_tap, 72);
    SIZE(umbra_sampling, 104);
    SIZE(umbra_bias, 8);
    SIZE(umbra_logprob, 8);
    SIZE(umbra_draft_options, 40);
    SIZE(umbra_draft_stats, 200);
    SIZE(umbra_generate_options, 176);
    SIZE(umbra_generation, 80);
    SIZE(umbra_model_type, 48);
    SIZE(umbra_prefetch_options, 80);
    SIZE(umbra_prefetch_stats, 120);
    SIZE(umbra_foretold_stats, 40);
    SIZE(umbra_recall_stats, 448);
    SIZE(umbra_token_guess, 24);
    SIZE(umbra_progress, 24);
    SIZE(umbra_runner_options, 136);
    SIZE(umbra_runner_stats, 64);
    SIZE(umbra_score_options, 48);
    SIZE(umbra_scores, 104);
    SIZE(umbra_error, 528);
    SIZE(umbra_slice, 24);
    SIZE(umbra_store_options, 96);
    SIZE(umbra_batch, 32);
    SIZE(umbra_lease, 48);
    SIZE(umbra_ahead_stats, 40);
    SIZE(umbra_store_stats, 416);
    SIZE(umbra_store_event, 40);
    SIZE(umbra_under_options, 96);
    SIZE(umbra_under_stats, 576);
    SIZE(umbra_template_options, 72);
    SIZE(umbra_template_span, 24);
    SIZE(umbra_template_output, 32);
    SIZE(umbra_call_options, 80);
    SIZE(umbra_grammar_options, 48);
    SIZE(umbra_chat_request, 80);
    SIZE(umbra_chat_prompt, 48);
    SIZE(umbra_answer_event, 48);
    SIZE(umbra_build, 152);
    SIZE(umbra_bench_predictor_options, 88);
    SIZE(umbra_latency, 24);
    SIZE(umbra_bench_predictor_result, 200);
    SIZE(umbra_bench_options, 288);
    SIZE(umbra_spread, 24);
    SIZE(umbra_bench_row, 1032);
    SIZE(umbra_bench, 336);
    SIZE(umbra_collect_options, 248);
    SIZE(umbra_collection, 128);
    SIZE(umbra_evaluate_options, 96);
    SIZE(umbra_lab_build, 40);
    SIZE(umbra_quantize_options, 96);
    SIZE(umbra_quantization, 120);
    SIZE(umbra_train_options, 232);
    SIZE(umbra_train_result, 376);
#undef SIZE
}

static void test_version(void **state)
{
    (void)state;
    int major, minor, patch;
    char rest;
    assert_int_equal(sscanf(umbra_version(), "%d.%d.%d%c", &major, &minor, &patch, &rest), 3);
    assert_int_equal(UMBRA_VERSION_OF(major, minor, patch), UMBRA_VERSION_NUMBER);
    assert_int_equal(umbra_version_number(), UMBRA_VERSION_NUMBER);
    assert_true(UMBRA_VERSION_OF(0, 2, 0) < UMBRA_VERSION_OF(0, 10, 0));
}

/* Every name is parsed to what it names, NULL to the default, and nothing else is a name. */
static void test_names(void **state)
{
    (void)state;
    umbra_error err = {0};
    umbra_policy policy = UMBRA_POLICY_GATE;
    for (int i = 0; umbra_policy_name((umbra_policy)i); i++) {
        assert_int_equal(umbra_policy_parse(umbra_policy_name((umbra_policy)i), &policy, NULL), 0);
        assert_int_equal(policy, i);
    }
    assert_int_equal(policy, UMBRA_POLICY_RUNAHEAD);
    assert_int_equal(umbra_policy_parse("magic", &policy, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "no policy is called \"magic\"; there are auto, off"));
    assert_int_equal(policy, UMBRA_POLICY_RUNAHEAD);
    assert_int_equal(umbra_policy_parse(NULL, &policy, NULL), 0);
    assert_int_equal(policy, UMBRA_POLICY_AUTO);
    assert_null(umbra_policy_name((umbra_policy)-1));

    umbra_weight_form form = UMBRA_WEIGHT_FORM_F32;
    for (int i = 0; umbra_weight_form_name((umbra_weight_form)i); i++) {
        const char *name = umbra_weight_form_name((umbra_weight_form)i);
        assert_int_equal(umbra_weight_form_parse(name, &form, NULL), 0);
        assert_int_equal(form, i);
    }
    assert_int_equal(form, UMBRA_WEIGHT_FORM_I8);
    assert_int_equal(umbra_weight_form_parse("i4", &form, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "\"i4\" are not f32, bf16 or i8"));
    assert_int_equal(umbra_weight_form_parse(NULL, &form, NULL), 0);
    assert_int_equal(form, UMBRA_WEIGHT_FORM_DEFAULT);
    assert_null(umbra_weight_form_name((umbra_weight_form)4));
}

/* Where something must be given, NULL is an error that says so. */
static void test_null_where_something_is_needed(void **state)
{
    (void)state;
    umbra_error err = {0};
    umbra_model *model;
    umbra_store *store;
    umbra_runner *runner;
    umbra_evaluation *evaluation;
    umbra_collection collection;
    umbra_quantization quantization;
    umbra_bench_predictor_result result;
    uint64_t bytes;
    assert_int_equal(umbra_model_open(&model, tiny, &err), 0);
    assert_int_equal(umbra_store_open(&store, NULL, &err), UMBRA_E_ARGUMENT);
    assert_null(store);
    assert_int_equal(umbra_runner_open(&runner, NULL, &err), UMBRA_E_ARGUMENT);
    assert_null(runner);
    assert_int_equal(umbra_runner_bytes(NULL, &bytes, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_evaluate(&evaluation, NULL, &err), UMBRA_E_ARGUMENT);
    assert_null(evaluation);
    assert_int_equal(umbra_collect(model, "no-folder", NULL, &collection, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_train(NULL, NULL, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_quantize_shadow(NULL, &quantization, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_bench_predictor(NULL, &result, &err), UMBRA_E_ARGUMENT);
    umbra_model_close(&model);
}

static int count_token(void *user, int32_t id)
{
    (void)id;
    return ++*(int *)user >= 200; /* enough is seen */
}

/* With no options at all, a model is opened, goes on and scores. */
static void test_null_is_the_default(void **state)
{
    (void)state;
    umbra_error err = {0};
    umbra_model *model;
    umbra_engine *engine;
    umbra_prefetch *prefetch;
    umbra_sampler *sampler;
    umbra_generation did;
    umbra_scores scores;
    const float logits[] = {0, 2, 1};
    int tokens = 0;
    assert_int_equal(umbra_model_open(&model, tiny, &err), 0);
    assert_int_equal(umbra_engine_open(&engine, model, NULL, &err), 0);
    assert_int_equal(umbra_prefetch_open(&prefetch, engine, NULL, &err), 0);
    assert_int_equal(umbra_sampler_open(&sampler, NULL, 3, &err), 0);
    assert_int_equal(umbra_sampler_next(sampler, logits, NULL, 0), 1);
    const int32_t prompt[] = {1, 2, 3};
    assert_int_equal(umbra_score(engine, model, prompt, 3, NULL, &scores, &err), 0);
    assert_int_equal(scores.predicted, 2);
    umbra_score_free(&scores);

    /* 0 new tokens is as many as there is room for; none is asked for by a negative number. */
    umbra_generate_options o = {.max_tokens = -1, .on_token = count_token, .user = &tokens};
    umbra_engine_truncate(engine, 0, 0);
    assert_int_equal(umbra_generate(engine, model, prompt, 3, &o, &did, &err), 0);
    assert_int_equal(did.new_tokens, 0);
    assert_int_equal(umbra_engine_length(engine, 0), 3);
    o = (umbra_generate_options){.ignore_end = true, .on_token = count_token, .user = &tokens};
    assert_int_equal(umbra_generate(engine, model, prompt, 3, &o, &did, &err), 0);
    assert_int_equal(did.new_tokens, 200);
    int room = umbra_engine_get_plan(engine)->context;
    umbra_engine_truncate(engine, 0, room - 8);
    umbra_prefetch_close(&prefetch);
    umbra_engine_close(&engine);

    const umbra_engine_options small = {.context = 8};
    assert_int_equal(umbra_engine_open(&engine, model, &small, &err), 0);
    o = (umbra_generate_options){.ignore_end = true};
    assert_int_equal(umbra_generate(engine, model, prompt, 3, &o, &did, &err), 0);
    assert_int_equal(did.new_tokens, 8 - 3 + 1); /* the last is not fed back */
    umbra_sampler_close(&sampler);
    umbra_engine_close(&engine);
    umbra_model_close(&model);
}

/* What a later version would understand is refused by this one, by every struct. */
static void test_room_is_refused(void **state)
{
    (void)state;
    umbra_error err = {0};
    umbra_model *model;
    umbra_engine *engine;
    umbra_memory_plan plan;
    umbra_sampler *sampler;
    umbra_generation did;
    umbra_scores scores;
    umbra_prefetch *prefetch;
    const int32_t prompt[] = {1, 2};
    assert_int_equal(umbra_model_open(&model, tiny, &err), 0);
#define REFUSED(call)                                                                              \
    do {                                                                                           \
        err = (umbra_error){0};                                                                    \
        assert_int_equal(call, UMBRA_E_ARGUMENT);                                                  \
        assert_non_null(strstr(err.message, "this version of Umbra does not know"));               \
    } while (0)
    umbra_engine_options eo = {.reserved = {1}};
    REFUSED(umbra_engine_plan(model, &eo, &plan, &err));
    REFUSED(umbra_engine_open(&engine, model, &eo, &err));
    umbra_prefetch_options po = {.reserved = {0, 0, 0, 1}};
    eo = (umbra_engine_options){0};
    REFUSED(umbra_prefetch_fit(model, &eo, &po, &err));
    assert_int_equal(umbra_engine_open(&engine, model, NULL, &err), 0);
    REFUSED(umbra_prefetch_open(&prefetch, engine, &po, &err));
    umbra_sampling sampling = {.reserved = {0, 1}};
    REFUSED(umbra_sampler_open(&sampler, &sampling, 3, &err));
    umbra_generate_options go = {.reserved = {1}};
    REFUSED(umbra_generate(engine, model, prompt, 2, &go, &did, &err));
    go = (umbra_generate_options){.sampling.reserved = {1}};
    REFUSED(umbra_generate(engine, model, prompt, 2, &go, &did, &err));
    umbra_score_options so = {.reserved = {1}};
    REFUSED(umbra_score(engine, model, prompt, 2, &so, &scores, &err));
    umbra_template *t;
    umbra_template_output out;
    umbra_template_options to = {.reserved = {1}};
    assert_int_equal(umbra_template_open(&t, "x", 1, &err), 0);
    REFUSED(umbra_template_render(t, NULL, &to, &out, &err));
    assert_null(out.text);
    umbra_template_close(&t);
    umbra_chat *chat;
    umbra_chat_prompt prompted;
    assert_int_equal(umbra_chat_open(&chat, model, "x", 1, &err), 0);
    REFUSED(umbra_chat_render(chat, &(umbra_chat_request){.reserved = {1}}, &prompted, &err));
    umbra_chat_close(&chat);
    const char *const paths[] = {tiny};
    const umbra_slice slices[UMBRA_STORE_SLICES] = {{0, 64, 0}};
    umbra_store_options sto = {.paths = paths,
                               .n_paths = 1,
                               .n_layers = 1,
                               .n_experts = 1,
                               .slices = slices,
                               .budget_bytes = 1 << 20,
                               .reserved = {1}};
    umbra_store *store;
    REFUSED(umbra_store_open(&store, &sto, &err));
    umbra_runner_options ro = {.layers = 1, .hidden = 8, .experts = 4, .used = 1, .reserved = {1}};
    umbra_runner *runner;
    REFUSED(umbra_runner_open(&runner, &ro, &err));
    umbra_bench *bench;
    REFUSED(umbra_bench_model(&bench, model, &(umbra_bench_options){.reserved = {1}}, &err));
    umbra_bench_predictor_result result;
    umbra_bench_predictor_options bo = {.reserved = {1}};
    REFUSED(umbra_bench_predictor(&bo, &result, &err));
    umbra_collect_options co = {.generate = true, .reserved = {1}};
    umbra_collection collection;
    REFUSED(umbra_collect(model, "no-folder", &co, &collection, &err));
    umbra_evaluate_options vo = {.traces = paths, .n_traces = 1, .reserved = {1}};
    umbra_evaluation *evaluation;
    REFUSED(umbra_evaluate(&evaluation, &vo, &err));
    umbra_quantize_options qo = {.input = tiny, .output = "no-folder/x", .reserved = {1}};
    umbra_quantization quantization;
    REFUSED(umbra_quantize_shadow(&qo, &quantization, &err));
    umbra_train_options tro = {.output = "no-folder/x", .reserved = {1}};
    REFUSED(umbra_train(&tro, NULL, &err));
    umbra_engine_close(&engine);
    umbra_model_close(&model);
}

/* Auto of a runner that is not told what there is goes by the experts before. */
static void test_policy_of_a_runner(void **state)
{
    (void)state;
    umbra_runner_options o = {.layers = 2, .hidden = 8, .experts = 4, .used = 1};
    uint64_t automatic, previous;
    assert_int_equal(umbra_runner_bytes(&o, &automatic, NULL), 0);
    o.policy = UMBRA_POLICY_PREVIOUS;
    assert_int_equal(umbra_runner_bytes(&o, &previous, NULL), 0);
    assert_int_equal(automatic, previous);
    o.policy = UMBRA_POLICY_AUTO;
    o.shadow = "no/file";
    assert_int_equal(umbra_runner_bytes(&o, &automatic, NULL), UMBRA_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_null_where_something_is_needed),
        cmocka_unit_test(test_null_is_the_default),
        cmocka_unit_test(test_room_is_refused),
        cmocka_unit_test(test_policy_of_a_runner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
