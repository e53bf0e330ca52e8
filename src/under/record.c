/* Traces of prompts that a host computes. */
#include "under/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include <umbra/model.h>

#include "base/error.h"
#include "base/memory.h"
#include "under/under.h"

enum { SAMPLE_BYTES = 16 << 10 /* of a router, for a hash */ };

int umbra_under_record_init(umbra_under *u, const char *folder, umbra_error *err)
{
    umbra_under_record *r = &u->record;
    if (!folder)
        return UMBRA_OK;
    if (u->experts.used < 1 || u->experts.hidden < 1)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "the file does not say how many experts a "
                          "token uses, or has no router: no traces");
    r->layer = r->input_layer = -1;
    r->folder = umbra_strdup(folder);
    r->whole = umbra_calloc((size_t)u->experts.layers, sizeof *r->whole);
    return r->folder && r->whole ? UMBRA_OK : umbra_fail_nomem(err, "the traces", 0);
}

void umbra_under_record_free(umbra_under *u)
{
    umbra_under_record *r = &u->record;
    if (r->folder)
        fprintf(stderr, "umbra: %s: %" PRIu64 " tokens recorded%s\n", r->folder, r->recorded,
                r->recorded > 0 ? ""
                                : ": but for the first, no prompt was computed at once from its "
                                  "first position on (llama-server does that with -np 1 "
                                  "--no-cache-prompt, -b and -ub as long as the prompts)");
    umbra_trace_writer_close(&r->trace);
    umbra_free(r->folder);
    umbra_free(r->whole);
    umbra_free(r->tokens);
    umbra_free(r->experts);
    umbra_free(r->inputs);
    umbra_free(r->states);
    umbra_free(r->weights);
    *r = (umbra_under_record){0};
}

/* Nothing more is recorded; the host goes on. */
static void give_up(umbra_under *u, const umbra_error *err)
{
    umbra_under_record *r = &u->record;
    fprintf(stderr, "umbra: nothing more is recorded: %s\n", err->message);
    umbra_trace_writer_close(&r->trace);
    r->owner = NULL;
    r->layer = -1;
}

/* ---- the trace ---- */

/* The name of the routing: the model's, or, of a layout that Umbra does not know, one of its
 * routers'.
 */
static void hash_model(const umbra_under *u, char out[UMBRA_HASH_CHARS])
{
    static unsigned char sample[SAMPLE_BYTES];
    umbra_model *model;
    if (umbra_model_open(&model, umbra_gguf_path(u->experts.gguf), NULL) == UMBRA_OK) {
        int rc = umbra_model_hash(model, out, NULL);
        umbra_model_close(&model);
        if (rc == UMBRA_OK)
            return;
    }
    XXH128_hash_t hash = {0};
    for (int layer = 0; layer < u->experts.layers; layer++) {
        char name[UMBRA_FOREIGN_NAME];
        snprintf(name, sizeof name, "blk.%d.ffn_gate_inp.weight", layer);
        const umbra_gguf_tensor *t = umbra_gguf_tensor_find(u->experts.gguf, name);
        size_t n = t && t->bytes < SAMPLE_BYTES ? t->bytes : SAMPLE_BYTES;
        if (t && umbra_gguf_read_tensor(u->experts.gguf, t, 0, sample, n, NULL) == UMBRA_OK)
            hash = XXH3_128bits_withSeed(sample, n, hash.low64);
    }
    snprintf(out, UMBRA_HASH_CHARS, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64,
             (uint64_t)hash.low64);
}

static int put_gates(umbra_under *u, umbra_error *err)
{
    size_t n = (size_t)u->experts.experts * (size_t)u->experts.hidden;
    float *gate = umbra_calloc(n, sizeof *gate);
    int rc = gate ? UMBRA_OK : umbra_fail_nomem(err, "a router", n * sizeof *gate);
    for (int layer = 0; rc == UMBRA_OK && layer < u->experts.layers; layer++) {
        if (!u->record.whole[layer])
            continue;
        umbra_under_write_gate(u, layer, gate);
        rc = umbra_trace_put_gate(u->record.trace, layer, gate, err);
    }
    umbra_free(gate);
    return rc;
}

static void open_trace(umbra_under *u)
{
    umbra_under_record *r = &u->record;
    umbra_trace_info info = {.layers = u->experts.layers,
                             .hidden = u->experts.hidden,
                             .experts = u->experts.experts,
                             .used = u->experts.used,
                             .stride = 1,
                             .collection = "{\"host\":\"llama.cpp\"}"};
    umbra_string arch = {0};
    umbra_error err = {0};
    (void)umbra_gguf_get_string(u->experts.gguf, "general.architecture", &arch, NULL);
    snprintf(info.architecture, sizeof info.architecture, "%.*s", (int)arch.bytes, arch.data);
    const char *slash = strrchr(umbra_gguf_path(u->experts.gguf), '/');
    snprintf(info.model_name, sizeof info.model_name, "%s",
             slash ? slash + 1 : umbra_gguf_path(u->experts.gguf));
    hash_model(u, info.model_hash);
    r->tried = true;
    int rc = umbra_trace_writer_open(&r->trace, r->folder, &info, true, &err);
    if (rc == UMBRA_OK)
        rc = put_gates(u, &err);
    if (rc != UMBRA_OK)
        give_up(u, &err);
}

/* ---- nodes ---- */

/* The layer whose input this node has normed; -1: it is another node. */
static int normed_layer(const umbra_under *u, const umbra_foreign_tensor *t)
{
    const umbra_foreign *f = umbra_foreign_get(NULL);
    int layer, used = 0;
    if (t->op != f->mul || !t->src[0] || t->src[0]->op != f->rms_norm || !t->src[1] ||
        sscanf(t->src[1]->name, "blk.%d.attn_norm.weight%n", &layer, &used) != 1 || used == 0 ||
        layer < 0 || layer >= u->experts.layers || u->layer[layer].experts == 0)
        return -1;
    return layer;
}

/* Several nodes on the way to the weights are named like this; the last one is what they are. */
static bool has_weights(const umbra_under *u, const umbra_foreign_tensor *t)
{
    return strncmp(t->name, "ffn_moe_weights", 15) == 0 && t->type == UMBRA_FOREIGN_F32 &&
           t->ne[0] * t->ne[1] * t->ne[2] % u->experts.used == 0;
}

bool umbra_under_record_wants(umbra_under_context *c, const umbra_foreign_tensor *t)
{
    const umbra_under *u = c->under;
    if (!u->record.folder)
        return false;
    if (t->src[1] && strcmp(t->src[1]->name, "inp_tokens") == 0)
        c->inputs = (umbra_under_inputs){.tokens = t->src[1]};
    if (t->src[1] && strcmp(t->src[1]->name, "inp_pos") == 0)
        c->inputs.positions = t->src[1];
    return c->inputs.tokens && c->inputs.tokens->ne[0] > UMBRA_UNDER_ROWS &&
           (normed_layer(u, t) >= 0 || has_weights(u, t));
}

static bool fetch(const umbra_foreign_tensor *t, void *out, size_t bytes)
{
    const umbra_foreign *f = umbra_foreign_get(NULL);
    if (!t->data)
        return false;
    if (umbra_foreign_is_host(f, t))
        memcpy(out, t->data, bytes);
    else
        f->tensor_get(t, out, 0, bytes);
    return true;
}

static bool make_room(umbra_under *u, int rows)
{
    umbra_under_record *r = &u->record;
    const struct {
        void **array;
        size_t row;
    } arrays[] = {
        {(void **)&r->tokens, sizeof *r->tokens},
        {(void **)&r->experts, (size_t)u->experts.used * sizeof *r->experts},
        {(void **)&r->inputs, (size_t)u->experts.hidden * sizeof *r->inputs},
        {(void **)&r->states, (size_t)u->experts.hidden * sizeof *r->states},
        {(void **)&r->weights, (size_t)u->experts.used * sizeof *r->weights},
    };
    for (size_t i = 0; rows > r->room && i < sizeof arrays / sizeof arrays[0]; i++) {
        void *more = umbra_reallocarray(*arrays[i].array, (size_t)rows, arrays[i].row);
        if (!more)
            return false;
        *arrays[i].array = more;
    }
    r->room = rows > r->room ? rows : r->room;
    return true;
}

/* A prompt from its first position on; in layouts without positions, any. */
static bool begins_a_text(umbra_under *u, const umbra_under_inputs *in)
{
    umbra_under_record *r = &u->record;
    const umbra_foreign_tensor *at = in->positions;
    size_t n = (size_t)in->tokens->ne[0], bytes = n * sizeof *r->tokens;
    if (at && (at->ne[0] != in->tokens->ne[0] || at->type != UMBRA_FOREIGN_I32 ||
               !fetch(at, r->tokens, bytes)))
        return false;
    for (size_t i = 0; at && i < n; i++)
        if (r->tokens[i] != (int32_t)i)
            return false;
    return in->tokens->type == UMBRA_FOREIGN_I32 && fetch(in->tokens, r->tokens, bytes);
}

static int begin_document(umbra_under_context *c, umbra_error *err)
{
    umbra_under_record *r = &c->under->record;
    r->owner = c;
    umbra_trace_document d = {.tokens = c->rows};
    /* Another recording's prompts are other documents. */
    snprintf(d.id, sizeof d.id, "prompt-%" PRIu64 "-%016" PRIx64,
             umbra_trace_writer_documents(r->trace), umbra_trace_hash(r->tokens, (size_t)c->rows));
    return umbra_trace_shard_begin(r->trace, &d, 1, r->tokens, err);
}

/* A state of all rows of the context's graph. */
static bool fetch_states(const umbra_under_context *c, const umbra_foreign_tensor *t, float *out)
{
    size_t row = (size_t)c->under->experts.hidden * sizeof(float);
    int64_t rows = c->inputs.tokens->ne[0];
    return t && t->type == UMBRA_FOREIGN_F32 && t->ne[0] == c->under->experts.hidden &&
           t->ne[1] == rows && t->nb[1] == row && fetch(t, out, (size_t)rows * row);
}

/* Whether the context may use the buffers: one graph at a time is recorded. */
static bool may_record(const umbra_under_context *c)
{
    const umbra_under_record *r = &c->under->record;
    return r->trace && c->inputs.tokens && (!r->owner || r->owner == c);
}

/* What enters a layer is kept until its experts are chosen. */
static void take_input(umbra_under_context *c, int layer, const umbra_foreign_tensor *t)
{
    umbra_under_record *r = &c->under->record;
    r->input_layer = -1;
    if (make_room(c->under, (int)c->inputs.tokens->ne[0]) && fetch_states(c, t, r->inputs))
        r->input_layer = layer;
}

/* With the experts that were chosen before, a layer's routing is complete as soon as the weights of
 * the next node of that name take the place of these: they are written at the layer's end. */
static void take_weights(umbra_under_context *c, const umbra_foreign_tensor *t)
{
    const umbra_under *u = c->under;
    umbra_under_record *r = &c->under->record;
    size_t n = (size_t)c->rows * (size_t)u->experts.used;
    if (r->layer == c->choice.layer && (size_t)(t->ne[0] * t->ne[1] * t->ne[2]) == n)
        r->weighed = fetch(t, r->weights, n * sizeof *r->weights);
}

void umbra_under_record_node(umbra_under_context *c, const umbra_foreign_tensor *t)
{
    umbra_under *u = c->under;
    pthread_mutex_lock(&u->mutex);
    int layer = normed_layer(u, t);
    if (may_record(c) && layer >= 0 && u->record.whole[layer])
        take_input(c, layer, t->src[0]->src[0]);
    else if (may_record(c) && layer < 0 && u->record.owner == c)
        take_weights(c, t);
    pthread_mutex_unlock(&u->mutex);
}

/* Writes the routing of the layer before. */
static int put_routing(umbra_under *u, int rows, umbra_error *err)
{
    umbra_under_record *r = &u->record;
    int layer = r->layer;
    r->layer = -1;
    if (layer < 0)
        return UMBRA_OK;
    if (!r->weighed)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "the weights of layer %d's experts are not where they usually are",
                          layer);
    return umbra_trace_put_routing(r->trace, layer, 0, rows, r->experts, r->weights, err);
}

static int put_layer(umbra_under_context *c, const umbra_foreign_tensor *ids, const char *ids_data,
                     const umbra_foreign_tensor *state, umbra_error *err)
{
    umbra_under *u = c->under;
    umbra_under_record *r = &u->record;
    int layer = c->choice.layer;
    if (r->input_layer != layer || !fetch_states(c, state, r->states))
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "the states of layer %d are not where they usually are", layer);
    int rc = umbra_trace_put_states(r->trace, UMBRA_TRACE_INPUT, layer, 0, c->rows, r->inputs, err);
    if (rc == UMBRA_OK)
        rc =
            umbra_trace_put_states(r->trace, UMBRA_TRACE_HIDDEN, layer, 0, c->rows, r->states, err);
    for (int i = 0; rc == UMBRA_OK && i < c->rows; i++)
        memcpy(r->experts + (size_t)i * (size_t)u->experts.used, ids_data + (size_t)i * ids->nb[1],
               (size_t)u->experts.used * sizeof *r->experts);
    r->layer = layer;
    r->weighed = false;
    return rc;
}

/* The first prompt shows which layers are computed for all rows. */
static void look(umbra_under_context *c)
{
    umbra_under_record *r = &c->under->record;
    if (c->inputs.tokens && c->choice.rows == c->inputs.tokens->ne[0])
        r->whole[c->choice.layer] = c->under->layer[c->choice.layer].routed;
}

void umbra_under_record_chosen(umbra_under_context *c, const umbra_foreign_tensor *ids,
                               const char *ids_data, const umbra_foreign_tensor *state)
{
    umbra_under *u = c->under;
    umbra_under_record *r = &u->record;
    umbra_error err = {0};
    int rc = UMBRA_OK;
    if (!r->folder || c->rows <= UMBRA_UNDER_ROWS)
        return;
    if (!r->tried) {
        look(c);
        return;
    }
    if (!may_record(c))
        return;
    if (!r->owner && r->input_layer == c->choice.layer && c->first &&
        ids->ne[0] == u->experts.used && begins_a_text(u, &c->inputs))
        rc = begin_document(c, &err);
    if (rc == UMBRA_OK && r->owner == c)
        rc = put_routing(u, c->rows, &err);
    if (rc == UMBRA_OK && r->owner == c && r->whole[c->choice.layer])
        rc = put_layer(c, ids, ids_data, state, &err);
    if (rc != UMBRA_OK)
        give_up(u, &err);
}

void umbra_under_record_leave(umbra_under_context *c)
{
    umbra_under *u = c->under;
    umbra_under_record *r = &u->record;
    umbra_error err = {0};
    if (!r->folder || c->rows <= UMBRA_UNDER_ROWS)
        return;
    if (!r->tried)
        open_trace(u);
    else if (r->owner == c) {
        int rc = put_routing(u, c->rows, &err);
        if (rc == UMBRA_OK)
            rc = umbra_trace_shard_end(r->trace, &err);
        r->owner = NULL;
        r->recorded += rc == UMBRA_OK ? (uint64_t)c->rows : 0;
        if (rc != UMBRA_OK)
            give_up(u, &err);
    }
}
