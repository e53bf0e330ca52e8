/* Drafts change nothing: whatever is guessed, in whatever width, texts, states and what comes after
 * are those of single steps. Small models of every layout with random weights. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <umbra/umbra.h>

#include "../engine/answers.h"
#include "generate/mtp.h"
#include "teller.h"

enum { CONTEXT = 48, PROMPT = 5, NEW = 28 };

/* ---- texts ---- */

/* A text, and what the sequence is afterwards. */
typedef struct text {
    int32_t token[PROMPT + NEW];
    int n; /* the prompt's tokens included */
    umbra_generation did;
    umbra_draft_stats stats;
    int held;
    float after[2][MAKE_TOKENS]; /* logits of what comes next */
    int stop_at;                 /* wants no more behind so many new tokens; 0: all */
} text;

static int take(void *user, int32_t id)
{
    text *t = user;
    t->token[t->n++] = id;
    return t->n - PROMPT == t->stop_at;
}

/* Of one token more and another. */
static int take_after(void *user, int index, const float *logits)
{
    text *t = user;
    (void)index;
    memcpy(t->after[0], t->after[1], sizeof t->after[0]);
    memcpy(t->after[1], logits, sizeof t->after[1]);
    return 0;
}

static void begin(text *t)
{
    for (int i = 0; i < PROMPT; i++)
        t->token[i] = token_at(i, 0).id;
    t->n = PROMPT;
}

/* Generates on sequence 0 of an engine, which is empty before. */
static void generate(const opened *o, umbra_generate_options options, umbra_drafts *drafts, text *t)
{
    umbra_error err = {0};
    begin(t);
    options.on_token = take;
    options.user = t;
    options.drafts = drafts;
    options.max_tokens = options.max_tokens ? options.max_tokens : NEW;
    if (umbra_generate(o->engine, o->model, t->token, PROMPT, &options, &t->did, &err) != 0)
        fail_msg("%s", err.message);
    t->held = umbra_engine_length(o->engine, 0);
    const umbra_token next[] = {{3, 0, true}, {200, 0, true}};
    const umbra_tap tap = {.user = t, .logits = take_after};
    for (int i = 0; i < 2; i++)
        if (umbra_engine_eval(o->engine, &next[i], 1, &tap, &err) != 0)
            fail_msg("%s", err.message);
    if (drafts)
        umbra_drafts_get_stats(drafts, &t->stats);
    umbra_engine_truncate(o->engine, 0, 0);
}

static void assert_same(const text *a, const text *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->token, b->token, (size_t)a->n * sizeof a->token[0]);
    assert_int_equal(a->did.new_tokens, b->did.new_tokens);
    assert_int_equal(a->did.ended, b->did.ended);
    assert_int_equal(a->did.decode_tokens, b->did.decode_tokens);
    assert_int_equal(a->held, b->held);
    assert_memory_equal(a->after, b->after, sizeof a->after);
}

/* The text by a source that errs so often, always in the same width or as the gate says. */
static void generate_told(const opened *o, const umbra_generate_options *options, const text *truth,
                          double wrong, int width, bool gated, text *out)
{
    teller t = {.text = {truth->token}, .n = truth->n, .wrong = wrong};
    umbra_draft_source source = teller_source(&t);
    umbra_draft_options draft = {.source = UMBRA_DRAFT_LOOKUP, .most = width};
    umbra_drafts *drafts;
    assert_int_equal(umbra_drafts_open_with(&drafts, o->engine, &draft, &source, gated, NULL, NULL),
                     0);
    generate(o, *options, drafts, out);
    umbra_drafts_close(&drafts);
}

static const double errors[] = {0, 0.3, 1};
enum { ERRORS = sizeof errors / sizeof errors[0] };

/* Every width and share of errors, greedy and drawn, against single steps. */
static void check_widths(const opened *o)
{
    const umbra_generate_options options[] = {
        {.ignore_end = true},
        {.ignore_end = true,
         .sampling = {.temperature = 1.5f,
                      .top_p = 0.9f,
                      .seed = 9,
                      .repetition_penalty = 1.3f,
                      .frequency_penalty = 0.5f}},
    };
    for (int i = 0; i < 2; i++) {
        text alone = {0};
        generate(o, options[i], NULL, &alone);
        assert_int_equal(alone.n, PROMPT + NEW);
        for (int width = 1; width <= UMBRA_DRAFT_MOST; width += width < 8 ? 1 : 4)
            for (int e = 0; e < ERRORS; e++) {
                text told = {0};
                generate_told(o, &options[i], &alone, errors[e], width, width % 3 == 0, &told);
                assert_same(&alone, &told);
                if (errors[e] == 0 && width % 3 != 0)
                    assert_true(told.did.decode_steps <= (NEW + width) / (width + 1));
            }
    }
}

static const make_layout *const layouts[] = {
    &make_olmoe,       &make_llama,      &make_qwen2moe,    &make_deepseek2,   &make_gpt_oss,
    &make_glm4moe,     &make_minimax_m2, &make_bailingmoe2, &make_hunyuan_moe, &make_granitemoe,
    &make_ernie45_moe, &make_gemma4,     &make_llama4,      &make_lfm2moe,     &make_glm_dsa,
    &make_deepseek32,  &make_minimax_m3, &make_deepseek4,   &make_qwen35moe,   &make_qwen3next,
    &make_qwen4exp,
};
enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

/* The smallest budget for such a context. */
static uint64_t least_budget(const make_layout *layout, umbra_engine_options options)
{
    opened o = open_it(layout, NULL, NULL, &options);
    uint64_t least = umbra_engine_get_plan(o.engine)->min_bytes;
    close_it(&o);
    return least;
}

static void no_layout_notices_drafts(void **state)
{
    (void)state;
    for (int i = 0; i < LAYOUTS; i++) {
        umbra_engine_options options = {.threads = 1, .context = CONTEXT};
        if (i % 2 == 0) /* the other half has all in memory */
            options.ram_bytes = least_budget(layouts[i], options);
        opened o = open_it(layouts[i], NULL, NULL, &options);
        check_widths(&o);
        close_it(&o);
    }
}

static void no_policy_notices_drafts(void **state)
{
    (void)state;
    static const umbra_policy policies[] = {UMBRA_POLICY_PREVIOUS, UMBRA_POLICY_GATE,
                                            UMBRA_POLICY_RUNAHEAD, UMBRA_POLICY_AUTO};
    for (int i = 0; i < 4; i++) {
        umbra_engine_options options = {
            .threads = 2, .context = CONTEXT, .chunk = UMBRA_DRAFT_MOST + 1};
        umbra_prefetch_options ahead = {.policy = policies[i]};
        umbra_prefetch *prefetch;
        umbra_error err = {0};
        options.ram_bytes = least_budget(&make_deepseek2, options) + 60000;
        opened o = open_it(&make_deepseek2, NULL, NULL, &options);
        if (umbra_prefetch_open(&prefetch, o.engine, &ahead, &err) != 0)
            fail_msg("%s", err.message);
        check_widths(&o);
        umbra_prefetch_close(&prefetch);
        close_it(&o);
    }
}

/* An end token among the drafts, a caller who has enough in the middle of them, a limit. */
static void texts_end_where_they_should(void **state)
{
    (void)state;
    const umbra_engine_options options = {.threads = 1, .context = CONTEXT};
    opened o = open_it(&make_gpt_oss, NULL, NULL, &options);
    for (int stop = 1; stop < 12; stop++) {
        umbra_generate_options go = {.sampling = {.temperature = 50, .seed = (uint64_t)stop}};
        text whole = {0};
        go.ignore_end = true;
        generate(&o, go, NULL, &whole);
        go.ignore_end = false;
        go.max_tokens = stop % 3 == 0 ? stop : 0;
        text alone = {.stop_at = stop % 3 == 1 ? stop : 0}, told = alone;
        generate(&o, go, NULL, &alone);
        generate_told(&o, &go, &whole, 0, 8, false, &told);
        assert_same(&alone, &told);
    }
    close_it(&o);
}

static int count_ends(const opened *o, uint64_t seed, text *alone, text *told)
{
    umbra_generate_options go = {.sampling = {.temperature = 100, .seed = seed}};
    text whole = {0};
    go.ignore_end = true;
    generate(o, go, NULL, &whole);
    go.ignore_end = false;
    generate(o, go, NULL, alone);
    generate_told(o, &go, &whole, 0, 8, false, told);
    return alone->did.ended;
}

static void an_end_among_drafts_ends_the_text(void **state)
{
    (void)state;
    const umbra_engine_options options = {.threads = 1, .context = CONTEXT};
    opened o = open_it(&make_olmoe, NULL, NULL, &options);
    int ended = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        text alone = {0}, told = {0};
        ended += count_ends(&o, seed, &alone, &told);
        assert_same(&alone, &told);
    }
    assert_true(ended > 0);
    close_it(&o);
}

/* Lets anything follow up to 12 tokens of a text, nothing after that. */
static int allow_some(void *user, const int32_t *tokens, int n, uint64_t *allowed)
{
    (void)user;
    (void)tokens;
    memset(allowed, n < PROMPT + 12 ? 0xff : 0, MAKE_TOKENS / 8 + 1);
    return 1;
}

/* Where nothing may follow, what came before is handed out all the same, and the failure is that of
 * single steps. */
static void a_draw_that_fails_among_drafts(void **state)
{
    (void)state;
    const umbra_engine_options options = {.threads = 1, .context = CONTEXT};
    opened o = open_it(&make_llama, NULL, NULL, &options);
    umbra_generate_options go = {.ignore_end = true};
    text truth = {0}, told[2];
    generate(&o, go, NULL, &truth);
    for (int with = 0; with < 2; with++) {
        teller t = {.text = {truth.token}, .n = truth.n};
        umbra_draft_source source = teller_source(&t);
        umbra_draft_options draft = {.source = UMBRA_DRAFT_LOOKUP};
        umbra_drafts *drafts;
        umbra_error err = {0};
        assert_int_equal(
            umbra_drafts_open_with(&drafts, o.engine, &draft, &source, false, NULL, NULL), 0);
        told[with] = (text){0};
        begin(&told[with]);
        go = (umbra_generate_options){.ignore_end = true,
                                      .sampling.allow = allow_some,
                                      .max_tokens = NEW,
                                      .on_token = take,
                                      .user = &told[with],
                                      .drafts = with ? drafts : NULL};
        assert_int_equal(
            umbra_generate(o.engine, o.model, told[with].token, PROMPT, &go, &told[with].did, &err),
            UMBRA_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, "may come at position 17"));
        assert_int_equal(umbra_engine_truncate(o.engine, 0, CONTEXT), PROMPT + 12);
        umbra_engine_truncate(o.engine, 0, 0);
        umbra_drafts_close(&drafts);
    }
    assert_int_equal(told[0].n, PROMPT + 12);
    assert_memory_equal(told[0].token, told[1].token, sizeof told[0].token);
    close_it(&o);
}

/* ---- the table ---- */

/* A text goes on in a second call, which looks up what the first wrote. */
static void lookups_go_on_with_the_text(void **state)
{
    (void)state;
    const umbra_engine_options options = {.threads = 1, .context = CONTEXT};
    opened o = open_it(&make_llama, NULL, NULL, &options);
    const umbra_draft_options draft = {.source = UMBRA_DRAFT_LOOKUP, .most = 4};
    umbra_drafts *drafts;
    umbra_draft_stats s;
    assert_int_equal(umbra_drafts_open(&drafts, o.engine, &draft, NULL), 0);
    int32_t told[2][16];
    for (int with = 0; with < 2; with++) {
        umbra_engine_truncate(o.engine, 0, 0);
        const int32_t first[] = {7, 8, 9, 10, 11, 12, 7, 8, 9}, second[] = {10, 11};
        text t = {.n = PROMPT};
        umbra_generate_options go = {.max_tokens = 8,
                                     .ignore_end = true,
                                     .on_token = take,
                                     .user = &t,
                                     .drafts = with ? drafts : NULL};
        assert_int_equal(umbra_generate(o.engine, o.model, first, 9, &go, &t.did, NULL), 0);
        assert_int_equal(umbra_generate(o.engine, o.model, second, 2, &go, &t.did, NULL), 0);
        assert_int_equal(t.n, PROMPT + 16);
        memcpy(told[with], t.token + PROMPT, sizeof told[with]);
    }
    assert_memory_equal(told[0], told[1], sizeof told[0]);
    umbra_drafts_get_stats(drafts, &s);
    assert_int_equal(s.source, UMBRA_DRAFT_LOOKUP);
    assert_true(s.checks > 0 && s.drafted[UMBRA_DRAFT_LOOKUP] > 0);
    assert_int_equal(s.tokens, 14);
    assert_true(s.steps <= 14 && s.check_experts > 0);
    umbra_drafts_close(&drafts);
    umbra_drafts_close(&drafts);
    close_it(&o);
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    const umbra_engine_options options = {.threads = 1, .context = CONTEXT};
    opened o = open_it(&make_llama, NULL, NULL, &options);
    umbra_draft_options wrong[] = {{.most = -1},
                                   {.most = 17},
                                   {.source = (umbra_draft)UMBRA_DRAFT_SOURCES},
                                   {.reserved = {1}}};
    umbra_engine_options engine = options;
    for (int i = 0; i < 4; i++) {
        umbra_drafts *drafts = (umbra_drafts *)&o;
        umbra_error err = {0};
        assert_int_equal(umbra_drafts_open(&drafts, o.engine, &wrong[i], &err), UMBRA_E_ARGUMENT);
        assert_null(drafts);
        assert_int_equal(umbra_drafts_fit(o.model, &engine, &wrong[i], &err), UMBRA_E_ARGUMENT);
    }
    assert_int_equal(engine.reserved_bytes, 0);
    close_it(&o);
}

/* With everything in memory what runs ahead is the model itself, and its drafts come true; with
 * little memory they may not, and the text is the same. */
static void the_model_drafts_for_itself(void **state)
{
    (void)state;
    for (int little = 0; little < 2; little++) {
        umbra_engine_options options = {.threads = 1, .context = CONTEXT};
        if (little)
            options.ram_bytes = least_budget(&make_deepseek2, options) + 100000;
        opened o = open_it(&make_deepseek2, NULL, NULL, &options);
        umbra_prefetch_options ahead = {.policy = UMBRA_POLICY_RUNAHEAD};
        umbra_draft_options draft = {.source = UMBRA_DRAFT_RUNAHEAD};
        umbra_drafts *drafts;
        umbra_error err = {0};
        text alone = {0}, told = {0};
        assert_int_equal(umbra_drafts_open(&drafts, o.engine, &draft, &err), UMBRA_E_ARGUMENT);
        assert_non_null(strstr(err.message, "--prefetch runahead"));
        if (umbra_prefetch_open(&draft.ahead, o.engine, &ahead, &err) != 0 ||
            umbra_drafts_open(&drafts, o.engine, &draft, &err) != 0)
            fail_msg("%s", err.message);
        generate(&o, (umbra_generate_options){.ignore_end = true}, NULL, &alone);
        generate(&o, (umbra_generate_options){.ignore_end = true}, drafts, &told);
        assert_same(&alone, &told);
        uint64_t drafted = told.stats.drafted[UMBRA_DRAFT_RUNAHEAD];
        assert_true(drafted > 0);
        if (!little)
            assert_true(told.stats.accepted[UMBRA_DRAFT_RUNAHEAD] * 2 > drafted);
        umbra_drafts_close(&drafts);
        umbra_prefetch_close(&draft.ahead);
        close_it(&o);
    }
}

/* ---- the block for further tokens ---- */

static const make_key further_keys[] = {{"block_count", MAKE_LAYERS + 1, MAKE_U32, NULL},
                                        {"nextn_predict_layers", 1, MAKE_U32, NULL},
                                        {0}};
static const make_tensor further_tensors[] = {
    {"nextn.eh_proj.weight", {2 * MAKE_HIDDEN, MAKE_HIDDEN}, MAKE_LAYERS, 0},
    {"nextn.enorm.weight", {MAKE_HIDDEN}, MAKE_LAYERS, 0},
    {"nextn.hnorm.weight", {MAKE_HIDDEN}, MAKE_LAYERS, 0},
    {0}};

/* The text so far, as the block's input: states, and the tokens that follow them. */
typedef struct seen {
    umbra_mtp *mtp;
    float state[CONTEXT][MAKE_HIDDEN];
} seen;

static int see(void *user, const umbra_rows *rows)
{
    seen *s = user;
    memcpy(s->state[rows->position[0]], rows->x, (size_t)rows->n * sizeof s->state[0]);
    umbra_mtp_rows(s->mtp, rows);
    return 0;
}

/* A draft must be that of a block that sees the n pairs at once. */
static void check_draft(const opened *o, seen *s, const int32_t *follows, int n, int32_t draft)
{
    static float logits[CONTEXT][MAKE_TOKENS];
    umbra_mtp *fresh;
    int32_t best = 0;
    assert_int_equal(umbra_mtp_open(&fresh, o->engine, NULL), 0);
    assert_int_equal(umbra_mtp_logits(fresh, s->state[0], follows, n, logits[0], NULL), 0);
    for (int i = 1; i < MAKE_TOKENS; i++)
        best = logits[n - 1][i] > logits[n - 1][best] ? i : best;
    assert_int_equal(draft, best);
    umbra_mtp_close(&fresh);
}

static void check_block(const opened *o, seen *s, int sequence, const int32_t *follows, int n)
{
    int32_t drafts[3];
    assert_int_equal(umbra_mtp_draft(s->mtp, sequence, 3, drafts), 3);
    check_draft(o, s, follows, n, drafts[0]);
}

/* A prompt in chunks, then checks of which a part was right, with drafts asked for in between. */
static void the_block_sees_the_text(void **state)
{
    (void)state;
    static const int rows[] = {1, 4, 3, 1, 2, 5}, right[] = {1, 2, 3, 1, 1, 4};
    umbra_builder b;
    const umbra_engine_options options = {.threads = 1, .context = CONTEXT, .chunk = 7};
    make_build(&b, &make_glm4moe, further_keys, further_tensors, NULL);
    opened o = open_built(&b, &options);
    seen s;
    umbra_error err = {0};
    if (umbra_mtp_open(&s.mtp, o.engine, &err) != 0)
        fail_msg("%s", err.message);
    const umbra_tap tap = {.user = &s, .at = {[UMBRA_TAP_LEAVE] = see}};
    umbra_token tokens[CONTEXT];
    int32_t follows[CONTEXT];
    for (int i = 0; i < CONTEXT; i++) {
        tokens[i] = (umbra_token){(i * 37 + 11) % 250, 0, false};
        follows[i] = ((i + 1) * 37 + 11) % 250;
    }
    int held = 15; /* 7, 7 and a single row */
    assert_int_equal(umbra_engine_eval(o.engine, tokens, held, &tap, NULL), 0);
    umbra_mtp_follow(s.mtp, 0, follows + held - 1, 1);
    for (int i = 0; i < 6; i++) {
        if (i != 3)
            check_block(&o, &s, 0, follows, held);
        umbra_engine_set_checking(o.engine, 0, rows[i] > 1);
        assert_int_equal(umbra_engine_eval(o.engine, tokens + held, rows[i], &tap, NULL), 0);
        umbra_engine_truncate(o.engine, 0, held + right[i]);
        umbra_mtp_follow(s.mtp, 0, follows + held, right[i]);
        held += right[i];
    }
    check_block(&o, &s, 0, follows, held);
    umbra_mtp_close(&s.mtp);
    umbra_mtp_close(&s.mtp);
    close_it(&o);
}

/* Tokens of a text that goes on in a sequence, and those that follow them. */
static void read_rows(const opened *o, seen *s, int sequence, const int32_t *words, int from, int n)
{
    const umbra_tap tap = {.user = s, .at = {[UMBRA_TAP_LEAVE] = see}};
    umbra_token tokens[CONTEXT];
    for (int i = 0; i < n; i++)
        tokens[i] = (umbra_token){words[from + i], sequence, false};
    assert_int_equal(umbra_engine_eval(o->engine, tokens, n, &tap, NULL), 0);
}

/* A branch goes on beside its source, each as if it were alone; what is cut away is forgotten, and
 * what comes then is drafted for without the token that the cut took. */
static void the_block_forks_and_cuts(void **state)
{
    (void)state;
    umbra_builder b;
    const umbra_engine_options options = {.threads = 1, .context = CONTEXT, .sequences = 2};
    make_build(&b, &make_glm4moe, further_keys, further_tensors, NULL);
    opened o = open_built(&b, &options);
    seen s;
    int32_t words[2][CONTEXT], drafts[2];
    assert_int_equal(umbra_mtp_open(&s.mtp, o.engine, NULL), 0);
    for (int i = 0; i < CONTEXT; i++) {
        words[0][i] = (i * 37 + 11) % 250;
        words[1][i] = i < 12 ? words[0][i] : (i * 53 + 7) % 250;
    }
    read_rows(&o, &s, 0, words[0], 0, 12);
    assert_int_equal(umbra_engine_fork(o.engine, 0, 1, NULL), 0);
    umbra_mtp_fork(s.mtp, 0, 1);
    for (int i = 1; i >= 0; i--) { /* the states of the last one are those that are seen */
        read_rows(&o, &s, i, words[i], 12, 5);
        umbra_mtp_follow(s.mtp, i, words[i] + 17, 1);
        check_block(&o, &s, i, words[i] + 1, 17);
    }
    /* Of a check's rows the first two are kept: their states are there. */
    umbra_engine_set_checking(o.engine, 0, true);
    read_rows(&o, &s, 0, words[0], 17, 4);
    umbra_engine_truncate(o.engine, 0, 19);
    umbra_mtp_cut(s.mtp, 0, 19);
    umbra_mtp_follow(s.mtp, 0, words[0] + 18, 2);
    check_block(&o, &s, 0, words[0] + 1, 19);
    for (int to = 10; to >= 0; to -= 5) {
        umbra_engine_truncate(o.engine, 0, to);
        umbra_mtp_cut(s.mtp, 0, to);
        umbra_engine_set_checking(o.engine, 0, false);
        read_rows(&o, &s, 0, words[1], to, 3);
        umbra_mtp_follow(s.mtp, 0, words[1] + to + 3, 1);
        assert_int_equal(umbra_mtp_draft(s.mtp, 0, 2, drafts), 2);
        if (to == 0)
            check_draft(&o, &s, words[1] + 1, 3, drafts[0]);
    }
    /* The widest check, all of which comes true. */
    umbra_engine_truncate(o.engine, 0, 0);
    umbra_mtp_cut(s.mtp, 0, 0);
    umbra_engine_set_checking(o.engine, 0, true);
    read_rows(&o, &s, 0, words[1], 0, UMBRA_DRAFT_MOST + 1);
    umbra_mtp_follow(s.mtp, 0, words[1] + 1, UMBRA_DRAFT_MOST + 1);
    check_block(&o, &s, 0, words[1] + 1, UMBRA_DRAFT_MOST + 1);
    umbra_mtp_close(&s.mtp);
    close_it(&o);
}

/* Random weights foretell nothing: always checked the text stays the same, and the gate leaves them
 * alone. */
static void a_block_that_knows_nothing_is_left_alone(void **state)
{
    (void)state;
    umbra_builder b;
    const umbra_engine_options options = {.threads = 1, .context = CONTEXT};
    make_build(&b, &make_bailingmoe2, further_keys, further_tensors, NULL);
    opened o = open_built(&b, &options);
    umbra_drafts *drafts;
    umbra_error err = {0};
    umbra_draft_options draft = {.source = UMBRA_DRAFT_MTP, .most = 3};
    text alone = {0}, told = {0};
    umbra_engine_options engine = options;
    assert_int_equal(umbra_drafts_fit(o.model, &engine, &draft, NULL), 0);
    assert_true(engine.reserved_bytes > 0);
    if (umbra_drafts_open(&drafts, o.engine, &draft, &err) != 0)
        fail_msg("%s", err.message);
    const umbra_generate_options go = {.ignore_end = true};
    generate(&o, go, NULL, &alone);
    generate(&o, go, drafts, &told);
    assert_same(&alone, &told);
    assert_true(told.stats.checks < NEW / 4);
    umbra_drafts_close(&drafts);
    close_it(&o);
    o = open_it(&make_bailingmoe2, NULL, NULL, &options);
    assert_int_equal(umbra_drafts_open(&drafts, o.engine, &draft, &err), UMBRA_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "nextn.*"));
    close_it(&o);
}

/* Auto gives way where the budget has no room for it; what is asked for by name is an error then.
 */
static void drafts_stand_in_the_budget(void **state)
{
    (void)state;
    umbra_engine_options engine = {.threads = 1, .context = CONTEXT};
    uint64_t least = least_budget(&make_llama, engine);
    opened o = open_it(&make_llama, NULL, NULL, &engine);
    umbra_draft_options draft = {0}, named = {.source = UMBRA_DRAFT_LOOKUP};
    umbra_engine *too_small;
    assert_int_equal(umbra_drafts_fit(o.model, &engine, &draft, NULL), 0);
    assert_int_equal(draft.source, UMBRA_DRAFT_AUTO);
    assert_true(engine.reserved_bytes > 0);
    engine.reserved_bytes = 0;
    engine.ram_bytes = least;
    assert_int_equal(umbra_drafts_fit(o.model, &engine, &draft, NULL), 0);
    assert_int_equal(draft.source, UMBRA_DRAFT_OFF);
    assert_int_equal(engine.reserved_bytes, 0);
    assert_int_equal(umbra_drafts_fit(o.model, &engine, &named, NULL), 0);
    assert_true(engine.reserved_bytes > 0);
    assert_int_equal(umbra_engine_open(&too_small, o.model, &engine, NULL), UMBRA_E_BUDGET);
    close_it(&o);
}

static void sources_have_names(void **state)
{
    (void)state;
    umbra_error err = {0};
    umbra_draft draft = UMBRA_DRAFT_OFF;
    for (int i = 0; i < UMBRA_DRAFT_SOURCES; i++) {
        assert_int_equal(umbra_draft_parse(umbra_draft_name((umbra_draft)i), &draft, NULL), 0);
        assert_int_equal(draft, i);
    }
    assert_null(umbra_draft_name((umbra_draft)UMBRA_DRAFT_SOURCES));
    assert_int_equal(umbra_draft_parse("magic", &draft, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "\"magic\"; there are auto, off, lookup, runahead, mtp"));
    assert_int_equal(umbra_draft_parse(NULL, &draft, NULL), 0);
    assert_int_equal(draft, UMBRA_DRAFT_AUTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_layout_notices_drafts),
        cmocka_unit_test(no_policy_notices_drafts),
        cmocka_unit_test(texts_end_where_they_should),
        cmocka_unit_test(an_end_among_drafts_ends_the_text),
        cmocka_unit_test(a_draw_that_fails_among_drafts),
        cmocka_unit_test(lookups_go_on_with_the_text),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(the_model_drafts_for_itself),
        cmocka_unit_test(the_block_sees_the_text),
        cmocka_unit_test(the_block_forks_and_cuts),
        cmocka_unit_test(a_block_that_knows_nothing_is_left_alone),
        cmocka_unit_test(drafts_stand_in_the_budget),
        cmocka_unit_test(sources_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
