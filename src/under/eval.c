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
 * one, and of a layer's where the next layer's experts take the place of its own without a node of
 * chosen ones between. */
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
    return s->which == 2 && (s->layer == c->under->last_layer || !c->ids);
}

static bool is_product(const umbra_foreign_tensor *t)
{
    return t->op == umbra_foreign_get(NULL)->mul_mat_id && t->src[0] && t->src[0]->data;
}

static void after(umbra_under_context *c, const umbra_foreign_tensor *t)
{
    int layer = chosen_layer(c->under, t);
    if (layer >= 0) {
        c->choice.layer = layer;
        umbra_under_acquire(c, t, umbra_under_find_state(c->under, layer, t));
    } else if (is_product(t) && c->choice.layer == c->under->last_layer) {
        umbra_under_leave(c);
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
        bool wanted = is_product(t) ? before_product(c, t) : chosen_layer(c->under, t) >= 0;
        return c->host_wants || wanted;
    }
    bool go_on = !c->host_wants || c->host(node, false, c->host_user);
    after(c, t);
    return go_on;
}
