/* JSON text as values. */
#include <string.h>

#include "base/error.h"
#include "base/json_reader.h"
#include "base/memory.h"
#include "template/text.h"
#include "template/tree.h"

typedef struct reading {
    umbra_template_tree *tree;
    umbra_json_reader r;
} reading;

/* The text has been checked as a whole, and so has its depth. NULL: memory is out, or a string
 * holds U+0000. */
static umbra_template_value *read_value(reading *in);

static umbra_template_value *read_string(reading *in)
{
    const char *s;
    if (!umbra_json_read_string(&in->r, &s))
        return NULL;
    return umbra_template_text(in->tree, s, strlen(s), UMBRA_TEMPLATE_INPUT);
}

static umbra_template_value *read_array(reading *in)
{
    umbra_template_value *list = umbra_template_list(in->tree);
    (void)umbra_json_take(&in->r, '[');
    int more = umbra_json_take(&in->r, ']') ? 0 : 1;
    for (; more == 1; more = umbra_json_more(&in->r, ']'))
        if (umbra_template_append(in->tree, list, read_value(in)) != UMBRA_OK)
            return NULL;
    return list;
}

static umbra_template_value *read_object(reading *in)
{
    umbra_template_value *dict = umbra_template_dict(in->tree);
    (void)umbra_json_take(&in->r, '{');
    int more = umbra_json_take(&in->r, '}') ? 0 : 1;
    for (; more == 1; more = umbra_json_more(&in->r, '}')) {
        const char *key;
        if (!umbra_json_read_key(&in->r, &key) ||
            umbra_template_set(in->tree, dict, key, strlen(key), read_value(in)) != UMBRA_OK)
            return NULL;
    }
    return dict;
}

/* A number that fits is an integer, unless it is written with a fraction or an exponent. */
static umbra_template_value *read_number(reading *in)
{
    size_t start = in->r.at;
    if (!umbra_json_skip(&in->r))
        return NULL;
    umbra_tpl_string s = {.data = in->r.text + start, .bytes = in->r.at - start};
    s.chars = s.bytes;
    int64_t whole;
    double real;
    bool fraction = memchr(s.data, '.', s.bytes) || memchr(s.data, 'e', s.bytes) ||
                    memchr(s.data, 'E', s.bytes);
    if (!fraction && umbra_tpl_parse_int(&s, 10, &whole))
        return umbra_template_int(in->tree, whole);
    return umbra_tpl_parse_float(&s, &real) ? umbra_template_float(in->tree, real) : NULL;
}

static umbra_template_value *read_value(reading *in)
{
    char first = umbra_json_peek(&in->r);
    if (first == '"')
        return read_string(in);
    if (first == '{')
        return read_object(in);
    if (first == '[')
        return read_array(in);
    if (first == '-' || (first >= '0' && first <= '9'))
        return read_number(in);
    (void)umbra_json_skip(&in->r);
    return first == 'n' ? umbra_template_none(in->tree)
                        : umbra_template_bool(in->tree, first == 't');
}

/* One value, with nothing behind it. */
static bool is_whole(umbra_json_reader *r)
{
    if (!umbra_json_skip(r))
        return false;
    (void)umbra_json_peek(r);
    if (r->at < r->n)
        r->problem = "something follows the value";
    return r->at == r->n;
}

umbra_template_value *umbra_template_json(umbra_template_tree *tree, const char *text, size_t bytes,
                                          umbra_error *err)
{
    reading in = {.tree = tree, .r = {.text = umbra_calloc(bytes + 1, 1), .n = bytes}};
    umbra_template_value *v = NULL;
    if (!in.r.text) {
        umbra_fail_nomem(err, "a JSON text", bytes);
        return NULL;
    }
    if (bytes)
        memcpy(in.r.text, text, bytes);
    if (is_whole(&in.r)) {
        in.r.at = 0;
        v = read_value(&in);
        if (!v && !in.r.problem)
            umbra_fail_nomem(err, "a JSON text", bytes);
    }
    if (!v && in.r.problem)
        umbra_fail_at(err, UMBRA_E_FORMAT, in.r.at, "this is no JSON: %s", in.r.problem);
    umbra_free(in.r.text);
    return v;
}
