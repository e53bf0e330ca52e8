/* Several texts in one step: what they share a batch for, what they foretell together, and who is
 * kept for them. */
#include "ahead.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 8 };

/* ---- forecasts merged ---- */

static void make_forecast(umbra_forecast *f, int sequences)
{
    assert_int_equal(umbra_forecast_init(f, sequences, LAYERS, EXPERTS, NULL), UMBRA_OK);
}

static float random_p(uint64_t *seed)
{
    return test_below(seed, 4) == 0 ? 0 : (float)test_below(seed, 1001) * 0.001f;
}

static void test_one_of_them_uses_it(void **state)
{
    (void)state;
    uint64_t seed = 2463534242u;
    for (int sequences = 1; sequences <= MOST; sequences *= 2) {
        umbra_forecast f;
        make_forecast(&f, sequences);
        for (int round = 0; round < 50; round++) {
            double none[EXPERTS];
            float p[EXPERTS];
            for (int e = 0; e < EXPERTS; e++)
                none[e] = 1;
            for (int q = 0; q < sequences; q++) {
                for (int e = 0; e < EXPERTS; e++)
                    none[e] *= 1 - (double)(p[e] = random_p(&seed));
                assert_true(umbra_forecast_take(&f, q, 1, 1, f.clock + 2, p));
            }
            umbra_forecast_merge(&f);
            const umbra_layer_forecast *o = &f.layers[1];
            assert_int_equal(o->due, f.clock + 2);
            for (int e = 0; e < EXPERTS; e++) {
                float probability = f.merged[EXPERTS + e];
                assert_true(fabs((double)probability - (1 - none[e])) < 1e-6 && probability <= 1);
                assert_true(sequences > 1 || probability == p[e]); /* one alone is not rounded */
            }
            for (int i = 0; i < o->n; i++) {
                assert_true(o->candidate[i].probability ==
                            f.merged[EXPERTS + o->candidate[i].expert]);
                assert_true(i == 0 ||
                            o->candidate[i].probability <= o->candidate[i - 1].probability);
            }
            umbra_forecast_begin(&f, 0);
        }
        umbra_forecast_free(&f);
    }
}

static float merged_after(umbra_forecast *f, int layer, int expert)
{
    umbra_forecast_merge(f);
    return f->merged[layer * EXPERTS + expert];
}

static bool take(umbra_forecast *f, int sequence, int distance, uint64_t steps, float p)
{
    float row[EXPERTS] = {[3] = p};
    return umbra_forecast_take(f, sequence, 1, distance, f->clock + steps, row);
}

static void test_nearest_of_each_wins(void **state)
{
    (void)state;
    umbra_forecast f;
    make_forecast(&f, 2);
    assert_true(take(&f, 0, 3, 2, 0.5f));
    assert_true(take(&f, 1, 4, 2, 0.5f));
    assert_true(merged_after(&f, 1, 3) == 0.75f);
    assert_int_equal(f.layers[1].distance, 3);
    assert_true(take(&f, 1, 2, 2, 0.25f)); /* instead of its own, not of the other's */
    assert_true(merged_after(&f, 1, 3) == 0.625f);
    assert_int_equal(f.layers[1].distance, 2);
    assert_false(take(&f, 1, 3, 2, 1));
    assert_true(take(&f, 0, 3, 2, 0.5f)); /* again from as far: another row's */
    assert_true(merged_after(&f, 1, 3) == 0.8125f);
    assert_true(take(&f, 0, 3, 2, 2)); /* and no more than certain */
    assert_true(merged_after(&f, 1, 3) == 1);
    umbra_forecast_free(&f);
}

/* Of forecasts for two batches of a layer the earlier one's counts, and the other's has its turn
 * when that sequence is gone. */
static void test_the_batch_that_comes_first(void **state)
{
    (void)state;
    umbra_forecast f;
    make_forecast(&f, 3);
    assert_true(take(&f, 0, 1, 5, 0.5f));
    assert_true(take(&f, 1, 4, 2, 0.25f));
    assert_true(take(&f, 2, 1, 5, 0.5f));
    assert_true(merged_after(&f, 1, 3) == 0.25f);
    assert_int_equal(f.layers[1].due, f.clock + 2);
    umbra_forecast_begin(&f, 0);
    umbra_forecast_begin(&f, 0); /* its time has passed, without a batch of the layer */
    assert_true(merged_after(&f, 1, 3) == 0.75f);
    umbra_forecast_begin(&f, 1); /* a batch of the layer: all is over */
    assert_true(merged_after(&f, 1, 3) == 0);
    assert_int_equal(f.n_live, 0);
    umbra_forecast_free(&f);
}

static void test_who_goes_leaves_nothing(void **state)
{
    (void)state;
    umbra_forecast f;
    make_forecast(&f, MOST);
    for (int q = 0; q < MOST; q++)
        assert_true(take(&f, q, 1, 2, 0.5f));
    for (int left = MOST; left > 0; left--) {
        assert_true(fabsf(merged_after(&f, 1, 3) - (1 - powf(0.5f, (float)left))) < 1e-6f);
        umbra_forecast_forget(&f, left - 1);
    }
    assert_true(merged_after(&f, 1, 3) == 0);
    assert_int_equal(f.n_live, 0);
    assert_int_equal(f.layers[1].due, 0);
    umbra_forecast_free(&f);
}

/* What is no probability is none, whoever says it. */
static void test_odd_numbers(void **state)
{
    (void)state;
    static const float odd[] = {-1, NAN, INFINITY, 7};
    umbra_forecast f;
    make_forecast(&f, 4);
    for (int q = 0; q < 4; q++)
        assert_true(take(&f, q, 1, 2, odd[q]));
    assert_true(merged_after(&f, 1, 3) == 1);
    umbra_forecast_forget(&f, 2);
    umbra_forecast_forget(&f, 3);
    assert_true(merged_after(&f, 1, 3) == 0);
    umbra_forecast_free(&f);
}

/* As many users, as many candidates: eight of four experts each name more than one would. */
static void test_room_for_candidates(void **state)
{
    (void)state;
    enum { WIDE = 200 };
    umbra_forecast f;
    float p[WIDE];
    for (int e = 0; e < WIDE; e++)
        p[e] = 0.5f;
    for (int sequences = 1; sequences <= 2 * MOST; sequences *= 2) {
        assert_int_equal(umbra_forecast_init(&f, sequences, 2, WIDE, NULL), UMBRA_OK);
        assert_true(umbra_forecast_take(&f, 0, 1, 1, 2, p));
        umbra_forecast_merge(&f);
        int most = sequences * UMBRA_CANDIDATES;
        assert_int_equal(f.layers[1].n, most < WIDE ? most : WIDE);
        umbra_forecast_free(&f);
    }
    assert_true(umbra_store_forecast_bytes(2, WIDE, 0) == umbra_store_forecast_bytes(2, WIDE, 1));
    assert_true(umbra_store_forecast_bytes(2, WIDE, 8) > umbra_store_forecast_bytes(2, WIDE, 1));
}

/* ---- what is read ---- */

static void run(umbra_store *s, const umbra_batch *of)
{
    umbra_error err = {0};
    if (umbra_store_begin(s, of, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    finish(s, of->layer);
}

static void decode(umbra_store *s, int layer, const int *experts, int n)
{
    run(s, &(umbra_batch){.layer = layer, .experts = experts, .n = n});
}

static umbra_store *open_for(int sequences, int slots, int depth)
{
    on_disk.options.n_sequences = sequences;
    umbra_store *s = open_ahead(slots, depth);
    on_disk.options.n_sequences = 0;
    return s;
}

static bool foretell_of(umbra_store *s, int sequence, int expert, float p)
{
    float probability[EXPERTS] = {0};
    probability[expert] = p;
    return umbra_store_foretell(s, sequence, 1, 1, umbra_store_clock(s) + 1, probability);
}

/* Two that are half sure of an expert outweigh one that is surer of another. */
static void test_likelier_for_all_is_read_first(void **state)
{
    (void)state;
    for (int together = 0; together < 2; together++) {
        umbra_store *s = open_for(3, 12, UMBRA_STORE_SLICES); /* room for one guess at a time */
        warm_up(s, 1);
        assert_true(foretell_of(s, 0, 7, 0.7f));
        assert_true(foretell_of(s, 1, 8, 0.8f));
        if (together)
            assert_true(foretell_of(s, 2, 7, 0.7f));
        assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
        assert_int_equal(umbra_slots_find(&s->guarded.slots, 1, 7) >= 0, together);
        assert_int_equal(umbra_slots_find(&s->guarded.slots, 1, 8) >= 0, !together);
        umbra_store_close(&s);
    }
}

static void test_forgotten_forecasts_are_not_read(void **state)
{
    (void)state;
    umbra_store *s = open_for(2, 12, 8);
    warm_up(s, 1);
    assert_true(foretell_of(s, 0, 7, 0.9f));
    assert_true(foretell_of(s, 1, 8, 0.9f));
    umbra_store_forget(s, 0);
    pass(s, MS);
    assert_true(umbra_slots_find(&s->guarded.slots, 1, 7) < 0);
    assert_true(umbra_slots_find(&s->guarded.slots, 1, 8) >= 0);
    umbra_store_forget(s, -1); /* nobody: nothing happens */
    umbra_store_forget(s, 2);
    assert_false(foretell_of(s, -1, 7, 1));
    assert_false(foretell_of(s, 2, 7, 1));
    umbra_store_close(&s);
}

/* Routing of so many rows: each uses three experts of a layer. Returns how many distinct ones. */
static int route_rows(uint64_t *seed, int rows, int *experts, int *uses)
{
    int count[EXPERTS] = {0}, n = 0;
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < 3; k++)
            count[(test_below(seed, 4) + (uint64_t)(k * 4)) % EXPERTS]++;
    for (int e = 0; e < EXPERTS; e++) {
        if (count[e] == 0)
            continue;
        experts[n] = e;
        uses[n++] = count[e];
    }
    return n;
}

static void test_each_expert_is_read_once(void **state)
{
    (void)state;
    static const int layers[] = {0, 1, 4};
    uint64_t seed = 88172645463325252u;
    for (int rows = 1; rows <= MOST; rows *= 2) {
        umbra_store *s = open_for(rows, 2 * EXPERTS, 8);
        for (int step = 0; step < 40; step++) {
            for (int i = 0; i < 3; i++) {
                int experts[EXPERTS], uses[EXPERTS], there = 0;
                int n = route_rows(&seed, rows, experts, uses);
                for (int e = 0; e < n; e++)
                    there += umbra_slots_find(&s->guarded.slots, layers[i], experts[e]) >= 0;
                umbra_store_stats before = stats_of(s);
                run(s,
                    &(umbra_batch){.layer = layers[i], .experts = experts, .uses = uses, .n = n});
                umbra_store_stats after = stats_of(s);
                assert_int_equal(after.misses - before.misses, n - there);
                assert_int_equal(after.reads - before.reads, (n - there) * UMBRA_STORE_SLICES);
                assert_int_equal(after.hits - before.hits, there);
            }
        }
        umbra_store_close(&s);
    }
}

/* ---- who is kept ---- */

static bool is_there(umbra_store *s, int layer, int expert)
{
    return umbra_slots_find(&s->guarded.slots, layer, expert) >= 0;
}

/* A step of eight users with most of a layer's experts is no prompt: the one that all use outlives
 * others that were used since, and of a prompt it is the first to go. */
static void test_eight_users_are_eight_uses(void **state)
{
    (void)state;
    static const int experts[] = {1, 2, 3, 4, 5, 6, 7, 8}, uses[] = {8, 1, 1, 1, 1, 1, 1, 1};
    for (int kind = UMBRA_BATCH_DECODE; kind <= UMBRA_BATCH_VERIFY; kind++) {
        umbra_store *s = open_for(MOST, 9, 8);
        run(s, &(umbra_batch){.kind = (umbra_batch_kind)kind,
                              .layer = 1,
                              .experts = experts,
                              .uses = uses,
                              .n = 8});
        for (int round = 0; round < 3; round++)
            for (int e = 1; e < 10; e++)
                decode(s, 4, &e, 1);
        assert_int_equal(is_there(s, 1, 1), kind != UMBRA_BATCH_PROMPT);
        for (int i = 1; i < 8; i++)
            assert_false(is_there(s, 1, experts[i]));
        umbra_store_close(&s);
    }
}

/* A check of sixteen tokens lets more be forgotten than a single step: after as many of either, two
 * uses of long ago outlive one of now, or do not. */
static void test_uses_fade_by_tokens(void **state)
{
    (void)state;
    static const int old = 1, now = 2, next = 3, uses = 2;
    for (int tokens = 0; tokens <= 16; tokens += 8) {
        umbra_store *s = open_for(1, 2, 8);
        run(s, &(umbra_batch){.layer = 1, .experts = &old, .uses = &uses, .n = 1});
        for (int i = 0; i < 8 * LAYERS; i++)
            run(s, &(umbra_batch){.kind = UMBRA_BATCH_VERIFY, .layer = 1, .tokens = tokens});
        decode(s, 1, &now, 1);
        decode(s, 1, &next, 1);
        assert_int_equal(is_there(s, 1, old), tokens < 8);
        assert_int_equal(is_there(s, 1, now), tokens >= 8);
        umbra_store_close(&s);
    }
}

/* In a step of both, what only a prompt's rows use goes before what a decoded row uses once. */
static void test_prompt_beside_decoding(void **state)
{
    (void)state;
    static const int experts[] = {1, 2, 3, 4}, uses[] = {0, 1, 0, 1}, more[] = {5, 6};
    umbra_store *s = open_for(2, 4, 8);
    run(s, &(umbra_batch){.layer = 1, .experts = experts, .uses = uses, .n = 4});
    decode(s, 4, more, 2);
    assert_true(is_there(s, 1, 2) && is_there(s, 1, 4));
    assert_true(!is_there(s, 1, 1) && !is_there(s, 1, 3));
    umbra_store_close(&s);
}

static void test_probes_count_nothing(void **state)
{
    (void)state;
    static const int experts[] = {1, 2, 3};
    uint64_t uses[LAYERS * EXPERTS], sum = 0;
    umbra_store *s = open_for(1, 12, 8);
    run(s, &(umbra_batch){.kind = UMBRA_BATCH_PROBE, .layer = 1, .experts = experts, .n = 3});
    assert_int_equal(umbra_store_probe(s, NULL), UMBRA_OK);
    umbra_store_get_uses(s, uses);
    for (int i = 0; i < LAYERS * EXPERTS; i++)
        sum += uses[i] + (s->guarded.slots.use_count[i] > 0);
    assert_int_equal(sum, 0);
    assert_int_equal(umbra_store_needed(s), 0);
    run(s, &(umbra_batch){.kind = UMBRA_BATCH_PROMPT, .layer = 1, .experts = experts, .n = 3});
    umbra_store_get_uses(s, uses);
    assert_int_equal(uses[EXPERTS + 1], 1);
    umbra_store_close(&s);
}

/* What a prompt's rows happen to use is no evidence for or against forecasts of others. */
static void test_prompt_rows_teach_nothing(void **state)
{
    (void)state;
    static const int experts[] = {7, 8}, uses[] = {0, 1};
    umbra_store *s = open_for(2, 12, 8);
    warm_up(s, 1);
    s->driver.calibration = (umbra_calibration){0};
    float probability[EXPERTS] = {[7] = 0.5f, [8] = 0.6f, [9] = 0.7f};
    assert_true(umbra_store_foretell(s, 1, 1, 1, umbra_store_clock(s) + 1, probability));
    run(s, &(umbra_batch){.layer = 1, .experts = experts, .uses = uses, .n = 2});
    const umbra_calibration *x = &s->driver.calibration;
    assert_true(x->seen[1][5] == 0);
    assert_true(x->seen[1][6] == 1 && x->used[1][6] == 1);
    assert_true(x->seen[1][7] == 1 && x->used[1][7] == 0);
    umbra_store_close(&s);
}

/* ---- leases and refusals ---- */

/* A lease given back twice, or after its batch failed, frees nobody else's slot. */
static void test_leases_are_given_back_once(void **state)
{
    (void)state;
    static const int one[] = {1}, other[] = {2};
    umbra_store *s = open_for(1, 1, 8);
    umbra_lease first, second;
    begin(s, 0, one, 1);
    assert_int_equal(umbra_store_next(s, &first, 1, NULL), 1);
    umbra_store_release(s, &first);
    umbra_store_release(s, &first);
    assert_int_equal(umbra_store_next(s, &second, 1, NULL), 0);
    begin(s, 0, other, 1);
    assert_int_equal(umbra_store_next(s, &second, 1, NULL), 1);
    assert_int_equal(second.place, UMBRA_PLACE_HOST);
    assert_int_equal(umbra_store_next(s, &first, 1, NULL), 0);
    assert_int_equal(s->guarded.slots.slot[second.slot].pins, 1); /* it outlives its batch */
    umbra_store_release(s, &second);
    umbra_store_release(s, &second);
    assert_int_equal(s->guarded.slots.slot[second.slot].pins, 0);
    umbra_store_close(&s);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    static const int experts[] = {1, 2}, uses[] = {1, -1};
    umbra_error err = {0};
    umbra_store *s = open_for(1, 4, 8), *none;
    umbra_batch bad = {.kind = (umbra_batch_kind)4, .layer = 1, .experts = experts, .n = 2};
    assert_int_equal(umbra_store_begin(s, &bad, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "kind 4"));
    bad = (umbra_batch){.layer = 1, .experts = experts, .uses = uses, .n = 2};
    assert_int_equal(umbra_store_begin(s, &bad, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "expert 2 of layer 1 is used by -1"));
    batch(s, 1, 3); /* it goes on */
    umbra_store_close(&s);
    umbra_store_options o = on_disk.options;
    o.n_sequences = -1;
    assert_int_equal(umbra_store_open(&none, &o, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "-1 sequences"));
}

/* ---- threads ---- */

typedef struct forecaster {
    umbra_store *s;
    int sequence;
    atomic_bool *over;
} forecaster;

static void *foretell_until_over(void *argument)
{
    forecaster *f = argument;
    uint64_t seed = 77 + (uint64_t)f->sequence;
    while (!atomic_load(f->over)) {
        float probability[EXPERTS];
        umbra_store_stats stats;
        for (int e = 0; e < EXPERTS; e++)
            probability[e] = (float)test_below(&seed, 101) * 0.01f;
        (void)umbra_store_foretell(f->s, f->sequence, (int)test_below(&seed, LAYERS),
                                   1 + (int)test_below(&seed, 4),
                                   umbra_store_clock(f->s) + 1 + test_below(&seed, 3), probability);
        if (test_below(&seed, 8) == 0)
            umbra_store_forget(f->s, f->sequence);
        if (test_below(&seed, 8) == 0)
            umbra_store_get_stats(f->s, &stats);
        usleep(50); /* or they leave the driver no processor */
    }
    return NULL;
}

/* Eight foretell and forget while one drives; every byte is checked. */
static void test_many_foretell_while_one_drives(void **state)
{
    (void)state;
    enum { ROUNDS = 150 };
    on_disk.options.n_sequences = MOST;
    umbra_store *s = open_store(&on_disk, NULL, "threads", 14, 8, true);
    on_disk.options.n_sequences = 0;
    assert_int_equal(umbra_store_probe(s, NULL), UMBRA_OK);
    umbra_store_set_guessing(s, true);
    atomic_bool over = false;
    pthread_t thread[MOST];
    forecaster forecasters[MOST];
    for (int i = 0; i < MOST; i++) {
        forecasters[i] = (forecaster){s, i, &over};
        assert_int_equal(pthread_create(&thread[i], NULL, foretell_until_over, &forecasters[i]), 0);
    }
    uint64_t seed = 5;
    for (int i = 0; i < ROUNDS; i++) {
        int experts[EXPERTS], n = (int)test_below(&seed, EXPERTS);
        int layer = random_batch(&seed, experts, n);
        good_batch(s, layer, experts, n);
        for (int k = 0; k < 3; k++)
            assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
    }
    atomic_store(&over, true);
    for (int i = 0; i < MOST; i++)
        pthread_join(thread[i], NULL);
    umbra_store_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_of_them_uses_it),
        cmocka_unit_test(test_nearest_of_each_wins),
        cmocka_unit_test(test_the_batch_that_comes_first),
        cmocka_unit_test(test_who_goes_leaves_nothing),
        cmocka_unit_test(test_odd_numbers),
        cmocka_unit_test(test_room_for_candidates),
        cmocka_unit_test(test_likelier_for_all_is_read_first),
        cmocka_unit_test(test_forgotten_forecasts_are_not_read),
        cmocka_unit_test(test_each_expert_is_read_once),
        cmocka_unit_test(test_eight_users_are_eight_uses),
        cmocka_unit_test(test_uses_fade_by_tokens),
        cmocka_unit_test(test_prompt_beside_decoding),
        cmocka_unit_test(test_probes_count_nothing),
        cmocka_unit_test(test_prompt_rows_teach_nothing),
        cmocka_unit_test(test_leases_are_given_back_once),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_many_foretell_while_one_drives),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
