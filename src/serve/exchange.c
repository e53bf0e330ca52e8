/* A request as it arrives: refused as early as can be, gathered within limits, answered. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "serve/internal.h"

/* Bodies of all connections together; more have to come again. */
static uint64_t most_bodies(const serve *s)
{
    return 2 * s->o.body_bytes;
}

static serve_exchange *open_exchange(serve *s, struct MHD_Connection *connection)
{
    serve_exchange *x = umbra_calloc(1, sizeof *x);
    serve_forget_lack();
    if (x) {
        x->server = s;
        x->connection = connection;
    }
    return x;
}

static void release_body(serve_exchange *x)
{
    atomic_fetch_sub(&x->server->body_bytes, x->room);
    umbra_free(x->body);
    x->body = NULL;
    x->bytes = x->room = 0;
}

void serve_exchange_free(void *server, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    (void)server;
    (void)connection;
    (void)code;
    serve_exchange *x = *context;
    if (!x)
        return;
    serve_guard_arrived(x, false);
    release_body(x);
    umbra_free(x);
    *context = NULL;
}

/* What pages of other origins ask first. */
static enum MHD_Result allow_page(serve_exchange *x)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    if (response) {
        MHD_add_response_header(response, "Access-Control-Allow-Methods", "GET, POST");
        MHD_add_response_header(response, "Access-Control-Allow-Headers",
                                "authorization, content-type, x-api-key, anthropic-version");
    }
    return serve_queue(x, MHD_HTTP_NO_CONTENT, response);
}

static bool too_large(const serve_exchange *x)
{
    const char *length =
        MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return length && strtoull(length, NULL, 10) > x->server->o.body_bytes;
}

/* Before the body is read. True: it may come. */
static bool admit(serve_exchange *x, const char *url, const char *method, enum MHD_Result *result)
{
    bool known;
    x->route = serve_find_route(method, url, &known);
    bool page = !x->route && strcmp(method, "OPTIONS") == 0 && known && x->server->o.origin;
    if (x->route && !serve_may_ask(x, result))
        return false;
    if (page)
        *result = allow_page(x);
    else if (!x->route && known)
        *result = serve_refuse(x, MHD_HTTP_METHOD_NOT_ALLOWED, NULL,
                               "this path is asked by another method");
    else if (!x->route)
        *result = serve_refuse(x, MHD_HTTP_NOT_FOUND, NULL, "there is no such path here");
    else if (too_large(x))
        *result = serve_refuse(x, MHD_HTTP_CONTENT_TOO_LARGE, NULL,
                               "the body may have %llu bytes at most",
                               (unsigned long long)x->server->o.body_bytes);
    else
        return true;
    return false;
}

/* Room for so many bytes and a NUL. 0, or the status that refuses it. */
static int make_room(serve_exchange *x, size_t bytes)
{
    serve *s = x->server;
    if (bytes > s->o.body_bytes)
        return MHD_HTTP_CONTENT_TOO_LARGE;
    if (bytes < x->room)
        return 0;
    size_t room = bytes * 2 + 1024;
    room = room < s->o.body_bytes + 1 ? room : s->o.body_bytes + 1;
    size_t more = room - x->room;
    if (atomic_fetch_add(&s->body_bytes, more) + more > most_bodies(s)) {
        atomic_fetch_sub(&s->body_bytes, more);
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    }
    char *larger = umbra_reallocarray(x->body, room, 1);
    if (!larger) {
        atomic_fetch_sub(&s->body_bytes, more);
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    }
    x->body = larger;
    x->room = room;
    return 0;
}

/* An answer cannot be queued while a body comes, so what is too much is noted, the rest passed
 * over up to the limit of time, and the refusal given then. */
static void gather(serve_exchange *x, const char *data, size_t bytes)
{
    if (x->refused)
        return;
    x->refused = make_room(x, x->bytes + bytes);
    if (x->refused) {
        release_body(x);
        return;
    }
    memcpy(x->body + x->bytes, data, bytes);
    x->bytes += bytes;
    x->body[x->bytes] = '\0';
}

enum MHD_Result serve_exchange_access(void *server, struct MHD_Connection *connection,
                                      const char *url, const char *method, const char *version,
                                      const char *data, size_t *bytes, void **context)
{
    serve_exchange *x = *context;
    enum MHD_Result result = MHD_NO;
    (void)version;
    if (!x) {
        x = *context = open_exchange(server, connection);
        if (!x)
            return MHD_NO;
        return admit(x, url, method, &result) ? MHD_YES : result;
    }
    x->path = url;
    if (*bytes > 0) {
        gather(x, data, *bytes);
        *bytes = 0;
        return MHD_YES;
    }
    serve_guard_arrived(x, true);
    if (x->refused)
        return serve_refuse(x, x->refused, NULL,
                            x->refused == MHD_HTTP_SERVICE_UNAVAILABLE
                                ? "too much is being asked at once; ask again"
                                : "the body is too large");
    result = x->route->answer(x);
    return result;
}
