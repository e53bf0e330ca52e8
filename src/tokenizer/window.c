/* Merges neighbours within a window of text: best pair first, leftmost first among equals. */
#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/window.h"

static void sift_down(umbra_window *w, size_t i)
{
    uint64_t key = w->heap[i];
    for (size_t child; (child = 2 * i + 1) < w->n_heap; i = child) {
        if (child + 1 < w->n_heap && w->heap[child + 1] < w->heap[child])
            child++;
        if (w->heap[child] >= key)
            break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = key;
}

static void heap_push(umbra_window *w, uint64_t key)
{
    size_t i = w->n_heap++;
    for (; i > 0 && w->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = key;
}

static uint64_t heap_pop(umbra_window *w)
{
    uint64_t key = w->heap[0];
    w->heap[0] = w->heap[--w->n_heap];
    sift_down(w, 0);
    return key;
}

uint32_t umbra_window_find(const umbra_tokenizer *t, const char *text, size_t bytes)
{
    const umbra_vocabulary *v = &t->vocabulary;
    if (bytes > v->longest)
        return UMBRA_NO_TOKEN;
    int32_t id =
        umbra_token_index_find(&t->index, v, (umbra_string){text, bytes}, (umbra_string){"", 0});
    bool usable =
        id >= 0 && (v->kind == UMBRA_SENTENCE_PIECES ? v->tokens[id].type == UMBRA_TOKEN_NORMAL
                                                     : umbra_token_is_text(v, id));
    return usable ? (uint32_t)id : UMBRA_NO_TOKEN;
}

/* Looks up the merge of symbol i with the next one; true if there is one. */
static bool rank_pair(umbra_window *w, uint32_t i, uint32_t n)
{
    umbra_symbol *s = &w->symbols[i];
    s->rank = UMBRA_NO_MERGE;
    if (s->next == n)
        return false;
    const umbra_symbol *next = &w->symbols[s->next];
    if (w->tokenizer->vocabulary.kind != UMBRA_SENTENCE_PIECES) {
        s->rank = umbra_merges_find(&w->tokenizer->merges, s->id, next->id);
        if (s->rank != UMBRA_NO_MERGE)
            s->merged = w->tokenizer->merges.merged[s->rank];
    } else {
        s->merged = umbra_window_find(w->tokenizer, w->piece + i, next->next - i);
        if (s->merged != UMBRA_NO_TOKEN)
            s->rank = w->tokenizer->vocabulary.order[s->merged];
    }
    return s->rank != UMBRA_NO_MERGE;
}

void umbra_window_merge(umbra_window *w)
{
    uint32_t n = w->n;
    w->n_heap = 0;
    for (uint32_t i = 0; i < n; i = w->symbols[i].next)
        if (rank_pair(w, i, n))
            w->heap[w->n_heap++] = (uint64_t)w->symbols[i].rank << 32 | i;
    for (size_t i = w->n_heap / 2; i-- > 0;)
        sift_down(w, i);
    while (w->n_heap > 0) {
        uint64_t key = heap_pop(w);
        uint32_t i = (uint32_t)key;
        umbra_symbol *s = &w->symbols[i];
        if (s->rank != key >> 32)
            continue; /* one of the two has been merged meanwhile */
        s->id = s->merged;
        umbra_symbol *gone = &w->symbols[s->next];
        gone->rank = UMBRA_NO_MERGE;
        s->next = gone->next;
        if (s->next < n)
            w->symbols[s->next].previous = i;
        if (rank_pair(w, i, n))
            heap_push(w, (uint64_t)s->rank << 32 | i);
        if (s->previous != UINT32_MAX && rank_pair(w, s->previous, n))
            heap_push(w, (uint64_t)w->symbols[s->previous].rank << 32 | s->previous);
    }
}

/* A merge takes one entry off the heap and puts at most two on it, and there are less than n
 * merges: 2 n entries are enough. */
int umbra_window_reserve(umbra_window *w, size_t n, umbra_error *err)
{
    if (n <= w->room)
        return UMBRA_OK;
    size_t room = n < 128 ? 256 : n < 1 << 12 ? 2 * n : n;
    umbra_window_release(w);
    w->symbols = umbra_reallocarray(NULL, room, sizeof *w->symbols);
    w->heap = umbra_reallocarray(NULL, 2 * room, sizeof *w->heap);
    if (!w->symbols || !w->heap)
        return umbra_fail_nomem(err, "encoding a word",
                                room * (sizeof *w->symbols + 2 * sizeof *w->heap));
    w->room = room;
    return UMBRA_OK;
}

void umbra_window_release(umbra_window *w)
{
    umbra_free(w->symbols);
    umbra_free(w->heap);
    w->symbols = NULL;
    w->heap = NULL;
    w->room = 0;
}
