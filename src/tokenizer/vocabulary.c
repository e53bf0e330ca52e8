/* Reads the vocabulary and finds its tokens. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "base/quote.h"
#include "tokenizer/internal.h"

/* Control tokens that end a generation whatever ids the file names. */
static const char *const end_texts[] = {
    "<|im_end|>",      "<|eot_id|>",
    "<|eom_id|>",      "<|end|>",
    "<|endoftext|>",   "<|return|>",
    "<|call|>",        "<end_of_turn>",
    "<|end_of_text|>", "<|end_of_turn|>",
    "<|endofturn|>",   "<|eot|>",
    "<EOT>",           "</s>",
    "<eos>",           "<end_of_utterance>",
};

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

static int index_build(umbra_token_index *index, const umbra_vocabulary *v, const char *path,
                       umbra_error *err)
{
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
        if (index->slots[slot] != UINT32_MAX)
            return umbra_fail(err, UMBRA_E_FORMAT, "%s: tokens %u and %u have the same text \"%s\"",
                              path, index->slots[slot], id,
                              umbra_quote(text.data, text.bytes).text);
        index->slots[slot] = id;
    }
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

static int read_types(umbra_vocabulary *v, const umbra_gguf *gguf, umbra_error *err)
{
    const char *path = umbra_gguf_path(gguf);
    umbra_gguf_array a;
    int rc = umbra_gguf_get_array(gguf, "tokenizer.ggml.token_type", UMBRA_GGUF_I32, &a, err);
    if (rc < 0)
        return rc;
    if (rc == 1 && a.count != v->n)
        return umbra_fail_at(err, UMBRA_E_FORMAT, a.offset,
                             "%s: tokenizer.ggml.token_type has %llu entries for %u tokens", path,
                             (unsigned long long)a.count, v->n);
    for (uint32_t id = 0; id < v->n; id++) {
        int64_t type = UMBRA_TOKEN_NORMAL;
        uint64_t at = a.offset;
        if (rc == 1)
            (void)umbra_gguf_next_int(&a, &type);
        if (type < UMBRA_TOKEN_NORMAL || type > UMBRA_TOKEN_BYTE)
            return umbra_fail_at(err, UMBRA_E_FORMAT, at,
                                 "%s: token %u has the type %lld, known are 1 to 6", path, id,
                                 (long long)type);
        v->tokens[id].type = (uint8_t)type;
    }
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

static int read_scores(umbra_vocabulary *v, const umbra_gguf *gguf, umbra_error *err)
{
    const char *path = umbra_gguf_path(gguf);
    umbra_gguf_array a = {0};
    int rc = umbra_gguf_get_array(gguf, "tokenizer.ggml.scores", UMBRA_GGUF_F32, &a, err);
    if (rc < 0)
        return rc;
    if (rc == 0 || a.count != v->n)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: tokenizer.ggml.scores has %" PRIu64 " entries for %u tokens", path,
                          rc == 0 ? 0 : a.count, v->n);
    v->order = umbra_calloc(v->n, sizeof *v->order);
    if (!v->order)
        return umbra_fail_nomem(err, "the scores", v->n * sizeof *v->order);
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

static int find_byte_tokens(umbra_vocabulary *v, const umbra_token_index *index, const char *path,
                            umbra_error *err)
{
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        size_t n = byte_text(v->kind, byte, text);
        int32_t id =
            umbra_token_index_find(index, v, (umbra_string){text, n}, (umbra_string){"", 0});
        if (id < 0)
            return umbra_fail(err, UMBRA_E_FORMAT,
                              "%s: the vocabulary has no token for byte 0x%02x", path,
                              (unsigned)byte);
        bool normal = v->kind == UMBRA_BYTE_PAIRS && v->tokens[id].type == UMBRA_TOKEN_NORMAL;
        if (!normal && v->tokens[id].type != UMBRA_TOKEN_BYTE)
            return umbra_fail(err, UMBRA_E_FORMAT,
                              "%s: token %d, for byte 0x%02x, has the type %d instead of %s", path,
                              id, (unsigned)byte, v->tokens[id].type,
                              v->kind == UMBRA_BYTE_PAIRS ? "1 or 6" : "6");
        v->byte_token[byte] = id;
    }
    return UMBRA_OK;
}

static int longest_first(const void *a, const void *b, void *vocabulary)
{
    const umbra_vocabulary *v = vocabulary;
    int32_t x = *(const int32_t *)a;
    int32_t y = *(const int32_t *)b;
    if (v->tokens[x].bytes != v->tokens[y].bytes)
        return v->tokens[x].bytes > v->tokens[y].bytes ? -1 : 1;
    return x < y ? -1 : x > y;
}

static int list_specials(umbra_vocabulary *v, umbra_error *err)
{
    for (int pass = 0; pass < 2; pass++) {
        uint32_t n = 0;
        for (uint32_t id = 0; id < v->n; id++) {
            const umbra_token *t = &v->tokens[id];
            if (t->bytes == 0 ||
                (t->type != UMBRA_TOKEN_CONTROL && t->type != UMBRA_TOKEN_USER_DEFINED))
                continue;
            if (pass == 1) {
                v->specials[n] = (int32_t)id;
                v->special_start[(unsigned char)v->texts[t->offset]] = true;
            }
            n++;
        }
        if (pass == 0) {
            v->specials = umbra_calloc(n, sizeof *v->specials);
            if (!v->specials)
                return umbra_fail_nomem(err, "the special tokens", n * sizeof *v->specials);
        }
        v->n_specials = n;
    }
    qsort_r(v->specials, v->n_specials, sizeof *v->specials, longest_first, v);
    return UMBRA_OK;
}

/* Reads the id under a key: the fallback where there is none. */
static int read_id(const umbra_gguf *gguf, const char *key, uint32_t n_tokens, int32_t fallback,
                   int32_t *out, umbra_error *err)
{
    uint32_t id = 0;
    *out = fallback < (int32_t)n_tokens ? fallback : -1;
    int rc = umbra_gguf_get_u32(gguf, key, &id, err);
    if (rc <= 0)
        return rc;
    if (id >= n_tokens)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: %s is %u, but there are %u tokens",
                          umbra_gguf_path(gguf), key, id, n_tokens);
    *out = (int32_t)id;
    return UMBRA_OK;
}

static void add_end(umbra_vocabulary *v, int32_t id)
{
    for (int i = 0; i < v->n_end; i++)
        if (v->end[i] == id)
            return;
    if (id >= 0)
        v->end[v->n_end++] = id;
}

/* Id of a control token by its text, or -1. */
static int32_t find_control(const umbra_vocabulary *v, const umbra_token_index *index,
                            const char *text)
{
    int32_t id =
        umbra_token_index_find(index, v, (umbra_string){text, strlen(text)}, (umbra_string){"", 0});
    return id >= 0 && v->tokens[id].type == UMBRA_TOKEN_CONTROL ? id : -1;
}

static int read_roles(umbra_vocabulary *v, const umbra_token_index *index, const umbra_gguf *gguf,
                      bool adds_bos, umbra_error *err)
{
    int32_t eot, eom;
    bool pieces = v->kind == UMBRA_SENTENCE_PIECES; /* which have usual ids */
    int rc = read_id(gguf, "tokenizer.ggml.bos_token_id", v->n, pieces ? 1 : -1, &v->bos, err);
    if (rc >= 0)
        rc = read_id(gguf, "tokenizer.ggml.eos_token_id", v->n, pieces ? 2 : -1, &v->eos, err);
    if (rc >= 0)
        rc = read_id(gguf, "tokenizer.ggml.eot_token_id", v->n, -1, &eot, err);
    if (rc >= 0)
        rc = read_id(gguf, "tokenizer.ggml.eom_token_id", v->n, -1, &eom, err);
    v->space_prefix = pieces;
    if (rc >= 0 && pieces)
        rc = umbra_gguf_get_bool(gguf, "tokenizer.ggml.add_space_prefix", &v->space_prefix, err);
    v->add_bos = adds_bos && v->bos >= 0;
    if (rc >= 0)
        rc = umbra_gguf_get_bool(gguf, "tokenizer.ggml.add_bos_token", &v->add_bos, err);
    if (rc < 0)
        return rc;
    if (v->add_bos && v->bos < 0)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: tokenizer.ggml.add_bos_token is set, but there is no bos_token_id",
                          umbra_gguf_path(gguf));
    add_end(v, v->eos);
    add_end(v, eot);
    add_end(v, eom);
    /* Where a turn is several messages, <|end|> ends only one of them. */
    bool messages =
        find_control(v, index, "<|return|>") >= 0 && find_control(v, index, "<|call|>") >= 0;
    for (size_t i = 0; i < sizeof end_texts / sizeof *end_texts; i++)
        if (!messages || strcmp(end_texts[i], "<|end|>") != 0)
            add_end(v, find_control(v, index, end_texts[i]));
    return UMBRA_OK;
}
_Static_assert(sizeof end_texts / sizeof *end_texts + 3 <= UMBRA_END_TOKENS_MAX,
               "room for the ids of the file and of the list");

int umbra_vocabulary_init(umbra_vocabulary *v, umbra_token_index *index, const umbra_gguf *gguf,
                          bool adds_bos, umbra_error *err)
{
    const char *path = umbra_gguf_path(gguf);
    int rc = read_tokens(v, gguf, err);
    if (rc == UMBRA_OK)
        rc = read_types(v, gguf, err);
    if (rc == UMBRA_OK && v->kind == UMBRA_SENTENCE_PIECES)
        rc = read_scores(v, gguf, err);
    if (rc == UMBRA_OK)
        rc = index_build(index, v, path, err);
    if (rc == UMBRA_OK)
        rc = find_byte_tokens(v, index, path, err);
    if (rc == UMBRA_OK)
        rc = list_specials(v, err);
    if (rc == UMBRA_OK)
        rc = read_roles(v, index, gguf, adds_bos, err);
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
