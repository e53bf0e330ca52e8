/* The tokens of a file: their texts, types and scores, and the way from a text to its id. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "base/quote.h"
#include "tokenizer/internal.h"

/* FNV-1a; going on from an earlier value hashes a concatenation. */
static uint64_t hash_text(uint64_t hash, umbra_string s)
{
    for (size_t i = 0; i < s.bytes; i++)
        hash = (hash ^ (unsigned char)s.data[i]) * 0x100000001b3u;
    return hash;
}

/* The slot of the text a + b: where it is, or the empty one where it belongs. UINT32_MAX when
 * neither is found within the longest probe allowed. */
static uint32_t index_slot(const umbra_token_index *index, const umbra_vocabulary *v,
                           umbra_string a, umbra_string b)
{
    uint64_t hash = hash_text(hash_text(0xcbf29ce484222325u, a), b);
    uint32_t slot = (uint32_t)(hash ^ hash >> 32) & index->mask;
    for (int probe = 0; probe < UMBRA_TOKENIZER_PROBES_MAX; probe++) {
        uint32_t id = index->slots[slot];
        if (id == UINT32_MAX)
            return slot;
        umbra_string s = umbra_vocabulary_text(v, (int32_t)id);
        if (s.bytes == a.bytes + b.bytes && memcmp(s.data, a.data, a.bytes) == 0 &&
            memcmp(s.data + a.bytes, b.data, b.bytes) == 0)
            return slot;
        slot = (slot + 1) & index->mask;
    }
    return UINT32_MAX;
}

int32_t umbra_token_index_find(const umbra_token_index *index, const umbra_vocabulary *v,
                               umbra_string a, umbra_string b)
{
    uint32_t slot = index_slot(index, v, a, b);
    return slot == UINT32_MAX || index->slots[slot] == UINT32_MAX ? -1
                                                                  : (int32_t)index->slots[slot];
}

/* Of tokens with one text the last is found, as by a table that is filled in order; one that is
 * text goes before one that is not. */
static bool goes_before(const umbra_vocabulary *v, uint32_t id, uint32_t other)
{
    return umbra_token_is_text(v, (int32_t)id) || !umbra_token_is_text(v, (int32_t)other);
}

static void note_equal(umbra_notes *notes, const umbra_vocabulary *v, uint32_t count,
                       const uint32_t pair[2])
{
    umbra_string s = umbra_vocabulary_text(v, (int32_t)pair[0]);
    if (count > 0)
        umbra_note(
            notes,
            "tokens with the text of another that is used instead: %u (the first: %u, used %u, "
            "\"%s\")",
            count, pair[0], pair[1], umbra_quote(s.data, s.bytes).text);
}

static int index_build(umbra_token_index *index, const umbra_vocabulary *v, const char *path,
                       umbra_notes *notes, umbra_error *err)
{
    uint32_t equal = 0, pair[2] = {0}; /* the first that is not used, and the one in its place */
    uint64_t slots = 16;
    while (slots < 2 * (uint64_t)v->n)
        slots *= 2;
    index->slots = umbra_reallocarray(NULL, slots, sizeof *index->slots);
    if (!index->slots)
        return umbra_fail_nomem(err, "the index of tokens", slots * sizeof *index->slots);
    memset(index->slots, 0xff, slots * sizeof *index->slots);
    index->mask = (uint32_t)(slots - 1);
    for (uint32_t id = 0; id < v->n; id++) {
        umbra_string text = umbra_vocabulary_text(v, (int32_t)id);
        if (text.bytes == 0)
            continue; /* a placeholder: nothing encodes to it */
        uint32_t slot = index_slot(index, v, text, (umbra_string){"", 0});
        if (slot == UINT32_MAX)
            return umbra_fail(err, UMBRA_E_FORMAT,
                              "%s: tokenizer.ggml.tokens holds texts made to collide (token %u)",
                              path, id);
        uint32_t other = index->slots[slot];
        bool first = other == UINT32_MAX || goes_before(v, id, other);
        if (other != UINT32_MAX && equal++ == 0) {
            pair[0] = first ? other : id;
            pair[1] = first ? id : other;
        }
        if (first)
            index->slots[slot] = id;
    }
    note_equal(notes, v, equal, pair);
    return UMBRA_OK;
}

static int read_tokens(umbra_vocabulary *v, const umbra_gguf *gguf, umbra_error *err)
{
    const char *path = umbra_gguf_path(gguf);
    umbra_gguf_array a;
    int rc = umbra_gguf_get_array(gguf, "tokenizer.ggml.tokens", UMBRA_GGUF_STRING, &a, err);
    if (rc < 0)
        return rc;
    if (rc == 0 || a.count == 0 || a.count > INT32_MAX / 2)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: tokenizer.ggml.tokens is %s", path,
                          rc == 0        ? "missing"
                          : a.count == 0 ? "empty"
                                         : "too long");
    v->n = (uint32_t)a.count;
    v->tokens = umbra_calloc(v->n, sizeof *v->tokens);
    if (!v->tokens)
        return umbra_fail_nomem(err, "the vocabulary", v->n * sizeof *v->tokens);
    v->texts = "";
    bool have_texts = false;
    for (uint32_t id = 0; id < v->n; id++) {
        uint64_t at = a.offset;
        umbra_string s = {0};
        (void)umbra_gguf_next_string(&a, &s);
        if (s.bytes == 0)
            continue;
        if (!have_texts)
            v->texts = s.data;
        have_texts = true;
        uintptr_t offset = (uintptr_t)s.data - (uintptr_t)v->texts;
        if (s.bytes > UINT16_MAX || offset > UINT32_MAX - UINT16_MAX)
            return umbra_fail_at(err, UMBRA_E_FORMAT, at,
                                 "%s: token %u: the text has %zu bytes and lies %zu bytes into the "
                                 "vocabulary, which is too much",
                                 path, id, s.bytes, (size_t)offset);
        v->tokens[id].offset = (uint32_t)offset;
        v->tokens[id].bytes = (uint16_t)s.bytes;
        v->longest = s.bytes > v->longest ? (uint32_t)s.bytes : v->longest;
    }
    return UMBRA_OK;
}

/* An array with an entry per token may be shorter or longer than the tokens in published files. */
static void note_count(umbra_notes *notes, const char *key, uint64_t count, uint32_t tokens,
                       const char *rest)
{
    if (count < tokens)
        umbra_note(notes, "%s has %" PRIu64 " entries for %" PRIu32 " tokens: %s", key, count,
                   tokens, rest);
    if (count > tokens)
        umbra_note(notes, "%s has %" PRIu64 " entries for %" PRIu32 " tokens: the last are ignored",
                   key, count, tokens);
}

static int read_types(umbra_vocabulary *v, const umbra_gguf *gguf, umbra_notes *notes,
                      umbra_error *err)
{
    umbra_gguf_array a;
    uint32_t odd = 0, first = 0;
    int rc = umbra_gguf_get_array(gguf, "tokenizer.ggml.token_type", UMBRA_GGUF_I32, &a, err);
    if (rc < 0)
        return rc;
    if (rc == 1)
        note_count(notes, "tokenizer.ggml.token_type", a.count, v->n,
                   "the rest are taken for text");
    for (uint32_t id = 0; id < v->n; id++) {
        int64_t type = UMBRA_TOKEN_NORMAL;
        if (rc == 1)
            (void)umbra_gguf_next_int(&a, &type);
        if (type < UMBRA_TOKEN_NORMAL || type > UMBRA_TOKEN_BYTE) {
            first = odd++ == 0 ? id : first;
            type = UMBRA_TOKEN_NORMAL;
        }
        v->tokens[id].type = (uint8_t)type;
    }
    if (odd > 0)
        umbra_note(
            notes,
            "tokens with a type other than 1 to 6 are taken for text: %u (the first: token %u)",
            odd, first);
    return UMBRA_OK;
}

/* A score as a number that is smaller the earlier it goes: the bits of a float are in its order,
 * but for the sign. */
static uint32_t order_of(float score)
{
    uint32_t bits;
    score += 0.0f; /* -0 is 0 */
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? bits : 0x7fffffffu - bits;
}

/* Without scores all are equal: then the leftmost pair goes first. */
static int read_scores(umbra_vocabulary *v, const umbra_gguf *gguf, umbra_notes *notes,
                       umbra_error *err)
{
    const char *path = umbra_gguf_path(gguf);
    umbra_gguf_array a = {0};
    int rc = umbra_gguf_get_array(gguf, "tokenizer.ggml.scores", UMBRA_GGUF_F32, &a, err);
    if (rc < 0)
        return rc;
    if (rc == 1)
        note_count(notes, "tokenizer.ggml.scores", a.count, v->n, "the rest count as 0");
    v->order = umbra_calloc(v->n, sizeof *v->order);
    if (!v->order)
        return umbra_fail_nomem(err, "the scores", v->n * sizeof *v->order);
    if (rc == 0) {
        umbra_note(notes, "tokenizer.ggml.scores is missing: all tokens count as equally good");
        return UMBRA_OK;
    }
    for (uint32_t id = 0; id < v->n; id++) {
        uint64_t at = a.offset;
        double score = 0;
        (void)umbra_gguf_next_float(&a, &score);
        if (!isfinite(score))
            return umbra_fail_at(err, UMBRA_E_FORMAT, at, "%s: the score of token %u is not finite",
                                 path, id);
        v->order[id] = order_of((float)score);
    }
    return UMBRA_OK;
}

/* Text of the token of a single byte: in the byte alphabet, or "<0x0A>". Returns its bytes. */
static size_t byte_text(umbra_tokenizer_kind kind, int byte, char out[8])
{
    if (kind == UMBRA_BYTE_PAIRS)
        return umbra_utf8_encode(umbra_alphabet_code((unsigned char)byte), out);
    return (size_t)snprintf(out, 8, "<0x%02X>", (unsigned)byte & 0xffu);
}

/* The token of each byte, whatever its type; sentence pieces may have the byte itself as its text.
 */
static void find_byte_tokens(umbra_vocabulary *v, const umbra_token_index *index)
{
    const umbra_string none = {"", 0};
    for (int byte = 0; byte < 256; byte++) {
        char text[8], raw = (char)byte;
        size_t n = byte_text(v->kind, byte, text);
        int32_t id = umbra_token_index_find(index, v, (umbra_string){text, n}, none);
        if (id < 0 && v->kind == UMBRA_SENTENCE_PIECES)
            id = umbra_token_index_find(index, v, (umbra_string){&raw, 1}, none);
        v->byte_token[byte] = id;
    }
}

int umbra_vocabulary_init(umbra_vocabulary *v, umbra_token_index *index, const umbra_gguf *gguf,
                          umbra_notes *notes, umbra_error *err)
{
    int rc = read_tokens(v, gguf, err);
    if (rc == UMBRA_OK)
        rc = read_types(v, gguf, notes, err);
    if (rc == UMBRA_OK && v->kind == UMBRA_SENTENCE_PIECES)
        rc = read_scores(v, gguf, notes, err);
    if (rc == UMBRA_OK)
        rc = index_build(index, v, umbra_gguf_path(gguf), notes, err);
    if (rc == UMBRA_OK)
        find_byte_tokens(v, index);
    return rc;
}

void umbra_vocabulary_release(umbra_vocabulary *v)
{
    umbra_free(v->tokens);
    umbra_free(v->order);
    umbra_free(v->specials);
    *v = (umbra_vocabulary){0};
}

void umbra_token_index_release(umbra_token_index *index)
{
    umbra_free(index->slots);
    *index = (umbra_token_index){0};
}
