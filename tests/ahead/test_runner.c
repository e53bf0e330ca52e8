/* The shadow runner by itself: its queue, its thread, and what opening it may meet. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <umbra/runner.h>

#include "base/memory.h"
#include "ahead/runner.h"
#include "store/store_internal.h"

enum { LAYERS = 6, HIDDEN = 32, EXPERTS = 16, USED = 2, SLICE = 600, QUEUE = 8, MOST = 8 };

/* ---- creating threads, which may fail ---- */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);

static bool no_threads;

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument)
{
    return no_threads ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
}

/* ---- a store of random bytes, and routers ---- */

static char path[256];
static const char *const paths[] = {path};
static umbra_slice slices[LAYERS * EXPERTS * UMBRA_STORE_SLICES];

static int set_up(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "%s/runner-XXXXXX", UMBRA_TEST_DIR);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t i = 0; i < sizeof slices / sizeof *slices; i++)
        slices[i] = (umbra_slice){.offset = i * SLICE, .bytes = SLICE};
    assert_int_equal(ftruncate(fd, (off_t)(sizeof slices / sizeof *slices * SLICE)), 0);
    close(fd);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static umbra_store *open_store_for(int sequences)
{
    umbra_store *store;
    umbra_error err = {0};
    umbra_store_options o = {.paths = paths,
                             .n_paths = 1,
                             .n_layers = LAYERS,
                             .n_experts = EXPERTS,
                             .slices = slices,
                             .budget_bytes = 24 * 4096,
                             .io = "threads",
                             .io_depth = 8,
                             .buffered = true,
                             .n_sequences = sequences};
    if (umbra_store_open(&store, &o, &err) != 0)
        fail_msg("%s", err.message);
    return store;
}

static umbra_store *open_store(void)
{
    return open_store_for(1);
}

static size_t gate_floats; /* (E, H) of the shadow's model */

static void no_gate(void *user, int layer, float *out)
{
    (void)user, (void)layer;
    memset(out, 0, gate_floats * sizeof *out);
}

static void gate(void *user, int layer, float *out)
{
    (void)user;
    for (int i = 0; i < EXPERTS * HIDDEN; i++)
        out[i] = (float)((i * 7 + layer * 3) % 13 - 6) * 0.1f;
}

static umbra_runner_options options_for(umbra_store *store, umbra_policy policy)
{
    return (umbra_runner_options){.store = store,
                                  .policy = policy,
                                  .layers = LAYERS,
                                  .hidden = HIDDEN,
                                  .experts = EXPERTS,
                                  .used = USED,
                                  .gate = gate};
}

static umbra_runner *open_runner(const umbra_runner_options *o)
{
    umbra_runner *r;
    umbra_error err = {0};
    if (umbra_runner_open(&r, o, &err) != 0)
        fail_msg("%s", err.message);
    return r;
}

static umbra_runner_stats stats_of(const umbra_runner *r)
{
    umbra_runner_stats stats;
    umbra_runner_get_stats(r, &stats);
    return stats;
}

static void token(umbra_store *store, umbra_runner *r, int t)
{
    float state[HIDDEN];
    for (int i = 0; i < HIDDEN; i++)
        state[i] = (float)((i + t) % 5) - 2.0f;
    umbra_runner_enter(r, 0, state);
    for (int l = 0; l < LAYERS; l++) {
        int experts[USED] = {(t + l) % EXPERTS, (t + l + 3) % EXPERTS};
        const umbra_batch batch = {.layer = l, .experts = experts, .n = USED};
        umbra_error err = {0};
        assert_int_equal(umbra_store_begin(store, &batch, &err), 0);
        umbra_runner_routed(r, 0, l, state, experts);
        umbra_lease leases[USED];
        int n;
        while ((n = umbra_store_next(store, leases, USED, &err)) > 0)
            for (int i = 0; i < n; i++)
                umbra_store_release(store, &leases[i]);
        assert_int_equal(n, 0);
    }
    umbra_runner_leave(r, 0);
}

/* ---- the queue ---- */

/* Nobody predicts: the oldest states go, one by one, and nothing waits. */
static void test_full_queue_drops_its_oldest(void **state)
{
    (void)state;
    umbra_store *store = open_store();
    umbra_runner_options o = options_for(store, UMBRA_POLICY_GATE);
    umbra_runner *r = open_runner(&o);
    umbra_store_set_guessing(store, true);
    for (int t = 0; t < 10; t++)
        token(store, r, t);
    int submitted = 10 * LAYERS; /* the states after the last layer foretell nothing */
    assert_int_equal(stats_of(r).predictions, 0);
    assert_int_equal(stats_of(r).dropped, submitted - QUEUE);
    assert_int_equal(umbra_runner_work(r), QUEUE);
    assert_int_equal(umbra_runner_work(r), 0);
    assert_int_equal(stats_of(r).predictions, QUEUE);
    umbra_runner_close(&r);
    assert_null(r);
    umbra_store_close(&store);
}

/* Rows of one sequence at one layer of one step, drafts that are checked: what any of them uses is
 * foretold. A later step begins anew. */
static void test_rows_together_foretell_what_any_needs(void **state)
{
    (void)state;
    static const uint16_t routing[3][LAYERS][USED] = {
        {{1, 2}, {3, 4}, {5, 6}, {7, 8}}, {{1, 9}, {4, 10}, {11, 12}, {7, 8}}, {{13, 14}}};
    umbra_store *store = open_store();
    umbra_runner_options o = options_for(store, UMBRA_POLICY_ORACLE);
    umbra_runner *r = open_runner(&o);
    const float *of = store->guarded.forecast.probability;
    float hidden[HIDDEN] = {0};
    int experts[USED] = {0, 1};
    umbra_lease leases[USED];
    umbra_store_set_guessing(store, true);
    umbra_runner_set_oracle(r, 0, routing[0][0], 3);
    for (int row = 0; row < 3; row++) {
        if (row == 2) { /* another step */
            const umbra_batch batch = {.layer = 0, .experts = experts, .n = USED};
            assert_int_equal(umbra_store_begin(store, &batch, NULL), 0);
            for (int n; (n = umbra_store_next(store, leases, USED, NULL)) > 0;)
                for (int i = 0; i < n; i++)
                    umbra_store_release(store, &leases[i]);
        }
        umbra_runner_enter(r, 0, hidden);
        umbra_runner_leave(r, 0);
        assert_int_equal(umbra_runner_work(r), 1);
        for (int e = 0; e < EXPERTS; e++) {
            bool first = e == 1 || e == 2, second = e == 9, third = e == 13 || e == 14;
            bool needed = row == 2 ? third : first || (second && row == 1);
            assert_true(of[e] == (needed ? 1 : 0));
        }
    }
    umbra_runner_close(&r);
    umbra_store_close(&store);
}

/* What the sequence foretells for a layer: (EXPERTS), or NULL. */
static const float *foretold(const umbra_store *store, int layer)
{
    const umbra_forecast *f = &store->guarded.forecast;
    return f->row[layer].due > f->clock ? f->probability + layer * EXPERTS : NULL;
}

/* A step's drafts foretell what they need, which joins what their token needs; the tokens that
 * follow know nothing of them. */
static void test_drafts_foretell_and_are_forgotten(void **state)
{
    (void)state;
    enum { PLAIN, DRAFTING };
    umbra_store *store[2];
    umbra_runner *r[2];
    float hidden[HIDDEN], other[HIDDEN];
    int more = 0;
    for (int i = 0; i < 2; i++) {
        store[i] = open_store();
        umbra_runner_options o = options_for(store[i], UMBRA_POLICY_GATE);
        r[i] = open_runner(&o);
        umbra_store_set_guessing(store[i], true);
    }
    for (int t = 0; t < 24; t++) {
        bool draft = t % 2 == 1;
        for (int i = 0; i < HIDDEN; i++) {
            hidden[i] = (float)((i + t) % 5) - 2.0f;
            other[i] = (float)((i * 3 + t) % 7) - 3.0f;
        }
        for (int i = 0; i < 2; i++) {
            umbra_runner_enter(r[i], 0, hidden);
            if (i == DRAFTING && draft)
                umbra_runner_draft(r[i], 0, -1, other, NULL);
            umbra_runner_work(r[i]);
        }
        for (int l = 0; l < UMBRA_MAX_DISTANCE; l++) {
            const float *plain = foretold(store[PLAIN], l), *joined = foretold(store[DRAFTING], l);
            assert_non_null(plain);
            assert_non_null(joined);
            for (int e = 0; e < EXPERTS; e++) {
                assert_true(draft ? joined[e] >= plain[e] : joined[e] == plain[e]);
                more += joined[e] > plain[e];
            }
        }
        for (int i = 0; i < 2; i++) {
            token(store[i], r[i], t);
            umbra_runner_work(r[i]);
        }
    }
    assert_true(more > 0);
    for (int i = 0; i < 2; i++) {
        umbra_runner_close(&r[i]);
        umbra_store_close(&store[i]);
    }
}

/* Drafts push nothing out of the full queue. */
static void test_drafts_wait_for_room(void **state)
{
    (void)state;
    umbra_store *store = open_store();
    umbra_runner_options o = options_for(store, UMBRA_POLICY_GATE);
    umbra_runner *r = open_runner(&o);
    float hidden[HIDDEN] = {0};
    umbra_store_set_guessing(store, true);
    umbra_runner_enter(r, 0, hidden);
    for (int i = 0; i < QUEUE + 4; i++)
        umbra_runner_draft(r, 0, -1, hidden, NULL);
    assert_int_equal(stats_of(r).dropped, 5);
    umbra_runner_draft(r, 0, LAYERS - 1, hidden, NULL); /* nothing comes behind it */
    assert_int_equal(stats_of(r).dropped, 5);
    assert_int_equal(umbra_runner_work(r), QUEUE);
    umbra_runner_close(&r);
    umbra_store_close(&store);
}

static void test_every_state_is_predicted_or_dropped(void **state)
{
    (void)state;
    static const umbra_policy policies[] = {UMBRA_POLICY_PREVIOUS, UMBRA_POLICY_GATE,
                                            UMBRA_POLICY_ORACLE};
    static uint16_t routing[64 * LAYERS * USED];
    for (int i = 0; i < 12; i++) {
        umbra_store *store = open_store();
        umbra_runner_options o = options_for(store, policies[i % 3]);
        o.own_thread = true;
        o.every = 1 + i / 3;
        umbra_runner *r = open_runner(&o);
        umbra_runner_set_oracle(r, 0, routing, 64);
        umbra_store_set_guessing(store, true);
        for (int t = 0; t < 40; t++)
            token(store, r, t);
        while (umbra_runner_work(r) > 0) /* two may predict, one after the other */
            ;
        umbra_runner_stats stats = stats_of(r);
        uint64_t sources = (uint64_t)((LAYERS + o.every - 1) / o.every);
        assert_int_equal(stats.predictions + stats.dropped, 40 * sources);
        umbra_runner_close(&r);
        umbra_store_close(&store);
    }
}

static void test_open_and_close_under_load(void **state)
{
    (void)state;
    umbra_store *store = open_store();
    umbra_store_set_guessing(store, true);
    for (int i = 0; i < 60; i++) {
        umbra_runner_options o =
            options_for(store, i % 2 ? UMBRA_POLICY_GATE : UMBRA_POLICY_PREVIOUS);
        o.own_thread = true;
        umbra_runner *r = open_runner(&o);
        for (int t = 0; t < i % 4; t++)
            token(store, r, t);
        umbra_runner_close(&r); /* with states in the queue */
    }
    umbra_store_close(&store);
}

/* The array that is replaced may be freed at once: no prediction looks at it any more. */
static void test_oracle_is_replaced(void **state)
{
    (void)state;
    umbra_store *store = open_store();
    umbra_store_set_guessing(store, true);
    umbra_runner_options o = options_for(store, UMBRA_POLICY_ORACLE);
    o.own_thread = true;
    umbra_runner *r = open_runner(&o);
    for (int i = 0; i < 200; i++) {
        uint16_t *routing = calloc((size_t)2 * LAYERS * USED, sizeof *routing);
        umbra_runner_set_oracle(r, 0, routing, 2);
        token(store, r, i);
        umbra_runner_set_oracle(r, 0, NULL, 0);
        free(routing);
    }
    umbra_runner_close(&r);
    umbra_store_close(&store);
}

/* Of a true oracle everything is there in time, or waited for; nothing is wasted. */
static void test_oracle_is_right(void **state)
{
    (void)state;
    umbra_store *store = open_store();
    umbra_store_set_guessing(store, true);
    umbra_runner_options o = options_for(store, UMBRA_POLICY_ORACLE);
    umbra_runner *r = open_runner(&o);
    static uint16_t routing[50][LAYERS][USED];
    for (int t = 0; t < 50; t++)
        for (int l = 0; l < LAYERS; l++)
            for (int i = 0; i < USED; i++)
                routing[t][l][i] = (uint16_t)((t + l + 3 * i) % EXPERTS);
    umbra_runner_set_oracle(r, 0, &routing[0][0][0], 50);
    for (int t = 0; t < 50; t++) {
        float x[HIDDEN] = {0};
        umbra_runner_enter(r, 0, x);
        umbra_runner_work(r);
        for (int l = 0; l < LAYERS; l++) {
            int experts[USED] = {routing[t][l][0], routing[t][l][1]};
            const umbra_batch batch = {.layer = l, .experts = experts, .n = USED};
            assert_int_equal(umbra_store_begin(store, &batch, NULL), 0);
            umbra_runner_routed(r, 0, l, x, experts);
            umbra_runner_work(r);
            umbra_lease lease;
            while (umbra_store_next(store, &lease, 1, NULL) > 0)
                umbra_store_release(store, &lease);
        }
        umbra_runner_leave(r, 0);
    }
    umbra_store_stats stats;
    umbra_store_get_stats(store, &stats);
    uint64_t wasted = 0, used = 0;
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++) {
        wasted += stats.ahead[d].wasted_bytes;
        used += stats.ahead[d].useful_bytes + stats.ahead[d].late_bytes;
    }
    assert_int_equal(wasted, 0);
    assert_true(used > 0);
    umbra_runner_close(&r);
    umbra_store_close(&store);
}

/* ---- several sequences ---- */

/* One step: each of n sequences decodes a token with experts of its own. */
static void step(umbra_store *store, umbra_runner *r, const int *sequences, int n, int t)
{
    float state[HIDDEN];
    for (int i = 0; i < HIDDEN; i++)
        state[i] = (float)((i + t) % 5) - 2.0f;
    for (int i = 0; i < n; i++)
        umbra_runner_enter(r, sequences[i], state);
    for (int l = 0; l < LAYERS; l++) {
        int experts[EXPERTS], uses[EXPERTS] = {0}, distinct = 0;
        int32_t own[MOST][USED];
        for (int i = 0; i < n; i++)
            for (int k = 0; k < USED; k++)
                uses[own[i][k] = (t + l + 3 * k + 5 * sequences[i]) % EXPERTS]++;
        for (int e = 0; e < EXPERTS; e++) {
            if (uses[e] == 0)
                continue;
            uses[distinct] = uses[e];
            experts[distinct++] = e;
        }
        const umbra_batch batch = {.layer = l, .experts = experts, .uses = uses, .n = distinct};
        assert_int_equal(umbra_store_begin(store, &batch, NULL), 0);
        for (int i = 0; i < n; i++)
            umbra_runner_routed(r, sequences[i], l, state, own[i]);
        umbra_lease lease;
        while (umbra_store_next(store, &lease, 1, NULL) > 0)
            umbra_store_release(store, &lease);
    }
    for (int i = 0; i < n; i++)
        umbra_runner_leave(r, sequences[i]);
}

/* A step's sequences: all, or, from the 10th step on, some that change; returns how many. */
static int who_takes_part(int *sequences, int most, int t)
{
    int n = 0;
    for (int q = 0; q < most; q++)
        if (t < 10 || (t / 7 + q) % 3 != 0)
            sequences[n++] = q;
    return n;
}

static void test_queue_of_all_sequences(void **state)
{
    (void)state;
    for (int most = 1; most <= MOST; most *= 2) {
        umbra_store *store = open_store_for(most);
        umbra_runner_options o = options_for(store, UMBRA_POLICY_GATE);
        o.sequences = most;
        umbra_runner *r = open_runner(&o);
        umbra_store_set_guessing(store, true);
        int sequences[MOST], submitted = 0;
        for (int t = 0; t < 30; t++) {
            int n = who_takes_part(sequences, most, t);
            step(store, r, sequences, n, t);
            submitted += n * LAYERS;
        }
        assert_int_equal(stats_of(r).dropped, submitted - most * QUEUE);
        assert_int_equal(umbra_runner_work(r), most * QUEUE);
        assert_int_equal(umbra_runner_work(r), 0);
        umbra_runner_close(&r);
        umbra_store_close(&store);
    }
}

static void test_sequences_join_and_leave(void **state)
{
    (void)state;
    static const umbra_policy policies[] = {UMBRA_POLICY_PREVIOUS, UMBRA_POLICY_GATE,
                                            UMBRA_POLICY_ORACLE};
    static uint16_t routing[64 * LAYERS * USED];
    for (int i = 0; i < 12; i++) {
        int most = 1 << i % 4, sequences[MOST];
        umbra_store *store = open_store_for(most);
        umbra_runner_options o = options_for(store, policies[i % 3]);
        o.own_thread = true;
        o.sequences = most;
        umbra_runner *r = open_runner(&o);
        umbra_store_set_guessing(store, true);
        uint64_t submitted = 0;
        for (int t = 0; t < 40; t++) {
            int n = who_takes_part(sequences, most, t), newcomer = t % most;
            if (t % 9 == 8) {
                umbra_runner_restart(r, newcomer);
                umbra_runner_set_oracle(r, newcomer, routing, 64);
            }
            step(store, r, sequences, n, t);
            submitted += (uint64_t)(n * LAYERS);
        }
        while (umbra_runner_work(r) > 0)
            ;
        umbra_runner_stats stats = stats_of(r);
        assert_int_equal(stats.predictions + stats.dropped, submitted);
        umbra_runner_close(&r);
        umbra_store_close(&store);
    }
}

/* Of what every sequence's own oracle says nothing is wrong, however many there are. */
static void test_oracle_of_each_sequence(void **state)
{
    (void)state;
    enum { TOKENS = 30 };
    static uint16_t routing[MOST][TOKENS][LAYERS][USED];
    for (int most = 1; most <= MOST; most *= 2) {
        umbra_store *store = open_store_for(most);
        umbra_runner_options o = options_for(store, UMBRA_POLICY_ORACLE);
        o.sequences = most;
        umbra_runner *r = open_runner(&o);
        umbra_store_set_guessing(store, true);
        int sequences[MOST];
        for (int q = 0; q < most; q++) {
            sequences[q] = q;
            for (int t = 0; t < TOKENS; t++)
                for (int l = 0; l < LAYERS; l++)
                    for (int k = 0; k < USED; k++)
                        routing[q][t][l][k] = (uint16_t)((t + l + 3 * k + 5 * q) % EXPERTS);
            umbra_runner_set_oracle(r, q, &routing[q][0][0][0], TOKENS);
        }
        for (int t = 0; t < TOKENS; t++) {
            step(store, r, sequences, most, t);
            while (umbra_runner_work(r) > 0) /* too late for most: only that none is wrong */
                ;
        }
        umbra_store_stats stats;
        umbra_store_get_stats(store, &stats);
        for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++)
            assert_int_equal(stats.ahead[d].wasted_bytes, 0);
        umbra_runner_close(&r);
        umbra_store_close(&store);
    }
}

/* What is foretold for a sequence is what would be if it were alone. */
static void test_sequences_do_not_mix(void **state)
{
    (void)state;
    static const char shadow[] = "models/tiny-q8_0.shadow.safetensors";
    enum { TOKENS = 6, MANY = 4 };
    umbra_shadow_file *file;
    assert_int_equal(umbra_shadow_file_open(&file, shadow, NULL), 0);
    const umbra_shadow_spec spec = *umbra_shadow_file_spec(file);
    umbra_shadow_file_close(&file);
    gate_floats = (size_t)spec.experts * (size_t)spec.hidden;
    umbra_foresight f[2];
    umbra_runner_options o = {.policy = UMBRA_POLICY_SHADOW,
                              .layers = spec.layers,
                              .hidden = spec.hidden,
                              .experts = spec.experts,
                              .used = spec.used,
                              .shadow = shadow,
                              .gate = no_gate};
    for (int i = 0; i < 2; i++) {
        o.sequences = i ? MANY : 1;
        assert_int_equal(umbra_foresight_open(&f[i], &o, NULL), 0);
    }
    size_t table = (size_t)spec.layers * (size_t)spec.used;
    float *states = calloc((size_t)(MANY * spec.hidden), sizeof *states);
    uint16_t *now = calloc(table, sizeof *now);
    uint64_t seed = 88172645463325252u;
    for (int t = 0; t < TOKENS; t++) {
        umbra_job jobs[MANY];
        const umbra_job *list[MANY];
        for (int i = 0; i < MANY * spec.hidden; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            states[i] = (float)(int32_t)(seed >> 32) * 0x1p-31f;
        }
        for (int q = 0; q < MANY; q++) {
            jobs[q] = (umbra_job){.sequence = (q + t) % MANY,
                                  .source = 1,
                                  .text = 1 + (uint32_t)(t > 3),
                                  .state = states + (size_t)(q * spec.hidden),
                                  .now = now,
                                  .previous = now,
                                  .previous2 = now};
            list[q] = &jobs[q];
        }
        umbra_foresight_predict(&f[1], list, MANY);
        for (int q = 0; q < MANY; q++) {
            if (jobs[q].sequence != 0)
                continue;
            umbra_foresight_predict(&f[0], &list[q], 1);
            size_t row = (size_t)UMBRA_MAX_DISTANCE * (size_t)spec.experts;
            assert_memory_equal(f[0].probability, f[1].probability + (size_t)q * row,
                                row * sizeof(float));
        }
    }
    free(now);
    free(states);
    umbra_foresight_close(&f[0]);
    umbra_foresight_close(&f[1]);
}

/* ---- opening ---- */

static void assert_refused(const umbra_runner_options *o)
{
    umbra_runner *r;
    umbra_error err = {0};
    uint64_t bytes;
    assert_int_equal(umbra_runner_open(&r, o, &err), UMBRA_E_ARGUMENT);
    assert_null(r);
    assert_true(err.message[0] != '\0');
    assert_int_equal(umbra_runner_bytes(o, &bytes, &err), UMBRA_E_ARGUMENT);
}

static void test_bad_options(void **state)
{
    (void)state;
    umbra_store *store = open_store();
    const umbra_runner_options good = options_for(store, UMBRA_POLICY_GATE);
    umbra_runner_options o = good;
    o.policy = (umbra_policy)17;
    assert_refused(&o);
    o = good, o.layers = 0;
    assert_refused(&o);
    o = good, o.hidden = 0;
    assert_refused(&o);
    o = good, o.experts = 0xffff;
    assert_refused(&o);
    o = good, o.used = EXPERTS + 1;
    assert_refused(&o);
    o = good, o.every = 5;
    assert_refused(&o);
    o = good, o.every = -1;
    assert_refused(&o);
    o = good, o.sequences = -1;
    assert_refused(&o);
    o = good, o.policy = UMBRA_POLICY_SHADOW; /* without a file */
    assert_refused(&o);
    umbra_runner *r;
    umbra_error err = {0};
    o = good, o.kernels = "abacus";
    assert_int_equal(umbra_runner_open(&r, &o, &err), UMBRA_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "abacus"));
    umbra_store_close(&store);
}

static void test_failures_leave_nothing(void **state)
{
    (void)state;
    umbra_store *store = open_store();
    umbra_runner *r;
    umbra_error err = {0};
    umbra_runner_options o = options_for(store, UMBRA_POLICY_GATE);
    o.own_thread = true;
    no_threads = true;
    assert_int_equal(umbra_runner_open(&r, &o, &err), UMBRA_E_SYSTEM);
    no_threads = false;
    assert_null(r);
    assert_non_null(strstr(err.message, "thread"));
    for (int policy = UMBRA_POLICY_PREVIOUS; policy <= UMBRA_POLICY_ORACLE; policy++) {
        if (policy == UMBRA_POLICY_SHADOW)
            continue; /* test_prefetch has a file for it */
        o.policy = (umbra_policy)policy;
        int rc = UMBRA_E_NOMEM;
        for (long n = 1; rc != UMBRA_OK; n++) {
            umbra_memory_fail_after(n);
            rc = umbra_runner_open(&r, &o, NULL);
            umbra_memory_fail_after(0);
            assert_true(rc == UMBRA_OK ? r != NULL : rc == UMBRA_E_NOMEM && !r);
        }
        umbra_runner_close(&r);
    }
    umbra_runner_close(&r); /* NULL is fine */
    umbra_store_close(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_queue_drops_its_oldest),
        cmocka_unit_test(test_rows_together_foretell_what_any_needs),
        cmocka_unit_test(test_drafts_foretell_and_are_forgotten),
        cmocka_unit_test(test_drafts_wait_for_room),
        cmocka_unit_test(test_every_state_is_predicted_or_dropped),
        cmocka_unit_test(test_open_and_close_under_load),
        cmocka_unit_test(test_oracle_is_replaced),
        cmocka_unit_test(test_oracle_is_right),
        cmocka_unit_test(test_queue_of_all_sequences),
        cmocka_unit_test(test_sequences_join_and_leave),
        cmocka_unit_test(test_oracle_of_each_sequence),
        cmocka_unit_test(test_sequences_do_not_mix),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_failures_leave_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
