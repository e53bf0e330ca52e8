/* Loads OpenBLAS in a way that ends: it waits for ever where memory or a thread is refused to it.
 *
 * Each thread that computes a product takes a buffer, which the library asks for again and again
 * until it gets one, and products that several threads share wait for threads that could not be
 * started. So room and threads are tried first, the library is loaded with one thread (its own
 * default is one per processor, started while it loads), and the buffers are taken at once. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "lab/train/blas.h"

enum {
    ROW_MAJOR = 101, /* CBLAS's names for the orders of storage */
    PLAIN = 111,
    TRANSPOSED = 112,
    MOST_BUFFERS = 64, /* OpenBLAS keeps at least so many, whatever it was built for */
};

static const size_t library_bytes = 64 << 20; /* it and what it links with: 43 MB with 0.3.21 */
static const size_t buffer_bytes = 129 << 20; /* the largest of its versions and processors */
static const size_t thread_bytes = 80 << 20;  /* of a thread of its own: stack and malloc's arena */
static const size_t stack_bytes = 8 << 20;

typedef void sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                      const float *a, int lda, const float *b, int ldb, float beta, float *c,
                      int ldc);

static struct {
    pthread_mutex_t mutex; /* guards opening; the rest is constant once open */
    void *handle;          /* never closed: threads of its own may run */
    sgemm_fn *sgemm;
    int (*get_threads)(void);
    void (*set_threads)(int threads);
    /* NULL where the library does not show them: then a buffer is taken by the first product. */
    void *(*take_buffer)(int unused);
    void (*give_buffer)(void *buffer);
} blas = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* How many pieces of `bytes`, at most `wanted`, could be mapped beside `extra` bytes. */
static int count_room(int wanted, size_t bytes, size_t extra)
{
    void **pieces = umbra_calloc((size_t)wanted, sizeof *pieces);
    void *first = umbra_map(extra);
    int n = 0;
    while (pieces && first && n < wanted && (pieces[n] = umbra_map(bytes)) != NULL)
        n++;
    for (int i = 0; i < n; i++)
        umbra_unmap(pieces[i], bytes);
    umbra_unmap(first, extra);
    umbra_free(pieces);
    return n;
}

/* dlsym gives functions as data, which only a copy of the bytes makes functions again. */
static bool find(void *handle, const char *name, void *function)
{
    void *symbol = dlsym(handle, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static void *load_with_one_thread(void)
{
    static const char name[] = "OPENBLAS_NUM_THREADS";
    const char *value = getenv(name);
    char *before = value ? umbra_strdup(value) : NULL;
    setenv(name, "1", 1);
    void *handle = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (before)
        setenv(name, before, 1);
    else
        unsetenv(name);
    umbra_free(before);
    return handle;
}

static int load(umbra_error *err)
{
    void *handle = load_with_one_thread();
    if (!handle)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "training needs OpenBLAS, which cannot be loaded: %s; install "
                          "libopenblas0, or libopenblas.so.0 of another source",
                          dlerror());
    if (!find(handle, "cblas_sgemm", &blas.sgemm) ||
        !find(handle, "openblas_get_num_threads", &blas.get_threads) ||
        !find(handle, "openblas_set_num_threads", &blas.set_threads)) {
        dlclose(handle);
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "training needs OpenBLAS, but the libopenblas.so.0 found is another "
                          "library: %s",
                          dlerror());
    }
    if (!find(handle, "blas_memory_alloc", &blas.take_buffer) ||
        !find(handle, "blas_memory_free", &blas.give_buffer))
        blas.take_buffer = NULL;
    blas.handle = handle;
    return UMBRA_OK;
}

/* The library keeps what is given back, so that later products find it. */
static void keep_buffers(int n)
{
    void *buffers[MOST_BUFFERS];
    n = n < MOST_BUFFERS ? n : MOST_BUFFERS;
    for (int i = 0; blas.take_buffer && i < n; i++)
        buffers[i] = blas.take_buffer(0);
    for (int i = 0; blas.take_buffer && i < n; i++)
        if (buffers[i])
            blas.give_buffer(buffers[i]);
}

static int open_locked(int *callers, int threads, umbra_error *err)
{
    size_t bytes =
        buffer_bytes + (threads > 1 ? (size_t)threads * (buffer_bytes + thread_bytes) : 0);
    size_t extra = blas.handle ? 0 : library_bytes;
    int room = count_room(*callers, bytes, extra);
    if (room == 0)
        return umbra_fail(err, UMBRA_E_NOMEM,
                          "no address space for OpenBLAS: training with %d thread%s in a product "
                          "needs %zu MB beside what is in use; raise the limit (ulimit -v)%s",
                          threads, threads > 1 ? "s" : "", (bytes + extra) / 1000000,
                          threads > 1 ? " or take fewer --threads" : "");
    if (threads > 1 && umbra_thread_try(threads - 1) < threads - 1)
        return umbra_fail(err, UMBRA_E_SYSTEM,
                          "%d threads cannot be started; raise the limit (ulimit -u) or take fewer "
                          "--threads",
                          threads);
    int rc = blas.handle ? UMBRA_OK : load(err);
    if (rc != UMBRA_OK)
        return rc;
    *callers = room;
    keep_buffers(room);
    return UMBRA_OK;
}

int umbra_blas_open(int *callers, int threads, umbra_error *err)
{
    pthread_mutex_lock(&blas.mutex);
    int rc = open_locked(callers, threads, err);
    pthread_mutex_unlock(&blas.mutex);
    return rc;
}

int umbra_blas_set_threads(int threads)
{
    int before = blas.get_threads();
    pthread_attr_t normal, attributes; /* of the threads it starts: ulimit -s may be anything */
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack_bytes);
    pthread_getattr_default_np(&normal);
    pthread_setattr_default_np(&attributes);
    blas.set_threads(threads);
    pthread_setattr_default_np(&normal);
    pthread_attr_destroy(&normal);
    pthread_attr_destroy(&attributes);
    return before;
}

void umbra_blas_multiply(bool a_transposed, bool b_transposed, int m, int n, int k, const float *a,
                         int lda, const float *b, int ldb, float beta, float *c, int ldc)
{
    blas.sgemm(ROW_MAJOR, a_transposed ? TRANSPOSED : PLAIN, b_transposed ? TRANSPOSED : PLAIN, m,
               n, k, 1.0f, a, lda, b, ldb, beta, c, ldc);
}
