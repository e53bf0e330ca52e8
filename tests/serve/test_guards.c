/* What a server does not let happen: strangers, floods, clients that are slow or gone. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "fixture.h"
#include "http.h"

static const char question[] = "{\"prompt\":\"Once\",\"temperature\":0,\"max_tokens\":2}";

static int status_with(const char *headers)
{
    http_reply r = http_ask(port, "POST", "/v1/completions", headers, question);
    int status = r.status;
    http_free(&r);
    return status;
}

static void keys_are_asked_for(void **state)
{
    (void)state;
    const serve_options o = {.keys = "# of tests\n  first-key \n\nsecond\n"};
    serve *s = open_server(&o, 1);
    assert_int_equal(status_with(""), 401);
    assert_int_equal(status_with("Authorization: Bearer wrong\r\n"), 401);
    assert_int_equal(status_with("Authorization: Bearer first-ke\r\n"), 401);
    assert_int_equal(status_with("Authorization: Bearer \r\n"), 401);
    assert_int_equal(status_with("Authorization: Bearer # of tests\r\n"), 401);
    assert_int_equal(status_with("Authorization: Bearer first-key\r\n"), 200);
    assert_int_equal(status_with("x-api-key: second\r\n"), 200);
    json_decref(http_get(port, "/health", 200)); /* says nothing of anybody */
    json_decref(http_get(port, "/slots", 401));
    close_server(&s);
}

static void strangers_need_a_key(void **state)
{
    (void)state;
    umbra_engine *engine;
    umbra_error err = {0};
    serve *s;
    const umbra_engine_options e = {.ram_bytes = 60000000, .threads = 1};
    assert_int_equal(umbra_engine_open(&engine, model, &e, NULL), 0);
    serve_options o = {
        .model = model, .engine = engine, .sequences = 1, .name = "tiny", .host = "0.0.0.0"};
    assert_int_equal(serve_open(&s, &o, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "--api-key-file"));
    o.keys = "# none\n";
    assert_int_equal(serve_open(&s, &o, &err), UMBRA_E_ARGUMENT);
    o.host = "no.such.host.invalid";
    o.keys = "key";
    assert_int_equal(serve_open(&s, &o, &err), UMBRA_E_ARGUMENT);
    umbra_engine_close(&engine);
}

static int status_of_raw(const char *text)
{
    int fd = http_connect(port);
    http_send(fd, text, strlen(text));
    http_reply r = http_read(fd);
    int status = r.status;
    http_free(&r);
    return status;
}

static void pages_elsewhere_are_refused(void **state)
{
    (void)state;
    serve *s = open_server(NULL, 1);
    char own[64];
    assert_int_equal(status_with("Origin: https://example.org\r\n"), 403);
    assert_int_equal(status_with("Origin: null\r\n"), 403);
    snprintf(own, sizeof own, "Origin: http://127.0.0.1:%d\r\n", port);
    assert_int_equal(status_with(own), 200);
    assert_int_equal(status_of_raw("GET /v1/models HTTP/1.1\r\nHost: evil.example:80\r\n"
                                   "Connection: close\r\n\r\n"),
                     403);
    assert_int_equal(status_of_raw("GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
                                   "Connection: close\r\n\r\n"),
                     200);
    close_server(&s);
    const serve_options o = {.origin = "https://example.org"};
    s = open_server(&o, 1);
    http_reply r =
        http_ask(port, "POST", "/v1/completions", "Origin: https://example.org\r\n", question);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "Access-Control-Allow-Origin: https://example.org"));
    http_free(&r);
    r = http_ask(port, "OPTIONS", "/v1/completions", "Origin: https://example.org\r\n", NULL);
    assert_int_equal(r.status, 204);
    http_free(&r);
    close_server(&s);
}

/* Before a byte of the body is read, or, where its length is not told, when it is too much. */
static void large_bodies_are_refused(void **state)
{
    (void)state;
    const serve_options o = {.body_bytes = 4096};
    serve *s = open_server(&o, 1);
    char chunk[6000] = "1000\r\n";
    assert_int_equal(status_of_raw("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                                   "Content-Length: 99999999999999\r\n\r\n"),
                     413);
    int fd = http_connect(port);
    static const char head[] = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                               "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    memset(chunk + 6, ' ', 4096);
    strcpy(chunk + 6 + 4096, "\r\n");
    http_send(fd, head, sizeof head - 1);
    for (int i = 0; i < 10; i++)
        http_send(fd, chunk, strlen(chunk));
    http_send(fd, "0\r\n\r\n", 5);
    http_reply r = http_read(fd);
    assert_int_equal(r.status, 413);
    http_free(&r);
    assert_int_equal(status_with(""), 200);
    char *many = calloc(1, 100000);
    assert_non_null(many);
    strcpy(many, "GET /health HTTP/1.1\r\nHost: localhost\r\nX: ");
    memset(many + strlen(many), 'x', 90000);
    assert_true(status_of_raw(many) >= 400); /* headers have a limit of their own */
    free(many);
    close_server(&s);
}

/* A request that comes byte by byte, or not at all, loses its connection. */
static void a_request_must_come_in_time(void **state)
{
    (void)state;
    const serve_options o = {.request_seconds = 1, .connections = 4};
    serve *s = open_server(&o, 1);
    int silent[4];
    for (int i = 0; i < 4; i++)
        silent[i] = http_connect(port);
    http_send(silent[0], "POST /v1/comp", 13);
    http_send(silent[1],
              "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
              "Content-Length: 50\r\n\r\n{",
              71);
    for (int i = 0; i < 4; i++) {
        http_reply r = http_read(silent[i]); /* returns as the server closes */
        assert_true(r.status == 0 || r.status >= 400);
        http_free(&r);
    }
    int status = 0; /* their places are free a moment later */
    for (int i = 0; i < 500 && status != 200; i++) {
        usleep(10000);
        status = status_with("");
    }
    assert_int_equal(status, 200);
    close_server(&s);
}

/* Stops this process, with the server in it, for so many seconds. */
static void stand_still(unsigned seconds)
{
    pid_t self = getpid(), other = fork();
    assert_true(other >= 0);
    if (other == 0) {
        kill(self, SIGSTOP);
        sleep(seconds);
        kill(self, SIGCONT);
        _exit(0);
    }
    assert_int_equal(waitpid(other, NULL, 0), other);
}

static void a_standstill_is_not_the_client_s(void **state)
{
    (void)state;
    char head[256];
    const serve_options o = {.request_seconds = 4};
    serve *s = open_server(&o, 1);
    int fd = http_connect(port);
    snprintf(head, sizeof head,
             "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
             "Content-Length: %zu\r\n\r\n",
             strlen(question));
    http_send(fd, head, strlen(head));
    stand_still(6);
    usleep(1500000); /* it looks again */
    http_send(fd, question, strlen(question));
    http_reply r = http_read(fd);
    assert_int_equal(r.status, 200);
    http_free(&r);
    close_server(&s);
}

static long long metric(const char *name)
{
    char line[128];
    http_reply r = http_ask(port, "GET", "/metrics", "", NULL);
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(r.body, line);
    assert_non_null(at);
    long long value = atoll(at + strlen(line));
    http_free(&r);
    return value;
}

static void await(const char *name, long long value)
{
    for (int i = 0; metric(name) != value; i++) {
        assert_true(i < 3000);
        usleep(10000);
    }
}

static int ask_for_long(bool stream)
{
    char text[512];
    snprintf(text, sizeof text,
             "{\"prompt\":\"Once\",\"temperature\":0,\"max_tokens\":500,\"ignore_eos\":true,"
             "\"stream\":%s}",
             stream ? "true" : "false");
    int fd = http_connect(port), n = (int)strlen(text);
    char head[256];
    snprintf(head, sizeof head,
             "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
             "Content-Length: %d\r\n\r\n",
             n);
    http_send(fd, head, strlen(head));
    http_send(fd, text, strlen(text));
    return fd;
}

static void who_goes_is_not_written_for(void **state)
{
    (void)state;
    serve *s = open_server(NULL, 2);
    for (int stream = 0; stream < 2; stream++) {
        int fd = ask_for_long(stream);
        await("umbra_requests_writing", 1);
        close(fd);
        await("umbra_requests_total{end=\"cancelled\"}", stream + 1);
        await("umbra_requests_writing", 0);
    }
    assert_int_equal(status_with(""), 200);
    close_server(&s);
}

static void answers_may_end_before_the_server(void **state)
{
    (void)state;
    serve *s = open_server(NULL, 2);
    int fd = ask_for_long(true);
    await("umbra_requests_writing", 1);
    assert_int_equal(serve_finish(s, 600), 0);
    http_reply r = http_read(fd);
    assert_non_null(strstr(r.body, "\"finish_reason\":\"length\""));
    http_free(&r);
    close_server(&s);
    s = open_server(NULL, 2);
    fd = ask_for_long(true);
    await("umbra_requests_writing", 1);
    assert_int_equal(serve_finish(s, 0), 1);
    r = http_read(fd);
    assert_non_null(strstr(r.body, "the server is closing")); /* and what was cut says so */
    http_free(&r);
    close_server(&s);
}

static void states_outlive_the_server(void **state)
{
    (void)state;
    char body[2048] = "{\"temperature\":0,\"max_tokens\":4,\"prompt\":\"";
    for (int i = 0; i < 60; i++)
        strcat(body, "The cache holds ");
    strcat(body, "\"}");
    assert_int_equal(system("rm -rf '" UMBRA_TEST_DIR "'"), 0);
    const serve_options o = {
        .state_folder = UMBRA_TEST_DIR, .state_bytes = 1 << 30, .state_buffer_bytes = 16 << 20};
    serve *s = open_server(&o, 2);
    json_t *first = http_post(port, "/v1/completions", body, 200);
    assert_int_equal(http_number(first, "usage.prompt_tokens_details.cached_tokens"), 0);
    close_server(&s);
    s = open_server(&o, 2);
    json_t *second = http_post(port, "/v1/completions", body, 200);
    assert_int_equal(http_number(second, "usage.prompt_tokens_details.cached_tokens"),
                     http_number(second, "usage.prompt_tokens") - 1);
    assert_string_equal(http_text(first, "choices.0.text"), http_text(second, "choices.0.text"));
    json_decref(first);
    json_decref(second);
    close_server(&s);
}

/* What the second server has to read for an answer, and how many experts it did not have. */
typedef struct cost {
    long long misses, bytes;
} cost;

static cost cost_of_asking(const char *body, const char *text)
{
    cost before = {metric("umbra_expert_misses_total"), metric("umbra_read_bytes_total")};
    json_t *j = http_post(port, "/v1/completions", body, 200);
    assert_string_equal(http_text(j, "choices.0.text"), text);
    json_decref(j);
    await("umbra_requests_writing", 0); /* figures are those of the last step */
    return (cost){metric("umbra_expert_misses_total") - before.misses,
                  metric("umbra_read_bytes_total") - before.bytes};
}

/* The model's experts fit into memory, so that all that were there come back. */
static void experts_come_back_while_nobody_asks(void **state)
{
    (void)state;
    static const char body[] = "{\"temperature\":0,\"max_tokens\":24,\"prompt\":\"The cache\"}";
    assert_int_equal(system("rm -rf '" UMBRA_TEST_DIR "'"), 0);
    const serve_options o = {
        .state_folder = UMBRA_TEST_DIR, .state_bytes = 1 << 30, .state_buffer_bytes = 16 << 20};
    serve *s = open_server(&o, 1);
    assert_int_equal(metric("umbra_refill_experts") + metric("umbra_refill_reads_total"), 0);
    json_t *first = http_post(port, "/v1/completions", body, 200);
    const char *text = http_text(first, "choices.0.text");
    await("umbra_requests_writing", 0);
    long long experts = metric("umbra_expert_misses_total");
    close_server(&s);

    s = open_server(&o, 1);
    await("umbra_refill_experts", 0);
    assert_int_equal(metric("umbra_refill_reads_total"), experts);
    assert_true(metric("umbra_refill_bytes_total") >= metric("umbra_read_bytes_total"));
    cost warm = cost_of_asking(body, text);
    assert_int_equal(warm.misses + warm.bytes, 0);
    assert_int_equal(metric("umbra_refill_used_total"), experts);
    close_server(&s);

    assert_int_equal(system("rm '" UMBRA_TEST_DIR "'/*.experts"), 0);
    s = open_server(&o, 1);
    cost cold = cost_of_asking(body, text);
    assert_true(cold.misses == experts && cold.bytes > 0);
    close_server(&s);
    json_decref(first);
}

/* Whichever allocation fails while a text is written: it is told, or cut, and the next one is
 * whole. */
static void without_memory_an_answer_is_lost_alone(void **state)
{
    (void)state;
    static const char stream[] = "{\"prompt\":\"Once\",\"temperature\":0,\"max_tokens\":12,"
                                 "\"stop\":[\"@@\"],\"logprobs\":1,\"stream\":true}";
    int lost = 0;
    serve *s = open_server(NULL, 1);
    for (long n = 1; n <= 80; n++) {
        umbra_memory_fail_after(n);
        http_reply r = http_ask(port, "POST", "/v1/completions", "", stream);
        umbra_memory_fail_after(0);
        assert_true(r.status == 0 || r.status == 200 || r.status >= 500);
        lost += r.status != 200 || !strstr(r.body, "[DONE]");
        http_free(&r);
        assert_int_equal(status_with(""), 200);
    }
    assert_true(lost > 10 && lost < 80);
    close_server(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_asked_for),
        cmocka_unit_test(strangers_need_a_key),
        cmocka_unit_test(pages_elsewhere_are_refused),
        cmocka_unit_test(large_bodies_are_refused),
        cmocka_unit_test(a_request_must_come_in_time),
        cmocka_unit_test(a_standstill_is_not_the_client_s),
        cmocka_unit_test(without_memory_an_answer_is_lost_alone),
        cmocka_unit_test(who_goes_is_not_written_for),
        cmocka_unit_test(answers_may_end_before_the_server),
        cmocka_unit_test(states_outlive_the_server),
        cmocka_unit_test(experts_come_back_while_nobody_asks),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
