/* GET /: the page; GET /live: what it shows of the machine at work. */
#include "base/memory.h"
#include "serve/internal.h"
#include <page_bytes.h>

static void add_policy(struct MHD_Response *response)
{
    /* Nothing comes from elsewhere, nothing goes elsewhere, and nobody shows it in a frame. */
    MHD_add_response_header(response, "Content-Security-Policy",
                            "default-src 'none'; style-src 'unsafe-inline'; script-src "
                            "'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action "
                            "'none'; frame-ancestors 'none'");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(response, "Content-Type", "text/html; charset=utf-8");
}

enum MHD_Result serve_page(serve_exchange *x)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        sizeof serve_page_bytes, (void *)(uintptr_t)serve_page_bytes, MHD_RESPMEM_PERSISTENT);
    if (response)
        add_policy(response);
    return serve_queue(x, MHD_HTTP_OK, response);
}

/* A digit per expert, layer by layer. */
static json_t *map_of(const serve *s)
{
    const umbra_model_info *info = umbra_model_get_info(s->o.model);
    size_t n = (size_t)info->layers * (size_t)info->experts;
    uint8_t *map = umbra_calloc(n, 1);
    if (!map)
        return NULL;
    umbra_engine_get_residency(s->o.engine, map);
    for (size_t i = 0; i < n; i++)
        map[i] = (uint8_t)(map[i] + '0');
    json_t *text = json_stringn((const char *)map, n);
    umbra_free(map);
    return text;
}

static json_t *ahead_of(const umbra_store_stats *s)
{
    umbra_ahead_stats a;
    umbra_store_sum_ahead(s, &a);
    return json_pack("{s:I, s:I, s:I, s:I}", "bytes", (json_int_t)a.bytes, "useful",
                     (json_int_t)a.useful_bytes, "late", (json_int_t)a.late_bytes, "wasted",
                     (json_int_t)a.wasted_bytes);
}

enum MHD_Result serve_live(serve_exchange *x)
{
    serve *s = x->server;
    umbra_scheduler_stats t;
    umbra_store_stats store;
    umbra_scheduler_get_stats(s->scheduler, &t);
    umbra_engine_get_store_stats(s->o.engine, &store);
    return serve_reply_json(
        x, MHD_HTTP_OK,
        json_pack(
            "{s:I, s:f, s:f, s:I, s:I, s:I, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:o, s:I, s:o}",
            "steps", (json_int_t)t.steps, "busy_seconds", (double)t.busy_ns * 1e-9, "wait_seconds",
            (double)store.wait_ns * 1e-9, "new_tokens", (json_int_t)t.new_tokens, "prompt_tokens",
            (json_int_t)t.computed_tokens, "reused_tokens",
            (json_int_t)(t.reused_tokens + t.restored_tokens), "waiting", t.waiting, "reading",
            t.reading, "writing", t.writing, "hits", (json_int_t)store.hits, "misses",
            (json_int_t)(store.misses + store.late), "bytes_read", (json_int_t)store.bytes_read,
            "resident_bytes", (json_int_t)store.resident_bytes, "ahead", ahead_of(&store),
            "rss_bytes", (json_int_t)umbra_process_rss(), "map", map_of(s)));
}
