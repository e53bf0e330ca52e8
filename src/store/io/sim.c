/* A simulated disk (see io.h). One queue: a request's transfer begins when the one before has
 * ended, and it arrives the latency after its transfer. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/io/internal.h"

static const uint64_t default_latency_ns = 100000;

typedef struct flight {
    uint64_t user;
    uint64_t due_ns;
    int error;
} flight;

typedef struct mapping {
    void *base;
    uint64_t bytes;
} mapping;

struct umbra_io {
    const umbra_io_file *files; /* (n_files), the caller's */
    int n_files;
    mapping *maps; /* (n_files) */
    double ns_per_byte;
    uint64_t latency_ns;
    const umbra_clock *clock;
    uint64_t free_ns; /* when the last transfer ends */
    int depth;
    flight *flights; /* (depth) a ring, in the order of their arrival */
    int first, in_flight;
};

/* A number with one of the units; returns what follows, NULL if there is no number. */
static const char *parse(const char *text, const char *const *units, const double *factors,
                         double *out)
{
    char *end;
    *out = strtod(text, &end);
    if (end == text || !isfinite(*out) || *out < 0)
        return NULL;
    for (int i = 0; units[i]; i++) {
        size_t n = strlen(units[i]);
        if (strncmp(end, units[i], n) == 0) {
            *out *= factors[i];
            return end + n;
        }
    }
    return end;
}

static int parse_name(umbra_io *io, const char *name, umbra_error *err)
{
    static const char *const sizes[] = {"K", "M", "G", NULL};
    static const double size_factors[] = {1e3, 1e6, 1e9};
    static const char *const times[] = {"us", "ms", "s", NULL};
    static const double time_factors[] = {1e3, 1e6, 1e9};
    double rate = 0, latency_ns = (double)default_latency_ns;
    const char *rest = name ? parse(name + strlen("sim:"), sizes, size_factors, &rate) : NULL;
    if (rest && *rest == ',')
        rest = parse(rest + 1, times, time_factors, &latency_ns);
    if (!rest || *rest || rate < 1 || rate > 1e15 || latency_ns > 1e10)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "a simulated disk looks like sim:500M,100us (bytes per second, latency), "
                          "not \"%s\"",
                          name ? name : "");
    io->ns_per_byte = 1e9 / rate;
    io->latency_ns = (uint64_t)latency_ns;
    return UMBRA_OK;
}

/* Read once, so that the page cache holds what memory allows and first touches do not count. */
static int map_files(umbra_io *io, umbra_error *err)
{
    io->maps = umbra_calloc((size_t)io->n_files, sizeof *io->maps);
    if (!io->maps)
        return umbra_fail_nomem(err, "the simulated disk", 0);
    for (int i = 0; i < io->n_files; i++) {
        const umbra_io_file *file = &io->files[i];
        if (file->bytes == 0)
            continue;
        void *base = mmap(NULL, file->bytes, PROT_READ, MAP_SHARED, file->fd, 0);
        if (base == MAP_FAILED)
            return umbra_fail(err, UMBRA_E_SYSTEM, "%s: cannot be mapped for a simulated disk",
                              file->path);
        io->maps[i] = (mapping){base, file->bytes};
        (void)madvise(base, file->bytes, MADV_WILLNEED);
    }
    return UMBRA_OK;
}

static void sim_close(umbra_io **p)
{
    umbra_io *io = *p;
    if (!io)
        return;
    for (int i = 0; io->maps && i < io->n_files; i++)
        if (io->maps[i].base)
            munmap(io->maps[i].base, io->maps[i].bytes);
    umbra_free(io->maps);
    umbra_free(io->flights);
    umbra_free(io);
    *p = NULL;
}

static int sim_open(umbra_io **out, const umbra_io_options *options, umbra_error *err)
{
    *out = NULL;
    int rc = umbra_io_check_options(options, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_io *io = umbra_calloc(1, sizeof *io);
    if (!io)
        return umbra_fail_nomem(err, "the simulated disk", sizeof *io);
    io->files = options->files;
    io->n_files = options->n_files;
    io->depth = options->depth;
    io->clock = options->clock ? options->clock : umbra_clock_real();
    io->flights = umbra_calloc((size_t)io->depth, sizeof *io->flights);
    rc = io->flights ? parse_name(io, options->name, err)
                     : umbra_fail_nomem(err, "the simulated disk", 0);
    if (rc == UMBRA_OK)
        rc = map_files(io, err);
    if (rc != UMBRA_OK) {
        sim_close(&io);
        return rc;
    }
    *out = io;
    return UMBRA_OK;
}

static int sim_submit(umbra_io *io, const umbra_io_request *requests, int n, umbra_error *err)
{
    int rc = umbra_io_check_requests(requests, n, io->n_files, err);
    if (rc != UMBRA_OK)
        return rc;
    uint64_t now_ns = io->clock->now_ns(io->clock->user);
    int taken = 0;
    for (; taken < n && io->in_flight < io->depth; taken++) {
        const umbra_io_request *r = &requests[taken];
        uint64_t begin_ns = io->free_ns > now_ns ? io->free_ns : now_ns;
        io->free_ns = begin_ns + (uint64_t)((double)r->bytes * io->ns_per_byte);
        bool ended = r->offset + r->required > io->maps[r->file].bytes;
        io->flights[(io->first + io->in_flight++) % io->depth] = (flight){
            .user = r->user, .due_ns = io->free_ns + io->latency_ns, .error = ended ? -1 : 0};
    }
    return taken;
}

static int sim_reap(umbra_io *io, umbra_io_completion *out, int max, bool wait, umbra_error *err)
{
    (void)err;
    if (io->in_flight == 0 || max < 1)
        return 0;
    if (wait)
        io->clock->wait_until(io->clock->user, io->flights[io->first].due_ns);
    uint64_t now_ns = io->clock->now_ns(io->clock->user);
    int n = 0;
    while (n < max && io->in_flight > 0 && io->flights[io->first].due_ns <= now_ns) {
        const flight *f = &io->flights[io->first];
        out[n++] = (umbra_io_completion){.user = f->user, .error = f->error};
        io->first = (io->first + 1) % io->depth;
        io->in_flight--;
    }
    return n;
}

static const void *sim_data(const umbra_io *io, int file, uint64_t offset)
{
    return (const char *)io->maps[file].base + offset;
}

const umbra_io_ops umbra_io_sim = {
    .name = "sim",
    .open = sim_open,
    .submit = sim_submit,
    .reap = sim_reap,
    .close = sim_close,
    .data = sim_data,
};
