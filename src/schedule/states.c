/* Saves states to a folder and brings them back. */
#include "schedule/states.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/thread.h"
#include "engine/engine.h"
#include "schedule/states_internal.h"

enum { WRITER_STACK_BYTES = 128 << 10, LEAST_TOKENS = 32, READ_BYTES = 1 << 20 };

/* Taken for a disk's until a state was read. */
static const double usual_bytes_per_second = 500e6;

int64_t umbra_state_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void warn(const umbra_states *s, const umbra_error *err)
{
    if (s->o.warn)
        s->o.warn(s->o.user, err->message);
}

/* ---- writing ---- */

static bool begins_with(const umbra_state_entry *e, const umbra_state_entry *other)
{
    int marks = other->tokens / UMBRA_STATE_MARK;
    return e->own && other->own && e->tokens >= other->tokens &&
           memcmp(e->marks, other->marks, (size_t)marks * sizeof *e->marks) == 0;
}

/* A state from which this one was continued says nothing more, where it can be cut from this. */
static void remove_covered(umbra_states *s, const umbra_state_entry *e, const int32_t *tokens)
{
    for (int i = s->n - 1; !s->o.forgets && i >= 0; i--) {
        const umbra_state_entry *other = &s->entries[i];
        if (other->tokens < e->tokens && begins_with(e, other) &&
            other->whole == XXH3_64bits(tokens, (size_t)other->tokens * sizeof *tokens))
            umbra_state_remove(s, i);
    }
}

/* The buffer's file, and its place among the others. */
static void write_buffer(umbra_states *s)
{
    umbra_state_header h;
    memcpy(&h, s->buffer, sizeof h);
    const int32_t *tokens = (const int32_t *)(const void *)(s->buffer + sizeof h);
    umbra_state_entry e = {.bytes = s->buffer_bytes, .own = true, .used_ns = umbra_state_now_ns()};
    umbra_error err = {0};
    umbra_state_name(s, tokens, (int)h.tokens, e.name);
    if (!umbra_state_mark(&e, tokens, (int)h.tokens)) {
        umbra_free(e.marks);
        return;
    }
    pthread_mutex_lock(&s->mutex);
    bool room = umbra_state_make_room(s, e.bytes);
    pthread_mutex_unlock(&s->mutex);
    int rc = room ? umbra_state_write(s, e.name, s->buffer, e.bytes, &err) : UMBRA_E_IO;
    if (room && rc != UMBRA_OK)
        warn(s, &err);
    pthread_mutex_lock(&s->mutex);
    if (rc == UMBRA_OK) {
        remove_covered(s, &e, tokens);
        umbra_state_add(s, &e);
        s->stats.written++;
    } else {
        umbra_free(e.marks);
    }
    pthread_mutex_unlock(&s->mutex);
}

static void *write_states(void *argument)
{
    umbra_states *s = argument;
    pthread_mutex_lock(&s->mutex);
    for (;;) {
        while (!s->busy && !s->ending)
            pthread_cond_wait(&s->changed, &s->mutex);
        if (!s->busy)
            break;
        pthread_mutex_unlock(&s->mutex);
        write_buffer(s);
        umbra_unmap(s->buffer, s->buffer_bytes);
        pthread_mutex_lock(&s->mutex);
        s->busy = false;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

bool umbra_state_await_writer(umbra_states *s, bool wait)
{
    pthread_mutex_lock(&s->mutex);
    while (wait && s->busy)
        pthread_cond_wait(&s->changed, &s->mutex);
    bool is_free = !s->busy;
    pthread_mutex_unlock(&s->mutex);
    return is_free;
}

/* ---- opening ---- */

static int lock_folder(umbra_states *s, umbra_error *err)
{
    char *path = umbra_state_path(s, "lock");
    if (!path)
        return umbra_fail_nomem(err, "a path", 64);
    int rc = UMBRA_OK;
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock < 0)
        rc = umbra_fail(err, UMBRA_E_IO, "%s: cannot create: %s; name a folder that can be written",
                        path, strerror(errno));
    else if (flock(s->lock, LOCK_EX | LOCK_NB) != 0)
        rc = umbra_fail(err, UMBRA_E_IO,
                        "%s: another program keeps its states there; name another folder",
                        s->folder);
    umbra_free(path);
    return rc;
}

static int open_folder(umbra_states *s, umbra_error *err)
{
    if (mkdir(s->folder, 0700) != 0 && errno != EEXIST)
        return umbra_fail(err, UMBRA_E_IO, "%s: cannot make the folder: %s", s->folder,
                          strerror(errno));
    int rc = lock_folder(s, err);
    if (rc == UMBRA_OK)
        rc = umbra_state_scan(s, err);
    if (rc == UMBRA_OK)
        umbra_state_make_room(s, 0);
    return rc;
}

static int start_writer(umbra_states *s, umbra_error *err)
{
    int rc = umbra_thread_start(&s->writer, write_states, s, WRITER_STACK_BYTES);
    s->has_writer = rc == 0;
    return rc == 0 ? UMBRA_OK
                   : umbra_fail(err, UMBRA_E_SYSTEM, "cannot start a thread: %s", strerror(rc));
}

int umbra_states_open(umbra_states **out, const umbra_states_options *options, umbra_error *err)
{
    *out = NULL;
    umbra_states *s = umbra_calloc(1, sizeof *s);
    if (!s)
        return umbra_fail_nomem(err, "the states", sizeof *s);
    s->o = *options;
    s->lock = -1;
    s->read_bytes_per_second = usual_bytes_per_second;
    snprintf(s->model, sizeof s->model, "%s", options->model);
    snprintf(s->kernels, sizeof s->kernels, "%s", options->kernels);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->folder = umbra_strdup(options->folder);
    s->entries = umbra_calloc(UMBRA_STATE_FILES, sizeof *s->entries);
    int rc = UMBRA_OK;
    if (!s->folder || !s->entries)
        rc = umbra_fail_nomem(err, "the states", UMBRA_STATE_FILES * sizeof *s->entries);
    if (rc == UMBRA_OK)
        rc = open_folder(s, err);
    if (rc == UMBRA_OK)
        rc = start_writer(s, err);
    if (rc != UMBRA_OK) {
        umbra_states_close(&s);
        return rc;
    }
    *out = s;
    return UMBRA_OK;
}

void umbra_states_close(umbra_states **states)
{
    umbra_states *s = *states;
    if (!s)
        return;
    if (s->has_writer) {
        pthread_mutex_lock(&s->mutex);
        s->ending = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->mutex);
        pthread_join(s->writer, NULL);
    }
    for (int i = 0; i < s->n; i++)
        umbra_free(s->entries[i].marks);
    if (s->lock >= 0)
        close(s->lock);
    pthread_mutex_destroy(&s->mutex);
    pthread_cond_destroy(&s->changed);
    umbra_free(s->entries);
    umbra_free(s->folder);
    umbra_free(s);
    *states = NULL;
}

void umbra_states_get_stats(umbra_states *s, umbra_states_stats *out)
{
    pthread_mutex_lock(&s->mutex);
    *out = s->stats;
    pthread_mutex_unlock(&s->mutex);
}

/* ---- saving ---- */

/* Whether so many bytes are sooner read than so many tokens computed. */
static bool pays(const umbra_states *s, uint64_t bytes, int tokens, double prompt_per_second)
{
    return prompt_per_second <= 0 ||
           (double)bytes / s->read_bytes_per_second < tokens / prompt_per_second;
}

/* Whether a file holds all of these tokens. */
static bool is_there(umbra_states *s, const umbra_state_entry *e)
{
    bool found = false;
    pthread_mutex_lock(&s->mutex);
    for (int i = 0; i < s->n && !found; i++) {
        umbra_state_entry *other = &s->entries[i];
        found = other->own && other->tokens == e->tokens && other->whole == e->whole;
        if (found)
            other->used_ns = umbra_state_now_ns();
    }
    pthread_mutex_unlock(&s->mutex);
    return found;
}

static void hand_over(umbra_states *s, char *buffer, uint64_t bytes)
{
    pthread_mutex_lock(&s->mutex);
    s->buffer = buffer;
    s->buffer_bytes = bytes;
    s->busy = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

bool umbra_states_save(umbra_states *s, umbra_engine *engine, int sequence, const int32_t *tokens,
                       int n, double prompt_per_second, bool wait)
{
    uint64_t snapshot = umbra_engine_snapshot_bytes(engine, n);
    uint64_t head = umbra_state_head_bytes(n), bytes = head + snapshot;
    umbra_state_entry e = {.tokens = n, .whole = XXH3_64bits(tokens, (size_t)n * sizeof *tokens)};
    umbra_error err = {0};
    if (n < LEAST_TOKENS || bytes > s->o.buffer_bytes || bytes > s->o.most_bytes ||
        !pays(s, bytes, n, prompt_per_second))
        return true;
    if (!umbra_state_await_writer(s, wait))
        return false;
    if (is_there(s, &e))
        return true;
    char *buffer = umbra_map(bytes);
    if (!buffer)
        return true;
    umbra_state_fill(s, buffer, tokens, n, snapshot);
    if (umbra_engine_snapshot(engine, sequence, buffer + head, snapshot, &err) == UMBRA_OK) {
        hand_over(s, buffer, bytes);
    } else {
        warn(s, &err);
        umbra_unmap(buffer, bytes);
    }
    return true;
}

/* ---- bringing back ---- */

static int common_marks(const umbra_state_entry *a, const umbra_state_entry *b)
{
    int n = (a->tokens < b->tokens ? a->tokens : b->tokens) / UMBRA_STATE_MARK, i = 0;
    while (i < n && a->marks[i] == b->marks[i])
        i++;
    return i;
}

/* How many of the prompt's tokens the entry has, by its marks. */
static int shared_tokens(const umbra_states *s, const umbra_state_entry *e,
                         const umbra_state_entry *prompt, const int32_t *tokens)
{
    if (!e->own)
        return 0;
    int n = common_marks(e, prompt) * UMBRA_STATE_MARK;
    bool whole = e->tokens <= prompt->tokens && e->tokens - n < UMBRA_STATE_MARK &&
                 e->whole == XXH3_64bits(tokens, (size_t)e->tokens * sizeof *tokens);
    return whole ? e->tokens : s->o.forgets ? 0 : n;
}

/* The file that has most of the tokens, of those that are sooner read than computed; its entry is
 * copied but for the marks. */
static bool find(umbra_states *s, const int32_t *tokens, int n, int held, double prompt_per_second,
                 umbra_state_entry *out)
{
    umbra_state_entry prompt = {.own = true};
    int best = -1, most = held;
    bool marked = umbra_state_mark(&prompt, tokens, n);
    pthread_mutex_lock(&s->mutex);
    for (int i = 0; marked && i < s->n; i++) {
        int shared = shared_tokens(s, &s->entries[i], &prompt, tokens);
        if (shared > most && pays(s, s->entries[i].bytes, shared - held, prompt_per_second)) {
            most = shared;
            best = i;
        }
    }
    if (best >= 0) {
        s->entries[best].used_ns = umbra_state_now_ns();
        *out = s->entries[best];
        out->marks = NULL;
    }
    pthread_mutex_unlock(&s->mutex);
    umbra_free(prompt.marks);
    return best >= 0;
}

static void drop(umbra_states *s, const char *name)
{
    pthread_mutex_lock(&s->mutex);
    umbra_state_remove_named(s, name);
    pthread_mutex_unlock(&s->mutex);
}

/* The whole file into buffer (bytes), while the store's reads go on; its last use is now, for
 * others that look. */
static int read_file(const char *path, char *buffer, uint64_t bytes, umbra_store *store,
                     umbra_error *err)
{
    int fd;
    uint64_t size;
    int rc = umbra_file_open(&fd, path, &size, err);
    if (rc != UMBRA_OK)
        return rc;
    if (size != bytes)
        rc = umbra_fail(err, UMBRA_E_CORRUPT, "%s: has another size than before", path);
    for (uint64_t at = 0; rc == UMBRA_OK && at < bytes; at += READ_BYTES) {
        uint64_t left = bytes - at;
        (void)umbra_store_poll(store, NULL); /* what fails there, the next step tells */
        rc = umbra_file_read(fd, path, buffer + at, left < READ_BYTES ? left : READ_BYTES, at, err);
    }
    futimens(fd, NULL);
    close(fd);
    return rc;
}

/* From a file in memory into the sequence: returns how many of the tokens (n) it holds then, or a
 * negative status, and it is as it was. */
static int take(umbra_engine *engine, int sequence, const char *file, uint64_t bytes,
                const char *path, const int32_t *tokens, int n, umbra_error *err)
{
    umbra_state_header h;
    memcpy(&h, file, sizeof h);
    const int32_t *own = (const int32_t *)(const void *)(file + sizeof h);
    if (!umbra_state_check(&h, NULL, bytes) || !umbra_state_check(&h, own, bytes))
        return umbra_fail(err, UMBRA_E_CORRUPT, "%s: is damaged: a hash is wrong", path);
    int shared = 0, most = (int)h.tokens < n ? (int)h.tokens : n;
    while (shared < most && own[shared] == tokens[shared])
        shared++;
    uint64_t head = umbra_state_head_bytes((int)h.tokens);
    int rc = umbra_engine_restore(engine, sequence, file + head, bytes - head, err);
    return rc == UMBRA_OK ? umbra_engine_truncate(engine, sequence, shared) : rc;
}

bool umbra_states_restore(umbra_states *s, umbra_engine *engine, int sequence,
                          const int32_t *tokens, int n, int held, double prompt_per_second)
{
    umbra_state_entry e;
    umbra_error err = {0};
    if (!find(s, tokens, n, held, prompt_per_second, &e))
        return false;
    umbra_state_await_writer(s, true); /* one buffer at a time is planned for */
    char *path = umbra_state_path(s, e.name), *buffer = umbra_map(e.bytes);
    int got = UMBRA_E_NOMEM;
    uint64_t start = umbra_clock_ns();
    if (path && buffer)
        got = read_file(path, buffer, e.bytes, umbra_engine_store(engine), &err);
    if (got == UMBRA_OK)
        got = take(engine, sequence, buffer, e.bytes, path, tokens, n, &err);
    if (got >= 0) {
        double speed = (double)e.bytes / umbra_seconds_since(start);
        s->read_bytes_per_second = 0.5 * (s->read_bytes_per_second + speed);
        pthread_mutex_lock(&s->mutex);
        s->stats.read++;
        pthread_mutex_unlock(&s->mutex);
    } else if (got != UMBRA_E_NOMEM) {
        warn(s, &err);
        drop(s, e.name);
    }
    umbra_free(path);
    if (buffer)
        umbra_unmap(buffer, e.bytes);
    return got >= 0;
}
