/* Runs the block for further tokens beside the model. */
#include "generate/mtp.h"

#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "engine/engine.h"
#include "engine/steps/steps.h"
#include "generate/gate.h"
#include "model/nextn.h"

enum {
    ROWS = UMBRA_DRAFT_MOST + 1, /* of a check, */
    PAIRS = 24,                  /* computed together; a check's all wait at once */
    SHARE = 8                    /* of the budget, for experts of the block, at most 1/8 */
};

/* What is computed is pairs: the state of a token, and the token that follows it. Of a sequence: */
typedef struct mtp_text {
    float *state;   /* (PAIRS, hidden) of pairs that wait */
    int32_t *token; /* (PAIRS) */
    int pairs;
    float *last; /* (ROWS, hidden) states whose next token is not known yet */
    int n_last;
    int position; /* in the text, of the first of these; or of the row that comes next */
} mtp_text;

struct umbra_mtp {
    umbra_model *block;
    umbra_engine *engine; /* the block's, with as many sequences as the model's */
    umbra_pass pass;
    size_t hidden;
    int sequences;
    mtp_text *texts; /* (sequences) */
    void *arena;
    uint64_t arena_bytes;
    umbra_activations input;  /* (PAIRS, 2 * hidden) */
    const mtp_text *computed; /* whose pairs the block computes */
    const float
        *norm;     /* (hidden) of the model's output, where states go through it first; or NULL */
    float *behind; /* (hidden) the block's own state behind the newest row */
    int32_t best;  /* token there */
    float *logits; /* where to put them instead, or NULL */
};

/* ---- opening ---- */

static void place(umbra_mtp *m, char *base)
{
    umbra_arena a = {.base = base};
    uint64_t width = 2 * (uint64_t)m->hidden, blocks = PAIRS * (width / UMBRA_Q16_BLOCK);
    m->input = (umbra_activations){
        .rows = PAIRS,
        .columns = (int)width,
        .f32 = umbra_arena_take(&a, PAIRS * width, sizeof(float)),
        .q = umbra_arena_take(&a, PAIRS * width, sizeof(int16_t)),
        .scale = umbra_arena_take(&a, blocks, sizeof(float)),
        .sum = umbra_arena_take(&a, blocks, sizeof(float)),
    };
    m->behind = umbra_arena_take(&a, m->hidden, sizeof(float));
    mtp_text *texts = umbra_arena_take(&a, (size_t)m->sequences, sizeof *texts);
    for (int i = 0; i < m->sequences; i++) {
        const mtp_text text = {.state = umbra_arena_take(&a, PAIRS * m->hidden, sizeof(float)),
                               .last = umbra_arena_take(&a, ROWS * m->hidden, sizeof(float)),
                               .token = umbra_arena_take(&a, PAIRS, sizeof(int32_t))};
        if (base)
            texts[i] = text;
    }
    m->texts = texts;
    m->arena_bytes = a.used;
}

/* The block's options and budget beside a model with that plan. */
static int plan_block(const umbra_model *block, const umbra_memory_plan *plan, int sequences,
                      umbra_engine_options *o, uint64_t *bytes, umbra_error *err)
{
    umbra_memory_plan p;
    *o = (umbra_engine_options){.threads = plan->threads,
                                .kernels = plan->kernels,
                                .context = plan->context,
                                .sequences = sequences,
                                .chunk = PAIRS,
                                .ram_bytes = UINT64_MAX / 2};
    int rc = umbra_engine_plan(block, o, &p, err);
    if (rc != UMBRA_OK)
        return rc;
    /* The program and the file's header are there already. */
    uint64_t there = p.process_bytes + p.metadata_bytes, most = plan->ram_bytes / SHARE;
    uint64_t least = p.min_bytes - there, all = p.all_bytes - there;
    *bytes = all <= most ? all : most > least ? most : least;
    o->ram_bytes = *bytes + there;
    return UMBRA_OK;
}

uint64_t umbra_mtp_bytes(const umbra_model *model, const umbra_memory_plan *plan, int sequences)
{
    umbra_model *block;
    umbra_engine_options o;
    uint64_t bytes = 0;
    umbra_mtp sizes = {.hidden = (size_t)model->config.hidden, .sequences = sequences};
    if (umbra_nextn_open(&block, model, NULL) != UMBRA_OK)
        return 0;
    place(&sizes, NULL);
    if (plan_block(block, plan, sequences, &o, &bytes, NULL) == UMBRA_OK)
        bytes += sizes.arena_bytes;
    umbra_nextn_close(&block);
    return bytes;
}

int umbra_mtp_open(umbra_mtp **out, umbra_engine *engine, umbra_error *err)
{
    *out = NULL;
    umbra_mtp *m = umbra_calloc(1, sizeof *m);
    if (!m)
        return umbra_fail_nomem(err, "drafts by the model's block", sizeof *m);
    const umbra_model *model = umbra_engine_model(engine);
    umbra_engine_options o;
    uint64_t bytes;
    m->hidden = (size_t)model->config.hidden;
    m->sequences = umbra_engine_sequences(engine);
    place(m, NULL);
    m->arena = umbra_map(m->arena_bytes);
    int rc = m->arena ? UMBRA_OK : umbra_fail_nomem(err, "drafts", m->arena_bytes);
    if (rc == UMBRA_OK)
        rc = umbra_nextn_open(&m->block, model, err);
    if (rc == UMBRA_OK)
        rc = plan_block(m->block, umbra_engine_get_plan(engine), m->sequences, &o, &bytes, err);
    umbra_store_stats stats;
    umbra_engine_get_store_stats(engine, &stats);
    o.buffered = !stats.direct;
    if (rc == UMBRA_OK)
        rc = umbra_engine_open_block(&m->engine, m->block, engine, &o, err);
    if (rc != UMBRA_OK) {
        umbra_mtp_close(&m);
        return rc;
    }
    place(m, m->arena);
    umbra_engine_pass(engine, &m->pass);
    if (model->config.mtp_normed)
        m->norm = m->pass.weights->model[UMBRA_OUTPUT_NORM].data;
    umbra_engine_pass(m->engine, &m->pass);
    *out = m;
    return UMBRA_OK;
}

void umbra_mtp_close(umbra_mtp **mtp)
{
    umbra_mtp *m = *mtp;
    if (!m)
        return;
    umbra_engine_close(&m->engine);
    umbra_nextn_close(&m->block);
    umbra_unmap(m->arena, m->arena_bytes);
    umbra_free(m);
    *mtp = NULL;
}

/* ---- computing ---- */

/* A state as the block gets it: as it is, or through the norm of the output that it went to. */
static void take_state(umbra_mtp *m, float *out, const float *state, const float *norm)
{
    if (m->norm)
        m->pass.device->kernels->rms_norm(out, state, norm, (int)m->hidden,
                                          m->block->config.rms_eps);
    else
        memcpy(out, state, m->hidden * sizeof *out);
}

/* Embeddings of the rows' tokens become the block's input. */
static int enter(void *user, const umbra_rows *rows)
{
    umbra_mtp *m = user;
    const umbra_matrix *w = m->pass.weights->layer[0];
    const umbra_device *d = m->pass.device;
    float *x = umbra_engine_states(m->engine), eps = m->block->config.rms_eps;
    int n = (int)m->hidden;
    for (int t = 0; t < rows->n; t++) {
        float *in = m->input.f32 + 2 * (size_t)t * m->hidden;
        size_t at = (size_t)(rows->first + t) * m->hidden;
        d->kernels->rms_norm(in, x + (size_t)t * m->hidden, w[UMBRA_NEXTN_EMBEDDING_NORM].data, n,
                             eps);
        d->kernels->rms_norm(in + n, m->computed->state + at, w[UMBRA_NEXTN_STATE_NORM].data, n,
                             eps);
    }
    umbra_round_rows(d->kernels, &m->input, 0, rows->n);
    umbra_product joined = umbra_product_make(d, &w[UMBRA_NEXTN_PROJECTION], &m->input, rows->n, x);
    umbra_device_products(d, &joined, 1);
    return 0;
}

static int leave(void *user, const umbra_rows *rows)
{
    umbra_mtp *m = user;
    take_state(m, m->behind, rows->x + (size_t)(rows->n - 1) * m->hidden,
               m->pass.weights->model[UMBRA_OUTPUT_NORM].data);
    return 0;
}

static int take_logits(void *user, int index, const float *logits)
{
    umbra_mtp *m = user;
    size_t n = (size_t)m->block->config.vocabulary;
    if (m->logits)
        memcpy(m->logits + (size_t)index * n, logits, n * sizeof *logits);
    m->best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[m->best])
            m->best = (int32_t)i;
    return 0;
}

static int sequence_of(const umbra_mtp *m, const mtp_text *t)
{
    return (int)(t - m->texts);
}

/* The pairs of a text that wait, of which the last (or all) have logits. */
static int compute(umbra_mtp *m, mtp_text *t, bool last, umbra_error *err)
{
    const umbra_tap tap = {
        .user = m,
        .at = {[UMBRA_TAP_ENTER] = enter, [UMBRA_TAP_LEAVE] = leave},
        .logits = take_logits,
    };
    umbra_token rows[PAIRS];
    for (int i = 0; i < t->pairs; i++)
        rows[i] =
            (umbra_token){t->token[i], sequence_of(m, t), m->logits || (last && i == t->pairs - 1)};
    m->computed = t;
    int rc = t->pairs > 0 ? umbra_engine_eval(m->engine, rows, t->pairs, &tap, err) : UMBRA_OK;
    t->pairs = 0;
    return rc;
}

static void restart(umbra_mtp *m, mtp_text *t)
{
    umbra_engine_truncate(m->engine, sequence_of(m, t), 0);
    t->pairs = t->n_last = 0;
}

static void push(const umbra_mtp *m, mtp_text *t, const float *state, int32_t token)
{
    memcpy(t->state + (size_t)t->pairs * m->hidden, state, m->hidden * sizeof *state);
    t->token[t->pairs++] = token;
}

/* ---- following the text ---- */

/* A prompt's pairs are computed as they come, and leave room for the one behind it. What fails
 * there is only missing later. */
static void push_prompt(umbra_mtp *m, mtp_text *t, const float *state, int32_t token)
{
    if (t->pairs >= PAIRS - 1 && compute(m, t, false, NULL) != UMBRA_OK)
        restart(m, t);
    push(m, t, state, token);
}

/* n rows of one text, which stand side by side from row `at` on. */
static void take_rows(umbra_mtp *m, mtp_text *t, const umbra_rows *rows, int at, int n)
{
    const float *x = rows->x + (size_t)at * m->hidden;
    const umbra_token *tokens = rows->tokens + at;
    if (rows->position[at] != t->position + t->n_last)
        restart(m, t);
    if (t->n_last > 0)
        push_prompt(m, t, t->last + (size_t)(t->n_last - 1) * m->hidden, tokens[0].id);
    int first = n > ROWS || rows->prompt[at] ? n - 1 : 0;
    for (int i = 0; i < first; i++) {
        take_state(m, t->last, x + (size_t)i * m->hidden, m->norm);
        push_prompt(m, t, t->last, tokens[i + 1].id);
    }
    t->n_last = n - first;
    t->position = rows->position[at + first];
    for (int i = 0; i < t->n_last; i++)
        take_state(m, t->last + (size_t)i * m->hidden, x + (size_t)(first + i) * m->hidden,
                   m->norm);
}

void umbra_mtp_rows(umbra_mtp *m, const umbra_rows *rows)
{
    for (int at = 0, n; at < rows->n; at += n) {
        int sequence = rows->tokens[at].sequence;
        for (n = 1; at + n < rows->n && rows->tokens[at + n].sequence == sequence; n++)
            ;
        take_rows(m, &m->texts[sequence], rows, at, n);
    }
}

/* Where nobody has asked for drafts for so long that no more pairs can wait, the text is given up:
 * the block begins anew with what comes. */
void umbra_mtp_follow(umbra_mtp *m, int sequence, const int32_t *tokens, int n)
{
    mtp_text *t = &m->texts[sequence];
    int known = n < t->n_last ? n : t->n_last;
    if (t->pairs + known > PAIRS) {
        umbra_engine_truncate(m->engine, sequence, 0);
        t->pairs = 0;
    }
    for (int i = 0; i < known; i++)
        push(m, t, t->last + (size_t)i * m->hidden, tokens[i]);
    t->position += known;
    t->n_last = 0;
}

/* A pair knows the token behind it, so that of `length` tokens all but the last are left in pairs;
 * and the last one's state is gone with them, so that its pair will be missing. */
void umbra_mtp_cut(umbra_mtp *m, int sequence, int length)
{
    mtp_text *t = &m->texts[sequence];
    int known = length - t->position;
    if (known >= t->n_last)
        return;
    t->n_last = known > 0 ? known : 0;
    if (known > 0)
        return;
    int dropped = length > 0 ? 1 - known : t->position + 1;
    int waiting = dropped < t->pairs ? dropped : t->pairs;
    int left = umbra_engine_length(m->engine, sequence) - (dropped - waiting);
    t->pairs -= waiting;
    t->position = length;
    umbra_engine_truncate(m->engine, sequence, left > 0 ? left : 0);
}

void umbra_mtp_fork(umbra_mtp *m, int from, int to)
{
    mtp_text *t = &m->texts[to];
    const mtp_text *source = &m->texts[from];
    t->position = source->position;
    if (umbra_engine_fork(m->engine, from, to, NULL) != UMBRA_OK) {
        restart(m, t);
        t->position += source->n_last;
        return;
    }
    t->pairs = source->pairs;
    t->n_last = source->n_last;
    memcpy(t->state, source->state, (size_t)t->pairs * m->hidden * sizeof *t->state);
    memcpy(t->token, source->token, (size_t)t->pairs * sizeof *t->token);
    memcpy(t->last, source->last, (size_t)t->n_last * m->hidden * sizeof *t->last);
}

int umbra_mtp_draft(umbra_mtp *m, int sequence, int most, int32_t *out)
{
    mtp_text *t = &m->texts[sequence];
    int n = 0, context = umbra_engine_get_plan(m->engine)->context;
    if (t->pairs == 0)
        return 0;
    if (compute(m, t, true, NULL) != UMBRA_OK) {
        restart(m, t);
        return 0;
    }
    int length = umbra_engine_length(m->engine, sequence);
    out[n++] = m->best;
    while (n < most && length + n < context) {
        push(m, t, m->behind, m->best);
        if (compute(m, t, true, NULL) != UMBRA_OK)
            break;
        out[n++] = m->best;
    }
    t->pairs = 0;
    umbra_engine_truncate(m->engine, sequence, length);
    return n;
}

int umbra_mtp_logits(umbra_mtp *m, const float *states, const int32_t *tokens, int n, float *out,
                     umbra_error *err)
{
    mtp_text *t = &m->texts[0];
    int rc = UMBRA_OK;
    restart(m, t);
    for (int i = 0; rc == UMBRA_OK && i < n; i++) {
        push(m, t, states + (size_t)i * m->hidden, tokens[i]);
        if (t->pairs < PAIRS && i + 1 < n)
            continue;
        m->logits = out;
        out += (size_t)t->pairs * (size_t)m->block->config.vocabulary;
        rc = compute(m, t, true, err);
    }
    m->logits = NULL;
    return rc;
}
