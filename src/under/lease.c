/* Holds the experts that a context computes with. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "under/under.h"

enum { PACE_LAYERS = 16 /* that a running mean remembers */ };

/* As a page of a mapping that cannot be read would end the process: to go on would be to compute
 * with nothing. */
static _Noreturn void die(const umbra_error *err)
{
    fprintf(stderr, "umbra: %s; what llama.cpp computes next would be wrong\n", err->message);
    abort();
}

static void release(umbra_under_context *c)
{
    umbra_under *u = c->under;
    for (int i = 0; i < c->n_leases; i++)
        umbra_store_release(u->store, &c->leases[i]);
    u->held -= (uint64_t)c->n_leases;
    if (c->n_leases > 0)
        pthread_cond_broadcast(&u->changed);
    c->n_leases = 0;
    c->ids = NULL;
}

void umbra_under_release(umbra_under_context *c)
{
    pthread_mutex_lock(&c->under->mutex);
    release(c);
    pthread_mutex_unlock(&c->under->mutex);
}

/* The keeper works while a graph is computed for which something is foretold. */
static void set_kept(umbra_under_context *c, bool kept)
{
    umbra_under *u = c->under;
    if (c->kept == kept)
        return;
    c->kept = kept;
    u->kept += kept ? 1 : -1;
    if (kept && u->kept == 1)
        pthread_cond_broadcast(&u->changed);
}

static void end_graph(umbra_under_context *c)
{
    umbra_under_predict_leave(c);
    umbra_under_record_leave(c);
    c->inputs = (umbra_under_inputs){0};
}

void umbra_under_leave(umbra_under_context *c)
{
    pthread_mutex_lock(&c->under->mutex);
    release(c);
    if (c->inside)
        end_graph(c);
    c->inside = false;
    set_kept(c, false);
    pthread_mutex_unlock(&c->under->mutex);
}

/* A graph's first layer, as far as experts go; the end of the one before may have gone unseen. */
static void enter(umbra_under_context *c)
{
    umbra_under *u = c->under;
    c->first = !c->inside || c->choice.layer <= c->reached;
    if (!c->first)
        return;
    if (c->inside)
        end_graph(c);
    c->inside = true;
    c->rows = c->choice.rows;
    set_kept(c, umbra_under_foretells(c));
    umbra_under_predict_enter(c);
    bool prompt = c->rows > UMBRA_UNDER_ROWS;
    *(prompt ? &u->stats.prompt_tokens : &u->stats.tokens) += (uint64_t)c->rows;
}

/* How long a layer takes. */
static void note_pace(umbra_under_context *c)
{
    umbra_under *u = c->under;
    uint64_t now_ns = umbra_clock_ns();
    if (!c->first)
        u->layer_ns += ((double)(now_ns - c->layer_begun_ns) - u->layer_ns) / PACE_LAYERS;
    c->layer_begun_ns = now_ns;
}

/* Where the ids (rows, used) can be looked at: rows are ids->nb[1] apart. */
static const char *ids_data(umbra_under_context *c, const umbra_foreign *f,
                            const umbra_foreign_tensor *ids)
{
    static const char no_rows[1];
    if (ids->ne[1] < 1) /* a piece of a prompt, none of whose logits are wanted */
        return no_rows;
    if (umbra_foreign_is_host(f, ids))
        return ids->data;
    size_t bytes = (size_t)(ids->ne[1] - 1) * ids->nb[1] + (size_t)ids->ne[0] * sizeof(int32_t);
    if (bytes > c->fetched_bytes) {
        void *more = umbra_reallocarray(c->fetched, bytes, 1);
        if (!more)
            return NULL;
        c->fetched = more;
        c->fetched_bytes = bytes;
    }
    f->tensor_get(ids, c->fetched, 0, bytes);
    return (const char *)c->fetched;
}

/* Fills the context's choice with every expert of the layer. */
static void choose_all(umbra_under_context *c)
{
    c->choice.n = c->under->layer[c->choice.layer].experts;
    for (int e = 0; e < c->choice.n; e++) {
        c->choice.expert[e] = e;
        c->choice.uses[e] = 0;
    }
}

/* Fills it with those that rows name. An id that is none would be out of bounds for llama.cpp too;
 * it is passed over. */
static void choose(umbra_under_context *c, const umbra_foreign_tensor *ids, const char *data)
{
    umbra_under_choice *o = &c->choice;
    int experts = c->under->layer[o->layer].experts;
    memset(o->uses, 0, (size_t)experts * sizeof *o->uses);
    for (int64_t r = 0; r < ids->ne[1]; r++) {
        const int32_t *row = (const int32_t *)(const void *)(data + (size_t)r * ids->nb[1]);
        for (int64_t i = 0; i < ids->ne[0]; i++)
            if (row[i] >= 0 && row[i] < experts)
                o->uses[row[i]]++;
    }
    o->n = 0;
    for (int e = 0; e < experts; e++) {
        if (o->uses[e] == 0)
            continue;
        o->expert[o->n] = e;
        o->uses[o->n++] = o->uses[e];
    }
}

/* The store hands out all at once: what is computed next needs them together. */
static int take_leases(umbra_under_context *c, umbra_error *err)
{
    umbra_store *s = c->under->store;
    int got;
    while ((got = umbra_store_next(s, c->leases + c->n_leases, c->choice.n - c->n_leases + 1,
                                   err)) > 0)
        c->n_leases += got;
    return got;
}

static int begin(umbra_under_context *c, umbra_error *err)
{
    const umbra_under_choice *o = &c->choice;
    const umbra_batch batch = {
        .kind = c->rows > UMBRA_UNDER_ROWS ? UMBRA_BATCH_PROMPT : UMBRA_BATCH_DECODE,
        .layer = o->layer,
        .experts = o->expert,
        .uses = o->uses,
        .n = o->n,
    };
    return umbra_store_begin(c->under->store, &batch, err);
}

static void acquire(umbra_under_context *c, const umbra_foreign_tensor *ids,
                    const umbra_foreign_tensor *state, const char *data)
{
    umbra_under *u = c->under;
    umbra_error err = {0};
    release(c);
    while (u->held + (uint64_t)c->choice.n > u->slots)
        pthread_cond_wait(&u->changed, &u->mutex);
    enter(c);
    note_pace(c);
    c->reached = c->choice.layer;
    int rc = begin(c, &err);
    if (rc == UMBRA_OK && data)
        umbra_under_foretell(c, state, ids, data);
    if (rc == UMBRA_OK && data)
        umbra_under_record_chosen(c, ids, data, state);
    if (rc == UMBRA_OK)
        rc = take_leases(c, &err);
    if (rc != UMBRA_OK)
        die(&err);
    u->held += (uint64_t)c->n_leases;
    c->ids = ids;
}

void umbra_under_acquire(umbra_under_context *c, const umbra_foreign_tensor *ids,
                         const umbra_foreign_tensor *state)
{
    umbra_under *u = c->under;
    const char *data = ids ? ids_data(c, umbra_foreign_get(NULL), ids) : NULL;
    if (data)
        choose(c, ids, data);
    else
        choose_all(c);
    c->choice.rows = ids ? (int)ids->ne[1] : UMBRA_UNDER_ROWS + 1;
    pthread_mutex_lock(&u->mutex);
    acquire(c, ids, state, data);
    u->stats.whole_layers += !data;
    pthread_mutex_unlock(&u->mutex);
}
