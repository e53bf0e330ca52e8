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
    if (d->kind == SERVE_TEXT && a->kind != TEXT_BLOCK)
        open_block(a, TEXT_BLOCK, json_pack("{s:s, s:s}", "type", "text", "text", ""));
    if (d->kind == SERVE_REASONING && a->kind != THINKING_BLOCK)
        open_block(
            a, THINKING_BLOCK,
            json_pack("{s:s, s:s, s:s}", "type", "thinking", "thinking", "", "signature", ""));
    switch (d->kind) {
    case SERVE_TEXT:
        add_to_block(a, "text_delta", "text", d);
        break;
    case SERVE_REASONING:
        add_to_block(a, "thinking_delta", "thinking", d);
        break;
    case SERVE_CALL:
        open_block(a, TOOL_BLOCK,
                   json_pack("{s:s, s:s, s:o, s:{}}", "type", "tool_use", "id", d->id, "name",
                             serve_json_text(d->text, d->bytes), "input"));
        break;
    case SERVE_ARGUMENTS:
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
    const char *text = t->arguments.data ? t->arguments.data : "";
    json_t *input = json_loadb(text, t->arguments.bytes, 0, NULL);
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
    const json_t *messages, *system, *tools, *choice, *thinking;
    const char *model;
    bool one_call;
} request;

/* In OpenAI's form, owned. */
typedef struct converted {
    json_t *messages, *tools, *variables;
} converted;

static bool convert(serve_exchange *x, request *r, converted *c, enum MHD_Result *result)
{
    c->messages = serve_convert_messages(x, r->messages, r->system, result);
    bool good = c->messages && serve_convert_thinking(x, r->thinking, &c->variables, result);
    if (good && r->tools) {
        c->tools = serve_convert_tools(x, r->tools, result);
        good = c->tools != NULL;
    }
    return good;
}

static bool render(serve_exchange *x, request *r, serve_prompt *prompt, enum MHD_Result *result)
{
    converted c = {0};
    bool good = convert(x, r, &c, result);
    serve_chat chat = {.messages = c.messages, .tools = c.tools, .variables = c.variables};
    r->one_call = json_is_true(json_object_get(r->choice, "disable_parallel_tool_use"));
    if (good)
        good = serve_read_choice(x, r->choice, &chat, result) &&
               serve_render(x, &chat, prompt, result);
    json_decref(c.messages);
    json_decref(c.tools);
    json_decref(c.variables);
    return good;
}

static bool read_request(serve_exchange *x, serve_answer *a, const json_t *body,
                         enum MHD_Result *result)
{
    request r = {0};
    serve_prompt prompt;
    serve_ask_begin(&r.ask);
    const serve_field fields[] = {
        {"model", SERVE_TEXT_FIELD, &r.model},
        {"messages", SERVE_JSON, &r.messages},
        {"system", SERVE_JSON, &r.system},
        {"tools", SERVE_JSON, &r.tools},
        {"tool_choice", SERVE_JSON, &r.choice},
        {"thinking", SERVE_JSON, &r.thinking},
        {"max_tokens", SERVE_INT, &r.ask.max_tokens, 1, 1e9},
        {"temperature", SERVE_FLOAT, &r.ask.sampling.temperature, 0, 1},
        {"top_p", SERVE_FLOAT, &r.ask.sampling.top_p, 0, 1},
        {"top_k", SERVE_INT, &r.ask.sampling.top_k, 0, 1e9},
        {"stop_sequences", SERVE_JSON, &r.ask.stop},
        {"stream", SERVE_BOOL, &a->stream},
        {"metadata", SERVE_IGNORED},
        {"service_tier", SERVE_IGNORED},
        {0},
    };
    if (!serve_read_fields(x, body, fields, result))
        return false;
    if (r.ask.max_tokens < 0) {
        *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, "max_tokens", "max_tokens: must be given");
        return false;
    }
    if (!render(x, &r, &prompt, result))
        return false;
    bool good = serve_ask_chat(a, &r.ask, &prompt, result);
    a->text.one_call |= r.one_call;
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
    serve_prompt prompt;
    const serve_field fields[] = {
        {"model", SERVE_TEXT_FIELD, &r.model},
        {"messages", SERVE_JSON, &r.messages},
        {"system", SERVE_JSON, &r.system},
        {"tools", SERVE_JSON, &r.tools},
        {"tool_choice", SERVE_JSON, &r.choice},
        {"thinking", SERVE_JSON, &r.thinking},
        {0},
    };
    if (!serve_read_fields(x, body, fields, &result) || !render(x, &r, &prompt, &result))
        return result;
    json_t *j = json_pack("{s:I}", "input_tokens", (json_int_t)prompt.prompt.count);
    serve_prompt_free(&prompt);
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
