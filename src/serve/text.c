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

static bool add_bytes(serve_text *t, int32_t id)
{
    char small[256];
    size_t n = umbra_detokenize(t->server->o.model, id, t->special, small, sizeof small);
    if (n <= sizeof small) {
        serve_buffer_add(&t->out, small, n);
        return !t->out.failed;
    }
    char *large = umbra_calloc(n, 1);
    if (!large)
        return false;
    umbra_detokenize(t->server->o.model, id, t->special, large, n);
    serve_buffer_add(&t->out, large, n);
    umbra_free(large);
    return !t->out.failed;
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
    t->pending.end = t->out.bytes;
    t->choices[t->n_choices++] = t->pending;
    return true;
}

/* The first place from `from` on where a stop string is; the text ends before it. */
static bool find_stop(serve_text *t, size_t from)
{
    const char *best = NULL;
    for (int i = 0; i < t->n_stops; i++) {
        size_t m = strlen(t->stops[i]), begin = from >= m - 1 ? from - (m - 1) : 0;
        const char *at = memmem(t->out.data + begin, t->out.bytes - begin, t->stops[i], m);
        if (at && (!best || at < best)) {
            best = at;
            t->stop = i;
        }
    }
    if (best)
        t->out.bytes = (size_t)(best - t->out.data);
    return best != NULL;
}

/* Bytes at the end that may be the beginning of a stop string. */
static size_t held_back(const serve_text *t)
{
    size_t most = 0;
    for (int i = 0; i < t->n_stops; i++) {
        size_t m = strlen(t->stops[i]) - 1;
        for (size_t n = m < t->out.bytes ? m : t->out.bytes; n > most; n--)
            if (memcmp(t->out.data + t->out.bytes - n, t->stops[i], n) == 0)
                most = n;
    }
    return most;
}

static int take_token(void *user, int32_t id)
{
    serve_text *t = user;
    pthread_mutex_lock(&t->mutex);
    size_t before = t->out.bytes;
    bool good = add_bytes(t, id), stop = false;
    if (good && t->n_stops > 0 && t->out.bytes > 0)
        stop = find_stop(t, before);
    if (good && t->logprobs)
        good = add_choice(t);
    t->shown = stop ? t->out.bytes : t->out.bytes - held_back(t);
    t->failed = !good;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->mutex);
    return stop || !good;
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
    t->shown = t->out.bytes;
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

int serve_text_sample(serve_text *t, const umbra_sampling *sampling, umbra_error *err)
{
    return umbra_sampler_open(&t->sampler, sampling, t->server->vocabulary, err);
}

bool serve_text_add_stop(serve_text *t, const char *text, size_t bytes)
{
    if (t->n_stops == SERVE_MOST_STOPS)
        return false;
    char *copy = umbra_calloc(bytes + 1, 1);
    if (!copy)
        return false;
    memcpy(copy, text, bytes);
    t->stops[t->n_stops++] = copy;
    return true;
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
    while (!t->ended && t->shown <= seen && t->n_choices <= seen_choices && rc == 0)
        rc = pthread_cond_timedwait(&t->changed, &t->mutex, &until);
    bool more = t->ended || t->shown > seen || t->n_choices > seen_choices;
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
    for (int i = 0; i < t->n_stops; i++)
        umbra_free(t->stops[i]);
    umbra_free(t->choices);
    serve_buffer_free(&t->out);
    *t = (serve_text){0};
}
