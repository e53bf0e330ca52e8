/* Walks beside the engine: by a thread of their own they name what a walk in a wait would, and
 * whoever decodes with them gets the same logits. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <umbra/umbra.h>

#include "layouts.h"
#include "ahead/beside.h"
#include "ahead/walk.h"
#include "base/system.h"

enum { TOKENS = 24, CONTEXT = 48, MOST_LAYERS = 16, MOST_USED = 8, SEQUENCES = 2 };

/* What a walk names, layer by layer. */
typedef struct names {
    umbra_walk *walk;
    int n;
    int layer[MOST_LAYERS];
    float missing[MOST_LAYERS];
    int32_t experts[MOST_LAYERS][MOST_USED];
} names;

typedef struct follower {
    umbra_engine *engine;
    names here, beside;
    int used, compared, missed;
    uint64_t hash;
} follower;

static void *go(void *of)
{
    names *out = of;
    for (out->n = 0; umbra_walk_step(out->walk); out->n++) {
        assert_true(out->n < MOST_LAYERS);
        out->layer[out->n] = umbra_walk_layer(out->walk);
        out->missing[out->n] = umbra_walk_missing(out->walk);
        memcpy(out->experts[out->n], umbra_walk_experts(out->walk), sizeof out->experts[0]);
    }
    return NULL;
}

static int walk_both(void *user, const umbra_rows *rows)
{
    follower *f = user;
    pthread_t thread;
    umbra_walk_begin(f->here.walk, rows, 0, UMBRA_TAP_ROUTED);
    (void)go(&f->here);
    umbra_walk_begin(f->beside.walk, rows, 0, UMBRA_TAP_ROUTED);
    assert_int_equal(pthread_create(&thread, NULL, go, &f->beside), 0);
    pthread_join(thread, NULL);
    assert_int_equal(f->here.n, f->beside.n);
    for (int i = 0; i < f->here.n; i++) {
        size_t bytes = (size_t)f->used * sizeof f->here.experts[0][0];
        assert_int_equal(f->here.layer[i], f->beside.layer[i]);
        assert_memory_equal(f->here.experts[i], f->beside.experts[i], bytes);
        assert_true(f->here.missing[i] == f->beside.missing[i]);
        f->missed += f->here.missing[i] > 0;
    }
    f->compared += f->here.n;
    return 0;
}

static int hash_logits(void *user, int index, const float *logits)
{
    follower *f = user;
    (void)index;
    for (int i = 0; i < 200; i++) {
        uint32_t bits;
        memcpy(&bits, &logits[i], sizeof bits);
        f->hash = (f->hash ^ bits) * 1099511628211u;
    }
    return 0;
}

static uint64_t smallest(const umbra_model *model)
{
    umbra_memory_plan plan;
    umbra_engine_options o = {
        .ram_bytes = 1, .threads = 1, .context = CONTEXT, .chunk = 4, .sequences = SEQUENCES};
    (void)umbra_engine_plan(model, &o, &plan, NULL);
    return plan.min_bytes;
}

static void open_engine(follower *f, const umbra_model *model, uint64_t ram)
{
    const umbra_model_info *info = umbra_model_get_info(model);
    umbra_error err = {0};
    umbra_engine_options o = {
        .ram_bytes = ram, .threads = 1, .context = CONTEXT, .chunk = 4, .sequences = SEQUENCES};
    *f = (follower){.used = info->experts_used};
    assert_true(info->layers <= MOST_LAYERS && info->experts_used <= MOST_USED);
    if (umbra_engine_open(&f->engine, model, &o, &err) != 0)
        fail_msg("%s", err.message);
}

/* Two texts, of which one is cut now and then: behind a step nobody reads of them any more. */
static void decode(follower *f)
{
    const umbra_tap tap = {.user = f, .logits = hash_logits};
    umbra_error err = {0};
    for (int i = 0; i < TOKENS; i++) {
        const umbra_token tokens[SEQUENCES] = {{1 + i * 37 % 200, 0, true}, {1 + i * 11, 1, true}};
        if (umbra_engine_eval(f->engine, tokens, SEQUENCES, &tap, &err) != 0)
            fail_msg("%s", err.message);
        if (i % 5 == 4)
            umbra_engine_truncate(f->engine, 0, i / 5);
    }
}

/* ram 0: against a walk such as waits have, once all that the texts use is there, so that nothing
 * arrives in its course. Else against one like it, where more or less is there. */
static follower compare_walks(const umbra_model *model, uint64_t ram, int experts)
{
    follower f;
    open_engine(&f, model, ram);
    if (ram == 0) {
        decode(&f);
        for (int i = 0; i < SEQUENCES; i++)
            umbra_engine_truncate(f.engine, i, 0);
        f.hash = 0;
        assert_int_equal(umbra_walk_open(&f.here.walk, f.engine, NULL), 0);
    } else {
        assert_int_equal(umbra_walk_open_beside(&f.here.walk, f.engine, NULL), 0);
    }
    assert_int_equal(umbra_walk_open_beside(&f.beside.walk, f.engine, NULL), 0);
    umbra_walk_limit(f.here.walk, experts);
    umbra_walk_limit(f.beside.walk, experts);
    const umbra_tap attached = {.user = &f, .at = {[UMBRA_TAP_ROUTED] = walk_both}};
    umbra_engine_attach(f.engine, &attached);
    decode(&f);
    umbra_walk_close(&f.here.walk);
    umbra_walk_close(&f.beside.walk);
    umbra_engine_close(&f.engine);
    return f;
}

static uint64_t decode_with(const umbra_model *model, umbra_policy policy)
{
    follower f;
    umbra_prefetch *p;
    umbra_prefetch_options o = {.policy = policy};
    open_engine(&f, model, smallest(model));
    assert_int_equal(umbra_prefetch_open(&p, f.engine, &o, NULL), 0);
    decode(&f);
    umbra_prefetch_close(&p);
    umbra_engine_close(&f.engine);
    return f.hash;
}

/* Where a core is to spare, decoding has walks beside it. */
static void check_layout(const umbra_model *model, int *compared, int *missed)
{
    uint64_t plain = decode_with(model, UMBRA_POLICY_OFF);
    assert_true(decode_with(model, UMBRA_POLICY_RUNAHEAD) == plain);
    if (!umbra_walk_goes_beside(model))
        return;
    follower all = compare_walks(model, 0, MOST_USED),
             few = compare_walks(model, smallest(model), 2);
    assert_true(all.hash == plain && few.hash == plain);
    assert_true(all.compared > 0);
    *compared += 1;
    *missed += few.missed;
}

static void walks_beside_name_the_same(void **state)
{
    (void)state;
    int compared = 0, missed = 0;
    if (umbra_system_processors() < 2)
        printf("one processor: nothing decodes with walks beside it\n");
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        umbra_memory_file file;
        umbra_model *model;
        umbra_error err = {0};
        if (make_open(layouts[i], NULL, NULL, NULL, &file, &model, &err) != 0)
            fail_msg("%s", err.message);
        check_layout(model, &compared, &missed);
        umbra_model_close(&model);
        umbra_memory_file_release(&file);
    }
    assert_true(compared > (int)(sizeof layouts / sizeof layouts[0]) / 2);
    assert_true(missed > 0);
}

static void a_core_to_spare_is_what_is_left(void **state)
{
    (void)state;
    umbra_memory_file file;
    umbra_model *model;
    umbra_error err = {0};
    if (make_open(&make_llama, NULL, NULL, NULL, &file, &model, &err) != 0)
        fail_msg("%s", err.message);
    int processors = umbra_system_processors();
    assert_true(umbra_beside_is_possible(model, processors - 1));
    assert_false(umbra_beside_is_possible(model, processors));
    umbra_model_close(&model);
    umbra_memory_file_release(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walks_beside_name_the_same),
        cmocka_unit_test(a_core_to_spare_is_what_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
