/* Places the slices of an expert in its slot. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "store/geometry.h"
#include "store/sizes.h"

enum { MIN_DIRECT_ALIGN = 512, MAX_DIRECT_ALIGN = 4096, TRIAL_BYTES = 8192, REGION_ALIGN = 64 };

static uint64_t span_begin(const umbra_slice *s, uint32_t alignment)
{
    return umbra_align_down(s->offset, alignment);
}

static uint64_t span_bytes(const umbra_slice *s, uint32_t alignment)
{
    if (s->bytes == 0)
        return 0;
    return umbra_align_up(s->offset + s->bytes, alignment) - span_begin(s, alignment);
}

/* Bytes of the first n regions. */
static uint64_t regions_bytes(const umbra_slice *slices, int n, uint32_t alignment)
{
    uint64_t region_align = alignment > REGION_ALIGN ? alignment : REGION_ALIGN, bytes = 0;
    for (int which = 0; which < n; which++)
        bytes += umbra_align_up(span_bytes(&slices[which], alignment), region_align);
    return bytes;
}

static char *region_of(const umbra_geometry *geometry, const umbra_slice *slice, int which,
                       const void *slot)
{
    return (char *)((uintptr_t)slot + regions_bytes(slice - which, which, geometry->alignment));
}

uint64_t umbra_geometry_bytes(const umbra_slice *slices, uint32_t alignment)
{
    return regions_bytes(slices, UMBRA_STORE_SLICES, alignment);
}

void umbra_geometry_init(umbra_geometry *geometry, const umbra_slice *slices, int n_layers,
                         int n_experts, uint32_t alignment)
{
    *geometry = (umbra_geometry){.alignment = alignment};
    uint64_t n_pairs = (uint64_t)n_layers * (uint64_t)n_experts;
    for (uint64_t i = 0; i < n_pairs; i++) {
        uint64_t bytes = umbra_geometry_bytes(&slices[i * UMBRA_STORE_SLICES], alignment);
        geometry->slot_bytes = bytes > geometry->slot_bytes ? bytes : geometry->slot_bytes;
    }
}

umbra_io_request umbra_geometry_request(const umbra_geometry *geometry, const umbra_slice *slice,
                                        int which, void *slot)
{
    uint64_t begin = span_begin(slice, geometry->alignment);
    return (umbra_io_request){
        .file = slice->file,
        .offset = begin,
        .bytes = (uint32_t)span_bytes(slice, geometry->alignment),
        .required = (uint32_t)(slice->offset + slice->bytes - begin),
        .buffer = region_of(geometry, slice, which, slot),
    };
}

/* The bytes that the spans of two slices side by side share: 0 or one aligned piece. */
static uint32_t shared_bytes(const umbra_geometry *geometry, const umbra_slice *next)
{
    return next->offset % geometry->alignment != 0 ? geometry->alignment : 0;
}

bool umbra_geometry_extend(const umbra_geometry *geometry, umbra_io_request *r,
                           const umbra_slice *last, const umbra_slice *next, int which, void *slot)
{
    uint64_t own = span_bytes(next, geometry->alignment) - shared_bytes(geometry, next);
    if (next->bytes == 0 || next->file != last->file ||
        next->offset != last->offset + last->bytes || r->n_parts == UMBRA_IO_PARTS || own == 0 ||
        r->bytes + own > UMBRA_MERGED_BYTES)
        return false;
    if (r->n_parts == 0)
        r->parts[r->n_parts++] = (struct iovec){r->buffer, r->bytes};
    char *region = region_of(geometry, next, which, slot);
    r->parts[r->n_parts++] = (struct iovec){region + shared_bytes(geometry, next), own};
    r->bytes += (uint32_t)own;
    r->required = (uint32_t)(next->offset + next->bytes - r->offset);
    return true;
}

void umbra_geometry_share(const umbra_geometry *geometry, const umbra_slice *last,
                          const void *last_slot, const umbra_slice *next, int which, void *slot)
{
    uint32_t shared = shared_bytes(geometry, next);
    const char *end =
        region_of(geometry, last, which, last_slot) + span_bytes(last, geometry->alignment);
    memcpy(region_of(geometry, next, which, slot), end - shared, shared);
}

const void *umbra_geometry_data(const umbra_geometry *geometry, const umbra_slice *slice, int which,
                                const void *slot)
{
    if (slice->bytes == 0)
        return NULL;
    return region_of(geometry, slice, which, slot) +
           (slice->offset - span_begin(slice, geometry->alignment));
}

uint64_t umbra_store_slot_bytes(const umbra_slice *slices, int n_layers, int n_experts,
                                uint32_t alignment)
{
    umbra_geometry geometry;
    umbra_geometry_init(&geometry, slices, n_layers, n_experts, alignment);
    return geometry.slot_bytes;
}

typedef struct survey {
    const umbra_slice *slices;
    uint32_t alignment;
} survey;

static uint64_t surveyed_bytes(const void *user, size_t pair)
{
    const survey *s = user;
    return umbra_geometry_bytes(&s->slices[pair * UMBRA_STORE_SLICES], s->alignment);
}

void umbra_store_plan_slots(umbra_slot_plan *out, const umbra_slice *slices, int n_layers,
                            int n_experts, uint32_t alignment, uint64_t budget_bytes)
{
    const survey s = {slices, alignment};
    umbra_sizes_find(out, (size_t)n_layers * (size_t)n_experts, surveyed_bytes, &s);
    umbra_sizes_divide(out, 0, budget_bytes);
}

/* tmpfs takes the flag since Linux 6.6, but its files are the page cache: nothing to go around. */
static bool is_memory(int fd)
{
    struct statfs st;
    return fstatfs(fd, &st) == 0 && st.f_type == TMPFS_MAGIC;
}

/* What the kernel says O_DIRECT needs: 0 not at all, 1 it does not say. */
static uint32_t reported_alignment(int fd)
{
#ifdef STATX_DIOALIGN
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) != 0 || !(st.stx_mask & STATX_DIOALIGN))
        return 1;
    uint32_t align = st.stx_dio_offset_align > st.stx_dio_mem_align ? st.stx_dio_offset_align
                                                                    : st.stx_dio_mem_align;
    if (st.stx_dio_offset_align == 0 || align > MAX_DIRECT_ALIGN || (align & (align - 1)) != 0)
        return 0;
    return align < MIN_DIRECT_ALIGN ? MIN_DIRECT_ALIGN : align;
#else
    (void)fd;
    return 1;
#endif
}

/* A read of `align` bytes into memory aligned to no more than that, if it is less than a page. */
static bool read_works(int fd, char *page, uint32_t align)
{
    ssize_t n;
    do
        n = pread(fd, page + align % MAX_DIRECT_ALIGN, align, 0);
    while (n < 0 && errno == EINTR);
    return n >= 0;
}

/* Tries reads even where the kernel reports an alignment: layered file systems have been known to
 * promise what the one below does not keep. 0: no O_DIRECT. fd has O_DIRECT set. */
static int direct_alignment(int fd, uint32_t *out, umbra_error *err)
{
    *out = 0;
    uint32_t least = reported_alignment(fd);
    if (least == 0)
        return UMBRA_OK;
    char *pages = umbra_aligned_alloc(MAX_DIRECT_ALIGN, TRIAL_BYTES);
    if (!pages)
        return umbra_fail_nomem(err, "a trial read", TRIAL_BYTES);
    for (uint32_t align = MIN_DIRECT_ALIGN; align <= MAX_DIRECT_ALIGN && *out == 0; align *= 2) {
        if (align >= least && read_works(fd, pages, align))
            *out = align;
    }
    umbra_free(pages);
    return UMBRA_OK;
}

/* Buffered reads: no read-ahead, which would multiply the bytes of reads this scattered. Pages
 * that were read stay in the page cache, marked as not worth keeping, and are not dropped one by
 * one: they are clean, so the kernel takes them back without I/O when a memory limit presses, an
 * expert read again comes from memory while there is some, and POSIX_FADV_DONTNEED after each read
 * costs a call that may interrupt every CPU. */
static void advise_buffered(int fd)
{
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_NOREUSE);
}

int umbra_store_open_file(umbra_io_file *out, uint32_t *alignment, const char *path, bool buffered,
                          umbra_error *err)
{
    *out = (umbra_io_file){.path = path, .fd = -1};
    *alignment = 0;
    int rc = umbra_file_open(&out->fd, path, &out->bytes, err);
    if (rc != UMBRA_OK)
        return rc;
    /* F_SETFL also clears the O_NONBLOCK of opening, with which io_uring would not wait. */
    if (!buffered && !is_memory(out->fd) && fcntl(out->fd, F_SETFL, O_DIRECT) == 0)
        rc = direct_alignment(out->fd, alignment, err);
    if (rc == UMBRA_OK && *alignment == 0) {
        *alignment = 1;
        (void)fcntl(out->fd, F_SETFL, 0);
        advise_buffered(out->fd);
    }
    if (rc != UMBRA_OK) {
        close(out->fd);
        out->fd = -1;
    }
    return rc;
}

int umbra_store_alignment(const char *path, bool buffered, uint32_t *out, umbra_error *err)
{
    umbra_io_file file;
    int rc = umbra_store_open_file(&file, out, path, buffered, err);
    if (rc == UMBRA_OK)
        close(file.fd);
    return rc;
}
