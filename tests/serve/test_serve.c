/* The server's APIs over raw sockets: texts, streams, refusals. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "http.h"

static serve *server;

static int open_usual(void **state)
{
    if (open_model(state) != 0)
        return 1;
    server = open_server(NULL, 4);
    return 0;
}

static int open_with_drafts(void **state)
{
    drafted = UMBRA_DRAFT_LOOKUP;
    return open_usual(state);
}

static int close_usual(void **state)
{
    close_server(&server);
    drafted = UMBRA_DRAFT_OFF;
    return close_model(state);
}

static void a_text_is_that_of_the_library(void **state)
{
    (void)state;
    json_t *j = http_post(port, "/v1/completions",
                          "{\"model\":\"any\",\"prompt\":\"The cache holds\",\"temperature\":0,"
                          "\"max_tokens\":20}",
                          200);
    assert_string_equal(http_text(j, "choices.0.text"), expected_text("The cache holds", 20));
    assert_string_equal(http_text(j, "choices.0.finish_reason"), "length");
    assert_int_equal(http_number(j, "usage.prompt_tokens"), 4);
    assert_int_equal(http_number(j, "usage.completion_tokens"), 20);
    json_decref(j);
}

typedef struct client {
    pthread_t thread;
    char prompt[64], *text;
} client;

static void *ask(void *argument)
{
    client *c = argument;
    char body[256];
    snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"temperature\":0,\"max_tokens\":30}",
             c->prompt);
    http_reply r = http_ask(port, "POST", "/v1/completions", "", body);
    json_t *j = json_loadb(r.body, r.bytes, 0, NULL);
    c->text = strdup(http_text(j, "choices.0.text"));
    json_decref(j);
    http_free(&r);
    return NULL;
}

static void eight_at_once_get_the_same_as_alone(void **state)
{
    (void)state;
    static const char *const words[] = {"Once", "The", "When", "A", "Bits", "Two", "Read", "All"};
    client clients[8];
    for (int i = 0; i < 8; i++) {
        snprintf(clients[i].prompt, sizeof clients[i].prompt, "%s of the experts", words[i]);
        assert_int_equal(pthread_create(&clients[i].thread, NULL, ask, &clients[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(clients[i].thread, NULL);
        assert_string_equal(clients[i].text, expected_text(clients[i].prompt, 30));
        free(clients[i].text);
    }
}

/* Joins a member of all events; returns how many events there are. */
static int join_events(char *body, const char *path, char *out, size_t size)
{
    int n = 0;
    out[0] = '\0';
    for (char *rest = body, *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (strncmp(line, "data: {", 7) != 0)
            continue;
        json_t *j = json_loads(line + 6, 0, NULL);
        assert_non_null(j);
        const json_t *choice = json_array_get(json_object_get(j, "choices"), 0);
        const json_t *delta = json_object_get(choice ? choice : j, "delta");
        const json_t *text = json_object_get(delta ? delta : choice, path);
        if (json_is_string(text))
            snprintf(out + strlen(out), size - strlen(out), "%s", json_string_value(text));
        n++;
        json_decref(j);
    }
    return n;
}

static void a_stream_has_the_same_text_in_pieces(void **state)
{
    (void)state;
    char text[4096];
    http_reply r = http_ask(port, "POST", "/v1/completions", "",
                            "{\"prompt\":\"The cache holds\",\"temperature\":0,\"max_tokens\":20,"
                            "\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "text/event-stream"));
    assert_non_null(strstr(r.body, "\"total_tokens\":24"));
    assert_string_equal(r.body + r.bytes - 14, "data: [DONE]\n\n");
    assert_true(join_events(r.body, "text", text, sizeof text) > 3);
    assert_string_equal(text, expected_text("The cache holds", 20));
    http_free(&r);
}

static void a_chat_is_the_templates_text(void **state)
{
    (void)state;
    static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"The cache\"}],"
                               "\"temperature\":0,\"max_completion_tokens\":10%s}";
    char request[512], text[4096];
    snprintf(request, sizeof request, body, "");
    json_t *j = http_post(port, "/v1/chat/completions", request, 200);
    const char *expected = expected_text("[user] The cache\n[assistant]", 10);
    assert_string_equal(http_text(j, "choices.0.message.content"), expected);
    assert_string_equal(http_text(j, "choices.0.message.role"), "assistant");
    json_decref(j);
    snprintf(request, sizeof request, body, ",\"stream\":true,\"logprobs\":true");
    http_reply r = http_ask(port, "POST", "/v1/chat/completions", "", request);
    join_events(r.body, "content", text, sizeof text);
    assert_string_equal(text, expected);
    http_free(&r);
    j = http_post(port, "/apply-template",
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", 200);
    assert_string_equal(http_text(j, "prompt"), "[user] hi\n[assistant]");
    json_decref(j);
}

#define ONE "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]"

/* Templates get it as variables; what a request names as variables goes first. */
static void efforts_reach_the_template(void **state)
{
    (void)state;
    static const struct {
        const char *body, *prompt;
    } cases[] = {
        {ONE ",\"reasoning_effort\":\"low\"}", "[user] a\n(low, True)[assistant]"},
        {ONE ",\"reasoning_effort\":\"none\"}", "[user] a\n(none, False)[assistant]"},
        {ONE ",\"reasoning_effort\":\"high\",\"chat_template_kwargs\":{\"enable_thinking\":false}}",
         "[user] a\n(high, False)[assistant]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *j = http_post(port, "/apply-template", cases[i].body, 200);
        assert_string_equal(http_text(j, "prompt"), cases[i].prompt);
        json_decref(j);
    }
    json_t *plain =
        http_post(port, "/v1/responses", "{\"input\":\"a\",\"max_output_tokens\":2}", 200);
    json_t *low = http_post(port, "/v1/responses",
                            "{\"input\":\"a\",\"max_output_tokens\":2,"
                            "\"reasoning\":{\"effort\":\"low\",\"summary\":\"auto\"}}",
                            200);
    assert_true(http_number(low, "usage.input_tokens") > http_number(plain, "usage.input_tokens"));
    json_decref(plain);
    json_decref(low);
    json_decref(http_post(port, "/v1/responses", "{\"input\":\"a\",\"reasoning\":5}", 400));
}

static void the_other_api_has_the_same_text(void **state)
{
    (void)state;
    char text[4096];
    static const char body[] = "{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":"
                               "[{\"type\":\"text\",\"text\":\"The cache\"}]}],\"temperature\":0,"
                               "\"max_tokens\":10%s}";
    char request[512];
    const char *expected = expected_text("[user] The cache\n[assistant]", 10);
    snprintf(request, sizeof request, body, "");
    json_t *j = http_post(port, "/v1/messages", request, 200);
    assert_string_equal(http_text(j, "content.0.text"), expected);
    assert_string_equal(http_text(j, "stop_reason"), "max_tokens");
    json_decref(j);
    snprintf(request, sizeof request, body, ",\"stream\":true");
    http_reply r = http_ask(port, "POST", "/v1/messages", "", request);
    assert_non_null(strstr(r.body, "event: message_start\n"));
    assert_non_null(strstr(r.body, "event: message_stop\n"));
    join_events(r.body, "text", text, sizeof text);
    assert_string_equal(text, expected);
    http_free(&r);
    j = http_post(port, "/v1/messages/count_tokens",
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"system\":\"Be\"}", 200);
    assert_true(http_number(j, "input_tokens") > 5);
    json_decref(j);
}

static void stop_strings_end_a_text(void **state)
{
    (void)state;
    json_t *j = http_post(port, "/v1/completions",
                          "{\"prompt\":\"The cache holds\",\"temperature\":0,\"max_tokens\":40,"
                          "\"stop\":[\"zzz\",\"new cache\"]}",
                          200);
    char expected[512];
    snprintf(expected, sizeof expected, "%s", expected_text("The cache holds", 40));
    *strstr(expected, "new cache") = '\0';
    assert_string_equal(http_text(j, "choices.0.text"), expected);
    assert_string_equal(http_text(j, "choices.0.finish_reason"), "stop");
    json_decref(j);
    j = http_post(port, "/v1/messages",
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"The cache\"}],\"temperature\":0,"
                  "\"max_tokens\":200,\"stop_sequences\":[\"1\"]}",
                  200);
    assert_string_equal(http_text(j, "stop_reason"), "stop_sequence");
    assert_string_equal(http_text(j, "stop_sequence"), "1");
    json_decref(j);
}

static void probabilities_come_with_their_tokens(void **state)
{
    (void)state;
    json_t *j = http_post(port, "/v1/completions",
                          "{\"prompt\":\"The cache holds\",\"temperature\":0,\"max_tokens\":3,"
                          "\"logprobs\":2}",
                          200);
    const json_t *p = json_object_get(json_array_get(json_object_get(j, "choices"), 0), "logprobs");
    assert_int_equal(json_array_size(json_object_get(p, "tokens")), 3);
    assert_int_equal(json_object_size(json_array_get(json_object_get(p, "top_logprobs"), 0)), 2);
    json_decref(j);
    j = http_post(port, "/v1/chat/completions",
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":2,"
                  "\"logprobs\":true,\"top_logprobs\":3}",
                  200);
    http_text(j, "choices.0.logprobs.content.1.top_logprobs.2.token");
    json_decref(j);
}

static void a_seed_gives_the_same_text_again(void **state)
{
    (void)state;
    static const char body[] = "{\"prompt\":\"Once\",\"max_tokens\":12,\"seed\":7,"
                               "\"temperature\":1.5,\"top_k\":50}";
    json_t *a = http_post(port, "/v1/completions", body, 200);
    json_t *b = http_post(port, "/v1/completions", body, 200);
    assert_string_equal(http_text(a, "choices.0.text"), http_text(b, "choices.0.text"));
    json_decref(a);
    json_decref(b);
}

static void a_bias_forbids_a_token(void **state)
{
    (void)state;
    json_t *j = http_post(port, "/tokenize", "{\"content\":\" the\"}", 200);
    char body[256];
    snprintf(body, sizeof body,
             "{\"prompt\":\"The cache holds\",\"temperature\":0,\"max_tokens\":1,"
             "\"logit_bias\":{\"%lld\":-100}}",
             http_number(j, "tokens.0"));
    json_decref(j);
    j = http_post(port, "/v1/completions", body, 200);
    assert_string_not_equal(http_text(j, "choices.0.text"), " the");
    json_decref(j);
}

static void what_is_not_supported_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *path, *body, *field;
    } cases[] = {
        {"/v1/completions", "{\"prompt\":\"a\",\"n\":2}", "n"},
        {"/v1/completions", "{\"prompt\":\"a\",\"best_of\":3}", "best_of"},
        {"/v1/completions", "{\"prompt\":\"a\",\"echo\":true}", "echo"},
        {"/v1/completions", "{\"prompt\":\"a\",\"temprature\":1}", "temprature"},
        {"/v1/completions", "{\"prompt\":\"a\",\"temperature\":-1}", "temperature"},
        {"/v1/completions", "{\"prompt\":\"a\",\"temperature\":\"1\"}", "temperature"},
        {"/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":1.5}", "max_tokens"},
        {"/v1/completions", "{\"prompt\":\"a\",\"stop\":[\"\"]}", "stop"},
        {"/v1/completions", "{\"prompt\":\"a\",\"stop\":5}", "stop"},
        {"/v1/completions", "{\"prompt\":\"a\",\"logit_bias\":{\"99999999\":1}}", "logit_bias"},
        {"/v1/completions", "{\"prompt\":\"a\",\"logit_bias\":{\"x\":1}}", "logit_bias"},
        {"/v1/completions", "{\"prompt\":[\"a\",\"b\"]}", "prompt"},
        {"/v1/completions", "{\"prompt\":[1,-2]}", "prompt"},
        {"/v1/completions", "{}", "prompt"},
        {"/v1/completions", "{\"prompt\":\"a\",\"stream_options\":{}}", "stream_options"},
        {"/v1/chat/completions",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"top_logprobs\":2}",
         "top_logprobs"},
        {"/v1/chat/completions", "{\"messages\":[]}", "messages"},
        {"/v1/chat/completions", "{\"messages\":[5]}", "messages"},
        {"/v1/chat/completions",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"audio\":{}}", "audio"},
        {"/v1/chat/completions", ONE ",\"reasoning_effort\":\"some\"}", "reasoning_effort"},
        {"/v1/completions", "{\"prompt\":\"a\",\"logit_bias\":5}", "logit_bias"},
        {"/v1/completions", "{\"prompt\":\"a\",\"stream\":true,\"stream_options\":5}",
         "stream_options"},
        {"/v1/responses", "{\"input\":\"a\",\"text\":5}", "text"},
        {"/tokenize", "{\"content\":5}", "content"},
        {"/tokenize", "{\"contents\":\"a\"}", "contents"},
        {"/detokenize", "{\"tokens\":5}", "tokens"},
        {"/detokenize", "{\"token\":[]}", "token"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *j = http_post(port, cases[i].path, cases[i].body, 400);
        assert_string_equal(http_text(j, "error.param"), cases[i].field);
        assert_non_null(strstr(http_text(j, "error.message"), cases[i].field));
        json_decref(j);
    }
    json_t *j = http_post(port, "/v1/messages", "{\"messages\":[],\"max_tokens\":5,\"x\":1}", 400);
    assert_string_equal(http_text(j, "error.type"), "invalid_request_error");
    json_decref(j);
}

/* The same in the other API, whose errors have no field. */
static void what_is_no_message_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *members, *words;
    } cases[] = {
        {"\"messages\":[{\"role\":\"user\",\"content\":5}]", "content must be a string or a list"},
        {"\"system\":5", "must be a string or a list of blocks"},
        {"\"system\":[{\"type\":\"image\"}]", "only blocks of type text"},
        {"\"thinking\":{\"type\":\"odd\"}", "must be enabled, adaptive or disabled"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char body[256];
        bool whole = strstr(cases[i].members, "messages") != NULL;
        snprintf(body, sizeof body, "{\"max_tokens\":5,%s%s}",
                 whole ? "" : "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],",
                 cases[i].members);
        json_t *j = http_post(port, "/v1/messages", body, 400);
        assert_string_equal(http_text(j, "error.type"), "invalid_request_error");
        if (!strstr(http_text(j, "error.message"), cases[i].words))
            fail_msg("%s: %s", body, http_text(j, "error.message"));
        json_decref(j);
    }
}

static void bad_bodies_are_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "", "{", "[]", "nul", "{\"a\":1,\"a\":2}", "{\"a\":\"\xff\"}", "\"text\""};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        json_decref(http_post(port, "/v1/completions", bodies[i], 400));
    char *deep = malloc(20001);
    assert_non_null(deep);
    memset(deep, '[', 20000);
    deep[20000] = '\0';
    json_decref(http_post(port, "/v1/chat/completions", deep, 400));
    free(deep);
}

static void tokens_come_back_as_text(void **state)
{
    (void)state;
    json_t *j = http_post(port, "/tokenize", "{\"content\":\"Gr\xc3\xbc\xc3\x9f dich\"}", 200);
    json_t *body = json_pack("{s:O}", "tokens", json_object_get(j, "tokens"));
    char *text = json_dumps(body, 0);
    json_t *back = http_post(port, "/detokenize", text, 200);
    assert_string_equal(http_text(back, "content"), "Gr\xc3\xbc\xc3\x9f dich");
    free(text);
    json_decref(back);
    json_decref(body);
    json_decref(j);
    json_decref(http_post(port, "/detokenize", "{\"tokens\":[-1]}", 400));
}

static void it_tells_of_itself(void **state)
{
    (void)state;
    json_t *j = http_get(port, "/v1/models", 200);
    assert_string_equal(http_text(j, "data.0.id"), "tiny");
    json_decref(j);
    j = http_get(port, "/health", 200);
    assert_string_equal(http_text(j, "status"), "ok");
    json_decref(j);
    j = http_get(port, "/props", 200);
    assert_int_equal(http_number(j, "context"), 512);
    json_decref(j);
    j = http_get(port, "/slots", 200);
    assert_int_equal(json_array_size(j), 4);
    json_decref(j);
    json_decref(http_get(port, "/v1/models/tiny", 200));
    json_decref(http_get(port, "/v1/models/other", 404));
    json_decref(http_get(port, "/nothing", 404));
    json_decref(http_get(port, "/v1/completions", 405));
    http_reply r = http_ask(port, "GET", "/metrics", "", NULL);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "\numbra_generated_tokens_total "));
    assert_non_null(strstr(r.body, "umbra_time_to_first_token_seconds_bucket{le=\"+Inf\"}"));
    http_free(&r);
}

/* The page is whole in itself; what it shows of the experts adds up. */
static void the_page_shows_the_machine(void **state)
{
    (void)state;
    http_reply r = http_ask(port, "GET", "/", "", NULL);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "Content-Security-Policy: default-src 'none'"));
    assert_non_null(strstr(r.body, "<title>"));
    assert_null(strstr(r.body, " src="));
    assert_null(strstr(r.body, "<link"));
    assert_null(strstr(r.body, "//cdn"));
    http_free(&r);
    json_decref(http_post(port, "/v1/completions", "{\"prompt\":\"Once\",\"max_tokens\":3}", 200));
    json_t *j = http_get(port, "/live", 200), *props = http_get(port, "/props", 200);
    const char *map = http_text(j, "map");
    long long here = 0;
    for (const char *c = map; *c; c++)
        here += *c != '0';
    assert_int_equal(strlen(map), http_number(props, "layers") * http_number(props, "experts"));
    assert_true(here > 0 && http_number(j, "resident_bytes") % here == 0); /* of equal slots */
    json_decref(j);
    json_decref(props);
}

/* A figure of /metrics. */
static double figure_of(const char *name)
{
    http_reply r = http_ask(port, "GET", "/metrics", "", NULL);
    const char *at = strstr(r.body, name);
    assert_non_null(at);
    double value = strtod(at + strlen(name), NULL);
    http_free(&r);
    return value;
}

/* An answer that repeats itself: what is guessed and comes true is told, and
 * the text is that of the library. */
static void drafts_are_told_of(void **state)
{
    (void)state;
    const char *prompt = "one two three one two three one two three one two";
    char body[256];
    double before = figure_of("\numbra_drafted_tokens_total ");
    snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"max_tokens\":60,\"temperature\":0}", prompt);
    json_t *j = http_post(port, "/v1/completions", body, 200);
    assert_string_equal(http_text(j, "choices.0.text"), expected_text(prompt, 60));
    json_decref(j);
    double drafted_now = figure_of("\numbra_drafted_tokens_total ");
    double accepted = figure_of("\numbra_draft_accepted_tokens_total ");
    assert_true(drafted == UMBRA_DRAFT_OFF ? drafted_now == 0 : drafted_now > before);
    assert_true(drafted == UMBRA_DRAFT_OFF ? accepted == 0 : accepted > 0);
    assert_true(figure_of("\numbra_draft_gain ") >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_that_of_the_library),
        cmocka_unit_test(eight_at_once_get_the_same_as_alone),
        cmocka_unit_test(a_stream_has_the_same_text_in_pieces),
        cmocka_unit_test(a_chat_is_the_templates_text),
        cmocka_unit_test(efforts_reach_the_template),
        cmocka_unit_test(the_other_api_has_the_same_text),
        cmocka_unit_test(stop_strings_end_a_text),
        cmocka_unit_test(probabilities_come_with_their_tokens),
        cmocka_unit_test(a_seed_gives_the_same_text_again),
        cmocka_unit_test(a_bias_forbids_a_token),
        cmocka_unit_test(what_is_not_supported_is_named),
        cmocka_unit_test(what_is_no_message_is_named),
        cmocka_unit_test(bad_bodies_are_refused),
        cmocka_unit_test(tokens_come_back_as_text),
        cmocka_unit_test(it_tells_of_itself),
        cmocka_unit_test(the_page_shows_the_machine),
        cmocka_unit_test(drafts_are_told_of),
    };
    int failed = cmocka_run_group_tests_name("alone", tests, open_usual, close_usual);
    return failed +
           cmocka_run_group_tests_name("with drafts", tests, open_with_drafts, close_usual);
}
