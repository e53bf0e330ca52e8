/* Calls: arguments meet parameters. */
#include <string.h>

#include "base/quote.h"
#include "template/render.h"

const umbra_tpl_function *umbra_tpl_find_row(const umbra_tpl_function *table,
                                             const umbra_tpl_string *name)
{
    for (; table->name; table++)
        if (umbra_tpl_text_is(name, table->name))
            return table;
    return NULL;
}

static const umbra_tpl_function *find_in(const umbra_tpl_function *const *tables,
                                         const umbra_tpl_string *name)
{
    const umbra_tpl_function *f = NULL;
    for (; !f && *tables; tables++)
        f = umbra_tpl_find_row(*tables, name);
    return f;
}

const umbra_tpl_function *umbra_tpl_find_filter(const umbra_tpl_string *name)
{
    static const umbra_tpl_function *const tables[] = {
        umbra_tpl_filters_text, umbra_tpl_filters_list, umbra_tpl_filters_order,
        umbra_tpl_filters_value, NULL};
    return find_in(tables, name);
}

const umbra_tpl_function *umbra_tpl_find_test(const umbra_tpl_string *name)
{
    return umbra_tpl_find_row(umbra_tpl_tests, name);
}

const umbra_tpl_function *umbra_tpl_find_global(const umbra_tpl_string *name)
{
    return umbra_tpl_find_row(umbra_tpl_globals, name);
}

const umbra_tpl_function *umbra_tpl_find_method(umbra_tpl_value self, const umbra_tpl_string *name)
{
    static const umbra_tpl_function *const string[] = {umbra_tpl_methods_string,
                                                       umbra_tpl_methods_find, NULL};
    switch ((umbra_tpl_kind)self.kind) {
    case TPL_STRING:
        return find_in(string, name);
    case TPL_DICT:
        return umbra_tpl_find_row(umbra_tpl_methods_dict, name);
    case TPL_LIST:
        return umbra_tpl_find_row(umbra_tpl_methods_list, name);
    case TPL_TUPLE: { /* the methods that do not change it */
        const umbra_tpl_function *f = umbra_tpl_find_row(umbra_tpl_methods_list, name);
        return f && (umbra_tpl_text_is(name, "index") || umbra_tpl_text_is(name, "count")) ? f
                                                                                           : NULL;
    }
    case TPL_LOOP:
        return umbra_tpl_find_row(umbra_tpl_methods_loop, name);
    case TPL_CYCLER:
        return umbra_tpl_find_row(umbra_tpl_methods_cycler, name);
    default:
        return NULL;
    }
}

/* The parameter of that name, or -1. */
static int find_parameter(const char *parameters, const umbra_tpl_string *name)
{
    for (int i = 0; *parameters; i++) {
        size_t n = strcspn(parameters, " ");
        if (n == name->bytes && memcmp(parameters, name->data, n) == 0)
            return i;
        parameters += n + (parameters[n] == ' ');
    }
    return -1;
}

static size_t count_parameters(const char *parameters)
{
    size_t n = *parameters != '\0';
    for (; *parameters; parameters++)
        n += *parameters == ' ';
    return n;
}

static int bind_named(umbra_tpl_context *c, const umbra_tpl_function *f,
                      const umbra_tpl_dict *named, umbra_tpl_call *call)
{
    size_t at = 0;
    for (umbra_tpl_entry *e; (e = umbra_tpl_dict_next(named, &at)) != NULL; at++) {
        const umbra_tpl_string *name = e->key.u.string;
        int i = e->key.kind == TPL_STRING ? find_parameter(f->parameters, name) : -1;
        if (i < 0 && e->key.kind == TPL_STRING)
            return umbra_tpl_fail(c, "%s() got an unexpected argument '%s'", f->name,
                                  umbra_quote(name->data, name->bytes).text);
        if (i < 0 || umbra_tpl_given(call->arg[i]))
            return umbra_tpl_fail(c, "%s() got an argument twice", f->name);
        call->arg[i] = e->value;
    }
    return UMBRA_OK;
}

static int bind_arguments(umbra_tpl_context *c, const umbra_tpl_function *f,
                          const umbra_tpl_args *args, umbra_tpl_call *call)
{
    size_t n = count_parameters(f->parameters);
    if (args->count > n)
        return umbra_tpl_fail(c, "%s() takes at most %zu arguments (%zu given)", f->name, n,
                              args->count);
    for (size_t i = 0; i < args->count; i++)
        call->arg[i] = args->items[i];
    int rc = args->named ? bind_named(c, f, args->named, call) : UMBRA_OK;
    const char *name = f->parameters;
    for (size_t i = 0; rc == UMBRA_OK && i < f->required; i++) {
        if (!umbra_tpl_given(call->arg[i]))
            rc = umbra_tpl_fail(c, "%s() misses its argument '%.*s'", f->name,
                                (int)strcspn(name, " "), name);
        name += strcspn(name, " ") + 1;
    }
    return rc;
}

int umbra_tpl_invoke(umbra_tpl_context *c, const umbra_tpl_function *f, umbra_tpl_value self,
                     const umbra_tpl_args *args, umbra_tpl_value *out)
{
    umbra_tpl_call call = {.name = f->name, .self = self, .all = args};
    int rc = f->parameters ? bind_arguments(c, f, args, &call) : UMBRA_OK;
    if (rc == UMBRA_OK)
        rc = umbra_tpl_step(c, 1);
    return rc == UMBRA_OK ? f->call(c, &call, out) : rc;
}

int umbra_tpl_call_value(umbra_tpl_context *c, umbra_tpl_value callee, const umbra_tpl_args *args,
                         umbra_tpl_value *out)
{
    switch ((umbra_tpl_kind)callee.kind) {
    case TPL_MACRO:
        return umbra_tpl_call_macro(c, callee.u.macro, args, out);
    case TPL_METHOD:
        return umbra_tpl_invoke(c, callee.u.method->function, callee.u.method->self, args, out);
    case TPL_FUNCTION:
        return umbra_tpl_invoke(c, callee.u.function, umbra_tpl_none(), args, out);
    case TPL_LOOP:
        return umbra_tpl_call_loop(c, callee.u.loop, args, out);
    case TPL_JOINER: {
        umbra_tpl_list *l = callee.u.list; /* the separator; nothing the first time */
        int rc = l->taken++ ? UMBRA_OK : umbra_tpl_word(c, "", out);
        if (l->taken > 1)
            *out = l->items[0];
        return rc;
    }
    case TPL_UNDEFINED:
        return umbra_tpl_fail_undefined(c, callee);
    default:
        return umbra_tpl_fail(c, "'%s' object is not callable", umbra_tpl_type_name(callee));
    }
}

/* ---- macros ---- */

/* The named arguments that are no parameters become kwargs, or an error. */
static int bind_rest_named(umbra_tpl_context *c, const umbra_tpl_macro *m,
                           const umbra_tpl_args *args, umbra_tpl_scope *scope)
{
    umbra_tpl_value rest;
    int rc = umbra_tpl_new_dict(c, TPL_DICT, &rest);
    size_t at = 0;
    for (umbra_tpl_entry *e;
         rc == UMBRA_OK && args->named && (e = umbra_tpl_dict_next(args->named, &at)); at++) {
        const umbra_tpl_string *name = e->key.u.string;
        const umbra_tpl_node *p = m->node->a;
        while (p && !(p->u.name->bytes == name->bytes &&
                      memcmp(p->u.name->data, name->data, name->bytes) == 0))
            p = p->next;
        if (p)
            continue;
        if (umbra_tpl_text_is(name, "caller") && m->node->op & TPL_USES_CALLER)
            rc = umbra_tpl_bind(c, scope, c->words->caller, e->value);
        else if (m->node->op & TPL_USES_KWARGS)
            rc = umbra_tpl_dict_set(c, rest.u.dict, e->key, e->value);
        else
            rc = umbra_tpl_fail(c, "macro '%s' takes no keyword argument '%s'",
                                umbra_quote(m->node->u.name->data, m->node->u.name->bytes).text,
                                umbra_quote(name->data, name->bytes).text);
    }
    return rc == UMBRA_OK ? umbra_tpl_bind(c, scope, c->words->kwargs, rest) : rc;
}

static int bind_rest(umbra_tpl_context *c, const umbra_tpl_macro *m, const umbra_tpl_args *args,
                     size_t parameters, umbra_tpl_scope *scope)
{
    umbra_tpl_value rest;
    int rc = umbra_tpl_new_list(c, TPL_TUPLE, 0, &rest);
    if (args->count > parameters && !(m->node->op & TPL_USES_VARARGS))
        return umbra_tpl_fail(c, "macro '%s' takes not more than %zu arguments",
                              umbra_quote(m->node->u.name->data, m->node->u.name->bytes).text,
                              parameters);
    for (size_t i = parameters; rc == UMBRA_OK && i < args->count; i++)
        rc = umbra_tpl_append(c, rest, args->items[i]);
    return rc == UMBRA_OK ? umbra_tpl_bind(c, scope, c->words->varargs, rest) : rc;
}

/* Defaults are computed at each call and see the parameters before them. */
static int bind_parameters(umbra_tpl_context *c, const umbra_tpl_macro *m,
                           const umbra_tpl_args *args, umbra_tpl_scope *scope)
{
    size_t i = 0;
    int rc = UMBRA_OK;
    for (const umbra_tpl_node *p = m->node->a; rc == UMBRA_OK && p; p = p->next, i++) {
        umbra_tpl_value *given =
            args->named && i >= args->count
                ? umbra_tpl_dict_text(c, args->named, p->u.name->data, p->u.name->bytes)
                : NULL;
        umbra_tpl_value v;
        if (i < args->count)
            v = args->items[i];
        else if (given)
            v = *given;
        else
            rc = p->a ? umbra_tpl_evaluate(c, p->a, &v)
                      : umbra_tpl_undefined(c, NULL, p->u.name, &v);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_bind(c, scope, p->u.name, v);
    }
    if (rc == UMBRA_OK && (m->node->op & TPL_USES_VARARGS || args->count > i))
        rc = bind_rest(c, m, args, i, scope);
    if (rc == UMBRA_OK && (m->node->op & TPL_USES_KWARGS || args->named))
        rc = bind_rest_named(c, m, args, scope);
    return rc;
}

int umbra_tpl_call_macro(umbra_tpl_context *c, const umbra_tpl_macro *macro,
                         const umbra_tpl_args *args, umbra_tpl_value *out)
{
    umbra_tpl_scope *outer = c->scope, *own;
    uint32_t line = c->line;
    int rc = umbra_tpl_enter(c);
    if (rc != UMBRA_OK)
        return rc;
    rc = umbra_tpl_open_scope(c, macro->scope, &own);
    if (rc == UMBRA_OK) {
        c->scope = own;
        rc = bind_parameters(c, macro, args, own);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_capture(c, macro->node->b, out);
        c->scope = outer;
    }
    umbra_tpl_leave(c);
    if (rc == UMBRA_OK)
        c->line = line;
    return rc;
}

/* ---- arguments ---- */

bool umbra_tpl_given(umbra_tpl_value v)
{
    return v.kind != TPL_ABSENT;
}

int umbra_tpl_int_argument(umbra_tpl_context *c, const umbra_tpl_call *call, int at,
                           int64_t fallback, int64_t *out)
{
    *out = fallback;
    umbra_tpl_value v = call->arg[at];
    if (v.kind == TPL_ABSENT || umbra_tpl_as_int(v, out))
        return UMBRA_OK;
    return v.kind == TPL_UNDEFINED ? umbra_tpl_fail_undefined(c, v)
                                   : umbra_tpl_fail(c, "%s() wants an integer, not %s", call->name,
                                                    umbra_tpl_type_name(v));
}

int umbra_tpl_text_argument(umbra_tpl_context *c, const umbra_tpl_call *call, int at,
                            const char *fallback, const umbra_tpl_string **out)
{
    umbra_tpl_value v = call->arg[at];
    int rc = UMBRA_OK;
    if (v.kind == TPL_ABSENT)
        rc = fallback ? umbra_tpl_word(c, fallback, &v) : UMBRA_OK;
    else if (v.kind == TPL_UNDEFINED)
        rc = umbra_tpl_fail_undefined(c, v);
    else if (v.kind != TPL_STRING)
        rc = umbra_tpl_fail(c, "%s() wants a string, not %s", call->name, umbra_tpl_type_name(v));
    *out = v.kind == TPL_STRING ? v.u.string : NULL;
    return rc;
}

bool umbra_tpl_flag_argument(const umbra_tpl_call *call, int at, bool fallback)
{
    return umbra_tpl_given(call->arg[at]) ? umbra_tpl_truth(call->arg[at]) : fallback;
}

int umbra_tpl_self_text(umbra_tpl_context *c, const umbra_tpl_call *call,
                        const umbra_tpl_string **out)
{
    umbra_tpl_value v;
    int rc = umbra_tpl_to_text(c, call->self, &v);
    if (rc == UMBRA_OK)
        *out = v.u.string;
    return rc;
}
