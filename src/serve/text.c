/* A text that the scheduler writes, handed from the engine's thread to a connection's. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "serve/internal.h"

/* ---- on the engine's thread ---- */

static void note_choice(serve_text *t, const float *logits, int32_t id)
{
    serve_choice *c = &t->pending;
    *c = (serve_choice){.id = id};
    c->n_best = umbra_logprobs(logits, t->server->vocabulary, id, &c->chosen, c->best, t->n_best);
}

static int32_t choose(void *user, const float *logits, const int32_t *tokens, int n)
{
    serve_text *t = user;
    int32_t id = umbra_sampler_next(t->sampler, logits, tokens, n);
    if (t->logprobs && id >= 0)
        note_choice(t, logits, id);
    return id;
}

/* A new piece, or more of the last one. */
static int add_piece(serve_text *t, const serve_piece *p, const char *text, size_t bytes)
{
    serve_piece *last = t->n_pieces > 0 ? &t->pieces[t->n_pieces - 1] : NULL;
    if (bytes == 0 && p->kind != SERVE_CALL)
        return 0;
    if (t->n_pieces == t->room_pieces) {
        int room = t->room_pieces * 2 + 32;
        serve_piece *larger = umbra_reallocarray(t->pieces, (size_t)room, sizeof *larger);
        if (!larger)
            return UMBRA_E_NOMEM;
        t->pieces = larger;
        t->room_pieces = room;
        last = t->n_pieces > 0 ? &t->pieces[t->n_pieces - 1] : NULL;
    }
    serve_buffer_add(&t->out, text, bytes);
    if (t->out.failed) /* a piece is there once its bytes are */
        return UMBRA_E_NOMEM;
    serve_piece *next = &t->pieces[t->n_pieces++];
    *next = *p;
    next->begin = last ? last->end : 0;
    next->end = next->begin + bytes;
    return 0;
}

/* Text that the user is to see; returns 0, 1 at a stop string, or UMBRA_E_NOMEM. */
static int add_text(serve_text *t, const char *bytes, size_t n)
{
    const serve_piece p = {.kind = SERVE_TEXT};
    const char *sure;
    size_t n_sure;
    int rc = umbra_stops_take(t->stops, bytes, n, &sure, &n_sure);
    int added = rc >= 0 ? add_piece(t, &p, sure, n_sure) : 0;
    t->stop = umbra_stops_found(t->stops);
    return added < 0 ? added : rc;
}

/* The client names a call by it; where the model gave none, a number that no other has. */
static void name_call(serve_text *t, const umbra_answer_event *e, serve_piece *p)
{
    if (e->id_bytes > 0 && e->id_bytes < sizeof p->id)
        memcpy(p->id, e->id, e->id_bytes);
    else
        snprintf(p->id, sizeof p->id, "call_%llx%08llx", (unsigned long long)t->server->started,
                 (unsigned long long)atomic_fetch_add(&t->server->next_id, 1));
}

static int take_event(void *user, const umbra_answer_event *e)
{
    serve_text *t = user;
    serve_piece p = {.call = e->call};
    if (t->stop >= 0)
        return 1;
    switch (e->part) {
    case UMBRA_ANSWER_TEXT:
        return add_text(t, e->text, e->bytes);
    case UMBRA_ANSWER_REASONING:
        p.kind = SERVE_REASONING;
        break;
    case UMBRA_ANSWER_CALL:
        p.kind = SERVE_CALL;
        name_call(t, e, &p);
        break;
    case UMBRA_ANSWER_ARGUMENTS:
        p.kind = SERVE_ARGUMENTS;
        break;
    case UMBRA_ANSWER_CALL_END:
        return t->one_call;
    }
    return add_piece(t, &p, e->text, e->bytes);
}

static int add_token(serve_text *t, int32_t id)
{
    char small[256];
    size_t n = umbra_detokenize(t->server->o.model, id, false, small, sizeof small);
    t->bytes += n;
    if (t->parser)
        return umbra_answer_take(t->parser, id);
    if (n <= sizeof small)
        return add_text(t, small, n);
    char *large = umbra_calloc(n, 1);
    if (!large)
        return UMBRA_E_NOMEM;
    umbra_detokenize(t->server->o.model, id, false, large, n);
    int rc = add_text(t, large, n);
    umbra_free(large);
    return rc;
}

static bool add_choice(serve_text *t)
{
    if (t->n_choices == t->room_choices) {
        int room = t->room_choices * 2 + 32;
        serve_choice *larger = umbra_reallocarray(t->choices, (size_t)room, sizeof *larger);
        if (!larger)
            return false;
        t->choices = larger;
        t->room_choices = room;
    }
    t->pending.end = t->bytes;
    t->choices[t->n_choices++] = t->pending;
    return true;
}

static int take_token(void *user, int32_t id)
{
    serve_text *t = user;
    pthread_mutex_lock(&t->mutex);
    int rc = add_token(t, id);
    if (rc >= 0 && t->logprobs && !add_choice(t))
        rc = UMBRA_E_NOMEM;
    t->failed = rc < 0;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->mutex);
    return rc;
}

static void take_progress(void *user, int done, int total)
{
    serve_text *t = user;
    (void)total;
    pthread_mutex_lock(&t->mutex);
    t->prompt_done = done;
    pthread_mutex_unlock(&t->mutex);
}

static bool is_end(void *user, int32_t id)
{
    const serve_text *t = user;
    return umbra_chat_is_end(t->server->chat, id);
}

/* What was held back, since it might have been the beginning of something else. */
static int add_rest(serve_text *t)
{
    const serve_piece p = {.kind = SERVE_TEXT};
    const char *rest;
    size_t n;
    int rc = t->parser ? umbra_answer_end(t->parser) : 0;
    umbra_stops_end(t->stops, &rest, &n);
    t->stop = umbra_stops_found(t->stops);
    return rc < 0 ? rc : add_piece(t, &p, rest, n);
}

/* The text may be freed as soon as the mutex is. */
static void take_end(void *user)
{
    serve_text *t = user;
    serve_figures_add_job(&t->server->figures, &t->job);
    pthread_mutex_lock(&t->mutex);
    t->failed |= add_rest(t) < 0;
    t->ended = true;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}

/* ---- on the connection's ---- */

void serve_text_init(serve_text *t, serve *s, int32_t *prompt, int prompt_tokens, int max_tokens)
{
    *t = (serve_text){
        .server = s,
        .prompt = prompt,
        .stop = -1,
        .ended = true, /* not begun */
        .job = {.prompt = prompt,
                .prompt_tokens = prompt_tokens,
                .max_tokens = max_tokens,
                .choose = choose,
                .token = take_token,
                .progress = take_progress,
                .ended = take_end},
    };
    t->job.user = t;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

int serve_text_prepare(serve_text *t, const umbra_sampling *sampling, const char *const *stops,
                       int n_stops, umbra_error *err)
{
    int rc = umbra_sampler_open(&t->sampler, sampling, t->server->vocabulary, err);
    return rc == UMBRA_OK ? umbra_stops_open(&t->stops, stops, n_stops, err) : rc;
}

int serve_text_parse(serve_text *t, const umbra_chat_prompt *prompt,
                     const umbra_template_value *tools, umbra_error *err)
{
    t->job.is_end = is_end;
    return umbra_answer_open(&t->parser, t->server->chat, prompt, tools, take_event, t, err);
}

bool serve_text_start(serve_text *t)
{
    t->ended = false;
    if (umbra_scheduler_submit(t->server->scheduler, &t->job))
        return true;
    t->ended = true;
    return false;
}

bool serve_text_wait(serve_text *t, int seen_pieces, int seen_choices, uint64_t ns)
{
    struct timespec until;
    uint64_t end = umbra_clock_ns() + ns;
    until.tv_sec = (time_t)(end / 1000000000);
    until.tv_nsec = (long)(end % 1000000000);
    pthread_mutex_lock(&t->mutex);
    int rc = 0;
    while (!t->ended && t->n_pieces <= seen_pieces && t->n_choices <= seen_choices && rc == 0)
        rc = pthread_cond_timedwait(&t->changed, &t->mutex, &until);
    bool more = t->ended || t->n_pieces > seen_pieces || t->n_choices > seen_choices;
    pthread_mutex_unlock(&t->mutex);
    return more;
}

void serve_text_free(serve_text *t)
{
    if (!t->server)
        return;
    pthread_mutex_lock(&t->mutex);
    bool under_way = !t->ended;
    pthread_mutex_unlock(&t->mutex);
    if (under_way)
        umbra_scheduler_cancel(t->server->scheduler, &t->job);
    pthread_mutex_lock(&t->mutex);
    while (!t->ended)
        pthread_cond_wait(&t->changed, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
    pthread_mutex_destroy(&t->mutex);
    pthread_cond_destroy(&t->changed);
    umbra_sampler_close(&t->sampler);
    umbra_free_tokens(t->prompt);
    umbra_grammar_close(&t->grammar);
    umbra_stops_close(&t->stops);
    umbra_answer_close(&t->parser);
    umbra_free(t->pieces);
    umbra_free(t->choices);
    serve_buffer_free(&t->out);
    *t = (serve_text){0};
}
