/* The file beside the states that says which experts the cache held. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "schedule/states_internal.h"
#include "store/refill.h"

static const char magic[8] = "UMBRAEX";
enum { VERSION = 1, MOST_EXPERTS = 1 << 24 };

static void name_of(const umbra_states *s, char out[UMBRA_STATE_NAME])
{
    snprintf(out, UMBRA_STATE_NAME, "%.32s" UMBRA_EXPERTS_SUFFIX, s->model);
}

static uint64_t hash_of(const umbra_experts_header *h, const umbra_cached_expert *experts)
{
    uint64_t seed = XXH3_64bits(h, offsetof(umbra_experts_header, hash));
    return XXH3_64bits_withSeed(experts, h->experts * sizeof *experts, seed);
}

/* ---- writing ---- */

/* Makes room and writes; a file that does not fit is none. */
static void write_experts(umbra_states *s, const umbra_experts_header *h, uint64_t bytes)
{
    umbra_state_entry e = {.bytes = bytes, .experts = true};
    umbra_error err = {0};
    name_of(s, e.name);
    pthread_mutex_lock(&s->mutex);
    bool room = umbra_state_make_room(s, bytes);
    pthread_mutex_unlock(&s->mutex);
    if (!room)
        return;
    if (umbra_state_write(s, e.name, h, bytes, &err) == UMBRA_OK) {
        pthread_mutex_lock(&s->mutex);
        umbra_state_replace(s, &e);
        pthread_mutex_unlock(&s->mutex);
    } else if (s->o.warn) {
        s->o.warn(s->o.user, err.message);
    }
}

bool umbra_states_save_experts(umbra_states *s, umbra_engine *engine, bool wait)
{
    if (!umbra_state_await_writer(s, wait)) /* both could be given the same room */
        return false;

    const umbra_store *store = umbra_engine_store(engine);
    int room = umbra_store_count_cached(store);
    umbra_cached_expert *experts;
    umbra_experts_header *h = umbra_calloc(1, sizeof *h + (size_t)room * sizeof *experts);
    if (h && room > 0) {
        experts = (umbra_cached_expert *)(void *)(h + 1);
        memcpy(h->magic, magic, sizeof magic);
        memcpy(h->model, s->model, sizeof h->model);
        h->version = VERSION;
        h->experts = (uint32_t)umbra_store_list_cached(store, experts, room);
        h->hash = hash_of(h, experts);
        write_experts(s, h, sizeof *h + h->experts * sizeof *experts);
    }
    umbra_free(h);
    return true;
}

/* ---- reading ---- */

static int damaged(const char *path, umbra_error *err)
{
    return umbra_fail(err, UMBRA_E_CORRUPT, "%s: is damaged, and is not used", path);
}

/* *out: the experts (*n), to be freed. */
static int read_experts(const umbra_states *s, int fd, const char *path, uint64_t bytes,
                        umbra_cached_expert **out, int *n, umbra_error *err)
{
    umbra_experts_header h;
    if (bytes < sizeof h)
        return damaged(path, err);
    int rc = umbra_file_read(fd, path, &h, sizeof h, 0, err);
    if (rc != UMBRA_OK)
        return rc;
    if (memcmp(h.magic, magic, sizeof magic) != 0 || h.version != VERSION ||
        memcmp(h.model, s->model, sizeof h.model) != 0 || h.experts > MOST_EXPERTS ||
        bytes - sizeof h != h.experts * sizeof **out)
        return damaged(path, err);
    *out = umbra_calloc(h.experts, sizeof **out);
    if (!*out)
        return umbra_fail_nomem(err, "the experts of a cache", bytes);
    rc = umbra_file_read(fd, path, *out, h.experts * sizeof **out, sizeof h, err);
    if (rc == UMBRA_OK && h.hash != hash_of(&h, *out))
        rc = damaged(path, err);
    *n = (int)h.experts;
    return rc;
}

/* With ranks, those of this one alone are of use. */
static int keep_own(const umbra_engine *engine, umbra_cached_expert *experts, int n)
{
    const umbra_model_info *info = umbra_model_get_info(umbra_engine_model(engine));
    int own = 0;
    for (int i = 0; i < n; i++) {
        const umbra_cached_expert *e = &experts[i];
        if (e->layer >= 0 && e->layer < info->layers && e->expert >= 0 &&
            e->expert < info->experts && umbra_engine_owns(engine, e->layer, e->expert))
            experts[own++] = *e;
    }
    return own;
}

/* A file that is damaged goes. */
static void drop(umbra_states *s, const char *name)
{
    pthread_mutex_lock(&s->mutex);
    umbra_state_remove_named(s, name);
    pthread_mutex_unlock(&s->mutex);
}

uint64_t umbra_states_refill(umbra_states *s, umbra_engine *engine)
{
    char name[UMBRA_STATE_NAME];
    umbra_cached_expert *experts = NULL;
    umbra_error err = {0};
    uint64_t size;
    int fd, n = 0;
    if (s->refilled)
        return s->refill_bytes;
    s->refilled = true;
    name_of(s, name);
    char *path = umbra_state_path(s, name);
    if (path && umbra_file_open(&fd, path, &size, NULL) == UMBRA_OK) {
        int rc = read_experts(s, fd, path, size, &experts, &n, &err);
        close(fd);
        if (rc == UMBRA_OK)
            rc = umbra_store_plan_refill(umbra_engine_store(engine), experts,
                                         keep_own(engine, experts, n), &s->refill_bytes, &err);
        if (rc != UMBRA_OK && s->o.warn)
            s->o.warn(s->o.user, err.message);
        if (rc == UMBRA_E_CORRUPT)
            drop(s, name);
    }
    umbra_free(path);
    umbra_free(experts);
    return s->refill_bytes;
}
