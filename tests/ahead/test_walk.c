/* The walk ahead: with every expert in memory it is the model itself; with few it leaves out what
 * is missing, and disturbs neither the store nor the sequence. And what margins come to. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <umbra/umbra.h>

#include "layouts.h"
#include "ahead/margins.h"
#include "ahead/walk.h"

enum { TOKENS = 24, MOST_LAYERS = 16, MOST_EXPERTS = 64, MOST_USED = 8 };

static const char tiny[] = "models/tiny-q8_0.gguf";

/* ---- the walk ---- */

typedef struct follower {
    umbra_engine *engine;
    umbra_walk *walk;
    umbra_tap_place from; /* where it begins */
    int layers, used, begin_layer;
    int32_t named[MOST_LAYERS][MOST_USED]; /* by the walk that began at begin_layer */
    float score[MOST_LAYERS][MOST_EXPERTS];
    bool walked[MOST_LAYERS];
    int compared, equal, walks;
    float most_missing;
    uint64_t hash;
} follower;

/* The second takes what the first has found. */
static void walk_twice(umbra_walk *w, const umbra_rows *rows, umbra_tap_place from)
{
    umbra_walk_take_known(w, true);
    for (int i = 0; i < 2; i++) {
        umbra_walk_begin(w, rows, 0, from);
        while (umbra_walk_step(w))
            ;
    }
    umbra_walk_take_known(w, false);
}

/* From begin_layer to the end of the token. */
static int begin_here(void *user, const umbra_rows *rows)
{
    follower *f = user;
    if (rows->n != 1 || rows->layer < f->begin_layer || f->walked[MOST_LAYERS - 1])
        return 0;
    f->walked[MOST_LAYERS - 1] = true; /* once a token; the models have fewer layers */
    f->walks++;
    walk_twice(f->walk, rows, f->from);
    umbra_walk_begin(f->walk, rows, 0, f->from);
    for (int d = 1; umbra_walk_step(f->walk); d++) {
        int layer = umbra_walk_layer(f->walk);
        assert_int_equal(umbra_walk_distance(f->walk), d);
        assert_true(layer > rows->layer && layer < f->layers);
        memcpy(f->named[layer], umbra_walk_experts(f->walk), (size_t)f->used * sizeof(int32_t));
        f->walked[layer] = true;
    }
    f->most_missing = fmaxf(f->most_missing, umbra_walk_missing(f->walk));
    umbra_walk_next next;
    while (umbra_walk_guess(f->walk, &next) && umbra_walk_token(f->walk, next.best))
        while (umbra_walk_step(f->walk))
            assert_true(umbra_walk_layer(f->walk) < f->layers);
    return 0;
}

static int compare(void *user, const umbra_rows *rows)
{
    follower *f = user;
    if (rows->n == 1 && f->walked[rows->layer]) {
        f->compared += f->used;
        for (int j = 0; j < f->used; j++)
            for (int i = 0; i < f->used; i++)
                f->equal += f->named[rows->layer][i] == rows->experts[j];
    }
    return f->from == UMBRA_TAP_ROUTED ? begin_here(user, rows) : 0;
}

static int hash_logits(void *user, int index, const float *logits)
{
    follower *f = user;
    (void)index;
    const int32_t *bits = (const int32_t *)logits;
    for (int i = 0; i < 200; i++)
        f->hash = (f->hash ^ (uint32_t)bits[i]) * 1099511628211u;
    return 0;
}

/* Decodes TOKENS tokens, with a walk in each from begin_layer on. */
static follower follow(const umbra_model *model, uint64_t ram, umbra_tap_place from,
                       int begin_layer, bool walking)
{
    const umbra_model_info *info = umbra_model_get_info(model);
    umbra_engine_options o = {.ram_bytes = ram, .threads = 2, .context = 48, .chunk = 4};
    umbra_error err = {0};
    follower f = {.from = from,
                  .layers = info->layers,
                  .used = info->experts_used,
                  .begin_layer = begin_layer};
    assert_true(info->layers < MOST_LAYERS && info->experts_used <= MOST_USED);
    if (umbra_engine_open(&f.engine, model, &o, &err) != 0 ||
        umbra_walk_open(&f.walk, f.engine, &err) != 0)
        fail_msg("%s", err.message);
    umbra_tap attached = {.user = &f, .at = {[UMBRA_TAP_ROUTED] = compare}};
    if (from == UMBRA_TAP_WAIT)
        attached.at[UMBRA_TAP_WAIT] = begin_here;
    umbra_engine_attach(f.engine, walking ? &attached : NULL);
    const umbra_tap tap = {.user = &f, .logits = hash_logits};
    for (int i = 0; i < TOKENS; i++) {
        memset(f.walked, 0, sizeof f.walked);
        umbra_token token = {1 + i * 37 % 200, 0, true};
        if (umbra_engine_eval(f.engine, &token, 1, &tap, &err) != 0)
            fail_msg("%s", err.message);
    }
    umbra_store_stats stats;
    umbra_engine_get_store_stats(f.engine, &stats);
    assert_true(stats.resident_bytes_max <= stats.budget_bytes);
    umbra_walk_close(&f.walk);
    assert_null(f.walk);
    umbra_walk_close(&f.walk);
    umbra_engine_close(&f.engine);
    return f;
}

static uint64_t smallest(const umbra_model *model)
{
    umbra_memory_plan plan;
    umbra_engine_options o = {.ram_bytes = 1, .threads = 2, .context = 48, .chunk = 4};
    (void)umbra_engine_plan(model, &o, &plan, NULL);
    return plan.min_bytes;
}

/* Once the cache holds what a token needs, every layer to the token's end is named rightly: the
 * second token after the first of the same kind finds all its experts in memory. Returns how often
 * a small cache had to wait, which is the disk's to say. */
static void check_layout(const umbra_model *model, void *user)
{
    int *waits = user;
    follower plain = follow(model, 0, UMBRA_TAP_ROUTED, 0, false);
    follower f = follow(model, 0, UMBRA_TAP_ROUTED, 0, true);
    assert_true(f.hash == plain.hash);
    assert_true(f.compared > 0 && f.equal > f.compared / 2);
    follower small = follow(model, smallest(model), UMBRA_TAP_WAIT, 0, true);
    assert_true(small.hash == plain.hash);
    *waits += small.walks;
}

static void walks_change_nothing_in_any_layout(void **state)
{
    (void)state;
    int waits = 0;
    each_layout(check_layout, &waits);
    assert_true(waits > 0);
}

/* ---- rows behind others of their text ---- */

enum { CHECKED = 5 };

/* From every row of a step, where the layout lets them be walked from; what they name in the next
 * layer is held against what the step comes to there. */
static int walk_rows(void *user, const umbra_rows *rows)
{
    follower *f = user;
    for (int t = 0; t < rows->n && f->walked[rows->layer]; t++) {
        const int32_t *used = rows->experts + (size_t)t * (size_t)f->used;
        f->compared += f->used;
        for (int j = 0; j < f->used; j++)
            for (int i = 0; i < f->used; i++)
                f->equal += f->named[t][i] == used[j];
    }
    memset(f->walked, 0, sizeof f->walked);
    for (int t = 0; t < rows->n; t++) {
        umbra_walk_begin(f->walk, rows, t, UMBRA_TAP_ROUTED);
        for (int d = 1; umbra_walk_step(f->walk); d++) {
            if (d > 1)
                continue;
            memcpy(f->named[t], umbra_walk_experts(f->walk), (size_t)f->used * sizeof(int32_t));
            f->walked[umbra_walk_layer(f->walk)] = true;
        }
        f->walks++;
    }
    return 0;
}

/* Steps of 1 to CHECKED rows of one text. Returns whether its layout lets drafts be walked from. */
static bool check_drafts(const umbra_model *model, follower *f, bool walking)
{
    const umbra_model_info *info = umbra_model_get_info(model);
    umbra_engine_options o = {.threads = 2, .context = 48, .chunk = 8};
    umbra_error err = {0};
    *f = (follower){.layers = info->layers, .used = info->experts_used};
    if (umbra_engine_open(&f->engine, model, &o, &err) != 0 ||
        umbra_walk_open(&f->walk, f->engine, &err) != 0)
        fail_msg("%s", err.message);
    bool takes = umbra_walk_takes_drafts(f->walk);
    const umbra_tap attached = {.user = f, .at = {[UMBRA_TAP_ROUTED] = walk_rows}};
    umbra_engine_attach(f->engine, walking && takes ? &attached : NULL);
    const umbra_tap tap = {.user = f, .logits = hash_logits};
    for (int i = 0, step = 0; i < 40; i += 1 + step++ % CHECKED) {
        umbra_token rows[CHECKED];
        int n = 1 + step % CHECKED;
        for (int t = 0; t < n; t++)
            rows[t] = (umbra_token){1 + (i + t) * 37 % 200, 0, true};
        memset(f->walked, 0, sizeof f->walked);
        umbra_engine_set_checking(f->engine, 0, n > 1);
        if (umbra_engine_eval(f->engine, rows, n, &tap, &err) != 0)
            fail_msg("%s", err.message);
        umbra_engine_set_checking(f->engine, 0, false);
    }
    umbra_walk_close(&f->walk);
    umbra_engine_close(&f->engine);
    return takes;
}

typedef struct totals {
    int takes, equal, compared;
} totals;

static void check_layout_drafts(const umbra_model *model, void *user)
{
    totals *all = user;
    follower plain, f;
    check_drafts(model, &plain, false);
    bool taken = check_drafts(model, &f, true);
    assert_true(f.hash == plain.hash);
    assert_true(taken == (f.walks > 0));
    all->takes += taken;
    all->equal += f.equal;
    all->compared += f.compared;
}

static void drafts_are_walked_from_in_most_layouts(void **state)
{
    (void)state;
    totals all = {0};
    each_layout(check_layout_drafts, &all);
    assert_true(all.takes > (int)(sizeof layouts / sizeof layouts[0]) / 2);
    assert_true(all.equal > all.compared / 2);
}

/* Reads every expert once, so that nothing is missing. */
static int fill(umbra_store *store, const umbra_model *model)
{
    const umbra_model_info *info = umbra_model_get_info(model);
    int list[MOST_EXPERTS];
    for (int e = 0; e < info->experts; e++)
        list[e] = e;
    for (int l = 0; l < info->layers; l++) {
        umbra_batch batch = {
            .kind = UMBRA_BATCH_PROBE, .layer = l, .experts = list, .n = info->experts};
        umbra_lease lease;
        if (!umbra_layer_has_experts(model, l))
            continue;
        if (umbra_store_begin(store, &batch, NULL) != 0)
            return -1;
        while (umbra_store_next(store, &lease, 1, NULL) > 0)
            umbra_store_release(store, &lease);
    }
    return 0;
}

static void with_everything_in_memory_it_is_the_model(void **state)
{
    (void)state;
    umbra_model *model;
    umbra_error err = {0};
    if (umbra_model_open(&model, tiny, &err) != 0)
        fail_msg("%s", err.message);
    const umbra_model_info *info = umbra_model_get_info(model);
    for (int begin = 0; begin < 3; begin++) {
        umbra_engine_options o = {.threads = 2};
        follower f = {.from = UMBRA_TAP_ROUTED,
                      .layers = info->layers,
                      .used = info->experts_used,
                      .begin_layer = begin};
        assert_int_equal(umbra_engine_open(&f.engine, model, &o, &err), 0);
        assert_int_equal(umbra_walk_open(&f.walk, f.engine, &err), 0);
        assert_int_equal(fill(umbra_engine_store(f.engine), model), 0);
        const umbra_tap attached = {.user = &f, .at = {[UMBRA_TAP_ROUTED] = compare}};
        umbra_engine_attach(f.engine, &attached);
        for (int i = 0; i < TOKENS; i++) {
            memset(f.walked, 0, sizeof f.walked);
            umbra_token token = {1 + i * 37 % 200, 0, false};
            assert_int_equal(umbra_engine_eval(f.engine, &token, 1, NULL, &err), 0);
        }
        assert_int_equal(f.walks, TOKENS);
        assert_int_equal(f.compared, TOKENS * (info->layers - 1 - begin) * info->experts_used);
        assert_int_equal(f.equal, f.compared);
        assert_true(f.most_missing == 0);
        umbra_walk_close(&f.walk);
        umbra_engine_close(&f.engine);
    }
    umbra_model_close(&model);
}

/* ---- what earlier walks know ---- */

typedef struct heir {
    umbra_engine *engine;
    umbra_walk *walk;
    int layers, experts;
    float known[MOST_LAYERS][MOST_EXPERTS], own[MOST_LAYERS][MOST_EXPERTS]; /* scores */
    int same[2]; /* layers whose scores are the same, from layers 0 and 1 */
} heir;

static void walk_to_end(heir *h, const umbra_rows *rows, float (*scores)[MOST_EXPERTS])
{
    umbra_walk_begin(h->walk, rows, 0, UMBRA_TAP_ROUTED);
    while (umbra_walk_step(h->walk))
        memcpy(scores[umbra_walk_layer(h->walk)], umbra_walk_scores(h->walk),
               (size_t)h->experts * sizeof(float));
}

/* A first walk without experts, then from one layer on with all of them: with what the first one
 * knows, and without. */
static int inherit(void *user, const umbra_rows *rows)
{
    heir *h = user;
    if (rows->layer > 1)
        return 0;
    umbra_walk_take_known(h->walk, true);
    umbra_walk_limit(h->walk, rows->layer == 0 ? 0 : UMBRA_MAX_USED);
    walk_to_end(h, rows, h->known);
    umbra_walk_take_known(h->walk, false);
    walk_to_end(h, rows, h->own);
    for (int l = rows->layer + 1; l < h->layers; l++) {
        bool same = memcmp(h->known[l], h->own[l], (size_t)h->experts * sizeof(float)) == 0;
        h->same[rows->layer] += same;
    }
    return 0;
}

/* The first walk of a token finds everything by itself, whatever was known of the token before;
 * those after it differ from walks that know nothing, but for their attention alone. */
static void what_is_known_of_a_token_is_taken(void **state)
{
    (void)state;
    umbra_model *model;
    umbra_error err = {0};
    if (umbra_model_open(&model, tiny, &err) != 0)
        fail_msg("%s", err.message);
    const umbra_model_info *info = umbra_model_get_info(model);
    umbra_engine_options o = {.threads = 2};
    heir h = {.layers = info->layers, .experts = info->experts};
    assert_int_equal(umbra_engine_open(&h.engine, model, &o, &err), 0);
    assert_int_equal(umbra_walk_open(&h.walk, h.engine, &err), 0);
    assert_int_equal(fill(umbra_engine_store(h.engine), model), 0);
    const umbra_tap attached = {.user = &h, .at = {[UMBRA_TAP_ROUTED] = inherit}};
    umbra_engine_attach(h.engine, &attached);
    for (int i = 0; i < TOKENS; i++) {
        umbra_token token = {1 + i * 37 % 200, 0, false};
        assert_int_equal(umbra_engine_eval(h.engine, &token, 1, NULL, &err), 0);
    }
    assert_int_equal(h.same[0], TOKENS * (info->layers - 1));
    assert_int_equal(h.same[1], 0);
    umbra_walk_close(&h.walk);
    umbra_engine_close(&h.engine);
    umbra_model_close(&model);
}

/* ---- across the token's end ---- */

typedef struct crossing {
    umbra_engine *engine;
    umbra_walk *walk;
    int layers, used, begin_layer;
    int32_t next; /* the token that will come; -1: the walk's guess */
    int32_t best; /* of the token before, by its logits */
    umbra_walk_next guess;
    int32_t named[MOST_LAYERS][MOST_USED];
    bool walked; /* into the token in progress */
    int compared, equal, guesses, right, walks;
} crossing;

static int32_t best_of(const float *logits, int n)
{
    int32_t best = 0;
    for (int i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

static int take_best(void *user, int index, const float *logits)
{
    crossing *c = user;
    (void)index;
    const umbra_model_info *info = umbra_model_get_info(umbra_engine_model(c->engine));
    c->best = best_of(logits, info->vocabulary);
    return 0;
}

/* Two tokens on from here: to the end of this one, through the next, and its guess of the third. */
static void cross(crossing *c)
{
    umbra_walk_next far;
    umbra_walk *w = c->walk;
    assert_false(umbra_walk_guess(w, &far)); /* not at the token's end yet */
    assert_false(umbra_walk_guess_begin(w));
    assert_false(umbra_walk_token(w, 0));
    while (umbra_walk_step(w))
        assert_int_equal(umbra_walk_tokens(w), 0);
    assert_int_equal(umbra_walk_layer(w), c->layers);
    assert_false(umbra_walk_step(w));
    assert_true(umbra_walk_guess(w, &c->guess));
    assert_true(c->guess.best != c->guess.second && c->guess.probability > 0 &&
                c->guess.probability >= c->guess.second_probability);
    assert_true(c->guess.probability + c->guess.second_probability <= 1.0001f);
    assert_true(umbra_walk_guess_begin(w));
    while (!umbra_walk_guess_on(w, &far))
        assert_int_equal(umbra_walk_layer(w), c->layers);
    assert_memory_equal(&far, &c->guess, sizeof far);
    if (!umbra_walk_token(w, c->next >= 0 ? c->next : c->guess.best))
        return; /* the context's end */
    c->walks++;
    for (int at = umbra_walk_distance(w); umbra_walk_step(w);) {
        assert_int_equal(umbra_walk_distance(w), ++at);
        assert_int_equal(umbra_walk_tokens(w), 1);
        memcpy(c->named[umbra_walk_layer(w)], umbra_walk_experts(w),
               (size_t)c->used * sizeof(int32_t));
    }
    assert_true(umbra_walk_guess(w, &far));
    for (int more = 2; umbra_walk_token(w, far.best); more++) {
        assert_true(more < UMBRA_WALK_TOKENS);
        while (umbra_walk_step(w))
            assert_int_equal(umbra_walk_tokens(w), more);
        assert_true(umbra_walk_guess(w, &far));
    }
}

static int cross_here(void *user, const umbra_rows *rows)
{
    crossing *c = user;
    if (c->walked)
        for (int j = 0; j < c->used; j++, c->compared++)
            for (int i = 0; i < c->used; i++)
                c->equal += c->named[rows->layer][i] == rows->experts[j];
    if (rows->layer == c->begin_layer) {
        umbra_walk_begin(c->walk, rows, 0, UMBRA_TAP_ROUTED);
        c->walked = false; /* what was named of this token's later layers is overwritten */
        cross(c);
    }
    return 0;
}

/* Every token is walked out of at begin_layer, the model's last layer with experts. */
static crossing cross_all(const umbra_model *model, uint64_t ram, bool whole)
{
    const umbra_model_info *info = umbra_model_get_info(model);
    umbra_error err = {0};
    umbra_engine_options o = {.ram_bytes = ram, .threads = 2, .context = TOKENS, .chunk = 4};
    crossing c = {
        .layers = info->layers, .used = info->experts_used, .begin_layer = info->layers - 1};
    if (umbra_engine_open(&c.engine, model, &o, &err) != 0 ||
        umbra_walk_open(&c.walk, c.engine, &err) != 0)
        fail_msg("%s", err.message);
    if (whole)
        assert_int_equal(fill(umbra_engine_store(c.engine), model), 0);
    const umbra_tap attached = {.user = &c, .at = {[UMBRA_TAP_ROUTED] = cross_here}};
    const umbra_tap tap = {.user = &c, .logits = take_best};
    umbra_engine_attach(c.engine, &attached);
    for (int i = 0; i < TOKENS; i++) {
        umbra_token token = {1 + i * 37 % 200, 0, true};
        c.next = i % 2 ? 1 + (i + 1) * 37 % 200 : -1;
        if (umbra_engine_eval(c.engine, &token, 1, &tap, &err) != 0)
            fail_msg("%s", err.message);
        c.guesses++;
        c.right += c.guess.best == c.best;
        c.walked = c.next >= 0;
    }
    assert_int_equal(umbra_engine_length(c.engine, 0), TOKENS);
    umbra_walk_close(&c.walk);
    umbra_engine_close(&c.engine);
    return c;
}

/* Every guess is the model's own, and every expert of a next token that was told is named. */
static void across_the_end_it_is_the_model_too(void **state)
{
    (void)state;
    umbra_model *model;
    umbra_error err = {0};
    if (umbra_model_open(&model, tiny, &err) != 0)
        fail_msg("%s", err.message);
    const umbra_model_info *info = umbra_model_get_info(model);
    crossing c = cross_all(model, 0, true);
    assert_int_equal(c.right, c.guesses);
    assert_int_equal(c.walks, TOKENS - 1);
    assert_int_equal(c.compared, (TOKENS / 2 - 1) * info->layers * info->experts_used);
    assert_int_equal(c.equal, c.compared);
    crossing few = cross_all(model, smallest(model), false);
    assert_true(few.compared == c.compared && few.equal < few.compared);
    umbra_model_close(&model);
}

enum { CHAIN = 24 }; /* more than what indexes pick */

static int32_t chain_id(int i)
{
    return 3 + i * 37 % 200;
}

/* What a walk in front of token `at`, on with those behind it, says that follows each. */
static void walk_chain(umbra_walk *w, int at, int32_t (*says)[UMBRA_WALK_TOKENS])
{
    umbra_walk_next next;
    assert_true(umbra_walk_begin_token(w, 0, at, chain_id(at)));
    for (int on = 0; on < UMBRA_WALK_TOKENS && at + on < CHAIN; on++) {
        assert_true(on == 0 || umbra_walk_token(w, chain_id(at + on)));
        while (umbra_walk_step(w))
            ;
        assert_true(umbra_walk_guess(w, &next));
        says[at + on][on] = next.best;
    }
}

static void check_chain(const umbra_model *model, void *user)
{
    (void)user;
    umbra_error err = {0};
    umbra_engine_options o = {.threads = 2, .context = CHAIN};
    crossing c = {.layers = umbra_model_get_info(model)->layers};
    int32_t says[CHAIN][UMBRA_WALK_TOKENS];
    assert_int_equal(umbra_engine_open(&c.engine, model, &o, &err), 0);
    assert_int_equal(umbra_walk_open(&c.walk, c.engine, &err), 0);
    assert_int_equal(fill(umbra_engine_store(c.engine), model), 0);
    const umbra_tap tap = {.user = &c, .logits = take_best};
    for (int i = 0; i < CHAIN; i++) {
        umbra_token token = {chain_id(i), 0, true};
        walk_chain(c.walk, i, says);
        assert_int_equal(umbra_engine_eval(c.engine, &token, 1, &tap, &err), 0);
        for (int on = 0; on < UMBRA_WALK_TOKENS && on <= i; on++)
            assert_int_equal(says[i][on], c.best);
    }
    assert_false(umbra_walk_begin_token(c.walk, 0, CHAIN, 3));
    umbra_walk_close(&c.walk);
    umbra_engine_close(&c.engine);
}

/* A walk from a token that the engine has not seen, and on through given ones, says what the engine
 * computes then, whatever a layer sees of its positions. */
static void in_front_of_tokens_it_is_every_model(void **state)
{
    (void)state;
    each_layout(check_chain, NULL);
}

/* ---- margins ---- */

enum { N = 32, K = 4 };

static void margins_learn_what_comes_true(void **state)
{
    (void)state;
    umbra_margins m;
    uint8_t steps[N];
    umbra_margin_row row = {.step = steps};
    float scores[N], order[N], p[N];
    umbra_margins_init(&m);
    for (int i = 0; i < N; i++)
        scores[i] = expf((float)-i / 4) / 5;
    umbra_margins_foretell(&m, UMBRA_GATING_SOFTMAX, scores, NULL, N, K, 1, 0, order, p, &row);
    for (int i = 0; i + 1 < N; i++)
        assert_true(p[i] >= p[i + 1] && p[i] > 0 && p[i] < 1);
    assert_true(p[0] > 0.8f && p[N - 1] < 0.05f);
    /* At distance 3 with much missing nothing of the kind is ever used: the last ones are. */
    static const int32_t last[K] = {N - 1, N - 2, N - 3, N - 4};
    for (int i = 0; i < 400; i++) {
        umbra_margins_foretell(&m, UMBRA_GATING_SOFTMAX, scores, NULL, N, K, 3, 0.9f, order, p,
                               &row);
        umbra_margins_learn(&m, &row, N, last, K);
        assert_int_equal(row.distance, 0);
        umbra_margins_learn(&m, &row, N, last, K); /* nothing was foretold: nothing is learned */
    }
    umbra_margins_foretell(&m, UMBRA_GATING_SOFTMAX, scores, NULL, N, K, 3, 0.9f, order, p, &row);
    assert_true(p[0] < 0.1f && p[N - 1] > 0.1f);
    umbra_margins_foretell(&m, UMBRA_GATING_SOFTMAX, scores, NULL, N, K, 1, 0, order, p, &row);
    assert_true(p[0] > 0.8f); /* of another distance */
    umbra_margins_foretell(&m, UMBRA_GATING_SIGMOID, scores, scores, N, N, 9, 2, order, p, &row);
    for (int i = 0; i < N; i++) /* all are used; distances beyond are the last */
        assert_true(p[i] > 0 && p[i] <= 1);
}

static void scores_of_any_kind_pass(void **state)
{
    (void)state;
    static const float odd[] = {0, 1, -1, INFINITY, -INFINITY, NAN, 1e-38f, 3e38f};
    static const umbra_gating gatings[] = {UMBRA_GATING_SOFTMAX, UMBRA_GATING_SIGMOID,
                                           UMBRA_GATING_SOFTMAX_USED};
    umbra_margins m;
    uint8_t steps[N];
    umbra_margin_row row = {.step = steps};
    float scores[N], order[N], p[N];
    umbra_margins_init(&m);
    for (int g = 0; g < 3; g++) {
        for (int shift = 0; shift < 8; shift++) {
            for (int i = 0; i < N; i++)
                scores[i] = odd[(i * (shift + 1) + shift) % 8];
            umbra_margins_foretell(&m, gatings[g], scores, NULL, N, K, 1, NAN, order, p, &row);
            for (int i = 0; i < N; i++)
                assert_true(p[i] >= 0 && p[i] <= 1 && steps[i] < UMBRA_MARGIN_STEPS);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_everything_in_memory_it_is_the_model),
        cmocka_unit_test(what_is_known_of_a_token_is_taken),
        cmocka_unit_test(across_the_end_it_is_the_model_too),
        cmocka_unit_test(in_front_of_tokens_it_is_every_model),
        cmocka_unit_test(walks_change_nothing_in_any_layout),
        cmocka_unit_test(drafts_are_walked_from_in_most_layouts),
        cmocka_unit_test(margins_learn_what_comes_true),
        cmocka_unit_test(scores_of_any_kind_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
