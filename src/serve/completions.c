/* POST /v1/completions: a text goes on, as OpenAI's API has it. */
#include <string.h>

#include "base/memory.h"
#include "serve/internal.h"

const char *serve_finish_reason(const serve_answer *a)
{
    bool cut = a->text.job.end == UMBRA_JOB_LENGTH && a->text.stop < 0;
    return cut ? "length" : a->n_tools > 0 ? "tool_calls" : "stop";
}

json_t *serve_usage(const serve_answer *a)
{
    const umbra_job *j = &a->text.job;
    return json_pack("{s:i, s:i, s:i, s:{s:i}}", "prompt_tokens", j->prompt_tokens,
                     "completion_tokens", j->new_tokens, "total_tokens",
                     j->prompt_tokens + j->new_tokens, "prompt_tokens_details", "cached_tokens",
                     j->reused_tokens);
}

/* Where the choices are in a text, with the parallel lists of this API. */
static json_t *logprobs(const serve_answer *a, int from, int to)
{
    if (!a->text.logprobs)
        return json_null();
    json_t *tokens = json_array(), *values = json_array(), *tops = json_array(),
           *offsets = json_array();
    for (int i = from; i < to; i++) {
        const serve_choice *c = &a->text.choices[i];
        json_t *top = json_object();
        for (int b = 0; b < c->n_best; b++) {
            json_t *text = serve_token_text(a->server, c->best[b].id);
            json_object_set_new(top, json_string_value(text),
                                json_real((double)c->best[b].logprob));
            json_decref(text);
        }
        json_array_append_new(tokens, serve_token_text(a->server, c->id));
        json_array_append_new(values, json_real((double)c->chosen.logprob));
        json_array_append_new(tops, top);
        json_array_append_new(offsets,
                              json_integer(i > 0 ? (json_int_t)a->text.choices[i - 1].end : 0));
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "tokens", tokens, "token_logprobs", values,
                     "top_logprobs", tops, "text_offset", offsets);
}

static json_t *envelope(const serve_answer *a, json_t *choices)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", a->id, "object", "text_completion",
                     "created", (json_int_t)a->created, "model", a->server->o.name, "choices",
                     choices);
}

static json_t *choice(const serve_answer *a, json_t *text, json_t *probabilities,
                      const char *reason)
{
    (void)a;
    return json_pack("[{s:i, s:o, s:o, s:s?}]", "index", 0, "text", text, "logprobs", probabilities,
                     "finish_reason", reason);
}

static void begin(serve_answer *a)
{
    (void)a;
}

static void delta(serve_answer *a, const serve_delta *d)
{
    pthread_mutex_lock(&a->text.mutex); /* the list of choices may move */
    json_t *probabilities = logprobs(a, a->seen_choices, a->choices);
    pthread_mutex_unlock(&a->text.mutex);
    serve_event(a, NULL,
                envelope(a, choice(a, serve_json_text(d->text, d->bytes), probabilities, NULL)));
}

static void end(serve_answer *a)
{
    serve_event(a, NULL,
                envelope(a, choice(a, json_string(""), json_null(), serve_finish_reason(a))));
    if (a->usage) {
        json_t *last = envelope(a, json_array());
        json_object_set_new(last, "usage", serve_usage(a));
        serve_event(a, NULL, last);
    }
    serve_buffer_print(&a->out, "data: [DONE]\n\n");
}

void serve_openai_fail(serve_answer *a, int status, const char *message)
{
    serve_event(a, NULL, serve_error_json(SERVE_OPENAI, status, NULL, message));
}

static json_t *whole(serve_answer *a)
{
    json_t *text = serve_json_text(a->content.data, a->content.bytes);
    json_t *j =
        envelope(a, choice(a, text, logprobs(a, 0, a->text.n_choices), serve_finish_reason(a)));
    json_object_set_new(j, "usage", serve_usage(a));
    return j;
}

static const serve_writer writer = {begin, delta, end, serve_openai_fail, whole, ": alive\n\n"};

bool serve_read_stream_options(serve_exchange *x, const json_t *options, serve_answer *a,
                               enum MHD_Result *result)
{
    const serve_field fields[] = {
        {"include_usage", SERVE_BOOL, &a->usage},
        {"include_obfuscation", SERVE_ONLY, .only = "[false]"},
        {0},
    };
    if (!options)
        return true;
    if (json_is_object(options) && a->stream)
        return serve_read_fields(x, options, fields, result);
    *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, "stream_options",
                           "stream_options: must be an object, where stream is true");
    return false;
}

/* Reads the request into the answer. */
static bool read_request(serve_exchange *x, serve_answer *a, const json_t *body,
                         enum MHD_Result *result)
{
    serve_ask ask;
    const json_t *prompt = NULL, *options = NULL;
    const char *model = NULL;
    int best = -1;
    size_t count = 0;
    serve_ask_begin(&ask);
    ask.max_tokens = 16; /* this API's default */
    const serve_field fields[] = {
        SERVE_SAMPLING_FIELDS(ask),
        {"model", SERVE_TEXT_FIELD, &model},
        {"prompt", SERVE_JSON, &prompt},
        {"max_tokens", SERVE_INT, &ask.max_tokens, 0, 1e9},
        {"stream", SERVE_BOOL, &a->stream},
        {"stream_options", SERVE_JSON, &options},
        {"logprobs", SERVE_INT, &best, 0, SERVE_MOST_LOGPROBS},
        {"n", SERVE_ONLY, .only = "[1]"},
        {"best_of", SERVE_ONLY, .only = "[1]"},
        {"echo", SERVE_ONLY, .only = "[false]"},
        {"suffix", SERVE_ONLY, .only = "[\"\"]"},
        {"user", SERVE_IGNORED},
        {0},
    };
    if (!serve_read_fields(x, body, fields, result) ||
        !serve_read_stream_options(x, options, a, result))
        return false;
    int32_t *ids = serve_tokens_of(x, prompt, true, &count, result);
    if (!ids)
        return false;
    if (!serve_ask_text(a, &ask, ids, count, result))
        return false;
    a->text.logprobs = best >= 0;
    a->text.n_best = best > 0 ? best : 0;
    return true;
}

enum MHD_Result serve_completions(serve_exchange *x)
{
    return serve_answer_request(x, &writer, "cmpl-", read_request);
}
