/* Texts that the scheduler writes with drafts are those of single steps, whatever is guessed. Small
 * models of several layouts with random weights. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <umbra/umbra.h>

#include "../engine/answers.h"
#include "../generate/teller.h"
#include "schedule/scheduler.h"

enum { CONTEXT = 48, PROMPT = 5, NEW = 28 };

/* ---- texts ---- */

typedef struct text {
    umbra_job job;
    int32_t token[PROMPT + NEW];
    int n; /* the prompt's included */
    umbra_sampler *sampler;
    int stop_at;     /* wants no more behind so many new tokens; 0: all */
    int none_behind; /* no token can follow so many; 0: always one */
    int chosen, ends;
} text;

/* Each token is chosen once, behind all that was handed out. */
static int32_t choose(void *user, const float *logits, const int32_t *tokens, int n)
{
    text *t = user;
    assert_int_equal(n, t->n);
    assert_memory_equal(tokens, t->token, (size_t)n * sizeof *tokens);
    t->chosen++;
    if (t->none_behind > 0 && n - PROMPT == t->none_behind)
        return UMBRA_E_UNSUPPORTED;
    return umbra_sampler_next(t->sampler, logits, tokens, n);
}

static int take(void *user, int32_t id)
{
    text *t = user;
    t->token[t->n++] = id;
    return t->n - PROMPT == t->stop_at;
}

static void end(void *user)
{
    ((text *)user)->ends++;
}

static text text_of(int seed, bool drawn)
{
    const umbra_sampling sampling = {.temperature = drawn ? 1.5f : 0, .seed = (uint64_t)seed};
    text t = {.n = PROMPT};
    for (int i = 0; i < PROMPT; i++)
        t.token[i] = token_at(i, seed % 4).id;
    assert_int_equal(umbra_sampler_open(&t.sampler, &sampling, MAKE_TOKENS, NULL), 0);
    return t;
}

/* Writes texts in one scheduler, each a step later than the one before. Returns the steps. */
static uint64_t write(const opened *o, umbra_drafts *drafts, int sequences, text **texts, int n)
{
    umbra_scheduler *s;
    umbra_scheduler_stats stats;
    const umbra_scheduler_options options = {
        .engine = o->engine, .model = o->model, .sequences = sequences, .drafts = drafts};
    assert_int_equal(umbra_scheduler_open(&s, &options, NULL), 0);
    for (int i = 0, ended = 0; ended < n; i++) {
        if (i < n) {
            text *t = texts[i];
            t->job = (umbra_job){.prompt = t->token,
                                 .prompt_tokens = PROMPT,
                                 .max_tokens = NEW,
                                 .ignore_end = true,
                                 .choose = choose,
                                 .token = take,
                                 .ended = end,
                                 .user = t};
            assert_true(umbra_scheduler_submit(s, &t->job));
        }
        umbra_scheduler_step(s);
        ended = 0;
        for (int k = 0; k < n && i >= n - 1; k++)
            ended += texts[k]->ends;
        assert_true(i < 1000);
    }
    umbra_scheduler_get_stats(s, &stats);
    umbra_scheduler_close(&s);
    for (int i = 0; i < sequences; i++)
        umbra_engine_truncate(o->engine, i, 0);
    return stats.steps;
}

static void assert_same(const text *a, const text *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->token, b->token, (size_t)a->n * sizeof a->token[0]);
    assert_int_equal(a->job.end, b->job.end);
    assert_int_equal(a->job.new_tokens, b->job.new_tokens);
    assert_int_equal(a->job.error.status, b->job.error.status);
    assert_int_equal(a->chosen, b->chosen);
}

/* The text alone, by a source that errs so often. Returns the steps. */
static uint64_t write_told(const opened *o, const text *truth, double wrong, int width, text *told)
{
    teller t = {.text = truth->token, .n = truth->n, .wrong = wrong};
    const umbra_draft_source source = teller_source(&t);
    const umbra_draft_options draft = {.source = UMBRA_DRAFT_LOOKUP, .most = width};
    umbra_drafts *drafts;
    assert_int_equal(umbra_drafts_open_with(&drafts, o->engine, &draft, &source, false, NULL, NULL),
                     0);
    uint64_t steps = write(o, drafts, 1, &told, 1);
    umbra_drafts_close(&drafts);
    return steps;
}

static const make_layout *const layouts[] = {&make_olmoe,     &make_deepseek2, &make_gpt_oss,
                                             &make_qwen35moe, &make_lfm2moe,   &make_gemma4,
                                             &make_glm_dsa};
enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

static void check(const opened *o, int seed, bool drawn, int stop_at, int none_behind)
{
    static const double errors[] = {0, 0.3, 1};
    text truth = text_of(seed, drawn), alone = text_of(seed, drawn);
    text *at = &truth;
    write(o, NULL, 1, &at, 1);
    assert_int_equal(truth.n, PROMPT + NEW);
    alone.stop_at = stop_at;
    alone.none_behind = none_behind;
    at = &alone;
    uint64_t steps = write(o, NULL, 1, &at, 1);
    for (int width = 1; width <= UMBRA_DRAFT_MOST; width += 1 + drawn)
        for (int e = 0; e < 3; e++) {
            text told = text_of(seed, drawn);
            told.stop_at = stop_at;
            told.none_behind = none_behind;
            uint64_t checked = write_told(o, &truth, errors[e], width, &told);
            assert_same(&alone, &told);
            if (errors[e] == 0)
                assert_true(checked < steps);
            umbra_sampler_close(&told.sampler);
        }
    umbra_sampler_close(&truth.sampler);
    umbra_sampler_close(&alone.sampler);
}

static void no_text_notices_drafts(void **state)
{
    (void)state;
    const umbra_engine_options options = {.threads = 1, .context = CONTEXT};
    for (int i = 0; i < LAYOUTS; i++) {
        opened o = open_it(layouts[i], NULL, NULL, &options);
        check(&o, i, false, 0, 0);
        check(&o, i, true, 0, 0);
        check(&o, i, true, 11, 0);
        check(&o, i, true, 0, 13);
        close_it(&o);
    }
}

/* Beside others a text goes on without drafts, and alone again with them; what the drafts know is
 * then its text. */
static void texts_come_and_go(void **state)
{
    (void)state;
    enum { TEXTS = 5 };
    const umbra_engine_options options = {.threads = 1, .context = CONTEXT, .sequences = 2};
    const umbra_draft_options draft = {.source = UMBRA_DRAFT_LOOKUP, .most = 4};
    opened o = open_it(&make_llama, NULL, NULL, &options);
    umbra_drafts *drafts;
    umbra_draft_stats stats;
    assert_int_equal(umbra_drafts_open(&drafts, o.engine, &draft, NULL), 0);
    text alone[TEXTS], told[TEXTS], *at[TEXTS];
    for (int i = 0; i < TEXTS; i++) {
        alone[i] = text_of(i, false);
        told[i] = text_of(i, false);
        at[i] = &alone[i];
        write(&o, NULL, 1, &at[i], 1);
        at[i] = &told[i];
    }
    write(&o, drafts, 2, at, TEXTS);
    umbra_drafts_get_stats(drafts, &stats);
    assert_true(stats.steps > 0 && stats.steps < TEXTS * NEW);
    for (int i = 0; i < TEXTS; i++) {
        assert_same(&alone[i], &told[i]);
        umbra_sampler_close(&alone[i].sampler);
        umbra_sampler_close(&told[i].sampler);
    }
    umbra_drafts_close(&drafts);
    close_it(&o);
}

static void the_block_for_further_tokens_is_refused(void **state)
{
    (void)state;
    static const make_key keys[] = {{"block_count", MAKE_LAYERS + 1, MAKE_U32, NULL},
                                    {"nextn_predict_layers", 1, MAKE_U32, NULL},
                                    {0}};
    static const make_tensor tensors[] = {
        {"nextn.eh_proj.weight", {2 * MAKE_HIDDEN, MAKE_HIDDEN}, MAKE_LAYERS, 0},
        {"nextn.enorm.weight", {MAKE_HIDDEN}, MAKE_LAYERS, 0},
        {"nextn.hnorm.weight", {MAKE_HIDDEN}, MAKE_LAYERS, 0},
        {0}};
    const umbra_engine_options options = {.threads = 1, .context = CONTEXT};
    const umbra_draft_options draft = {.source = UMBRA_DRAFT_MTP};
    umbra_builder b;
    umbra_error err = {0};
    umbra_drafts *drafts;
    umbra_scheduler *s;
    make_build(&b, &make_bailingmoe2, keys, tensors, NULL);
    opened o = open_built(&b, &options);
    assert_int_equal(umbra_drafts_open(&drafts, o.engine, &draft, &err), 0);
    const umbra_scheduler_options scheduler = {
        .engine = o.engine, .model = o.model, .sequences = 1, .drafts = drafts};
    assert_int_equal(umbra_scheduler_open(&s, &scheduler, &err), UMBRA_E_ARGUMENT);
    assert_null(s);
    assert_non_null(strstr(err.message, "drafts by mtp"));
    umbra_drafts_close(&drafts);
    close_it(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_text_notices_drafts),
        cmocka_unit_test(texts_come_and_go),
        cmocka_unit_test(the_block_for_further_tokens_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
