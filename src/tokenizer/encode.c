/* Text to tokens. Both kinds of tokenizer merge neighbours, best pair first, leftmost first among
 * equals: byte pairs inside words, in the order of the merge list; sentence pieces across all text
 * between special tokens, by the score of the token that the merge makes. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/internal.h"

#define NO_TOKEN UINT32_MAX

/* A symbol of the piece that is being merged: a run of its bytes that is one token so far. It has
 * the number of its first byte. */
typedef struct symbol {
    uint32_t id;             /* NO_TOKEN: a character not looked up yet */
    uint32_t previous, next; /* UINT32_MAX before the first, the piece's length after the last */
    uint32_t rank;           /* of its merge with the next one, or UMBRA_NO_MERGE */
    uint32_t merged;         /* id that this merge makes */
} symbol;

/* One call of umbra_tokenizer_encode. */
typedef struct encoder {
    const umbra_tokenizer *tokenizer;
    pcre2_match_data *match;
    const char *piece; /* being merged */
    symbol *symbols;   /* (room) */
    uint64_t *heap;    /* (2 room) rank << 32 | symbol: least rank first, then leftmost */
    size_t n_heap;
    size_t room;
    char *escaped; /* (escaped_room) text with U+2581 for its spaces */
    size_t escaped_room;
    bool begins; /* sentence pieces: nothing or a special token stands before the text */
    int32_t *ids;
    size_t count, capacity;
    umbra_error *err;
} encoder;

static int emit(encoder *e, int32_t id)
{
    if (e->count == e->capacity) {
        size_t capacity = 2 * e->capacity + 16;
        int32_t *ids = umbra_reallocarray(e->ids, capacity, sizeof *ids);
        if (!ids)
            return umbra_fail_nomem(e->err, "the tokens of a text", capacity * sizeof *ids);
        e->ids = ids;
        e->capacity = capacity;
    }
    e->ids[e->count++] = id;
    return UMBRA_OK;
}

/* ---- merging ---- */

static void sift_down(encoder *e, size_t i)
{
    uint64_t key = e->heap[i];
    for (size_t child; (child = 2 * i + 1) < e->n_heap; i = child) {
        if (child + 1 < e->n_heap && e->heap[child + 1] < e->heap[child])
            child++;
        if (e->heap[child] >= key)
            break;
        e->heap[i] = e->heap[child];
    }
    e->heap[i] = key;
}

static void heap_push(encoder *e, uint64_t key)
{
    size_t i = e->n_heap++;
    for (; i > 0 && e->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
        e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = key;
}

static uint64_t heap_pop(encoder *e)
{
    uint64_t key = e->heap[0];
    e->heap[0] = e->heap[--e->n_heap];
    sift_down(e, 0);
    return key;
}

/* Id of the normal token with this text, or NO_TOKEN. */
static uint32_t find_normal(const encoder *e, const char *text, size_t bytes)
{
    const umbra_vocabulary *v = &e->tokenizer->vocabulary;
    if (bytes > v->longest)
        return NO_TOKEN;
    int32_t id = umbra_token_index_find(&e->tokenizer->index, v, (umbra_string){text, bytes},
                                        (umbra_string){"", 0});
    return id >= 0 && v->tokens[id].type == UMBRA_TOKEN_NORMAL ? (uint32_t)id : NO_TOKEN;
}

/* Looks up the merge of symbol i with the next one; true if there is one. */
static bool rank_pair(encoder *e, uint32_t i, uint32_t n)
{
    symbol *s = &e->symbols[i];
    s->rank = UMBRA_NO_MERGE;
    if (s->next == n)
        return false;
    const symbol *next = &e->symbols[s->next];
    if (e->tokenizer->vocabulary.kind == UMBRA_BYTE_PAIRS) {
        s->rank = umbra_merges_find(&e->tokenizer->merges, s->id, next->id);
        if (s->rank != UMBRA_NO_MERGE)
            s->merged = e->tokenizer->merges.merged[s->rank];
    } else {
        s->merged = find_normal(e, e->piece + i, next->next - i);
        if (s->merged != NO_TOKEN)
            s->rank = e->tokenizer->vocabulary.order[s->merged];
    }
    return s->rank != UMBRA_NO_MERGE;
}

/* Merges the symbols of a piece of n bytes. */
static void merge_all(encoder *e, uint32_t n)
{
    e->n_heap = 0;
    for (uint32_t i = 0; i < n; i = e->symbols[i].next)
        if (rank_pair(e, i, n))
            e->heap[e->n_heap++] = (uint64_t)e->symbols[i].rank << 32 | i;
    for (size_t i = e->n_heap / 2; i-- > 0;)
        sift_down(e, i);
    while (e->n_heap > 0) {
        uint64_t key = heap_pop(e);
        uint32_t i = (uint32_t)key;
        symbol *s = &e->symbols[i];
        if (s->rank != key >> 32)
            continue; /* one of the two has been merged meanwhile */
        s->id = s->merged;
        symbol *gone = &e->symbols[s->next];
        gone->rank = UMBRA_NO_MERGE;
        s->next = gone->next;
        if (s->next < n)
            e->symbols[s->next].previous = i;
        if (rank_pair(e, i, n))
            heap_push(e, (uint64_t)s->rank << 32 | i);
        if (s->previous != UINT32_MAX && rank_pair(e, s->previous, n))
            heap_push(e, (uint64_t)e->symbols[s->previous].rank << 32 | s->previous);
    }
}

/* Room for a piece of n bytes. A merge takes one entry off the heap and puts at most two on it,
 * and there are less than n merges: 2 n entries are enough. */
static int reserve(encoder *e, size_t n)
{
    if (n <= e->room)
        return UMBRA_OK;
    umbra_free(e->symbols);
    umbra_free(e->heap);
    e->room = n < 128 ? 256 : n < 1 << 16 ? 2 * n : n;
    e->symbols = umbra_reallocarray(NULL, e->room, sizeof *e->symbols);
    e->heap = umbra_reallocarray(NULL, 2 * e->room, sizeof *e->heap);
    if (e->symbols && e->heap)
        return UMBRA_OK;
    uint64_t bytes = e->room * (sizeof *e->symbols + 2 * sizeof *e->heap);
    return umbra_fail_nomem(e->err, "encoding a word", bytes);
}

/* ---- byte pairs ---- */

/* Id of the token that a whole word is, or NO_TOKEN. */
static uint32_t find_word(const encoder *e, const char *text, size_t bytes)
{
    char spelled[256];
    size_t used = 0;
    if (bytes > sizeof spelled / 2)
        return NO_TOKEN;
    for (size_t i = 0; i < bytes; i++)
        used += umbra_utf8_encode(umbra_alphabet_code((unsigned char)text[i]), spelled + used);
    return find_normal(e, spelled, used);
}

static int encode_word(encoder *e, const char *text, size_t bytes)
{
    const int32_t *byte_token = e->tokenizer->vocabulary.byte_token;
    if (e->tokenizer->splitter.whole_words) {
        uint32_t id = find_word(e, text, bytes);
        if (id != NO_TOKEN)
            return emit(e, (int32_t)id);
    }
    int rc = reserve(e, bytes);
    if (rc != UMBRA_OK)
        return rc;
    uint32_t n = (uint32_t)bytes;
    for (uint32_t i = 0; i < n; i++)
        e->symbols[i] = (symbol){
            .id = (uint32_t)byte_token[(unsigned char)text[i]], .previous = i - 1, .next = i + 1};
    merge_all(e, n);
    for (uint32_t i = 0; rc == UMBRA_OK && i < n; i = e->symbols[i].next)
        rc = emit(e, (int32_t)e->symbols[i].id);
    return rc;
}

/* Cuts text (valid UTF-8) by the pattern and hands matches and what lies between them to the
 * next pattern, after the last one to encode_word. */
static int encode_words(encoder *e, int pattern, const char *text, size_t n)
{
    const umbra_splitter *s = &e->tokenizer->splitter;
    if (pattern == s->n_patterns)
        return encode_word(e, text, n);
    int rc = UMBRA_OK;
    for (size_t at = 0, start, end; at < n && rc == UMBRA_OK; at = end) {
        rc = umbra_splitter_next(s, pattern, e->match, text, n, at, &start, &end, e->err);
        if (rc == UMBRA_OK && start > at)
            rc = encode_words(e, pattern + 1, text + at, start - at);
        if (rc == UMBRA_OK && end > start)
            rc = encode_words(e, pattern + 1, text + start, end - start);
    }
    return rc;
}

/* The valid parts word by word, other bytes one by one. */
static int encode_byte_pairs(encoder *e, const char *text, size_t n)
{
    int rc = UMBRA_OK;
    for (size_t at = 0; rc == UMBRA_OK && at < n;) {
        size_t end = at;
        for (size_t length; end < n && (length = umbra_utf8_length(text + end, n - end)) > 0;)
            end += length;
        rc = encode_words(e, 0, text + at, end - at);
        for (; rc == UMBRA_OK && end < n && umbra_utf8_length(text + end, n - end) == 0; end++)
            rc = emit(e, e->tokenizer->vocabulary.byte_token[(unsigned char)text[end]]);
        at = end;
    }
    return rc;
}

/* ---- sentence pieces ---- */

/* Puts the text with its spaces as U+2581 into e->escaped; *out: its bytes. */
static int escape(encoder *e, const char *text, size_t n, size_t *out)
{
    size_t spaces = e->begins && e->tokenizer->vocabulary.space_prefix, used = 0;
    bool prefix = spaces > 0;
    for (size_t i = 0; i < n; i++)
        spaces += text[i] == ' ';
    size_t bytes = n + spaces * UMBRA_PIECE_SPACE_BYTES;
    if (bytes > e->escaped_room) {
        umbra_free(e->escaped);
        e->escaped = umbra_calloc(bytes, 1);
        e->escaped_room = e->escaped ? bytes : 0;
        if (!e->escaped)
            return umbra_fail_nomem(e->err, "encoding a text", bytes);
    }
    for (size_t i = 0; i < n + prefix; i++) {
        char c = prefix && i == 0 ? ' ' : text[i - prefix];
        if (c != ' ')
            e->escaped[used++] = c;
        else {
            memcpy(e->escaped + used, UMBRA_PIECE_SPACE, UMBRA_PIECE_SPACE_BYTES);
            used += UMBRA_PIECE_SPACE_BYTES;
        }
    }
    *out = used;
    return UMBRA_OK;
}

/* The token of a symbol, or of each of its bytes where it is none. */
static int emit_symbol(encoder *e, uint32_t i)
{
    const symbol *s = &e->symbols[i];
    uint32_t id = s->id != NO_TOKEN ? s->id : find_normal(e, e->piece + i, s->next - i);
    if (id != NO_TOKEN)
        return emit(e, (int32_t)id);
    int rc = UMBRA_OK;
    for (uint32_t k = i; rc == UMBRA_OK && k < s->next; k++)
        rc = emit(e, e->tokenizer->vocabulary.byte_token[(unsigned char)e->piece[k]]);
    return rc;
}

static int encode_sentence(encoder *e, const char *text, size_t bytes)
{
    size_t n = 0;
    int rc = escape(e, text, bytes, &n);
    if (rc == UMBRA_OK && n > INT32_MAX)
        rc = umbra_fail(e->err, UMBRA_E_ARGUMENT, "a text of %zu bytes is too long", bytes);
    if (rc == UMBRA_OK)
        rc = reserve(e, n);
    if (rc != UMBRA_OK)
        return rc;
    e->piece = e->escaped;
    e->begins = false;
    for (uint32_t i = 0, previous = UINT32_MAX, next; i < n; previous = i, i = next) {
        size_t length = umbra_utf8_length(e->piece + i, n - i);
        next = i + (uint32_t)(length ? length : 1);
        e->symbols[i] = (symbol){.id = NO_TOKEN, .previous = previous, .next = next};
    }
    merge_all(e, (uint32_t)n);
    for (uint32_t i = 0; rc == UMBRA_OK && i < n; i = e->symbols[i].next)
        rc = emit_symbol(e, i);
    return rc;
}

/* ---- special tokens ---- */

/* Text without special tokens. */
static int encode_text(encoder *e, const char *text, size_t n)
{
    if (n == 0)
        return UMBRA_OK;
    return e->tokenizer->vocabulary.kind == UMBRA_BYTE_PAIRS ? encode_byte_pairs(e, text, n)
                                                             : encode_sentence(e, text, n);
}

/* The longest special token that text begins with, or -1. */
static int32_t special_at(const umbra_vocabulary *v, bool control, const char *text, size_t n)
{
    if (!v->special_start[(unsigned char)text[0]])
        return -1;
    for (uint32_t i = 0; i < v->n_specials; i++) {
        umbra_string s = umbra_vocabulary_text(v, v->specials[i]);
        if (s.bytes <= n && memcmp(s.data, text, s.bytes) == 0 &&
            (control || v->tokens[v->specials[i]].type == UMBRA_TOKEN_USER_DEFINED))
            return v->specials[i];
    }
    return -1;
}

static int encode_all(encoder *e, bool control, const char *text, size_t n)
{
    const umbra_vocabulary *v = &e->tokenizer->vocabulary;
    size_t plain = 0; /* where the text not yet encoded begins */
    for (size_t at = 0; at < n;) {
        int32_t id = special_at(v, control, text + at, n - at);
        if (id < 0) {
            at++;
            continue;
        }
        int rc = encode_text(e, text + plain, at - plain);
        if (rc == UMBRA_OK)
            rc = emit(e, id);
        if (rc != UMBRA_OK)
            return rc;
        e->begins = true;
        at += v->tokens[id].bytes;
        plain = at;
    }
    return encode_text(e, text + plain, n - plain);
}

int umbra_tokenizer_encode(const umbra_tokenizer *tokenizer, const char *text, size_t bytes,
                           bool add_bos, bool special, int32_t **ids, size_t *count,
                           umbra_error *err)
{
    const umbra_vocabulary *v = &tokenizer->vocabulary;
    *ids = NULL;
    *count = 0;
    if (bytes == 0)
        text = ""; /* NULL is allowed, but no pointer to count from */
    if (bytes > INT32_MAX)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "a text of %zu bytes is too long to encode at once", bytes);
    encoder e = {.tokenizer = tokenizer, .begins = true, .err = err};
    e.capacity = bytes / 3 + 16;
    e.ids = umbra_calloc(e.capacity, sizeof *e.ids);
    if (v->kind == UMBRA_BYTE_PAIRS)
        e.match = pcre2_match_data_create(1, tokenizer->splitter.memory);
    int rc = e.ids && (e.match || v->kind != UMBRA_BYTE_PAIRS)
                 ? UMBRA_OK
                 : umbra_fail_nomem(err, "the tokens of a text", e.capacity * sizeof *e.ids);
    if (rc == UMBRA_OK && add_bos && v->add_bos)
        rc = emit(&e, v->bos);
    if (rc == UMBRA_OK)
        rc = encode_all(&e, special, text, bytes);
    pcre2_match_data_free(e.match);
    umbra_free(e.symbols);
    umbra_free(e.heap);
    umbra_free(e.escaped);
    if (rc != UMBRA_OK) {
        umbra_free(e.ids);
        return rc;
    }
    int32_t *trimmed = umbra_reallocarray(e.ids, e.count, sizeof *e.ids);
    *ids = trimmed ? trimmed : e.ids;
    *count = e.count;
    return UMBRA_OK;
}
