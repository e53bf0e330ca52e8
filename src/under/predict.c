/* Foretells the coming layers' experts from what llama.cpp's graph shows of the present one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "kernels/kernels.h"
#include "under/under.h"

/* Nodes from the chosen experts up to the router's product, at most. */
enum { MOST_STEPS = 24 };
/* Every n-th layer is predicted from: less time, and nearly as much known. */
enum { EVERY = 2 };
/* A prompt that uses so much of a layer will use as much of the next one. */
static const float most_of_layer = 0.75f, most_sure = 0.95f;

int umbra_under_predict_init(umbra_under *u, const umbra_under_options *o, umbra_error *err)
{
    umbra_under_predict *p = &u->predict;
    p->policy = o->policy;
    p->automatic = o->policy == UMBRA_POLICY_AUTO;
    umbra_judge_init(&p->judge);
    if (p->automatic)
        p->policy = o->shadow ? UMBRA_POLICY_SHADOW : UMBRA_POLICY_GATE;
    if (p->policy != UMBRA_POLICY_OFF && p->policy != UMBRA_POLICY_PREVIOUS &&
        p->policy != UMBRA_POLICY_GATE && p->policy != UMBRA_POLICY_SHADOW)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "under llama.cpp the policies are auto, off, previous, gate and shadow");
    if (p->policy == UMBRA_POLICY_SHADOW && !o->shadow)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "name the shadow model's file to predict by it");
    p->probability = umbra_calloc((size_t)u->experts.experts, sizeof *p->probability);
    p->state = umbra_calloc((size_t)u->experts.hidden + 1, sizeof *p->state);
    p->norm = umbra_calloc((size_t)u->experts.hidden + 1, sizeof *p->norm);
    p->shadow = o->shadow ? umbra_strdup(o->shadow) : NULL;
    if (!p->probability || !p->state || !p->norm || (o->shadow && !p->shadow))
        return umbra_fail_nomem(err, "the predictions", 0);
    return UMBRA_OK;
}

void umbra_under_predict_free(umbra_under *u)
{
    umbra_runner_close(&u->predict.runner);
    umbra_free(u->predict.probability);
    umbra_free(u->predict.state);
    umbra_free(u->predict.norm);
    umbra_free(u->predict.shadow);
    u->predict = (umbra_under_predict){0};
}

/* ---- the graph ---- */

static void take_name(char *out, const char *name)
{
    snprintf(out, UMBRA_FOREIGN_NAME, "%.*s", UMBRA_FOREIGN_NAME - 1, name);
}

/* The product of the router of that layer, from which the experts were chosen. */
static const umbra_foreign_tensor *find_router(const umbra_foreign *f, int layer,
                                               const umbra_foreign_tensor *t)
{
    char name[UMBRA_FOREIGN_NAME];
    snprintf(name, sizeof name, "blk.%d.ffn_gate_inp.weight", layer);
    for (int i = 0; t && i < MOST_STEPS; i++, t = t->src[0])
        if (t->op == f->mul_mat && t->src[0] && strcmp(t->src[0]->name, name) == 0)
            return t;
    return NULL;
}

const umbra_foreign_tensor *umbra_under_find_state(umbra_under *u, int layer,
                                                   const umbra_foreign_tensor *ids)
{
    const umbra_foreign *f = umbra_foreign_get(NULL);
    const umbra_foreign_tensor *product = find_router(f, layer, ids), *state = NULL, *norm = NULL;
    if (product) {
        state = product->src[1];
        if (state && state->op == f->mul && state->src[0] && state->src[0]->op == f->rms_norm) {
            norm = state->src[1];
            state = state->src[0]->src[0];
        }
    }
    pthread_mutex_lock(&u->mutex);
    umbra_under_layer *l = &u->layer[layer];
    if (!l->seen) {
        l->seen = true;
        l->routed = product != NULL;
        take_name(l->norm, norm ? norm->name : "");
    }
    pthread_mutex_unlock(&u->mutex);
    return state;
}

/* ---- opening ---- */

/* Writes `rows` rows of a tensor as numbers. */
static bool read_rows(const umbra_experts *e, const char *name, int rows, int columns, float *out)
{
    const umbra_gguf_tensor *t = umbra_gguf_tensor_find(e->gguf, name);
    if (!t || t->dtype >= UMBRA_DTYPE_COUNT || t->shape[0] != (uint64_t)columns ||
        t->shape[1] < (uint64_t)rows)
        return false;
    void (*dequantize)(float *, const void *, int) =
        umbra_kernels_find("scalar")->dequantize[t->dtype];
    uint64_t row_bytes = umbra_dtype_row_bytes(umbra_dtype_get(t->dtype), t->shape[0]);
    void *packed = umbra_calloc((size_t)rows, row_bytes);
    bool ok =
        dequantize && packed &&
        umbra_gguf_read_tensor(e->gguf, t, 0, packed, (size_t)rows * row_bytes, NULL) == UMBRA_OK;
    for (int r = 0; ok && r < rows; r++)
        dequantize(out + (size_t)r * (size_t)columns, (const char *)packed + (size_t)r * row_bytes,
                   columns);
    umbra_free(packed);
    return ok;
}

void umbra_under_write_gate(void *user, int layer, float *out)
{
    umbra_under *u = user;
    const umbra_under_layer *l = &u->layer[layer];
    int hidden = u->experts.hidden, rows = l->experts;
    char name[UMBRA_FOREIGN_NAME];
    snprintf(name, sizeof name, "blk.%d.ffn_gate_inp.weight", layer);
    memset(out, 0, (size_t)u->experts.experts * (size_t)hidden * sizeof *out);
    if (!l->routed || !read_rows(&u->experts, name, rows, hidden, out) || l->norm[0] == 0 ||
        !read_rows(&u->experts, l->norm, 1, hidden, u->predict.norm))
        return;
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < hidden; i++)
            out[(size_t)r * (size_t)hidden + (size_t)i] *= u->predict.norm[i];
}

static int open_runner(umbra_under *u, const bool *sparse, umbra_error *err)
{
    umbra_under_predict *p = &u->predict;
    const umbra_runner_options options = {
        .store = u->store,
        .policy = p->policy,
        .layers = u->experts.layers,
        .hidden = u->experts.hidden,
        .experts = u->experts.experts,
        .used = u->experts.used,
        .sparse = sparse,
        .shadow = p->shadow,
        .gate = umbra_under_write_gate,
        .user = u,
        .every = EVERY,
        .sequences = UMBRA_UNDER_ROWS,
        .own_thread = true,
    };
    return umbra_runner_open(&p->runner, &options, err);
}

/* Once every layer has been computed the first time. Without predictions all goes on as it is. */
static void try_to_open(umbra_under *u)
{
    umbra_under_predict *p = &u->predict;
    p->tried = true;
    bool *sparse = umbra_calloc((size_t)u->experts.layers, sizeof *sparse);
    umbra_error err = {0};
    int rc = sparse ? UMBRA_OK : umbra_fail_nomem(&err, "the predictions", 0);
    for (int layer = 0; rc == UMBRA_OK && layer < u->experts.layers; layer++)
        sparse[layer] = u->layer[layer].seen;
    if (rc == UMBRA_OK && (u->experts.used < 1 || u->experts.hidden < 1))
        rc = umbra_fail(&err, UMBRA_E_UNSUPPORTED,
                        "the file does not say how many experts a token "
                        "uses, or has no router of a known shape");
    if (rc == UMBRA_OK)
        rc = open_runner(u, sparse, &err);
    umbra_free(sparse);
    if (rc == UMBRA_OK)
        return;
    fprintf(stderr, "umbra: nothing is foretold: %s\n", err.message);
    p->policy = UMBRA_POLICY_OFF;
}

/* ---- foretelling ---- */

/* A row of the state, where the processor can look at it. */
static const float *state_row(umbra_under *u, const umbra_foreign_tensor *state, int row)
{
    const umbra_foreign *f = umbra_foreign_get(NULL);
    if (state->type != UMBRA_FOREIGN_F32 || state->ne[0] != u->experts.hidden ||
        state->nb[0] != sizeof(float) || row >= state->ne[1] || !state->data)
        return NULL;
    if (umbra_foreign_is_host(f, state))
        return (const float *)(const void *)((const char *)state->data +
                                             (size_t)row * state->nb[1]);
    f->tensor_get(state, u->predict.state, (size_t)row * state->nb[1],
                  (size_t)u->experts.hidden * sizeof(float));
    return u->predict.state;
}

/* A prompt that uses most of a layer will use most of the next one, which is read in the file's
 * order while this one is computed. */
static void foretell_prompt(umbra_under_context *c)
{
    umbra_under *u = c->under;
    int next = c->choice.layer + 1;
    while (next < u->experts.layers && u->layer[next].experts == 0)
        next++;
    float used = (float)c->choice.n / (float)u->layer[c->choice.layer].experts;
    if (next >= u->experts.layers || used < most_of_layer)
        return;
    for (int e = 0; e < u->experts.experts; e++)
        u->predict.probability[e] = fminf(used, most_sure);
    umbra_store_foretell(u->store, UMBRA_UNDER_ROWS, next, 1, umbra_store_clock(u->store) + 1,
                         u->predict.probability);
}

/* A row that decodes, at a layer: its experts are remembered, and, while that saves time, what
 * comes next is foretold from its state. */
static void tell(umbra_under *u, int row, int layer, const umbra_foreign_tensor *state,
                 const int32_t *experts)
{
    umbra_under_predict *p = &u->predict;
    const float *hidden = state ? state_row(u, state, row) : NULL;
    if (!hidden && p->policy == UMBRA_POLICY_PREVIOUS)
        hidden = p->state; /* it is not looked at */
    if (hidden && (!p->automatic || p->judge.on))
        umbra_runner_routed(p->runner, row, layer, hidden, experts);
    else
        umbra_runner_note(p->runner, row, layer, experts);
}

void umbra_under_foretell(umbra_under_context *c, const umbra_foreign_tensor *state,
                          const umbra_foreign_tensor *ids, const char *ids_data)
{
    umbra_under *u = c->under;
    if (u->predict.policy == UMBRA_POLICY_OFF)
        return;
    if (c->rows > UMBRA_UNDER_ROWS)
        foretell_prompt(c);
    else if (u->predict.runner && ids->ne[0] == u->experts.used)
        for (int r = 0; r < c->choice.rows; r++)
            tell(u, r, c->choice.layer, state,
                 (const int32_t *)(const void *)(ids_data + (size_t)r * ids->nb[1]));
}

/* ---- graphs ---- */

bool umbra_under_foretells(const umbra_under_context *c)
{
    const umbra_under_predict *p = &c->under->predict;
    if (p->policy == UMBRA_POLICY_OFF)
        return false;
    return c->rows > UMBRA_UNDER_ROWS || (p->runner && (!p->automatic || p->judge.on));
}

void umbra_under_predict_enter(umbra_under_context *c)
{
    c->entered_ns = umbra_clock_ns();
    c->waited_ns = umbra_store_waited_ns(c->under->store);
    c->needed = umbra_store_needed(c->under->store);
}

void umbra_under_predict_leave(umbra_under_context *c)
{
    umbra_under *u = c->under;
    umbra_under_predict *p = &u->predict;
    uint64_t ns = umbra_clock_ns() - c->entered_ns;
    u->stats.inside_ns += ns;
    if (p->policy == UMBRA_POLICY_OFF)
        return;
    if (!p->tried)
        try_to_open(u);
    if (!p->runner || c->rows > UMBRA_UNDER_ROWS)
        return;
    for (int r = 0; r < c->rows; r++)
        umbra_runner_leave(p->runner, r);
    uint64_t waited_ns = umbra_store_waited_ns(u->store) - c->waited_ns;
    umbra_judge_step(&p->judge, c->rows, (double)ns / 1e9, (double)waited_ns / 1e9,
                     (double)(umbra_store_needed(u->store) - c->needed));
}
