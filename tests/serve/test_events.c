/* Event by event: a text as a stream of /v1/responses, and what /v1/responses and /v1/messages say
 * of an engine that fails while it writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "http.h"

/* ---- a model whose file can be cut while it is used ---- */

#define COPY UMBRA_TEST_DIR "/model.gguf"

static char *content;
static size_t content_bytes;

static void write_copy(void)
{
    FILE *f = fopen(COPY, "r+b"); /* the same file: whoever has it open has it whole again */
    f = f ? f : fopen(COPY, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(content, 1, content_bytes, f), content_bytes);
    assert_int_equal(fclose(f), 0);
}

static int open_copy(void **state)
{
    FILE *f = fopen("models/tiny-q8_0.gguf", "rb");
    struct stat s;
    (void)state;
    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &s), 0);
    content_bytes = (size_t)s.st_size;
    content = malloc(content_bytes);
    assert_non_null(content);
    assert_int_equal(fread(content, 1, content_bytes, f), content_bytes);
    fclose(f);
    mkdir(UMBRA_TEST_DIR, 0777);
    write_copy();
    return umbra_model_open(&model, COPY, NULL);
}

static int close_copy(void **state)
{
    free(content);
    unlink(COPY);
    return close_model(state);
}

/* ---- what is asked ---- */

typedef struct api {
    const char *path, *body; /* with room for the tokens, and members */
} api;

static const api responses = {
    "/v1/responses", "{\"input\":\"The cache\",\"temperature\":0,\"max_output_tokens\":%d%s}"};
static const api messages = {"/v1/messages",
                             "{\"messages\":[{\"role\":\"user\",\"content\":\"The cache\"}],"
                             "\"temperature\":0,\"max_tokens\":%d%s}"};
enum { WHOLE = 200, BEGUN = 6 };

static const char *prompt = "[user] The cache\n[assistant]";

static http_reply ask(const api *a, int tokens, const char *members)
{
    char body[1024];
    snprintf(body, sizeof body, a->body, tokens, members);
    return http_ask(port, "POST", a->path, "", body);
}

static json_t *ask_for_events(const api *a, int tokens, const char *members)
{
    http_reply r = ask(a, tokens, members);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "text/event-stream"));
    json_t *events = http_events(&r);
    http_free(&r);
    return events;
}

/* ---- what comes ---- */

/* Through the events in their order. */
typedef struct walk {
    const json_t *events;
    size_t at;
} walk;

static bool comes(const walk *w, const char *name)
{
    const json_t *e = json_array_get(w->events, w->at);
    return e && strcmp(http_text(e, "event"), name) == 0;
}

/* The data of the next event, which has this name and type. */
static const json_t *next(walk *w, const char *name)
{
    const json_t *e = json_array_get(w->events, w->at);
    if (!comes(w, name))
        fail_msg("event %zu is not %s: %s", w->at, name, e ? json_dumps(e, 0) : "none");
    w->at++;
    const json_t *data = json_object_get(e, "data");
    assert_string_equal(http_text(data, "type"), name);
    return data;
}

/* The same of /v1/responses, where all are numbered. */
static const json_t *next_numbered(walk *w, const char *name)
{
    const json_t *data = next(w, name);
    assert_int_equal(http_number(data, "sequence_number"), w->at - 1);
    return data;
}

static void expect_end(const walk *w)
{
    assert_int_equal(w->at, json_array_size(w->events));
}

/* A part of the first item, of this id. */
static const json_t *next_of_part(walk *w, const char *name, const char *id)
{
    const json_t *data = next_numbered(w, name);
    assert_string_equal(http_text(data, "item_id"), id);
    assert_int_equal(http_number(data, "output_index"), 0);
    assert_int_equal(http_number(data, "content_index"), 0);
    return data;
}

static void expect_part(const json_t *data, const char *path, const char *text)
{
    char at[64];
    snprintf(at, sizeof at, "%s.type", path);
    assert_string_equal(http_text(data, at), "output_text");
    snprintf(at, sizeof at, "%s.text", path);
    assert_string_equal(http_text(data, at), text);
}

/* The first item begins: returns its id. */
static const char *expect_begin(walk *w)
{
    const json_t *data = next_numbered(w, "response.created");
    assert_int_equal(strncmp(http_text(data, "response.id"), "resp_", 5), 0);
    assert_string_equal(http_text(data, "response.object"), "response");
    assert_string_equal(http_text(data, "response.status"), "in_progress");
    assert_int_equal(json_array_size(json_object_get(json_object_get(data, "response"), "output")),
                     0);
    data = next_numbered(w, "response.in_progress");
    assert_string_equal(http_text(data, "response.status"), "in_progress");
    data = next_numbered(w, "response.output_item.added");
    const char *id = http_text(data, "item.id");
    assert_int_equal(http_number(data, "output_index"), 0);
    assert_string_equal(http_text(data, "item.type"), "message");
    assert_string_equal(http_text(data, "item.role"), "assistant");
    assert_string_equal(http_text(data, "item.status"), "in_progress");
    expect_part(next_of_part(w, "response.content_part.added", id), "part", "");
    return id;
}

/* Joins what comes. Returns how many pieces there were. */
static int join_deltas(walk *w, const char *id, char *out, size_t size)
{
    int n = 0;
    out[0] = '\0';
    for (; comes(w, "response.output_text.delta"); n++) {
        const json_t *data = next_of_part(w, "response.output_text.delta", id);
        snprintf(out + strlen(out), size - strlen(out), "%s", http_text(data, "delta"));
    }
    return n;
}

/* Of the whole answer: the one that the same without a stream has. */
static void expect_whole(const json_t *response, const api *a, int tokens, const char *members,
                         const char *id)
{
    static const char *const same[] = {
        "status",          "usage.input_tokens",     "usage.output_tokens", "usage.total_tokens",
        "output.0.status", "output.0.content.0.text"};
    http_reply r = ask(a, tokens, members);
    json_t *other = json_loadb(r.body, r.bytes, 0, NULL);
    assert_int_equal(r.status, 200);
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        if (strncmp(same[i], "usage", 5) == 0)
            assert_int_equal(http_number(response, same[i]), http_number(other, same[i]));
        else
            assert_string_equal(http_text(response, same[i]), http_text(other, same[i]));
    assert_int_equal(http_number(response, "usage.total_tokens"),
                     http_number(response, "usage.input_tokens") +
                         http_number(response, "usage.output_tokens"));
    assert_int_equal(json_array_size(json_object_get(response, "output")), 1);
    assert_string_equal(http_text(response, "output.0.id"), id);
    assert_true(json_is_null(json_object_get(response, "error")));
    json_decref(other);
    http_free(&r);
}

/* All events of a text that ends so. Returns the whole answer, of `events`. */
static const json_t *expect_text(const json_t *events, const char *status, char *text, size_t size,
                                 const char **id)
{
    walk w = {events, 0};
    char last[64];
    *id = expect_begin(&w);
    assert_true(join_deltas(&w, *id, text, size) > 0);
    assert_string_equal(http_text(next_of_part(&w, "response.output_text.done", *id), "text"),
                        text);
    expect_part(next_of_part(&w, "response.content_part.done", *id), "part", text);
    const json_t *data = next_numbered(&w, "response.output_item.done");
    assert_int_equal(http_number(data, "output_index"), 0);
    assert_string_equal(http_text(data, "item.id"), *id);
    assert_string_equal(http_text(data, "item.status"), status);
    expect_part(data, "item.content.0", text);
    snprintf(last, sizeof last, "response.%s", status);
    data = next_numbered(&w, last);
    assert_string_equal(http_text(data, "response.status"), status);
    assert_string_equal(http_text(data, "response.output.0.status"), status);
    expect_end(&w);
    expect_part(data, "response.output.0.content.0", text);
    return json_object_get(data, "response");
}

/* ---- a text ---- */

static void a_text_that_is_cut(void **state)
{
    (void)state;
    char text[4096];
    const char *id;
    serve *s = open_server(NULL, 1);
    json_t *events = ask_for_events(&responses, 12, ",\"stream\":true");
    const json_t *r = expect_text(events, "incomplete", text, sizeof text, &id);
    assert_string_equal(text, expected_text(prompt, 12));
    assert_string_equal(http_text(r, "incomplete_details.reason"), "max_output_tokens");
    assert_int_equal(http_number(r, "usage.output_tokens"), 12);
    expect_whole(r, &responses, 12, "", id);
    json_decref(events);
    close_server(&s);
}

/* A schema is what ends a text of the small model. */
static void a_text_that_ends(void **state)
{
    (void)state;
    static const char format[] =
        ",\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"x\",\"strict\":true,"
        "\"schema\":{\"enum\":[\"a cache of experts\"]}}}%s";
    char text[4096], members[512];
    const char *id;
    serve *s = open_server(NULL, 1);
    snprintf(members, sizeof members, format, ",\"stream\":true");
    json_t *events = ask_for_events(&responses, WHOLE, members);
    const json_t *r = expect_text(events, "completed", text, sizeof text, &id);
    assert_string_equal(text, "\"a cache of experts\"");
    assert_true(json_is_null(json_object_get(r, "incomplete_details")));
    snprintf(members, sizeof members, format, "");
    expect_whole(r, &responses, WHOLE, members, id);
    json_decref(events);
    close_server(&s);
}

/* ---- an engine that fails ---- */

/* A server that has the experts of a text's beginning, and will find no other ones. */
static serve *open_failing(const api *a)
{
    serve *s = open_server(NULL, 1);
    http_reply r = ask(a, BEGUN, "");
    assert_int_equal(r.status, 200);
    http_free(&r);
    assert_int_equal(truncate(COPY, 4096), 0);
    return s;
}

/* Once the file is whole again the next answer is. */
static void close_failing(serve **s, const api *a, const char *path)
{
    write_copy();
    http_reply r = ask(a, 40, "");
    json_t *j = json_loadb(r.body, r.bytes, 0, NULL);
    assert_int_equal(r.status, 200);
    assert_string_equal(http_text(j, path), expected_text(prompt, 40));
    json_decref(j);
    http_free(&r);
    close_server(s);
}

static void expect_message(const json_t *data, const char *path)
{
    if (!strstr(http_text(data, path), COPY))
        fail_msg("the file is not named: %s", http_text(data, path));
}

/* As a whole it is an error with a status. */
static void expect_refusal(const api *a, const char *type)
{
    http_reply r = ask(a, WHOLE, "");
    json_t *j = json_loadb(r.body, r.bytes, 0, NULL);
    assert_int_equal(r.status, 500);
    if (a == &messages)
        assert_string_equal(http_text(j, "type"), "error");
    assert_string_equal(http_text(j, "error.type"), type);
    expect_message(j, "error.message");
    json_decref(j);
    http_free(&r);
}

/* What came before is the text's beginning. */
static void expect_beginning(const char *text)
{
    char whole[8192];
    snprintf(whole, sizeof whole, "%s", expected_text(prompt, BEGUN));
    assert_int_equal(strncmp(text, whole, strlen(whole)), 0);
}

static void a_response_that_fails(void **state)
{
    (void)state;
    char text[4096];
    serve *s = open_failing(&responses);
    json_t *events = ask_for_events(&responses, WHOLE, ",\"stream\":true");
    walk w = {events, 0};
    const char *id = expect_begin(&w);
    assert_true(join_deltas(&w, id, text, sizeof text) > 0);
    const json_t *data = next_numbered(&w, "response.failed");
    expect_end(&w);
    assert_string_equal(http_text(data, "response.status"), "failed");
    assert_string_equal(http_text(data, "response.error.code"), "server_error");
    expect_message(data, "response.error.message");
    expect_refusal(&responses, "server_error");
    close_failing(&s, &responses, "output.0.content.0.text");
    expect_beginning(text);
    json_decref(events);
}

static void a_message_that_fails(void **state)
{
    (void)state;
    char text[4096] = "";
    serve *s = open_failing(&messages);
    json_t *events = ask_for_events(&messages, WHOLE, ",\"stream\":true");
    walk w = {events, 0};
    const json_t *data = next(&w, "message_start");
    assert_string_equal(http_text(data, "message.role"), "assistant");
    data = next(&w, "content_block_start");
    assert_int_equal(http_number(data, "index"), 0);
    assert_string_equal(http_text(data, "content_block.type"), "text");
    while (comes(&w, "content_block_delta")) {
        data = next(&w, "content_block_delta");
        assert_int_equal(http_number(data, "index"), 0);
        assert_string_equal(http_text(data, "delta.type"), "text_delta");
        strcat(text, http_text(data, "delta.text"));
    }
    data = next(&w, "error");
    expect_end(&w);
    assert_string_equal(http_text(data, "error.type"), "api_error");
    expect_message(data, "error.message");
    expect_refusal(&messages, "api_error");
    close_failing(&s, &messages, "content.0.text");
    expect_beginning(text);
    json_decref(events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_that_is_cut),
        cmocka_unit_test(a_text_that_ends),
        cmocka_unit_test(a_response_that_fails),
        cmocka_unit_test(a_message_that_fails),
    };
    return cmocka_run_group_tests(tests, open_copy, close_copy);
}
