/* Sequences: forgetting, forking, and to bytes and back.
 *
 * A snapshot, little-endian:
 *    0  char[8]   "UMBRAST" and a zero
 *    8  u32       version, 3
 *   12  u32       tokens
 *   16  u64[2]    identity of the model's weights
 *   32  char[16]  name of the kernels, zero-padded: their bits differ
 *   48  u64       bytes of the states
 *   56            the states (state/snapshot.c)
 *       u64       XXH3 of everything before */
#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/internal.h"

enum { VERSION = 3, SAMPLE_BYTES = 4 << 10 };

static const char magic[8] = "UMBRAST";

typedef struct header {
    char magic[8];
    uint32_t version;
    uint32_t tokens;
    uint64_t identity[2];
    char kernels[16];
    uint64_t state_bytes;
} header;

int umbra_engine_length(const umbra_engine *e, int sequence)
{
    return umbra_state_length(e->state, sequence);
}

int umbra_engine_truncate(umbra_engine *e, int sequence, int length)
{
    const umbra_call call = {.kind = UMBRA_CALL_TRUNCATE, .sequence = sequence, .n = length};
    /* If the others cannot be reached, the next step says so. */
    (void)umbra_lead(e, &call, NULL, NULL);
    return umbra_state_truncate(e->state, sequence, length);
}

static int check_sequence(const umbra_engine *e, int sequence, umbra_error *err)
{
    if (sequence >= 0 && sequence < e->sequences)
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_ARGUMENT, "sequence %d is not one of 0..%d", sequence,
                      e->sequences - 1);
}

int umbra_engine_fork(umbra_engine *e, int from, int to, umbra_error *err)
{
    const umbra_call call = {.kind = UMBRA_CALL_FORK, .sequence = from, .n = to};
    int rc = check_sequence(e, from, err);
    if (rc == UMBRA_OK)
        rc = check_sequence(e, to, err);
    if (rc == UMBRA_OK)
        rc = umbra_lead(e, &call, NULL, err);
    if (rc == UMBRA_OK)
        umbra_state_fork(e->state, from, to);
    return rc;
}

/* ---- identity ---- */

/* Experts stay on disk, so of them the types and places, and the beginning of each tensor. */
static int add_experts(const umbra_model *model, XXH3_state_t *state, umbra_error *err)
{
    char sample[SAMPLE_BYTES];
    for (int l = 0; l < model->config.layers; l++) {
        for (int i = 0; i < UMBRA_STORE_SLICES; i++) {
            const umbra_gguf_tensor *t = model->layers[l].experts[i].tensor;
            if (!t)
                continue;
            uint64_t about[] = {t->dtype, t->bytes, (uint64_t)l, (uint64_t)i};
            uint64_t n = t->bytes < sizeof sample ? t->bytes : sizeof sample;
            int rc = umbra_gguf_read_tensor(model->gguf, t, 0, sample, n, err);
            if (rc != UMBRA_OK)
                return rc;
            XXH3_128bits_update(state, about, sizeof about);
            XXH3_128bits_update(state, sample, n);
        }
    }
    return UMBRA_OK;
}

/* What the states depend on: all dense weights, and what names the experts. */
int umbra_engine_identify(umbra_engine *e, umbra_error *err)
{
    if (e->has_identity)
        return UMBRA_OK;
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return umbra_fail_nomem(err, "the identity of the model", sizeof e->identity);
    uint64_t dense = umbra_weights_hash(&e->weights, &e->device);
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, &dense, sizeof dense);
    int rc = add_experts(e->model, state, err);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    e->identity[0] = hash.low64;
    e->identity[1] = hash.high64;
    e->has_identity = rc == UMBRA_OK;
    return rc;
}

static void fill_header(const umbra_engine *e, int length, header *h)
{
    *h = (header){.version = VERSION, .tokens = (uint32_t)length};
    memcpy(h->magic, magic, sizeof magic);
    memcpy(h->identity, e->identity, sizeof h->identity);
    strncpy(h->kernels, e->device.kernels->name, sizeof h->kernels - 1);
    h->state_bytes = umbra_state_save_bytes(e->state, length);
}

/* ---- to bytes and back ---- */

uint64_t umbra_engine_snapshot_bytes(const umbra_engine *e, int length)
{
    return sizeof(header) + umbra_state_save_bytes(e->state, length) + sizeof(uint64_t);
}

int umbra_engine_snapshot(umbra_engine *e, int sequence, void *out, uint64_t room, umbra_error *err)
{
    int rc = check_sequence(e, sequence, err);
    if (rc == UMBRA_OK)
        rc = umbra_engine_identify(e, err);
    if (rc != UMBRA_OK)
        return rc;
    int length = umbra_state_length(e->state, sequence);
    uint64_t bytes = umbra_engine_snapshot_bytes(e, length);
    if (room < bytes)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "a snapshot of %d tokens takes %" PRIu64 " bytes, there are %" PRIu64,
                          length, bytes, room);
    header h;
    fill_header(e, length, &h);
    char *at = out;
    memcpy(at, &h, sizeof h);
    umbra_state_save(e->state, sequence, at + sizeof h);
    uint64_t sum = XXH3_64bits(out, bytes - sizeof sum);
    memcpy(at + bytes - sizeof sum, &sum, sizeof sum);
    return UMBRA_OK;
}

static int check_header(const umbra_engine *e, const header *h, uint64_t bytes, umbra_error *err)
{
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return umbra_fail(err, UMBRA_E_FORMAT, "this is no snapshot of a sequence");
    if (h->version != VERSION)
        return umbra_fail(err, UMBRA_E_FORMAT, "the snapshot has version %" PRIu32 ", not %d",
                          h->version, VERSION);
    if (h->tokens > (uint32_t)e->plan.context)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "the snapshot holds %" PRIu32 " tokens, the context %d positions",
                          h->tokens, e->plan.context);
    header own;
    fill_header(e, (int)h->tokens, &own);
    if (memcmp(h->identity, own.identity, sizeof own.identity) != 0)
        return umbra_fail(err, UMBRA_E_MISMATCH,
                          "the snapshot is of a model with other weights (%016" PRIx64
                          ", this one is %016" PRIx64 ")",
                          h->identity[0], own.identity[0]);
    if (memcmp(h->kernels, own.kernels, sizeof own.kernels) != 0)
        return umbra_fail(err, UMBRA_E_MISMATCH,
                          "the snapshot was made with %.15s kernels, here are %.15s ones, which "
                          "round otherwise",
                          h->kernels, own.kernels);
    if (h->state_bytes != own.state_bytes || bytes != sizeof own + own.state_bytes + 8)
        return umbra_fail(err, UMBRA_E_FORMAT, "the snapshot has %" PRIu64 " bytes, not %" PRIu64,
                          bytes, (uint64_t)(sizeof own + own.state_bytes + 8));
    return UMBRA_OK;
}

void umbra_snapshot_load(umbra_engine *e, int sequence, const void *in)
{
    header h;
    memcpy(&h, in, sizeof h);
    umbra_state_load(e->state, sequence, (int)h.tokens, (const char *)in + sizeof h);
}

int umbra_engine_restore(umbra_engine *e, int sequence, const void *in, uint64_t bytes,
                         umbra_error *err)
{
    header h;
    uint64_t sum;
    int rc = check_sequence(e, sequence, err);
    if (rc == UMBRA_OK && bytes < sizeof h + sizeof sum)
        rc = umbra_fail(err, UMBRA_E_FORMAT, "a snapshot has at least %zu bytes, this has %" PRIu64,
                        sizeof h + sizeof sum, bytes);
    if (rc == UMBRA_OK)
        rc = umbra_engine_identify(e, err);
    if (rc != UMBRA_OK)
        return rc;
    memcpy(&h, in, sizeof h);
    rc = check_header(e, &h, bytes, err);
    if (rc != UMBRA_OK)
        return rc;
    memcpy(&sum, (const char *)in + bytes - sizeof sum, sizeof sum);
    if (sum != XXH3_64bits(in, bytes - sizeof sum))
        return umbra_fail(err, UMBRA_E_CORRUPT, "the snapshot is damaged: its checksum is wrong");
    const umbra_call call = {.kind = UMBRA_CALL_RESTORE, .sequence = sequence, .bytes = bytes};
    rc = umbra_lead(e, &call, in, err);
    if (rc == UMBRA_OK)
        umbra_snapshot_load(e, sequence, in);
    return rc;
}
