/* The file of a state: its name, its beginning, its marks. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/memory.h"
#include "schedule/states_internal.h"

static const char magic[8] = "UMBRASQ";
enum { VERSION = 1 };

bool umbra_state_mark(umbra_state_entry *e, const int32_t *tokens, int n)
{
    XXH3_state_t *state = XXH3_createState();
    e->tokens = n;
    e->marks = umbra_calloc((size_t)(n / UMBRA_STATE_MARK), sizeof *e->marks);
    if (!state || !e->marks) {
        XXH3_freeState(state);
        return false;
    }
    XXH3_64bits_reset(state);
    for (int i = 0; i < n / UMBRA_STATE_MARK; i++) {
        XXH3_64bits_update(state, tokens + (ptrdiff_t)i * UMBRA_STATE_MARK,
                           UMBRA_STATE_MARK * sizeof *tokens);
        e->marks[i] = XXH3_64bits_digest(state);
    }
    e->whole = XXH3_64bits(tokens, (size_t)n * sizeof *tokens);
    XXH3_freeState(state);
    return true;
}

void umbra_state_name(const umbra_states *s, const int32_t *tokens, int n,
                      char out[UMBRA_STATE_NAME])
{
    uint64_t seed =
        XXH3_64bits(s->model, strlen(s->model)) ^ XXH3_64bits(s->kernels, strlen(s->kernels));
    XXH128_hash_t h = XXH3_128bits_withSeed(tokens, (size_t)n * sizeof *tokens, seed);
    snprintf(out, UMBRA_STATE_NAME, "%016" PRIx64 "%016" PRIx64 UMBRA_STATE_SUFFIX, h.high64,
             h.low64);
}

uint64_t umbra_state_head_bytes(int n)
{
    return sizeof(umbra_state_header) + (uint64_t)n * sizeof(int32_t);
}

static uint64_t hash_of(const umbra_state_header *h, const int32_t *tokens)
{
    uint64_t seed = XXH3_64bits(h, offsetof(umbra_state_header, hash));
    return XXH3_64bits_withSeed(tokens, h->tokens * sizeof *tokens, seed);
}

void umbra_state_fill(const umbra_states *s, char *file, const int32_t *tokens, int n,
                      uint64_t snapshot_bytes)
{
    umbra_state_header h = {
        .version = VERSION, .tokens = (uint32_t)n, .snapshot_bytes = snapshot_bytes};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.model, s->model, sizeof h.model);
    memcpy(h.kernels, s->kernels, sizeof h.kernels);
    h.hash = hash_of(&h, tokens);
    memcpy(file, &h, sizeof h);
    memcpy(file + sizeof h, tokens, (size_t)n * sizeof *tokens);
}

bool umbra_state_check(const umbra_state_header *h, const int32_t *tokens, uint64_t bytes)
{
    if (memcmp(h->magic, magic, sizeof magic) != 0 || h->version != VERSION ||
        h->tokens > INT32_MAX / 8)
        return false;
    uint64_t head = umbra_state_head_bytes((int)h->tokens);
    if (bytes < head || bytes - head != h->snapshot_bytes)
        return false;
    return !tokens || h->hash == hash_of(h, tokens);
}

char *umbra_state_path(const umbra_states *s, const char *name)
{
    size_t room = strlen(s->folder) + strlen(name) + 2;
    char *path = umbra_calloc(room, 1);
    if (path)
        snprintf(path, room, "%s/%s", s->folder, name);
    return path;
}
