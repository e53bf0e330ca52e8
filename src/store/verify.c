/* Verification: what arrived in a slot is held against a checksum of what the file holds, read the
 * first time through a descriptor and a buffer of its own. It finds torn and misplaced reads, and
 * disks that give different answers. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "store/store_internal.h"

struct umbra_verifier {
    int *fd;        /* (n_files) without O_DIRECT */
    uint64_t *sums; /* (n_layers, n_experts, UMBRA_STORE_SLICES); 0: not known yet */
    void *buffer;   /* the largest slice */
};

static uint64_t checksum(const void *data, uint64_t bytes)
{
    uint64_t sum = XXH3_64bits(data, bytes);
    return sum != 0 ? sum : 1;
}

int umbra_verifier_open(umbra_store *s, umbra_error *err)
{
    umbra_verifier *v = umbra_calloc(1, sizeof *v);
    size_t n = (size_t)s->fixed.n_layers * (size_t)s->fixed.n_experts * UMBRA_STORE_SLICES;
    uint64_t largest = 1;
    s->fixed.verifier = v;
    if (!v)
        return umbra_fail_nomem(err, "the checksums", sizeof *v);
    for (size_t i = 0; i < n; i++)
        largest = s->fixed.slices[i].bytes > largest ? s->fixed.slices[i].bytes : largest;
    v->sums = umbra_calloc(n, sizeof *v->sums);
    v->buffer = umbra_calloc(largest, 1);
    v->fd = umbra_calloc((size_t)s->fixed.n_files, sizeof *v->fd);
    for (int i = 0; v->fd && i < s->fixed.n_files; i++)
        v->fd[i] = -1;
    if (!v->sums || !v->buffer || !v->fd)
        return umbra_fail_nomem(err, "the checksums", n * sizeof *v->sums);
    int rc = UMBRA_OK;
    for (int i = 0; rc == UMBRA_OK && i < s->fixed.n_files; i++) {
        uint64_t bytes;
        rc = umbra_file_open(&v->fd[i], s->fixed.files[i].path, &bytes, err);
    }
    return rc;
}

void umbra_verifier_close(umbra_store *s)
{
    umbra_verifier *v = s->fixed.verifier;
    if (!v)
        return;
    for (int i = 0; v->fd && i < s->fixed.n_files; i++)
        if (v->fd[i] >= 0)
            close(v->fd[i]);
    umbra_free(v->fd);
    umbra_free(v->sums);
    umbra_free(v->buffer);
    umbra_free(v);
    s->fixed.verifier = NULL;
}

/* The checksum that a slice must have; 0 if the file cannot be read, which is no proof against what
 * arrived. */
static uint64_t expected(umbra_store *s, const umbra_slice *slice, uint64_t *sum)
{
    umbra_verifier *v = s->fixed.verifier;
    if (*sum == 0 && umbra_file_read(v->fd[slice->file], s->fixed.files[slice->file].path,
                                     v->buffer, slice->bytes, slice->offset, NULL) == UMBRA_OK)
        *sum = checksum(v->buffer, slice->bytes);
    return *sum;
}

int umbra_verifier_check(umbra_store *s, int32_t slot)
{
    const umbra_slot *owner = &s->guarded.slots.slot[slot];
    if (s->driver.reads[slot].failed)
        return -1;
    const umbra_slice *slices = umbra_store_slices(s, owner->layer, owner->expert);
    uint64_t *sums = s->fixed.verifier->sums + (slices - s->fixed.slices);
    for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
        const umbra_slice *slice = &slices[which];
        if (slice->bytes == 0)
            continue;
        const void *data = umbra_store_data(s, slice, which, umbra_store_slot(s, slot));
        uint64_t sum = expected(s, slice, &sums[which]);
        if (sum != 0 && checksum(data, slice->bytes) != sum)
            return which;
    }
    return -1;
}
