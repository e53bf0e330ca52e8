/* Compiles the values that a schema lists: enum and const. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_writer.h"
#include "grammar/schema_internal.h"

static void write_value(umbra_json *j, umbra_tpl_value v);

static void write_dict(umbra_json *j, umbra_tpl_value v)
{
    size_t at = 0;
    umbra_json_open(j, '{');
    UMBRA_EACH_MEMBER(e, at, v)
    {
        umbra_json_string(j, e->key.u.string->data, e->key.u.string->bytes);
        fputc(':', j->file);
        j->need_comma = false;
        write_value(j, e->value);
    }
    umbra_json_close(j, '}');
}

static void write_value(umbra_json *j, umbra_tpl_value v)
{
    if (v.kind == TPL_STRING)
        umbra_json_string(j, v.u.string->data, v.u.string->bytes);
    else if (v.kind == TPL_INT)
        umbra_json_int(j, v.u.integer);
    else if (v.kind == TPL_FLOAT)
        umbra_json_double(j, v.u.real, 17);
    else if (v.kind == TPL_BOOL)
        umbra_json_bool(j, v.u.boolean);
    else if (v.kind == TPL_DICT)
        write_dict(j, v);
    else if (v.kind == TPL_LIST) {
        umbra_json_open(j, '[');
        for (size_t i = 0; i < v.u.list->count; i++)
            write_value(j, v.u.list->items[i]);
        umbra_json_close(j, ']');
    } else
        umbra_json_text(j, NULL);
}

int umbra_schema_key(schema_compiler *c, umbra_tpl_value key, int next)
{
    return c->net->quotes ? umbra_net_literal(c->net, key.u.string->data, key.u.string->bytes, next)
                          : umbra_schema_literal(c, key, next);
}

int umbra_schema_literal(schema_compiler *c, umbra_tpl_value v, int next)
{
    const char *quotes = c->net->quotes;
    if (quotes && v.kind == TPL_STRING) {
        next = umbra_net_literal(c->net, quotes, strlen(quotes), next);
        next = umbra_net_literal(c->net, v.u.string->data, v.u.string->bytes, next);
        return umbra_net_literal(c->net, quotes, strlen(quotes), next);
    }
    char *text = NULL;
    size_t bytes = 0;
    umbra_json j;
    FILE *f = open_memstream(&text, &bytes);
    if (!f) {
        c->net->failed = true;
        return 0;
    }
    umbra_json_begin(&j, f);
    write_value(&j, v);
    c->net->failed = fclose(f) != 0 || !text || c->net->failed;
    int at = text ? umbra_net_literal(c->net, text, bytes, next) : 0;
    free(text);
    return at;
}

/* Whether a value is of a type that is given beside it. */
static bool is_of_type(umbra_tpl_value v, const umbra_tpl_string *type)
{
    static const struct {
        const char *name;
        umbra_tpl_kind kind, or_kind;
    } types[] = {
        {"string", TPL_STRING, TPL_STRING}, {"integer", TPL_INT, TPL_INT},
        {"number", TPL_INT, TPL_FLOAT},     {"boolean", TPL_BOOL, TPL_BOOL},
        {"null", TPL_NONE, TPL_NONE},       {"array", TPL_LIST, TPL_LIST},
        {"object", TPL_DICT, TPL_DICT},
    };
    for (size_t i = 0; i < COUNT(types); i++)
        if (umbra_tpl_text_is(type, types[i].name))
            return v.kind == types[i].kind || v.kind == types[i].or_kind;
    return false;
}

/* Whether a text can stand between marks that are no quotes: a part of one in it could end it. */
static bool is_quotable(const umbra_tpl_string *s)
{
    return !memchr(s->data, '<', s->bytes) && !memchr(s->data, '|', s->bytes);
}

/* Values that are listed go as they are, so what stands beside them must not speak of their
 * inside. */
static int check_listed(const schema_compiler *c, umbra_tpl_value schema, umbra_tpl_value v)
{
    const umbra_tpl_value *type = umbra_value_member(schema, "type");
    if (type && (type->kind != TPL_STRING || !is_of_type(v, type->u.string)))
        return umbra_schema_wrong(c, "type",
                                  "does not fit a value of \"enum\" or \"const\" beside it");
    bool simple = v.kind != TPL_DICT && v.kind != TPL_LIST;
    if (c->net->quotes && (!simple || (v.kind == TPL_STRING && !is_quotable(v.u.string))))
        return umbra_schema_wrong(c, "enum", "lists a value that the model's family cannot write");
    return UMBRA_OK;
}

static int compile_enum(schema_compiler *c, umbra_tpl_value schema, umbra_tpl_value list, int *rule)
{
    if (list.kind != TPL_LIST || list.u.list->count == 0)
        return umbra_schema_wrong(c, "enum", "must be a list of values");
    for (size_t i = 0; i < list.u.list->count; i++)
        if (check_listed(c, schema, list.u.list->items[i]) != UMBRA_OK)
            return UMBRA_E_UNSUPPORTED;
    for (size_t i = 0; i < list.u.list->count; i++) {
        int one = umbra_schema_literal(c, list.u.list->items[i], 0);
        *rule = i == 0 ? one : umbra_net_split(c->net, one, *rule);
    }
    return UMBRA_OK;
}

int umbra_schema_listed(schema_compiler *c, umbra_tpl_value schema, const char *keyword, int *rule)
{
    umbra_tpl_value v = *umbra_value_member(schema, keyword);
    int rc = umbra_schema_alone(c, schema, keyword, "type");
    if (rc == UMBRA_OK && strcmp(keyword, "enum") == 0)
        return compile_enum(c, schema, v, rule);
    if (rc == UMBRA_OK)
        rc = check_listed(c, schema, v);
    if (rc == UMBRA_OK)
        *rule = umbra_schema_literal(c, v, 0);
    return rc;
}
