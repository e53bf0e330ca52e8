/* Runs statements. */
#include "template/render.h"

static int execute_if(tpl_context *c, const tpl_node *node)
{
    for (;;) {
        tpl_value v;
        int rc = tpl_evaluate(c, node->a, &v);
        if (rc != UMBRA_OK)
            return rc;
        if (tpl_truth(v))
            return tpl_execute(c, node->b);
        if (!node->c || node->c->type != TPL_N_IF || !node->c->flag)
            return tpl_execute(c, node->c);
        node = node->c; /* elif, without going deeper */
    }
}

static int execute_for(tpl_context *c, const tpl_node *node)
{
    tpl_value iterable;
    int rc = tpl_evaluate(c, node->b, &iterable);
    c->line = node->line;
    return rc == UMBRA_OK ? tpl_run_loop(c, node, iterable, 1) : rc;
}

static int execute_set(tpl_context *c, const tpl_node *node)
{
    tpl_value v;
    int rc = tpl_evaluate(c, node->b, &v);
    return rc == UMBRA_OK ? tpl_assign(c, node->a, v) : rc;
}

int tpl_capture(tpl_context *c, const tpl_node *body, tpl_value *out)
{
    tpl_builder b, *outer = c->out;
    tpl_builder_init(&b, c);
    c->out = &b;
    int rc = tpl_execute(c, body);
    c->out = outer;
    int built = rc >= 0 ? tpl_built(&b, out) : rc;
    return built < 0 ? built : rc;
}

/* A body in a scope of its own, captured. */
static int capture_scoped(tpl_context *c, const tpl_node *body, tpl_value *out)
{
    tpl_scope *outer = c->scope, *own;
    int rc = tpl_open_scope(c, outer, &own);
    if (rc != UMBRA_OK)
        return rc;
    c->scope = own;
    rc = tpl_capture(c, body, out);
    c->scope = outer;
    return rc;
}

/* A break inside goes on outside; what was captured until then is dropped with it. */
static int execute_capture(tpl_context *c, const tpl_node *node)
{
    tpl_value v;
    int rc = capture_scoped(c, node->b, &v);
    if (rc == UMBRA_OK && node->c)
        rc = tpl_evaluate(c, node->c, &v);
    return rc == UMBRA_OK ? tpl_assign(c, node->a, v) : rc;
}

static int execute_filter_block(tpl_context *c, const tpl_node *node)
{
    tpl_value v;
    int rc = capture_scoped(c, node->b, &v);
    if (rc == UMBRA_OK)
        rc = tpl_evaluate(c, node->a, &v);
    return rc == UMBRA_OK ? tpl_put_value(c->out, v) : rc;
}

static int make_macro(tpl_context *c, const tpl_node *node, tpl_value *out)
{
    tpl_macro *m = tpl_alloc(c, 1, sizeof *m);
    if (!m)
        return UMBRA_E_NOMEM;
    *m = (tpl_macro){.node = node, .scope = c->scope};
    *out = (tpl_value){.kind = TPL_MACRO, .u.macro = m};
    return UMBRA_OK;
}

static int execute_macro(tpl_context *c, const tpl_node *node)
{
    tpl_value v;
    int rc = make_macro(c, node, &v);
    return rc == UMBRA_OK ? tpl_bind(c, c->scope, node->u.name, v) : rc;
}

/* The call gets the block as an argument of the name "caller". */
static int execute_call_block(tpl_context *c, const tpl_node *node)
{
    const tpl_node *call = node->a;
    tpl_value callee, caller, named, result;
    tpl_args args;
    int rc = make_macro(c, node->b, &caller);
    if (rc == UMBRA_OK)
        rc = tpl_evaluate(c, call->a, &callee);
    if (rc == UMBRA_OK)
        rc = tpl_evaluate_arguments(c, call->b, &args);
    if (rc == UMBRA_OK)
        rc = tpl_new_dict(c, TPL_DICT, &named);
    size_t at = 0;
    for (tpl_entry *e; rc == UMBRA_OK && args.named && (e = tpl_dict_next(args.named, &at)); at++)
        rc = tpl_dict_set(c, named.u.dict, e->key, e->value);
    tpl_value key = {.kind = TPL_STRING, .u.string = c->words->caller};
    if (rc == UMBRA_OK)
        rc = tpl_dict_set(c, named.u.dict, key, caller);
    if (rc != UMBRA_OK)
        return rc;
    args.named = named.u.dict;
    rc = tpl_call_value(c, callee, &args, &result);
    return rc == UMBRA_OK ? tpl_put_value(c->out, result) : rc;
}

static int execute_scope(tpl_context *c, const tpl_node *node)
{
    tpl_scope *outer = c->scope, *own;
    if (node->flag)
        return tpl_execute(c, node->b);
    int rc = tpl_open_scope(c, outer, &own);
    for (const tpl_node *set = node->a; rc == UMBRA_OK && set; set = set->next) {
        tpl_value v;
        rc = tpl_evaluate(c, set->b, &v);
        if (rc == UMBRA_OK)
            rc = tpl_bind(c, own, set->a->u.name, v);
    }
    if (rc != UMBRA_OK)
        return rc;
    c->scope = own;
    rc = tpl_execute(c, node->b);
    c->scope = outer;
    return rc;
}

static int execute_expression(tpl_context *c, const tpl_node *node)
{
    tpl_value v;
    int rc = tpl_evaluate(c, node->a, &v);
    c->line = node->line;
    return rc == UMBRA_OK && node->type == TPL_N_PRINT ? tpl_put_value(c->out, v) : rc;
}

static int execute_node(tpl_context *c, const tpl_node *node)
{
    switch ((tpl_node_type)node->type) {
    case TPL_N_TEXT:
        return tpl_put_string(c->out, node->value.u.string);
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
        return tpl_fail(c, "an expression stands where a statement is wanted");
    }
}

int tpl_execute(tpl_context *c, const tpl_node *body)
{
    int rc = tpl_enter(c);
    if (rc != UMBRA_OK)
        return rc;
    for (const tpl_node *n = body; rc == UMBRA_OK && n; n = n->next) {
        c->line = n->line;
        rc = tpl_step(c, 1);
        if (rc == UMBRA_OK)
            rc = execute_node(c, n);
    }
    tpl_leave(c);
    return rc;
}
