/* POST /v1/chat/completions: an answer to messages, as OpenAI's API has it. */
#include <string.h>

#include "serve/internal.h"

static json_t *envelope(const serve_answer *a, const char *object, json_t *choices)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", a->id, "object", object, "created",
                     (json_int_t)a->created, "model", a->server->o.name, "choices", choices);
}

static json_t *chunk(const serve_answer *a, json_t *delta, json_t *probabilities,
                     const char *reason)
{
    return envelope(a, "chat.completion.chunk",
                    json_pack("[{s:i, s:o, s:o, s:s?}]", "index", 0, "delta", delta, "logprobs",
                              probabilities, "finish_reason", reason));
}

static json_t *probabilities(const serve_answer *a, int from, int to)
{
    return a->text.logprobs ? serve_chat_logprobs(a, from, to) : json_null();
}

static void begin(serve_answer *a)
{
    serve_event(
        a, NULL,
        chunk(a, json_pack("{s:s, s:s}", "role", "assistant", "content", ""), json_null(), NULL));
}

static json_t *tool_delta(const serve_delta *d, json_t *text)
{
    if (d->kind == SERVE_CALL)
        return json_pack("{s:[{s:i, s:s, s:s, s:{s:o, s:s}}]}", "tool_calls", "index", d->call,
                         "id", d->id, "type", "function", "function", "name", text, "arguments",
                         "");
    return json_pack("{s:[{s:i, s:{s:o}}]}", "tool_calls", "index", d->call, "function",
                     "arguments", text);
}

static void delta(serve_answer *a, const serve_delta *d)
{
    json_t *text = serve_json_text(d->text, d->bytes), *j;
    if (d->kind == SERVE_TEXT)
        j = json_pack("{s:o}", "content", text);
    else if (d->kind == SERVE_REASONING)
        j = json_pack("{s:o}", "reasoning_content", text);
    else
        j = tool_delta(d, text);
    pthread_mutex_lock(&a->text.mutex); /* the list of choices may move */
    json_t *p = probabilities(a, a->seen_choices, a->choices);
    pthread_mutex_unlock(&a->text.mutex);
    serve_event(a, NULL, chunk(a, j, p, NULL));
}

static void end(serve_answer *a)
{
    serve_event(a, NULL, chunk(a, json_object(), json_null(), serve_finish_reason(a)));
    if (a->usage) {
        json_t *last = envelope(a, "chat.completion.chunk", json_array());
        json_object_set_new(last, "usage", serve_usage(a));
        serve_event(a, NULL, last);
    }
    serve_buffer_print(&a->out, "data: [DONE]\n\n");
}

static json_t *calls(const serve_answer *a)
{
    json_t *list = json_array();
    for (int i = 0; i < a->n_tools; i++) {
        const serve_tool *t = &a->tools[i];
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:{s:o, s:o}}", "id", t->id, "type", "function", "function",
                            "name", serve_json_text(t->name.data, t->name.bytes), "arguments",
                            serve_json_text(t->arguments.data, t->arguments.bytes)));
    }
    return list;
}

static json_t *whole(serve_answer *a)
{
    bool silent = a->content.bytes == 0 && a->n_tools > 0;
    json_t *text = silent ? json_null() : serve_json_text(a->content.data, a->content.bytes);
    json_t *message = json_pack("{s:s, s:o}", "role", "assistant", "content", text);
    if (a->reasoning.bytes > 0)
        json_object_set_new(message, "reasoning_content",
                            serve_json_text(a->reasoning.data, a->reasoning.bytes));
    if (a->n_tools > 0)
        json_object_set_new(message, "tool_calls", calls(a));
    json_t *j = envelope(a, "chat.completion",
                         json_pack("[{s:i, s:o, s:o, s:s}]", "index", 0, "message", message,
                                   "logprobs", probabilities(a, 0, a->text.n_choices),
                                   "finish_reason", serve_finish_reason(a)));
    json_object_set_new(j, "usage", serve_usage(a));
    return j;
}

static const serve_writer writer = {begin, delta, end, serve_openai_fail, whole, ": alive\n\n"};

/* What the two names of a limit say, the newer one first. */
static int limit(int newer, int older)
{
    return newer >= 0 ? newer : older;
}

/* Probabilities of other tokens are told beside the one that came. */
static bool check_logprobs(serve_exchange *x, bool probable, int best, enum MHD_Result *result)
{
    if (probable || best <= 0)
        return true;
    *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, "top_logprobs",
                           "top_logprobs: are given where logprobs is true");
    return false;
}

static bool read_request(serve_exchange *x, serve_answer *a, const json_t *body,
                         enum MHD_Result *result)
{
    serve_ask ask;
    serve_chat chat = {0};
    serve_prompt prompt;
    const json_t *options = NULL, *choice = NULL, *format = NULL;
    const char *model = NULL;
    int most = -1, best = -1;
    bool probable = false, parallel = true;
    serve_ask_begin(&ask);
    const serve_field fields[] = {
        SERVE_SAMPLING_FIELDS(ask),
        {"model", SERVE_TEXT_FIELD, &model},
        {"messages", SERVE_JSON, &chat.messages},
        {"tools", SERVE_JSON, &chat.tools},
        {"tool_choice", SERVE_JSON, &choice},
        {"parallel_tool_calls", SERVE_BOOL, &parallel},
        {"max_tokens", SERVE_INT, &ask.max_tokens, 0, 1e9},
        {"max_completion_tokens", SERVE_INT, &most, 0, 1e9},
        {"stream", SERVE_BOOL, &a->stream},
        {"stream_options", SERVE_JSON, &options},
        {"logprobs", SERVE_BOOL, &probable},
        {"top_logprobs", SERVE_INT, &best, 0, SERVE_MOST_LOGPROBS},
        {"chat_template_kwargs", SERVE_JSON, &chat.variables},
        {"reasoning_effort", SERVE_TEXT_FIELD, &chat.effort},
        {"n", SERVE_ONLY, .only = "[1]"},
        {"response_format", SERVE_JSON, &format},
        {"modalities", SERVE_ONLY, .only = "[[\"text\"]]"},
        {"service_tier", SERVE_ONLY, .only = "[\"auto\",\"default\"]"},
        {"store", SERVE_ONLY, .only = "[false]"},
        {"prediction", SERVE_IGNORED}, /* what an answer may be like makes it quicker at most */
        {"user", SERVE_IGNORED},
        {"metadata", SERVE_IGNORED},
        {"prompt_cache_key", SERVE_IGNORED},
        {"safety_identifier", SERVE_IGNORED},
        {0},
    };
    if (!serve_read_fields(x, body, fields, result) ||
        !serve_read_stream_options(x, options, a, result) ||
        !check_logprobs(x, probable, best, result) ||
        !serve_read_choice(x, choice, &chat, result) ||
        !serve_read_format(x, format, "response_format", &ask, result) ||
        !serve_render(x, &chat, &prompt, result))
        return false;
    ask.max_tokens = limit(most, ask.max_tokens);
    bool good = serve_ask_chat(a, &ask, &prompt, result);
    a->text.one_call |= !parallel;
    a->text.logprobs = probable;
    a->text.n_best = best > 0 ? best : 0;
    return good;
}

enum MHD_Result serve_chat_completions(serve_exchange *x)
{
    return serve_answer_request(x, &writer, "chatcmpl-", read_request);
}
