/* The merges of byte pairs: from two neighbours to the rank of their merge. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/quote.h"
#include "tokenizer/internal.h"

static uint32_t first_slot(const umbra_merges *m, uint32_t left, uint32_t right)
{
    uint64_t key = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    key = (key ^ key >> 32) * 0xd6e8feb86659fd93u;
    return (uint32_t)((key >> 32) * m->capacity >> 32);
}

uint32_t umbra_merges_find(const umbra_merges *m, uint32_t left, uint32_t right)
{
    for (uint32_t i = first_slot(m, left, right);; i = i + 1 == m->capacity ? 0 : i + 1) {
        const umbra_merge *s = &m->slots[i];
        if (s->rank == UMBRA_NO_MERGE || (s->left == left && s->right == right))
            return s->rank;
    }
}

static const char *const collides = "is one of many made to collide";

/* NULL: put in; otherwise why not. */
static const char *insert(umbra_merges *m, uint32_t left, uint32_t right, uint32_t rank)
{
    uint32_t i = first_slot(m, left, right);
    for (int probe = 0; probe < UMBRA_TOKENIZER_PROBES_MAX; probe++) {
        umbra_merge *s = &m->slots[i];
        if (s->rank == UMBRA_NO_MERGE) {
            *s = (umbra_merge){.left = left, .right = right, .rank = rank};
            return NULL;
        }
        if (s->left == left && s->right == right)
            return "is listed twice";
        i = i + 1 == m->capacity ? 0 : i + 1;
    }
    return collides;
}

/* Resolves the text "A B" of a merge and puts it in. NULL, or what is wrong with it. */
static const char *add_merge(umbra_merges *m, const umbra_vocabulary *v,
                             const umbra_token_index *index, umbra_string text, uint32_t rank)
{
    const char *space = text.bytes < 3 ? NULL : memchr(text.data + 1, ' ', text.bytes - 2);
    if (!space)
        return "is not two texts with a space between them";
    umbra_string a = {text.data, (size_t)(space - text.data)};
    umbra_string b = {space + 1, text.bytes - a.bytes - 1};
    umbra_string none = {"", 0};
    int32_t left = umbra_token_index_find(index, v, a, none);
    int32_t right = umbra_token_index_find(index, v, b, none);
    int32_t merged = umbra_token_index_find(index, v, a, b);
    if (left < 0 || right < 0)
        return "names a text that is no token";
    if (merged < 0)
        return "makes a text that is no token";
    /* Else plain text could turn into control tokens. */
    if (!umbra_token_is_text(v, merged))
        return "makes a control token";
    m->merged[rank] = (uint32_t)merged;
    return insert(m, (uint32_t)left, (uint32_t)right, rank);
}

/* Merges that are left out: how many, and the first. */
typedef struct skipped_merges {
    uint32_t count, rank;
    umbra_string text;
    const char *reason;
} skipped_merges;

int umbra_merges_init(umbra_merges *m, const umbra_vocabulary *v, const umbra_token_index *index,
                      const umbra_gguf *gguf, umbra_notes *notes, umbra_error *err)
{
    skipped_merges skipped = {0};
    const char *path = umbra_gguf_path(gguf);
    umbra_gguf_array a;
    int rc = umbra_gguf_get_array(gguf, "tokenizer.ggml.merges", UMBRA_GGUF_STRING, &a, err);
    if (rc < 0)
        return rc;
    if (rc == 0 || a.count > INT32_MAX / 2)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: tokenizer.ggml.merges is %s", path,
                          rc == 0 ? "missing" : "too long");
    m->n = (uint32_t)a.count;
    m->capacity = m->n + m->n / 2 + 1; /* never full, so that a look-up always ends */
    m->merged = umbra_calloc(m->n, sizeof *m->merged);
    m->slots = umbra_reallocarray(NULL, m->capacity, sizeof *m->slots);
    if (!m->merged || !m->slots)
        return umbra_fail_nomem(err, "the merges",
                                m->n * sizeof *m->merged + m->capacity * sizeof *m->slots);
    for (uint32_t i = 0; i < m->capacity; i++)
        m->slots[i].rank = UMBRA_NO_MERGE;
    for (uint32_t rank = 0; rank < m->n; rank++) {
        uint64_t at = a.offset;
        umbra_string text = {"", 0};
        (void)umbra_gguf_next_string(&a, &text);
        const char *wrong = add_merge(m, v, index, text, rank);
        if (wrong == collides)
            return umbra_fail_at(err, UMBRA_E_FORMAT, at, "%s: merge %u \"%s\" %s", path, rank,
                                 umbra_quote(text.data, text.bytes).text, wrong);
        if (wrong && skipped.count++ == 0) {
            skipped.rank = rank;
            skipped.text = text;
            skipped.reason = wrong;
        }
    }
    if (skipped.count > 0)
        umbra_note(notes,
                   "merges that cannot happen are left out: %u (the first: merge %u \"%s\" %s)",
                   skipped.count, skipped.rank,
                   umbra_quote(skipped.text.data, skipped.text.bytes).text, skipped.reason);
    return UMBRA_OK;
}

void umbra_merges_release(umbra_merges *m)
{
    umbra_free(m->slots);
    umbra_free(m->merged);
    *m = (umbra_merges){0};
}
