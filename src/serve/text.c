/* A text that the scheduler writes, handed from the engine's thread to a connection's. */
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

/* A stop string in a text that ends for another reason counts as well. */
static void note_stop(serve_text *t)
{
    t->stop = umbra_stops_found(t->stops);
}

/* Returns 0, 1 at a stop string, or UMBRA_E_NOMEM. */
static int take_bytes(serve_text *t, const char *bytes, size_t n)
{
    const char *sure;
    size_t n_sure;
    int rc = umbra_stops_take(t->stops, bytes, n, &sure, &n_sure);
    if (rc >= 0)
        serve_buffer_add(&t->out, sure, n_sure);
    t->bytes += n;
    note_stop(t);
    return t->out.failed ? UMBRA_E_NOMEM : rc;
}

static int add_token(serve_text *t, int32_t id)
{
    char small[256];
    size_t n = umbra_detokenize(t->server->o.model, id, t->special, small, sizeof small);
    if (n <= sizeof small)
        return take_bytes(t, small, n);
    char *large = umbra_calloc(n, 1);
    if (!large)
        return UMBRA_E_NOMEM;
    umbra_detokenize(t->server->o.model, id, t->special, large, n);
    int rc = take_bytes(t, large, n);
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

/* The text may be freed as soon as the mutex is. */
static void take_end(void *user)
{
    serve_text *t = user;
    serve_figures_add_job(&t->server->figures, &t->job);
    pthread_mutex_lock(&t->mutex);
    const char *rest;
    size_t n;
    umbra_stops_end(t->stops, &rest, &n);
    serve_buffer_add(&t->out, rest, n);
    t->failed |= t->out.failed;
    note_stop(t);
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

bool serve_text_start(serve_text *t)
{
    t->ended = false;
    if (umbra_scheduler_submit(t->server->scheduler, &t->job))
        return true;
    t->ended = true;
    return false;
}

bool serve_text_wait(serve_text *t, size_t seen, int seen_choices, uint64_t ns)
{
    struct timespec until;
    uint64_t end = umbra_clock_ns() + ns;
    until.tv_sec = (time_t)(end / 1000000000);
    until.tv_nsec = (long)(end % 1000000000);
    pthread_mutex_lock(&t->mutex);
    int rc = 0;
    while (!t->ended && t->out.bytes <= seen && t->n_choices <= seen_choices && rc == 0)
        rc = pthread_cond_timedwait(&t->changed, &t->mutex, &until);
    bool more = t->ended || t->out.bytes > seen || t->n_choices > seen_choices;
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
    umbra_stops_close(&t->stops);
    umbra_free(t->choices);
    serve_buffer_free(&t->out);
    *t = (serve_text){0};
}
