/* Follows a program's mappings, models and schedulers. */
#include "under/process.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "under/metrics.h"
#include "under/report.h"

/* A mapped model file whose experts are to be kept. */
typedef struct file_record {
    struct file_record *next;
    char path[PATH_MAX];
    char *at;
    size_t bytes;
    umbra_under *under; /* NULL: not taken over (yet), or by the record of another shard */
} file_record;

/* A model file that was opened, whether or not it is mapped then. */
typedef struct path_record {
    struct path_record *next;
    char path[];
} path_record;

typedef struct scheduler_record {
    struct scheduler_record *next;
    void *scheduler;
    umbra_foreign_eval *host;
    void *host_user;
    umbra_under_context *context; /* NULL: not bound */
} scheduler_record;

/* The mutex is taken again by hooks of what is called with it held: mapping memory for the store.
 */
static struct {
    pthread_mutex_t mutex;
    file_record *files;
    path_record *opened; /* to be kept */
    scheduler_record *schedulers;
} process = {.mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP};

static _Thread_local bool opened_to_keep;
static _Thread_local bool busy; /* inside Umbra: its own calls are nobody's */

static void lock(void)
{
    pthread_mutex_lock(&process.mutex);
    busy = true;
}

static void unlock(void)
{
    busy = false;
    pthread_mutex_unlock(&process.mutex);
}

/* What was promised cannot be kept: better no program than one that takes what it likes. */
static _Noreturn void refuse(const char *why)
{
    fprintf(stderr, "umbra: %s\n", why);
    fflush(NULL);
    _exit(1);
}

/* ---- the environment ---- */

bool umbra_process_active(void)
{
    static int active = -1;
    if (active < 0)
        active = getenv("UMBRA_UNDER") != NULL;
    return active == 1 && !busy;
}

static uint64_t number_of(const char *name)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

static umbra_under_options options_of(const file_record *file)
{
    umbra_under_options o = {
        .expert_bytes = number_of("UMBRA_UNDER_EXPERTS"),
        .ram_bytes = number_of("UMBRA_UNDER_RAM"),
        .shadow = getenv("UMBRA_UNDER_SHADOW"),
        .io = getenv("UMBRA_UNDER_IO"),
        .collect = getenv("UMBRA_UNDER_COLLECT"),
        .verify = getenv("UMBRA_UNDER_VERIFY") != NULL,
        .mapping = file->at,
        .mapping_bytes = file->bytes,
    };
    umbra_error err = {0};
    if (umbra_policy_parse(getenv("UMBRA_UNDER_PREFETCH"), &o.policy, &err) != UMBRA_OK)
        refuse(err.message);
    return o;
}

/* ---- files ---- */

/* Whether llama.cpp can have its way with a model: all its experts fit into what was given for
 * them, or the file, all of it repacked beside it, and much else into what was given for the
 * process. */
static bool fits(const umbra_experts *e)
{
    static const uint64_t else_bytes = 1 << 30;
    uint64_t experts = number_of("UMBRA_UNDER_EXPERTS"), ram = number_of("UMBRA_UNDER_RAM");
    if (getenv("UMBRA_UNDER_COLLECT"))
        return false;
    if (ram > 0)
        return 2 * (e->expert_bytes + e->other_bytes) + else_bytes <= ram;
    return experts == 0 || e->expert_bytes <= experts;
}

/* Whether a model has more than fits; if not, it is left alone, which `tell` says. */
static bool needs_umbra(const char *path, bool tell)
{
    umbra_experts e;
    if (umbra_experts_open(&e, path, NULL) != UMBRA_OK)
        return false;
    bool alone = fits(&e);
    if (e.n > 0 && alone && tell)
        fprintf(
            stderr,
            "umbra: %s: its experts, %.1f MB, fit into what was given: the model is left alone\n",
            path, (double)e.expert_bytes / 1e6);
    bool needs = e.n > 0 && !alone;
    umbra_experts_close(&e);
    return needs;
}

static void note_opened(const char *path)
{
    for (const path_record *p = process.opened; p; p = p->next)
        if (strcmp(p->path, path) == 0)
            return;
    path_record *p = umbra_calloc(1, sizeof *p + strlen(path) + 1);
    if (!p)
        refuse("no memory");
    strcpy(p->path, path);
    p->next = process.opened;
    process.opened = p;
}

void umbra_process_opens(const char *path)
{
    lock();
    opened_to_keep = needs_umbra(path, false);
    if (opened_to_keep)
        note_opened(path);
    unlock();
}

bool umbra_process_opened(void)
{
    return opened_to_keep;
}

bool umbra_process_keeps(void)
{
    lock();
    bool any = process.files != NULL;
    unlock();
    return any;
}

bool umbra_process_waits(void)
{
    bool any = false;
    lock();
    for (const file_record *f = process.files; f; f = f->next)
        any |= !f->under || !f->under->complete;
    unlock();
    return any;
}

static bool path_of(int fd, char path[PATH_MAX])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n <= 0)
        return false;
    path[n] = 0;
    return true;
}

bool umbra_process_is_to_keep(int fd)
{
    char magic[4], path[PATH_MAX];
    if (pread(fd, magic, sizeof magic, 0) != sizeof magic || memcmp(magic, "GGUF", 4) != 0 ||
        !path_of(fd, path))
        return false;
    lock();
    bool needs = needs_umbra(path, true);
    unlock();
    return needs;
}

static bool overlaps(const file_record *f, const void *at, size_t bytes)
{
    const char *p = at;
    return p < f->at + f->bytes && p + bytes > f->at;
}

static file_record *file_at(const void *at, size_t bytes)
{
    file_record *f = process.files;
    while (f && !overlaps(f, at, bytes))
        f = f->next;
    return f;
}

static void drop_file(file_record *gone)
{
    file_record **f = &process.files;
    while (*f != gone)
        f = &(*f)->next;
    *f = gone->next;
    umbra_free(gone);
}

void umbra_process_mapped(void *at, size_t bytes, int fd)
{
    lock();
    file_record *old;
    while ((old = file_at(at, bytes)) != NULL) /* what lay there is gone */
        drop_file(old);
    file_record *f = umbra_calloc(1, sizeof *f);
    if (f && path_of(fd, f->path)) {
        f->at = at;
        f->bytes = bytes;
        f->next = process.files;
        process.files = f;
    } else {
        umbra_free(f);
    }
    unlock();
}

bool umbra_process_knows(const void *at, size_t bytes)
{
    lock();
    bool known = file_at(at, bytes) != NULL;
    unlock();
    return known;
}

/* ---- models ---- */

static void report(const file_record *f)
{
    umbra_under_stats stats;
    umbra_under_get_stats(f->under, &stats);
    umbra_report_stats(stderr, f->path, &stats);
    umbra_report_verdict(stderr, &stats);
}

static bool wants_report(void)
{
    return getenv("UMBRA_UNDER_STATS") != NULL;
}

static void give_up(file_record *f)
{
    for (scheduler_record *s = process.schedulers; s; s = s->next)
        if (s->context && s->context->under == f->under)
            umbra_under_context_close(&s->context);
    if (wants_report())
        report(f);
    umbra_under_detach(&f->under);
}

static bool has_places(const umbra_under *u, const char *at, size_t bytes)
{
    for (int i = 0; i < u->experts.n; i++) {
        const umbra_stacked *s = &u->experts.stacked[i];
        if (s->at < at + bytes && s->at + s->bytes > at)
            return true;
    }
    return false;
}

/* Where llama.cpp cuts off what it does not need, nothing has been taken over yet, and the rest of
 * the mapping stays. */
void umbra_process_unmaps(void *at, size_t bytes)
{
    lock();
    for (file_record *f = process.files; f; f = f->next)
        if (f->under && has_places(f->under, at, bytes))
            give_up(f);
    file_record *f = file_at(at, bytes);
    if (f && !f->under && (char *)at <= f->at && (char *)at + bytes >= f->at + f->bytes)
        drop_file(f);
    unlock();
}

/* What is not Umbra's is read ahead, as llama.cpp would have had all of the file. */
static void read_rest(const file_record *f)
{
    const umbra_experts *e = &f->under->experts;
    char *from = f->at;
    for (int i = 0; i <= e->n; i++) {
        char *end = i < e->n ? e->stacked[i].at : f->at + f->bytes;
        char *begin = (char *)umbra_align_up((uintptr_t)from, 4096);
        if (end > begin && begin >= f->at && end <= f->at + f->bytes)
            (void)madvise(begin, (size_t)(end - begin), MADV_WILLNEED);
        from = i < e->n ? e->stacked[i].at + e->stacked[i].bytes : end;
    }
}

static umbra_under *take_over(file_record *f)
{
    umbra_under_options o = options_of(f);
    umbra_under_stats stats;
    umbra_error err = {0};
    if (strstr(f->path, "-of-")) /* shards lie in mappings of their own */
        o.mapping = NULL;
    if (umbra_under_model(&f->under, f->path, &o, &err) != UMBRA_OK)
        refuse(err.message);
    umbra_under_get_stats(f->under, &stats);
    umbra_report_plan(stderr, f->path, &stats);
    read_rest(f);
    return f->under;
}

/* The model that has this tensor of experts. */
static umbra_under *model_of(const void *data)
{
    for (file_record *f = process.files; f; f = f->next)
        if (f->under && umbra_experts_at(&f->under->experts, data))
            return f->under;
    file_record *f = file_at(data, 1);
    return f ? take_over(f) : NULL;
}

/* ---- schedulers ---- */

static scheduler_record *record_of(void *scheduler)
{
    scheduler_record *s = process.schedulers;
    while (s && s->scheduler != scheduler)
        s = s->next;
    if (s)
        return s;
    s = umbra_calloc(1, sizeof *s);
    if (!s)
        refuse("no memory");
    s->scheduler = scheduler;
    s->next = process.schedulers;
    process.schedulers = s;
    return s;
}

void umbra_process_set_host(void *scheduler, umbra_foreign_eval *host, void *user)
{
    lock();
    scheduler_record *s = record_of(scheduler);
    s->host = host;
    s->host_user = user;
    unlock();
}

void umbra_process_forget(void *scheduler)
{
    lock();
    for (scheduler_record **s = &process.schedulers; *s; s = &(*s)->next) {
        scheduler_record *gone = *s;
        if (gone->scheduler != scheduler)
            continue;
        umbra_under_context_close(&gone->context);
        *s = gone->next;
        umbra_free(gone);
        break;
    }
    unlock();
}

/* Whether a model to be kept has a tensor of that name and shape: one that is left alone may be in
 * the same process. */
static bool is_of_kept(const umbra_foreign_tensor *experts)
{
    bool found = false;
    for (const path_record *p = process.opened; p && !found; p = p->next) {
        umbra_experts e;
        if (umbra_experts_open(&e, p->path, NULL) != UMBRA_OK)
            continue;
        const umbra_gguf_tensor *t = umbra_gguf_tensor_find(e.gguf, experts->name);
        found = t && t->dimensions == 3;
        for (int i = 0; i < 3 && found; i++)
            found = t->shape[i] == (uint64_t)experts->ne[i];
        umbra_experts_close(&e);
    }
    return found;
}

/* Experts that the processor looks at, of a file to be kept, and not at a place in its mapping:
 * they were repacked, or read into memory. Data that is nowhere is a rehearsal's. */
static void check_place(const umbra_foreign *f, const umbra_foreign_tensor *experts)
{
    char why[256];
    if (!is_of_kept(experts) || !experts->buffer || !umbra_foreign_is_host(f, experts))
        return;
    snprintf(why, sizeof why,
             "\"%s\" is not where the file is mapped: Umbra can keep experts only where llama.cpp "
             "maps the file (mmap) and does not repack it; say so with its options",
             experts->name);
    refuse(why);
}

/* The model whose experts the graph uses; NULL: none of a file's. */
static umbra_under *model_in(void *graph)
{
    umbra_error err = {0};
    const umbra_foreign *f = umbra_foreign_get(&err);
    if (!f)
        refuse(err.message);
    umbra_under *u = NULL;
    int n = f->graph_n_nodes(graph);
    for (int i = 0; i < n && !u; i++) {
        const umbra_foreign_tensor *t = f->graph_node(graph, i);
        if (t->op != f->mul_mat_id || !t->src[0] || !t->src[0]->data)
            continue;
        u = model_of(t->src[0]->data);
        if (!u)
            check_place(f, t->src[0]);
    }
    return u;
}

umbra_under_context *umbra_process_bind(void *scheduler, void *graph)
{
    lock();
    scheduler_record *s = record_of(scheduler);
    umbra_under *u = s->context ? s->context->under : model_in(graph);
    umbra_error err = {0};
    if (u && !s->context && umbra_under_context_open(&s->context, u, NULL, NULL, &err) != UMBRA_OK)
        refuse(err.message);
    umbra_under_context *c = s->context;
    if (c) {
        c->host = (bool (*)(struct ggml_tensor *, bool, void *))s->host;
        c->host_user = s->host_user;
    }
    unlock();
    return c;
}

void umbra_process_report(void)
{
    lock();
    for (const file_record *f = process.files; f; f = f->next)
        if (f->under)
            report(f);
    unlock();
}

void umbra_process_print_metrics(FILE *out)
{
    enum { MOST = 16 };
    umbra_metrics_model models[MOST];
    int n = 0;
    lock();
    for (const file_record *f = process.files; f && n < MOST; f = f->next) {
        if (!f->under)
            continue;
        models[n].name = umbra_report_name(f->path);
        umbra_under_get_stats(f->under, &models[n++].stats);
    }
    umbra_metrics_print(out, models, n);
    unlock();
}
