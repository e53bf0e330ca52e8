/* A text on its way to the client: in events as it comes, or as a whole. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "serve/internal.h"

enum { BLOCK_BYTES = 4096 };

static const uint64_t tick_ns = 100000000; /* between two looks whether the client is there */

static serve_answer *open_answer(serve_exchange *x, const serve_writer *writer, const char *prefix)
{
    serve_answer *a = umbra_calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->server = x->server;
    a->x = x;
    a->writer = writer;
    a->created = time(NULL);
    snprintf(a->id, sizeof a->id, "%s%llx%08llx", prefix, (unsigned long long)a->created,
             (unsigned long long)atomic_fetch_add(&x->server->next_id, 1));
    return a;
}

static void free_answer(serve_answer *a)
{
    if (!a)
        return;
    serve_text_free(&a->text);
    serve_buffer_free(&a->out);
    serve_buffer_free(&a->content);
    serve_buffer_free(&a->reasoning);
    for (int i = 0; i < a->n_tools; i++) {
        serve_buffer_free(&a->tools[i].name);
        serve_buffer_free(&a->tools[i].arguments);
    }
    umbra_free(a->tools);
    json_decref(a->items);
    json_decref(a->echo);
    umbra_chat_prompt_free(&a->prompt);
    umbra_template_tree_close(&a->tree);
    for (int i = 0; i < SERVE_MOST_STOPS; i++)
        umbra_free(a->stops[i]);
    umbra_free(a);
}

void serve_event(serve_answer *a, const char *name, json_t *value)
{
    if (name)
        serve_buffer_print(&a->out, "event: %s\n", name);
    serve_buffer_add(&a->out, "data: ", 6);
    serve_buffer_json(&a->out, value);
    serve_buffer_add(&a->out, "\n\n", 2);
    json_decref(value);
}

/* ---- what has come ---- */

static void add_to_tool(serve_answer *a, const serve_delta *d)
{
    if (d->kind == SERVE_CALL && a->n_tools < SERVE_MOST_TOOLS) {
        serve_tool *t = &a->tools[a->n_tools++];
        snprintf(t->id, sizeof t->id, "%s", d->id);
        serve_buffer_add(&t->name, d->text, d->bytes);
    } else if (d->kind == SERVE_ARGUMENTS && d->call < a->n_tools) {
        serve_buffer_add(&a->tools[d->call].arguments, d->text, d->bytes);
    }
}

static void deliver(serve_answer *a, const serve_delta *d)
{
    if (!a->tools && d->kind == SERVE_CALL)
        a->tools = umbra_calloc(SERVE_MOST_TOOLS, sizeof *a->tools);
    if (d->kind == SERVE_TEXT)
        serve_buffer_add(&a->content, d->text, d->bytes);
    else if (d->kind == SERVE_REASONING)
        serve_buffer_add(&a->reasoning, d->text, d->bytes);
    else if (a->tools)
        add_to_tool(a, d);
    else
        a->out.failed = true;
    if (a->stream)
        a->writer->delta(a, d);
    a->seen_choices = a->choices;
}

/* The next run of pieces of one kind, copied, so that the engine can go on. False: there is none;
 * *ended: nor will there be. */
static bool take_new(serve_answer *a, serve_piece *piece, serve_buffer *text, bool *ended)
{
    serve_text *t = &a->text;
    pthread_mutex_lock(&t->mutex);
    bool more = a->seen_pieces < t->n_pieces;
    if (more) {
        *piece = t->pieces[a->seen_pieces++];
        while (a->seen_pieces < t->n_pieces && t->pieces[a->seen_pieces].kind == piece->kind &&
               piece->kind != SERVE_CALL && t->pieces[a->seen_pieces].call == piece->call)
            piece->end = t->pieces[a->seen_pieces++].end;
        serve_buffer_add(text, t->out.data + piece->begin, piece->end - piece->begin);
    }
    a->choices = t->n_choices;
    *ended = t->ended;
    pthread_mutex_unlock(&t->mutex);
    return more;
}

/* Why the text is none, or NULL. */
static const char *failure(const serve_answer *a, int *status)
{
    const serve_text *t = &a->text;
    *status = MHD_HTTP_INTERNAL_SERVER_ERROR;
    if (t->job.end == UMBRA_JOB_FAILED)
        return t->job.error.message;
    if (t->failed)
        return "out of memory";
    *status = MHD_HTTP_SERVICE_UNAVAILABLE;
    return t->job.end == UMBRA_JOB_CANCELLED ? "the server is closing" : NULL;
}

/* Passes on what is new. Returns true at the end of the text. */
static bool pump(serve_answer *a)
{
    serve_buffer text = {0};
    serve_piece p;
    bool ended;
    while (take_new(a, &p, &text, &ended)) {
        const serve_delta d = {p.kind, text.data ? text.data : "", text.bytes, p.call, p.id};
        deliver(a, &d);
        a->out.failed |= text.failed;
        serve_buffer_drop(&text, text.bytes);
    }
    const serve_delta none = {.kind = SERVE_TEXT, .text = ""};
    if (a->choices > a->seen_choices) /* tokens without a text of their own */
        deliver(a, &none);
    serve_buffer_free(&text);
    return ended;
}

/* ---- as it comes ---- */

static void end_stream(serve_answer *a)
{
    int status;
    const char *message = failure(a, &status);
    if (message)
        a->writer->fail(a, status, message);
    else
        a->writer->end(a);
    a->over = true;
}

/* Fills a->out, at the latest when a sign of life is due. False: the client has gone. */
static bool fill(serve_answer *a)
{
    uint64_t start = umbra_clock_ns();
    uint64_t patience = (uint64_t)a->server->o.alive_seconds * 1000000000;
    if (!a->begun)
        a->writer->begin(a);
    a->begun = true;
    while (a->out.bytes == 0 && !a->over) {
        if (serve_text_wait(&a->text, a->seen_pieces, a->seen_choices, tick_ns) && pump(a))
            end_stream(a);
        else if (a->out.bytes == 0 && serve_client_gone(a->x))
            return false;
        if (a->out.bytes == 0 && umbra_clock_ns() - start >= patience)
            serve_buffer_print(&a->out, "%s", a->writer->alive);
    }
    return !a->out.failed && !serve_memory_lacked();
}

static ssize_t read_stream(void *answer, uint64_t at, char *buffer, size_t most)
{
    serve_answer *a = answer;
    (void)at;
    if (a->out.bytes == 0 && a->over)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (a->out.bytes == 0 && !fill(a))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    size_t n = a->out.bytes < most ? a->out.bytes : most;
    memcpy(buffer, a->out.data, n);
    serve_buffer_drop(&a->out, n);
    return (ssize_t)n;
}

static void free_stream(void *answer)
{
    free_answer(answer);
}

static enum MHD_Result answer_in_events(serve_answer *a)
{
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES,
                                                                      read_stream, a, free_stream);
    if (!response) {
        free_answer(a);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", "text/event-stream");
    MHD_add_response_header(response, "X-Accel-Buffering", "no");
    return serve_queue(a->x, MHD_HTTP_OK, response);
}

/* ---- as a whole ---- */

static enum MHD_Result answer_whole(serve_answer *a)
{
    serve_exchange *x = a->x;
    enum MHD_Result result = MHD_NO;
    for (;;) {
        if (serve_text_wait(&a->text, a->seen_pieces, a->seen_choices, tick_ns) && pump(a))
            break;
        if (serve_client_gone(x)) {
            free_answer(a);
            return MHD_NO;
        }
    }
    int status;
    const char *message = failure(a, &status);
    if (message)
        result = serve_refuse(x, status, NULL, "%s", message);
    else
        result = serve_reply_json(x, MHD_HTTP_OK, a->writer->whole(a));
    free_answer(a);
    return result;
}

static enum MHD_Result run(serve_answer *a)
{
    if (!serve_text_start(&a->text)) {
        serve_exchange *x = a->x;
        free_answer(a);
        return serve_refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "the server is closing");
    }
    return a->stream ? answer_in_events(a) : answer_whole(a);
}

/* ---- tokens ---- */

json_t *serve_token_text(const serve *s, int32_t id)
{
    char text[1024];
    size_t n = umbra_detokenize(s->o.model, id, true, text, sizeof text);
    return serve_json_text(text, n <= sizeof text ? n : 0);
}

static json_t *token_bytes(const serve *s, int32_t id)
{
    char text[1024];
    size_t n = umbra_detokenize(s->o.model, id, true, text, sizeof text);
    json_t *list = json_array();
    for (size_t i = 0; i < n && n <= sizeof text; i++)
        json_array_append_new(list, json_integer((unsigned char)text[i]));
    return list;
}

static json_t *logprob_json(const serve *s, umbra_logprob p)
{
    /* JSON knows no infinity. */
    double value = p.logprob < -9999 ? -9999 : (double)p.logprob;
    return json_pack("{s:o, s:f, s:o}", "token", serve_token_text(s, p.id), "logprob", value,
                     "bytes", token_bytes(s, p.id));
}

json_t *serve_chat_logprobs(const serve_answer *a, int from, int to)
{
    json_t *content = json_array();
    for (int i = from; i < to; i++) {
        const serve_choice *c = &a->text.choices[i];
        json_t *one = logprob_json(a->server, c->chosen), *best = json_array();
        for (int b = 0; b < c->n_best; b++)
            json_array_append_new(best, logprob_json(a->server, c->best[b]));
        json_object_set_new(one, "top_logprobs", best);
        json_array_append_new(content, one);
    }
    return json_pack("{s:o}", "content", content);
}

enum MHD_Result serve_answer_request(serve_exchange *x, const serve_writer *writer,
                                     const char *prefix, serve_reader *read)
{
    enum MHD_Result result = MHD_NO;
    json_t *body = serve_read_body(x, &result);
    if (!body)
        return result;
    serve_answer *a = open_answer(x, writer, prefix);
    bool good = a && read(x, a, body, &result);
    json_decref(body);
    if (good)
        return run(a);
    if (!a)
        result = serve_refuse_nomem(x);
    free_answer(a);
    return result;
}
