/* Walks beside the engine: by a thread of their own they name what a walk in a wait would, and
 * whoever decodes with them gets the same logits. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <umbra/umbra.h>

#include "layouts.h"
#include "ahead/beside.h"
#include "ahead/walk.h"
#include "base/clock.h"
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

/* One text or two, of which one is cut now and then: behind a step nobody reads of them any more.
 */
static void decode(follower *f, int sequences)
{
    const umbra_tap tap = {.user = f, .logits = hash_logits};
    umbra_error err = {0};
    for (int i = 0; i < TOKENS; i++) {
        const umbra_token tokens[SEQUENCES] = {{1 + i * 37 % 200, 0, true}, {1 + i * 11, 1, true}};
        if (umbra_engine_eval(f->engine, tokens, sequences, &tap, &err) != 0)
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
        decode(&f, SEQUENCES);
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
    decode(&f, SEQUENCES);
    umbra_walk_close(&f.here.walk);
    umbra_walk_close(&f.beside.walk);
    umbra_engine_close(&f.engine);
    return f;
}

/* alone: a text by itself, whose walk is told of every layer and goes over the token's end. */
static uint64_t decode_with(const umbra_model *model, umbra_policy policy, bool alone)
{
    follower f;
    umbra_prefetch *p;
    umbra_prefetch_options o = {.policy = policy};
    open_engine(&f, model, smallest(model));
    assert_int_equal(umbra_prefetch_open(&p, f.engine, &o, NULL), 0);
    decode(&f, alone ? 1 : SEQUENCES);
    umbra_prefetch_close(&p);
    umbra_engine_close(&f.engine);
    return f.hash;
}

typedef struct totals {
    int compared, missed;
} totals;

/* Where a core is to spare, decoding has walks beside it. */
static void check_layout(const umbra_model *model, void *user)
{
    totals *of = user;
    uint64_t plain = decode_with(model, UMBRA_POLICY_OFF, false);
    assert_true(decode_with(model, UMBRA_POLICY_RUNAHEAD, false) == plain);
    assert_true(decode_with(model, UMBRA_POLICY_RUNAHEAD, true) ==
                decode_with(model, UMBRA_POLICY_OFF, true));
    if (!umbra_walk_goes_beside(model))
        return;
    follower all = compare_walks(model, 0, MOST_USED),
             few = compare_walks(model, smallest(model), 2);
    assert_true(all.hash == plain && few.hash == plain);
    assert_true(all.compared > 0);
    of->compared += 1;
    of->missed += few.missed;
}

static void walks_beside_name_the_same(void **state)
{
    (void)state;
    totals of = {0};
    if (!umbra_system_has_spare(1))
        printf("no core to spare: nothing decodes with walks beside it\n");
    each_layout(check_layout, &of);
    assert_true(of.compared > (int)(sizeof layouts / sizeof layouts[0]) / 2);
    assert_true(of.missed > 0);
}

/* ---- a thread that is slower than the engine, and one that is faster ---- */

static pthread_t engines_thread;
static _Atomic uint64_t engines_ns = 1000000000000000; /* a machine that has long been up */
static atomic_int begun[MOST_LAYERS];                  /* walks, by the layer they go from */
static atomic_int limits[UMBRA_MAX_USED + 1];          /* set, by experts */

/* What passes from look to look, for the engine's thread and for others. */
typedef struct pace {
    uint64_t engine_ns, other_ns;
} pace;

static uint64_t look(void *user)
{
    static _Thread_local uint64_t own_ns = 1000000000000000;
    const pace *p = user;
    if (pthread_equal(pthread_self(), engines_thread))
        return atomic_fetch_add(&engines_ns, p->engine_ns);
    return own_ns += p->other_ns;
}

static void wait_until(void *user, uint64_t ns)
{
    (void)user;
    if (atomic_load(&engines_ns) < ns)
        atomic_store(&engines_ns, ns);
}

/* For the linker: stands before umbra_walk_begin. */
void __real_umbra_walk_begin(umbra_walk *w, const umbra_rows *rows, int t, umbra_tap_place place);
void __wrap_umbra_walk_begin(umbra_walk *w, const umbra_rows *rows, int t, umbra_tap_place place);
void __wrap_umbra_walk_begin(umbra_walk *w, const umbra_rows *rows, int t, umbra_tap_place place)
{
    if (place == UMBRA_TAP_ROUTED)
        atomic_fetch_add(&begun[rows->layer], 1);
    __real_umbra_walk_begin(w, rows, t, place);
}

void __real_umbra_walk_limit(umbra_walk *w, int experts);
void __wrap_umbra_walk_limit(umbra_walk *w, int experts);
void __wrap_umbra_walk_limit(umbra_walk *w, int experts)
{
    if (!pthread_equal(pthread_self(), engines_thread))
        atomic_fetch_add(&limits[experts], 1);
    __real_umbra_walk_limit(w, experts);
}

/* Time for a walk to come to its end, by the machine's clock. */
static int give_time(void *user, const umbra_rows *rows)
{
    (void)user;
    (void)rows;
    (void)usleep(2000);
    return 0;
}

static void decode_beside_a_thread(const umbra_model *model)
{
    follower f;
    umbra_prefetch *p;
    umbra_prefetch_options o = {.policy = UMBRA_POLICY_RUNAHEAD};
    const umbra_tap tap = {.user = &f, .at = {[UMBRA_TAP_HIDDEN] = give_time}};
    open_engine(&f, model, smallest(model));
    assert_int_equal(umbra_prefetch_open(&p, f.engine, &o, NULL), 0);
    memset(begun, 0, sizeof begun);
    memset(limits, 0, sizeof limits);
    for (int i = 0; i < TOKENS; i++) {
        const umbra_token token = {1 + i, 0, false};
        assert_int_equal(umbra_engine_eval(f.engine, &token, 1, &tap, NULL), 0);
    }
    umbra_prefetch_close(&p);
    umbra_engine_close(&f.engine);
}

/* It walks from a token's first layer with experts alone, also where layers without stand before
 * that one or between. */
static void a_slow_thread_walks_once_a_token(void **state)
{
    static const make_layout *const sparse[] = {&make_llama, &make_deepseek2, &make_llama4};
    static pace slow = {1000, 1000000000};
    const umbra_clock clock = {look, wait_until, &slow};
    (void)state;
    if (!umbra_system_has_spare(1))
        skip();
    engines_thread = pthread_self();
    umbra_clock_replace(&clock);
    for (size_t i = 0; i < sizeof sparse / sizeof sparse[0]; i++) {
        umbra_memory_file file;
        umbra_model *model;
        assert_int_equal(make_open(sparse[i], NULL, NULL, NULL, &file, &model, NULL), 0);
        decode_beside_a_thread(model);
        int layer = 0;
        while (layer < MOST_LAYERS && begun[layer] == 0)
            layer++;
        assert_in_range(layer, 0, MOST_LAYERS - 1);
        assert_int_equal(begun[layer], TOKENS);
        while (++layer < MOST_LAYERS)
            assert_int_equal(begun[layer], 0);
        umbra_model_close(&model);
        umbra_memory_file_release(&file);
    }
    umbra_clock_replace(NULL);
}

/* How many experts it computes follows from how fast it is; of the first layer always all. */
static void a_fast_thread_computes_more(void **state)
{
    static pace paces[] = {{1000, 1000000000}, {1000000000, 1000}};
    (void)state;
    umbra_memory_file file;
    umbra_model *model;
    if (!umbra_system_has_spare(1))
        skip();
    engines_thread = pthread_self();
    assert_int_equal(make_open(&make_llama, NULL, NULL, NULL, &file, &model, NULL), 0);
    for (int fast = 0; fast < 2; fast++) {
        const umbra_clock clock = {look, wait_until, &paces[fast]};
        umbra_clock_replace(&clock);
        decode_beside_a_thread(model);
        int all = limits[UMBRA_MAX_USED], few = limits[2];
        assert_true(fast ? all > few : few >= all);
        assert_true(all > 0);
    }
    umbra_clock_replace(NULL);
    umbra_model_close(&model);
    umbra_memory_file_release(&file);
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
    assert_false(umbra_beside_is_possible(model, processors));
    assert_int_equal(umbra_beside_bytes(model, CONTEXT, processors), 0);
    for (int threads = 1; threads < processors; threads++)
        assert_true(umbra_beside_is_possible(model, threads) == umbra_system_has_spare(threads));
    if (umbra_system_has_spare(1)) /* the thread's stack is counted too */
        assert_true(umbra_beside_bytes(model, CONTEXT, 1) >
                    umbra_walk_bytes(model, CONTEXT, 1) + (64 << 10));
    umbra_model_close(&model);
    umbra_memory_file_release(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walks_beside_name_the_same),
        cmocka_unit_test(a_slow_thread_walks_once_a_token),
        cmocka_unit_test(a_fast_thread_computes_more),
        cmocka_unit_test(a_core_to_spare_is_what_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
