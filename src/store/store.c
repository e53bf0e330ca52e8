/* Opening and closing a store, its forecasts and its statistics. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/store_internal.h"

enum { DEFAULT_DEPTH = 32, MAX_EXPERTS = 65535 };

static int check_slice(const umbra_store *s, const umbra_slice *slice, uint64_t index,
                       umbra_error *err)
{
    if (slice->bytes == 0)
        return UMBRA_OK;
    int expert = (int)(index / UMBRA_STORE_SLICES % (uint64_t)s->n_experts);
    int layer = (int)(index / UMBRA_STORE_SLICES / (uint64_t)s->n_experts);
    if (slice->file < 0 || slice->file >= s->n_files)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "expert %d of layer %d is in file %d, but there are %d files", expert,
                          layer, slice->file, s->n_files);
    const umbra_io_file *file = &s->files[slice->file];
    if (slice->offset > file->bytes || slice->bytes > file->bytes - slice->offset)
        return umbra_fail_at(err, UMBRA_E_FORMAT, slice->offset,
                             "%s: expert %d of layer %d has %" PRIu64
                             " bytes here, the file only %" PRIu64 "; is it cut short?",
                             file->path, expert, layer, slice->bytes, file->bytes);
    if (slice->bytes > UINT32_MAX - 2 * (uint64_t)s->layout.alignment)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: expert %d of layer %d has a part of %" PRIu64
                          " bytes; 4 GiB is the limit",
                          file->path, expert, layer, slice->bytes);
    return UMBRA_OK;
}

/* Checks and copies the slices, then finds the slot's layout. *n_used: experts with any bytes. */
static int take_slices(umbra_store *s, const umbra_store_options *o, uint64_t *n_used,
                       umbra_error *err)
{
    uint64_t n = (uint64_t)o->n_layers * (uint64_t)o->n_experts * UMBRA_STORE_SLICES;
    *n_used = 0;
    s->slices = umbra_calloc(n, sizeof *s->slices);
    if (!s->slices)
        return umbra_fail_nomem(err, "the table of experts", n * sizeof *s->slices);
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < n; i++) {
        int rc = check_slice(s, &o->slices[i], i, err);
        if (rc != UMBRA_OK)
            return rc;
        s->slices[i] = o->slices[i];
        bytes += s->slices[i].bytes;
        if (i % UMBRA_STORE_SLICES == UMBRA_STORE_SLICES - 1) {
            *n_used += bytes > 0;
            bytes = 0;
        }
    }
    if (*n_used == 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "no layer has experts: nothing to store");
    umbra_layout_init(&s->layout, s->slices, s->n_layers, s->n_experts, s->layout.alignment);
    return UMBRA_OK;
}

/* All files are read with the largest alignment among them: reads of the others do not mind. */
static int open_files(umbra_store *s, const umbra_store_options *o, umbra_error *err)
{
    s->files = umbra_calloc((size_t)o->n_paths, sizeof *s->files);
    if (!s->files)
        return umbra_fail_nomem(err, "the table of files", 0);
    s->layout.alignment = 1;
    s->stats.direct = true;
    for (int i = 0; i < o->n_paths; i++) {
        char *path = umbra_strdup(o->paths[i]);
        if (!path)
            return umbra_fail_nomem(err, "a path", strlen(o->paths[i]));
        uint32_t alignment;
        int rc = umbra_layout_open_file(&s->files[i], &alignment, path, o->buffered, err);
        if (rc != UMBRA_OK) {
            umbra_free(path);
            return rc;
        }
        s->n_files++;
        if (alignment == 1)
            s->stats.direct = false;
        if (alignment > s->layout.alignment)
            s->layout.alignment = alignment;
    }
    return UMBRA_OK;
}

static int make_arena(umbra_store *s, uint64_t budget_bytes, uint64_t n_used, umbra_error *err)
{
    uint64_t slot_bytes = s->layout.slot_bytes;
    uint64_t n = budget_bytes / slot_bytes;
    n = n > n_used ? n_used : n;
    n = n > INT32_MAX / 2 ? INT32_MAX / 2 : n;
    if (n == 0)
        return umbra_fail(err, UMBRA_E_BUDGET,
                          "%" PRIu64 " bytes for experts are too few: one expert needs %" PRIu64
                          "; give at least that",
                          budget_bytes, slot_bytes);
    s->stats.budget_bytes = budget_bytes;
    s->stats.slot_bytes = slot_bytes;
    s->stats.slots = n;
    s->arena_bytes = n * slot_bytes;
    s->arena = umbra_map(s->arena_bytes);
    if (!s->arena)
        return umbra_fail_nomem(err, "the expert slots", s->arena_bytes);
    s->reads = umbra_calloc(n, sizeof *s->reads);
    if (!s->reads)
        return umbra_fail_nomem(err, "the table of reads", n * sizeof *s->reads);
    int rc = umbra_slots_init(&s->slots, (int32_t)n, s->n_layers, s->n_experts, err);
    if (rc == UMBRA_OK)
        rc = umbra_forecast_init(&s->forecast, s->n_sequences, s->n_layers, s->n_experts, err);
    s->slots.heat = s->forecast.heat;
    return rc;
}

static int make_queues(umbra_store *s, umbra_error *err)
{
    size_t n = (size_t)s->n_experts;
    umbra_batch_state *b = &s->batch;
    b->seen = umbra_calloc(n, sizeof *b->seen);
    b->uses = umbra_calloc(n, sizeof *b->uses);
    b->items = umbra_calloc(n, sizeof *b->items);
    b->ready = umbra_calloc(n, sizeof *b->ready);
    b->misses = umbra_calloc(n, sizeof *b->misses);
    s->uses = umbra_calloc((size_t)s->n_layers * n, sizeof *s->uses);
    s->queue_size = s->depth * (1 + UMBRA_IO_PARTS) + UMBRA_STORE_SLICES;
    s->queue = umbra_calloc((size_t)s->queue_size, sizeof *s->queue);
    s->chosen = umbra_calloc((size_t)s->depth, sizeof *s->chosen);
    s->flights = umbra_calloc((size_t)s->depth, sizeof *s->flights);
    for (int i = 0; s->flights && i < s->depth; i++)
        s->flights[i].next_free = i + 1 < s->depth ? i + 1 : -1;
    s->requests = umbra_calloc((size_t)s->depth, sizeof *s->requests);
    s->completions = umbra_calloc((size_t)s->depth, sizeof *s->completions);
    if (!b->seen || !b->uses || !b->items || !b->ready || !b->misses || !s->uses || !s->queue ||
        !s->chosen || !s->flights || !s->requests || !s->completions)
        return umbra_fail_nomem(err, "the store's queues", 0);
    return UMBRA_OK;
}

static int check_options(const umbra_store_options *o, umbra_error *err)
{
    if (o->n_paths < 1 || !o->paths)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "the store needs at least one file");
    if (o->n_layers < 1 || o->n_experts < 1 || o->n_experts > MAX_EXPERTS || !o->slices)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "%d layers of %d experts: must be at least 1, and at most %d experts",
                          o->n_layers, o->n_experts, (int)MAX_EXPERTS);
    if (o->io_depth < 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%d reads in flight: must not be negative",
                          o->io_depth);
    if (o->n_sequences < 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%d sequences: must not be negative",
                          o->n_sequences);
    return UMBRA_OK;
}

int umbra_store_open_with(umbra_store **out, const umbra_store_options *o, const umbra_io_ops *ops,
                          const umbra_clock *clock, umbra_error *err)
{
    *out = NULL;
    int rc = check_options(o, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_store *s = umbra_calloc(1, sizeof *s);
    if (!s)
        return umbra_fail_nomem(err, "the expert store", sizeof *s);
    pthread_mutex_init(&s->mutex, NULL);
    s->n_layers = o->n_layers;
    s->n_experts = o->n_experts;
    s->n_sequences = o->n_sequences > 0 ? o->n_sequences : 1;
    s->depth = o->io_depth > 0 ? o->io_depth : DEFAULT_DEPTH;
    s->ops = ops;
    s->clock = clock ? clock : umbra_clock_real();
    umbra_disk_model_init(&s->disk);
    s->stats.io = ops->name;
    uint64_t n_used = 0;
    rc = open_files(s, o, err);
    if (rc == UMBRA_OK)
        rc = take_slices(s, o, &n_used, err);
    if (rc == UMBRA_OK)
        rc = make_arena(s, o->budget_bytes, n_used, err);
    if (rc == UMBRA_OK)
        rc = make_queues(s, err);
    if (rc == UMBRA_OK)
        rc = ops->open(&s->io,
                       &(umbra_io_options){.files = s->files,
                                           .n_files = s->n_files,
                                           .depth = s->depth,
                                           .arena = s->arena,
                                           .arena_bytes = s->arena_bytes,
                                           .name = o->io,
                                           .clock = s->clock},
                       err);
    if (rc == UMBRA_OK && o->verify)
        rc = umbra_verifier_open(s, err);
    if (rc != UMBRA_OK) {
        umbra_store_close(&s);
        return rc;
    }
    *out = s;
    return UMBRA_OK;
}

int umbra_store_open(umbra_store **out, const umbra_store_options *o, umbra_error *err)
{
    *out = NULL;
    const umbra_io_ops *ops = umbra_io_find(o->io);
    if (!ops)
        return umbra_fail(
            err, UMBRA_E_ARGUMENT,
            "no I/O backend is called \"%s\"; there are auto, uring, threads, sim:RATE,LATENCY",
            o->io);
    int rc = umbra_store_open_with(out, o, ops, NULL, err);
    /* A ring of this depth may be refused where a tiny one was not. */
    bool named = o->io && strcmp(o->io, ops->name) == 0;
    if (rc == UMBRA_E_UNSUPPORTED && !named && ops != &umbra_io_threads)
        rc = umbra_store_open_with(out, o, &umbra_io_threads, NULL, err);
    return rc;
}

void umbra_store_close(umbra_store **p)
{
    umbra_store *s = *p;
    if (!s)
        return;
    if (s->io)
        s->ops->close(&s->io);
    umbra_verifier_close(s);
    for (int i = 0; i < s->n_files; i++) {
        close(s->files[i].fd);
        umbra_free((char *)s->files[i].path);
    }
    umbra_slots_free(&s->slots);
    umbra_forecast_free(&s->forecast);
    umbra_free(s->uses);
    umbra_unmap(s->arena, s->arena_bytes);
    umbra_free(s->reads);
    umbra_free(s->batch.seen);
    umbra_free(s->batch.uses);
    umbra_free(s->batch.items);
    umbra_free(s->batch.ready);
    umbra_free(s->batch.misses);
    umbra_free(s->queue);
    umbra_free(s->chosen);
    umbra_free(s->flights);
    umbra_free(s->requests);
    umbra_free(s->completions);
    umbra_free(s->slices);
    umbra_free(s->files);
    pthread_mutex_destroy(&s->mutex);
    umbra_free(s);
    *p = NULL;
}

/* ---- forecasts ---- */

uint64_t umbra_store_clock(const umbra_store *store)
{
    umbra_store *s = (umbra_store *)store; /* only the lock is changed */
    pthread_mutex_lock(&s->mutex);
    uint64_t clock = s->forecast.clock;
    pthread_mutex_unlock(&s->mutex);
    return clock;
}

bool umbra_store_foretell(umbra_store *s, int sequence, int layer, int distance, uint64_t due,
                          const float *probability)
{
    if (sequence < 0 || sequence >= s->n_sequences || layer < 0 || layer >= s->n_layers ||
        distance < 1 || distance > UMBRA_STORE_DISTANCES)
        return false;
    pthread_mutex_lock(&s->mutex);
    bool taken = s->guessing &&
                 umbra_forecast_take(&s->forecast, sequence, layer, distance, due, probability);
    s->stats.forecasts += s->guessing;
    s->stats.forecasts_refused += s->guessing && !taken;
    pthread_mutex_unlock(&s->mutex);
    if (taken)
        atomic_store_explicit(&s->foretold, true, memory_order_release);
    return taken;
}

void umbra_store_forget(umbra_store *s, int sequence)
{
    if (sequence < 0 || sequence >= s->n_sequences)
        return;
    pthread_mutex_lock(&s->mutex);
    umbra_forecast_forget(&s->forecast, sequence);
    pthread_mutex_unlock(&s->mutex);
}

void umbra_store_set_guessing(umbra_store *s, bool on)
{
    pthread_mutex_lock(&s->mutex);
    s->guessing = on;
    if (!on)
        umbra_forecast_clear(&s->forecast);
    pthread_mutex_unlock(&s->mutex);
}

enum { PROBES = 8, PROBE_TOGETHER = 16 /* experts of every fourth probe, one of the others */ };

/* Reads n experts of a layer from `first` on that are not there, and takes how long that was. */
static int probe_batch(umbra_store *s, int layer, int first, int n, umbra_error *err)
{
    int experts[PROBE_TOGETHER], count = 0;
    uint64_t bytes = 0, begin_ns = umbra_store_now(s);
    for (int i = 0; count < n && i < s->n_experts; i++) {
        int e = (first + i) % s->n_experts;
        uint64_t own = umbra_store_read_bytes(s, layer, e);
        if (own == 0 || umbra_slots_find(&s->slots, layer, e) >= 0)
            continue;
        experts[count++] = e;
        bytes += own;
    }
    if (count == 0)
        return UMBRA_OK;
    const umbra_batch batch = {
        .kind = UMBRA_BATCH_PROBE, .layer = layer, .experts = experts, .n = count};
    int rc = umbra_store_begin(s, &batch, err);
    umbra_lease lease;
    while (rc == UMBRA_OK && (rc = umbra_store_next(s, &lease, 1, err)) > 0) {
        umbra_store_release(s, &lease);
        rc = UMBRA_OK;
    }
    if (rc == UMBRA_OK)
        umbra_disk_model_add(&s->disk, (double)bytes, (double)(umbra_store_now(s) - begin_ns));
    return rc;
}

int umbra_store_probe(umbra_store *s, umbra_error *err)
{
    if (s->batch.active)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "the store is in use by a batch of layer %d",
                          s->batch.layer);
    umbra_store_stats before = s->stats;
    uint64_t waited_ns = s->waited_ns;
    int together = s->slots.n < PROBE_TOGETHER ? s->slots.n : PROBE_TOGETHER, rc = UMBRA_OK;
    umbra_disk_model_clear(&s->disk);
    for (int i = 0; rc == UMBRA_OK && i < PROBES; i++) {
        int layer = (int)((int64_t)i * s->n_layers / PROBES);
        rc = probe_batch(s, layer, i * s->n_experts / PROBES, i % 4 == 3 ? together : 1, err);
    }
    s->waited_ns = waited_ns;
    s->pace = (umbra_pace){.request_ns = s->pace.request_ns};
    pthread_mutex_lock(&s->mutex);
    before.resident_bytes_max = s->stats.resident_bytes_max;
    s->stats = before; /* these are nobody's hits and misses */
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

int umbra_store_clear(umbra_store *s, umbra_error *err)
{
    if (s->batch.active)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "the store is in use by a batch of layer %d",
                          s->batch.layer);
    int rc = s->broken ? s->broken_error.status : UMBRA_OK;
    while (rc == UMBRA_OK && s->in_flight + s->queue_n > 0) {
        pthread_mutex_lock(&s->mutex);
        umbra_forecast_clear(&s->forecast); /* no more guesses begin */
        pthread_mutex_unlock(&s->mutex);
        rc = umbra_store_start_reads(s, err);
        if (rc == UMBRA_OK)
            rc = umbra_store_reap_reads(s, true, err);
    }
    if (rc != UMBRA_OK)
        return rc;
    pthread_mutex_lock(&s->mutex);
    umbra_forecast_clear(&s->forecast);
    for (int32_t i = 0; i < s->slots.n; i++) {
        const umbra_slot *slot = &s->slots.slot[i];
        umbra_store_count_victim(s, &(umbra_victim){false, slot->layer, slot->expert, slot->guess});
    }
    umbra_slots_clear(&s->slots);
    pthread_mutex_unlock(&s->mutex);
    return UMBRA_OK;
}

/* ---- statistics ---- */

void umbra_store_record(umbra_store *s, umbra_store_event *events, int room)
{
    s->events = events;
    s->events_room = events ? room : 0;
    s->events_n = 0;
}

int umbra_store_recorded(const umbra_store *s)
{
    return s->events_n;
}

static uint64_t resident_bytes(const umbra_store *s)
{
    return (uint64_t)s->slots.used * s->layout.slot_bytes;
}

void umbra_store_get_stats(const umbra_store *store, umbra_store_stats *out)
{
    umbra_store *s = (umbra_store *)store; /* only the lock is changed */
    pthread_mutex_lock(&s->mutex);
    *out = s->stats;
    out->resident_bytes = resident_bytes(s);
    out->disk_latency_ns = s->disk.latency_ns;
    out->disk_bytes_per_s = 1e9 / s->disk.ns_per_byte;
    pthread_mutex_unlock(&s->mutex);
}

void umbra_store_get_uses(const umbra_store *s, uint64_t *out)
{
    memcpy(out, s->uses, (size_t)s->n_layers * (size_t)s->n_experts * sizeof *out);
}

uint64_t umbra_store_needed(const umbra_store *s)
{
    return s->needed;
}

uint64_t umbra_store_waited_ns(const umbra_store *s)
{
    return s->waited_ns;
}

void umbra_store_reset_stats(umbra_store *s)
{
    pthread_mutex_lock(&s->mutex);
    s->stats = (umbra_store_stats){
        .budget_bytes = s->stats.budget_bytes,
        .slot_bytes = s->stats.slot_bytes,
        .slots = s->stats.slots,
        .resident_bytes_max = resident_bytes(s),
        .direct = s->stats.direct,
        .io = s->stats.io,
    };
    pthread_mutex_unlock(&s->mutex);
}
