/* Computes tokens: chunk by chunk through all layers. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "engine/internal.h"

/* A chunk on its way, and who looks at it. */
typedef struct chunk {
    umbra_engine *e;
    const umbra_tap *tap; /* the call's */
    umbra_pass pass;
    umbra_rows rows;
    umbra_error failure; /* with ranks: why this one fails, until it has made the others stop too */
} chunk;

static int tell(chunk *c, umbra_tap_place place)
{
    const umbra_tap *taps[] = {&c->e->attached, c->tap};
    int of = place == UMBRA_TAP_WAIT ? UMBRA_PROFILE_DISK : UMBRA_PROFILE_REST;
    umbra_device_profile(&c->e->device, of);
    bool routed = place == UMBRA_TAP_ROUTED || place == UMBRA_TAP_WAIT;
    c->rows.experts = routed ? c->e->scratch.experts : NULL;
    c->rows.weights = routed ? c->e->scratch.weights : NULL;
    for (int i = 0; i < 2; i++) {
        int rc = taps[i]->at[place] ? taps[i]->at[place](taps[i]->user, &c->rows) : UMBRA_OK;
        if (rc != UMBRA_OK)
            return rc;
    }
    return UMBRA_OK;
}

/* UMBRA_E_NONFINITE, unless the row is UMBRA_NO_ROW; layer -1 leaves the layer out. */
static int refuse_nonfinite(const chunk *c, int row, const char *what, int layer, umbra_error *err)
{
    char of_layer[32] = "";
    if (row == UMBRA_NO_ROW)
        return UMBRA_OK;
    if (layer >= 0)
        snprintf(of_layer, sizeof of_layer, " of layer %d", layer);
    return umbra_fail(err, UMBRA_E_NONFINITE,
                      "token %d of the text: the %s%s are not finite (NaN or infinity), all before "
                      "were; a weight of the model is damaged or out of range: compare the file "
                      "with its source, or take another conversion of the model",
                      c->e->scratch.position[row], what, of_layer);
}

static int check_states(const chunk *c, const char *what, int layer, umbra_error *err)
{
    const umbra_engine *e = c->e;
    umbra_device_profile(&e->device, UMBRA_PROFILE_REST);
    const umbra_config *config = &e->model->config;
    int row = umbra_device_first_bad(&e->device, umbra_residual(&e->scratch),
                                     config->streams.count * config->hidden, c->rows.n);
    return refuse_nonfinite(c, row, what, layer, err);
}

/* Joins row t to the row of its sequence before it. */
static void chain_row(umbra_scratch *s, int t, bool first)
{
    umbra_chains *c = &s->chains;
    int before = first ? -1 : t - 1;
    while (before >= 0 && s->sequence[before] != s->sequence[t])
        before--;
    c->before[t] = before;
    c->after[t] = -1;
    if (before < 0)
        c->first[c->n++] = t;
    else
        c->after[before] = t;
}

/* The chunk's ids, sequences and positions, with room for them in their sequences. */
static void place_rows(chunk *c)
{
    umbra_engine *e = c->e;
    umbra_scratch *s = &e->scratch;
    for (int t = 0; t < c->rows.n; t++)
        umbra_state_begin(e->state, c->rows.tokens[t].sequence);
    s->chains.n = 0;
    for (int t = 0; t < c->rows.n; t++) {
        s->id[t] = c->rows.tokens[t].id;
        s->sequence[t] = c->rows.tokens[t].sequence;
        s->position[t] = umbra_state_reserve(e->state, s->sequence[t]);
        if (e->has_recurrent)
            chain_row(s, t, umbra_state_pending(e->state, s->sequence[t]) == 1);
    }
    for (int t = 0; t < c->rows.n; t++)
        s->prompt[t] =
            umbra_state_pending(e->state, s->sequence[t]) > 1 && !e->checks[s->sequence[t]];
}

/* The most rows of a text that are decoded or checked; 0: the chunk has nothing but prompts'. */
static int tokens_of(const chunk *c)
{
    const umbra_scratch *s = &c->e->scratch;
    int most = 0;
    for (int t = 0; t < c->rows.n; t++) {
        int pending = umbra_state_pending(c->e->state, s->sequence[t]);
        if (!s->prompt[t] && pending > most)
            most = pending;
    }
    return most;
}

static int begin_batch(chunk *c, int distinct, umbra_error *err)
{
    umbra_scratch *s = &c->e->scratch;
    int tokens = tokens_of(c);
    int first, own = umbra_division_own(&c->e->division, s, c->rows.layer, distinct, &first);
    /* Rows of prompts scan all experts, those that decode, or are checked, say which are in use. */
    umbra_batch batch = {
        .kind = tokens > 1   ? UMBRA_BATCH_VERIFY
                : tokens > 0 ? UMBRA_BATCH_DECODE
                             : UMBRA_BATCH_PROMPT,
        .layer = c->rows.layer,
        .experts = s->span_expert + first,
        .uses = s->span_uses + first,
        .n = own,
        .tokens = tokens,
    };
    return umbra_store_begin(c->e->store, &batch, err);
}

/* What has arrived; if nothing has, a tap may use the time first. */
static int next_leases(chunk *c, umbra_lease *leases, int *stop, umbra_error *err)
{
    umbra_store *store = c->e->store;
    if (c->e->attached.at[UMBRA_TAP_WAIT] && *stop == UMBRA_OK && !umbra_store_ready(store))
        *stop = tell(c, UMBRA_TAP_WAIT);
    umbra_device_profile(&c->e->device, UMBRA_PROFILE_DISK);
    return umbra_store_next(store, leases, UMBRA_MAX_USED, err);
}

/* Experts in the order in which the store delivers; a stop that a tap asks for waits for the
 * layer's end, so that the store's batch ends too. */
static int compute_leases(chunk *c, int distinct, int *stop, umbra_error *err)
{
    umbra_engine *e = c->e;
    int layer = c->rows.layer;
    umbra_device_profile(&e->device, UMBRA_PROFILE_DISK);
    int rc = begin_batch(c, distinct, err);
    if (rc != UMBRA_OK)
        return rc;
    *stop = tell(c, UMBRA_TAP_ROUTED);
    umbra_step_ffn(&c->pass, layer); /* while the reads are under way */
    umbra_lease leases[UMBRA_MAX_USED];
    int n;
    while ((n = next_leases(c, leases, stop, err)) > 0) {
        umbra_step_experts(&c->pass, layer, leases, n);
        for (int i = 0; i < n; i++)
            umbra_store_release(e->store, &leases[i]);
    }
    return n;
}

/* With ranks what this one fails of is first handed to the others. */
static int put_off(chunk *c, int rc, const umbra_error *err)
{
    if (rc == UMBRA_OK || !c->e->division.owner)
        return rc;
    if (c->failure.status == UMBRA_OK)
        c->failure = err && err->status == rc ? *err : (umbra_error){.status = rc};
    return UMBRA_OK;
}

/* The ranks' parts come together. One that fails waits for a layer in which it has a part, to hand
 * out what is no number: then all stop behind the same layer. */
static int gather_experts(chunk *c, int distinct, int rc, umbra_error *err)
{
    umbra_engine *e = c->e;
    rc = put_off(c, rc, err);
    if (rc != UMBRA_OK)
        return rc;
    bool failed = c->failure.status != UMBRA_OK;
    rc = umbra_division_gather(&e->division, &c->pass, c->rows.layer, distinct, failed, err);
    return failed ? UMBRA_OK : rc;
}

static int compute_experts(chunk *c, umbra_error *err)
{
    int stop = UMBRA_OK, distinct = umbra_step_sort_pairs(&c->pass, c->rows.layer);
    int rc = compute_leases(c, distinct, &stop, err);
    rc = gather_experts(c, distinct, rc, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_step_mix(&c->pass, c->rows.layer);
    return put_off(c, stop, NULL);
}

static int check_interruption(chunk *c)
{
    umbra_error why;
    if (!umbra_progress_interrupted(c->tap->progress))
        return UMBRA_OK;
    return put_off(c, umbra_fail(&why, UMBRA_E_INTERRUPTED, "interrupted"), &why);
}

/* What the rows see of the layer, and the states that they go on from. */
static void show_layer(chunk *c)
{
    umbra_engine *e = c->e;
    umbra_scratch *s = &e->scratch;
    int layer = c->rows.layer;
    const umbra_attention *a = &e->model->config.attention[layer];
    bool recurrent = e->recurrent[layer].heads > 0;
    for (int t = 0; !recurrent && t < c->rows.n; t++) {
        s->view[t] = umbra_state_view(e->state, layer, s->sequence[t], s->position[t]);
        if (!a->ratio)
            continue;
        s->pooled[t] = umbra_state_view(e->state, a->pooled, s->sequence[t], s->position[t]);
        s->pooling[t] = umbra_state_view(e->state, a->pooling, s->sequence[t], s->position[t]);
    }
    for (int t = 0; a->index.kept && t < c->rows.n; t++) {
        s->index[t] = umbra_state_view(e->state, a->index.kept, s->sequence[t], s->position[t]);
        if (a->index.pooling)
            s->index_pooling[t] =
                umbra_state_view(e->state, a->index.pooling, s->sequence[t], s->position[t]);
    }
    const umbra_ngrams *g = &e->model->config.ngrams;
    for (int t = 0; g->size && layer == g->layer && t < c->rows.n; t++)
        s->ngrams[t] = umbra_state_view(e->state, g->kept, s->sequence[t], s->position[t]);
    for (int i = 0; recurrent && i < s->chains.n; i++)
        s->recurrent[i] = umbra_state_recurrent(e->state, layer, s->sequence[s->chains.first[i]]);
}

static int compute_layer(chunk *c, umbra_error *err)
{
    umbra_engine *e = c->e;
    int layer = c->rows.layer;
    int rc = check_interruption(c);
    if (rc != UMBRA_OK)
        return umbra_fail(err, rc, "interrupted");
    show_layer(c);
    rc = put_off(c, umbra_step_ngrams(&c->pass, layer, err), err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_step_enter(&c->pass, layer, UMBRA_HALF_ATTENTION);
    rc = put_off(c, tell(c, UMBRA_TAP_INPUT), NULL);
    if (rc != UMBRA_OK)
        return rc;
    umbra_step_attention(&c->pass, layer);
    rc = check_states(c, "states after the attention", layer, err);
    if (rc == UMBRA_OK)
        rc = put_off(c, tell(c, UMBRA_TAP_HIDDEN), NULL);
    if (rc != UMBRA_OK)
        return rc;
    if (!umbra_layer_has_experts(e->model, layer)) {
        umbra_step_ffn_dense(&c->pass, layer);
        return check_states(c, "outputs", layer, err);
    }
    int bad = umbra_step_route(&c->pass, layer);
    rc = refuse_nonfinite(c, bad, "router's scores", layer, err);
    if (rc == UMBRA_OK)
        rc = compute_experts(c, err);
    return rc == UMBRA_OK ? check_states(c, "experts' outputs", layer, err) : rc;
}

static int hand_out_logits(chunk *c, const int *index, int n, umbra_error *err)
{
    umbra_step_output(&c->pass, index, n);
    umbra_device_profile(&c->e->device, UMBRA_PROFILE_REST);
    size_t vocabulary = (size_t)c->e->model->config.vocabulary;
    for (int i = 0; i < n; i++) {
        const float *logits = c->e->scratch.logits + (size_t)i * vocabulary;
        int bad = umbra_all_finite(logits, vocabulary) ? UMBRA_NO_ROW : index[i];
        int rc = refuse_nonfinite(c, bad, "logits", -1, err);
        if (rc == UMBRA_OK)
            rc = c->tap->logits(c->tap->user, c->rows.first + index[i], logits);
        if (rc != UMBRA_OK)
            return rc;
    }
    return UMBRA_OK;
}

static int compute_logits(chunk *c, umbra_error *err)
{
    int index[UMBRA_LOGITS_ROWS], n = 0, rc = UMBRA_OK;
    if (!c->tap->logits)
        return UMBRA_OK;
    for (int t = 0; t < c->rows.n && rc == UMBRA_OK; t++) {
        if (c->rows.tokens[t].want_logits)
            index[n++] = t;
        if (n == UMBRA_LOGITS_ROWS || (t == c->rows.n - 1 && n > 0)) {
            rc = hand_out_logits(c, index, n, err);
            n = 0;
        }
    }
    return rc;
}

static int compute_chunk(chunk *c, umbra_error *err)
{
    umbra_engine *e = c->e;
    place_rows(c);
    umbra_profile_begin(e, c->rows.n);
    umbra_step_embed(&c->pass);
    int rc = check_states(c, "embedding's values", -1, err);
    if (rc == UMBRA_OK)
        rc = put_off(c, tell(c, UMBRA_TAP_ENTER), NULL);
    for (; rc == UMBRA_OK && c->rows.layer < e->model->config.layers; c->rows.layer++)
        rc = compute_layer(c, err);
    if (rc != UMBRA_OK && c->failure.status != UMBRA_OK)
        rc = umbra_fail_as(&c->failure, err);
    if (rc != UMBRA_OK)
        return umbra_division_agree(&e->division, rc, err);
    c->rows.layer--;
    umbra_step_leave(&c->pass);
    for (int t = 0; t < c->rows.n; t++)
        umbra_state_advance(e->state, c->rows.tokens[t].sequence, 1);
    rc = tell(c, UMBRA_TAP_LEAVE);
    if (rc == UMBRA_OK)
        rc = compute_logits(c, err);
    /* It had no share of any layer that was left, so that nobody else has noticed. */
    return rc == UMBRA_OK && c->failure.status != UMBRA_OK ? umbra_fail_as(&c->failure, err) : rc;
}

static int check_tokens(const umbra_engine *e, const umbra_token *tokens, int n, umbra_error *err)
{
    for (int t = 0; t < n; t++) {
        if (tokens[t].id < 0 || tokens[t].id >= e->model->config.vocabulary)
            return umbra_fail(err, UMBRA_E_ARGUMENT, "token id %" PRId32 " is not one of 0..%d",
                              tokens[t].id, e->model->config.vocabulary - 1);
        if (tokens[t].sequence < 0 || tokens[t].sequence >= e->sequences)
            return umbra_fail(err, UMBRA_E_ARGUMENT, "sequence %" PRId32 " is not one of 0..%d",
                              tokens[t].sequence, e->sequences - 1);
    }
    for (int s = 0; s < e->sequences; s++) {
        int64_t length = umbra_state_length(e->state, s);
        for (int t = 0; t < n; t++)
            length += tokens[t].sequence == s;
        if (length > e->plan.context)
            return umbra_fail(err, UMBRA_E_ARGUMENT,
                              "%" PRId64 " tokens do not fit into a context of %d positions",
                              length, e->plan.context);
    }
    return UMBRA_OK;
}

/* ---- for a walk beside ---- */

float umbra_engine_partial(umbra_engine *e, int layer, int t, float *residual)
{
    const umbra_config *c = &e->model->config;
    size_t hidden = (size_t)c->hidden, first = (size_t)t * (size_t)c->experts_used;
    size_t given_size = (size_t)c->expert_hidden;
    size_t streams = (size_t)c->streams.count, whole = streams * hidden;
    umbra_scratch row = e->scratch; /* as if row t were the only one; block is free until the sum */
    row.beside += c->post_norms || row.streams ? (size_t)t * hidden : 0;
    row.carry += row.streams ? (size_t)t * streams * (streams + 1) : 0;
    row.shared_weight += t;
    const int32_t *experts = row.experts + first, *pair = row.token_pair + first;
    const float *weights = row.weights + first;
    const float *scale = e->weights.layer[layer][UMBRA_DOWN_SCALE].data;
    float all = 0, missing = 0;
    memcpy(residual, umbra_residual(&row) + (size_t)t * whole, whole * sizeof *residual);
    umbra_pass pass;
    umbra_engine_pass(e, &pass);
    pass.scratch = &row;
    pass.rows = 1;
    float *sum = memset(umbra_step_sum(&pass), 0, given_size * sizeof *residual);
    for (int j = 0; j < c->experts_used; j++) {
        const float *given = row.contribution + (size_t)pair[j] * given_size;
        float weight = c->router.weighs_input ? 1 : weights[j];
        all += weights[j];
        if (row.computed[experts[j]])
            e->device.kernels->add_scaled(sum, given, scale ? weight * scale[experts[j]] : weight,
                                          c->expert_hidden);
        else
            missing += weights[j];
    }
    umbra_step_raise(&pass, layer);
    umbra_step_join(&pass, layer, residual);
    return all > 0 ? missing / all : 0;
}

/* Row t's, as those of the only row. */
static void copy_picks(const umbra_picks *from, int t, umbra_picks *to)
{
    umbra_picks out = *from;
    out.unit = to->unit;
    out.n = to->n;
    out.n[0] = from->n[t];
    memcpy(out.unit, umbra_picks_of(from, t, 0), (size_t)from->stride * sizeof *out.unit);
    *to = out;
}

void umbra_engine_row(const umbra_engine *e, int t, umbra_scratch *out)
{
    const umbra_config *c = &e->model->config;
    const umbra_scratch *s = &e->scratch;
    size_t n = (size_t)c->streams.count, hidden = (size_t)c->hidden, at = (size_t)t;
    out->id[0] = s->id[t];
    out->position[0] = s->position[t];
    memcpy(out->x, s->x + at * hidden, hidden * sizeof *out->x);
    if (s->picks.n)
        copy_picks(&s->picks, t, &out->picks);
    if (s->streams) {
        memcpy(out->streams, s->streams + at * n * hidden, n * hidden * sizeof *out->streams);
        memcpy(out->carry, s->carry + at * n * (n + 1), n * (n + 1) * sizeof *out->carry);
    }
    for (int r = 0; r < UMBRA_ROPES; r++) {
        size_t dim = (size_t)c->rope[r].dim;
        memcpy(out->rope[r], s->rope[r] + at * dim, dim * sizeof *out->rope[r]);
    }
}

int umbra_engine_eval(umbra_engine *e, const umbra_token *tokens, int n, const umbra_tap *tap,
                      umbra_error *err)
{
    static const umbra_tap none = {0};
    int rc = check_tokens(e, tokens, n, err);
    for (int first = 0; rc == UMBRA_OK && first < n; first += e->plan.chunk) {
        int count = n - first < e->plan.chunk ? n - first : e->plan.chunk;
        chunk c = {
            .e = e,
            .tap = tap ? tap : &none,
            .rows = {.first = first,
                     .n = count,
                     .tokens = tokens + first,
                     .position = e->scratch.position,
                     .prompt = e->scratch.prompt,
                     .x = e->scratch.x},
        };
        umbra_engine_pass(e, &c.pass);
        c.pass.scratch = &e->scratch;
        c.pass.rows = count;
        rc = umbra_lead_chunk(e, tokens + first, count, err);
        if (rc == UMBRA_OK)
            rc = compute_chunk(&c, err);
        if (e->ended)
            e->ended(e->ended_user);
        umbra_device_profile(&e->device, UMBRA_PROFILE_REST);
    }
    return rc;
}
