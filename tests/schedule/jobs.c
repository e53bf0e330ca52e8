/* Texts for the scheduler, and what they must be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <umbra/umbra.h>

#include "jobs.h"

umbra_model *model;

int open_model(void **state)
{
    (void)state;
    return umbra_model_open(&model, "models/tiny-q8_0.gguf", NULL);
}

int close_model(void **state)
{
    (void)state;
    umbra_model_close(&model);
    return 0;
}

umbra_engine *open_engine(int sequences)
{
    umbra_engine *engine;
    umbra_error err = {0};
    umbra_engine_options o = {
        .ram_bytes = 40000000, .threads = 1, .sequences = sequences, .chunk = 16};
    if (umbra_engine_open(&engine, model, &o, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    return engine;
}

static int32_t choose(void *user, const float *logits, const int32_t *tokens, int n)
{
    const text *t = user;
    int32_t best = 0;
    assert_int_equal(n, t->job.prompt_tokens + t->n);
    assert_memory_equal(tokens, t->prompt, (size_t)t->job.prompt_tokens * sizeof *tokens);
    for (int i = 1; i < t->vocabulary; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

static int take(void *user, int32_t id)
{
    text *t = user;
    t->out[t->n++] = id;
    return 0;
}

static void end(void *user)
{
    ((text *)user)->ends++;
}

void make_text(text *t, int n, int shared, int seed, int new_tokens)
{
    *t = (text){.vocabulary = umbra_model_get_info(model)->vocabulary};
    for (int i = 0; i < n; i++)
        t->prompt[i] = 300 + (i < shared ? i * 37 : i * 53 + seed * 101) % 9000;
    t->job = (umbra_job){.prompt = t->prompt,
                         .prompt_tokens = n,
                         .max_tokens = new_tokens,
                         .choose = choose,
                         .token = take,
                         .ended = end,
                         .user = t};
}

typedef struct expected {
    int32_t id[MOST_TEXT];
    int n;
} expected;

static int expect(void *user, int32_t id)
{
    expected *e = user;
    e->id[e->n++] = id;
    return 0;
}

void expect_same(const text *t)
{
    expected e = {.n = 0};
    umbra_engine *engine = open_engine(1);
    umbra_generation did;
    umbra_generate_options o = {.max_tokens = t->job.max_tokens, .on_token = expect, .user = &e};
    assert_int_equal(umbra_generate(engine, model, t->prompt, t->job.prompt_tokens, &o, &did, NULL),
                     0);
    umbra_engine_close(&engine);
    assert_int_equal(t->ends, 1);
    assert_int_equal(t->n, e.n);
    assert_memory_equal(t->out, e.id, (size_t)e.n * sizeof e.id[0]);
    assert_int_equal(t->job.end, did.ended ? UMBRA_JOB_STOPPED : UMBRA_JOB_LENGTH);
}

void step_until_ended(umbra_scheduler *s, text *const *texts, int n)
{
    int ended = 0;
    for (int steps = 0; ended < n; steps++) {
        assert_true(steps < 10000);
        umbra_scheduler_step(s);
        ended = 0;
        for (int i = 0; i < n; i++)
            ended += texts[i]->ends;
    }
}
