/* What stands in a request: every field is read, ignored on purpose, or refused by name. */
#include <string.h>

#include "base/quote.h"
#include "serve/internal.h"

json_t *serve_read_body(serve_exchange *x, enum MHD_Result *result)
{
    json_error_t wrong;
    json_t *j = json_loadb(x->body ? x->body : "", x->bytes,
                           JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &wrong);
    if (json_is_object(j))
        return j;
    if (j)
        *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, NULL, "the body must be a JSON object");
    else
        *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, NULL, "the body is no JSON: byte %d: %s",
                               wrong.position, umbra_quote(wrong.text, strlen(wrong.text)).text);
    json_decref(j);
    return NULL;
}

static bool refuse(serve_exchange *x, const char *name, const char *what, enum MHD_Result *result)
{
    umbra_quoted q = umbra_quote(name, strlen(name));
    *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, q.text, "%s: %s", q.text, what);
    return false;
}

static bool read_number(serve_exchange *x, const serve_field *f, const json_t *v,
                        enum MHD_Result *result)
{
    bool right = f->kind == SERVE_FLOAT ? json_is_number(v) : json_is_integer(v);
    if (!right)
        return refuse(x, f->name,
                      f->kind == SERVE_FLOAT ? "must be a number" : "must be an integer", result);
    double value = json_number_value(v);
    if (f->kind == SERVE_U64) {
        *(uint64_t *)f->value = (uint64_t)json_integer_value(v);
        return true;
    }
    if (!(value >= f->least && value <= f->most)) {
        *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, f->name, "%s: %g is not in %g..%g", f->name,
                               value, f->least, f->most);
        return false;
    }
    if (f->kind == SERVE_FLOAT)
        *(float *)f->value = (float)value;
    else
        *(int *)f->value = (int)json_integer_value(v);
    return true;
}

/* Whether the value is one of those in f->only, a JSON array. */
static bool is_only(const serve_field *f, const json_t *v)
{
    json_t *allowed = json_loads(f->only, 0, NULL);
    bool found = false;
    size_t i;
    json_t *one;
    json_array_foreach(allowed, i, one)
    {
        found = found || json_equal(one, v) ||
                (json_is_number(one) && json_is_number(v) &&
                 json_number_value(one) == json_number_value(v));
    }
    json_decref(allowed);
    return found;
}

static bool read_field(serve_exchange *x, const serve_field *f, const json_t *v,
                       enum MHD_Result *result)
{
    switch (f->kind) {
    case SERVE_INT:
    case SERVE_U64:
    case SERVE_FLOAT:
        return read_number(x, f, v, result);
    case SERVE_BOOL:
        if (!json_is_boolean(v))
            return refuse(x, f->name, "must be true or false", result);
        *(bool *)f->value = json_is_true(v);
        return true;
    case SERVE_TEXT_FIELD:
        if (!json_is_string(v))
            return refuse(x, f->name, "must be a string", result);
        *(const char **)f->value = json_string_value(v);
        return true;
    case SERVE_JSON:
        *(const json_t **)f->value = v;
        return true;
    case SERVE_IGNORED:
        return true;
    case SERVE_ONLY:
        return is_only(f, v) || refuse(x, f->name, "this value is not supported here", result);
    }
    return false;
}

bool serve_read_fields(serve_exchange *x, const json_t *object, const serve_field *fields,
                       enum MHD_Result *result)
{
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)object, name, v)
    {
        const serve_field *f = fields;
        while (f->name && strcmp(f->name, name) != 0)
            f++;
        if (json_is_null(v))
            continue;
        if (!f->name)
            return refuse(x, name, "this field is not supported", result);
        if (!read_field(x, f, v, result))
            return false;
    }
    return true;
}
