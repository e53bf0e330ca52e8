/* Computes expressions. */
#include <string.h>

#include "base/quote.h"
#include "template/render.h"

static int evaluate_elements(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_kind kind,
                             umbra_tpl_value *out)
{
    int rc = umbra_tpl_new_list(c, kind, 0, out);
    for (const umbra_tpl_node *e = node->a; rc == UMBRA_OK && e; e = e->next) {
        umbra_tpl_value v;
        rc = umbra_tpl_evaluate(c, e, &v);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(c, *out, v);
    }
    return rc;
}

static int evaluate_dict(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out)
{
    int rc = umbra_tpl_new_dict(c, TPL_DICT, out);
    for (const umbra_tpl_node *e = node->a; rc == UMBRA_OK && e; e = e->next->next) {
        umbra_tpl_value key, value;
        rc = umbra_tpl_evaluate(c, e, &key);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_evaluate(c, e->next, &value);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_dict_set(c, out->u.dict, key, value);
    }
    return rc;
}

static int evaluate_choice(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out)
{
    static const umbra_tpl_string nothing = {.data = "the inline if without else", .bytes = 26};
    int rc = umbra_tpl_evaluate(c, node->b, out);
    if (rc != UMBRA_OK)
        return rc;
    if (umbra_tpl_truth(*out))
        return umbra_tpl_evaluate(c, node->a, out);
    return node->c ? umbra_tpl_evaluate(c, node->c, out)
                   : umbra_tpl_undefined(c, NULL, &nothing, out);
}

static int evaluate_logic(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out)
{
    int rc = umbra_tpl_evaluate(c, node->a, out);
    if (rc != UMBRA_OK || umbra_tpl_truth(*out) == (node->type == TPL_N_OR))
        return rc;
    return umbra_tpl_evaluate(c, node->b, out);
}

static int evaluate_comparison(umbra_tpl_context *c, const umbra_tpl_node *node,
                               umbra_tpl_value *out)
{
    umbra_tpl_value left, right;
    bool holds = true;
    int rc = umbra_tpl_evaluate(c, node->a, &left);
    for (const umbra_tpl_node *o = node->b; rc == UMBRA_OK && holds && o; o = o->next) {
        rc = umbra_tpl_evaluate(c, o->a, &right);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_compare(c, o->op, left, right, &holds);
        left = right;
    }
    *out = umbra_tpl_bool(holds);
    return rc;
}

static int evaluate_binary(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out)
{
    umbra_tpl_value a, b;
    int rc = umbra_tpl_evaluate(c, node->a, &a);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_evaluate(c, node->b, &b);
    c->line = node->line;
    return rc == UMBRA_OK ? umbra_tpl_binary(c, node->op, a, b, out) : rc;
}

static int evaluate_sign(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out)
{
    umbra_tpl_value v;
    int rc = umbra_tpl_evaluate(c, node->a, &v);
    if (rc != UMBRA_OK)
        return rc;
    if (v.kind == TPL_UNDEFINED)
        return umbra_tpl_fail_undefined(c, v);
    if (!umbra_tpl_is_number(v))
        return umbra_tpl_fail(c, "bad operand type for unary %c: '%s'",
                              node->type == TPL_N_NEGATIVE ? '-' : '+', umbra_tpl_type_name(v));
    umbra_tpl_value zero = v.kind == TPL_FLOAT ? umbra_tpl_float(0) : umbra_tpl_int(0);
    if (node->type == TPL_N_NEGATIVE && v.kind == TPL_FLOAT) {
        *out = umbra_tpl_float(-v.u.real);
        out->input = v.input;
        return UMBRA_OK;
    }
    return umbra_tpl_binary(c, TPL_OP(0, node->type == TPL_N_NEGATIVE ? '-' : '+'), zero, v, out);
}

static int evaluate_concat(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out)
{
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, c);
    int rc = UMBRA_OK;
    for (const umbra_tpl_node *e = node->a; rc == UMBRA_OK && e; e = e->next) {
        umbra_tpl_value v;
        rc = umbra_tpl_evaluate(c, e, &v);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_put_value(&b, v);
    }
    return rc == UMBRA_OK ? umbra_tpl_built(&b, out) : rc;
}

static int evaluate_item(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out)
{
    umbra_tpl_value whole, key;
    int rc = umbra_tpl_evaluate(c, node->a, &whole);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_evaluate(c, node->b, &key);
    c->line = node->line;
    return rc == UMBRA_OK ? umbra_tpl_item(c, whole, key, out) : rc;
}

static int evaluate_member(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out)
{
    umbra_tpl_value whole;
    int rc = umbra_tpl_evaluate(c, node->a, &whole);
    c->line = node->line;
    return rc == UMBRA_OK ? umbra_tpl_member(c, whole, node->u.name, out) : rc;
}

static int evaluate_slice(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out)
{
    umbra_tpl_value whole, bounds[3] = {{0}, {0}, {0}};
    const umbra_tpl_node *parts[3] = {node->b, node->c, node->d};
    int rc = umbra_tpl_evaluate(c, node->a, &whole);
    for (int i = 0; rc == UMBRA_OK && i < 3; i++)
        if (parts[i])
            rc = umbra_tpl_evaluate(c, parts[i], &bounds[i]);
    c->line = node->line;
    return rc == UMBRA_OK ? umbra_tpl_slice(c, whole, bounds, out) : rc;
}

/* Adds the elements of *x or the pairs of **x. */
static int spread(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value v,
                  umbra_tpl_value list, umbra_tpl_value named)
{
    int rc = UMBRA_OK;
    if (node->op == TPL_OP(0, '*')) {
        const umbra_tpl_value *items;
        size_t count;
        rc = umbra_tpl_elements(c, v, &items, &count);
        for (size_t i = 0; rc == UMBRA_OK && i < count; i++)
            rc = umbra_tpl_append(c, list, items[i]);
        return rc;
    }
    if (v.kind != TPL_DICT)
        return umbra_tpl_fail(c, "the argument after ** must be a mapping, not %s",
                              umbra_tpl_type_name(v));
    size_t at = 0;
    for (umbra_tpl_entry *e; rc == UMBRA_OK && (e = umbra_tpl_dict_next(v.u.dict, &at)) != NULL;
         at++)
        rc = umbra_tpl_dict_set(c, named.u.dict, e->key, e->value);
    return rc;
}

int umbra_tpl_evaluate_arguments(umbra_tpl_context *c, const umbra_tpl_node *list,
                                 umbra_tpl_args *out)
{
    umbra_tpl_value items, named = umbra_tpl_none();
    *out = (umbra_tpl_args){0};
    if (!list)
        return UMBRA_OK;
    int rc = umbra_tpl_new_list(c, TPL_LIST, 0, &items);
    for (const umbra_tpl_node *n = list; rc == UMBRA_OK && n; n = n->next) {
        umbra_tpl_value v;
        rc = umbra_tpl_evaluate(c, n->a, &v);
        if (rc == UMBRA_OK && named.kind == TPL_NONE && (n->u.name || n->op))
            rc = umbra_tpl_new_dict(c, TPL_DICT, &named);
        if (rc != UMBRA_OK)
            break;
        umbra_tpl_value name = {.kind = TPL_STRING, .u.string = n->u.name};
        if (n->op)
            rc = spread(c, n, v, items, named);
        else if (n->u.name)
            rc = umbra_tpl_dict_set(c, named.u.dict, name, v);
        else
            rc = umbra_tpl_append(c, items, v);
    }
    if (rc == UMBRA_OK) {
        out->items = items.u.list->items;
        out->count = items.u.list->count;
        out->named = named.kind == TPL_DICT ? named.u.dict : NULL;
    }
    return rc;
}

static int evaluate_call(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out)
{
    umbra_tpl_value callee;
    umbra_tpl_args args;
    int rc = umbra_tpl_evaluate(c, node->a, &callee);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_evaluate_arguments(c, node->b, &args);
    c->line = node->line;
    return rc == UMBRA_OK ? umbra_tpl_call_value(c, callee, &args, out) : rc;
}

/* Filters and tests. A filter without an operand gets what is in *out. */
static int evaluate_function(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out)
{
    umbra_tpl_value self = *out;
    umbra_tpl_args args;
    if (!node->function)
        return umbra_tpl_fail(c, "there is no %s '%s'",
                              node->type == TPL_N_TEST ? "test" : "filter",
                              umbra_quote(node->u.name->data, node->u.name->bytes).text);
    int rc = node->a ? umbra_tpl_evaluate(c, node->a, &self) : UMBRA_OK;
    if (rc == UMBRA_OK)
        rc = umbra_tpl_evaluate_arguments(c, node->b, &args);
    c->line = node->line;
    return rc == UMBRA_OK ? umbra_tpl_invoke(c, node->function, self, &args, out) : rc;
}

static int evaluate_not(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out)
{
    int rc = umbra_tpl_evaluate(c, node->a, out);
    if (rc == UMBRA_OK)
        *out = umbra_tpl_bool(!umbra_tpl_truth(*out));
    return rc;
}

static int evaluate_node(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out)
{
    switch ((umbra_tpl_node_type)node->type) {
    case TPL_N_CONSTANT:
        *out = node->value;
        return UMBRA_OK;
    case TPL_N_NAME:
        return umbra_tpl_look_up(c, node->u.name, out);
    case TPL_N_LIST:
        return evaluate_elements(c, node, TPL_LIST, out);
    case TPL_N_TUPLE:
        return evaluate_elements(c, node, TPL_TUPLE, out);
    case TPL_N_DICT:
        return evaluate_dict(c, node, out);
    case TPL_N_CHOICE:
        return evaluate_choice(c, node, out);
    case TPL_N_OR:
    case TPL_N_AND:
        return evaluate_logic(c, node, out);
    case TPL_N_NOT:
        return evaluate_not(c, node, out);
    case TPL_N_COMPARE:
        return evaluate_comparison(c, node, out);
    case TPL_N_BINARY:
        return evaluate_binary(c, node, out);
    case TPL_N_NEGATIVE:
    case TPL_N_POSITIVE:
        return evaluate_sign(c, node, out);
    case TPL_N_CONCAT:
        return evaluate_concat(c, node, out);
    case TPL_N_MEMBER:
        return evaluate_member(c, node, out);
    case TPL_N_ITEM:
        return evaluate_item(c, node, out);
    case TPL_N_SLICE:
        return evaluate_slice(c, node, out);
    case TPL_N_CALL:
        return evaluate_call(c, node, out);
    case TPL_N_FILTER:
    case TPL_N_TEST:
        return evaluate_function(c, node, out);
    default:
        return umbra_tpl_fail(c, "a statement stands where a value is wanted");
    }
}

int umbra_tpl_evaluate(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out)
{
    c->line = node->line;
    int rc = umbra_tpl_step(c, 1);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_enter(c);
    if (rc != UMBRA_OK)
        return rc;
    rc = evaluate_node(c, node, out);
    umbra_tpl_leave(c);
    return rc;
}
