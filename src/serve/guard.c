/* Ends connections whose request does not come, or comes byte by byte. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "serve/internal.h"

enum { STACK_BYTES = 64 << 10 };

static const uint64_t standstill_ns = 3000000000; /* it looks every second */

typedef struct seat {
    int fd;            /* -1: empty */
    uint64_t since_ns; /* waiting for a whole request; 0: it is here */
} seat;

struct serve_guard {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t thread;
    bool started, ending;
    uint64_t patience_ns;
    seat *seats; /* (n) */
    int n;
};

/* Who has not asked in time. What the process stood still for (stopped, frozen, starved) was
 * nobody's time. */
static void look(struct serve_guard *g, uint64_t now, uint64_t last)
{
    uint64_t stood = now - last > standstill_ns ? now - last : 0;
    for (int i = 0; i < g->n; i++) {
        seat *s = &g->seats[i];
        if (s->fd < 0 || s->since_ns == 0)
            continue;
        s->since_ns = s->since_ns + stood < now ? s->since_ns + stood : now;
        if (now - s->since_ns > g->patience_ns)
            shutdown(s->fd, SHUT_RDWR); /* its thread sees an end, and closes it */
    }
}

static void *watch(void *argument)
{
    struct serve_guard *g = argument;
    uint64_t last = umbra_clock_ns();
    pthread_mutex_lock(&g->mutex);
    while (!g->ending) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        pthread_cond_timedwait(&g->changed, &g->mutex, &until);
        uint64_t now = umbra_clock_ns();
        look(g, now, last);
        last = now;
    }
    pthread_mutex_unlock(&g->mutex);
    return NULL;
}

int serve_guard_open(serve *s, umbra_error *err)
{
    struct serve_guard *g = umbra_calloc(1, sizeof *g);
    if (!g)
        return umbra_fail_nomem(err, "connections", sizeof *g);
    s->guard = g;
    pthread_mutex_init(&g->mutex, NULL);
    pthread_cond_init(&g->changed, NULL);
    g->patience_ns = (uint64_t)s->o.request_seconds * 1000000000;
    g->n = s->o.connections + 8; /* some that are refused, and still there */
    g->seats = umbra_calloc((size_t)g->n, sizeof *g->seats);
    if (!g->seats)
        return umbra_fail_nomem(err, "connections", (uint64_t)g->n * sizeof *g->seats);
    for (int i = 0; i < g->n; i++)
        g->seats[i].fd = -1;
    int rc = umbra_thread_start(&g->thread, watch, g, STACK_BYTES);
    g->started = rc == 0;
    return rc == 0 ? UMBRA_OK
                   : umbra_fail(err, UMBRA_E_SYSTEM, "cannot start a thread: %s", strerror(rc));
}

void serve_guard_close(serve *s)
{
    struct serve_guard *g = s->guard;
    if (!g)
        return;
    if (g->started) {
        pthread_mutex_lock(&g->mutex);
        g->ending = true;
        pthread_cond_signal(&g->changed);
        pthread_mutex_unlock(&g->mutex);
        pthread_join(g->thread, NULL);
    }
    pthread_mutex_destroy(&g->mutex);
    pthread_cond_destroy(&g->changed);
    umbra_free(g->seats);
    umbra_free(g);
    s->guard = NULL;
}

static int socket_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

static void set(struct serve_guard *g, int from, int fd, uint64_t since_ns)
{
    pthread_mutex_lock(&g->mutex);
    for (int i = 0; i < g->n; i++)
        if (g->seats[i].fd == from) {
            g->seats[i] = (seat){fd, since_ns};
            break;
        }
    pthread_mutex_unlock(&g->mutex);
}

void serve_guard_notify(void *server, struct MHD_Connection *connection, void **socket_context,
                        enum MHD_ConnectionNotificationCode code)
{
    serve *s = server;
    int fd = socket_of(connection);
    (void)socket_context;
    if (fd < 0)
        return;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        set(s->guard, -1, fd, umbra_clock_ns());
    else
        set(s->guard, fd, -1, 0);
}

void serve_guard_arrived(serve_exchange *x, bool arrived)
{
    int fd = socket_of(x->connection);
    if (fd >= 0)
        set(x->server->guard, fd, fd, arrived ? 0 : umbra_clock_ns());
}

bool serve_client_gone(const serve_exchange *x)
{
    char byte;
    int fd = socket_of(x->connection);
    if (fd < 0)
        return true;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}
