/* Brings the messages of a request into the form that a template takes. */
#include <string.h>

#include "base/error.h"
#include "base/quote.h"
#include "chat/internal.h"
#include "template/text.h"

typedef struct adapter {
    const umbra_chat_ways *ways;
    umbra_template_tree *tree;
    umbra_tpl_context *c; /* of the tree */
    size_t message;       /* the index of the one in work */
    umbra_error *err;
} adapter;

static int fail(const adapter *a, const char *what)
{
    return umbra_fail(a->err, UMBRA_E_ARGUMENT, "message %zu: %s", a->message + 1, what);
}

static int text(const adapter *a, const char *data, size_t bytes, umbra_tpl_value *out)
{
    return umbra_tpl_copy_text(a->c, data, bytes, true, out);
}

/* ---- roles ---- */

/* Templates build markup of roles ("<|" + role + "|>"), so the known ones count as theirs. */
static int adapt_role(const adapter *a, umbra_tpl_value role, umbra_tpl_value *out)
{
    static const char *const known[] = {"system", "developer", "user", "assistant",
                                        "tool",   "function",  "model"};
    if (role.kind != TPL_STRING)
        return fail(a, "its role is no text");
    *out = role;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (umbra_tpl_text_is(role.u.string, known[i]))
            return umbra_tpl_word(a->c, known[i], out);
    return UMBRA_OK;
}

/* ---- contents ---- */

/* {"type": "text", "text": TEXT} */
static int make_part(const adapter *a, umbra_tpl_value words, umbra_tpl_value *out)
{
    umbra_tpl_value type;
    int rc = umbra_tpl_new_dict(a->c, TPL_DICT, out);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_word(a->c, "text", &type);
    if (rc == UMBRA_OK)
        rc = umbra_value_set(a->c, *out, "type", type);
    return rc == UMBRA_OK ? umbra_value_set(a->c, *out, "text", words) : rc;
}

static int wrap(const adapter *a, umbra_tpl_value words, umbra_tpl_value *out)
{
    umbra_tpl_value part;
    int rc = umbra_tpl_new_list(a->c, TPL_LIST, 1, out);
    if (rc == UMBRA_OK)
        rc = make_part(a, words, &part);
    return rc == UMBRA_OK ? umbra_tpl_append(a->c, *out, part) : rc;
}

static int join(const adapter *a, const umbra_tpl_list *parts, umbra_tpl_value *out)
{
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, a->c);
    int rc = UMBRA_OK;
    for (size_t i = 0; rc == UMBRA_OK && i < parts->count; i++) {
        const umbra_tpl_value *words = umbra_value_member(parts->items[i], "text");
        if (!words || words->kind != TPL_STRING)
            return fail(a, "a part of its content is no text, and the model takes nothing else");
        if (i > 0)
            rc = umbra_tpl_put(&b, "\n", 1, true);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_put_string(&b, words->u.string);
    }
    return rc == UMBRA_OK ? umbra_tpl_built(&b, out) : rc;
}

static int adapt_content(const adapter *a, umbra_tpl_value content, umbra_tpl_value *out)
{
    *out = content;
    if (content.kind == TPL_NONE)
        return text(a, "", 0, out);
    if (content.kind == TPL_STRING)
        return a->ways->only_parts ? wrap(a, content, out) : UMBRA_OK;
    if (content.kind != TPL_LIST)
        return fail(a, "its content is neither a text nor a list");
    return a->ways->parts ? UMBRA_OK : join(a, content.u.list, out);
}

/* ---- calls ---- */

/* Any value as JSON text, by the template engine. */
static int to_json(const adapter *a, umbra_tpl_value v, umbra_tpl_value *out)
{
    static const char source[] = "{{ v | tojson }}";
    umbra_template *t = NULL;
    umbra_template_output printed = {0};
    umbra_template_value *variables = umbra_template_dict(a->tree);
    int rc = umbra_template_set(a->tree, variables, "v", 1, umbra_tpl_to_tree(a->tree, v));
    if (rc == UMBRA_OK)
        rc = umbra_template_open(&t, source, sizeof source - 1, a->err);
    if (rc == UMBRA_OK)
        rc = umbra_template_render(t, variables, NULL, &printed, a->err);
    if (rc == UMBRA_OK)
        rc = text(a, printed.text, printed.bytes, out);
    umbra_template_output_free(&printed);
    umbra_template_close(&t);
    return rc;
}

/* Text that is no JSON object stays what it is. */
static int adapt_arguments(const adapter *a, umbra_tpl_value v, umbra_tpl_value *out)
{
    *out = v;
    if (a->ways->text_arguments)
        return v.kind == TPL_STRING ? UMBRA_OK : to_json(a, v, out);
    if (v.kind != TPL_STRING)
        return UMBRA_OK;
    umbra_error problem = {.status = UMBRA_E_NOMEM};
    umbra_template_value *parsed =
        umbra_template_json(a->tree, v.u.string->data, v.u.string->bytes, &problem);
    if (!parsed && problem.status == UMBRA_E_NOMEM)
        return UMBRA_E_NOMEM;
    if (parsed && umbra_tpl_of_tree(parsed).kind == TPL_DICT)
        *out = umbra_tpl_of_tree(parsed);
    return UMBRA_OK;
}

/* A copy of a dict; `change` looks at each member. */
static int copy_dict(const adapter *a, umbra_tpl_value v, umbra_tpl_value *out,
                     int (*change)(const adapter *a, const umbra_tpl_entry *e,
                                   umbra_tpl_value *item))
{
    int rc = umbra_tpl_new_dict(a->c, TPL_DICT, out);
    size_t at = 0;
    UMBRA_EACH_MEMBER(e, at, v)
    {
        umbra_tpl_value item = e->value;
        if (rc == UMBRA_OK)
            rc = change(a, e, &item);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_dict_set(a->c, out->u.dict, e->key, item);
    }
    return rc;
}

static int adapt_function(const adapter *a, const umbra_tpl_entry *e, umbra_tpl_value *item)
{
    return umbra_value_is(e, "arguments") ? adapt_arguments(a, e->value, item) : UMBRA_OK;
}

static int adapt_call_member(const adapter *a, const umbra_tpl_entry *e, umbra_tpl_value *item)
{
    if (umbra_value_is(e, "function") && e->value.kind == TPL_DICT)
        return copy_dict(a, e->value, item, adapt_function);
    return adapt_function(a, e, item);
}

static int adapt_calls(const adapter *a, umbra_tpl_value calls, umbra_tpl_value *out)
{
    *out = calls;
    if (calls.kind == TPL_NONE)
        return UMBRA_OK;
    if (calls.kind != TPL_LIST)
        return fail(a, "its tool_calls are no list");
    int rc = umbra_tpl_new_list(a->c, TPL_LIST, calls.u.list->count, out);
    for (size_t i = 0; rc == UMBRA_OK && i < calls.u.list->count; i++) {
        umbra_tpl_value call;
        if (calls.u.list->items[i].kind != TPL_DICT)
            return fail(a, "a tool call is no object");
        rc = copy_dict(a, calls.u.list->items[i], &call, adapt_call_member);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(a->c, *out, call);
    }
    return rc;
}

/* ---- messages ---- */

static int adapt_member(const adapter *a, const umbra_tpl_entry *e, umbra_tpl_value *item)
{
    if (umbra_value_is(e, "role"))
        return adapt_role(a, e->value, item);
    if (umbra_value_is(e, "content"))
        return adapt_content(a, e->value, item);
    if (umbra_value_is(e, "tool_calls"))
        return adapt_calls(a, e->value, item);
    return UMBRA_OK;
}

static int adapt_message(const adapter *a, umbra_tpl_value message, umbra_tpl_value *out)
{
    umbra_tpl_value none = umbra_tpl_none(), empty;
    if (message.kind != TPL_DICT || !umbra_value_member(message, "role"))
        return fail(a, "it is no object with a role");
    int rc = copy_dict(a, message, out, adapt_member);
    if (rc != UMBRA_OK || umbra_value_member(message, "content"))
        return rc;
    rc = adapt_content(a, none, &empty);
    return rc == UMBRA_OK ? umbra_value_set(a->c, *out, "content", empty) : rc;
}

int umbra_messages_adapt(const umbra_chat_ways *ways, umbra_template_tree *tree,
                         umbra_tpl_value messages, umbra_tpl_value *out, umbra_error *err)
{
    adapter a = {.ways = ways, .tree = tree, .c = umbra_tpl_tree_context(tree), .err = err};
    if (messages.kind != TPL_LIST || messages.u.list->count == 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "the messages are no list with at least one");
    int rc = umbra_tpl_new_list(a.c, TPL_LIST, messages.u.list->count, out);
    for (; rc == UMBRA_OK && a.message < messages.u.list->count; a.message++) {
        umbra_tpl_value message;
        rc = adapt_message(&a, messages.u.list->items[a.message], &message);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(a.c, *out, message);
    }
    return rc == UMBRA_E_NOMEM ? umbra_fail_nomem(err, "the messages", 0) : rc;
}
