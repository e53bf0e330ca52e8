/* Dicts that keep the order of insertion. */
#include <string.h>

#include "template/value.h"

enum { WITHOUT_INDEX = 8, LEAST_INDEX = 32 };

int umbra_tpl_new_dict(umbra_tpl_context *c, umbra_tpl_kind kind, umbra_tpl_value *out)
{
    umbra_tpl_dict *d = umbra_tpl_alloc(c, 1, sizeof *d);
    if (!d)
        return UMBRA_E_NOMEM;
    *out = (umbra_tpl_value){.kind = (uint8_t)kind, .u.dict = d};
    return UMBRA_OK;
}

/* Compares the hash first, so that unequal keys rarely cost more. */
static int matches(umbra_tpl_context *c, const umbra_tpl_entry *e, umbra_tpl_value key,
                   uint64_t hash, bool *same)
{
    *same = false;
    if (e->key.kind == TPL_ABSENT || e->hash != hash)
        return UMBRA_OK;
    return umbra_tpl_equal(c, e->key, key, same);
}

static int find(umbra_tpl_context *c, const umbra_tpl_dict *d, umbra_tpl_value key, uint64_t hash,
                umbra_tpl_entry **out)
{
    bool same = false;
    int rc = UMBRA_OK;
    *out = NULL;
    if (!d->index) {
        for (size_t i = 0; rc == UMBRA_OK && !same && i < d->used; i++) {
            rc = matches(c, &d->entries[i], key, hash, &same);
            *out = same ? &d->entries[i] : NULL;
        }
        return rc;
    }
    size_t mask = d->index_room - 1;
    for (size_t at = hash & mask; rc == UMBRA_OK && !same && d->index[at]; at = (at + 1) & mask) {
        rc = matches(c, &d->entries[d->index[at] - 1], key, hash, &same);
        *out = same ? &d->entries[d->index[at] - 1] : NULL;
    }
    return rc;
}

int umbra_tpl_dict_find(umbra_tpl_context *c, const umbra_tpl_dict *d, umbra_tpl_value key,
                        umbra_tpl_entry **out)
{
    uint64_t hash;
    int rc = umbra_tpl_hash(c, key, &hash);
    return rc == UMBRA_OK ? find(c, d, key, hash, out) : rc;
}

umbra_tpl_value *umbra_tpl_dict_text(umbra_tpl_context *c, const umbra_tpl_dict *d, const char *key,
                                     size_t bytes)
{
    umbra_tpl_string s = {.data = key, .bytes = bytes};
    umbra_tpl_value v = {.kind = TPL_STRING, .u.string = &s};
    umbra_tpl_entry *e = NULL;
    return umbra_tpl_dict_find(c, d, v, &e) == UMBRA_OK && e ? &e->value : NULL;
}

static void enter(umbra_tpl_dict *d, size_t entry)
{
    size_t mask = d->index_room - 1, at = d->entries[entry].hash & mask;
    while (d->index[at])
        at = (at + 1) & mask;
    d->index[at] = (uint32_t)entry + 1;
}

/* Keeps the index at most half full, counting removed entries. */
static int fit_index(umbra_tpl_context *c, umbra_tpl_dict *d)
{
    if (d->used < WITHOUT_INDEX || 2 * (d->used + 1) <= d->index_room)
        return UMBRA_OK;
    size_t room = d->index_room ? 4 * d->index_room : LEAST_INDEX;
    uint32_t *index = umbra_tpl_alloc(c, room, sizeof *index);
    if (!index)
        return UMBRA_E_NOMEM;
    memset(index, 0, room * sizeof *index);
    d->index = index;
    d->index_room = room;
    for (size_t i = 0; i < d->used; i++)
        enter(d, i);
    return UMBRA_OK;
}

int umbra_tpl_dict_set(umbra_tpl_context *c, umbra_tpl_dict *d, umbra_tpl_value key,
                       umbra_tpl_value value)
{
    uint64_t hash;
    umbra_tpl_entry *e = NULL;
    int rc = umbra_tpl_hash(c, key, &hash);
    if (rc == UMBRA_OK)
        rc = find(c, d, key, hash, &e);
    if (rc == UMBRA_OK && e) {
        e->value = value;
        return UMBRA_OK;
    }
    if (rc == UMBRA_OK)
        rc = fit_index(c, d);
    if (rc != UMBRA_OK)
        return rc;
    if (d->used == d->room) {
        size_t room = d->room ? 2 * d->room : 4;
        e = umbra_tpl_grow(c, d->entries, d->room * sizeof *e, room * sizeof *e);
        if (!e || room > UINT32_MAX / 2)
            return UMBRA_E_NOMEM;
        d->entries = e;
        d->room = room;
    }
    d->entries[d->used] = (umbra_tpl_entry){.key = key, .value = value, .hash = hash};
    if (d->index)
        enter(d, d->used);
    d->used++;
    d->count++;
    return UMBRA_OK;
}

void umbra_tpl_dict_remove(umbra_tpl_dict *d, umbra_tpl_entry *entry)
{
    entry->key.kind = TPL_ABSENT;
    d->count--;
}

umbra_tpl_entry *umbra_tpl_dict_next(const umbra_tpl_dict *d, size_t *at)
{
    while (*at < d->used && d->entries[*at].key.kind == TPL_ABSENT)
        ++*at;
    return *at < d->used ? &d->entries[*at] : NULL;
}
