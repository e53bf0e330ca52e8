/* Loops and what "loop" offers inside of them. */
#include <string.h>

#include "template/render.h"

/* Whether the loop's own filter ("for x in xs if ...") lets an element pass. */
static int passes(tpl_context *c, const tpl_node *node, tpl_value item, bool *out)
{
    tpl_scope *outer = c->scope, *own;
    tpl_value v = tpl_none();
    int rc = tpl_open_scope(c, outer, &own);
    if (rc != UMBRA_OK)
        return rc;
    c->scope = own;
    rc = tpl_assign(c, node->a, item);
    if (rc == UMBRA_OK)
        rc = tpl_evaluate(c, node->u.filter, &v);
    c->scope = outer;
    *out = tpl_truth(v);
    return rc;
}

static int filter_items(tpl_context *c, const tpl_node *node, tpl_loop *loop)
{
    tpl_value kept;
    int rc = tpl_new_list(c, TPL_LIST, 0, &kept);
    for (size_t i = 0; rc == UMBRA_OK && i < loop->count; i++) {
        bool pass = false;
        rc = passes(c, node, loop->items[i], &pass);
        if (rc == UMBRA_OK && pass)
            rc = tpl_append(c, kept, loop->items[i]);
    }
    loop->items = kept.u.list->items;
    loop->count = kept.u.list->count;
    return rc;
}

/* The elements as they are now: the body may change the list. */
static int snapshot(tpl_context *c, tpl_value iterable, tpl_loop *loop)
{
    const tpl_value *items;
    int rc = tpl_elements(c, iterable, &items, &loop->count);
    if (rc != UMBRA_OK || iterable.kind != TPL_LIST || loop->count == 0) {
        loop->items = items;
        return rc;
    }
    tpl_value *copy = tpl_alloc(c, loop->count, sizeof *copy);
    if (!copy)
        return UMBRA_E_NOMEM;
    memcpy(copy, items, loop->count * sizeof *copy);
    loop->items = copy;
    return UMBRA_OK;
}

/* One turn, in a scope of its own. */
static int run_turn(tpl_context *c, const tpl_node *node, tpl_loop *loop)
{
    tpl_scope *outer = c->scope, *own;
    tpl_value self = {.kind = TPL_LOOP, .u.loop = loop};
    int rc = tpl_open_scope(c, outer, &own);
    if (rc != UMBRA_OK)
        return rc;
    c->scope = own;
    rc = tpl_bind(c, own, c->words->loop, self);
    if (rc == UMBRA_OK)
        rc = tpl_assign(c, node->a, loop->items[loop->index]);
    if (rc == UMBRA_OK)
        rc = tpl_execute(c, node->c);
    c->scope = outer;
    return rc;
}

static int run_else(tpl_context *c, const tpl_node *node)
{
    tpl_scope *outer = c->scope, *own;
    int rc = tpl_open_scope(c, outer, &own);
    if (rc != UMBRA_OK)
        return rc;
    c->scope = own;
    rc = tpl_execute(c, node->d);
    c->scope = outer;
    return rc;
}

int tpl_run_loop(tpl_context *c, const tpl_node *node, tpl_value iterable, uint32_t depth)
{
    tpl_loop *loop = tpl_alloc(c, 1, sizeof *loop);
    if (!loop)
        return UMBRA_E_NOMEM;
    *loop = (tpl_loop){.node = node, .scope = c->scope, .depth = depth};
    int rc = snapshot(c, iterable, loop);
    if (rc == UMBRA_OK && node->u.filter)
        rc = filter_items(c, node, loop);
    if (rc == UMBRA_OK && loop->count == 0 && node->d)
        return run_else(c, node);
    for (; rc == UMBRA_OK && loop->index < loop->count; loop->index++) {
        rc = tpl_step(c, 1);
        if (rc == UMBRA_OK)
            rc = run_turn(c, node, loop);
        if (rc == TPL_CONTINUED)
            rc = UMBRA_OK;
    }
    return rc == TPL_BROKE ? UMBRA_OK : rc;
}

int tpl_call_loop(tpl_context *c, tpl_loop *loop, const tpl_args *args, tpl_value *out)
{
    if (!loop->node->flag)
        return tpl_fail(c, "the loop is called but not marked as recursive");
    if (args->count != 1 || args->named)
        return tpl_fail(c, "loop() takes one argument");
    tpl_scope *outer = c->scope;
    tpl_builder b, *printed = c->out;
    tpl_builder_init(&b, c);
    int rc = tpl_enter(c);
    if (rc != UMBRA_OK)
        return rc;
    c->out = &b;
    c->scope = loop->scope;
    rc = tpl_run_loop(c, loop->node, args->items[0], loop->depth + 1);
    c->scope = outer;
    c->out = printed;
    tpl_leave(c);
    return rc == UMBRA_OK ? tpl_built(&b, out) : rc;
}

static int neighbour(tpl_context *c, const tpl_loop *loop, const tpl_string *name, bool there,
                     size_t index, tpl_value *out)
{
    if (!there)
        return tpl_undefined(c, "loop", name, out);
    *out = loop->items[index];
    return UMBRA_OK;
}

int tpl_loop_member(tpl_context *c, tpl_value self, const tpl_string *name, tpl_value *out,
                    bool *found)
{
    const tpl_loop *l = self.u.loop;
    const struct {
        const char *name;
        tpl_value value;
    } rows[] = {{"index", tpl_int((int64_t)l->index + 1)},
                {"index0", tpl_int((int64_t)l->index)},
                {"first", tpl_bool(l->index == 0)},
                {"last", tpl_bool(l->index + 1 == l->count)},
                {"length", tpl_int((int64_t)l->count)},
                {"revindex", tpl_int((int64_t)(l->count - l->index))},
                {"revindex0", tpl_int((int64_t)(l->count - l->index) - 1)},
                {"depth", tpl_int(l->depth)},
                {"depth0", tpl_int((int64_t)l->depth - 1)}};
    *found = true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (tpl_text_is(name, rows[i].name)) {
            *out = rows[i].value;
            return UMBRA_OK;
        }
    }
    if (tpl_text_is(name, "previtem"))
        return neighbour(c, l, name, l->index > 0, l->index - 1, out);
    if (tpl_text_is(name, "nextitem"))
        return neighbour(c, l, name, l->index + 1 < l->count, l->index + 1, out);
    *found = false;
    return UMBRA_OK;
}

static int loop_cycle(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    if (call->all->count == 0)
        return tpl_fail(c, "no items for cycling given");
    *out = call->all->items[call->self.u.loop->index % call->all->count];
    return UMBRA_OK;
}

static int loop_changed(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    tpl_loop *l = call->self.u.loop;
    tpl_value now;
    bool same = false;
    int rc = tpl_new_list(c, TPL_TUPLE, 0, &now);
    for (size_t i = 0; rc == UMBRA_OK && i < call->all->count; i++)
        rc = tpl_append(c, now, call->all->items[i]);
    if (rc == UMBRA_OK && tpl_given(l->changed))
        rc = tpl_equal(c, l->changed, now, &same);
    l->changed = now;
    *out = tpl_bool(!same);
    return rc;
}

const tpl_function tpl_methods_loop[] = {
    {"cycle", loop_cycle, 0, NULL}, {"changed", loop_changed, 0, NULL}, {0}};
