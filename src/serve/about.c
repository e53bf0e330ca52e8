/* What the server says of itself: its model, its plan, its slots. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "serve/internal.h"

static json_t *describe(const serve *s)
{
    const umbra_model_info *info = umbra_model_get_info(s->o.model);
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:i, s:i}", "id", s->o.name, "object", "model",
                     "created", (json_int_t)s->started, "owned_by", "umbra", "architecture",
                     info->architecture, "context_length", s->context, "vocabulary", s->vocabulary);
}

enum MHD_Result serve_models(serve_exchange *x)
{
    return serve_reply_json(
        x, MHD_HTTP_OK, json_pack("{s:s, s:[o]}", "object", "list", "data", describe(x->server)));
}

enum MHD_Result serve_model(serve_exchange *x)
{
    if (strcmp(x->path + strlen(x->route->path), x->server->o.name) != 0)
        return serve_refuse(x, MHD_HTTP_NOT_FOUND, NULL, "there is no such model here");
    return serve_reply_json(x, MHD_HTTP_OK, describe(x->server));
}

enum MHD_Result serve_health(serve_exchange *x)
{
    if (x->server->finishing)
        return serve_refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "the server is closing");
    return serve_reply_json(x, MHD_HTTP_OK, json_pack("{s:s}", "status", "ok"));
}

static json_t *describe_plan(const umbra_memory_plan *p)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "ram_bytes",
                     (json_int_t)p->ram_bytes, "min_bytes", (json_int_t)p->min_bytes, "all_bytes",
                     (json_int_t)p->all_bytes, "process_bytes", (json_int_t)p->process_bytes,
                     "metadata_bytes", (json_int_t)p->metadata_bytes, "dense_bytes",
                     (json_int_t)p->dense_bytes, "kv_bytes", (json_int_t)p->kv_bytes,
                     "scratch_bytes", (json_int_t)p->scratch_bytes, "reserved_bytes",
                     (json_int_t)p->reserved_bytes, "cache_bytes", (json_int_t)p->cache_bytes,
                     "slots", (json_int_t)p->slots, "residency", p->residency);
}

enum MHD_Result serve_props(serve_exchange *x)
{
    const serve *s = x->server;
    const umbra_memory_plan *p = umbra_engine_get_plan(s->o.engine);
    const umbra_model_info *info = umbra_model_get_info(s->o.model);
    json_t *text =
        s->o.template_text ? serve_json_text(s->o.template_text, s->o.template_bytes) : json_null();
    return serve_reply_json(
        x, MHD_HTTP_OK,
        json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:s, s:i, s:o, s:o}", "model",
                  s->o.name, "architecture", info->architecture, "version", umbra_version(),
                  "context", s->context, "parallel", s->o.texts ? s->o.texts : s->o.sequences,
                  "layers", info->layers, "experts", info->experts, "experts_used",
                  info->experts_used, "kernels", p->kernels, "threads", p->threads, "plan",
                  describe_plan(p), "chat_template", text));
}

enum MHD_Result serve_slots(serve_exchange *x)
{
    static const char *const names[] = {"idle", "reading", "writing"};
    serve *s = x->server;
    umbra_text_stats *slots = umbra_calloc((size_t)s->o.sequences, sizeof *slots);
    json_t *list = json_array();
    if (slots)
        umbra_scheduler_get_slots(s->scheduler, slots);
    for (int i = 0; slots && i < s->o.sequences; i++)
        json_array_append_new(list, json_pack("{s:i, s:s, s:i, s:i, s:i}", "id", i, "state",
                                              names[slots[i].state], "held_tokens", slots[i].held,
                                              "prompt_tokens", slots[i].prompt_tokens, "new_tokens",
                                              slots[i].new_tokens));
    umbra_free(slots);
    return serve_reply_json(x, MHD_HTTP_OK, list);
}
