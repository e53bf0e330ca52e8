/* Calls of tools, as each API has them. The small model goes on as its prompt has begun. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"
#include "http.h"

#define CALL                                                                                       \
    "<tool_call>{\\\"name\\\": \\\"add\\\", \\\"arguments\\\": {\\\"a\\\": 1}}</tool_call>\\n"
#define WORDS    "\"" CALL CALL CALL CALL CALL CALL "\""
#define SCHEMA   "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}}}"
#define FUNCTION "{\"name\":\"add\",\"description\":\"adds\",\"parameters\":" SCHEMA "}"

static serve *server;

static int open_calls(void **state)
{
    static const char text[] = "{# <tool_call> #}{% for m in messages %}{{ m.content }}"
                               "{% for c in m.tool_calls or [] %}({{ c.function.name }}"
                               "{{ c.function.arguments | tojson }}){% endfor %}"
                               "{% if m.role == 'tool' %}={{ m.tool_call_id }}{% endif %}"
                               "{% endfor %}";
    const serve_options o = {.template_text = text};
    if (open_model(state) != 0)
        return 1;
    server = open_server(&o, 2);
    return 0;
}

static int close_calls(void **state)
{
    close_server(&server);
    return close_model(state);
}

static const char chat[] = "{\"messages\":[{\"role\":\"user\",\"content\":" WORDS "}],"
                           "\"tools\":[{\"type\":\"function\",\"function\":" FUNCTION "}],"
                           "\"parallel_tool_calls\":false,\"temperature\":0,\"max_tokens\":60%s}";

static void a_chat_calls(void **state)
{
    (void)state;
    char body[2048];
    snprintf(body, sizeof body, chat, "");
    json_t *j = http_post(port, "/v1/chat/completions", body, 200);
    assert_string_equal(http_text(j, "choices.0.finish_reason"), "tool_calls");
    assert_string_equal(http_text(j, "choices.0.message.tool_calls.0.function.name"), "add");
    assert_string_equal(http_text(j, "choices.0.message.tool_calls.0.function.arguments"),
                        "{\"a\": 1}");
    http_text(j, "choices.0.message.tool_calls.0.id");
    json_decref(j);
    snprintf(body, sizeof body, chat, ",\"tool_choice\":\"none\"");
    j = http_post(port, "/v1/chat/completions", body, 200);
    assert_non_null(strstr(http_text(j, "choices.0.message.content"), "<tool_call>"));
    json_decref(j);
    snprintf(body, sizeof body, chat, ",\"tool_choice\":7");
    json_decref(http_post(port, "/v1/chat/completions", body, 400));
}

static void a_chat_calls_in_events(void **state)
{
    (void)state;
    char body[2048];
    snprintf(body, sizeof body, chat, ",\"stream\":true");
    http_reply r = http_ask(port, "POST", "/v1/chat/completions", "", body);
    char *name = strstr(r.body, "\"function\":{\"name\":\"add\",\"arguments\":\"\"}");
    assert_non_null(name);
    assert_non_null(strstr(name, "\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{"));
    assert_non_null(strstr(name, "\"finish_reason\":\"tool_calls\""));
    http_free(&r);
}

static const char messages[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":" WORDS "}],\"temperature\":0,\"max_tokens\":60,"
    "\"tools\":[{\"name\":\"add\",\"input_schema\":" SCHEMA "}],"
    "\"tool_choice\":{\"type\":\"auto\",\"disable_parallel_tool_use\":true}%s}";

static void a_message_uses_a_tool(void **state)
{
    (void)state;
    char body[2048];
    snprintf(body, sizeof body, messages, "");
    json_t *j = http_post(port, "/v1/messages", body, 200);
    assert_string_equal(http_text(j, "stop_reason"), "tool_use");
    assert_string_equal(http_text(j, "content.0.type"), "tool_use");
    assert_int_equal(http_number(j, "content.0.input.a"), 1);
    json_decref(j);
    snprintf(body, sizeof body, messages, ",\"stream\":true");
    http_reply r = http_ask(port, "POST", "/v1/messages", "", body);
    char *start = strstr(r.body, "\"content_block\":{\"type\":\"tool_use\"");
    assert_non_null(start);
    assert_non_null(strstr(start, "\"type\":\"input_json_delta\""));
    assert_non_null(strstr(start, "\"stop_reason\":\"tool_use\""));
    http_free(&r);
}

/* Arguments that end in the middle are no JSON, and none are told. */
static void a_call_that_is_cut(void **state)
{
    (void)state;
    static const char format[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"The cache holds\"}],\"temperature\":0,"
        "\"tools\":[{\"name\":\"add\",\"input_schema\":" SCHEMA "}],"
        "\"tool_choice\":{\"type\":\"any\"},\"max_tokens\":%d}";
    char body[512];
    int cut = 0;
    for (int n = 1; cut == 0 && n < 60; n++) { /* some tokens later its name is known */
        snprintf(body, sizeof body, format, n);
        json_t *j = http_post(port, "/v1/messages", body, 200);
        assert_string_equal(http_text(j, "stop_reason"), "max_tokens");
        const json_t *first = json_array_get(json_object_get(j, "content"), 0);
        cut = strcmp(http_text(first, "type"), "tool_use") == 0;
        if (cut)
            assert_int_equal(json_object_size(json_object_get(first, "input")), 0);
        json_decref(j);
    }
    assert_true(cut);
}

static void a_response_calls_a_function(void **state)
{
    (void)state;
    static const char format[] = "{\"input\":" WORDS ",\"temperature\":0,\"max_output_tokens\":60,"
                                 "\"parallel_tool_calls\":false,\"tools\":[{\"type\":\"function\","
                                 "\"name\":\"add\",\"parameters\":" SCHEMA "}]%s}";
    char body[2048];
    snprintf(body, sizeof body, format, "");
    json_t *j = http_post(port, "/v1/responses", body, 200);
    assert_string_equal(http_text(j, "status"), "completed");
    assert_string_equal(http_text(j, "output.0.type"), "function_call");
    assert_string_equal(http_text(j, "output.0.arguments"), "{\"a\": 1}");
    json_decref(j);
    snprintf(body, sizeof body, format, ",\"stream\":true");
    http_reply r = http_ask(port, "POST", "/v1/responses", "", body);
    static const char *const events[] = {
        "event: response.created\n",
        "event: response.output_item.added\n",
        "event: response.function_call_arguments.delta\n",
        "event: response.function_call_arguments.done\n",
        "event: response.output_item.done\n",
        "event: response.completed\n",
    };
    const char *at = r.body;
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        assert_non_null(at = strstr(at, events[i]));
    http_free(&r);
}

static char *prompt_of(const char *path, const char *body)
{
    json_t *j = http_post(port, path, body, 200);
    char *text = strdup(http_text(j, "prompt"));
    json_decref(j);
    return text;
}

/* With a schema the model cannot but write what follows it. */
static void answers_follow_a_schema(void **state)
{
    (void)state;
    static const char format[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"The cache holds\"}],\"temperature\":0,"
        "\"max_tokens\":200,\"response_format\":%s}";
    static const char schema[] =
        "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"strict\":true,\"schema\":"
        "{\"type\":\"object\",\"properties\":{\"word\":{\"enum\":[\"red\",\"blue\"]},"
        "\"n\":{\"type\":\"boolean\"}},\"required\":[\"word\",\"n\"],"
        "\"additionalProperties\":false}}}";
    char body[2048];
    snprintf(body, sizeof body, format, schema);
    json_t *j = http_post(port, "/v1/chat/completions", body, 200);
    json_t *said = json_loads(http_text(j, "choices.0.message.content"), 0, NULL);
    const char *word = json_string_value(json_object_get(said, "word"));
    assert_true(word && (strcmp(word, "red") == 0 || strcmp(word, "blue") == 0));
    assert_true(json_is_boolean(json_object_get(said, "n")));
    assert_string_equal(http_text(j, "choices.0.finish_reason"), "stop");
    json_decref(said);
    json_decref(j);
    snprintf(body, sizeof body, format,
             "{\"type\":\"json_schema\",\"json_schema\":{\"schema\":"
             "{\"type\":\"object\",\"patternProperties\":{}}}}");
    j = http_post(port, "/v1/chat/completions", body, 400);
    assert_non_null(strstr(http_text(j, "error.message"), "patternProperties"));
    json_decref(j);
    snprintf(body, sizeof body, format, "{\"type\":\"grammar\"}");
    json_decref(http_post(port, "/v1/chat/completions", body, 400));
    j = http_post(port, "/v1/responses",
                  "{\"input\":\"a\",\"max_output_tokens\":1,\"text\":{\"format\":"
                  "{\"type\":\"json_object\"}}}",
                  200);
    assert_int_equal(http_text(j, "output.0.content.0.text")[0], '{');
    json_decref(j);
}

/* What came of calls goes back, in the form that each API has for it, as the same prompt. */
static void results_go_back(void **state)
{
    (void)state;
    char *text = prompt_of(
        "/apply-template",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\","
        "\"content\":\"\",\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":"
        "{\"name\":\"add\",\"arguments\":\"{\\\"a\\\": 2}\"}}]},{\"role\":\"tool\","
        "\"tool_call_id\":\"c1\",\"content\":\"5\"}]}");
    assert_string_equal(text, "q(add{\"a\": 2})5=c1");
    free(text);
    json_t *plain = http_post(port, "/tokenize", "{\"content\":\"q(add{\\\"a\\\": 2})5=c1\"}", 200);
    json_t *counted = http_post(
        port, "/v1/messages/count_tokens",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":"
        "[{\"type\":\"thinking\",\"thinking\":\"h\",\"signature\":\"\"},{\"type\":\"tool_use\","
        "\"id\":\"c1\",\"name\":\"add\",\"input\":{\"a\":2}}]},{\"role\":\"user\",\"content\":"
        "[{\"type\":\"tool_result\",\"tool_use_id\":\"c1\",\"content\":[{\"type\":\"text\","
        "\"text\":\"5\"}]}]}]}",
        200);
    long long n = (long long)json_array_size(json_object_get(plain, "tokens"));
    assert_true(llabs(http_number(counted, "input_tokens") - n) < 8); /* split where users begin */
    json_decref(plain);
    json_decref(counted);
    json_t *j = http_post(
        port, "/v1/responses",
        "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"q\"}]},"
        "{\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"add\",\"arguments\":\"{}\"},"
        "{\"type\":\"function_call_output\",\"call_id\":\"c1\",\"output\":\"5\"}],"
        "\"max_output_tokens\":1}",
        200);
    json_decref(j);
}

#define ASK "{\"messages\":[{\"role\":\"user\",\"content\":\"The cache holds\"}]"
#define OTHER                                                                                      \
    "{\"name\":\"count\",\"strict\":true,\"parameters\":{\"type\":\"object\",\"properties\":{"     \
    "\"much\":{\"type\":\"integer\",\"minimum\":0}},\"required\":[\"much\"],"                      \
    "\"additionalProperties\":false}}"
#define TOOLS                                                                                      \
    "[{\"type\":\"function\",\"function\":" FUNCTION                                               \
    "},{\"type\":\"function\",\"function\":" OTHER "}]"
#define GREEDY ",\"temperature\":0,\"max_tokens\":80"

/* The model, which would go on with its text, calls what it must. */
static void a_call_may_be_forced(void **state)
{
    (void)state;
    json_t *j = http_post(port, "/v1/chat/completions",
                          ASK GREEDY ",\"tools\":" TOOLS ",\"parallel_tool_calls\":false,"
                                     "\"tool_choice\":\"required\"}",
                          200);
    assert_string_equal(http_text(j, "choices.0.finish_reason"), "tool_calls");
    http_text(j, "choices.0.message.tool_calls.0.function.name");
    assert_true(json_is_null(json_object_get(
        json_object_get(json_array_get(json_object_get(j, "choices"), 0), "message"), "content")));
    json_decref(j);
    j = http_post(port, "/v1/chat/completions",
                  ASK GREEDY ",\"tools\":" TOOLS ",\"tool_choice\":{\"type\":\"function\","
                             "\"function\":{\"name\":\"count\"}}}",
                  200);
    assert_string_equal(http_text(j, "choices.0.message.tool_calls.0.function.name"), "count");
    json_t *much =
        json_loads(http_text(j, "choices.0.message.tool_calls.0.function.arguments"), 0, NULL);
    assert_true(json_integer_value(json_object_get(much, "much")) >= 0);
    assert_int_equal(json_object_size(much), 1);
    json_decref(much);
    json_decref(j);
    j = http_post(port, "/v1/messages",
                  ASK GREEDY ",\"tools\":[{\"name\":\"add\",\"input_schema\":" SCHEMA "}],"
                             "\"tool_choice\":{\"type\":\"tool\",\"name\":\"add\"}}",
                  200);
    assert_string_equal(http_text(j, "stop_reason"), "tool_use");
    assert_string_equal(http_text(j, "content.0.name"), "add");
    json_decref(j);
    j = http_post(port, "/v1/responses",
                  "{\"input\":\"The cache holds\",\"temperature\":0,\"max_output_tokens\":80,"
                  "\"parallel_tool_calls\":false,\"tools\":[{\"type\":\"function\",\"name\":"
                  "\"add\",\"parameters\":" SCHEMA "}],\"tool_choice\":\"required\"}",
                  200);
    assert_string_equal(http_text(j, "output.0.type"), "function_call");
    assert_string_equal(http_text(j, "tool_choice"), "required");
    assert_string_equal(http_text(j, "tools.0.name"), "add");
    assert_int_equal(http_number(j, "max_output_tokens"), 80);
    json_decref(j);
    j = http_post(port, "/v1/responses",
                  "{\"input\":\"The cache holds\",\"max_output_tokens\":1,\"tools\":[{\"type\":"
                  "\"function\",\"name\":\"add\",\"parameters\":" SCHEMA "}],\"tool_choice\":"
                  "{\"type\":\"function\",\"name\":\"add\"},\"metadata\":{\"a\":\"b\"}}",
                  200);
    assert_string_equal(http_text(j, "tool_choice.name"), "add");
    assert_string_equal(http_text(j, "metadata.a"), "b");
    assert_string_equal(http_text(j, "text.format.type"), "text");
    json_decref(j);
    j = http_post(port, "/v1/responses", "{\"input\":\"a\",\"max_output_tokens\":1}", 200);
    assert_string_equal(http_text(j, "tool_choice"), "auto");
    json_decref(j);
}

/* The prompt has the model call add with "a"; a strict tool of that name has no such argument. */
static void strict_calls_follow_their_schema(void **state)
{
    (void)state;
    static const char body[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":" WORDS "}],\"tools\":[{\"type\":"
        "\"function\",\"function\":{\"name\":\"add\",\"strict\":true,\"parameters\":{\"type\":"
        "\"object\",\"properties\":{\"what\":{\"enum\":[\"one\",\"two\"]}},\"required\":"
        "[\"what\"],\"additionalProperties\":false}}}],\"parallel_tool_calls\":false" GREEDY "}";
    json_t *j = http_post(port, "/v1/chat/completions", body, 200);
    assert_string_equal(http_text(j, "choices.0.message.tool_calls.0.function.name"), "add");
    json_t *v =
        json_loads(http_text(j, "choices.0.message.tool_calls.0.function.arguments"), 0, NULL);
    const char *what = json_string_value(json_object_get(v, "what"));
    assert_true(what && (strcmp(what, "one") == 0 || strcmp(what, "two") == 0));
    json_decref(v);
    json_decref(j);
}

static void what_cannot_be_taken_is_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"/v1/messages", "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":"
                         "[{\"type\":\"image\",\"source\":{}}]}]}"},
        {"/v1/messages", "{\"max_tokens\":1,\"messages\":[{\"role\":\"robot\",\"content\":\"\"}]}"},
        {"/v1/messages", "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
                         "\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"w\"}]}"},
        {"/v1/messages", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}"},
        {"/v1/responses", "{\"input\":\"a\",\"tools\":[{\"type\":\"file_search\"}]}"},
        {"/v1/responses", "{\"input\":\"a\",\"previous_response_id\":\"resp_1\"}"},
        {"/v1/responses", "{\"input\":[{\"type\":\"input_image\"}]}"},
        {"/v1/responses", "{\"input\":3}"},
        {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":"
                                 "[{\"type\":\"function\",\"function\":{\"name\":\"f\","
                                 "\"strict\":true,\"parameters\":{\"type\":\"object\","
                                 "\"oneOf\":[]}}}]}"},
        {"/v1/chat/completions", ASK ",\"tool_choice\":\"required\"}"},
        {"/v1/chat/completions", ASK ",\"tools\":" TOOLS ",\"tool_choice\":{\"type\":"
                                     "\"function\",\"function\":{\"name\":\"none\"}}}"},
        {"/v1/chat/completions", ASK ",\"tools\":" TOOLS ",\"tool_choice\":{\"type\":"
                                     "\"allowed_tools\"}}"},
        {"/v1/chat/completions", ASK ",\"tools\":" TOOLS ",\"tool_choice\":\"required\","
                                     "\"response_format\":{\"type\":\"json_object\"}}"},
        {"/v1/messages", ASK ",\"max_tokens\":1,\"tool_choice\":{\"type\":\"any\"}}"},
        {"/v1/messages", ASK ",\"max_tokens\":1,\"tools\":[{\"name\":\"add\","
                             "\"input_schema\":{}}],\"tool_choice\":{\"type\":\"tool\"}}"},
        {"/v1/responses", "{\"input\":\"a\",\"tool_choice\":\"required\"}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        json_decref(http_post(port, cases[i][0], cases[i][1], 400));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chat_calls),
        cmocka_unit_test(a_chat_calls_in_events),
        cmocka_unit_test(a_message_uses_a_tool),
        cmocka_unit_test(a_call_that_is_cut),
        cmocka_unit_test(a_response_calls_a_function),
        cmocka_unit_test(answers_follow_a_schema),
        cmocka_unit_test(a_call_may_be_forced),
        cmocka_unit_test(strict_calls_follow_their_schema),
        cmocka_unit_test(results_go_back),
        cmocka_unit_test(what_cannot_be_taken_is_refused),
    };
    return cmocka_run_group_tests(tests, open_calls, close_calls);
}
