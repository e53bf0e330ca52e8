/* Opens and closes the server: the socket, the engine's thread, the states. */
#include "serve/serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "engine/engine.h"
#include "serve/internal.h"

enum {
    CONNECTIONS = 64,
    REQUEST_SECONDS = 30,
    ALIVE_SECONDS = 10,
    BODY_BYTES = 8 << 20,
    HEADER_BYTES = 32 << 10,
    /* Templates nest and JSON does; only what is touched takes memory. */
    STACK_BYTES = 2 << 20,
    TOUCHED_BYTES = 96 << 10, /* of a connection: stack, headers, buffers */
    SPELLING_BYTES = 96,      /* of a token, for grammars */
    QUIET_SECONDS = 120,      /* a connection between requests, or one that does not read */
};

static serve_options complete(const serve_options *options)
{
    serve_options o = *options;
    o.host = o.host ? o.host : "127.0.0.1";
    o.connections = o.connections ? o.connections : CONNECTIONS;
    o.request_seconds = o.request_seconds ? o.request_seconds : REQUEST_SECONDS;
    o.alive_seconds = o.alive_seconds ? o.alive_seconds : ALIVE_SECONDS;
    o.body_bytes = o.body_bytes ? o.body_bytes : BODY_BYTES;
    return o;
}

uint64_t serve_memory_bytes(const serve_options *options)
{
    serve_options o = complete(options);
    uint64_t spellings = (uint64_t)umbra_model_get_info(o.model)->vocabulary * SPELLING_BYTES;
    return spellings + 2 * o.body_bytes + (uint64_t)o.connections * TOUCHED_BYTES;
}

/* ---- the socket ---- */

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static int port_of(int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        return 0;
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                         : ((struct sockaddr_in *)&a)->sin_port);
}

static int bind_to(serve *s, const struct addrinfo *a)
{
    int one = 1;
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, 128) == 0) {
        s->loopback = is_loopback(a->ai_addr);
        s->port = port_of(fd);
        return fd;
    }
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return -1;
}

static int listen_at(serve *s, umbra_error *err)
{
    struct addrinfo *found = NULL, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    char port[16];
    snprintf(port, sizeof port, "%d", s->o.port);
    int rc = getaddrinfo(s->o.host, port, &hints, &found);
    if (rc != 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: there is no such address: %s", s->o.host,
                          gai_strerror(rc));
    s->listener = bind_to(s, found);
    int error = errno;
    freeaddrinfo(found);
    if (s->listener >= 0)
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_SYSTEM, "cannot listen at %s, port %d: %s%s", s->o.host,
                      s->o.port, strerror(error),
                      error == EADDRINUSE ? "; name another with --port" : "");
}

/* ---- opening ---- */

static void *drive(void *scheduler)
{
    umbra_scheduler_run(scheduler);
    return NULL;
}

int serve_open_states(serve_options *o, const umbra_engine *engine, umbra_error *err)
{
    if (!o->state_folder)
        return UMBRA_OK;
    char hash[UMBRA_MODEL_HASH_CHARS];
    int rc = umbra_model_hash(o->model, hash, err);
    const umbra_model_info *info = umbra_model_get_info(o->model);
    const umbra_states_options options = {
        .folder = o->state_folder,
        .most_bytes = o->state_bytes,
        .model = hash,
        .kernels = umbra_engine_get_plan(engine)->kernels,
        .forgets = info->windowed_layers > 0 || info->recurrent_layers > 0,
        .buffer_bytes = o->state_buffer_bytes,
        .warn = o->log,
        .user = o->user,
    };
    return rc == UMBRA_OK ? umbra_states_open(&o->states, &options, err) : rc;
}

static int refill_early(void *options, umbra_engine *engine, umbra_error *err)
{
    serve_options *o = options;
    int rc = serve_open_states(o, engine, err);
    if (o->states)
        (void)umbra_states_refill(o->states, engine);
    return rc;
}

int serve_open_engine(serve_options *o, const umbra_engine_options *engine, umbra_error *err)
{
    return umbra_engine_open_early(&o->engine, o->model, engine, refill_early, o, err);
}

void serve_close_states(serve_options *o)
{
    umbra_states_close(&o->states);
}

/* What a process before had in memory, and this one is going to have, or has. */
static void tell_refill(const serve *s)
{
    umbra_scheduler_stats stats;
    char line[160];
    umbra_scheduler_get_stats(s->scheduler, &stats);
    if (stats.refill_bytes == 0 || !s->o.log)
        return;
    snprintf(line, sizeof line,
             "%llu experts (%.3g GB) that were in memory before are being read back",
             (unsigned long long)(stats.store.refill_left + stats.store.refill_reads),
             (double)stats.refill_bytes * 1e-9);
    s->o.log(s->o.user, line);
}

static int open_scheduler(serve *s, umbra_error *err)
{
    const umbra_scheduler_options o = {.engine = s->o.engine,
                                       .model = s->o.model,
                                       .sequences = s->o.sequences,
                                       .drafts = s->o.drafts,
                                       .texts = s->o.texts,
                                       .states = s->o.states};
    int rc = umbra_scheduler_open(&s->scheduler, &o, err);
    if (rc != UMBRA_OK)
        return rc;
    tell_refill(s);
    int error = umbra_thread_start(&s->engine_thread, drive, s->scheduler, STACK_BYTES);
    s->has_engine_thread = error == 0;
    return error == 0
               ? UMBRA_OK
               : umbra_fail(err, UMBRA_E_SYSTEM, "cannot start a thread: %s", strerror(error));
}

static int open_daemon(serve *s, umbra_error *err)
{
    int rc = listen_at(s, err);
    if (rc != UMBRA_OK)
        return rc;
    if (!s->loopback && s->n_keys == 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "%s can be reached from other machines: give a key with --api-key-file, "
                          "or listen at 127.0.0.1",
                          s->o.host);
    s->daemon = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
            MHD_USE_ITC,
        0, NULL, NULL, serve_exchange_access, s, MHD_OPTION_LISTEN_SOCKET, s->listener,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->o.connections, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)QUIET_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES,
        MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES, MHD_OPTION_NOTIFY_COMPLETED,
        serve_exchange_free, NULL, MHD_OPTION_NOTIFY_CONNECTION, serve_guard_notify, s,
        MHD_OPTION_END);
    if (s->daemon)
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_SYSTEM, "cannot start the server at %s, port %d", s->o.host,
                      s->o.port);
}

int serve_open(serve **out, const serve_options *options, umbra_error *err)
{
    *out = NULL;
    serve *s = umbra_calloc(1, sizeof *s);
    if (!s)
        return umbra_fail_nomem(err, "the server", sizeof *s);
    s->o = complete(options);
    s->listener = -1;
    s->vocabulary = umbra_model_get_info(s->o.model)->vocabulary;
    s->context = umbra_engine_get_plan(s->o.engine)->context;
    s->started = time(NULL);
    pthread_mutex_init(&s->figures.mutex, NULL);
    pthread_mutex_init(&s->spellings_mutex, NULL);
    serve_watch_memory();
    json_object_seed(0);
    int rc = UMBRA_OK;
    if (s->o.keys)
        rc = serve_read_keys(s, s->o.keys, err);
    if (rc == UMBRA_OK && s->o.template_text)
        rc = umbra_chat_open(&s->chat, s->o.model, s->o.template_text, s->o.template_bytes, err);
    if (rc == UMBRA_OK)
        rc = open_scheduler(s, err);
    if (rc == UMBRA_OK)
        rc = serve_guard_open(s, err);
    if (rc == UMBRA_OK)
        rc = open_daemon(s, err);
    if (rc != UMBRA_OK) {
        serve_close(&s);
        return rc;
    }
    *out = s;
    return UMBRA_OK;
}

int serve_port(const serve *s)
{
    return s->port;
}

/* ---- closing ---- */

static int under_way(serve *s)
{
    umbra_scheduler_stats stats;
    umbra_scheduler_get_stats(s->scheduler, &stats);
    return stats.waiting + stats.reading + stats.writing;
}

int serve_finish(serve *s, double grace_seconds)
{
    uint64_t start = umbra_clock_ns();
    if (!s->finishing && s->daemon)
        MHD_quiesce_daemon(s->daemon); /* the socket is ours to close */
    s->finishing = true;
    umbra_scheduler_finish(s->scheduler, false);
    while (under_way(s) > 0 && umbra_seconds_since(start) < grace_seconds)
        usleep(20000);
    int cut = under_way(s);
    umbra_scheduler_finish(s->scheduler, true);
    if (s->has_engine_thread)
        pthread_join(s->engine_thread, NULL);
    s->has_engine_thread = false;
    return cut;
}

void serve_close(serve **server)
{
    serve *s = *server;
    if (!s)
        return;
    if (s->scheduler)
        serve_finish(s, 0);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    if (s->listener >= 0)
        close(s->listener);
    serve_guard_close(s);
    umbra_scheduler_close(&s->scheduler);
    umbra_chat_close(&s->chat);
    umbra_spellings_close(&s->spellings);
    pthread_mutex_destroy(&s->figures.mutex);
    pthread_mutex_destroy(&s->spellings_mutex);
    umbra_free(s->keys_text);
    umbra_free(s->keys);
    umbra_free(s);
    *server = NULL;
}
