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
    PAIRS = 16,                  /* computed together */
    ROWS = UMBRA_DRAFT_MOST + 1, /* of a check */
    SHARE = 8                    /* of the budget, for experts of the block, at most 1/8 */
};

/* What is computed is pairs: the state of a token, and the token that follows it. */
struct umbra_mtp {
    umbra_model *block;
    umbra_engine *engine; /* the block's */
    umbra_pass pass;
    size_t hidden;
    void *arena;
    uint64_t arena_bytes;
    umbra_activations input; /* (PAIRS, 2 * hidden) */
    float *state;            /* (PAIRS, hidden) of pairs that wait */
    int32_t *token;          /* (PAIRS) */
    int pairs;
    float *last; /* (ROWS, hidden) states whose next token is not known yet */
    int n_last;
    int position; /* in the text, of the first of these; or of the row that comes next */
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
    m->state = umbra_arena_take(&a, PAIRS * m->hidden, sizeof(float));
    m->last = umbra_arena_take(&a, ROWS * m->hidden, sizeof(float));
    m->behind = umbra_arena_take(&a, m->hidden, sizeof(float));
    m->token = umbra_arena_take(&a, PAIRS, sizeof(int32_t));
    m->arena_bytes = a.used;
}

/* The block's options and budget beside a model with that plan. */
static int plan_block(const umbra_model *block, const umbra_memory_plan *plan,
                      umbra_engine_options *o, uint64_t *bytes, umbra_error *err)
{
    umbra_memory_plan p;
    *o = (umbra_engine_options){.threads = plan->threads,
                                .kernels = plan->kernels,
                                .context = plan->context,
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

uint64_t umbra_mtp_bytes(const umbra_model *model, const umbra_memory_plan *plan)
{
    umbra_model *block;
    umbra_engine_options o;
    uint64_t bytes = 0;
    umbra_mtp sizes = {.hidden = (size_t)model->config.hidden};
    if (umbra_nextn_open(&block, model, NULL) != UMBRA_OK)
        return 0;
    place(&sizes, NULL);
    if (plan_block(block, plan, &o, &bytes, NULL) == UMBRA_OK)
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
    place(m, NULL);
    m->arena = umbra_map(m->arena_bytes);
    int rc = m->arena ? UMBRA_OK : umbra_fail_nomem(err, "drafts", m->arena_bytes);
    if (rc == UMBRA_OK)
        rc = umbra_nextn_open(&m->block, model, err);
    if (rc == UMBRA_OK)
        rc = plan_block(m->block, umbra_engine_get_plan(engine), &o, &bytes, err);
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
        d->kernels->rms_norm(in + n, m->state + at, w[UMBRA_NEXTN_STATE_NORM].data, n, eps);
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

/* The pairs that wait, of which the last (or all) have logits. */
static int compute(umbra_mtp *m, bool last, umbra_error *err)
{
    const umbra_tap tap = {
        .user = m,
        .at = {[UMBRA_TAP_ENTER] = enter, [UMBRA_TAP_LEAVE] = leave},
        .logits = take_logits,
    };
    umbra_token rows[PAIRS];
    for (int i = 0; i < m->pairs; i++)
        rows[i] = (umbra_token){m->token[i], 0, m->logits || (last && i == m->pairs - 1)};
    int rc = m->pairs > 0 ? umbra_engine_eval(m->engine, rows, m->pairs, &tap, err) : UMBRA_OK;
    m->pairs = 0;
    return rc;
}

static void restart(umbra_mtp *m)
{
    umbra_engine_truncate(m->engine, 0, 0);
    m->pairs = m->n_last = 0;
}

static void push(umbra_mtp *m, const float *state, int32_t token)
{
    memcpy(m->state + (size_t)m->pairs * m->hidden, state, m->hidden * sizeof *state);
    m->token[m->pairs++] = token;
}

/* ---- following the text ---- */

/* A prompt's pairs are computed as they come. What fails there is only missing later. */
static void push_prompt(umbra_mtp *m, const float *state, int32_t token)
{
    if (m->pairs == PAIRS && compute(m, false, NULL) != UMBRA_OK)
        restart(m);
    push(m, state, token);
}

void umbra_mtp_rows(umbra_mtp *m, const umbra_rows *rows)
{
    if (rows->position[0] != m->position + m->n_last)
        restart(m);
    if (m->n_last > 0)
        push_prompt(m, m->last + (size_t)(m->n_last - 1) * m->hidden, rows->tokens[0].id);
    int first = rows->n > ROWS || rows->prompt[0] ? rows->n - 1 : 0;
    for (int t = 0; t < first; t++) {
        take_state(m, m->last, rows->x + (size_t)t * m->hidden, m->norm);
        push_prompt(m, m->last, rows->tokens[t + 1].id);
    }
    m->n_last = rows->n - first;
    m->position = rows->position[first];
    for (int t = 0; t < m->n_last; t++)
        take_state(m, m->last + (size_t)t * m->hidden, rows->x + (size_t)(first + t) * m->hidden,
                   m->norm);
}

/* Where nobody has asked for drafts for so long that no more pairs can wait, the text is given up:
 * the block begins anew with what comes. */
void umbra_mtp_follow(umbra_mtp *m, const int32_t *tokens, int n)
{
    int known = n < m->n_last ? n : m->n_last;
    if (m->pairs + known > PAIRS) {
        umbra_engine_truncate(m->engine, 0, 0);
        m->pairs = 0;
    }
    for (int i = 0; i < known; i++)
        push(m, m->last + (size_t)i * m->hidden, tokens[i]);
    m->position += known;
    m->n_last = 0;
}

int umbra_mtp_draft(umbra_mtp *m, int most, int32_t *out)
{
    int n = 0, context = umbra_engine_get_plan(m->engine)->context;
    if (m->pairs == 0)
        return 0;
    if (compute(m, true, NULL) != UMBRA_OK) {
        restart(m);
        return 0;
    }
    int length = umbra_engine_length(m->engine, 0);
    out[n++] = m->best;
    while (n < most && length + n < context) {
        push(m, m->behind, m->best);
        if (compute(m, true, NULL) != UMBRA_OK)
            break;
        out[n++] = m->best;
    }
    m->pairs = 0;
    umbra_engine_truncate(m->engine, 0, length);
    return n;
}

int umbra_mtp_logits(umbra_mtp *m, const float *states, const int32_t *tokens, int n, float *out,
                     umbra_error *err)
{
    int rc = UMBRA_OK;
    restart(m);
    for (int i = 0; rc == UMBRA_OK && i < n; i++) {
        push(m, states + (size_t)i * m->hidden, tokens[i]);
        if (m->pairs < PAIRS && i + 1 < n)
            continue;
        m->logits = out;
        out += (size_t)m->pairs * (size_t)m->block->config.vocabulary;
        rc = compute(m, true, err);
    }
    m->logits = NULL;
    return rc;
}
