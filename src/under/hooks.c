/* The preloaded form: stands before functions of libc, ggml and llama.cpp, and hands on to them. */
#include <dlfcn.h>
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/thread.h"
#include "under/metrics.h"
#include "under/process.h"
#include "under/threads.h"

#define HOOK __attribute__((visibility("default")))

/* ---- libc: the file is mapped, and would be read whole at once ---- */

static void *map_plain(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
}

HOOK void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    bool model = fd >= 0 && !at && offset == 0 && protection == PROT_READ &&
                 (flags & MAP_SHARED) != 0 && umbra_process_active() &&
                 umbra_process_is_to_keep(fd);
    void *p = map_plain(at, bytes, protection, model ? flags & ~MAP_POPULATE : flags, fd, offset);
    if (model && p != MAP_FAILED)
        umbra_process_mapped(p, bytes, fd);
    return p;
}

HOOK void *mmap64(void *at, size_t bytes, int protection, int flags, int fd, off64_t offset)
{
    return mmap(at, bytes, protection, flags, fd, offset);
}

HOOK int munmap(void *at, size_t bytes)
{
    if (umbra_process_active())
        umbra_process_unmaps(at, bytes);
    return (int)syscall(SYS_munmap, at, bytes);
}

HOOK int posix_madvise(void *at, size_t bytes, int advice)
{
    if (advice == POSIX_MADV_WILLNEED && umbra_process_active() && umbra_process_knows(at, bytes))
        return 0;
    return advice == POSIX_MADV_DONTNEED ? 0 : madvise(at, bytes, advice) == 0 ? 0 : errno;
}

HOOK int mlock(const void *at, size_t bytes)
{
    static bool told;
    if (!umbra_process_active() || !umbra_process_knows(at, bytes))
        return (int)syscall(SYS_mlock, at, bytes);
    if (!told)
        fputs("umbra: the model is not locked in memory, since its experts come and go\n", stderr);
    told = true;
    return 0;
}

/* ---- ggml and llama.cpp ---- */

/* struct gguf_init_params. */
typedef struct gguf_params {
    bool no_alloc;
    void **context;
} gguf_params;

void *gguf_init_from_file(const char *path, gguf_params params);
umbra_foreign_function *ggml_backend_reg_get_proc_address(void *registry, const char *name);
void llama_set_warmup(void *context, bool warmup);
bool ggml_backend_sched_reserve(void *scheduler, void *graph);
void ggml_backend_sched_set_eval_callback(void *scheduler, umbra_foreign_eval *eval, void *user);
int ggml_backend_sched_get_n_backends(void *scheduler);
int ggml_backend_sched_graph_compute_async(void *scheduler, void *graph);
int ggml_backend_sched_graph_compute(void *scheduler, void *graph);
void ggml_backend_sched_free(void *scheduler);

/* The function that the hook of this name stands before. */
#define NEXT(name)                                                                                 \
    static __typeof__(&name) next;                                                                 \
    if (!next)                                                                                     \
    next = (__typeof__(&name))find_next(#name)

static umbra_foreign_function *find_next(const char *name)
{
    umbra_foreign_function *f = umbra_foreign_find(name);
    if (f)
        return f;
    fprintf(stderr, "umbra: the program asks for %s, which no library of it has\n", name);
    abort();
}

HOOK void *gguf_init_from_file(const char *path, gguf_params params)
{
    NEXT(gguf_init_from_file);
    if (umbra_process_active())
        umbra_process_opens(path);
    return next(path, params);
}

/* Threads that spin while an expert is read take the core from whoever reads it. */
static umbra_threads_make *make_threads;

static void *make_patient_threads(void *params)
{
    if (umbra_process_active() && umbra_process_waits())
        umbra_threads_let_sleep(params);
    return make_threads(params);
}

/* Buffers that repack weights are asked for by name when a model is loaded: one whose experts are
 * kept has none. */
HOOK umbra_foreign_function *ggml_backend_reg_get_proc_address(void *registry, const char *name)
{
    NEXT(ggml_backend_reg_get_proc_address);
    if (umbra_process_active() && umbra_process_opened() &&
        strcmp(name, "ggml_backend_dev_get_extra_bufts") == 0)
        return NULL;
    umbra_foreign_function *function = next(registry, name);
    if (!umbra_process_active() || !function || strcmp(name, "ggml_threadpool_new") != 0)
        return function;
    make_threads = (umbra_threads_make *)function;
    return (umbra_foreign_function *)make_patient_threads;
}

/* A warm-up would compute with every expert. */
HOOK void llama_set_warmup(void *context, bool warmup)
{
    NEXT(llama_set_warmup);
    next(context, warmup && !(umbra_process_active() && umbra_process_keeps()));
}

HOOK bool ggml_backend_sched_reserve(void *scheduler, void *graph)
{
    NEXT(ggml_backend_sched_reserve);
    bool done = next(scheduler, graph);
    if (done && umbra_process_active())
        (void)umbra_process_bind(scheduler, graph);
    return done;
}

/* Of a program of one's own: the context whose callback the thread's next graph has; NULL: none, or
 * the graph is the one before, which was looked at. */
static _Thread_local umbra_under_context *own_context;

HOOK void ggml_backend_sched_set_eval_callback(void *scheduler, umbra_foreign_eval *eval,
                                               void *user)
{
    NEXT(ggml_backend_sched_set_eval_callback);
    own_context = eval == (umbra_foreign_eval *)umbra_under_eval ? user : NULL;
    if (umbra_process_active())
        umbra_process_set_host(scheduler, eval, user);
    next(scheduler, eval, user);
}

/* Where the processor alone computes, nothing is joined that a callback could cut. */
static void look(umbra_under_context *c, void *scheduler, void *graph)
{
    static __typeof__(&ggml_backend_sched_get_n_backends) count;
    if (!count)
        count = (__typeof__(count))find_next("ggml_backend_sched_get_n_backends");
    if (count(scheduler) > 1)
        umbra_under_look(c, graph);
}

/* Computes, and lets go what the context holds when that is done. */
static int compute_around(umbra_under_context *c, int (*next)(void *, void *), void *scheduler,
                          void *graph)
{
    c->around = true;
    int status = next(scheduler, graph);
    c->around = false;
    umbra_under_leave(c);
    return status;
}

/* Computes with Umbra's callback in place of the host's, which it calls. */
static int compute(int (*next)(void *, void *), void *scheduler, void *graph)
{
    umbra_under_context *own = own_context;
    own_context = NULL;
    if (own && !own->under->complete) {
        look(own, scheduler, graph);
        return compute_around(own, next, scheduler, graph);
    }
    umbra_under_context *c = umbra_process_active() ? umbra_process_bind(scheduler, graph) : NULL;
    if (!c || c->under->complete)
        return next(scheduler, graph); /* with the host's own */
    __typeof__(&ggml_backend_sched_set_eval_callback) set =
        (__typeof__(set))find_next("ggml_backend_sched_set_eval_callback");
    look(c, scheduler, graph);
    set(scheduler, (umbra_foreign_eval *)umbra_under_eval, c);
    return compute_around(c, next, scheduler, graph);
}

HOOK int ggml_backend_sched_graph_compute_async(void *scheduler, void *graph)
{
    NEXT(ggml_backend_sched_graph_compute_async);
    return compute(next, scheduler, graph);
}

HOOK int ggml_backend_sched_graph_compute(void *scheduler, void *graph)
{
    NEXT(ggml_backend_sched_graph_compute);
    return compute(next, scheduler, graph);
}

HOOK void ggml_backend_sched_free(void *scheduler)
{
    NEXT(ggml_backend_sched_free);
    if (umbra_process_active() && scheduler)
        umbra_process_forget(scheduler);
    next(scheduler);
}

/* ---- figures: at a port, on SIGUSR1 and at the end ---- */

static sem_t asked;

static void on_signal(int number)
{
    (void)number;
    sem_post(&asked);
}

static void *answer(void *unused)
{
    (void)unused;
    for (;;)
        if (sem_wait(&asked) == 0)
            umbra_process_report();
    return NULL;
}

static void open_metrics(void)
{
    const char *port = getenv("UMBRA_UNDER_METRICS");
    if (umbra_process_active() && port)
        (void)umbra_metrics_open((uint16_t)strtoul(port, NULL, 10), umbra_process_print_metrics);
}

__attribute__((constructor)) static void begin(void)
{
    struct sigaction old;
    pthread_t thread;
    open_metrics();
    if (!umbra_process_active() || sigaction(SIGUSR1, NULL, &old) != 0 ||
        old.sa_handler != SIG_DFL || sem_init(&asked, 0, 0) != 0)
        return;
    struct sigaction own = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    if (umbra_thread_start(&thread, answer, NULL, 256 << 10) == 0 && pthread_detach(thread) == 0)
        sigaction(SIGUSR1, &own, NULL);
}

__attribute__((destructor)) static void end(void)
{
    if (umbra_process_active() && getenv("UMBRA_UNDER_STATS"))
        umbra_process_report();
}
