/* POST /v1/responses: OpenAI's newer API, with text and calls of functions. */
#include <stdio.h>
#include <string.h>

#include "serve/internal.h"

/* ---- writing ---- */

enum { NO_ITEM = 0, MESSAGE_ITEM, REASONING_ITEM, CALL_ITEM };

static void item_id(const serve_answer *a, int kind, int index, char out[64])
{
    static const char *const prefixes[] = {"", "msg", "rs", "fc"};
    snprintf(out, 64, "%s_%s_%d", prefixes[kind], a->id, index);
}

/* What the item has of a part: a part may be written in several items. */
static json_t *text_in(const serve_answer *a, const serve_buffer *part)
{
    return part->data ? serve_json_text(part->data + a->from, part->bytes - a->from)
                      : json_string("");
}

static json_t *text_part(json_t *text)
{
    return json_pack("{s:s, s:o, s:[]}", "type", "output_text", "text", text, "annotations");
}

/* An item of the output as it is by now. */
static json_t *item(const serve_answer *a, int kind, int index, int call, bool done)
{
    char id[64];
    const char *status = done ? "completed" : "in_progress";
    item_id(a, kind, index, id);
    if (kind == REASONING_ITEM)
        return json_pack("{s:s, s:s, s:[], s:[{s:s, s:o}]}", "id", id, "type", "reasoning",
                         "summary", "content", "type", "reasoning_text", "text",
                         text_in(a, &a->reasoning));
    if (kind == MESSAGE_ITEM)
        return json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", id, "type", "message", "role",
                         "assistant", "status", status, "content",
                         done ? json_pack("[o]", text_part(text_in(a, &a->content)))
                              : json_array());
    const serve_tool *t = &a->tools[call];
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:o}", "id", id, "type", "function_call", "call_id", t->id,
        "status", status, "name", serve_json_text(t->name.data, t->name.bytes), "arguments",
        done ? serve_json_text(t->arguments.data, t->arguments.bytes) : json_string(""));
}

static json_t *usage(const serve_answer *a)
{
    const umbra_job *j = &a->text.job;
    return json_pack("{s:i, s:{s:i}, s:i, s:{s:i}, s:i}", "input_tokens", j->prompt_tokens,
                     "input_tokens_details", "cached_tokens", j->reused_tokens, "output_tokens",
                     j->new_tokens, "output_tokens_details", "reasoning_tokens", 0, "total_tokens",
                     j->prompt_tokens + j->new_tokens);
}

static bool is_cut(const serve_answer *a)
{
    return strcmp(serve_finish_reason(a), "length") == 0;
}

/* What was asked stands in the answer as well: echo. */
static json_t *envelope(const serve_answer *a, const char *status, json_t *output)
{
    json_t *j = json_pack("{s:s, s:s, s:I, s:s, s:s, s:o, s:n, s:n, s:b}", "id", a->id, "object",
                          "response", "created_at", (json_int_t)a->created, "status", status,
                          "model", a->server->o.name, "output", output, "error",
                          "incomplete_details", "parallel_tool_calls", !a->text.one_call);
    json_object_update(j, a->echo);
    return j;
}

/* With the text its last item was cut. */
static void tell_cut(const serve_answer *a, json_t *last)
{
    if (is_cut(a) && json_object_get(last, "status"))
        json_object_set_new(last, "status", json_string("incomplete"));
}

/* All items, in the order in which they stand in a whole answer. */
static json_t *output(const serve_answer *a)
{
    json_t *list = json_array();
    int n = 0;
    if (a->reasoning.bytes > 0)
        json_array_append_new(list, item(a, REASONING_ITEM, n++, 0, true));
    if (a->content.bytes > 0 || a->n_tools == 0)
        json_array_append_new(list, item(a, MESSAGE_ITEM, n++, 0, true));
    for (int i = 0; i < a->n_tools; i++)
        json_array_append_new(list, item(a, CALL_ITEM, n++, i, true));
    tell_cut(a, json_array_get(list, (size_t)n - 1));
    return list;
}

static json_t *whole(serve_answer *a)
{
    json_t *j = envelope(a, is_cut(a) ? "incomplete" : "completed", output(a));
    if (is_cut(a))
        json_object_set_new(j, "incomplete_details",
                            json_pack("{s:s}", "reason", "max_output_tokens"));
    json_object_set_new(j, "usage", usage(a));
    return j;
}

/* An event, numbered; takes the members. */
static void event(serve_answer *a, const char *type, json_t *members)
{
    json_object_set_new(members, "type", json_string(type));
    json_object_set_new(members, "sequence_number", json_integer(a->events++));
    serve_event(a, type, members);
}

static void begin(serve_answer *a)
{
    static const char *const types[] = {"response.created", "response.in_progress"};
    for (int i = 0; i < 2; i++)
        event(a, types[i],
              json_pack("{s:o}", "response", envelope(a, "in_progress", json_array())));
}

static void close_message(serve_answer *a, const char *id)
{
    event(a, "response.output_text.done",
          json_pack("{s:s, s:i, s:i, s:o, s:[]}", "item_id", id, "output_index", a->part,
                    "content_index", 0, "text", text_in(a, &a->content), "logprobs"));
    event(a, "response.content_part.done",
          json_pack("{s:s, s:i, s:i, s:o}", "item_id", id, "output_index", a->part, "content_index",
                    0, "part", text_part(text_in(a, &a->content))));
}

/* last: nothing follows it. */
static void close_item(serve_answer *a, bool last)
{
    char id[64];
    if (a->kind == NO_ITEM)
        return;
    item_id(a, a->kind, a->part, id);
    if (a->kind == MESSAGE_ITEM)
        close_message(a, id);
    if (a->kind == CALL_ITEM) {
        const serve_tool *t = &a->tools[a->call];
        event(a, "response.function_call_arguments.done",
              json_pack("{s:s, s:i, s:o, s:o}", "item_id", id, "output_index", a->part, "name",
                        serve_json_text(t->name.data, t->name.bytes), "arguments",
                        serve_json_text(t->arguments.data, t->arguments.bytes)));
    }
    json_t *done = item(a, a->kind, a->part, a->call, true);
    if (last)
        tell_cut(a, done);
    json_array_append(a->items, done);
    event(a, "response.output_item.done",
          json_pack("{s:i, s:o}", "output_index", a->part, "item", done));
    a->part++;
    a->kind = NO_ITEM;
}

static void open_item(serve_answer *a, int kind, int call)
{
    char id[64];
    close_item(a, false);
    if (!a->items)
        a->items = json_array();
    a->kind = kind;
    a->call = call;
    item_id(a, kind, a->part, id);
    event(a, "response.output_item.added",
          json_pack("{s:i, s:o}", "output_index", a->part, "item",
                    item(a, kind, a->part, call, false)));
    if (kind == MESSAGE_ITEM)
        event(a, "response.content_part.added",
              json_pack("{s:s, s:i, s:i, s:o}", "item_id", id, "output_index", a->part,
                        "content_index", 0, "part", text_part(json_string(""))));
}

static void add(serve_answer *a, const char *type, const serve_delta *d)
{
    char id[64];
    item_id(a, a->kind, a->part, id);
    json_t *j = json_pack("{s:s, s:i, s:o}", "item_id", id, "output_index", a->part, "delta",
                          serve_json_text(d->text, d->bytes));
    if (a->kind != CALL_ITEM)
        json_object_set_new(j, "content_index", json_integer(0));
    if (a->kind == MESSAGE_ITEM)
        json_object_set_new(j, "logprobs", json_array());
    event(a, type, j);
}

static void delta(serve_answer *a, const serve_delta *d)
{
    int kind = d->kind == SERVE_TEXT        ? MESSAGE_ITEM
               : d->kind == SERVE_REASONING ? REASONING_ITEM
                                            : CALL_ITEM;
    const serve_buffer *part = kind == MESSAGE_ITEM ? &a->content : &a->reasoning;
    if (d->kind == SERVE_CALL || kind != a->kind) {
        open_item(a, kind, d->call);
        a->from = kind == CALL_ITEM ? 0 : part->bytes - d->bytes;
    }
    if (d->kind == SERVE_TEXT)
        add(a, "response.output_text.delta", d);
    else if (d->kind == SERVE_REASONING)
        add(a, "response.reasoning_text.delta", d);
    else if (d->kind == SERVE_ARGUMENTS)
        add(a, "response.function_call_arguments.delta", d);
}

static void end(serve_answer *a)
{
    close_item(a, true);
    a->from = 0;
    json_t *j = whole(a);
    if (a->items) /* as they came */
        json_object_set(j, "output", a->items);
    event(a, is_cut(a) ? "response.incomplete" : "response.completed",
          json_pack("{s:o}", "response", j));
}

static void fail(serve_answer *a, int status, const char *message)
{
    (void)status;
    json_t *j = envelope(a, "failed", json_array());
    json_object_set_new(j, "error",
                        json_pack("{s:s, s:o}", "code", "server_error", "message",
                                  serve_json_text(message, strlen(message))));
    event(a, "response.failed", json_pack("{s:o}", "response", j));
}

static const serve_writer writer = {begin, delta, end, fail, whole, ": alive\n\n"};

/* ---- reading ---- */

static bool refuse(serve_exchange *x, const char *field, const char *what, enum MHD_Result *result)
{
    *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, field, "%s: %s", field, what);
    return false;
}

static const char *text_of(const json_t *j, const char *key)
{
    const char *text = json_string_value(json_object_get(j, key));
    return text ? text : "";
}

/* A string, or parts with texts, as one text; NULL: a part is none. */
static json_t *join_parts(const json_t *content)
{
    serve_buffer text = {0};
    size_t i;
    json_t *part;
    bool good = json_is_string(content) || json_is_array(content);
    if (json_is_string(content))
        serve_buffer_add(&text, json_string_value(content), json_string_length(content));
    json_array_foreach((json_t *)(uintptr_t)content, i, part)
    {
        const json_t *t = json_object_get(part, "text");
        good = good && json_is_string(t);
        serve_buffer_add(&text, json_is_string(t) ? json_string_value(t) : "",
                         json_string_length(t));
    }
    json_t *j = good ? serve_json_text(text.data, text.bytes) : NULL;
    serve_buffer_free(&text);
    return j;
}

static json_t *call_of(const json_t *entry)
{
    return json_pack("{s:s, s:s, s:{s:s, s:s}}", "id", text_of(entry, "call_id"), "type",
                     "function", "function", "name", text_of(entry, "name"), "arguments",
                     text_of(entry, "arguments"));
}

/* Calls and reasoning belong to the assistant's message before them, or make one. */
static json_t *last_of_assistant(json_t *list)
{
    size_t n = json_array_size(list);
    json_t *last = n > 0 ? json_array_get(list, n - 1) : NULL;
    if (last && strcmp(text_of(last, "role"), "assistant") == 0)
        return last;
    last = json_pack("{s:s, s:s}", "role", "assistant", "content", "");
    json_array_append_new(list, last);
    return last;
}

static bool add_entry(serve_exchange *x, json_t *list, const json_t *entry, enum MHD_Result *result)
{
    const char *type = text_of(entry, "type");
    json_t *content;
    if (strcmp(type, "function_call") == 0) {
        json_t *m = last_of_assistant(list), *calls = json_object_get(m, "tool_calls");
        if (!calls)
            json_object_set_new(m, "tool_calls", calls = json_array());
        json_array_append_new(calls, call_of(entry));
        return true;
    }
    if (strcmp(type, "reasoning") == 0)
        return true; /* of a turn that has ended */
    bool is_result = strcmp(type, "function_call_output") == 0;
    content = join_parts(json_object_get(entry, is_result ? "output" : "content"));
    if (!content || (!is_result && *type && strcmp(type, "message") != 0)) {
        json_decref(content);
        return refuse(x, "input", "an item is of a type that is not supported", result);
    }
    if (is_result)
        json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "role", "tool", "tool_call_id",
                                              text_of(entry, "call_id"), "content", content));
    else
        json_array_append_new(
            list, json_pack("{s:s, s:o}", "role", text_of(entry, "role"), "content", content));
    return true;
}

/* NULL: refused. */
static json_t *messages_of(serve_exchange *x, const json_t *input, const char *instructions,
                           enum MHD_Result *result)
{
    json_t *list = json_array(), *entry;
    size_t i;
    bool good = json_is_string(input) || json_is_array(input) ||
                refuse(x, "input", "must be a string or a list of items", result);
    if (instructions)
        json_array_append_new(list,
                              json_pack("{s:s, s:s}", "role", "system", "content", instructions));
    if (json_is_string(input))
        json_array_append_new(list, json_pack("{s:s, s:O}", "role", "user", "content", input));
    json_array_foreach((json_t *)(uintptr_t)input, i, entry)
    {
        good = good && add_entry(x, list, entry, result);
    }
    if (good)
        return list;
    json_decref(list);
    return NULL;
}

/* Functions as the older API has them; NULL: refused. */
static json_t *functions_of(serve_exchange *x, const json_t *tools, enum MHD_Result *result)
{
    json_t *list = json_array(), *t;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)tools, i, t)
    {
        json_t *schema = json_object_get(t, "parameters");
        if (strcmp(text_of(t, "type"), "function") != 0) {
            refuse(x, "tools", "only functions are supported", result);
            json_decref(list);
            return NULL;
        }
        json_array_append_new(
            list, json_pack("{s:s, s:{s:s, s:s, s:o, s:b}}", "type", "function", "function", "name",
                            text_of(t, "name"), "description", text_of(t, "description"),
                            "parameters", schema ? json_incref(schema) : json_object(), "strict",
                            json_is_true(json_object_get(t, "strict"))));
    }
    return list;
}

typedef struct request {
    const json_t *input, *tools, *text, *choice, *reasoning;
    const char *model, *instructions, *effort;
    int best;
    bool parallel;
} request;

static bool render(serve_exchange *x, const request *r, serve_prompt *prompt,
                   enum MHD_Result *result)
{
    json_t *tools = NULL, *messages = messages_of(x, r->input, r->instructions, result);
    bool good = messages != NULL;
    if (good && json_array_size(r->tools) > 0) {
        tools = functions_of(x, r->tools, result);
        good = tools != NULL;
    }
    serve_chat chat = {.messages = messages, .tools = tools, .effort = r->effort};
    if (good)
        good = serve_read_choice(x, r->choice, &chat, result) &&
               serve_render(x, &chat, prompt, result);
    json_decref(messages);
    json_decref(tools);
    return good;
}

/* Summaries are none of a model's that tells all of its reasoning. */
static bool read_reasoning(serve_exchange *x, request *r, enum MHD_Result *result)
{
    const serve_field fields[] = {
        {"effort", SERVE_TEXT_FIELD, &r->effort},
        {"summary", SERVE_IGNORED},
        {"generate_summary", SERVE_IGNORED},
        {0},
    };
    if (r->reasoning && !json_is_object(r->reasoning))
        return refuse(x, "reasoning", "must be an object", result);
    return serve_read_fields(x, r->reasoning, fields, result);
}

static bool read_text(serve_exchange *x, const request *r, serve_ask *ask, enum MHD_Result *result)
{
    const json_t *format = NULL;
    const serve_field fields[] = {
        {"format", SERVE_JSON, &format},
        {"verbosity", SERVE_ONLY, .only = "[\"medium\"]"},
        {0},
    };
    if (r->text && !json_is_object(r->text))
        return refuse(x, "text", "must be an object", result);
    return serve_read_fields(x, r->text, fields, result) &&
           serve_read_format(x, format, "text", ask, result);
}

/* What the answer says again of the request, or what stands for it where it says nothing. */
static json_t *echo_of(const json_t *body)
{
    static const struct {
        const char *name, *otherwise;
    } fields[] = {
        {"tool_choice", "\"auto\""},
        {"tools", "[]"},
        {"text", "{\"format\": {\"type\": \"text\"}}"},
        {"instructions", "null"},
        {"max_output_tokens", "null"},
        {"temperature", "1"},
        {"top_p", "1"},
        {"truncation", "\"disabled\""},
        {"metadata", "{}"},
    };
    json_t *echo = json_object();
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        json_t *value = json_object_get(body, fields[i].name);
        if (value && !json_is_null(value))
            json_object_set(echo, fields[i].name, value);
        else
            json_object_set_new(echo, fields[i].name,
                                json_loads(fields[i].otherwise, JSON_DECODE_ANY, NULL));
    }
    return echo;
}

static bool read_request(serve_exchange *x, serve_answer *a, const json_t *body,
                         enum MHD_Result *result)
{
    serve_ask ask;
    request r = {.parallel = true};
    serve_prompt prompt;
    serve_ask_begin(&ask);
    const serve_field fields[] = {
        {"model", SERVE_TEXT_FIELD, &r.model},
        {"input", SERVE_JSON, &r.input},
        {"instructions", SERVE_TEXT_FIELD, &r.instructions},
        {"tools", SERVE_JSON, &r.tools},
        {"tool_choice", SERVE_JSON, &r.choice},
        {"parallel_tool_calls", SERVE_BOOL, &r.parallel},
        {"max_output_tokens", SERVE_INT, &ask.max_tokens, 1, 1e9},
        {"temperature", SERVE_FLOAT, &ask.sampling.temperature, 0, 2},
        {"top_p", SERVE_FLOAT, &ask.sampling.top_p, 0, 1},
        {"stream", SERVE_BOOL, &a->stream},
        {"store", SERVE_IGNORED}, /* nothing is ever stored for another request */
        {"text", SERVE_JSON, &r.text},
        {"reasoning", SERVE_JSON, &r.reasoning},
        {"truncation", SERVE_ONLY, .only = "[\"disabled\"]"},
        {"background", SERVE_ONLY, .only = "[false]"},
        {"top_logprobs", SERVE_ONLY, .only = "[0]"},
        {"include", SERVE_ONLY, .only = "[[],[\"reasoning.encrypted_content\"]]"},
        {"service_tier", SERVE_ONLY, .only = "[\"auto\",\"default\"]"},
        {"metadata", SERVE_IGNORED},
        {"user", SERVE_IGNORED},
        {"prompt_cache_key", SERVE_IGNORED},
        {"safety_identifier", SERVE_IGNORED},
        {0},
    };
    if (!serve_read_fields(x, body, fields, result) || !read_text(x, &r, &ask, result) ||
        !read_reasoning(x, &r, result) || !render(x, &r, &prompt, result))
        return false;
    bool good = serve_ask_chat(a, &ask, &prompt, result);
    a->text.one_call |= !r.parallel;
    a->echo = echo_of(body);
    return good;
}

enum MHD_Result serve_responses(serve_exchange *x)
{
    return serve_answer_request(x, &writer, "resp_", read_request);
}
