#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "base/quote.h"
#include "model/tokenizer_internal.h"

struct umbra_tokenizer {
    umbra_vocabulary vocabulary;
    umbra_merges merges;
    umbra_splitter splitter;
};

/* A symbol of the piece that is being merged: a run of its bytes that is one token so far. */
typedef struct symbol {
    uint32_t id;
    uint32_t previous, next; /* UINT32_MAX before the first, the piece's length after the last */
    uint32_t rank;           /* of its merge with the next one, or UMBRA_NO_MERGE */
} symbol;

/* One call of umbra_tokenizer_encode. */
typedef struct encoder {
    const umbra_tokenizer *tokenizer;
    pcre2_match_data *match;
    symbol *symbols; /* (room) */
    uint64_t *heap;  /* (2 room) rank << 32 | symbol: least rank first, then leftmost */
    size_t n_heap;
    size_t room;
    int32_t *ids;
    size_t count;
    umbra_error *err;
} encoder;

int umbra_tokenizer_open(umbra_tokenizer **out, const umbra_gguf *gguf, umbra_error *err)
{
    *out = NULL;
    umbra_string model = {0};
    int rc = umbra_gguf_get_string(gguf, "tokenizer.ggml.model", &model, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: holds no tokenizer (tokenizer.ggml.model)",
                          umbra_gguf_path(gguf));
    if (model.bytes != 4 || memcmp(model.data, "gpt2", 4) != 0)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: the tokenizer \"%s\" (tokenizer.ggml.model) is not supported; "
                          "supported: gpt2",
                          umbra_gguf_path(gguf), umbra_quote(model.data, model.bytes).text);
    umbra_tokenizer *t = umbra_calloc(1, sizeof *t);
    if (!t)
        return umbra_fail_nomem(err, "a tokenizer", sizeof *t);
    umbra_token_index index = {0};
    rc = umbra_splitter_init(&t->splitter, gguf, err);
    if (rc == UMBRA_OK)
        rc = umbra_vocabulary_init(&t->vocabulary, &index, gguf, err);
    if (rc == UMBRA_OK)
        rc = umbra_merges_init(&t->merges, &t->vocabulary, &index, gguf, err);
    umbra_token_index_release(&index);
    if (rc != UMBRA_OK)
        umbra_tokenizer_close(&t);
    *out = t;
    return rc;
}

void umbra_tokenizer_close(umbra_tokenizer **tokenizer)
{
    umbra_tokenizer *t = *tokenizer;
    if (!t)
        return;
    umbra_vocabulary_release(&t->vocabulary);
    umbra_merges_release(&t->merges);
    umbra_splitter_release(&t->splitter);
    umbra_free(t);
    *tokenizer = NULL;
}

uint32_t umbra_tokenizer_size(const umbra_tokenizer *tokenizer)
{
    return tokenizer->vocabulary.n;
}

uint64_t umbra_tokenizer_bytes(const umbra_tokenizer *tokenizer)
{
    const umbra_vocabulary *v = &tokenizer->vocabulary;
    const umbra_merges *m = &tokenizer->merges;
    return sizeof *tokenizer + v->n * sizeof *v->tokens + v->n_specials * sizeof *v->specials +
           m->capacity * sizeof *m->slots + m->n * sizeof *m->merged +
           umbra_splitter_bytes(&tokenizer->splitter);
}

int32_t umbra_tokenizer_bos(const umbra_tokenizer *tokenizer)
{
    return tokenizer->vocabulary.bos;
}

int32_t umbra_tokenizer_eos(const umbra_tokenizer *tokenizer)
{
    return tokenizer->vocabulary.eos;
}

bool umbra_tokenizer_adds_bos(const umbra_tokenizer *tokenizer)
{
    return tokenizer->vocabulary.add_bos;
}

bool umbra_tokenizer_is_end(const umbra_tokenizer *tokenizer, int32_t id)
{
    const umbra_vocabulary *v = &tokenizer->vocabulary;
    for (int i = 0; i < v->n_end; i++)
        if (v->end[i] == id)
            return true;
    return false;
}

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

/* Looks up the merge of symbol i with the next one; true if there is one. */
static bool rank_pair(encoder *e, uint32_t i, uint32_t n)
{
    symbol *s = &e->symbols[i];
    s->rank = s->next == n
                  ? UMBRA_NO_MERGE
                  : umbra_merges_find(&e->tokenizer->merges, s->id, e->symbols[s->next].id);
    return s->rank != UMBRA_NO_MERGE;
}

static void merge_all(encoder *e, uint32_t n)
{
    while (e->n_heap > 0) {
        uint64_t key = heap_pop(e);
        uint32_t i = (uint32_t)key;
        symbol *s = &e->symbols[i];
        if (s->rank != key >> 32)
            continue; /* one of the two has been merged meanwhile */
        s->id = e->tokenizer->merges.merged[s->rank];
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
    e->room = n < 128 ? 256 : 2 * n;
    e->symbols = umbra_reallocarray(NULL, e->room, sizeof *e->symbols);
    e->heap = umbra_reallocarray(NULL, 2 * e->room, sizeof *e->heap);
    if (e->symbols && e->heap)
        return UMBRA_OK;
    uint64_t bytes = e->room * (sizeof *e->symbols + 2 * sizeof *e->heap);
    return umbra_fail_nomem(e->err, "encoding a word", bytes);
}

static int encode_piece(encoder *e, const char *text, size_t bytes)
{
    const int32_t *byte_token = e->tokenizer->vocabulary.byte_token;
    int rc = reserve(e, bytes);
    if (rc != UMBRA_OK)
        return rc;
    uint32_t n = (uint32_t)bytes;
    for (uint32_t i = 0; i < n; i++)
        e->symbols[i] = (symbol){
            .id = (uint32_t)byte_token[(unsigned char)text[i]], .previous = i - 1, .next = i + 1};
    e->n_heap = 0;
    for (uint32_t i = 0; i < n; i++)
        if (rank_pair(e, i, n))
            e->heap[e->n_heap++] = (uint64_t)e->symbols[i].rank << 32 | i;
    for (size_t i = e->n_heap / 2; i-- > 0;)
        sift_down(e, i);
    merge_all(e, n);
    for (uint32_t i = 0; i < n; i = e->symbols[i].next)
        e->ids[e->count++] = (int32_t)e->symbols[i].id;
    return UMBRA_OK;
}

/* Cuts text (valid UTF-8) by the pattern and hands matches and what lies between them to the
 * next pattern, after the last one to encode_piece. */
static int encode_words(encoder *e, int pattern, const char *text, size_t n)
{
    const umbra_splitter *s = &e->tokenizer->splitter;
    if (pattern == s->n_patterns)
        return encode_piece(e, text, n);
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

/* Text without special tokens: the valid parts word by word, other bytes one by one. */
static int encode_text(encoder *e, const char *text, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t end = at;
        for (size_t length; end < n && (length = umbra_utf8_length(text + end, n - end)) > 0;)
            end += length;
        int rc = encode_words(e, 0, text + at, end - at);
        if (rc != UMBRA_OK)
            return rc;
        for (; end < n && umbra_utf8_length(text + end, n - end) == 0; end++)
            e->ids[e->count++] = e->tokenizer->vocabulary.byte_token[(unsigned char)text[end]];
        at = end;
    }
    return UMBRA_OK;
}

/* The longest special token that text begins with, or -1. */
static int32_t special_at(const umbra_vocabulary *v, const char *text, size_t n)
{
    if (!v->special_start[(unsigned char)text[0]])
        return -1;
    for (uint32_t i = 0; i < v->n_specials; i++) {
        umbra_string s = umbra_vocabulary_text(v, v->specials[i]);
        if (s.bytes <= n && memcmp(s.data, text, s.bytes) == 0)
            return v->specials[i];
    }
    return -1;
}

static int encode_with_specials(encoder *e, const char *text, size_t n)
{
    const umbra_vocabulary *v = &e->tokenizer->vocabulary;
    size_t plain = 0; /* where the text not yet encoded begins */
    for (size_t at = 0; at < n;) {
        int32_t id = special_at(v, text + at, n - at);
        if (id < 0) {
            at++;
            continue;
        }
        int rc = encode_text(e, text + plain, at - plain);
        if (rc != UMBRA_OK)
            return rc;
        e->ids[e->count++] = id;
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
    encoder e = {.tokenizer = tokenizer, .err = err};
    e.match = pcre2_match_data_create(1, tokenizer->splitter.memory);
    /* A token stands for at least one byte, so this is enough; pages not used cost nothing. */
    e.ids = umbra_calloc(bytes + 1, sizeof *e.ids);
    int rc = e.match && e.ids
                 ? UMBRA_OK
                 : umbra_fail_nomem(err, "the tokens of a text", (bytes + 1) * sizeof *e.ids);
    if (rc == UMBRA_OK && add_bos && v->add_bos)
        e.ids[e.count++] = v->bos;
    if (rc == UMBRA_OK)
        rc = special ? encode_with_specials(&e, text, bytes) : encode_text(&e, text, bytes);
    pcre2_match_data_free(e.match);
    umbra_free(e.symbols);
    umbra_free(e.heap);
    if (rc != UMBRA_OK) {
        umbra_free(e.ids);
        return rc;
    }
    int32_t *trimmed = umbra_reallocarray(e.ids, e.count, sizeof *e.ids);
    *ids = trimmed ? trimmed : e.ids;
    *count = e.count;
    return UMBRA_OK;
}

/* "<0x0A>": the byte that a token of that type names, or -1. */
static int named_byte(umbra_string s)
{
    if (s.bytes != 6 || memcmp(s.data, "<0x", 3) != 0 || s.data[5] != '>')
        return -1;
    int byte = 0;
    for (int i = 3; i < 5; i++) {
        const char *digit = memchr("0123456789ABCDEFabcdef", s.data[i], 22);
        if (!digit)
            return -1;
        int value = (int)(digit - "0123456789ABCDEFabcdef");
        byte = byte * 16 + (value > 15 ? value - 6 : value);
    }
    return byte;
}

/* Bytes of a text in the byte alphabet; a character outside of it stands for itself. out may be
 * NULL to count only. */
static size_t decode_alphabet(umbra_string s, char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < s.bytes;) {
        size_t length = umbra_utf8_length(s.data + i, s.bytes - i);
        int byte = length ? umbra_alphabet_byte(umbra_utf8_decode(s.data + i, length)) : -1;
        length = length ? length : 1;
        size_t n = byte >= 0 ? 1 : length;
        if (out && byte >= 0)
            out[used] = (char)byte;
        else if (out)
            memcpy(out + used, s.data + i, n);
        used += n;
        i += length;
    }
    return used;
}

size_t umbra_tokenizer_decode(const umbra_tokenizer *tokenizer, int32_t id, bool special, char *out,
                              size_t size)
{
    const umbra_vocabulary *v = &tokenizer->vocabulary;
    if (id < 0 || (uint32_t)id >= v->n)
        return 0;
    umbra_string s = umbra_vocabulary_text(v, id);
    int type = v->tokens[id].type;
    if (type == UMBRA_TOKEN_NORMAL || type == UMBRA_TOKEN_BYTE) {
        int byte = type == UMBRA_TOKEN_BYTE ? named_byte(s) : -1;
        size_t n = byte >= 0 ? 1 : decode_alphabet(s, NULL);
        if (n <= size && byte >= 0)
            out[0] = (char)byte;
        else if (n <= size)
            decode_alphabet(s, out);
        return n;
    }
    if (type != UMBRA_TOKEN_USER_DEFINED && !special)
        return 0;
    if (s.bytes > 0 && s.bytes <= size)
        memcpy(out, s.data, s.bytes);
    return s.bytes;
}
