/* Experts that a token's id alone names are foretold for certain, once each, and read in time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include <umbra/umbra.h>

#include "../model/make.h"
#include "ahead/certain.h"

enum { LAYERS_BY_TOKEN = 2, STEPS = 20 };

static const make_key keys[] = {{"hash_layer_count", LAYERS_BY_TOKEN, MAKE_U32, NULL}, {0}};
static const make_tensor tensors[] = {
    {"ffn_gate_tid2eid.weight", {MAKE_USED, MAKE_TOKENS}, 0, LAYERS_BY_TOKEN}, {0}};

typedef struct opened {
    umbra_memory_file file;
    umbra_model *model;
    umbra_engine *engine;
} opened;

static opened open_it(const make_layout *layout, const umbra_engine_options *options)
{
    opened o;
    umbra_error err = {0};
    bool by_token = layout == &make_deepseek4;
    if (make_open(layout, by_token ? keys : NULL, by_token ? tensors : NULL, NULL, &o.file,
                  &o.model, &err) != 0 ||
        umbra_engine_open(&o.engine, o.model, options, &err) != 0)
        fail_msg("%s", err.message);
    return o;
}

static void close_it(opened *o)
{
    umbra_engine_close(&o->engine);
    umbra_model_close(&o->model);
    umbra_memory_file_release(&o->file);
}

/* The rows whose experts a tap has seen, against what the table says. */
static int check_named(void *user, const umbra_rows *rows)
{
    const umbra_engine *engine = user;
    for (int t = 0; t < rows->n; t++) {
        const int32_t *named = umbra_engine_token_experts(engine, rows->layer, rows->tokens[t].id);
        assert_int_equal(named != NULL, rows->layer < LAYERS_BY_TOKEN);
        if (named)
            assert_memory_equal(named, rows->experts + (size_t)t * MAKE_USED,
                                MAKE_USED * sizeof *named);
    }
    return 0;
}

static void ids_name_experts(void **state)
{
    (void)state;
    opened o = open_it(&make_deepseek4, &(umbra_engine_options){.threads = 1});
    const umbra_tap tap = {.user = o.engine, .at = {[UMBRA_TAP_ROUTED] = check_named}};
    umbra_token tokens[STEPS];
    for (int i = 0; i < STEPS; i++)
        tokens[i] = (umbra_token){(i * 31 + 5) % MAKE_TOKENS, 0, false};
    assert_int_equal(umbra_engine_eval(o.engine, tokens, STEPS, &tap, NULL), 0);
    close_it(&o);
    o = open_it(&make_llama, &(umbra_engine_options){.threads = 1});
    assert_null(umbra_engine_token_experts(o.engine, 0, 1));
    close_it(&o);
}

/* Rows that decode are foretold, two layers each; those of a prompt are not. */
static void rows_that_decode_are_foretold(void **state)
{
    (void)state;
    opened o = open_it(&make_deepseek4, &(umbra_engine_options){.threads = 1, .sequences = 3});
    const umbra_token tokens[] = {{7, 0, false}, {8, 1, false}, {9, 1, false}, {10, 2, false}};
    const bool prompt[] = {false, true, true, false};
    const umbra_rows rows = {.n = 4, .tokens = tokens, .prompt = prompt};
    float probability[MAKE_EXPERTS];
    umbra_store_stats before, after;
    umbra_store *store = umbra_engine_store(o.engine);
    umbra_store_set_guessing(store, true);
    umbra_store_get_stats(store, &before);
    umbra_certain_foretell(o.engine, &rows, probability);
    umbra_store_get_stats(store, &after);
    assert_int_equal(after.forecasts - before.forecasts, 2 * LAYERS_BY_TOKEN);
    close_it(&o);
}

/* Decodes with little memory; every token foretells its certain layers. */
static void what_is_certain_is_read_ahead(void **state)
{
    (void)state;
    umbra_memory_plan plan;
    umbra_engine_options options = {.threads = 1, .chunk = 4};
    opened o = open_it(&make_deepseek4, &options);
    assert_int_equal(umbra_engine_plan(o.model, &options, &plan, NULL), 0);
    close_it(&o);
    options.ram_bytes = plan.min_bytes + 12 * plan.slot_bytes;
    o = open_it(&make_deepseek4, &options);
    umbra_prefetch *prefetch;
    umbra_error err = {0};
    const umbra_prefetch_options runahead = {.policy = UMBRA_POLICY_RUNAHEAD};
    if (umbra_prefetch_open(&prefetch, o.engine, &runahead, &err) != 0)
        fail_msg("%s", err.message);
    umbra_store_stats before, after;
    umbra_engine_get_store_stats(o.engine, &before);
    for (int i = 0; i < STEPS; i++) {
        umbra_token token = {(i * 31 + 5) % MAKE_TOKENS, 0, false};
        assert_int_equal(umbra_engine_eval(o.engine, &token, 1, NULL, &err), 0);
    }
    umbra_engine_get_store_stats(o.engine, &after);
    assert_true(after.forecasts - before.forecasts >= STEPS * LAYERS_BY_TOKEN);
    umbra_prefetch_close(&prefetch);
    close_it(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_name_experts),
        cmocka_unit_test(rows_that_decode_are_foretold),
        cmocka_unit_test(what_is_certain_is_read_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
