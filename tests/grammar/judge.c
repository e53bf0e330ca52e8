/* Whether a value is of a schema, judged apart from what writes it. */
#include <string.h>

#include "judge.h"

static bool is_of_type(const json_t *v, const char *type)
{
    return strcmp(type, "object") == 0    ? json_is_object(v)
           : strcmp(type, "array") == 0   ? json_is_array(v)
           : strcmp(type, "string") == 0  ? json_is_string(v)
           : strcmp(type, "number") == 0  ? json_is_number(v)
           : strcmp(type, "integer") == 0 ? json_is_integer(v)
           : strcmp(type, "boolean") == 0 ? json_is_boolean(v)
                                          : json_is_null(v);
}

static bool is_of_types(const json_t *v, const json_t *type)
{
    size_t i;
    json_t *one;
    if (json_is_string(type))
        return is_of_type(v, json_string_value(type));
    json_array_foreach(type, i, one)
    {
        if (is_of_type(v, json_string_value(one)))
            return true;
    }
    return false;
}

static bool is_object_of(const json_t *v, const json_t *schema, const json_t *root)
{
    const json_t *known = json_object_get(schema, "properties");
    const json_t *more = json_object_get(schema, "additionalProperties");
    const char *key;
    json_t *item;
    size_t i;
    json_array_foreach(json_object_get(schema, "required"), i, item)
    {
        if (!json_object_get(v, json_string_value(item)))
            return false;
    }
    json_object_foreach((json_t *)v, key, item)
    {
        const json_t *of = json_object_get(known, key);
        if (!of && json_is_false(more))
            return false;
        of = of ? of : more;
        if (json_is_object(of) && !judge_is_of(item, of, root))
            return false;
    }
    return true;
}

static bool in_range(const json_t *schema, const char *least, const char *most, size_t n)
{
    const json_t *a = json_object_get(schema, least), *b = json_object_get(schema, most);
    return (!a || n >= (size_t)json_integer_value(a)) && (!b || n <= (size_t)json_integer_value(b));
}

static size_t characters(const json_t *v)
{
    size_t n = 0;
    for (const char *s = json_string_value(v); *s; s++)
        n += (*s & 0xc0) != 0x80;
    return n;
}

static bool is_one_of(const json_t *v, const json_t *list, const json_t *root, bool schemas)
{
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one)
    {
        if (schemas ? judge_is_of(v, one, root) : json_equal(v, one))
            return true;
    }
    return false;
}

bool judge_is_of(const json_t *v, const json_t *schema, const json_t *root)
{
    size_t i;
    json_t *item;
    const json_t *k;
    if ((k = json_object_get(schema, "$ref"))) {
        const char *name = strrchr(json_string_value(k), '/');
        const json_t *home = json_object_get(root, "$defs");
        return judge_is_of(v, name ? json_object_get(home, name + 1) : root, root);
    }
    if ((k = json_object_get(schema, "anyOf")) && !is_one_of(v, k, root, true))
        return false;
    if ((k = json_object_get(schema, "enum")) && !is_one_of(v, k, root, false))
        return false;
    if ((k = json_object_get(schema, "const")) && !json_equal(v, k))
        return false;
    if ((k = json_object_get(schema, "type")) && !is_of_types(v, k))
        return false;
    if ((k = json_object_get(schema, "minimum")) && json_is_number(v) &&
        json_number_value(v) < json_number_value(k))
        return false;
    if (json_is_string(v) && !in_range(schema, "minLength", "maxLength", characters(v)))
        return false;
    if (json_is_array(v) && !in_range(schema, "minItems", "maxItems", json_array_size(v)))
        return false;
    json_array_foreach(v, i, item)
    {
        if ((k = json_object_get(schema, "items")) && !judge_is_of(item, k, root))
            return false;
    }
    return !json_is_object(v) || is_object_of(v, schema, root);
}
