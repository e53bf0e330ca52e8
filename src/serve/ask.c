/* What all APIs ask alike: how tokens are drawn, and where a text ends. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/memory.h"
#include "serve/internal.h"

enum { MOST_BIASES = 4096 };

void serve_ask_begin(serve_ask *ask)
{
    *ask = (serve_ask){.max_tokens = -1, .sampling = {.temperature = 1, .top_p = 1}};
    if (getrandom(&ask->sampling.seed, sizeof ask->sampling.seed, 0) < 0)
        ask->sampling.seed = umbra_clock_ns();
}

/* How many stop strings there are; -1: refused. */
static int read_stops(serve_answer *a, const json_t *stop, enum MHD_Result *result)
{
    const char *field = a->x->route->dialect == SERVE_ANTHROPIC ? "stop_sequences" : "stop";
    size_t n = json_is_array(stop) ? json_array_size(stop) : stop ? 1 : 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_is_array(stop) ? json_array_get(stop, i) : stop;
        size_t bytes = json_string_length(text);
        if (i >= SERVE_MOST_STOPS || bytes == 0 || strlen(json_string_value(text)) != bytes) {
            *result = serve_refuse(a->x, MHD_HTTP_BAD_REQUEST, field,
                                   "%s: must be a string that is not empty, or at most %d of them",
                                   field, SERVE_MOST_STOPS);
            return -1;
        }
        a->stops[i] = umbra_strdup(json_string_value(text));
        if (!a->stops[i]) {
            *result = serve_refuse_nomem(a->x);
            return -1;
        }
    }
    return (int)n;
}

static bool read_bias(serve_answer *a, serve_ask *ask, enum MHD_Result *result)
{
    const char *name;
    json_t *value;
    size_t n = json_object_size(ask->logit_bias);
    if (!json_is_object(ask->logit_bias) || n > MOST_BIASES) {
        *result = serve_refuse(a->x, MHD_HTTP_BAD_REQUEST, "logit_bias",
                               "logit_bias: must be an object of at most %d token ids with numbers",
                               MOST_BIASES);
        return false;
    }
    ask->bias = umbra_calloc(n, sizeof *ask->bias);
    if (n > 0 && !ask->bias) {
        *result = serve_refuse_nomem(a->x);
        return false;
    }
    json_object_foreach((json_t *)(uintptr_t)ask->logit_bias, name, value)
    {
        char *end;
        errno = 0;
        long id = strtol(name, &end, 10);
        double v = json_number_value(value);
        if (errno != 0 || *end != '\0' || end == name || id < 0 || id >= a->server->vocabulary ||
            !json_is_number(value) || !(v >= -100 && v <= 100)) {
            *result = serve_refuse(a->x, MHD_HTTP_BAD_REQUEST, "logit_bias",
                                   "logit_bias: token ids are 0..%d, values -100..100",
                                   a->server->vocabulary - 1);
            return false;
        }
        ask->bias[ask->sampling.n_bias++] = (umbra_bias){(int32_t)id, (float)v};
    }
    ask->sampling.bias = ask->bias;
    return true;
}

/* How many tokens may follow the prompt; -1: refused. */
static int most_tokens(serve_answer *a, const serve_ask *ask, size_t prompt,
                       enum MHD_Result *result)
{
    size_t context = (size_t)a->server->context;
    size_t room = prompt <= context ? context - prompt + 1 : 0; /* the last is not fed back */
    if (prompt == 0)
        *result = serve_refuse(a->x, MHD_HTTP_BAD_REQUEST, NULL, "the prompt is empty");
    else if (room == 0)
        *result = serve_refuse(a->x, MHD_HTTP_BAD_REQUEST, NULL,
                               "the prompt has %zu tokens, the context %zu; umbra serve --ctx sets "
                               "it",
                               prompt, context);
    else
        return ask->max_tokens >= 0 && (size_t)ask->max_tokens < room ? ask->max_tokens : (int)room;
    return -1;
}

/* What ends the reasoning in which the prompt leaves the model; NULL: none. */
static const char *after_reasoning(const serve_answer *a)
{
    const char *at = a->prompt.rendering.text, *last = NULL;
    while (at && (at = strstr(at, "<think>")) != NULL)
        last = at++;
    return last && !strstr(last, "</think>") ? "</think>" : NULL;
}

/* What holds the text to what was asked for, if anything does. */
static bool open_grammar(serve_answer *a, serve_ask *ask, enum MHD_Result *result)
{
    umbra_error err = {0};
    const char *field = ask->json ? "schema" : "tools";
    if (!ask->json && !ask->calls)
        return true;
    if (ask->json && ask->calls) {
        *result = serve_refuse(a->x, MHD_HTTP_BAD_REQUEST, "tools",
                               "tools: strict ones, and calls that must come, are not supported "
                               "beside a format of the answer");
        return false;
    }
    int rc = ask->json ? serve_open_grammar(&a->text, ask, after_reasoning(a), &err)
                       : serve_open_calls(&a->text, ask->calls, &err);
    if (rc != UMBRA_OK) {
        *result = serve_refuse(a->x, serve_fault(&err), field, "%s: %s", field, err.message);
        return false;
    }
    ask->sampling.allow = umbra_grammar_allow;
    ask->sampling.user = a->text.grammar;
    return true;
}

bool serve_ask_text(serve_answer *a, serve_ask *ask, int32_t *prompt, size_t prompt_tokens,
                    enum MHD_Result *result)
{
    umbra_error err = {0};
    int most = most_tokens(a, ask, prompt_tokens, result);
    serve_text_init(&a->text, a->server, prompt, most < 0 ? 1 : (int)prompt_tokens, most);
    a->text.job.ignore_end = ask->ignore_end;
    int n_stops = most >= 0 ? read_stops(a, ask->stop, result) : -1;
    bool good = n_stops >= 0;
    if (good && ask->logit_bias)
        good = read_bias(a, ask, result);
    if (ask->sampling.top_p <= 0) /* the best alone */
        ask->sampling.temperature = 0;
    good = good && open_grammar(a, ask, result);
    if (good && serve_text_prepare(&a->text, &ask->sampling, (const char *const *)a->stops, n_stops,
                                   &err) != UMBRA_OK) {
        *result = serve_refuse(a->x, serve_fault(&err), NULL, "%s", err.message);
        good = false;
    }
    umbra_free(ask->bias);
    ask->bias = NULL;
    return good;
}

static int32_t *copy_ids(serve_exchange *x, const json_t *list, size_t *count,
                         enum MHD_Result *result)
{
    size_t n = json_array_size(list), i;
    json_t *id;
    int32_t *ids = umbra_calloc(n + 1, sizeof *ids);
    *count = n;
    if (!ids)
        *result = serve_refuse_nomem(x);
    json_array_foreach((json_t *)(uintptr_t)(ids ? list : NULL), i, id)
    {
        json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
        if (value < 0 || value >= x->server->vocabulary) {
            *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, "prompt",
                                   "prompt: must be one string, or the token ids of one, 0..%d",
                                   x->server->vocabulary - 1);
            umbra_free_tokens(ids);
            return NULL;
        }
        ids[i] = (int32_t)value;
    }
    return ids;
}

int32_t *serve_tokens_of(serve_exchange *x, const json_t *text, bool bos, size_t *count,
                         enum MHD_Result *result)
{
    umbra_error err = {0};
    int32_t *ids = NULL;
    if (json_is_array(text) && json_array_size(text) == 1 &&
        !json_is_integer(json_array_get(text, 0)))
        text = json_array_get(text, 0); /* a list of one prompt */
    if (json_is_array(text))
        return copy_ids(x, text, count, result);
    if (!json_is_string(text)) {
        *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, "prompt",
                               "prompt: must be one string, or the token ids of one");
        return NULL;
    }
    if (umbra_tokenize_first(x->server->o.model, json_string_value(text), json_string_length(text),
                             bos, true, (size_t)x->server->context + 1, &ids, count,
                             &err) != UMBRA_OK)
        *result = serve_refuse(x, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, "%s", err.message);
    return ids;
}
