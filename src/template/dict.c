/* Dicts that keep the order of insertion. */
#include <string.h>

#include "template/value.h"

enum { WITHOUT_INDEX = 8, LEAST_INDEX = 32 };

int tpl_new_dict(tpl_context *c, tpl_kind kind, tpl_value *out)
{
    tpl_dict *d = tpl_alloc(c, 1, sizeof *d);
    if (!d)
        return UMBRA_E_NOMEM;
    *out = (tpl_value){.kind = (uint8_t)kind, .u.dict = d};
    return UMBRA_OK;
}

/* Compares the hash first, so that unequal keys rarely cost more. */
static int matches(tpl_context *c, const tpl_entry *e, tpl_value key, uint64_t hash, bool *same)
{
    *same = false;
    if (e->key.kind == TPL_ABSENT || e->hash != hash)
        return UMBRA_OK;
    return tpl_equal(c, e->key, key, same);
}

static int find(tpl_context *c, const tpl_dict *d, tpl_value key, uint64_t hash, tpl_entry **out)
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

int tpl_dict_find(tpl_context *c, const tpl_dict *d, tpl_value key, tpl_entry **out)
{
    uint64_t hash;
    int rc = tpl_hash(c, key, &hash);
    return rc == UMBRA_OK ? find(c, d, key, hash, out) : rc;
}

tpl_value *tpl_dict_text(tpl_context *c, const tpl_dict *d, const char *key, size_t bytes)
{
    tpl_string s = {.data = key, .bytes = bytes};
    tpl_value v = {.kind = TPL_STRING, .u.string = &s};
    tpl_entry *e = NULL;
    return tpl_dict_find(c, d, v, &e) == UMBRA_OK && e ? &e->value : NULL;
}

static void enter(tpl_dict *d, size_t entry)
{
    size_t mask = d->index_room - 1, at = d->entries[entry].hash & mask;
    while (d->index[at])
        at = (at + 1) & mask;
    d->index[at] = (uint32_t)entry + 1;
}

/* Keeps the index at most half full, counting removed entries. */
static int fit_index(tpl_context *c, tpl_dict *d)
{
    if (d->used < WITHOUT_INDEX || 2 * (d->used + 1) <= d->index_room)
        return UMBRA_OK;
    size_t room = d->index_room ? 4 * d->index_room : LEAST_INDEX;
    uint32_t *index = tpl_alloc(c, room, sizeof *index);
    if (!index)
        return UMBRA_E_NOMEM;
    memset(index, 0, room * sizeof *index);
    d->index = index;
    d->index_room = room;
    for (size_t i = 0; i < d->used; i++)
        enter(d, i);
    return UMBRA_OK;
}

int tpl_dict_set(tpl_context *c, tpl_dict *d, tpl_value key, tpl_value value)
{
    uint64_t hash;
    tpl_entry *e = NULL;
    int rc = tpl_hash(c, key, &hash);
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
        e = tpl_grow(c, d->entries, d->room * sizeof *e, room * sizeof *e);
        if (!e || room > UINT32_MAX / 2)
            return UMBRA_E_NOMEM;
        d->entries = e;
        d->room = room;
    }
    d->entries[d->used] = (tpl_entry){.key = key, .value = value, .hash = hash};
    if (d->index)
        enter(d, d->used);
    d->used++;
    d->count++;
    return UMBRA_OK;
}

void tpl_dict_remove(tpl_dict *d, tpl_entry *entry)
{
    entry->key.kind = TPL_ABSENT;
    d->count--;
}

tpl_entry *tpl_dict_next(const tpl_dict *d, size_t *at)
{
    while (*at < d->used && d->entries[*at].key.kind == TPL_ABSENT)
        ++*at;
    return *at < d->used ? &d->entries[*at] : NULL;
}
