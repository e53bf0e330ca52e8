/* Hands each rank's document to all. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/ranks.h"
#include "lab/collect/documents.h"

/* What is said of a text before its tokens come. */
typedef struct head {
    int32_t status, tokens, generated;
    char id[UMBRA_DOCUMENT_ID_CHARS];
} head;

static int make_room(umbra_document_text *text, int tokens, umbra_error *err)
{
    if (tokens <= text->room)
        return UMBRA_OK;
    int32_t *larger = umbra_reallocarray(text->tokens, (size_t)tokens, sizeof *larger);
    if (!larger)
        return umbra_fail_nomem(err, "a document", (uint64_t)tokens * sizeof *larger);
    text->tokens = larger;
    text->room = tokens;
    return UMBRA_OK;
}

/* The tokens of all, one rank's after the other's. */
static int gather_tokens(const umbra_ranks *r, const umbra_document_text *own, const head *heads,
                         int *first, int *n, int32_t *tokens, umbra_error *err)
{
    for (int i = 0, at = 0; i < r->count; i++) {
        first[i] = at;
        n[i] = heads[i].tokens;
        at += n[i];
    }
    if (n[r->rank] > 0)
        memcpy(tokens + first[r->rank], own->tokens, (size_t)n[r->rank] * sizeof *tokens);
    return r->gather(r->user, (float *)(void *)tokens, first, n, err);
}

static int take(const umbra_ranks *r, const head *heads, const int *first, const int32_t *tokens,
                umbra_document_text *all, umbra_error *err)
{
    int rc = UMBRA_OK;
    for (int i = 0; rc == UMBRA_OK && i < r->count; i++) {
        rc = make_room(&all[i], heads[i].tokens, err);
        if (rc != UMBRA_OK)
            break;
        all[i].count = heads[i].tokens;
        all[i].generated = heads[i].generated != 0;
        memcpy(all[i].id, heads[i].id, sizeof all[i].id);
        if (all[i].count > 0)
            memcpy(all[i].tokens, tokens + first[i], (size_t)all[i].count * sizeof *tokens);
    }
    return rc;
}

int umbra_documents_exchange(const umbra_ranks *r, const umbra_document_text *own, int status,
                             umbra_document_text *all, umbra_error *err)
{
    size_t count = (size_t)r->count, total = 0;
    head *heads = umbra_calloc(count, sizeof *heads);
    int *first = umbra_calloc(2 * count, sizeof *first);
    int32_t *tokens = NULL;
    int rc = heads && first ? UMBRA_OK : umbra_fail_nomem(err, "the documents of all ranks", 0);
    if (rc == UMBRA_OK) {
        head *h = &heads[r->rank];
        *h = (head){status, status == UMBRA_OK ? own->count : 0, own->generated, ""};
        memcpy(h->id, own->id, sizeof h->id);
        rc = umbra_ranks_gather(r, heads, sizeof *heads, err);
    }
    bool failed = false;
    for (size_t i = 0; rc == UMBRA_OK && i < count; i++) {
        failed |= heads[i].status != UMBRA_OK;
        total += (size_t)heads[i].tokens;
    }
    if (rc == UMBRA_OK && failed) {
        rc = umbra_ranks_agree(r, status, err);
    } else if (rc == UMBRA_OK) {
        tokens = umbra_calloc(total + 1, sizeof *tokens);
        rc = umbra_ranks_agree(
            r, tokens ? UMBRA_OK : umbra_fail_nomem(err, "the documents of all ranks", total), err);
        if (rc == UMBRA_OK)
            rc = gather_tokens(r, own, heads, first, first + count, tokens, err);
        if (rc == UMBRA_OK)
            rc = umbra_ranks_agree(r, take(r, heads, first, tokens, all, err), err);
    }
    umbra_free(tokens);
    umbra_free(first);
    umbra_free(heads);
    return rc;
}
