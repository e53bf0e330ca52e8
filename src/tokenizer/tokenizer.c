/* A tokenizer of a file: opening it, what it says of itself, and ids back to text. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "base/quote.h"
#include "tokenizer/internal.h"

/* The kind that tokenizer.ggml.model names. */
static bool find_kind(umbra_string model, umbra_tokenizer_kind *out)
{
    static const struct {
        const char *name;
        umbra_tokenizer_kind kind;
    } kinds[] = {{"gpt2", UMBRA_BYTE_PAIRS},
                 {"llama", UMBRA_SENTENCE_PIECES},
                 {"gemma4", UMBRA_CHARACTER_PAIRS}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i].name) == model.bytes &&
            memcmp(kinds[i].name, model.data, model.bytes) == 0) {
            *out = kinds[i].kind;
            return true;
        }
    return false;
}

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
    umbra_tokenizer_kind kind;
    if (!find_kind(model, &kind))
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: the tokenizer \"%s\" (tokenizer.ggml.model) is not supported; "
                          "supported: gpt2, llama, gemma4",
                          umbra_gguf_path(gguf), umbra_quote(model.data, model.bytes).text);
    umbra_tokenizer *t = umbra_calloc(1, sizeof *t);
    if (!t)
        return umbra_fail_nomem(err, "a tokenizer", sizeof *t);
    bool pairs = kind == UMBRA_BYTE_PAIRS;
    t->vocabulary.kind = kind;
    rc = pairs ? umbra_splitter_init(&t->splitter, gguf, &t->notes, err) : UMBRA_OK;
    if (rc == UMBRA_OK)
        rc = umbra_vocabulary_init(&t->vocabulary, &t->index, gguf, &t->notes, err);
    if (rc == UMBRA_OK && kind != UMBRA_SENTENCE_PIECES)
        rc = umbra_merges_init(&t->merges, &t->vocabulary, &t->index, gguf, &t->notes, err);
    if (rc == UMBRA_OK)
        rc = umbra_roles_init(t, gguf, pairs ? t->splitter.adds_bos : true, err);
    if (rc == UMBRA_OK)
        rc = umbra_specials_list(&t->vocabulary, err);
    if (pairs && !t->splitter.whole_words)
        umbra_token_index_release(&t->index);
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
    umbra_token_index_release(&t->index);
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
    uint64_t slots = tokenizer->index.slots ? (uint64_t)tokenizer->index.mask + 1 : 0;
    uint64_t order = v->order ? v->n * sizeof *v->order : 0;
    return sizeof *tokenizer + v->n * sizeof *v->tokens + v->n_specials * sizeof *v->specials +
           order + slots * sizeof *tokenizer->index.slots + m->capacity * sizeof *m->slots +
           m->n * sizeof *m->merged + umbra_splitter_bytes(&tokenizer->splitter);
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

int umbra_tokenizer_ends(const umbra_tokenizer *tokenizer, int32_t *out, int max)
{
    const umbra_vocabulary *v = &tokenizer->vocabulary;
    for (int i = 0; i < v->n_end && i < max; i++)
        out[i] = v->end[i];
    return v->n_end;
}

const umbra_notes *umbra_tokenizer_notes(const umbra_tokenizer *tokenizer)
{
    return &tokenizer->notes;
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

/* Bytes of a sentence piece: U+2581 stands for a space. out may be NULL to count only. */
static size_t decode_piece(umbra_string s, char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < s.bytes;) {
        bool space = s.bytes - i >= UMBRA_PIECE_SPACE_BYTES &&
                     memcmp(s.data + i, UMBRA_PIECE_SPACE, UMBRA_PIECE_SPACE_BYTES) == 0;
        if (out)
            out[used] = space ? ' ' : s.data[i];
        used++;
        i += space ? UMBRA_PIECE_SPACE_BYTES : 1;
    }
    return used;
}

/* The byte that a token stands for, whatever its type, or -1. */
static int byte_of(const umbra_vocabulary *v, int32_t id)
{
    int byte = umbra_token_is_text(v, id) ? named_byte(umbra_vocabulary_text(v, id)) : -1;
    if (v->tokens[id].type == UMBRA_TOKEN_BYTE)
        return byte;
    bool spells = v->kind != UMBRA_BYTE_PAIRS && byte >= 0 && v->byte_token[byte] == id;
    return spells ? byte : -1;
}

size_t umbra_tokenizer_decode(const umbra_tokenizer *tokenizer, int32_t id, bool special, char *out,
                              size_t size)
{
    const umbra_vocabulary *v = &tokenizer->vocabulary;
    if (id < 0 || (uint32_t)id >= v->n)
        return 0;
    umbra_string s = umbra_vocabulary_text(v, id);
    int type = v->tokens[id].type, byte = byte_of(v, id);
    if (type == UMBRA_TOKEN_NORMAL || type == UMBRA_TOKEN_BYTE || byte >= 0) {
        size_t (*decode)(umbra_string, char *) =
            v->kind == UMBRA_BYTE_PAIRS ? decode_alphabet : decode_piece;
        size_t n = byte >= 0 ? 1 : decode(s, NULL);
        if (n <= size && byte >= 0)
            out[0] = (char)byte;
        else if (n <= size)
            decode(s, out);
        return n;
    }
    if (type != UMBRA_TOKEN_USER_DEFINED && !special)
        return 0;
    if (s.bytes > 0 && s.bytes <= size)
        memcpy(out, s.data, s.bytes);
    return s.bytes;
}
