/* Compiles calls that are written as keys and values between markers. */
#include <string.h>

#include "grammar/calls_internal.h"

/* Any text up to the marker behind a value, and that marker. */
static int text_rule(calls_compiler *c)
{
    if (c->text == 0) {
        c->text = umbra_calls_until(c, c->f.value_end, 0);
        if (c->f.lines)
            c->text = umbra_net_split(c->net, umbra_calls_word(c, "\n", c->text), c->text);
    }
    return c->text;
}

/* Behind the key: what tells texts from other values. */
static int before_value(calls_compiler *c, bool text, int next)
{
    const umbra_family *f = &c->f;
    const char *words = text ? f->text_type : f->any_type;
    if (!f->value)
        return next;
    next = umbra_calls_marker(c, f->value, next);
    if (!words)
        return umbra_calls_space(c, next);
    int all = -1;
    for (const char *end; words; words = end ? end + 1 : NULL) {
        end = strchr(words, '|');
        int one =
            umbra_net_literal(c->net, words, end ? (size_t)(end - words) : strlen(words), next);
        all = all < 0 ? one : umbra_net_split(c->net, one, all);
    }
    return all;
}

/* A pair of a key and a value, which ends with its marker. */
static int pair(calls_compiler *c, const umbra_tpl_string *key, bool text, int value)
{
    int at = before_value(c, text, value);
    at = umbra_calls_marker(c, c->f.key_end, at);
    at = umbra_net_literal(c->net, key->data, key->bytes, at);
    return umbra_calls_marker(c, c->f.key, at);
}

/* Behind the marker of a value. */
static int behind(calls_compiler *c, const umbra_tpl_string *key, int next)
{
    int at = umbra_calls_space(c, next);
    if (!c->f.key_again)
        return at;
    at = umbra_calls_marker(c, c->f.key_end, at);
    return umbra_net_literal(c->net, key->data, key->bytes, at);
}

/* A value that is listed, as text. */
static int listed(calls_compiler *c, umbra_tpl_value v, int next)
{
    const char *around = c->f.lines ? "\n" : "";
    if (v.kind != TPL_STRING || !umbra_calls_is_plain(v.u.string))
        return -1;
    int at = umbra_calls_marker(c, c->f.value_end, next);
    at = umbra_net_literal(c->net, v.u.string->data, v.u.string->bytes,
                           umbra_calls_word(c, around, at));
    return umbra_calls_word(c, around, at);
}

/* One of the texts that the schema lists; -1: one of them cannot be written bare. */
static int one_of(calls_compiler *c, umbra_tpl_value schema, int next)
{
    const umbra_tpl_value *list = umbra_value_member(schema, "enum");
    const umbra_tpl_value *only = umbra_value_member(schema, "const");
    if (only)
        return listed(c, *only, next);
    int all = -1;
    for (size_t i = 0; i < list->u.list->count; i++) {
        int one = listed(c, list->u.list->items[i], next);
        if (one < 0)
            return -1;
        all = i == 0 ? one : umbra_net_split(c->net, one, all);
    }
    return all;
}

/* Whether the value of a property is written bare: by the parser's rule, which reads its type. */
static bool is_text(umbra_tpl_value schema)
{
    const umbra_tpl_string *type = umbra_value_text(schema, "type");
    return type && umbra_tpl_text_is(type, "string");
}

static int text_value(calls_compiler *c, const call_tool *tool, umbra_tpl_value schema, int next,
                      int *node)
{
    *node = -1;
    if (umbra_value_member(schema, "minLength") || umbra_value_member(schema, "maxLength"))
        return umbra_calls_wrong(c, tool, UMBRA_E_UNSUPPORTED,
                                 "lengths of texts that stand bare cannot be held in the model's "
                                 "family");
    if (umbra_value_member(schema, "enum") || umbra_value_member(schema, "const"))
        *node = one_of(c, schema, next);
    else
        *node = umbra_net_call(c->net, text_rule(c), next);
    if (*node < 0)
        return umbra_calls_wrong(c, tool, UMBRA_E_UNSUPPORTED,
                                 "a listed text with other than letters, digits, '_', '-' and '.' "
                                 "cannot be held in the model's family");
    return UMBRA_OK;
}

/* A property's pair, then `next`. */
static int property(calls_compiler *c, const call_tool *tool, schema_compiler *s,
                    const umbra_tpl_entry *e, int next, int *node)
{
    const umbra_tpl_string *key = e->key.u.string;
    bool text = is_text(e->value);
    int value = 0, rc;
    if (!umbra_calls_is_plain(key))
        return umbra_calls_wrong(c, tool, UMBRA_E_UNSUPPORTED,
                                 "names of properties may have letters, digits, '_', '-' and '.' "
                                 "alone in the model's family");
    next = behind(c, key, next);
    if (text)
        rc = text_value(c, tool, e->value, next, &value);
    else {
        rc = umbra_schema_part(s, e->value, "properties", key, &value);
        next = umbra_calls_space(c, umbra_calls_marker(c, c->f.value_end, next));
        value = umbra_calls_space(c, umbra_net_call(c->net, value, next));
    }
    *node = pair(c, key, text, value);
    return rc;
}

static int properties(calls_compiler *c, const call_tool *tool, umbra_tpl_value all, int next,
                      int *node)
{
    schema_compiler s = {.net = c->net, .root = *tool->parameters, .path = "#", .err = c->err};
    const umbra_tpl_dict *d = all.u.dict;
    int rc = UMBRA_OK;
    *node = next;
    for (size_t i = d->used; rc == UMBRA_OK && i-- > 0;) {
        const umbra_tpl_entry *e = &d->entries[i];
        int one = 0;
        if (e->key.kind != TPL_STRING)
            continue;
        rc = property(c, tool, &s, e, *node, &one);
        bool required = umbra_schema_requires(*tool->parameters, e->key.u.string);
        *node = required ? one : umbra_net_split(c->net, one, *node);
    }
    umbra_schema_forget(&s);
    return rc;
}

/* Any names, any texts. */
static int anything(calls_compiler *c, int next)
{
    umbra_net *net = c->net;
    int value = umbra_calls_space(c, 0);
    if (c->f.key_again)
        value = umbra_net_word(net, umbra_calls_marker(c, c->f.key_end, value));
    value = umbra_net_call(net, text_rule(c), value);
    int texts = before_value(c, true, value), others = before_value(c, false, value);
    int at = umbra_calls_marker(c, c->f.key_end, umbra_net_split(net, texts, others));
    int one = umbra_calls_marker(c, c->f.key, umbra_net_word(net, at));
    return umbra_net_repeat(net, one, 0, -1, false, next);
}

/* Pairs of a tool whose schema names no properties: any, or none. */
static int unnamed(calls_compiler *c, const call_tool *tool, int next, int *node)
{
    const umbra_tpl_value *others =
        tool->parameters ? umbra_value_member(*tool->parameters, "additionalProperties") : NULL;
    bool none = others && others->kind == TPL_BOOL && !others->u.boolean;
    *node = none ? next : anything(c, next);
    if (tool->strict && others && others->kind == TPL_DICT)
        return umbra_calls_wrong(c, tool, UMBRA_E_UNSUPPORTED,
                                 "a schema of properties that are not named cannot be held in the "
                                 "model's family");
    return UMBRA_OK;
}

int umbra_calls_pairs(calls_compiler *c, const call_tool *tool, int next, int *node)
{
    umbra_error *err = c->err, problem = {0};
    int whole, held = 0, rc = UMBRA_OK;
    const umbra_tpl_value *all =
        tool->parameters ? umbra_value_member(*tool->parameters, "properties") : NULL;
    next = umbra_calls_marker(c, c->f.call_end, next);
    if (tool->strict)
        rc = umbra_calls_arguments(c, tool, &whole); /* refuses what is not known */
    if (rc != UMBRA_OK)
        return rc;
    c->err = tool->strict ? err : &problem;
    bool named = all && all->kind == TPL_DICT;
    rc = named ? properties(c, tool, *all, next, &held) : unnamed(c, tool, next, &held);
    c->err = err;
    if (rc != UMBRA_OK && !tool->strict && rc != UMBRA_E_NOMEM) {
        held = anything(c, next);
        rc = UMBRA_OK;
    }
    *node = umbra_calls_space(c, held);
    return rc;
}
