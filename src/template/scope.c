/* Variables: scopes, look-up and assignment. */
#include "template/render.h"

int umbra_tpl_open_scope(umbra_tpl_context *c, umbra_tpl_scope *parent, umbra_tpl_scope **out)
{
    umbra_tpl_scope *s = umbra_tpl_alloc(c, 1, sizeof *s);
    if (!s)
        return UMBRA_E_NOMEM;
    s->parent = parent;
    *out = s;
    return UMBRA_OK;
}

static umbra_tpl_binding *find_binding(const umbra_tpl_scope *s, const umbra_tpl_string *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->bindings[i].name == name)
            return &s->bindings[i];
    return NULL;
}

int umbra_tpl_bind(umbra_tpl_context *c, umbra_tpl_scope *scope, const umbra_tpl_string *name,
                   umbra_tpl_value value)
{
    umbra_tpl_binding *b = find_binding(scope, name);
    if (b) {
        b->value = value;
        return UMBRA_OK;
    }
    if (scope->count == scope->room) {
        size_t room = scope->room ? 2 * scope->room : 4;
        b = umbra_tpl_grow(c, scope->bindings, scope->room * sizeof *b, room * sizeof *b);
        if (!b)
            return UMBRA_E_NOMEM;
        scope->bindings = b;
        scope->room = room;
    }
    scope->bindings[scope->count++] = (umbra_tpl_binding){.name = name, .value = value};
    return UMBRA_OK;
}

int umbra_tpl_look_up(umbra_tpl_context *c, const umbra_tpl_string *name, umbra_tpl_value *out)
{
    for (const umbra_tpl_scope *s = c->scope; s; s = s->parent) {
        const umbra_tpl_binding *b = find_binding(s, name);
        if (b) {
            *out = b->value;
            return UMBRA_OK;
        }
        umbra_tpl_value *given =
            s->given ? umbra_tpl_dict_text(c, s->given, name->data, name->bytes) : NULL;
        if (given) {
            *out = *given;
            return UMBRA_OK;
        }
        if (umbra_tpl_step(c, 1 + s->count / 8) != UMBRA_OK)
            return UMBRA_E_UNSUPPORTED;
    }
    const umbra_tpl_function *f = umbra_tpl_find_global(name);
    if (!f)
        return umbra_tpl_undefined(c, NULL, name, out);
    *out = (umbra_tpl_value){.kind = TPL_FUNCTION, .u.function = f};
    return UMBRA_OK;
}

static int assign_attribute(umbra_tpl_context *c, const umbra_tpl_node *target,
                            umbra_tpl_value value)
{
    umbra_tpl_value whole;
    umbra_tpl_value key = {.kind = TPL_STRING, .u.string = target->a->u.name};
    int rc = umbra_tpl_look_up(c, target->u.name, &whole);
    if (rc != UMBRA_OK)
        return rc;
    if (whole.kind == TPL_UNDEFINED)
        return umbra_tpl_fail_undefined(c, whole);
    if (whole.kind != TPL_NAMESPACE)
        return umbra_tpl_fail(c, "cannot assign attribute on non-namespace object");
    return umbra_tpl_dict_set(c, whole.u.dict, key, value);
}

static int assign_tuple(umbra_tpl_context *c, const umbra_tpl_node *target, umbra_tpl_value value)
{
    const umbra_tpl_value *items;
    size_t count, wanted = 0, i = 0;
    for (const umbra_tpl_node *n = target->a; n; n = n->next)
        wanted++;
    int rc = umbra_tpl_elements(c, value, &items, &count);
    if (rc != UMBRA_OK)
        return rc;
    if (count != wanted)
        return umbra_tpl_fail(c, "%s values to unpack (expected %zu, got %zu)",
                              count < wanted ? "not enough" : "too many", wanted, count);
    for (const umbra_tpl_node *n = target->a; rc == UMBRA_OK && n; n = n->next)
        rc = umbra_tpl_assign(c, n, items[i++]);
    return rc;
}

int umbra_tpl_assign(umbra_tpl_context *c, const umbra_tpl_node *target, umbra_tpl_value value)
{
    c->line = target->line;
    if (target->type == TPL_N_NAME)
        return umbra_tpl_bind(c, c->scope, target->u.name, value);
    if (target->type == TPL_N_ATTRIBUTE)
        return assign_attribute(c, target, value);
    return assign_tuple(c, target, value);
}
