/* Loops and what "loop" offers inside of them. */
#include <string.h>

#include "template/render.h"

/* Whether the loop's own filter ("for x in xs if ...") lets an element pass. */
static int passes(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value item, bool *out)
{
    umbra_tpl_scope *outer = c->scope, *own;
    umbra_tpl_value v = umbra_tpl_none();
    int rc = umbra_tpl_open_scope(c, outer, &own);
    if (rc != UMBRA_OK)
        return rc;
    c->scope = own;
    rc = umbra_tpl_assign(c, node->a, item);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_evaluate(c, node->u.filter, &v);
    c->scope = outer;
    *out = umbra_tpl_truth(v);
    return rc;
}

static int filter_items(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_loop *loop)
{
    umbra_tpl_value kept;
    int rc = umbra_tpl_new_list(c, TPL_LIST, 0, &kept);
    for (size_t i = 0; rc == UMBRA_OK && i < loop->count; i++) {
        bool pass = false;
        rc = passes(c, node, loop->items[i], &pass);
        if (rc == UMBRA_OK && pass)
            rc = umbra_tpl_append(c, kept, loop->items[i]);
    }
    loop->items = kept.u.list->items;
    loop->count = kept.u.list->count;
    return rc;
}

/* The elements as they are now: the body may change the list. */
static int snapshot(umbra_tpl_context *c, umbra_tpl_value iterable, umbra_tpl_loop *loop)
{
    const umbra_tpl_value *items;
    int rc = umbra_tpl_elements(c, iterable, &items, &loop->count);
    if (rc != UMBRA_OK || iterable.kind != TPL_LIST || loop->count == 0) {
        loop->items = items;
        return rc;
    }
    umbra_tpl_value *copy = umbra_tpl_alloc(c, loop->count, sizeof *copy);
    if (!copy)
        return UMBRA_E_NOMEM;
    memcpy(copy, items, loop->count * sizeof *copy);
    loop->items = copy;
    return UMBRA_OK;
}

/* One turn, in a scope of its own. */
static int run_turn(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_loop *loop)
{
    umbra_tpl_scope *outer = c->scope, *own;
    umbra_tpl_value self = {.kind = TPL_LOOP, .u.loop = loop};
    int rc = umbra_tpl_open_scope(c, outer, &own);
    if (rc != UMBRA_OK)
        return rc;
    c->scope = own;
    rc = umbra_tpl_bind(c, own, c->words->loop, self);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_assign(c, node->a, loop->items[loop->index]);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_execute(c, node->c);
    c->scope = outer;
    return rc;
}

static int run_else(umbra_tpl_context *c, const umbra_tpl_node *node)
{
    umbra_tpl_scope *outer = c->scope, *own;
    int rc = umbra_tpl_open_scope(c, outer, &own);
    if (rc != UMBRA_OK)
        return rc;
    c->scope = own;
    rc = umbra_tpl_execute(c, node->d);
    c->scope = outer;
    return rc;
}

int umbra_tpl_run_loop(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value iterable,
                       uint32_t depth)
{
    umbra_tpl_loop *loop = umbra_tpl_alloc(c, 1, sizeof *loop);
    if (!loop)
        return UMBRA_E_NOMEM;
    *loop = (umbra_tpl_loop){.node = node, .scope = c->scope, .depth = depth};
    int rc = snapshot(c, iterable, loop);
    if (rc == UMBRA_OK && node->u.filter)
        rc = filter_items(c, node, loop);
    if (rc == UMBRA_OK && loop->count == 0 && node->d)
        return run_else(c, node);
    for (; rc == UMBRA_OK && loop->index < loop->count; loop->index++) {
        rc = umbra_tpl_step(c, 1);
        if (rc == UMBRA_OK)
            rc = run_turn(c, node, loop);
        if (rc == TPL_CONTINUED)
            rc = UMBRA_OK;
    }
    return rc == TPL_BROKE ? UMBRA_OK : rc;
}

int umbra_tpl_call_loop(umbra_tpl_context *c, umbra_tpl_loop *loop, const umbra_tpl_args *args,
                        umbra_tpl_value *out)
{
    if (!loop->node->flag)
        return umbra_tpl_fail(c, "the loop is called but not marked as recursive");
    if (args->count != 1 || args->named)
        return umbra_tpl_fail(c, "loop() takes one argument");
    umbra_tpl_scope *outer = c->scope;
    umbra_tpl_builder b, *printed = c->out;
    umbra_tpl_builder_init(&b, c);
    int rc = umbra_tpl_enter(c);
    if (rc != UMBRA_OK)
        return rc;
    c->out = &b;
    c->scope = loop->scope;
    rc = umbra_tpl_run_loop(c, loop->node, args->items[0], loop->depth + 1);
    c->scope = outer;
    c->out = printed;
    umbra_tpl_leave(c);
    return rc == UMBRA_OK ? umbra_tpl_built(&b, out) : rc;
}

static int neighbour(umbra_tpl_context *c, const umbra_tpl_loop *loop, const umbra_tpl_string *name,
                     bool there, size_t index, umbra_tpl_value *out)
{
    if (!there)
        return umbra_tpl_undefined(c, "loop", name, out);
    *out = loop->items[index];
    return UMBRA_OK;
}

int umbra_tpl_loop_member(umbra_tpl_context *c, umbra_tpl_value self, const umbra_tpl_string *name,
                          umbra_tpl_value *out, bool *found)
{
    const umbra_tpl_loop *l = self.u.loop;
    const struct {
        const char *name;
        umbra_tpl_value value;
    } rows[] = {{"index", umbra_tpl_int((int64_t)l->index + 1)},
                {"index0", umbra_tpl_int((int64_t)l->index)},
                {"first", umbra_tpl_bool(l->index == 0)},
                {"last", umbra_tpl_bool(l->index + 1 == l->count)},
                {"length", umbra_tpl_int((int64_t)l->count)},
                {"revindex", umbra_tpl_int((int64_t)(l->count - l->index))},
                {"revindex0", umbra_tpl_int((int64_t)(l->count - l->index) - 1)},
                {"depth", umbra_tpl_int(l->depth)},
                {"depth0", umbra_tpl_int((int64_t)l->depth - 1)}};
    *found = true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (umbra_tpl_text_is(name, rows[i].name)) {
            *out = rows[i].value;
            return UMBRA_OK;
        }
    }
    if (umbra_tpl_text_is(name, "previtem"))
        return neighbour(c, l, name, l->index > 0, l->index - 1, out);
    if (umbra_tpl_text_is(name, "nextitem"))
        return neighbour(c, l, name, l->index + 1 < l->count, l->index + 1, out);
    *found = false;
    return UMBRA_OK;
}

static int loop_cycle(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    if (call->all->count == 0)
        return umbra_tpl_fail(c, "no items for cycling given");
    *out = call->all->items[call->self.u.loop->index % call->all->count];
    return UMBRA_OK;
}

static int loop_changed(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    umbra_tpl_loop *l = call->self.u.loop;
    umbra_tpl_value now;
    bool same = false;
    int rc = umbra_tpl_new_list(c, TPL_TUPLE, 0, &now);
    for (size_t i = 0; rc == UMBRA_OK && i < call->all->count; i++)
        rc = umbra_tpl_append(c, now, call->all->items[i]);
    if (rc == UMBRA_OK && umbra_tpl_given(l->changed))
        rc = umbra_tpl_equal(c, l->changed, now, &same);
    l->changed = now;
    *out = umbra_tpl_bool(!same);
    return rc;
}

const umbra_tpl_function umbra_tpl_methods_loop[] = {
    {"cycle", loop_cycle, 0, NULL}, {"changed", loop_changed, 0, NULL}, {0}};
