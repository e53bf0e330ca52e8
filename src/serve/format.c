/* Answers that are JSON: what of a schema was asked for, and the grammar that holds to it. */
#include <string.h>

#include "base/error.h"
#include "serve/internal.h"

static bool refuse(serve_exchange *x, const char *field, const char *what, enum MHD_Result *result)
{
    *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, field, "%s: %s", field, what);
    return false;
}

bool serve_read_format(serve_exchange *x, const json_t *format, const char *field, serve_ask *ask,
                       enum MHD_Result *result)
{
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!format || (type && strcmp(type, "text") == 0))
        return true;
    if (type && strcmp(type, "json_object") == 0) {
        ask->json = true;
        return true;
    }
    if (!type || strcmp(type, "json_schema") != 0)
        return refuse(x, field, "its type must be text, json_object or json_schema", result);
    const json_t *inner = json_object_get(format, "json_schema");
    ask->schema = json_object_get(inner ? inner : format, "schema");
    ask->json = true;
    return json_is_object(ask->schema) || refuse(x, field, "there is no schema in it", result);
}

int serve_need_spellings(serve *s, umbra_error *err)
{
    int rc = UMBRA_OK;
    pthread_mutex_lock(&s->spellings_mutex);
    if (!s->spellings)
        rc = umbra_spellings_open(&s->spellings, s->o.model, err);
    pthread_mutex_unlock(&s->spellings_mutex);
    return rc;
}

int serve_open_grammar(serve_text *t, const serve_ask *ask, const char *after, umbra_error *err)
{
    const umbra_grammar_options o = {.begin = t->job.prompt_tokens, .after = after};
    serve_buffer schema = {0};
    int rc = serve_need_spellings(t->server, err);
    if (rc == UMBRA_OK && ask->schema) {
        serve_buffer_json(&schema, ask->schema);
        rc = schema.failed ? umbra_fail_nomem(err, "a schema", 0) : UMBRA_OK;
    }
    if (rc == UMBRA_OK)
        rc = umbra_grammar_open(&t->grammar, t->server->spellings, schema.data, schema.bytes, &o,
                                err);
    serve_buffer_free(&schema);
    return rc;
}
