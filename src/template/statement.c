/* Runs statements. */
#include "template/render.h"

static int execute_if(umbra_tpl_context *c, const umbra_tpl_node *node)
{
    for (;;) {
        umbra_tpl_value v;
        int rc = umbra_tpl_evaluate(c, node->a, &v);
        if (rc != UMBRA_OK)
            return rc;
        if (umbra_tpl_truth(v))
            return umbra_tpl_execute(c, node->b);
        if (!node->c || node->c->type != TPL_N_IF || !node->c->flag)
            return umbra_tpl_execute(c, node->c);
        node = node->c; /* elif, without going deeper */
    }
}

static int execute_for(umbra_tpl_context *c, const umbra_tpl_node *node)
{
    umbra_tpl_value iterable;
    int rc = umbra_tpl_evaluate(c, node->b, &iterable);
    c->line = node->line;
    return rc == UMBRA_OK ? umbra_tpl_run_loop(c, node, iterable, 1) : rc;
}

static int execute_set(umbra_tpl_context *c, const umbra_tpl_node *node)
{
    umbra_tpl_value v;
    int rc = umbra_tpl_evaluate(c, node->b, &v);
    return rc == UMBRA_OK ? umbra_tpl_assign(c, node->a, v) : rc;
}

int umbra_tpl_capture(umbra_tpl_context *c, const umbra_tpl_node *body, umbra_tpl_value *out)
{
    umbra_tpl_builder b, *outer = c->out;
    umbra_tpl_builder_init(&b, c);
    c->out = &b;
    int rc = umbra_tpl_execute(c, body);
    c->out = outer;
    int built = rc >= 0 ? umbra_tpl_built(&b, out) : rc;
    return built < 0 ? built : rc;
}

/* A body in a scope of its own, captured. */
static int capture_scoped(umbra_tpl_context *c, const umbra_tpl_node *body, umbra_tpl_value *out)
{
    umbra_tpl_scope *outer = c->scope, *own;
    int rc = umbra_tpl_open_scope(c, outer, &own);
    if (rc != UMBRA_OK)
        return rc;
    c->scope = own;
    rc = umbra_tpl_capture(c, body, out);
    c->scope = outer;
    return rc;
}

/* A break inside goes on outside; what was captured until then is dropped with it. */
static int execute_capture(umbra_tpl_context *c, const umbra_tpl_node *node)
{
    umbra_tpl_value v;
    int rc = capture_scoped(c, node->b, &v);
    if (rc == UMBRA_OK && node->c)
        rc = umbra_tpl_evaluate(c, node->c, &v);
    return rc == UMBRA_OK ? umbra_tpl_assign(c, node->a, v) : rc;
}

static int execute_filter_block(umbra_tpl_context *c, const umbra_tpl_node *node)
{
    umbra_tpl_value v;
    int rc = capture_scoped(c, node->b, &v);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_evaluate(c, node->a, &v);
    return rc == UMBRA_OK ? umbra_tpl_put_value(c->out, v) : rc;
}

static int make_macro(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out)
{
    umbra_tpl_macro *m = umbra_tpl_alloc(c, 1, sizeof *m);
    if (!m)
        return UMBRA_E_NOMEM;
    *m = (umbra_tpl_macro){.node = node, .scope = c->scope};
    *out = (umbra_tpl_value){.kind = TPL_MACRO, .u.macro = m};
    return UMBRA_OK;
}

static int execute_macro(umbra_tpl_context *c, const umbra_tpl_node *node)
{
    umbra_tpl_value v;
    int rc = make_macro(c, node, &v);
    return rc == UMBRA_OK ? umbra_tpl_bind(c, c->scope, node->u.name, v) : rc;
}

/* The call gets the block as an argument of the name "caller". */
static int execute_call_block(umbra_tpl_context *c, const umbra_tpl_node *node)
{
    const umbra_tpl_node *call = node->a;
    umbra_tpl_value callee, caller, named, result;
    umbra_tpl_args args;
    int rc = make_macro(c, node->b, &caller);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_evaluate(c, call->a, &callee);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_evaluate_arguments(c, call->b, &args);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_dict(c, TPL_DICT, &named);
    size_t at = 0;
    for (umbra_tpl_entry *e;
         rc == UMBRA_OK && args.named && (e = umbra_tpl_dict_next(args.named, &at)); at++)
        rc = umbra_tpl_dict_set(c, named.u.dict, e->key, e->value);
    umbra_tpl_value key = {.kind = TPL_STRING, .u.string = c->words->caller};
    if (rc == UMBRA_OK)
        rc = umbra_tpl_dict_set(c, named.u.dict, key, caller);
    if (rc != UMBRA_OK)
        return rc;
    args.named = named.u.dict;
    rc = umbra_tpl_call_value(c, callee, &args, &result);
    return rc == UMBRA_OK ? umbra_tpl_put_value(c->out, result) : rc;
}

static int execute_scope(umbra_tpl_context *c, const umbra_tpl_node *node)
{
    umbra_tpl_scope *outer = c->scope, *own;
    if (node->flag)
        return umbra_tpl_execute(c, node->b);
    int rc = umbra_tpl_open_scope(c, outer, &own);
    for (const umbra_tpl_node *set = node->a; rc == UMBRA_OK && set; set = set->next) {
        umbra_tpl_value v;
        rc = umbra_tpl_evaluate(c, set->b, &v);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_bind(c, own, set->a->u.name, v);
    }
    if (rc != UMBRA_OK)
        return rc;
    c->scope = own;
    rc = umbra_tpl_execute(c, node->b);
    c->scope = outer;
    return rc;
}

static int execute_expression(umbra_tpl_context *c, const umbra_tpl_node *node)
{
    umbra_tpl_value v;
    int rc = umbra_tpl_evaluate(c, node->a, &v);
    c->line = node->line;
    return rc == UMBRA_OK && node->type == TPL_N_PRINT ? umbra_tpl_put_value(c->out, v) : rc;
}

static int execute_node(umbra_tpl_context *c, const umbra_tpl_node *node)
{
    switch ((umbra_tpl_node_type)node->type) {
    case TPL_N_TEXT:
        return umbra_tpl_put_string(c->out, node->value.u.string);
    case TPL_N_PRINT:
    case TPL_N_DO:
        return execute_expression(c, node);
    case TPL_N_IF:
        return execute_if(c, node);
    case TPL_N_FOR:
        return execute_for(c, node);
    case TPL_N_SET:
        return execute_set(c, node);
    case TPL_N_CAPTURE:
        return execute_capture(c, node);
    case TPL_N_MACRO:
        return execute_macro(c, node);
    case TPL_N_CALL_BLOCK:
        return execute_call_block(c, node);
    case TPL_N_FILTER_BLOCK:
        return execute_filter_block(c, node);
    case TPL_N_SCOPE:
        return execute_scope(c, node);
    case TPL_N_BREAK:
        return TPL_BROKE;
    case TPL_N_CONTINUE:
        return TPL_CONTINUED;
    default:
        return umbra_tpl_fail(c, "an expression stands where a statement is wanted");
    }
}

int umbra_tpl_execute(umbra_tpl_context *c, const umbra_tpl_node *body)
{
    int rc = umbra_tpl_enter(c);
    if (rc != UMBRA_OK)
        return rc;
    for (const umbra_tpl_node *n = body; rc == UMBRA_OK && n; n = n->next) {
        c->line = n->line;
        rc = umbra_tpl_step(c, 1);
        if (rc == UMBRA_OK)
            rc = execute_node(c, n);
    }
    umbra_tpl_leave(c);
    return rc;
}
