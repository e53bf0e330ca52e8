/* POST /v1/messages and /v1/messages/count_tokens: Anthropic's API. */
#include <string.h>

#include "serve/internal.h"

/* ---- writing ---- */

enum { NO_BLOCK = 0, TEXT_BLOCK, THINKING_BLOCK, TOOL_BLOCK };

static const char *stop_reason(const serve_answer *a)
{
    if (a->text.stop >= 0)
        return "stop_sequence";
    if (a->text.job.end == UMBRA_JOB_LENGTH)
        return "max_tokens";
    return a->n_tools > 0 ? "tool_use" : "end_turn";
}

/* Tokens that were held count as read from a cache. */
static json_t *usage(const serve_answer *a)
{
    const umbra_job *j = &a->text.job;
    return json_pack("{s:i, s:i, s:i, s:i}", "input_tokens", j->prompt_tokens - j->reused_tokens,
                     "cache_read_input_tokens", j->reused_tokens, "cache_creation_input_tokens", 0,
                     "output_tokens", j->new_tokens);
}

static json_t *envelope(const serve_answer *a, json_t *content)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:n, s:n}", "id", a->id, "type", "message", "role",
                     "assistant", "model", a->server->o.name, "content", content, "stop_reason",
                     "stop_sequence");
}

static void begin(serve_answer *a)
{
    json_t *message = envelope(a, json_array());
    json_object_set_new(
        message, "usage",
        json_pack("{s:i, s:i}", "input_tokens", a->text.job.prompt_tokens, "output_tokens", 0));
    serve_event(a, "message_start",
                json_pack("{s:s, s:o}", "type", "message_start", "message", message));
}

static void close_block(serve_answer *a)
{
    if (a->kind != NO_BLOCK)
        serve_event(a, "content_block_stop",
                    json_pack("{s:s, s:i}", "type", "content_block_stop", "index", a->part++));
    a->kind = NO_BLOCK;
}

static void open_block(serve_answer *a, int kind, json_t *block)
{
    close_block(a);
    a->kind = kind;
    serve_event(a, "content_block_start",
                json_pack("{s:s, s:i, s:o}", "type", "content_block_start", "index", a->part,
                          "content_block", block));
}

static void add_to_block(serve_answer *a, const char *type, const char *member,
                         const serve_delta *d)
{
    serve_event(a, "content_block_delta",
                json_pack("{s:s, s:i, s:{s:s, s:o}}", "type", "content_block_delta", "index",
                          a->part, "delta", "type", type, member,
                          serve_json_text(d->text, d->bytes)));
}

static void delta(serve_answer *a, const serve_delta *d)
{
    if (d->kind == SERVE_DELTA_TEXT && a->kind != TEXT_BLOCK)
        open_block(a, TEXT_BLOCK, json_pack("{s:s, s:s}", "type", "text", "text", ""));
    if (d->kind == SERVE_DELTA_REASONING && a->kind != THINKING_BLOCK)
        open_block(
            a, THINKING_BLOCK,
            json_pack("{s:s, s:s, s:s}", "type", "thinking", "thinking", "", "signature", ""));
    switch (d->kind) {
    case SERVE_DELTA_TEXT:
        add_to_block(a, "text_delta", "text", d);
        break;
    case SERVE_DELTA_REASONING:
        add_to_block(a, "thinking_delta", "thinking", d);
        break;
    case SERVE_DELTA_TOOL:
        open_block(a, TOOL_BLOCK,
                   json_pack("{s:s, s:s, s:o, s:{}}", "type", "tool_use", "id", d->id, "name",
                             serve_json_text(d->text, d->bytes), "input"));
        break;
    case SERVE_DELTA_ARGUMENTS:
        add_to_block(a, "input_json_delta", "partial_json", d);
        break;
    }
}

static json_t *stop_text(const serve_answer *a)
{
    return a->text.stop >= 0 ? json_string(a->stops[a->text.stop]) : json_null();
}

static void end(serve_answer *a)
{
    close_block(a);
    serve_event(a, "message_delta",
                json_pack("{s:s, s:{s:s, s:o}, s:o}", "type", "message_delta", "delta",
                          "stop_reason", stop_reason(a), "stop_sequence", stop_text(a), "usage",
                          usage(a)));
    serve_event(a, "message_stop", json_pack("{s:s}", "type", "message_stop"));
}

static void fail(serve_answer *a, int status, const char *message)
{
    serve_event(a, "error", serve_error_json(SERVE_ANTHROPIC, status, NULL, message));
}

/* Arguments that are no JSON, since the text was cut, are none. */
static json_t *tool_use(const serve_tool *t)
{
    json_t *input =
        json_loadb(t->arguments.data ? t->arguments.data : "", t->arguments.bytes, 0, NULL);
    return json_pack("{s:s, s:s, s:o, s:o}", "type", "tool_use", "id", t->id, "name",
                     serve_json_text(t->name.data, t->name.bytes), "input",
                     input ? input : json_object());
}

static json_t *whole(serve_answer *a)
{
    json_t *content = json_array();
    if (a->reasoning.bytes > 0)
        json_array_append_new(content,
                              json_pack("{s:s, s:o, s:s}", "type", "thinking", "thinking",
                                        serve_json_text(a->reasoning.data, a->reasoning.bytes),
                                        "signature", ""));
    if (a->content.bytes > 0 || a->n_tools == 0)
        json_array_append_new(content,
                              json_pack("{s:s, s:o}", "type", "text", "text",
                                        serve_json_text(a->content.data, a->content.bytes)));
    for (int i = 0; i < a->n_tools; i++)
        json_array_append_new(content, tool_use(&a->tools[i]));
    json_t *j = envelope(a, content);
    json_object_set_new(j, "stop_reason", json_string(stop_reason(a)));
    json_object_set_new(j, "stop_sequence", stop_text(a));
    json_object_set_new(j, "usage", usage(a));
    return j;
}

static const serve_writer writer = {begin, delta, end,
                                    fail,  whole, "event: ping\ndata: {\"type\": \"ping\"}\n\n"};

/* ---- reading ---- */

typedef struct request {
    serve_ask ask;
    const json_t *messages, *system;
    const char *model;
} request;

static bool refuse(serve_exchange *x, const char *field, const char *what, enum MHD_Result *result)
{
    *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, field, "%s: %s", field, what);
    return false;
}

/* Appends the text of a block, which may be a string itself. */
static bool add_text(serve_exchange *x, serve_buffer *text, const json_t *block, const char *field,
                     enum MHD_Result *result)
{
    const json_t *t = json_object_get(block, "text");
    const char *type = json_string_value(json_object_get(block, "type"));
    if (!type || strcmp(type, "text") != 0 || !json_is_string(t))
        return refuse(x, field, "a block is of a type that is not supported", result);
    if (text->bytes > 0)
        serve_buffer_add(text, "\n", 1);
    serve_buffer_add(text, json_string_value(t), json_string_length(t));
    return true;
}

/* A string, or a list of blocks of text, as one text; NULL: refused. */
static json_t *join_text(serve_exchange *x, const json_t *content, const char *field,
                         enum MHD_Result *result)
{
    serve_buffer text = {0};
    size_t i;
    json_t *block;
    bool good = json_is_string(content) || json_is_array(content);
    if (!good)
        refuse(x, field, "must be a string or a list of blocks", result);
    if (json_is_string(content))
        serve_buffer_add(&text, json_string_value(content), json_string_length(content));
    json_array_foreach((json_t *)(uintptr_t)content, i, block)
    {
        good = good && add_text(x, &text, block, field, result);
    }
    json_t *j = good ? serve_json_text(text.data, text.bytes) : NULL;
    serve_buffer_free(&text);
    return j;
}

static bool add_message(serve_exchange *x, json_t *list, const json_t *m, enum MHD_Result *result)
{
    const char *role = json_string_value(json_object_get(m, "role"));
    if (!role || (strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0))
        return refuse(x, "messages", "a role is neither user nor assistant", result);
    json_t *text = join_text(x, json_object_get(m, "content"), "messages", result);
    if (text)
        json_array_append_new(list, json_pack("{s:s, s:o}", "role", role, "content", text));
    return text != NULL;
}

/* The messages in OpenAI's form; NULL: refused. */
static json_t *convert(serve_exchange *x, const request *r, enum MHD_Result *result)
{
    json_t *list = json_array(), *m;
    size_t i;
    bool good =
        json_is_array(r->messages) || refuse(x, "messages", "must be a list of messages", result);
    if (good && r->system) {
        json_t *text = join_text(x, r->system, "system", result);
        good = text != NULL;
        if (good)
            json_array_append_new(list, json_pack("{s:s, s:o}", "role", "system", "content", text));
    }
    json_array_foreach((json_t *)(uintptr_t)r->messages, i, m)
    {
        good = good && add_message(x, list, m, result);
    }
    if (good)
        return list;
    json_decref(list);
    return NULL;
}

static bool render(serve_exchange *x, const request *r, umbra_chat_prompt *prompt,
                   enum MHD_Result *result)
{
    json_t *messages = convert(x, r, result);
    bool good = messages && serve_render(x, messages, NULL, NULL, prompt, result);
    json_decref(messages);
    return good;
}

static bool read_request(serve_exchange *x, serve_answer *a, const json_t *body,
                         enum MHD_Result *result)
{
    request r = {0};
    umbra_chat_prompt prompt;
    serve_ask_begin(&r.ask);
    const serve_field fields[] = {
        {"model", SERVE_TEXT_FIELD, &r.model},
        {"messages", SERVE_JSON, &r.messages},
        {"system", SERVE_JSON, &r.system},
        {"max_tokens", SERVE_INT, &r.ask.max_tokens, 1, 1e9},
        {"temperature", SERVE_FLOAT, &r.ask.sampling.temperature, 0, 1},
        {"top_p", SERVE_FLOAT, &r.ask.sampling.top_p, 0, 1},
        {"top_k", SERVE_INT, &r.ask.sampling.top_k, 0, 1e9},
        {"stop_sequences", SERVE_JSON, &r.ask.stop},
        {"stream", SERVE_BOOL, &a->stream},
        {"tools", SERVE_ONLY, .only = "[[]]"},
        {"tool_choice", SERVE_ONLY, .only = "[{\"type\":\"none\"}]"},
        {"thinking", SERVE_ONLY, .only = "[{\"type\":\"disabled\"}]"},
        {"metadata", SERVE_IGNORED},
        {"service_tier", SERVE_IGNORED},
        {0},
    };
    if (!serve_read_fields(x, body, fields, result))
        return false;
    if (r.ask.max_tokens < 0)
        return refuse(x, "max_tokens", "must be given", result);
    if (!render(x, &r, &prompt, result))
        return false;
    int32_t *tokens = prompt.tokens;
    prompt.tokens = NULL;
    bool good = serve_ask_text(a, &r.ask, tokens, prompt.count, result);
    umbra_chat_prompt_free(&prompt);
    return good;
}

enum MHD_Result serve_messages(serve_exchange *x)
{
    return serve_answer_request(x, &writer, "msg_", read_request);
}

static enum MHD_Result count(serve_exchange *x, const json_t *body)
{
    request r = {0};
    enum MHD_Result result;
    umbra_chat_prompt prompt;
    const serve_field fields[] = {
        {"model", SERVE_TEXT_FIELD, &r.model},
        {"messages", SERVE_JSON, &r.messages},
        {"system", SERVE_JSON, &r.system},
        {"tools", SERVE_ONLY, .only = "[[]]"},
        {"tool_choice", SERVE_IGNORED},
        {"thinking", SERVE_IGNORED},
        {0},
    };
    if (!serve_read_fields(x, body, fields, &result) || !render(x, &r, &prompt, &result))
        return result;
    json_t *j = json_pack("{s:I}", "input_tokens", (json_int_t)prompt.count);
    umbra_chat_prompt_free(&prompt);
    return serve_reply_json(x, MHD_HTTP_OK, j);
}

enum MHD_Result serve_count_tokens(serve_exchange *x)
{
    enum MHD_Result result = MHD_NO;
    json_t *body = serve_read_body(x, &result);
    if (body)
        result = count(x, body);
    json_decref(body);
    return result;
}
