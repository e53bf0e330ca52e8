/* Experts at places of the caller's: spans by page, pages that come and go. */
#include "store/places.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/store_internal.h"

/* Bytes of the file, whole pages. */
typedef struct span {
    uint64_t begin, end;
} span;

static char *place_of(const umbra_store *s, const umbra_slice *slice)
{
    return s->fixed.places.at[slice - s->fixed.slices];
}

static int expert_of(const umbra_store *s, const umbra_slice *slice)
{
    return (int)((slice - s->fixed.slices) / UMBRA_STORE_SLICES % s->fixed.n_experts);
}

/* The same slice of the next expert (step 1) or the one before (-1), if the two lie side by side in
 * the file and in memory; else NULL. */
static const umbra_slice *neighbour(const umbra_store *s, const umbra_slice *slice, int step)
{
    int expert = expert_of(s, slice) + step;
    if (expert < 0 || expert >= s->fixed.n_experts)
        return NULL;
    const umbra_slice *other = slice + step * UMBRA_STORE_SLICES;
    const umbra_slice *first = step > 0 ? slice : other, *second = step > 0 ? other : slice;
    bool beside = other->bytes > 0 && other->file == slice->file &&
                  first->offset + first->bytes == second->offset &&
                  place_of(s, first) + first->bytes == place_of(s, second);
    return beside ? other : NULL;
}

static span span_of(const umbra_store *s, const umbra_slice *slice)
{
    uint64_t page = s->fixed.places.page, end = slice->offset + slice->bytes;
    return (span){
        .begin = neighbour(s, slice, -1) ? umbra_align_down(slice->offset, page)
                                         : umbra_align_up(slice->offset, page),
        .end = neighbour(s, slice, 1) ? umbra_align_up(end, page) : umbra_align_down(end, page),
    };
}

/* Where a byte of the file that belongs to the slice's span lies. */
static char *memory_of(const umbra_store *s, const umbra_slice *slice, uint64_t offset)
{
    return place_of(s, slice) + (int64_t)(offset - slice->offset);
}

static int check_place(const umbra_store *s, const umbra_slice *slice, umbra_error *err)
{
    uint64_t page = s->fixed.places.page, index = (uint64_t)(slice - s->fixed.slices);
    int layer = (int)(index / UMBRA_STORE_SLICES / (uint64_t)s->fixed.n_experts);
    if (!place_of(s, slice) || (uintptr_t)place_of(s, slice) % page != slice->offset % page)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "expert %d of layer %d: its place must lie in its page as its offset, "
                          "%" PRIu64 ", does",
                          expert_of(s, slice), layer, slice->offset);
    if (umbra_align_up(slice->offset, page) >= umbra_align_down(slice->offset + slice->bytes, page))
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "expert %d of layer %d has a part of %" PRIu64
                          " bytes, which holds no whole page of %" PRIu64
                          ": too small to be read to a place of its own",
                          expert_of(s, slice), layer, slice->bytes, page);
    return UMBRA_OK;
}

int umbra_places_take(umbra_store *s, void *const *places, uint64_t *slot_bytes, umbra_error *err)
{
    size_t n = (size_t)s->fixed.n_layers * (size_t)s->fixed.n_experts * UMBRA_STORE_SLICES;
    umbra_places *p = &s->fixed.places;
    long page = sysconf(_SC_PAGESIZE);
    *slot_bytes = 0;
    p->page = page > 0 ? (uint64_t)page : 4096;
    p->at = umbra_calloc(n, sizeof *p->at);
    if (!p->at)
        return umbra_fail_nomem(err, "the table of places", n * sizeof *p->at);
    memcpy(p->at, places, n * sizeof *p->at);
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const umbra_slice *slice = &s->fixed.slices[i];
        bytes = i % UMBRA_STORE_SLICES == 0 ? 0 : bytes;
        if (slice->bytes == 0)
            continue;
        int rc = check_place(s, slice, err);
        if (rc != UMBRA_OK)
            return rc;
        bytes += umbra_places_bytes(s, slice);
        *slot_bytes = bytes > *slot_bytes ? bytes : *slot_bytes;
    }
    return UMBRA_OK;
}

/* The pages of one matrix of consecutive experts from *expert on, which moves behind them. */
static span next_run(const umbra_store *s, int layer, int which, int *expert)
{
    const umbra_slice *slice = &umbra_store_slices(s, layer, *expert)[which];
    span run = slice->bytes > 0 ? span_of(s, slice) : (span){0, 0};
    for (++*expert; slice->bytes > 0 && (slice = neighbour(s, slice, 1)) != NULL; ++*expert)
        run.end = span_of(s, slice).end;
    return run;
}

static int map_run(char *at, uint64_t bytes, umbra_error *err)
{
    void *p = mmap(at, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (p != at)
        return umbra_fail(err, UMBRA_E_SYSTEM, "cannot map %" PRIu64 " bytes for experts: %s",
                          bytes, strerror(errno));
    /* A huge page would bring in what nobody counted. Kernels without them refuse. */
    (void)madvise(at, bytes, MADV_NOHUGEPAGE);
    return UMBRA_OK;
}

int umbra_places_map(umbra_store *s, umbra_error *err)
{
    int rc = UMBRA_OK;
    for (int layer = 0; rc == UMBRA_OK && layer < s->fixed.n_layers; layer++) {
        s->fixed.places.layers_done = layer + 1;
        for (int which = 0; rc == UMBRA_OK && which < UMBRA_STORE_SLICES; which++)
            for (int e = 0; rc == UMBRA_OK && e < s->fixed.n_experts;) {
                const umbra_slice *first = &umbra_store_slices(s, layer, e)[which];
                span run = next_run(s, layer, which, &e);
                if (run.end > run.begin)
                    rc = map_run(memory_of(s, first, run.begin), run.end - run.begin, err);
            }
    }
    return rc;
}

void umbra_places_unmap(umbra_store *s)
{
    for (int layer = 0; layer < s->fixed.places.layers_done; layer++)
        for (int which = 0; which < UMBRA_STORE_SLICES; which++)
            for (int e = 0; e < s->fixed.n_experts;) {
                const umbra_slice *first = &umbra_store_slices(s, layer, e)[which];
                span run = next_run(s, layer, which, &e);
                if (run.end > run.begin)
                    (void)mmap(memory_of(s, first, run.begin), run.end - run.begin, PROT_READ,
                               MAP_SHARED | MAP_FIXED, s->fixed.files[first->file].fd,
                               (off_t)run.begin);
            }
    s->fixed.places.layers_done = 0;
}

/* The slot of the neighbour on that side, if the page at the slice's edge is its too; else -1. */
static int32_t slot_beside(const umbra_store *s, const umbra_slice *slice, int step)
{
    uint64_t edge = step > 0 ? slice->offset + slice->bytes : slice->offset;
    if (edge % s->fixed.places.page == 0 || !neighbour(s, slice, step))
        return -1;
    ptrdiff_t pair = (slice - s->fixed.slices) / UMBRA_STORE_SLICES;
    return umbra_slots_find(&s->guarded.slots, (int)(pair / s->fixed.n_experts),
                            (int)(pair % s->fixed.n_experts) + step);
}

/* The page at that edge is there: reading it again might disturb whoever looks at it. */
static bool edge_is_there(const umbra_store *s, const umbra_slice *slice, int step)
{
    int32_t slot = slot_beside(s, slice, step);
    return slot >= 0 && s->guarded.slots.slot[slot].state == UMBRA_SLOT_RESIDENT;
}

uint64_t umbra_places_bytes(const umbra_store *s, const umbra_slice *slice)
{
    span own = span_of(s, slice);
    return own.end - own.begin;
}

/* What of the slice's span is to be read. */
static span missing_of(const umbra_store *s, const umbra_slice *slice)
{
    span own = span_of(s, slice);
    own.begin += edge_is_there(s, slice, -1) ? s->fixed.places.page : 0;
    own.end -= edge_is_there(s, slice, 1) ? s->fixed.places.page : 0;
    return own;
}

/* How far a read up to `end` must come: to the end of the slice or of what is read. */
static uint32_t required(uint64_t begin, uint64_t end, const umbra_slice *last)
{
    uint64_t last_byte = last->offset + last->bytes;
    return (uint32_t)((last_byte < end ? last_byte : end) - begin);
}

umbra_io_request umbra_places_request(const umbra_store *s, const umbra_slice *slice)
{
    span own = missing_of(s, slice);
    return (umbra_io_request){
        .file = slice->file,
        .offset = own.begin,
        .bytes = (uint32_t)(own.end - own.begin),
        .required = required(own.begin, own.end, slice),
        .buffer = memory_of(s, slice, own.begin),
    };
}

bool umbra_places_extend(const umbra_store *s, umbra_io_request *r, const umbra_slice *next)
{
    const umbra_slice *last = neighbour(s, next, -1);
    span own = missing_of(s, next);
    if (!last || r->file != next->file || r->offset + r->bytes != span_of(s, last).end ||
        own.end - r->offset > UMBRA_MERGED_BYTES)
        return false;
    r->bytes = (uint32_t)(own.end - r->offset);
    r->required = required(r->offset, own.end, next);
    return true;
}

void umbra_places_drop(umbra_store *s, int layer, int expert)
{
    const umbra_slice *slices = umbra_store_slices(s, layer, expert);
    for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
        const umbra_slice *slice = &slices[which];
        if (slice->bytes == 0)
            continue;
        span own = span_of(s, slice);
        own.begin += slot_beside(s, slice, -1) >= 0 ? s->fixed.places.page : 0;
        own.end -= slot_beside(s, slice, 1) >= 0 ? s->fixed.places.page : 0;
        if (own.begin < own.end)
            (void)madvise(memory_of(s, slice, own.begin), own.end - own.begin, MADV_DONTNEED);
    }
}

void umbra_places_copy(umbra_store *s, const umbra_slice *slice)
{
    span own = span_of(s, slice);
    memcpy(memory_of(s, slice, own.begin), s->fixed.ops->data(s->fixed.io, slice->file, own.begin),
           required(own.begin, own.end, slice));
}
