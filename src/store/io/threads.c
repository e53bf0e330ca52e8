/* Reads by a pool of threads, each in a blocking pread. Works everywhere. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "store/io/internal.h"

enum { MAX_THREADS = 16, STACK_BYTES = 128 << 10 };

struct umbra_io {
    const umbra_io_file *files; /* (n_files), the caller's */
    int n_files;
    int depth;
    int in_flight; /* taken and not reaped; the owner's alone */

    pthread_t threads[MAX_THREADS];
    int n_threads;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t work;   /* the queue has a request, or quit */
    pthread_cond_t done;   /* there is a completion */
    bool quit;
    /* Rings of `depth` places: in_flight <= depth keeps both from overflowing. */
    umbra_io_request *queue;
    int queue_first, queue_n;
    umbra_io_completion *completed;
    int completed_first, completed_n;
};

static void *thread_main(void *argument)
{
    umbra_io *io = argument;
    pthread_mutex_lock(&io->mutex);
    for (;;) {
        while (io->queue_n == 0 && !io->quit)
            pthread_cond_wait(&io->work, &io->mutex);
        if (io->quit)
            break;
        umbra_io_request request = io->queue[io->queue_first];
        io->queue_first = (io->queue_first + 1) % io->depth;
        io->queue_n--;
        pthread_mutex_unlock(&io->mutex);

        int error = umbra_io_read(io->files, &request);

        pthread_mutex_lock(&io->mutex);
        int place = (io->completed_first + io->completed_n) % io->depth;
        io->completed[place] = (umbra_io_completion){.user = request.user, .error = error};
        io->completed_n++;
        pthread_cond_signal(&io->done);
    }
    pthread_mutex_unlock(&io->mutex);
    return NULL;
}

static int start_threads(umbra_io *io, int n, umbra_error *err)
{
    int rc = 0;
    while (io->n_threads < n && rc == 0) {
        rc = umbra_thread_start(&io->threads[io->n_threads], thread_main, io, STACK_BYTES);
        if (rc == 0)
            io->n_threads++;
    }
    if (io->n_threads == 0)
        return umbra_fail(err, UMBRA_E_SYSTEM, "cannot start a thread for reading: %s",
                          strerror(rc));
    return UMBRA_OK; /* fewer threads than wished read more slowly, that is all */
}

/* Requests that no thread has begun are dropped: nobody can reap them any more. */
static void threads_close(umbra_io **p)
{
    umbra_io *io = *p;
    if (!io)
        return;
    pthread_mutex_lock(&io->mutex);
    io->quit = true;
    pthread_cond_broadcast(&io->work);
    pthread_mutex_unlock(&io->mutex);
    for (int i = 0; i < io->n_threads; i++)
        pthread_join(io->threads[i], NULL);
    pthread_cond_destroy(&io->done);
    pthread_cond_destroy(&io->work);
    pthread_mutex_destroy(&io->mutex);
    umbra_free(io->completed);
    umbra_free(io->queue);
    umbra_free(io);
    *p = NULL;
}

static int threads_open(umbra_io **out, const umbra_io_options *options, umbra_error *err)
{
    *out = NULL;
    int rc = umbra_io_check_options(options, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_io *io = umbra_calloc(1, sizeof *io);
    if (!io)
        return umbra_fail_nomem(err, "the reading threads", sizeof *io);
    pthread_mutex_init(&io->mutex, NULL);
    pthread_cond_init(&io->work, NULL);
    pthread_cond_init(&io->done, NULL);
    io->depth = options->depth;
    io->n_files = options->n_files;
    io->files = options->files;
    io->queue = umbra_calloc((size_t)io->depth, sizeof *io->queue);
    io->completed = umbra_calloc((size_t)io->depth, sizeof *io->completed);
    if (!io->queue || !io->completed)
        rc = umbra_fail_nomem(err, "the queues of the reading threads",
                              (uint64_t)io->depth * sizeof *io->queue);
    if (rc == UMBRA_OK)
        rc = start_threads(io, io->depth < MAX_THREADS ? io->depth : MAX_THREADS, err);
    if (rc != UMBRA_OK) {
        threads_close(&io);
        return rc;
    }
    *out = io;
    return UMBRA_OK;
}

static int threads_submit(umbra_io *io, const umbra_io_request *requests, int n, umbra_error *err)
{
    int rc = umbra_io_check_requests(requests, n, io->n_files, err);
    if (rc != UMBRA_OK)
        return rc;
    int room = io->depth - io->in_flight;
    int take = n < room ? n : room;
    pthread_mutex_lock(&io->mutex);
    for (int i = 0; i < take; i++) {
        io->queue[(io->queue_first + io->queue_n) % io->depth] = requests[i];
        io->queue_n++;
        pthread_cond_signal(&io->work);
    }
    pthread_mutex_unlock(&io->mutex);
    io->in_flight += take;
    return take;
}

static int threads_reap(umbra_io *io, umbra_io_completion *out, int max, bool wait,
                        umbra_error *err)
{
    (void)err;
    if (io->in_flight == 0)
        return 0;
    pthread_mutex_lock(&io->mutex);
    while (wait && io->completed_n == 0)
        pthread_cond_wait(&io->done, &io->mutex);
    int n = io->completed_n < max ? io->completed_n : max;
    for (int i = 0; i < n; i++)
        out[i] = io->completed[(io->completed_first + i) % io->depth];
    io->completed_first = (io->completed_first + n) % io->depth;
    io->completed_n -= n;
    pthread_mutex_unlock(&io->mutex);
    io->in_flight -= n;
    return n;
}

const umbra_io_ops umbra_io_threads = {
    .name = "threads",
    .open = threads_open,
    .submit = threads_submit,
    .reap = threads_reap,
    .close = threads_close,
};
