/* Opening and closing a store, its forecasts and its statistics. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "store/store_internal.h"

enum { DEFAULT_DEPTH = 32, MAX_EXPERTS = 65535 };

static int check_slice(const umbra_store *s, const umbra_slice *slice, uint64_t index,
                       umbra_error *err)
{
    if (slice->bytes == 0)
        return UMBRA_OK;
    int expert = (int)(index / UMBRA_STORE_SLICES % (uint64_t)s->fixed.n_experts);
    int layer = (int)(index / UMBRA_STORE_SLICES / (uint64_t)s->fixed.n_experts);
    if (slice->file < 0 || slice->file >= s->fixed.n_files)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "expert %d of layer %d is in file %d, but there are %d files", expert,
                          layer, slice->file, s->fixed.n_files);
    const umbra_io_file *file = &s->fixed.files[slice->file];
    if (slice->offset > file->bytes || slice->bytes > file->bytes - slice->offset)
        return umbra_fail_at(err, UMBRA_E_FORMAT, slice->offset,
                             "%s: expert %d of layer %d has %" PRIu64
                             " bytes here, the file only %" PRIu64 "; is it cut short?",
                             file->path, expert, layer, slice->bytes, file->bytes);
    if (slice->bytes > UINT32_MAX - 2 * (uint64_t)s->fixed.geometry.alignment)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: expert %d of layer %d has a part of %" PRIu64
                          " bytes; 4 GiB is the limit",
                          file->path, expert, layer, slice->bytes);
    return UMBRA_OK;
}

/* Checks and copies the slices. */
static int take_slices(umbra_store *s, const umbra_store_options *o, umbra_error *err)
{
    uint64_t n = (uint64_t)o->n_layers * (uint64_t)o->n_experts * UMBRA_STORE_SLICES;
    s->fixed.slices = umbra_calloc(n, sizeof *s->fixed.slices);
    if (!s->fixed.slices)
        return umbra_fail_nomem(err, "the table of experts", n * sizeof *s->fixed.slices);
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < n; i++) {
        int rc = check_slice(s, &o->slices[i], i, err);
        if (rc != UMBRA_OK)
            return rc;
        s->fixed.slices[i] = o->slices[i];
        bytes += s->fixed.slices[i].bytes;
    }
    if (bytes == 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "no layer has experts: nothing to store");
    return UMBRA_OK;
}

/* All files are read with the largest alignment among them: reads of the others do not mind. */
static int open_files(umbra_store *s, const umbra_store_options *o, umbra_error *err)
{
    s->fixed.files = umbra_calloc((size_t)o->n_paths, sizeof *s->fixed.files);
    if (!s->fixed.files)
        return umbra_fail_nomem(err, "the table of files", 0);
    s->fixed.geometry.alignment = 1;
    s->stats.direct = true;
    for (int i = 0; i < o->n_paths; i++) {
        char *path = umbra_strdup(o->paths[i]);
        if (!path)
            return umbra_fail_nomem(err, "a path", strlen(o->paths[i]));
        uint32_t alignment;
        int rc = umbra_store_open_file(&s->fixed.files[i], &alignment, path, o->buffered, err);
        if (rc != UMBRA_OK) {
            umbra_free(path);
            return rc;
        }
        s->fixed.n_files++;
        if (alignment == 1)
            s->stats.direct = false;
        if (alignment > s->fixed.geometry.alignment)
            s->fixed.geometry.alignment = alignment;
    }
    return UMBRA_OK;
}

/* Experts that have places are mapped when all else is there. */
static int take_places(umbra_store *s, const umbra_store_options *o, umbra_error *err)
{
    if (!o->places)
        return UMBRA_OK;
    return umbra_places_take(s, o->places, err);
}

/* What an expert takes of the budget. */
static uint64_t expert_bytes(const void *store, size_t pair)
{
    const umbra_store *s = store;
    const umbra_slice *slices = &s->fixed.slices[pair * UMBRA_STORE_SLICES];
    return s->fixed.places.at ? umbra_places_expert_bytes(s, slices)
                              : umbra_geometry_bytes(slices, s->fixed.geometry.alignment);
}

static int plan_slots(umbra_store *s, const umbra_store_options *o, umbra_error *err)
{
    umbra_slot_plan *p = &s->fixed.plan;
    umbra_sizes_find(p, (size_t)s->fixed.n_layers * (size_t)s->fixed.n_experts, expert_bytes, s);
    umbra_sizes_divide(p, o->together, o->budget_bytes);
    uint64_t slot_bytes = p->size[p->n - 1].bytes;
    if (p->slots == 0)
        return umbra_fail(err, UMBRA_E_BUDGET,
                          "%" PRIu64 " bytes for experts are too few: one expert needs %" PRIu64
                          "; give at least that",
                          o->budget_bytes, slot_bytes);
    s->fixed.geometry.slot_bytes = slot_bytes;
    s->fixed.together = o->together;
    s->fixed.budget_bytes = s->stats.budget_bytes = o->budget_bytes;
    s->stats.slot_bytes = slot_bytes;
    s->stats.slots = p->slots;
    s->stats.slots_bytes = p->bytes;
    return UMBRA_OK;
}

static int make_slots(umbra_store *s, umbra_error *err)
{
    const umbra_slot_plan *p = &s->fixed.plan;
    umbra_slots *slots = &s->guarded.slots;
    int32_t n[UMBRA_SLOT_SIZES];
    for (int i = 0; i < p->n; i++)
        n[i] = (int32_t)p->size[i].slots;
    int rc = umbra_slots_init(slots, n, p->n, s->fixed.n_layers, s->fixed.n_experts, err);
    size_t n_pairs = (size_t)s->fixed.n_layers * (size_t)s->fixed.n_experts;
    for (size_t i = 0; rc == UMBRA_OK && i < n_pairs; i++)
        slots->size_of[i] = (uint8_t)umbra_sizes_of(p, expert_bytes(s, i));
    return rc;
}

static int make_arena(umbra_store *s, const umbra_store_options *o, umbra_error *err)
{
    int rc = plan_slots(s, o, err);
    if (rc != UMBRA_OK)
        return rc;
    uint64_t n = s->fixed.plan.slots;
    if (!s->fixed.places.at) {
        s->fixed.arena_bytes = s->fixed.plan.bytes;
        s->fixed.arena = umbra_map(s->fixed.arena_bytes);
        if (!s->fixed.arena)
            return umbra_fail_nomem(err, "the expert slots", s->fixed.arena_bytes);
    }
    s->driver.reads = umbra_calloc(n, sizeof *s->driver.reads);
    if (!s->driver.reads)
        return umbra_fail_nomem(err, "the table of reads", n * sizeof *s->driver.reads);
    rc = make_slots(s, err);
    if (rc == UMBRA_OK)
        rc = umbra_forecast_init(&s->guarded.forecast, s->fixed.n_sequences, s->fixed.n_layers,
                                 s->fixed.n_experts, err);
    s->guarded.slots.foretold = s->guarded.forecast.merged;
    return rc;
}

static int make_queues(umbra_store *s, umbra_error *err)
{
    size_t n = (size_t)s->fixed.n_experts;
    umbra_batch_state *b = &s->driver.batch;
    b->seen = umbra_calloc(n, sizeof *b->seen);
    b->uses = umbra_calloc(n, sizeof *b->uses);
    b->items = umbra_calloc(n, sizeof *b->items);
    b->ready = umbra_calloc(n, sizeof *b->ready);
    b->misses = umbra_calloc(n, sizeof *b->misses);
    s->driver.uses = umbra_calloc((size_t)s->fixed.n_layers * n, sizeof *s->driver.uses);
    s->driver.queue_size = s->fixed.depth * (1 + UMBRA_IO_PARTS) + UMBRA_STORE_SLICES;
    s->driver.queue = umbra_calloc((size_t)s->driver.queue_size, sizeof *s->driver.queue);
    s->driver.chosen = umbra_calloc((size_t)s->fixed.depth, sizeof *s->driver.chosen);
    s->driver.flights = umbra_calloc((size_t)s->fixed.depth, sizeof *s->driver.flights);
    for (int i = 0; s->driver.flights && i < s->fixed.depth; i++)
        s->driver.flights[i].next_free = i + 1 < s->fixed.depth ? i + 1 : -1;
    s->driver.requests = umbra_calloc((size_t)s->fixed.depth, sizeof *s->driver.requests);
    s->driver.completions = umbra_calloc((size_t)s->fixed.depth, sizeof *s->driver.completions);
    if (!b->seen || !b->uses || !b->items || !b->ready || !b->misses || !s->driver.uses ||
        !s->driver.queue || !s->driver.chosen || !s->driver.flights || !s->driver.requests ||
        !s->driver.completions)
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
    if (o->together < 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%d experts leased at once: must not be negative",
                          o->together);
    return UMBRA_CHECK_RESERVED(o, err);
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
    s->fixed.n_layers = o->n_layers;
    s->fixed.n_experts = o->n_experts;
    s->fixed.n_sequences = o->n_sequences > 0 ? o->n_sequences : 1;
    s->fixed.depth = o->io_depth > 0 ? o->io_depth : DEFAULT_DEPTH;
    s->fixed.ops = ops;
    s->fixed.clock = clock ? clock : umbra_clock_real();
    umbra_disk_model_init(&s->driver.disk);
    s->stats.io = ops->name;
    rc = open_files(s, o, err);
    if (rc == UMBRA_OK)
        rc = take_slices(s, o, err);
    if (rc == UMBRA_OK)
        rc = take_places(s, o, err);
    if (rc == UMBRA_OK)
        rc = make_arena(s, o, err);
    if (rc == UMBRA_OK)
        rc = make_queues(s, err);
    if (rc == UMBRA_OK)
        rc = ops->open(&s->fixed.io,
                       &(umbra_io_options){.files = s->fixed.files,
                                           .n_files = s->fixed.n_files,
                                           .depth = s->fixed.depth,
                                           .arena = s->fixed.arena,
                                           .arena_bytes = s->fixed.arena_bytes,
                                           .name = o->io,
                                           .clock = s->fixed.clock},
                       err);
    if (rc == UMBRA_OK && o->verify)
        rc = umbra_verifier_open(s, err);
    if (rc == UMBRA_OK && s->fixed.places.at)
        rc = umbra_places_map(s, err);
    if (rc != UMBRA_OK) {
        umbra_store_close(&s);
        return rc;
    }
    *out = s;
    return UMBRA_OK;
}

int umbra_store_open(umbra_store **out, const umbra_store_options *o, umbra_error *err)
{
    static const umbra_store_options none = {0};
    *out = NULL;
    o = o ? o : &none;
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
    if (s->fixed.io)
        s->fixed.ops->close(&s->fixed.io);
    umbra_verifier_close(s);
    umbra_places_unmap(s);
    umbra_places_free(s);
    for (int i = 0; i < s->fixed.n_files; i++) {
        close(s->fixed.files[i].fd);
        umbra_free((char *)s->fixed.files[i].path);
    }
    umbra_slots_free(&s->guarded.slots);
    umbra_forecast_free(&s->guarded.forecast);
    umbra_free(s->driver.uses);
    umbra_refill_free(&s->driver.refill);
    umbra_unmap(s->fixed.arena, s->fixed.arena_bytes);
    umbra_free(s->driver.reads);
    umbra_free(s->driver.batch.seen);
    umbra_free(s->driver.batch.uses);
    umbra_free(s->driver.batch.items);
    umbra_free(s->driver.batch.ready);
    umbra_free(s->driver.batch.misses);
    umbra_free(s->driver.queue);
    umbra_free(s->driver.chosen);
    umbra_free(s->driver.flights);
    umbra_free(s->driver.requests);
    umbra_free(s->driver.completions);
    umbra_free(s->fixed.slices);
    umbra_free(s->fixed.files);
    pthread_mutex_destroy(&s->mutex);
    umbra_free(s);
    *p = NULL;
}

/* ---- forecasts ---- */

uint64_t umbra_store_clock(const umbra_store *store)
{
    umbra_store *s = (umbra_store *)store; /* only the lock is changed */
    umbra_store_lock(s);
    uint64_t clock = s->guarded.forecast.clock;
    umbra_store_unlock(s);
    return clock;
}

bool umbra_store_foretell(umbra_store *s, int sequence, int layer, int distance, uint64_t due,
                          const float *probability)
{
    if (sequence < 0 || sequence >= s->fixed.n_sequences || layer < 0 ||
        layer >= s->fixed.n_layers || distance < 1)
        return false;
    umbra_store_lock(s);
    bool taken = s->guarded.guessing && umbra_forecast_take(&s->guarded.forecast, sequence, layer,
                                                            distance, due, probability);
    s->stats.forecasts += s->guarded.guessing;
    s->stats.forecasts_refused += s->guarded.guessing && !taken;
    umbra_store_unlock(s);
    if (taken)
        atomic_store_explicit(&s->foretold, true, memory_order_release);
    return taken;
}

void umbra_store_forget(umbra_store *s, int sequence)
{
    if (sequence < 0 || sequence >= s->fixed.n_sequences)
        return;
    umbra_store_lock(s);
    umbra_forecast_forget(&s->guarded.forecast, sequence);
    umbra_store_unlock(s);
}

void umbra_store_set_guessing(umbra_store *s, bool on)
{
    umbra_store_lock(s);
    s->guarded.guessing = on;
    if (!on)
        umbra_forecast_clear(&s->guarded.forecast);
    umbra_store_unlock(s);
}

/* What is known of the disk, for the statistics. Called with the lock held. */
static void publish_disk(umbra_store *s)
{
    s->stats.disk_latency_ns = s->driver.disk.latency_ns;
    s->stats.disk_bytes_per_s = 1e9 / s->driver.disk.ns_per_byte;
}

enum { PROBES = 8, PROBE_TOGETHER = 16 /* experts of every fourth probe, one of the others */ };

/* Reads n experts of a layer from `first` on that are not there, and takes how long that was. */
static int probe_batch(umbra_store *s, int layer, int first, int n, umbra_error *err)
{
    int experts[PROBE_TOGETHER], count = 0;
    uint64_t bytes = 0, begin_ns = umbra_store_now(s);
    for (int i = 0; count < n && i < s->fixed.n_experts; i++) {
        int e = (first + i) % s->fixed.n_experts;
        uint64_t own = umbra_store_read_bytes(s, layer, e);
        if (own == 0 || umbra_slots_find(&s->guarded.slots, layer, e) >= 0)
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
        umbra_disk_model_add(&s->driver.disk, (double)bytes,
                             (double)(umbra_store_now(s) - begin_ns));
    return rc;
}

int umbra_store_probe(umbra_store *s, umbra_error *err)
{
    if (s->driver.batch.active)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "the store is in use by a batch of layer %d",
                          s->driver.batch.layer);
    umbra_store_stats before;
    int rc = umbra_store_settle(s, err);
    umbra_store_get_stats(s, &before);
    uint64_t waited_ns = s->driver.waited_ns;
    int together = before.slots < PROBE_TOGETHER ? (int)before.slots : PROBE_TOGETHER;
    s->driver.refill.paused = true;
    umbra_disk_model_clear(&s->driver.disk);
    for (int i = 0; rc == UMBRA_OK && i < PROBES; i++) {
        int layer = (int)((int64_t)i * s->fixed.n_layers / PROBES);
        rc = probe_batch(s, layer, i * s->fixed.n_experts / PROBES, i % 4 == 3 ? together : 1, err);
    }
    s->driver.refill.paused = false;
    s->driver.waited_ns = waited_ns;
    s->driver.timing = (umbra_batch_timing){.request_ns = s->driver.timing.request_ns};
    umbra_store_lock(s);
    before.resident_bytes_max = s->stats.resident_bytes_max;
    s->stats = before; /* these are nobody's hits and misses */
    publish_disk(s);
    umbra_store_unlock(s);
    return rc;
}

/* ---- statistics ---- */

void umbra_store_get_slots(const umbra_store *store, umbra_slot_plan *out)
{
    umbra_store *s = (umbra_store *)store; /* only the lock is changed */
    umbra_store_lock(s);
    *out = s->fixed.plan;
    for (int i = 0; i < out->n; i++)
        out->size[i].slots = (uint64_t)s->guarded.slots.size[i].limit;
    out->slots = s->stats.slots;
    out->bytes = s->stats.slots_bytes;
    umbra_store_unlock(s);
}

int umbra_store_size_of(const umbra_store *s, int layer, int expert)
{
    return s->guarded.slots.size_of[(size_t)layer * (size_t)s->fixed.n_experts + (size_t)expert];
}

void umbra_store_record(umbra_store *s, umbra_store_event *events, int room)
{
    s->driver.events = events;
    s->driver.events_room = events ? room : 0;
    s->driver.events_n = 0;
}

int umbra_store_recorded(const umbra_store *s)
{
    return s->driver.events_n;
}

void umbra_store_get_stats(const umbra_store *store, umbra_store_stats *out)
{
    umbra_store *s = (umbra_store *)store; /* only the lock is changed */
    umbra_store_lock(s);
    *out = s->stats;
    out->resident_bytes = umbra_store_resident_bytes(s);
    umbra_store_unlock(s);
}

void umbra_store_sum_ahead(const umbra_store_stats *stats, umbra_ahead_stats *out)
{
    *out = (umbra_ahead_stats){0};
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++) {
        out->reads += stats->ahead[d].reads;
        out->bytes += stats->ahead[d].bytes;
        out->useful_bytes += stats->ahead[d].useful_bytes;
        out->late_bytes += stats->ahead[d].late_bytes;
        out->wasted_bytes += stats->ahead[d].wasted_bytes;
    }
}

static umbra_residency residency_of(const umbra_slots *slots, int32_t slot)
{
    if (slot < 0)
        return UMBRA_EXPERT_AWAY;
    if (slots->slot[slot].state == UMBRA_SLOT_READING)
        return UMBRA_EXPERT_READING;
    return slots->slot[slot].guess ? UMBRA_EXPERT_GUESSED : UMBRA_EXPERT_HERE;
}

void umbra_store_get_residency(const umbra_store *store, uint8_t *out)
{
    umbra_store *s = (umbra_store *)store; /* only the lock is changed */
    umbra_store_lock(s);
    for (int32_t layer = 0; layer < s->fixed.n_layers; layer++)
        for (int32_t e = 0; e < s->fixed.n_experts; e++)
            *out++ = (uint8_t)residency_of(&s->guarded.slots,
                                           umbra_slots_find(&s->guarded.slots, layer, e));
    umbra_store_unlock(s);
}

void umbra_store_get_uses(const umbra_store *s, uint64_t *out)
{
    memcpy(out, s->driver.uses,
           (size_t)s->fixed.n_layers * (size_t)s->fixed.n_experts * sizeof *out);
}

uint64_t umbra_store_needed(const umbra_store *s)
{
    return s->driver.needed;
}

uint64_t umbra_store_waited_ns(const umbra_store *s)
{
    return s->driver.waited_ns;
}

void umbra_store_reset_stats(umbra_store *s)
{
    umbra_store_lock(s);
    s->stats = (umbra_store_stats){
        .budget_bytes = s->stats.budget_bytes,
        .slot_bytes = s->stats.slot_bytes,
        .slots = s->stats.slots,
        .slots_bytes = s->stats.slots_bytes,
        .resident_bytes_max = umbra_store_resident_bytes(s),
        .disk_latency_ns = s->stats.disk_latency_ns,
        .disk_bytes_per_s = s->stats.disk_bytes_per_s,
        .direct = s->stats.direct,
        .io = s->stats.io,
        .refill_left = s->stats.refill_left,
    };
    umbra_store_unlock(s);
}
