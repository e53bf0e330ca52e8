/* Answers that are whole: values, and refusals in the words of an API. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "serve/internal.h"

static void add_origin(const serve_exchange *x, struct MHD_Response *response)
{
    const char *allowed = x->server->o.origin;
    if (!allowed)
        return;
    MHD_add_response_header(response, "Access-Control-Allow-Origin", allowed);
    MHD_add_response_header(response, "Vary", "Origin");
}

enum MHD_Result serve_queue(serve_exchange *x, int status, struct MHD_Response *response)
{
    if (!response)
        return MHD_NO;
    add_origin(x, response);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    if (status == MHD_HTTP_UNAUTHORIZED)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE || status == MHD_HTTP_TOO_MANY_REQUESTS)
        MHD_add_response_header(response, "Retry-After", "5");
    enum MHD_Result result = MHD_queue_response(x->connection, (unsigned)status, response);
    MHD_destroy_response(response);
    serve_figures *f = &x->server->figures;
    pthread_mutex_lock(&f->mutex);
    f->answers[status / 100 % 7]++;
    pthread_mutex_unlock(&f->mutex);
    return result;
}

enum MHD_Result serve_reply(serve_exchange *x, int status, const char *type, const char *data,
                            size_t bytes)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(bytes, (void *)(uintptr_t)data, MHD_RESPMEM_MUST_COPY);
    if (response)
        MHD_add_response_header(response, "Content-Type", type);
    return serve_queue(x, status, response);
}

enum MHD_Result serve_reply_json(serve_exchange *x, int status, json_t *value)
{
    serve_buffer b = {0};
    serve_buffer_json(&b, value);
    json_decref(value);
    serve_buffer_add(&b, "\n", 1);
    static const char none[] = "{\"error\":{\"message\":\"out of memory\"}}\n";
    enum MHD_Result result;
    if (b.failed || (serve_memory_lacked() && status < 500)) /* something may be left out of it */
        result = serve_reply(x, MHD_HTTP_INTERNAL_SERVER_ERROR, "application/json", none,
                             sizeof none - 1);
    else
        result = serve_reply(x, status, "application/json", b.data, b.bytes);
    serve_buffer_free(&b);
    return result;
}

static const char *openai_type(int status)
{
    switch (status) {
    case MHD_HTTP_UNAUTHORIZED:
        return "authentication_error";
    case MHD_HTTP_FORBIDDEN:
        return "permission_error";
    case MHD_HTTP_SERVICE_UNAVAILABLE:
    case MHD_HTTP_INTERNAL_SERVER_ERROR:
        return "server_error";
    default:
        return "invalid_request_error";
    }
}

static const char *anthropic_type(int status)
{
    switch (status) {
    case MHD_HTTP_UNAUTHORIZED:
        return "authentication_error";
    case MHD_HTTP_FORBIDDEN:
        return "permission_error";
    case MHD_HTTP_CONTENT_TOO_LARGE:
        return "request_too_large";
    case MHD_HTTP_SERVICE_UNAVAILABLE:
        return "overloaded_error";
    case MHD_HTTP_INTERNAL_SERVER_ERROR:
        return "api_error";
    default:
        return "invalid_request_error";
    }
}

json_t *serve_error_json(serve_dialect dialect, int status, const char *field, const char *message)
{
    json_t *text = serve_json_text(message, strlen(message));
    if (dialect == SERVE_ANTHROPIC)
        return json_pack("{s:s, s:{s:s, s:o}}", "type", "error", "error", "type",
                         anthropic_type(status), "message", text);
    json_t *param = field ? serve_json_text(field, strlen(field)) : json_null();
    return json_pack("{s:{s:o, s:s, s:o, s:n}}", "error", "message", text, "type",
                     openai_type(status), "param", param, "code");
}

int serve_fault(const umbra_error *err)
{
    return err->status == UMBRA_E_NOMEM ? MHD_HTTP_INTERNAL_SERVER_ERROR : MHD_HTTP_BAD_REQUEST;
}

enum MHD_Result serve_refuse(serve_exchange *x, int status, const char *field, const char *format,
                             ...)
{
    char message[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(message, sizeof message, format, list);
    va_end(list);
    serve_dialect dialect = x->route ? x->route->dialect : SERVE_OPENAI;
    if (status < 500 && serve_memory_lacked()) { /* not the request's fault */
        status = MHD_HTTP_INTERNAL_SERVER_ERROR;
        field = NULL;
        strcpy(message, "out of memory");
    }
    return serve_reply_json(x, status, serve_error_json(dialect, status, field, message));
}

enum MHD_Result serve_refuse_nomem(serve_exchange *x)
{
    return serve_refuse(x, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, "out of memory");
}
