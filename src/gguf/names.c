/* Finding names, and showing them. */
#include <stdio.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "gguf/internal.h"

umbra_string umbra_gguf_name(const umbra_gguf *gguf, umbra_gguf_table table, uint64_t i)
{
    if (table == UMBRA_GGUF_PAIRS)
        return (umbra_string){gguf->data + gguf->pairs[i].key_at, gguf->pairs[i].key_bytes};
    const umbra_gguf_entry *entry = &gguf->entries[i];
    return (umbra_string){gguf->data + entry->name_at, entry->tensor.name.bytes};
}

/* FNV-1a with a last mix, since the slots use the low bits. Seeded at random, so that no file can
 * be made whose names all fall into one slot. */
static uint64_t hash(uint64_t seed, umbra_string name)
{
    uint64_t h = seed ^ 0xcbf29ce484222325u;
    for (size_t i = 0; i < name.bytes; i++)
        h = (h ^ (unsigned char)name.data[i]) * 0x100000001b3u;
    h = (h ^ h >> 32) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static bool equal(umbra_string a, umbra_string b)
{
    return a.bytes == b.bytes && memcmp(a.data, b.data, a.bytes) == 0;
}

/* The slot that holds the name, or the free one where it belongs. */
static uint32_t probe(const umbra_gguf *gguf, umbra_gguf_table table, umbra_string name)
{
    const umbra_gguf_index *index = &gguf->index[table];
    uint32_t mask = index->slot_count - 1;
    uint32_t slot = (uint32_t)hash(gguf->hash_seed, name) & mask;
    while (index->slots[slot] != 0 &&
           !equal(umbra_gguf_name(gguf, table, index->slots[slot] - 1), name))
        slot = (slot + 1) & mask;
    return slot;
}

int umbra_gguf_index_build(umbra_gguf *gguf, umbra_gguf_table table, uint64_t *second,
                           uint64_t *first)
{
    umbra_gguf_index *index = &gguf->index[table];
    uint64_t count = table == UMBRA_GGUF_PAIRS ? gguf->pair_count : gguf->tensor_count;
    uint32_t slot_count = 2;
    while (slot_count < 2 * count)
        slot_count *= 2;
    index->slots = umbra_calloc(slot_count, sizeof *index->slots);
    if (!index->slots)
        return UMBRA_E_NOMEM;
    index->slot_count = slot_count;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t slot = probe(gguf, table, umbra_gguf_name(gguf, table, i));
        if (index->slots[slot] != 0) {
            *first = index->slots[slot] - 1;
            *second = i;
            return UMBRA_E_FORMAT;
        }
        index->slots[slot] = (uint32_t)(i + 1);
    }
    return UMBRA_OK;
}

bool umbra_gguf_index_find(const umbra_gguf *gguf, umbra_gguf_table table, umbra_string name,
                           uint64_t *out)
{
    uint32_t held = gguf->index[table].slots[probe(gguf, table, name)];
    if (held == 0)
        return false;
    *out = held - 1;
    return true;
}
