/* What requests and answers seldom are: reasoning in every API, prompts of odd shape, errors in
 * each API's words. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "http.h"

static serve *server;

/* A template that leaves the model in its reasoning, from which the small one never comes. */
static int open_reasoning(void **state)
{
    static const char text[] = "{# <think> </think> #}{% for m in messages %}{{ m.content }}"
                               "{% endfor %}{% if add_generation_prompt %}<think>{% endif %}";
    const serve_options o = {.template_text = text, .body_bytes = 1 << 16};
    if (open_model(state) != 0)
        return 1;
    server = open_server(&o, 2);
    return 0;
}

static int close_reasoning(void **state)
{
    close_server(&server);
    return close_model(state);
}

static void expect_words(const char *path, const char *body, const char *const *words)
{
    http_reply r = http_ask(port, "POST", path, "", body);
    assert_int_equal(r.status, 200);
    for (; *words; words++)
        if (!strstr(r.body, *words))
            fail_msg("%s: no %s in %s", path, *words, r.body);
    http_free(&r);
}

#define USER    "[{\"role\":\"user\",\"content\":\"The cache\"}]"
#define SHORTLY "\"temperature\":0,\"max_tokens\":6"

static void reasoning_is_told_apart(void **state)
{
    (void)state;
    json_t *j = http_post(port, "/v1/chat/completions", "{\"messages\":" USER "," SHORTLY "}", 200);
    assert_true(strlen(http_text(j, "choices.0.message.reasoning_content")) > 0);
    json_decref(j);
    j = http_post(port, "/v1/messages", "{\"messages\":" USER "," SHORTLY "}", 200);
    assert_string_equal(http_text(j, "content.0.type"), "thinking");
    assert_true(strlen(http_text(j, "content.0.thinking")) > 0);
    json_decref(j);
    j = http_post(port, "/v1/responses",
                  "{\"input\":\"The cache\",\"temperature\":0,\"max_output_tokens\":6}", 200);
    assert_string_equal(http_text(j, "output.0.type"), "reasoning");
    json_decref(j);
}

static void reasoning_comes_in_events(void **state)
{
    (void)state;
    expect_words(
        "/v1/chat/completions",
        "{\"messages\":" USER "," SHORTLY ",\"stream\":true,"
        "\"stream_options\":{\"include_usage\":true}}",
        (const char *const[]){"\"reasoning_content\":", "\"total_tokens\":", "[DONE]", NULL});
    expect_words("/v1/messages", "{\"messages\":" USER "," SHORTLY ",\"stream\":true}",
                 (const char *const[]){"thinking_delta", "message_stop", NULL});
    expect_words(
        "/v1/responses",
        "{\"input\":\"The cache\",\"temperature\":0,\"max_output_tokens\":6,"
        "\"stream\":true}",
        (const char *const[]){"response.reasoning_text.delta", "response.incomplete", NULL});
}

/* A schema is for what follows the reasoning, which stays as free as without. */
static void a_schema_waits_for_the_reasoning(void **state)
{
    (void)state;
    static const char body[] = "{\"messages\":" USER "," SHORTLY "%s}";
    char text[256];
    snprintf(text, sizeof text, body, "");
    json_t *plain = http_post(port, "/v1/chat/completions", text, 200);
    snprintf(text, sizeof text, body, ",\"response_format\":{\"type\":\"json_object\"}");
    json_t *held = http_post(port, "/v1/chat/completions", text, 200);
    assert_string_equal(http_text(held, "choices.0.message.reasoning_content"),
                        http_text(plain, "choices.0.message.reasoning_content"));
    json_decref(plain);
    json_decref(held);
}

/* Texts of one message are lines of it; reasoning that is hidden is left out. */
static void blocks_are_joined(void **state)
{
    (void)state;
    static const char *const same[] = {
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\\nb\"},{\"role\":\"assistant\","
        "\"content\":\"c\"}],\"system\":null}",
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
        "{\"type\":\"text\",\"text\":\"b\"}]},{\"role\":\"assistant\",\"content\":[{\"type\":"
        "\"redacted_thinking\",\"data\":\"x\"},{\"type\":\"text\",\"text\":\"c\"}]}]}",
    };
    long long n[2];
    for (int i = 0; i < 2; i++) {
        json_t *j = http_post(port, "/v1/messages/count_tokens", same[i], 200);
        n[i] = http_number(j, "input_tokens");
        json_decref(j);
    }
    assert_int_equal(n[0], n[1]);
    json_t *j = http_post(port, "/v1/messages/count_tokens", "{\"messages\":5}", 400);
    assert_string_equal(http_text(j, "error.type"), "invalid_request_error");
    json_decref(j);
}

static void values_of_other_kinds_are_named(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"stream", "5"}, {"model", "5"}, {"logprobs", "[]"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char body[128];
        snprintf(body, sizeof body, "{\"prompt\":\"a\",\"%s\":%s}", cases[i][0], cases[i][1]);
        json_t *j = http_post(port, "/v1/completions", body, 400);
        assert_string_equal(http_text(j, "error.param"), cases[i][0]);
        json_decref(j);
    }
}

/* As if it were left out; and of no share of the tokens the best is left. */
static void null_and_nothing(void **state)
{
    (void)state;
    json_t *j = http_post(port, "/v1/completions",
                          "{\"prompt\":\"The cache\",\"temperature\":1.9,\"top_p\":0,\"stop\":null,"
                          "\"max_tokens\":6}",
                          200);
    assert_string_equal(http_text(j, "choices.0.text"), expected_text("The cache", 6));
    json_decref(j);
    json_decref(http_post(port, "/v1/chat/completions",
                          "{\"messages\":" USER "," SHORTLY ",\"tools\":[]}", 200));
}

static void errors_are_in_each_api_s_words(void **state)
{
    (void)state;
    http_reply r = http_ask(port, "POST", "/v1/messages", "Origin: https://example.org\r\n",
                            "{\"messages\":" USER "," SHORTLY "}");
    assert_int_equal(r.status, 403);
    assert_non_null(strstr(r.body, "permission_error"));
    http_free(&r);
    char *large = malloc(1 << 17);
    assert_non_null(large);
    memset(large, ' ', (1 << 17) - 1);
    large[(1 << 17) - 1] = '\0';
    r = http_ask(port, "POST", "/v1/messages", "", large);
    assert_true(r.status == 0 || r.status == 413); /* the rest of the body may cut it off */
    assert_true(r.status == 0 || strstr(r.body, "request_too_large"));
    http_free(&r);
    free(large);
}

static void prompts_of_odd_shape(void **state)
{
    (void)state;
    json_t *one =
        http_post(port, "/v1/completions", "{\"prompt\":[\"The cache\"]," SHORTLY "}", 200);
    assert_string_equal(http_text(one, "choices.0.text"), expected_text("The cache", 6));
    json_decref(one);
    json_t *none = http_post(port, "/v1/completions", "{\"prompt\":[]}", 400);
    assert_string_equal(http_text(none, "error.message"), "the prompt is empty");
    json_decref(none);
    static char body[12000] = "{\"prompt\":[1";
    for (int i = 0; i < 4000; i++)
        strcat(body + i, ",1"); /* far beyond the context */
    strcat(body, "]}");
    json_t *far = http_post(port, "/v1/completions", body, 400);
    assert_non_null(strstr(http_text(far, "error.message"), "--ctx"));
    json_decref(far);
}

static int open_at(const char *host, int at, serve **out, umbra_engine **engine, umbra_error *err)
{
    const umbra_engine_options e = {.ram_bytes = 60000000, .threads = 1, .sequences = 1};
    assert_int_equal(umbra_engine_open(engine, model, &e, NULL), 0);
    const serve_options o = {
        .model = model, .engine = *engine, .sequences = 1, .host = host, .port = at};
    return serve_open(out, &o, err);
}

static void a_port_that_is_taken(void **state)
{
    (void)state;
    serve *other;
    umbra_engine *engine;
    umbra_error err = {0};
    assert_int_equal(open_at("127.0.0.1", port, &other, &engine, &err), UMBRA_E_SYSTEM);
    assert_non_null(strstr(err.message, "name another with --port"));
    assert_null(other);
    umbra_engine_close(&engine);
}

/* The loopback of IPv6 needs no key either. */
static void the_other_loopback(void **state)
{
    (void)state;
    serve *other;
    umbra_engine *engine;
    umbra_error err = {0};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool there = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
    if (fd >= 0)
        close(fd);
    if (!there)
        skip();
    assert_int_equal(open_at("::1", 0, &other, &engine, &err), UMBRA_OK);
    assert_true(serve_port(other) > 0);
    serve_close(&other);
    umbra_engine_close(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reasoning_is_told_apart),
        cmocka_unit_test(reasoning_comes_in_events),
        cmocka_unit_test(a_schema_waits_for_the_reasoning),
        cmocka_unit_test(blocks_are_joined),
        cmocka_unit_test(values_of_other_kinds_are_named),
        cmocka_unit_test(null_and_nothing),
        cmocka_unit_test(errors_are_in_each_api_s_words),
        cmocka_unit_test(prompts_of_odd_shape),
        cmocka_unit_test(a_port_that_is_taken),
        cmocka_unit_test(the_other_loopback),
    };
    return cmocka_run_group_tests(tests, open_reasoning, close_reasoning);
}
