/* Running ahead across the token's end: the next token is guessed while the engine waits, the guess
 * is handed out, and what is foretold by it is read; drafts go on by guesses; none of it changes a
 * logit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <string.h>

#include <umbra/umbra.h>

#include "ahead/runahead_internal.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "store/store_internal.h"

enum { STEPS = 24, SEQUENCES = 2, DRAFTS = 6, LAYERS = 8, USED = 4 };

static const char tiny[] = "models/tiny-q8_0.gguf";
static umbra_model *model;

/* A clock that stands still but where somebody waits for a simulated disk: then walks always come
 * to their end, however busy the machine is. All cores compute, so that none walks beside: how fast
 * one would be is not to be told by such a clock. */
static _Atomic uint64_t now_ns = 1;

static uint64_t look(void *user)
{
    (void)user;
    return atomic_load(&now_ns);
}

static void wait_until(void *user, uint64_t ns)
{
    (void)user;
    if (ns > atomic_load(&now_ns))
        atomic_store(&now_ns, ns);
}

typedef struct play {
    umbra_engine *engine;
    umbra_prefetch *prefetch;
    int32_t best[SEQUENCES]; /* by the logits of the step */
    uint64_t hash;
    int guesses, right, drafts, first_right;
    int farthest; /* layers ahead that anything was foretold */
    umbra_recall_stats recall;
} play;

static int take(void *user, int index, const float *logits)
{
    play *p = user;
    int n = umbra_model_get_info(model)->vocabulary;
    int32_t best = 0;
    for (int i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &logits[i], sizeof bits);
        p->hash = (p->hash ^ bits) * 1099511628211u;
        best = logits[i] > logits[best] ? i : best;
    }
    p->best[index] = best;
    return 0;
}

/* (STEPS, LAYERS, USED) of the first sequence in the newest run. */
static uint16_t truth[STEPS * LAYERS * USED];

static int take_routing(void *user, const umbra_rows *rows)
{
    (void)user;
    uint16_t *row = truth + (rows->position[0] * LAYERS + rows->layer) * USED;
    for (int j = 0; j < USED; j++)
        if (row[j] != rows->experts[j]) /* the oracle's thread may be reading the same */
            row[j] = (uint16_t)rows->experts[j];
    return 0;
}

static void check_guess(play *p, int sequence)
{
    umbra_token_guess g;
    if (!umbra_prefetch_get_guess(p->prefetch, sequence, &g))
        return;
    const umbra_model_info *info = umbra_model_get_info(model);
    assert_int_equal(g.position, umbra_engine_length(p->engine, sequence));
    assert_true(g.layer >= 0 && g.layer < info->layers && g.best != g.second);
    assert_true(g.best >= 0 && g.best < info->vocabulary && g.second >= 0);
    assert_true(g.probability >= 0 && g.probability <= 1 && g.second_probability <= 0.5f);
    p->guesses++;
    p->right += g.best == p->best[sequence];
}

/* Forecasts of the coming token's layers outlast the step. */
static void look_at_forecasts(play *p)
{
    const umbra_forecast *f = &umbra_engine_store(p->engine)->guarded.forecast;
    for (int i = 0; i < f->n_sequences * f->n_layers; i++)
        if (f->row[i].due > f->clock && f->row[i].distance > p->farthest)
            p->farthest = f->row[i].distance;
}

/* What follows the step's token is known from now on: a draft behind it. */
static void check_draft(play *p, int32_t *said)
{
    umbra_token_guess out[DRAFTS];
    int n = umbra_prefetch_draft(p->prefetch, 0, p->best[0], DRAFTS, out);
    int room = STEPS - umbra_engine_length(p->engine, 0);
    assert_int_equal(n, room < 4 ? room : 4);
    for (int i = 0; i < n; i++)
        assert_int_equal(out[i].position, umbra_engine_length(p->engine, 0) + i + 1);
    *said = n > 0 ? out[0].best : -1;
    p->drafts += n;
}

/* Decodes greedily, every sequence from a token of its own. */
static play decode(umbra_policy policy, const char *io, uint64_t ram, int sequences, bool drafts)
{
    umbra_error err = {0};
    play p = {.best = {5, 90}};
    umbra_engine_options o = {.ram_bytes = ram, .io = io, .context = STEPS, .sequences = sequences};
    const umbra_prefetch_options ahead = {.policy = policy};
    const umbra_tap tap = {.user = &p, .at = {[UMBRA_TAP_ROUTED] = take_routing}, .logits = take};
    if (umbra_engine_open(&p.engine, model, &o, &err) != 0 ||
        umbra_prefetch_open(&p.prefetch, p.engine, &ahead, &err) != 0)
        fail_msg("%s", err.message);
    const umbra_clock clock = {look, wait_until, NULL};
    if (io)
        umbra_clock_replace(&clock);
    umbra_prefetch_set_oracle(p.prefetch, 0, truth, STEPS);
    int32_t said = -1;
    for (int step = 0; step < STEPS; step++) {
        umbra_token tokens[SEQUENCES];
        for (int s = 0; s < sequences; s++)
            tokens[s] = (umbra_token){p.best[s], s, true};
        if (umbra_engine_eval(p.engine, tokens, sequences, &tap, &err) != 0)
            fail_msg("%s", err.message);
        p.first_right += said == p.best[0];
        for (int s = 0; s < sequences; s++)
            check_guess(&p, s);
        look_at_forecasts(&p);
        if (drafts)
            check_draft(&p, &said);
    }
    umbra_prefetch_get_recall(p.prefetch, &p.recall);
    umbra_prefetch_close(&p.prefetch);
    umbra_engine_close(&p.engine);
    umbra_clock_replace(NULL);
    return p;
}

static uint64_t small(int sequences)
{
    umbra_memory_plan plan;
    const umbra_engine_options o = {.ram_bytes = 1, .context = STEPS, .sequences = sequences};
    (void)umbra_engine_plan(model, &o, &plan, NULL);
    return plan.min_bytes + 12 * plan.slot_bytes;
}

/* A disk that is slow enough for walks to come to the token's end. */
static const char slow[] = "sim:100M,2ms";

static void the_next_token_is_guessed_and_handed_out(void **state)
{
    (void)state;
    for (int n = 1; n <= SEQUENCES; n++) {
        play off = decode(UMBRA_POLICY_OFF, slow, small(n), n, false);
        play on = decode(UMBRA_POLICY_RUNAHEAD, slow, small(n), n, false);
        assert_true(on.hash == off.hash);
        assert_int_equal(off.guesses, 0);
        assert_true(on.guesses > STEPS / 4);
        assert_true(on.right > on.guesses / 2);
    }
}

/* Where waits are long, a walk goes on through a whole token, over its end. */
static void long_waits_are_walked_through(void **state)
{
    (void)state;
    const char very_slow[] = "sim:40M,10ms";
    const int layers = umbra_model_get_info(model)->layers;
    play off = decode(UMBRA_POLICY_OFF, very_slow, small(1), 1, false);
    play on = decode(UMBRA_POLICY_RUNAHEAD, very_slow, small(1), 1, false);
    assert_true(on.hash == off.hash);
    assert_int_equal(off.farthest, 0);
    assert_true(on.farthest > UMBRA_MAX_DISTANCE && on.farthest <= layers);
    /* Several rows keep to their turns. */
    play two = decode(UMBRA_POLICY_RUNAHEAD, very_slow, small(2), 2, false);
    assert_true(two.farthest > 0 && two.farthest <= UMBRA_MAX_DISTANCE);
}

/* Counts of one half of the figures; returns layers foretold. */
static uint64_t check_foretold(const umbra_foretold_stats *of, const umbra_recall_stats *all)
{
    uint64_t layers = 0;
    assert_true(of[0].layers == 0);
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++) {
        assert_true(of[d].layers <= all->layers && of[d].used == of[d].layers * USED);
        assert_true(of[d].named <= of[d].used && of[d].missing <= of[d].used);
        assert_true(of[d].missing_named <= of[d].missing && of[d].missing_named <= of[d].named);
        assert_true(of[d].missing <= all->missing);
        layers += of[d].layers;
    }
    return layers;
}

static void what_was_foretold_is_held_against_what_came(void **state)
{
    (void)state;
    play off = decode(UMBRA_POLICY_OFF, slow, small(1), 1, false);
    assert_true(off.recall.layers == 0);
    play walked = decode(UMBRA_POLICY_RUNAHEAD, slow, small(1), 1, false);
    const umbra_recall_stats *r = &walked.recall;
    assert_true(r->layers == STEPS * LAYERS && r->missing > 0);
    assert_true(check_foretold(r->within, r) > STEPS && check_foretold(r->beyond, r) > 0);
    assert_true(r->within[1].named * 10 > r->within[1].used * 6);
    /* Who knows the truth names it all, and never beyond the token; by a thread of its own, which
     * other programs may keep from being in time. */
    play told = {0};
    r = &told.recall;
    for (int tries = 0; tries < 20 && check_foretold(r->within, r) == 0; tries++)
        told = decode(UMBRA_POLICY_ORACLE, slow, small(1), 1, false);
    assert_true(check_foretold(r->within, r) > 0 && check_foretold(r->beyond, r) == 0);
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++) {
        assert_true(r->within[d].named == r->within[d].used);
        assert_true(r->within[d].missing_named == r->within[d].missing);
    }
    /* Several rows are counted each. */
    play two = decode(UMBRA_POLICY_RUNAHEAD, slow, small(2), 2, false);
    assert_true(two.recall.layers == 2 * STEPS * LAYERS);
    assert_true(two.hash == decode(UMBRA_POLICY_OFF, slow, small(2), 2, false).hash);
}

/* ---- what a layer waits ---- */

static int enter(void *runahead, const umbra_rows *rows)
{
    umbra_runahead_enter(runahead, rows);
    return 0;
}

static int wait(void *runahead, const umbra_rows *rows)
{
    if (!rows->prompt[0])
        umbra_runahead_wait(runahead, rows);
    return 0;
}

/* Those that decode, as long as what comes before them may take. */
static void waits_of_prompts_are_no_layers(void **state)
{
    (void)state;
    enum { PROMPT = 16 };
    const umbra_clock clock = {look, wait_until, NULL};
    const umbra_engine_options o = {.ram_bytes = small(1), .io = slow, .context = STEPS};
    umbra_token text[PROMPT];
    umbra_engine *engine;
    umbra_runahead *r;
    umbra_clock_replace(&clock);
    assert_int_equal(umbra_engine_open(&engine, model, &o, NULL), 0);
    assert_int_equal(umbra_runahead_open(&r, engine, NULL, NULL), 0);
    const umbra_tap tap = {.user = r, .at = {[UMBRA_TAP_ENTER] = enter, [UMBRA_TAP_WAIT] = wait}};
    umbra_engine_attach(engine, &tap);
    for (int i = 0; i < PROMPT; i++)
        text[i] = (umbra_token){.id = 7 * i};
    double waited_ns = 0;
    for (int i = 0; i < 2; i++) { /* a prompt, a token, another prompt, a token */
        assert_int_equal(umbra_engine_eval(engine, text, PROMPT / 2, NULL, NULL), 0);
        uint64_t before_ns = umbra_store_waited_ns(umbra_engine_store(engine));
        assert_int_equal(umbra_engine_eval(engine, text + i, 1, NULL, NULL), 0);
        waited_ns += (double)(umbra_store_waited_ns(umbra_engine_store(engine)) - before_ns);
        assert_true(r->wait_ns > 0 && r->wait_ns < waited_ns / 64);
    }
    umbra_runahead_close(&r);
    umbra_engine_close(&engine);
    umbra_clock_replace(NULL);
}

static void drafts_go_on_by_guesses(void **state)
{
    (void)state;
    play off = decode(UMBRA_POLICY_OFF, slow, small(1), 1, false);
    play on = decode(UMBRA_POLICY_RUNAHEAD, slow, small(1), 1, true);
    assert_true(on.hash == off.hash);
    assert_true(on.drafts > 3 * STEPS && on.first_right > STEPS / 3);
    /* With everything in memory, once it is there, a draft is the model's own word. */
    play whole = decode(UMBRA_POLICY_RUNAHEAD, NULL, 0, 1, true);
    assert_true(whole.hash == off.hash && whole.first_right > STEPS / 2);
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    umbra_error err = {0};
    umbra_engine *engine;
    umbra_prefetch *p;
    umbra_token_guess g;
    const umbra_engine_options o = {.context = STEPS, .threads = 1};
    const umbra_policy policies[] = {UMBRA_POLICY_RUNAHEAD, UMBRA_POLICY_GATE, UMBRA_POLICY_OFF};
    assert_int_equal(umbra_engine_open(&engine, model, &o, &err), 0);
    for (int i = 0; i < 3; i++) {
        const umbra_prefetch_options ahead = {.policy = policies[i]};
        assert_int_equal(umbra_prefetch_open(&p, engine, &ahead, &err), 0);
        for (int sequence = -1; sequence < 2; sequence++)
            assert_false(umbra_prefetch_get_guess(p, sequence, &g));
        assert_int_equal(umbra_prefetch_draft(p, 1, 5, 1, &g), 0);
        assert_int_equal(umbra_prefetch_draft(p, -1, 5, 1, &g), 0);
        assert_int_equal(umbra_prefetch_draft(p, 0, -1, 1, &g), 0);
        assert_int_equal(umbra_prefetch_draft(p, 0, 1 << 30, 1, &g), 0);
        assert_int_equal(umbra_prefetch_draft(p, 0, 5, 0, &g), 0);
        assert_int_equal(umbra_prefetch_draft(p, 0, 5, 1, &g), i == 0);
        umbra_prefetch_close(&p);
    }
    umbra_engine_close(&engine);
}

static int set_up(void **state)
{
    (void)state;
    umbra_error err = {0};
    return umbra_model_open(&model, tiny, &err);
}

static int tear_down(void **state)
{
    (void)state;
    umbra_model_close(&model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_token_is_guessed_and_handed_out),
        cmocka_unit_test(long_waits_are_walked_through),
        cmocka_unit_test(what_was_foretold_is_held_against_what_came),
        cmocka_unit_test(waits_of_prompts_are_no_layers),
        cmocka_unit_test(drafts_go_on_by_guesses),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
