/* Variables: scopes, look-up and assignment. */
#include "template/render.h"

int tpl_open_scope(tpl_context *c, tpl_scope *parent, tpl_scope **out)
{
    tpl_scope *s = tpl_alloc(c, 1, sizeof *s);
    if (!s)
        return UMBRA_E_NOMEM;
    s->parent = parent;
    *out = s;
    return UMBRA_OK;
}

static tpl_binding *find_binding(const tpl_scope *s, const tpl_string *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->bindings[i].name == name)
            return &s->bindings[i];
    return NULL;
}

int tpl_bind(tpl_context *c, tpl_scope *scope, const tpl_string *name, tpl_value value)
{
    tpl_binding *b = find_binding(scope, name);
    if (b) {
        b->value = value;
        return UMBRA_OK;
    }
    if (scope->count == scope->room) {
        size_t room = scope->room ? 2 * scope->room : 4;
        b = tpl_grow(c, scope->bindings, scope->room * sizeof *b, room * sizeof *b);
        if (!b)
            return UMBRA_E_NOMEM;
        scope->bindings = b;
        scope->room = room;
    }
    scope->bindings[scope->count++] = (tpl_binding){.name = name, .value = value};
    return UMBRA_OK;
}

int tpl_look_up(tpl_context *c, const tpl_string *name, tpl_value *out)
{
    for (const tpl_scope *s = c->scope; s; s = s->parent) {
        const tpl_binding *b = find_binding(s, name);
        if (b) {
            *out = b->value;
            return UMBRA_OK;
        }
        tpl_value *given = s->given ? tpl_dict_text(c, s->given, name->data, name->bytes) : NULL;
        if (given) {
            *out = *given;
            return UMBRA_OK;
        }
        if (tpl_step(c, 1 + s->count / 8) != UMBRA_OK)
            return UMBRA_E_UNSUPPORTED;
    }
    const tpl_function *f = tpl_find_global(name);
    if (!f)
        return tpl_undefined(c, NULL, name, out);
    *out = (tpl_value){.kind = TPL_FUNCTION, .u.function = f};
    return UMBRA_OK;
}

static int assign_attribute(tpl_context *c, const tpl_node *target, tpl_value value)
{
    tpl_value whole;
    tpl_value key = {.kind = TPL_STRING, .u.string = target->a->u.name};
    int rc = tpl_look_up(c, target->u.name, &whole);
    if (rc != UMBRA_OK)
        return rc;
    if (whole.kind == TPL_UNDEFINED)
        return tpl_fail_undefined(c, whole);
    if (whole.kind != TPL_NAMESPACE)
        return tpl_fail(c, "cannot assign attribute on non-namespace object");
    return tpl_dict_set(c, whole.u.dict, key, value);
}

static int assign_tuple(tpl_context *c, const tpl_node *target, tpl_value value)
{
    const tpl_value *items;
    size_t count, wanted = 0, i = 0;
    for (const tpl_node *n = target->a; n; n = n->next)
        wanted++;
    int rc = tpl_elements(c, value, &items, &count);
    if (rc != UMBRA_OK)
        return rc;
    if (count != wanted)
        return tpl_fail(c, "%s values to unpack (expected %zu, got %zu)",
                        count < wanted ? "not enough" : "too many", wanted, count);
    for (const tpl_node *n = target->a; rc == UMBRA_OK && n; n = n->next)
        rc = tpl_assign(c, n, items[i++]);
    return rc;
}

int tpl_assign(tpl_context *c, const tpl_node *target, tpl_value value)
{
    c->line = target->line;
    if (target->type == TPL_N_NAME)
        return tpl_bind(c, c->scope, target->u.name, value);
    if (target->type == TPL_N_ATTRIBUTE)
        return assign_attribute(c, target, value);
    return assign_tuple(c, target, value);
}
