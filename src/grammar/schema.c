/* Compiles JSON schemas into nets. */
#include <stdio.h>
#include <string.h>

#include <umbra/grammar.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/quote.h"
#include "grammar/schema_internal.h"

enum { MOST_DEPTH = 64 };

static int refuse(const schema_compiler *c, const char *what, const char *name, size_t bytes)
{
    return umbra_fail(c->err, UMBRA_E_UNSUPPORTED, "the schema at %s: %s \"%s\" is not supported",
                      c->path, what, umbra_quote(name, bytes).text);
}

int umbra_schema_wrong(const schema_compiler *c, const char *keyword, const char *what)
{
    return umbra_fail(c->err, UMBRA_E_UNSUPPORTED, "the schema at %s: \"%s\" %s", c->path, keyword,
                      what);
}

int umbra_schema_part(schema_compiler *c, umbra_tpl_value part, const char *keyword,
                      const umbra_tpl_string *name, int *rule)
{
    size_t used = strlen(c->path);
    snprintf(c->path + used, sizeof c->path - used, "/%s%s%s", keyword, name ? "/" : "",
             name ? umbra_quote(name->data, name->bytes).text : "");
    int rc = umbra_schema_rule(c, part, rule);
    c->path[used] = '\0';
    return rc;
}

/* ---- keywords ---- */

/* All that change what is valid. */
static const char *const keywords[] = {
    "type",      "properties", "required", "additionalProperties",
    "items",     "minItems",   "maxItems", "minLength",
    "maxLength", "minimum",    "enum",     "const",
    "anyOf",     "$ref",       "$defs",    "definitions",
};

static const char *const annotations[] = {
    "title", "description", "default",    "examples", "format",    "$schema",
    "$id",   "$comment",    "deprecated", "readOnly", "writeOnly", "strict",
};

static bool is_one_of(const umbra_tpl_entry *e, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (umbra_value_is(e, list[i]))
            return true;
    return false;
}

static int check_keywords(const schema_compiler *c, umbra_tpl_value schema)
{
    size_t at = 0;
    UMBRA_EACH_MEMBER(e, at, schema)
    if (!is_one_of(e, keywords, COUNT(keywords)) && !is_one_of(e, annotations, COUNT(annotations)))
        return refuse(c, "the keyword", e->key.u.string->data, e->key.u.string->bytes);
    return UMBRA_OK;
}

int umbra_schema_alone(const schema_compiler *c, umbra_tpl_value schema, const char *keyword,
                       const char *other)
{
    size_t at = 0;
    UMBRA_EACH_MEMBER(e, at, schema)
    if (!umbra_value_is(e, keyword) && !(other && umbra_value_is(e, other)) &&
        !umbra_value_is(e, "$defs") && !umbra_value_is(e, "definitions") &&
        !is_one_of(e, annotations, COUNT(annotations)))
        return umbra_fail(c->err, UMBRA_E_UNSUPPORTED,
                          "the schema at %s: \"%s\" beside \"%s\" is not supported", c->path,
                          umbra_quote(e->key.u.string->data, e->key.u.string->bytes).text, keyword);
    return UMBRA_OK;
}

/* A count from 0 to UMBRA_GRAMMAR_ITEMS in *out, which stays where the keyword is not there. */
static int read_count(const schema_compiler *c, umbra_tpl_value schema, const char *keyword,
                      int *out)
{
    const umbra_tpl_value *v = umbra_value_member(schema, keyword);
    int64_t n;
    if (!v)
        return UMBRA_OK;
    if (v->kind != TPL_INT || !umbra_tpl_as_int(*v, &n) || n < 0 || n > UMBRA_GRAMMAR_ITEMS)
        return umbra_schema_wrong(c, keyword, "must be a whole number of at most 4096");
    *out = (int)n;
    return UMBRA_OK;
}

static int read_counts(const schema_compiler *c, umbra_tpl_value schema, const char *min,
                       const char *max, int *least, int *most)
{
    *least = 0;
    *most = -1;
    int rc = read_count(c, schema, min, least);
    if (rc == UMBRA_OK)
        rc = read_count(c, schema, max, most);
    if (rc == UMBRA_OK && *most >= 0 && *least > *most)
        return umbra_schema_wrong(c, max, "is less than the minimum");
    return rc;
}

/* ---- arrays, texts, numbers ---- */

static int compile_array(schema_compiler *c, umbra_tpl_value schema, int *rule)
{
    const umbra_tpl_value *items = umbra_value_member(schema, "items");
    umbra_net *net = c->net;
    int least, most, item = net->value;
    int rc = read_counts(c, schema, "minItems", "maxItems", &least, &most);
    if (rc == UMBRA_OK && items)
        rc = umbra_schema_part(c, *items, "items", NULL, &item);
    int end = umbra_net_call(net, net->space, umbra_net_one_of(net, "]", 0));
    int all = umbra_net_repeat(net, item, least, most, true, end);
    *rule = umbra_net_one_of(net, "[", umbra_net_call(net, net->space, all));
    return rc;
}

static int compile_string(schema_compiler *c, umbra_tpl_value schema, int *rule)
{
    umbra_net *net = c->net;
    int least, most;
    int rc = read_counts(c, schema, "minLength", "maxLength", &least, &most);
    *rule = net->string;
    if (rc == UMBRA_OK && (least > 0 || most >= 0)) {
        if (net->quotes)
            return umbra_schema_wrong(c, least > 0 ? "minLength" : "maxLength",
                                      "cannot be held in the model's family");
        int end = umbra_net_one_of(net, "\"", 0);
        end = umbra_net_repeat(net, net->character, least, most, false, end);
        *rule = umbra_net_one_of(net, "\"", end);
    }
    return rc;
}

static int compile_number(schema_compiler *c, umbra_tpl_value schema, bool integer, int *rule)
{
    const umbra_tpl_value *minimum = umbra_value_member(schema, "minimum");
    const umbra_net *net = c->net;
    *rule = integer ? net->integer : net->number;
    if (!minimum)
        return UMBRA_OK;
    double least = umbra_tpl_is_number(*minimum) ? umbra_tpl_as_float(*minimum) : -1;
    if (least == 0)
        *rule = integer ? net->natural : net->natural_number;
    else if (least == 1 && integer)
        *rule = net->positive;
    else
        return umbra_schema_wrong(c, "minimum", "is supported where it is 0, or 1 of an integer");
    return UMBRA_OK;
}

/* ---- types ---- */

static int compile_type(schema_compiler *c, umbra_tpl_value schema, const umbra_tpl_string *type,
                        int *rule)
{
    if (umbra_tpl_text_is(type, "object"))
        return umbra_schema_object(c, schema, rule);
    if (umbra_tpl_text_is(type, "array"))
        return compile_array(c, schema, rule);
    if (umbra_tpl_text_is(type, "string"))
        return compile_string(c, schema, rule);
    if (umbra_tpl_text_is(type, "number") || umbra_tpl_text_is(type, "integer"))
        return compile_number(c, schema, umbra_tpl_text_is(type, "integer"), rule);
    if (umbra_tpl_text_is(type, "null"))
        *rule = umbra_net_literal(c->net, "null", 4, 0);
    else if (umbra_tpl_text_is(type, "boolean"))
        *rule = umbra_net_split(c->net, umbra_net_literal(c->net, "true", 4, 0),
                                umbra_net_literal(c->net, "false", 5, 0));
    else
        return refuse(c, "the type", type->data, type->bytes);
    return UMBRA_OK;
}

static int compile_types(schema_compiler *c, umbra_tpl_value schema, umbra_tpl_value type,
                         int *rule)
{
    int rc = UMBRA_OK;
    if (type.kind == TPL_STRING)
        return compile_type(c, schema, type.u.string, rule);
    if (type.kind != TPL_LIST || type.u.list->count == 0)
        return umbra_schema_wrong(c, "type", "must be a name or a list of names");
    for (size_t i = 0; rc == UMBRA_OK && i < type.u.list->count; i++) {
        int one;
        if (type.u.list->items[i].kind != TPL_STRING)
            return umbra_schema_wrong(c, "type", "must be a name or a list of names");
        rc = compile_type(c, schema, type.u.list->items[i].u.string, &one);
        if (rc == UMBRA_OK)
            *rule = i == 0 ? one : umbra_net_split(c->net, one, *rule);
    }
    return rc;
}

/* Of a schema without a type. Keywords speak of values of their type only, so where they are of
 * several, what they leave open stays unwritten. */
static int compile_untyped(schema_compiler *c, umbra_tpl_value schema, int *rule)
{
    if (umbra_value_member(schema, "properties") || umbra_value_member(schema, "required") ||
        umbra_value_member(schema, "additionalProperties"))
        return umbra_schema_object(c, schema, rule);
    if (umbra_value_member(schema, "items") || umbra_value_member(schema, "minItems") ||
        umbra_value_member(schema, "maxItems"))
        return compile_array(c, schema, rule);
    if (umbra_value_member(schema, "minLength") || umbra_value_member(schema, "maxLength"))
        return compile_string(c, schema, rule);
    if (umbra_value_member(schema, "minimum"))
        return compile_number(c, schema, false, rule);
    *rule = c->net->value;
    return UMBRA_OK;
}

/* ---- references and alternatives ---- */

static int compile_any_of(schema_compiler *c, umbra_tpl_value list, int *rule)
{
    int rc = UMBRA_OK;
    if (list.kind != TPL_LIST || list.u.list->count == 0)
        return umbra_schema_wrong(c, "anyOf", "must be a list of schemas");
    for (size_t i = 0; rc == UMBRA_OK && i < list.u.list->count; i++) {
        int one;
        rc = umbra_schema_part(c, list.u.list->items[i], "anyOf", NULL, &one);
        one = rc == UMBRA_OK ? umbra_net_call(c->net, one, 0) : 0;
        if (rc == UMBRA_OK)
            *rule = i == 0 ? one : umbra_net_split(c->net, one, *rule);
    }
    return rc;
}

static int compile_reference(schema_compiler *c, umbra_tpl_value reference, int *rule)
{
    static const char *const homes[] = {"$defs", "definitions"};
    char name[SCHEMA_PATH_BYTES];
    if (reference.kind != TPL_STRING || reference.u.string->bytes >= sizeof name)
        return umbra_schema_wrong(c, "$ref", "must be \"#\" or \"#/$defs/NAME\"");
    memcpy(name, reference.u.string->data, reference.u.string->bytes);
    name[reference.u.string->bytes] = '\0';
    if (strcmp(name, "#") == 0)
        return umbra_schema_rule(c, c->root, rule);
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(homes[i]);
        const umbra_tpl_value *home = umbra_value_member(c->root, homes[i]);
        bool here = strncmp(name, "#/", 2) == 0 && strncmp(name + 2, homes[i], n) == 0 &&
                    name[2 + n] == '/';
        const umbra_tpl_value *target =
            here && home ? umbra_value_member(*home, name + n + 3) : NULL;
        if (target)
            return umbra_schema_rule(c, *target, rule);
    }
    return refuse(c, "the reference", name, strlen(name));
}

static int compile_dict(schema_compiler *c, umbra_tpl_value schema, int *rule)
{
    static const char *const listed[] = {"const", "enum"}, *const alone[] = {"$ref", "anyOf"};
    int rc = check_keywords(c, schema);
    for (int i = 0; i < 2 && rc == UMBRA_OK; i++)
        if (umbra_value_member(schema, listed[i]))
            return umbra_schema_listed(c, schema, listed[i], rule);
    for (int i = 0; i < 2 && rc == UMBRA_OK; i++) {
        const umbra_tpl_value *v = umbra_value_member(schema, alone[i]);
        if (!v)
            continue;
        rc = umbra_schema_alone(c, schema, alone[i], NULL);
        if (rc != UMBRA_OK)
            return rc;
        return i == 0 ? compile_reference(c, *v, rule) : compile_any_of(c, *v, rule);
    }
    if (rc != UMBRA_OK)
        return rc;
    const umbra_tpl_value *type = umbra_value_member(schema, "type");
    return type ? compile_types(c, schema, *type, rule) : compile_untyped(c, schema, rule);
}

/* ---- rules ---- */

static int find_known(const schema_compiler *c, umbra_tpl_value schema)
{
    for (int i = 0; i < c->n_known; i++)
        if (c->known[i].schema == schema.u.dict)
            return c->known[i].rule;
    return -1;
}

static int remember(schema_compiler *c, umbra_tpl_value schema, int rule)
{
    if (c->n_known == c->room) {
        int room = 2 * c->room + 16;
        schema_known *list = umbra_reallocarray(c->known, (size_t)room, sizeof *list);
        if (!list)
            return umbra_fail_nomem(c->err, "a schema", (uint64_t)room * sizeof *list);
        c->known = list;
        c->room = room;
    }
    c->known[c->n_known++] = (schema_known){schema.u.dict, rule};
    return UMBRA_OK;
}

int umbra_schema_rule(schema_compiler *c, umbra_tpl_value schema, int *rule)
{
    *rule = c->net->value;
    if (schema.kind == TPL_BOOL && schema.u.boolean)
        return UMBRA_OK;
    if (schema.kind != TPL_DICT)
        return umbra_fail(c->err, UMBRA_E_UNSUPPORTED, "the schema at %s is no object", c->path);
    int have = find_known(c, schema);
    if (have >= 0) {
        *rule = have;
        return UMBRA_OK;
    }
    if (c->depth == MOST_DEPTH)
        return umbra_fail(c->err, UMBRA_E_UNSUPPORTED, "the schema at %s nests too deep", c->path);
    int own = umbra_net_forward(c->net), inner = 0;
    int rc = remember(c, schema, own);
    c->depth++;
    if (rc == UMBRA_OK)
        rc = compile_dict(c, schema, &inner);
    c->depth--;
    umbra_net_lead(c->net, own, inner);
    *rule = own;
    return rc;
}

void umbra_schema_forget(schema_compiler *c)
{
    umbra_free(c->known);
    c->known = NULL;
    c->n_known = c->room = 0;
}

int umbra_schema_compile(umbra_net *net, umbra_tpl_value schema, int *rule, umbra_error *err)
{
    schema_compiler c = {.net = net, .root = schema, .path = "#", .err = err};
    int rc = umbra_schema_rule(&c, schema, rule);
    umbra_schema_forget(&c);
    return rc == UMBRA_OK && net->failed ? umbra_fail_nomem(err, "a grammar", 0) : rc;
}
