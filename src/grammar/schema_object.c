/* Compiles schemas of objects. */
#include <string.h>

#include "grammar/schema_internal.h"

bool umbra_schema_requires(umbra_tpl_value schema, const umbra_tpl_string *name)
{
    const umbra_tpl_value *list = umbra_value_member(schema, "required");
    for (size_t i = 0; list && i < list->u.list->count; i++) {
        const umbra_tpl_value *item = &list->u.list->items[i];
        if (item->kind == TPL_STRING && item->u.string->bytes == name->bytes &&
            memcmp(item->u.string->data, name->data, name->bytes) == 0)
            return true;
    }
    return false;
}

/* `required` is a list of names that `properties` has, which a text without them would not fit. */
static int check_required(const schema_compiler *c, umbra_tpl_value schema,
                          umbra_tpl_value properties)
{
    const umbra_tpl_value *list = umbra_value_member(schema, "required");
    if (list && list->kind != TPL_LIST)
        return umbra_schema_wrong(c, "required", "must be a list of names");
    for (size_t i = 0; list && i < list->u.list->count; i++) {
        umbra_tpl_value name = list->u.list->items[i];
        size_t at = 0;
        bool found = false;
        if (name.kind == TPL_STRING && properties.kind == TPL_DICT)
            UMBRA_EACH_MEMBER(e, at, properties)
        found = found ||
                (e->key.u.string->bytes == name.u.string->bytes &&
                 memcmp(e->key.u.string->data, name.u.string->data, name.u.string->bytes) == 0);
        if (!found)
            return umbra_schema_wrong(c, "required", "names what \"properties\" does not have");
    }
    return UMBRA_OK;
}

/* Whether a key can stand bare. */
static bool is_word(const umbra_tpl_string *key)
{
    size_t n = 0;
    while (n < key->bytes && key->data[n] > ' ' && !strchr("{}[],:\"\\<|", key->data[n]))
        n++;
    return n > 0 && n == key->bytes;
}

/* Nodes of the properties from the last to the first: `first` where nothing was written yet, `more`
 * where something was. */
static int compile_properties(schema_compiler *c, umbra_tpl_value schema,
                              umbra_tpl_value properties, int *rule)
{
    umbra_net *net = c->net;
    const umbra_tpl_dict *d = properties.u.dict;
    int end = umbra_net_call(net, net->space, umbra_net_one_of(net, "}", 0));
    int first = end, more = end;
    for (size_t i = d->used; i-- > 0;) {
        const umbra_tpl_entry *e = &d->entries[i];
        int value;
        if (e->key.kind != TPL_STRING)
            continue;
        if (net->quotes && !is_word(e->key.u.string))
            return umbra_schema_wrong(c, "properties",
                                      "has a name that the model's family cannot "
                                      "write");
        int rc = umbra_schema_part(c, e->value, "properties", e->key.u.string, &value);
        if (rc != UMBRA_OK)
            return rc;
        int pair = umbra_net_call(net, net->space, umbra_net_call(net, value, more));
        pair = umbra_schema_key(c, e->key, umbra_net_one_of(net, ":", pair));
        int next = umbra_net_one_of(net, ",", umbra_net_call(net, net->space, pair));
        bool required = umbra_schema_requires(schema, e->key.u.string);
        more = required ? next : umbra_net_split(net, next, more);
        first = required ? pair : umbra_net_split(net, pair, first);
    }
    *rule = umbra_net_one_of(net, "{", umbra_net_call(net, net->space, first));
    return UMBRA_OK;
}

int umbra_schema_object(schema_compiler *c, umbra_tpl_value schema, int *rule)
{
    const umbra_tpl_value *properties = umbra_value_member(schema, "properties");
    const umbra_tpl_value *others = umbra_value_member(schema, "additionalProperties");
    umbra_tpl_value none = umbra_tpl_none();
    bool some = properties && properties->kind == TPL_DICT && properties->u.dict->count > 0;
    bool closed = others && others->kind == TPL_BOOL && !others->u.boolean;
    int value = c->net->value;
    if (properties && properties->kind != TPL_DICT)
        return umbra_schema_wrong(c, "properties", "must be an object");
    int rc = check_required(c, schema, some ? *properties : none);
    if (rc != UMBRA_OK)
        return rc;
    if (some || closed) {
        umbra_tpl_dict empty = {.count = 0};
        umbra_tpl_value nothing = {.kind = TPL_DICT, .u.dict = &empty};
        return compile_properties(c, schema, some ? *properties : nothing, rule);
    }
    if (others && others->kind == TPL_DICT)
        rc = umbra_schema_part(c, *others, "additionalProperties", NULL, &value);
    *rule = value == c->net->value ? c->net->object : umbra_net_pairs(c->net, value);
    return rc;
}
