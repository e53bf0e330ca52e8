/* The callback of a context: what is chosen is brought in before it is used. */
#include <stdlib.h>
#include <string.h>

#include "under/under.h"

/* The layer whose chosen experts this node is; -1: it is another node. llama.cpp names it so in
 * every layout. */
static int chosen_layer(const umbra_under *u, const umbra_foreign_tensor *t)
{
    static const char prefix[] = "ffn_moe_topk-";
    if (strncmp(t->name, prefix, sizeof prefix - 1) != 0 || t->type != UMBRA_FOREIGN_I32)
        return -1;
    char *end;
    long layer = strtol(t->name + sizeof prefix - 1, &end, 10);
    return *end == 0 && layer >= 0 && layer < u->experts.layers && u->layer[layer].experts > 0
               ? (int)layer
               : -1;
}

/* Whether these are the ids whose experts are held: the node itself, or, where products run on
 * another device, its copy there, which bears its name. */
static bool are_held(const umbra_under_context *c, const umbra_foreign_tensor *ids)
{
    return c->ids && (ids == c->ids ||
                      (ids->type == c->ids->type && ids->ne[0] == c->ids->ne[0] &&
                       ids->ne[1] == c->ids->ne[1] && strstr(ids->name, c->ids->name) != NULL));
}

/* A product with experts is about to be computed. Where it goes by ids that were not seen, all of
 * the layer must be there. Returns whether it is to be told when this is done: of a graph's last
 * one, whose end is not seen otherwise, and of a layer's where the next layer's experts take the
 * place of its own without a node of chosen ones between. */
static bool before_product(umbra_under_context *c, const umbra_foreign_tensor *t)
{
    const umbra_stacked *s = umbra_experts_at(&c->under->experts, t->src[0]->data);
    if (!s)
        return false;
    bool held =
        c->choice.layer == s->layer && t->src[2] &&
        (are_held(c, t->src[2]) || (!c->ids && c->n_leases == c->under->layer[s->layer].experts));
    if (!held) {
        c->choice.layer = s->layer;
        umbra_under_acquire(c, NULL, NULL);
    }
    bool ends = s->layer == c->under->last_layer && !c->around;
    return s->which == 2 && (ends || !c->ids);
}

static bool is_product(const umbra_foreign_tensor *t)
{
    return t->op == umbra_foreign_get(NULL)->mul_mat_id && t->src[0] && t->src[0]->data;
}

/* ---- the end of a stretch ---- */

void umbra_under_look(umbra_under_context *c, void *graph)
{
    const umbra_foreign *f = umbra_foreign_get(NULL);
    const umbra_under *u = c->under;
    const umbra_foreign_tensor *chosen = NULL, *before = NULL;
    int n = f->graph_n_nodes(graph), layer = -1;
    c->awaited = -1;
    memset(c->stretch, 0, (size_t)u->experts.layers * sizeof *c->stretch);
    for (int i = 0; i < n; i++) {
        const umbra_foreign_tensor *t = f->graph_node(graph, i);
        int own = chosen_layer(u, t);
        if (layer >= 0 && t->op == f->mul_mat_id) {
            c->stretch[layer] = (umbra_under_stretch){chosen, before};
            layer = -1;
        }
        if (own >= 0) {
            layer = own;
            chosen = t;
        }
        before = t;
    }
}

/* What a callback wants ends what a card computes as one. It joins the choice of experts with what
 * makes their weights, which then would be rounded otherwise: so the choice is looked at behind
 * these, where the card's part ends anyhow. What is recorded may be overwritten by then. */
static bool can_wait(const umbra_under_context *c, int layer, const umbra_foreign_tensor *t)
{
    const umbra_under_stretch *s = &c->stretch[layer];
    return s->chosen == t && s->last != t && !c->under->record.folder &&
           !umbra_foreign_is_host(umbra_foreign_get(NULL), t);
}

/* Whether to be told when this node is done, as one that shows chosen experts. */
static bool shows_chosen(umbra_under_context *c, const umbra_foreign_tensor *t)
{
    int layer = chosen_layer(c->under, t);
    if (layer >= 0)
        c->awaited = can_wait(c, layer, t) ? layer : -1;
    return layer >= 0 ? c->awaited < 0 : c->awaited >= 0 && t == c->stretch[c->awaited].last;
}

static void after(umbra_under_context *c, const umbra_foreign_tensor *t)
{
    if (c->awaited >= 0 && t == c->stretch[c->awaited].last)
        t = c->stretch[c->awaited].chosen;
    int layer = chosen_layer(c->under, t);
    if (layer >= 0) {
        c->awaited = -1;
        c->choice.layer = layer;
        umbra_under_acquire(c, t, umbra_under_find_state(c->under, layer, t));
    } else if (is_product(t)) {
        if (c->choice.layer == c->under->last_layer && !c->around)
            umbra_under_leave(c);
    } else if (c->under->record.folder) {
        umbra_under_record_node(c, t);
    }
}

bool umbra_under_eval(struct ggml_tensor *node, bool ask, void *context)
{
    umbra_under_context *c = context;
    const umbra_foreign_tensor *t = (const umbra_foreign_tensor *)(void *)node;
    if (c->under->complete)
        return c->host ? c->host(node, ask, c->host_user) : !ask;
    if (ask) {
        c->host_wants = c->host && c->host(node, true, c->host_user);
        bool wanted = is_product(t) ? before_product(c, t) : shows_chosen(c, t);
        bool recorded = umbra_under_record_wants(c, t);
        return c->host_wants || wanted || recorded;
    }
    bool go_on = !c->host_wants || c->host(node, false, c->host_user);
    after(c, t);
    return go_on;
}
