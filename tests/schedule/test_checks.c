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
#include "generate/mtp.h"
#include "schedule/scheduler.h"

enum { CONTEXT = 48, PROMPT = 5, NEW = 28 };

/* ---- texts ---- */

typedef struct text {
    umbra_job job;
    int32_t token[CONTEXT];
    int n; /* the prompt's included */
    umbra_sampler *sampler;
    int stop_at;     /* wants no more behind so many new tokens; 0: all */
    int none_behind; /* no token can follow so many; 0: always one */
    int cancel_at;   /* is cancelled behind so many new tokens; 0: never */
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
    if (t->n - PROMPT == t->cancel_at)
        atomic_store(&t->job.cancelled, true);
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
    teller t = {.text = {truth->token}, .n = truth->n, .wrong = wrong};
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

/* Several texts at once, each with drafts of its own. */
enum { TEXTS = 5, SEQUENCES = 3 };

/* Texts that begin alike, so that some become branches of others, whose prompts are read in pieces
 * beside what is written. */
static void make_texts(text *texts, bool drawn)
{
    for (int i = 0; i < TEXTS; i++)
        texts[i] = text_of(i, drawn && i % 2 == 0);
}

static void close_texts(text *texts)
{
    for (int i = 0; i < TEXTS; i++)
        umbra_sampler_close(&texts[i].sampler);
}

/* Each of them alone and without drafts, then all at once with these. Returns the steps of the
 * latter. */
static uint64_t write_both(const opened *o, umbra_drafts *drafts, text *alone, text *told)
{
    text *at[TEXTS];
    for (int i = 0; i < TEXTS; i++) {
        at[0] = &alone[i];
        write(o, NULL, 1, at, 1);
    }
    for (int i = 0; i < TEXTS; i++)
        at[i] = &told[i];
    return write(o, drafts, SEQUENCES, at, TEXTS);
}

static uint64_t check_texts(const opened *o, umbra_drafts *drafts, bool drawn)
{
    text alone[TEXTS], told[TEXTS];
    make_texts(alone, drawn);
    make_texts(told, drawn);
    uint64_t steps = write_both(o, drafts, alone, told);
    for (int i = 0; i < TEXTS; i++)
        assert_same(&alone[i], &told[i]);
    close_texts(alone);
    close_texts(told);
    return steps;
}

/* As many texts as there are sequences, one of them drawn, each in the sequence of its number.
 * Returns the steps. */
static uint64_t write_beside(const opened *o, umbra_drafts *drafts, text *texts)
{
    text *at[SEQUENCES];
    for (int i = 0; i < SEQUENCES; i++) {
        texts[i] = text_of(i, i == 1);
        at[i] = &texts[i];
    }
    return write(o, drafts, SEQUENCES, at, SEQUENCES);
}

static void close_beside(text *texts)
{
    for (int i = 0; i < SEQUENCES; i++)
        umbra_sampler_close(&texts[i].sampler);
}

/* Each sequence is told of its text's future, with so many errors. Returns the steps. */
static uint64_t check_told(const opened *o, const text *alone, double wrong, int most, bool gated)
{
    teller t = {.n = PROMPT + NEW, .wrong = wrong};
    for (int i = 0; i < SEQUENCES; i++)
        t.text[i] = alone[i].token;
    const umbra_draft_source source = teller_source(&t);
    const umbra_draft_options draft = {.source = UMBRA_DRAFT_LOOKUP, .most = most};
    umbra_drafts *drafts;
    text told[SEQUENCES];
    assert_int_equal(umbra_drafts_open_with(&drafts, o->engine, &draft, &source, gated, NULL, NULL),
                     0);
    uint64_t steps = write_beside(o, drafts, told);
    for (int i = 0; i < SEQUENCES; i++)
        assert_same(&alone[i], &told[i]);
    close_beside(told);
    umbra_drafts_close(&drafts);
    return steps;
}

static void several_texts_check_at_once(void **state)
{
    (void)state;
    const umbra_engine_options options = {
        .threads = 1, .context = CONTEXT, .sequences = SEQUENCES, .chunk = 24};
    for (int l = 0; l < LAYOUTS; l++) {
        opened o = open_it(layouts[l], NULL, NULL, &options);
        text alone[SEQUENCES];
        uint64_t steps = write_beside(&o, NULL, alone);
        assert_true(check_told(&o, alone, 0, 3, false) < steps);
        check_told(&o, alone, 0.3, 4, true);
        check_told(&o, alone, 1, 5, false);
        close_beside(alone);
        close_it(&o);
    }
}

/* More texts than sequences: slots are taken over, and what the drafts know is then their text. */
static void texts_come_and_go(void **state)
{
    (void)state;
    static const umbra_draft sources[] = {UMBRA_DRAFT_LOOKUP, UMBRA_DRAFT_AUTO};
    const umbra_engine_options options = {
        .threads = 1, .context = CONTEXT, .sequences = SEQUENCES, .chunk = 8};
    opened o = open_it(&make_llama, NULL, NULL, &options);
    for (int i = 0; i < 2; i++)
        for (int drawn = 0; drawn < 2; drawn++) {
            const umbra_draft_options draft = {.source = sources[i], .most = 4};
            umbra_drafts *drafts;
            umbra_draft_stats stats;
            assert_int_equal(umbra_drafts_open(&drafts, o.engine, &draft, NULL), 0);
            uint64_t steps = check_texts(&o, drafts, drawn);
            umbra_drafts_get_stats(drafts, &stats);
            assert_true(stats.steps > 0 && stats.steps < steps && stats.tokens > stats.steps);
            umbra_drafts_close(&drafts);
        }
    close_it(&o);
}

/* A text that is cancelled leaves what it held, and the others alone. */
static void a_cancelled_text_is_no_matter(void **state)
{
    (void)state;
    const umbra_engine_options options = {
        .threads = 1, .context = CONTEXT, .sequences = SEQUENCES, .chunk = 24};
    const umbra_draft_options draft = {.source = UMBRA_DRAFT_LOOKUP};
    for (int l = 0; l < LAYOUTS; l++) {
        opened o = open_it(layouts[l], NULL, NULL, &options);
        umbra_drafts *drafts;
        assert_int_equal(umbra_drafts_open(&drafts, o.engine, &draft, NULL), 0);
        text alone[TEXTS], told[TEXTS];
        make_texts(alone, true);
        make_texts(told, true);
        told[0].cancel_at = 4;
        told[2].cancel_at = 9;
        write_both(&o, drafts, alone, told);
        for (int i = 0; i < TEXTS; i++) {
            assert_memory_equal(alone[i].token, told[i].token, (size_t)told[i].n * sizeof(int32_t));
            assert_int_equal(told[i].job.end,
                             told[i].cancel_at ? UMBRA_JOB_CANCELLED : UMBRA_JOB_LENGTH);
            assert_true(told[i].n >= PROMPT + told[i].cancel_at);
        }
        close_texts(alone);
        close_texts(told);
        umbra_drafts_close(&drafts);
        close_it(&o);
    }
}

/* ---- by the block for further tokens ---- */

static opened open_with_block(const make_layout *layout, const umbra_engine_options *options)
{
    static const make_key keys[] = {{"block_count", MAKE_LAYERS + 1, MAKE_U32, NULL},
                                    {"nextn_predict_layers", 1, MAKE_U32, NULL},
                                    {0}};
    static const make_tensor tensors[] = {
        {"nextn.eh_proj.weight", {2 * MAKE_HIDDEN, MAKE_HIDDEN}, MAKE_LAYERS, 0},
        {"nextn.enorm.weight", {MAKE_HIDDEN}, MAKE_LAYERS, 0},
        {"nextn.hnorm.weight", {MAKE_HIDDEN}, MAKE_LAYERS, 0},
        {0}};
    umbra_builder b;
    make_build(&b, layout, keys, tensors, NULL);
    return open_built(&b, options);
}

/* A source that drafts by the block whatever that is worth, where the gate would soon leave it. */
typedef struct forced {
    umbra_mtp *mtp;
    int made;
    int32_t first[8 * NEW]; /* drafts that were made */
    bool began[SEQUENCES];
} forced;

static void forced_begin(void *self, int sequence, int length)
{
    (void)length;
    ((forced *)self)->began[sequence] = true;
}

static void forced_add(void *self, int sequence, const int32_t *tokens, int n)
{
    forced *f = self;
    if (!f->began[sequence])
        umbra_mtp_follow(f->mtp, sequence, tokens, n);
    f->began[sequence] = false;
}

static void forced_rows(void *self, const umbra_rows *rows)
{
    umbra_mtp_rows(((forced *)self)->mtp, rows);
}

static void forced_cut(void *self, int sequence, int length)
{
    umbra_mtp_cut(((forced *)self)->mtp, sequence, length);
}

static void forced_fork(void *self, int from, int to)
{
    umbra_mtp_fork(((forced *)self)->mtp, from, to);
}

static int forced_make(void *self, int sequence, int most, int32_t *out, int *kind)
{
    forced *f = self;
    *kind = 0;
    int n = umbra_mtp_draft(f->mtp, sequence, most, out);
    for (int i = 0; i < n; i++, f->made++)
        if (f->made < 8 * NEW)
            f->first[f->made] = out[i];
    return n;
}

static umbra_drafts *open_forced(forced *f, const opened *o)
{
    *f = (forced){.made = 0};
    assert_int_equal(umbra_mtp_open(&f->mtp, o->engine, NULL), 0);
    const umbra_draft_source source = {.name = UMBRA_DRAFT_MTP,
                                       .kinds = 1,
                                       .begin = forced_begin,
                                       .add = forced_add,
                                       .rows = forced_rows,
                                       .cut = forced_cut,
                                       .fork = forced_fork,
                                       .make = forced_make,
                                       .self = f};
    const umbra_draft_options draft = {.source = UMBRA_DRAFT_LOOKUP, .most = 3};
    umbra_drafts *drafts;
    assert_int_equal(umbra_drafts_open_with(&drafts, o->engine, &draft, &source, false, NULL, NULL),
                     0);
    return drafts;
}

static const make_layout *const with_blocks[] = {&make_bailingmoe2, &make_glm4moe};

static void the_block_follows_every_text(void **state)
{
    (void)state;
    const umbra_engine_options options = {
        .threads = 1, .context = CONTEXT, .sequences = SEQUENCES, .chunk = 8};
    for (int l = 0; l < 2; l++)
        for (int drawn = 0; drawn < 2; drawn++) {
            opened o = open_with_block(with_blocks[l], &options);
            forced f;
            umbra_drafts *drafts = open_forced(&f, &o);
            check_texts(&o, drafts, drawn);
            assert_true(f.made > TEXTS * NEW / 2);
            umbra_drafts_close(&drafts);
            umbra_mtp_close(&f.mtp);
            close_it(&o);
        }
}

/* As a server opens it: by name, through the gate, and in the budget for every sequence. */
static void the_block_stands_in_the_budget(void **state)
{
    (void)state;
    uint64_t bytes[2];
    for (int several = 0; several < 2; several++) {
        umbra_engine_options options = {
            .threads = 1, .context = CONTEXT, .sequences = several ? SEQUENCES : 1};
        umbra_draft_options draft = {.source = UMBRA_DRAFT_MTP};
        opened o = open_with_block(&make_bailingmoe2, &options);
        umbra_drafts *drafts;
        assert_int_equal(umbra_drafts_fit(o.model, &options, &draft, NULL), 0);
        bytes[several] = options.reserved_bytes;
        assert_int_equal(umbra_drafts_open(&drafts, o.engine, &draft, NULL), 0);
        if (several)
            check_texts(&o, drafts, false);
        umbra_drafts_close(&drafts);
        close_it(&o);
    }
    assert_true(bytes[0] > 0 && bytes[1] > bytes[0]);
}

/* A process with states in a folder, from its beginning to its end: one text of so long a prompt,
 * by drafts of the block whatever they are worth; f NULL: without drafts. */
static void write_in_folder(const make_layout *layout, text *t, int prompt, forced *f)
{
    const umbra_engine_options options = {.threads = 1, .context = CONTEXT, .chunk = 8};
    opened o = open_with_block(layout, &options);
    const umbra_states_options kept = {.folder = UMBRA_TEST_DIR,
                                       .most_bytes = 1 << 30,
                                       .model = "0123456789abcdef0123456789abcdef",
                                       .kernels = umbra_engine_get_plan(o.engine)->kernels,
                                       .buffer_bytes = 8 << 20};
    umbra_states *states;
    umbra_scheduler *s;
    assert_int_equal(umbra_states_open(&states, &kept, NULL), 0);
    umbra_drafts *drafts = f ? open_forced(f, &o) : NULL;
    const umbra_scheduler_options by = {
        .engine = o.engine, .model = o.model, .sequences = 1, .drafts = drafts, .states = states};
    assert_int_equal(umbra_scheduler_open(&s, &by, NULL), 0);
    t->n = prompt;
    t->job = (umbra_job){.prompt = t->token,
                         .prompt_tokens = prompt,
                         .max_tokens = prompt + NEW < CONTEXT ? NEW : CONTEXT - prompt,
                         .ignore_end = true,
                         .choose = choose,
                         .token = take,
                         .ended = end,
                         .user = t};
    assert_true(umbra_scheduler_submit(s, &t->job));
    while (t->ends == 0)
        umbra_scheduler_step(s);
    umbra_scheduler_finish(s, false);
    umbra_scheduler_run(s);
    umbra_scheduler_close(&s);
    umbra_drafts_close(&drafts);
    if (f)
        umbra_mtp_close(&f->mtp);
    umbra_states_close(&states);
    close_it(&o);
}

static void empty_folder(void)
{
    assert_int_equal(system("rm -rf '" UMBRA_TEST_DIR "'"), 0);
}

/* What the block knows of a text is not on disk: behind a state that was read back it begins anew,
 * makes the same drafts each time, and the text is that of single steps. */
static void check_behind_disk(const make_layout *layout, bool drawn)
{
    enum { BACK = 2, HELD = PROMPT + NEW - 1 };
    forced f[BACK];
    text begun = text_of(0, false), goes_on[BACK + 1];
    empty_folder();
    write_in_folder(layout, &begun, PROMPT, &f[0]);
    for (int i = 0; i <= BACK; i++) {
        goes_on[i] = text_of(0, drawn);
        memcpy(goes_on[i].token, begun.token, sizeof begun.token);
        if (i == BACK)
            empty_folder();
        write_in_folder(layout, &goes_on[i], HELD + 1, i < BACK ? &f[i] : NULL);
        assert_int_equal(goes_on[i].job.restored_tokens, i < BACK ? HELD : 0);
        assert_same(&goes_on[0], &goes_on[i]);
        umbra_sampler_close(&goes_on[i].sampler);
    }
    assert_true(f[0].made >= CONTEXT - HELD);
    assert_int_equal(f[0].made, f[1].made);
    assert_memory_equal(f[0].first, f[1].first, sizeof f[0].first);
    umbra_sampler_close(&begun.sampler);
}

static void the_block_goes_on_behind_what_was_on_disk(void **state)
{
    (void)state;
    for (int l = 0; l < 2; l++)
        for (int drawn = 0; drawn < 2; drawn++)
            check_behind_disk(with_blocks[l], drawn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_text_notices_drafts),
        cmocka_unit_test(several_texts_check_at_once),
        cmocka_unit_test(texts_come_and_go),
        cmocka_unit_test(a_cancelled_text_is_no_matter),
        cmocka_unit_test(the_block_follows_every_text),
        cmocka_unit_test(the_block_stands_in_the_budget),
        cmocka_unit_test(the_block_goes_on_behind_what_was_on_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
