/* Drafts whose numbers are not finite, of a model with a damaged token, are no text's concern: all
 * that are written or read beside them are those of single steps. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include <umbra/umbra.h>

#include "../engine/answers.h"
#include "../generate/teller.h"
#include "schedule/scheduler.h"

enum {
    TEXTS = 4,
    LATE = TEXTS - 1, /* whose prompt is long, and is read while the others are written */
    AFTER = 3,        /* steps, is when it comes */
    SHORT = 5,
    LONG = 40,
    NEW = 16,
    CHUNK = 24, /* a piece of it is longer than what a recurrent layer can take back */
    SPOILED = 255
};

/* ---- a model with one token that must not be computed ---- */

static void put(umbra_builder *b, const char *tensor, int at, float value)
{
    const umbra_field *data = umbra_builder_field(b, UMBRA_FIELD_DATA, tensor, 0);
    memcpy(b->bytes + data->at + (size_t)at * sizeof value, &value, sizeof value);
}

/* A weight for the first dimension alone, in which no other token is as large as a norm leaves the
 * spoiled one, overflows with this one only. NULL: its embedding is no number. */
static opened open_spoiled(const make_layout *layout, const char *weight)
{
    const umbra_engine_options options = {
        .threads = 1, .context = LONG + NEW, .sequences = TEXTS, .chunk = CHUNK};
    umbra_builder b;
    make_build(&b, layout, NULL, NULL, NULL);
    for (int i = 0; i < MAKE_HIDDEN; i++)
        put(&b, "token_embd.weight", SPOILED * MAKE_HIDDEN + i, !weight ? NAN : i == 0 ? 1e6f : 0);
    if (weight)
        put(&b, weight, 0, 5.6e37f);
    return open_built(&b, &options);
}

/* ---- texts ---- */

typedef struct text {
    umbra_job job;
    int32_t token[LONG + NEW];
    int n; /* the prompt's included */
    int ends;
} text;

/* Greedy, but for the spoiled token, and the first one, whose weight may be the damaged one. Each
 * token is chosen once, behind all that was handed out. */
static int32_t choose(void *user, const float *logits, const int32_t *tokens, int n)
{
    const text *t = user;
    int best = 1;
    assert_int_equal(n, t->n);
    assert_memory_equal(tokens, t->token, (size_t)n * sizeof *tokens);
    for (int i = 2; i < MAKE_TOKENS; i++)
        if (i != SPOILED && logits[i] > logits[best])
            best = i;
    return best;
}

static int take(void *user, int32_t id)
{
    text *t = user;
    t->token[t->n++] = id;
    return 0;
}

static void end(void *user)
{
    ((text *)user)->ends++;
}

static void submit(umbra_scheduler *s, text *t, int number)
{
    *t = (text){.n = number == LATE ? LONG : SHORT};
    for (int i = 0; i < t->n; i++)
        t->token[i] = (i * 37 + 11 + number * 50) % 250;
    t->job = (umbra_job){.prompt = t->token,
                         .prompt_tokens = t->n,
                         .max_tokens = NEW,
                         .ignore_end = true,
                         .choose = choose,
                         .token = take,
                         .ended = end,
                         .user = t};
    assert_true(umbra_scheduler_submit(s, &t->job));
}

static umbra_scheduler *open_scheduler(const opened *o, umbra_drafts *drafts)
{
    umbra_scheduler *s;
    const umbra_scheduler_options options = {
        .engine = o->engine, .model = o->model, .sequences = TEXTS, .drafts = drafts};
    assert_int_equal(umbra_scheduler_open(&s, &options, NULL), 0);
    return s;
}

static void empty(const opened *o)
{
    for (int i = 0; i < TEXTS; i++)
        umbra_engine_truncate(o->engine, i, 0);
}

/* Each by itself, without drafts. */
static void write_alone(const opened *o, text *texts)
{
    for (int i = 0; i < TEXTS; i++) {
        umbra_scheduler *s = open_scheduler(o, NULL);
        submit(s, &texts[i], i);
        while (texts[i].ends == 0)
            umbra_scheduler_step(s);
        umbra_scheduler_close(&s);
        empty(o);
        assert_int_equal(texts[i].job.end, UMBRA_JOB_LENGTH);
    }
}

static bool all_ended(const text *texts)
{
    int ended = 0;
    for (int i = 0; i < TEXTS; i++)
        ended += texts[i].ends;
    return ended == TEXTS;
}

/* All at once; each is in the sequence of its number. */
static void write_beside(const opened *o, umbra_drafts *drafts, text *texts)
{
    umbra_scheduler *s = open_scheduler(o, drafts);
    memset(texts, 0, TEXTS * sizeof *texts);
    for (int i = 0; i < LATE; i++)
        submit(s, &texts[i], i);
    for (int step = 0; !all_ended(texts); step++) {
        if (step == LATE + AFTER)
            submit(s, &texts[LATE], LATE);
        umbra_scheduler_step(s);
        assert_true(step < 200);
    }
    umbra_scheduler_close(&s);
    empty(o);
}

/* ---- drafts ---- */

/* Knows all texts; drafts the spoiled token, every other time, in one of them. */
typedef struct spoiler {
    teller teller; /* first: its calls get it */
    umbra_draft_source source;
    int victim, made, spoiled;
} spoiler;

static int spoil(void *self, int sequence, int most, int32_t *out, int *kind)
{
    spoiler *p = self;
    int n = p->source.make(&p->teller, sequence, most, out, kind);
    if (n > 0 && sequence == p->victim && p->made++ % 2 == 0) {
        out[n - 1] = SPOILED;
        p->spoiled++;
    }
    return n;
}

static void check(const opened *o, const text *alone, int victim)
{
    spoiler p = {.teller = {.n = LONG + NEW}, .victim = victim};
    const umbra_draft_options options = {.source = UMBRA_DRAFT_LOOKUP, .most = 2};
    umbra_drafts *drafts;
    text texts[TEXTS];
    for (int i = 0; i < TEXTS; i++)
        p.teller.text[i] = alone[i].token;
    p.source = teller_source(&p.teller);
    umbra_draft_source source = p.source;
    source.make = spoil;
    source.self = &p;
    assert_int_equal(
        umbra_drafts_open_with(&drafts, o->engine, &options, &source, false, NULL, NULL), 0);
    write_beside(o, drafts, texts);
    umbra_drafts_close(&drafts);
    assert_true(p.spoiled > 1);
    for (int i = 0; i < TEXTS; i++) {
        if (texts[i].job.end != UMBRA_JOB_LENGTH)
            fail_msg("text %d beside %d: %s", i, victim, texts[i].job.error.message);
        assert_int_equal(texts[i].n, alone[i].n);
        assert_memory_equal(texts[i].token, alone[i].token, sizeof alone[i].token);
    }
}

static void check_damage(const char *weight)
{
    static const make_layout *const layouts[] = {&make_olmoe, &make_gpt_oss, &make_qwen35moe};
    for (size_t l = 0; l < sizeof layouts / sizeof layouts[0]; l++) {
        opened o = open_spoiled(layouts[l], weight);
        text alone[TEXTS];
        umbra_token token = {SPOILED, 0, true};
        write_alone(&o, alone);
        assert_int_equal(umbra_engine_eval(o.engine, &token, 1, &(umbra_tap){0}, NULL),
                         weight && strcmp(weight, "output.weight") == 0 ? 0 : UMBRA_E_NONFINITE);
        empty(&o);
        for (int victim = 0; victim < LATE; victim++)
            check(&o, alone, victim);
        close_it(&o);
    }
}

static void an_embedding_that_is_no_number(void **state)
{
    (void)state;
    check_damage(NULL);
}

/* Recurrent layers before have gone on already. */
static void a_score_that_overflows(void **state)
{
    (void)state;
    check_damage("blk.1.ffn_gate_inp.weight");
}

/* All layers have gone on, and texts before it have chosen; a prompt's piece may not be taken
 * back. */
static void a_logit_that_overflows(void **state)
{
    (void)state;
    check_damage("output.weight");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_embedding_that_is_no_number),
        cmocka_unit_test(a_score_that_overflows),
        cmocka_unit_test(a_logit_that_overflows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
