/* Experts at places of the caller's: spans by page, pages that come and go. */
#include "store/places.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/store_internal.h"

typedef umbra_page_span span;

enum {
    LEAST_PAGES = 2,    /* of a slice, for all but one to be moved */
    OTHER_AREAS = 8192, /* of memory, that the program may have besides */
};

static char *place_of(const umbra_store *s, const umbra_slice *slice)
{
    return s->fixed.places.at[slice - s->fixed.slices];
}

static const span *span_of(const umbra_store *s, const umbra_slice *slice)
{
    return &s->fixed.places.span[slice - s->fixed.slices];
}

static int layer_of(const umbra_store *s, const umbra_slice *slice)
{
    return (int)((slice - s->fixed.slices) / UMBRA_STORE_SLICES / s->fixed.n_experts);
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

/* Where a byte of the file that belongs to the slice's span lies. */
static char *memory_of(const umbra_store *s, const umbra_slice *slice, uint64_t offset)
{
    return place_of(s, slice) + (int64_t)(offset - slice->offset);
}

/* ---- runs ---- */

/* The run that begins with an expert's slice: its pages, empty where there are none, and its number
 * of experts. */
typedef struct run {
    span pages;
    int n;
} run;

static run run_from(const umbra_store *s, const umbra_slice *first)
{
    uint64_t page = s->fixed.places.page;
    const umbra_slice *last = first, *next = first;
    run r = {.n = 1};
    if (first->bytes == 0)
        return r;
    for (; (next = neighbour(s, next, 1)) != NULL; r.n++)
        last = next;
    span own = {umbra_align_up(first->offset, page),
                umbra_align_down(last->offset + last->bytes, page)};
    r.pages = own.begin < own.end ? own : (span){0, 0};
    return r;
}

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void set_spans(umbra_store *s, int layer, int which)
{
    uint64_t page = s->fixed.places.page;
    for (int e = 0; e < s->fixed.n_experts;) {
        run r = run_from(s, &umbra_store_slices(s, layer, e)[which]);
        for (int i = 0; i < r.n; i++, e++) {
            const umbra_slice *slice = &umbra_store_slices(s, layer, e)[which];
            span own = {
                greater(umbra_align_down(slice->offset, page), r.pages.begin),
                lesser(umbra_align_up(slice->offset + slice->bytes, page), r.pages.end),
            };
            s->fixed.places.span[slice - s->fixed.slices] =
                own.begin < own.end ? own : (span){0, 0};
        }
    }
}

/* ---- opening and closing ---- */

static int check_place(const umbra_store *s, const umbra_slice *slice, umbra_error *err)
{
    uint64_t page = s->fixed.places.page;
    if (place_of(s, slice) && (uintptr_t)place_of(s, slice) % page == slice->offset % page)
        return UMBRA_OK;
    return umbra_fail(
        err, UMBRA_E_ARGUMENT,
        "expert %d of layer %d: its place must lie in its page as its offset, %" PRIu64 ", does",
        expert_of(s, slice), layer_of(s, slice), slice->offset);
}

/* Whether the kernel will have as many areas of memory as moved pages make: two for each slice. */
static bool may_move(size_t slices)
{
    unsigned long most = 0;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    bool known = f && fscanf(f, "%lu", &most) == 1;
    if (f)
        fclose(f);
    return known && most > OTHER_AREAS && slices < (most - OTHER_AREAS) / 2;
}

int umbra_places_take(umbra_store *s, void *const *places, umbra_error *err)
{
    size_t n = (size_t)s->fixed.n_layers * (size_t)s->fixed.n_experts * UMBRA_STORE_SLICES;
    umbra_places *p = &s->fixed.places;
    long page = sysconf(_SC_PAGESIZE);
    int rc = UMBRA_OK;
    p->page = page > 0 ? (uint64_t)page : 4096;
    p->moves = may_move(n);
    p->at = umbra_calloc(n, sizeof *p->at);
    p->span = umbra_calloc(n, sizeof *p->span);
    if (!p->at || !p->span)
        return umbra_fail_nomem(err, "the table of places", n * sizeof *p->span);
    memcpy(p->at, places, n * sizeof *p->at);
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++)
        if (s->fixed.slices[i].bytes > 0)
            rc = check_place(s, &s->fixed.slices[i], err);
    for (int layer = 0; rc == UMBRA_OK && layer < s->fixed.n_layers; layer++)
        for (int which = 0; which < UMBRA_STORE_SLICES; which++)
            set_spans(s, layer, which);
    return rc;
}

void umbra_places_free(umbra_store *s)
{
    umbra_free(s->fixed.places.at);
    umbra_free(s->fixed.places.span);
}

/* all: every expert will be there. */
static int map_pages(char *at, uint64_t bytes, bool all, umbra_error *err)
{
    void *p = mmap(at, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (p != at)
        return umbra_fail(err, UMBRA_E_SYSTEM, "cannot map %" PRIu64 " bytes for experts: %s",
                          bytes, strerror(errno));
    /* Huge pages are computed with faster than small ones, but bring in what nobody counted unless
     * all is counted. Kernels without them refuse. */
    (void)madvise(at, bytes, all ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return UMBRA_OK;
}

int umbra_places_map(umbra_store *s, umbra_error *err)
{
    const bool all = s->fixed.plan.slots == s->fixed.plan.experts;
    int rc = UMBRA_OK;
    for (int layer = 0; rc == UMBRA_OK && layer < s->fixed.n_layers; layer++) {
        s->fixed.places.layers_done = layer + 1;
        for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
            run r;
            for (int e = 0; rc == UMBRA_OK && e < s->fixed.n_experts; e += r.n) {
                const umbra_slice *first = &umbra_store_slices(s, layer, e)[which];
                r = run_from(s, first);
                if (r.pages.end > 0)
                    rc = map_pages(memory_of(s, first, r.pages.begin), r.pages.end - r.pages.begin,
                                   all, err);
            }
        }
    }
    return rc;
}

void umbra_places_unmap(umbra_store *s)
{
    for (int layer = 0; layer < s->fixed.places.layers_done; layer++)
        for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
            run r;
            for (int e = 0; e < s->fixed.n_experts; e += r.n) {
                const umbra_slice *first = &umbra_store_slices(s, layer, e)[which];
                r = run_from(s, first);
                if (r.pages.end > 0)
                    (void)mmap(memory_of(s, first, r.pages.begin), r.pages.end - r.pages.begin,
                               PROT_READ, MAP_SHARED | MAP_FIXED, s->fixed.files[first->file].fd,
                               (off_t)r.pages.begin);
            }
        }
    s->fixed.places.layers_done = 0;
}

/* ---- edges ---- */

/* Whether an expert on one side of the slice has bytes in this page and is in the cache, or,
 * arrived set, there already. */
static bool is_beside(const umbra_store *s, const umbra_slice *slice, uint64_t page, int step,
                      bool arrived)
{
    for (slice = neighbour(s, slice, step); slice; slice = neighbour(s, slice, step)) {
        const span *own = span_of(s, slice);
        if (page < own->begin || page >= own->end)
            return false;
        int32_t slot = umbra_slots_find(&s->guarded.slots, layer_of(s, slice), expert_of(s, slice));
        if (slot >= 0 && (!arrived || s->guarded.slots.slot[slot].state == UMBRA_SLOT_RESIDENT))
            return true;
    }
    return false;
}

/* The slice's span without edges that others have: they need them, or have brought them in. */
static span without_edges(const umbra_store *s, const umbra_slice *slice, bool arrived)
{
    uint64_t page = s->fixed.places.page;
    span own = *span_of(s, slice);
    if (own.end == 0)
        return own;
    uint64_t first = own.begin, last = own.end - page;
    if (is_beside(s, slice, first, -1, arrived) || is_beside(s, slice, first, 1, arrived))
        own.begin += page;
    if (own.begin <= last &&
        (is_beside(s, slice, last, -1, arrived) || is_beside(s, slice, last, 1, arrived)))
        own.end -= page;
    return own;
}

/* ---- reads ---- */

uint64_t umbra_places_bytes(const umbra_store *s, const umbra_slice *slice)
{
    return span_of(s, slice)->end - span_of(s, slice)->begin;
}

uint64_t umbra_places_expert_bytes(const umbra_store *s, const umbra_slice *slices)
{
    uint64_t mapped = 0, bytes = 0;
    for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
        mapped += umbra_places_bytes(s, &slices[which]);
        bytes += slices[which].bytes;
    }
    return bytes > 0 ? greater(mapped, s->fixed.places.page) : 0;
}

/* What of the slice's span is to be read: reading an edge that is there might disturb whoever looks
 * at it. Something must be read, since somebody waits for it. */
static span missing_of(const umbra_store *s, const umbra_slice *slice)
{
    span own = without_edges(s, slice, true);
    return own.begin < own.end ? own : *span_of(s, slice);
}

/* How far a read from `begin` to `end` must come for this slice. */
static uint32_t required(uint64_t begin, uint64_t end, const umbra_slice *slice)
{
    return (uint32_t)(lesser(slice->offset + slice->bytes, end) - begin);
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
    span own = missing_of(s, next);
    uint64_t end = r->offset + r->bytes;
    if (r->file != next->file || !neighbour(s, next, -1) || own.begin < r->offset ||
        own.begin > end ||
        (char *)r->buffer + (own.begin - r->offset) != memory_of(s, next, own.begin) ||
        own.end - r->offset > UMBRA_MERGED_BYTES)
        return false;
    end = greater(end, own.end);
    r->bytes = (uint32_t)(end - r->offset);
    r->required = required(r->offset, end, next);
    return true;
}

/* ---- pages that come and go ---- */

static void drop(const umbra_store *s, const umbra_slice *slice, uint64_t begin, uint64_t end)
{
    if (begin < end)
        (void)madvise(memory_of(s, slice, begin), end - begin, MADV_DONTNEED);
}

void umbra_places_drop(umbra_store *s, int layer, int expert)
{
    const umbra_slice *slices = umbra_store_slices(s, layer, expert);
    for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
        span own = without_edges(s, &slices[which], false);
        drop(s, &slices[which], own.begin, own.end);
    }
}

/* Whole pages of the slice alone: always the same ones, and as many for slices of as many bytes,
 * so that the kernel has no more than two areas of memory for each. */
static span inside_of(const umbra_store *s, const umbra_slice *slice)
{
    uint64_t page = s->fixed.places.page, pages = slice->bytes / page;
    uint64_t begin = umbra_align_up(slice->offset, page);
    return pages >= LEAST_PAGES ? (span){begin, begin + (pages - 1) * page} : (span){0, 0};
}

/* Pages go with what they hold; where they were, empty ones are left. False: they did not. */
static bool move_pages(umbra_store *s, char *from, char *to, uint64_t bytes)
{
    if (mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to)
        return true;
    /* An older kernel, or one that has too many areas of memory: what lay there may be gone. If it
     * does not come back, the read that goes there fails, which is told. */
    s->fixed.places.moves = false;
    (void)map_pages(to, bytes, false, NULL);
    return false;
}

void umbra_places_pass_on(umbra_store *s, int layer, int expert, int to_layer, int to_expert)
{
    const umbra_slice *slices = umbra_store_slices(s, layer, expert);
    const umbra_slice *heirs = umbra_store_slices(s, to_layer, to_expert);
    for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
        const umbra_slice *slice = &slices[which], *heir = &heirs[which];
        span own = without_edges(s, slice, false), in = inside_of(s, slice),
             next = inside_of(s, heir);
        uint64_t bytes = in.end - in.begin;
        if (s->fixed.places.moves && bytes > 0 && bytes == next.end - next.begin &&
            move_pages(s, memory_of(s, slice, in.begin), memory_of(s, heir, next.begin), bytes)) {
            drop(s, slice, own.begin, in.begin);
            drop(s, slice, in.end, own.end);
        } else {
            drop(s, slice, own.begin, own.end);
        }
    }
}

void umbra_places_copy(umbra_store *s, const umbra_slice *slice)
{
    const span *own = span_of(s, slice);
    memcpy(memory_of(s, slice, own->begin),
           s->fixed.ops->data(s->fixed.io, slice->file, own->begin),
           required(own->begin, own->end, slice));
}
