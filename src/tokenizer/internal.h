/* The parts of the tokenizer: vocabulary, splitter, merges, encoder. Only for tokenizer*.c and its
 * tests.
 *
 * The GPT-2 byte alphabet: texts of normal tokens are UTF-8 in which each character stands for one
 * byte. The 188 printable Latin-1 bytes stand for themselves; the other 68 are U+0100 and up in
 * the order of the bytes ("Ġ", U+0120, is the space). */
#ifndef UMBRA_TOKENIZER_INTERNAL_H
#define UMBRA_TOKENIZER_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/notes.h"
#include "tokenizer/tokenizer.h"

enum {
    UMBRA_TOKEN_NORMAL = 1,
    UMBRA_TOKEN_UNKNOWN = 2,
    UMBRA_TOKEN_CONTROL = 3,
    UMBRA_TOKEN_USER_DEFINED = 4,
    UMBRA_TOKEN_UNUSED = 5,
    UMBRA_TOKEN_BYTE = 6
};

/* A probe that long means texts or pairs made to collide: natural ones stay below 300. */
enum { UMBRA_TOKENIZER_PROBES_MAX = 1024 };

#define UMBRA_NO_MERGE UINT32_MAX

typedef struct umbra_vocabulary_entry {
    uint32_t offset; /* of its text from umbra_vocabulary.texts */
    uint16_t bytes;
    uint8_t type; /* UMBRA_TOKEN_* */
} umbra_vocabulary_entry;

enum { UMBRA_END_TOKENS_MAX = 96 };

typedef enum umbra_tokenizer_kind {
    UMBRA_BYTE_PAIRS,      /* "gpt2": the byte alphabet, words, ranked merges */
    UMBRA_SENTENCE_PIECES, /* "llama": spaces are U+2581, merges by the score of what they make */
    UMBRA_CHARACTER_PAIRS  /* "gemma4": spaces are U+2581, ranked merges of characters in lines */
} umbra_tokenizer_kind;

typedef struct umbra_vocabulary {
    umbra_tokenizer_kind kind;
    const char *texts;              /* in the gguf handle; not owned */
    umbra_vocabulary_entry *tokens; /* (n) */
    uint32_t n;
    int32_t byte_token[256]; /* the token of each single byte; -1: none */
    uint32_t *order;         /* (n) sentence pieces: least first in merging; else NULL */
    uint32_t longest;        /* bytes of the longest text */
    int32_t *specials;       /* (n_specials) control and user-defined, by their texts */
    uint32_t n_specials;
    bool special_start[256]; /* some special token's text begins with this byte */
    int32_t bos, eos;        /* -1: none */
    int32_t unknown;         /* stands for what cannot be spelled; -1: that is left out */
    bool add_bos;
    bool space_prefix; /* sentence pieces: text begins with a space that is not in it */
    int32_t end[UMBRA_END_TOKENS_MAX];
    int n_end;
} umbra_vocabulary;

/* Texts to ids: the texts of the vocabulary by hash. */
typedef struct umbra_token_index {
    uint32_t *slots; /* (mask + 1) ids, UINT32_MAX where empty */
    uint32_t mask;
} umbra_token_index;

typedef struct umbra_merge {
    uint32_t left, right; /* ids */
    uint32_t rank;        /* UMBRA_NO_MERGE: an empty slot */
} umbra_merge;

typedef struct umbra_merges {
    umbra_merge *slots; /* (capacity) hash table by (left, right) */
    uint32_t capacity;
    uint32_t *merged; /* (n) id that the merge of each rank makes */
    uint32_t n;
} umbra_merges;

enum { UMBRA_PATTERNS_MAX = 5 };

/* Cuts text into pieces by one or more regexes: each cuts the pieces of the one before. */
typedef struct umbra_splitter {
    pcre2_code *patterns[UMBRA_PATTERNS_MAX];
    int n_patterns;
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    bool whole_words; /* a piece that is a token is not merged from its bytes */
    bool adds_bos;    /* where the file does not say */
    bool composes;    /* text is brought into Unicode's normal form C before it is cut */
} umbra_splitter;

struct umbra_tokenizer {
    umbra_vocabulary vocabulary;
    umbra_token_index index; /* kept where encoding looks texts up */
    umbra_merges merges;     /* ranked pairs */
    umbra_splitter splitter; /* byte pairs */
    umbra_notes notes;       /* what of the file was taken otherwise, or left out */
};

/* --- vocabulary: tokenizer_vocabulary.c --- */

/* Reads tokens, types and scores; v->kind is set. On failure what was made is left for the
 * _release calls; both accept zeroed structs. */
int umbra_vocabulary_init(umbra_vocabulary *v, umbra_token_index *index, const umbra_gguf *gguf,
                          umbra_notes *notes, umbra_error *err);
void umbra_vocabulary_release(umbra_vocabulary *v);
void umbra_token_index_release(umbra_token_index *index);
/* Id of the token whose text is a followed by b, or -1; of several the one that is text, or the
 * last. */
int32_t umbra_token_index_find(const umbra_token_index *index, const umbra_vocabulary *v,
                               umbra_string a, umbra_string b);
static inline umbra_string umbra_vocabulary_text(const umbra_vocabulary *v, int32_t id)
{
    return (umbra_string){v->texts + v->tokens[id].offset, v->tokens[id].bytes};
}

/* Plain text may become this token. */
static inline bool umbra_token_is_text(const umbra_vocabulary *v, int32_t id)
{
    return v->tokens[id].type != UMBRA_TOKEN_CONTROL && v->tokens[id].type != UMBRA_TOKEN_UNKNOWN;
}

/* --- tokens with a meaning: roles.c, specials.c --- */

/* Reads the ids with a meaning, once vocabulary, index and merges are there. adds_bos: the answer
 * where the file does not say. */
int umbra_roles_init(umbra_tokenizer *t, const umbra_gguf *gguf, bool adds_bos, umbra_error *err);
/* Lists the special tokens, once all types are known. */
int umbra_specials_list(umbra_vocabulary *v, umbra_error *err);
/* Which special tokens a text may become. */
typedef enum umbra_specials {
    UMBRA_SPECIALS_INPUT,   /* user-defined ones that do not look like markup */
    UMBRA_SPECIALS_DEFINED, /* all user-defined ones */
    UMBRA_SPECIALS_ALL      /* control tokens too */
} umbra_specials;
/* The longest of those that text (at least a byte) begins with, or -1. */
int32_t umbra_specials_find(const umbra_vocabulary *v, umbra_specials which, const char *text,
                            size_t n);

/* --- merges: tokenizer_merges.c --- */

int umbra_merges_init(umbra_merges *m, const umbra_vocabulary *v, const umbra_token_index *index,
                      const umbra_gguf *gguf, umbra_notes *notes, umbra_error *err);
void umbra_merges_release(umbra_merges *m);
/* Rank of the merge of two neighbours, or UMBRA_NO_MERGE. */
uint32_t umbra_merges_find(const umbra_merges *m, uint32_t left, uint32_t right);

/* --- splitter: tokenizer_split.c --- */

int umbra_splitter_init(umbra_splitter *s, const umbra_gguf *gguf, umbra_notes *notes,
                        umbra_error *err);
void umbra_splitter_release(umbra_splitter *s);
uint64_t umbra_splitter_bytes(const umbra_splitter *s);
/* First match of a pattern in text (n bytes of valid UTF-8) from `at` on: *start and *end, both n
 * if there is none. match: of the calling thread. */
int umbra_splitter_next(const umbra_splitter *s, int pattern, pcre2_match_data *match,
                        const char *text, size_t n, size_t at, size_t *start, size_t *end,
                        umbra_error *err);

/* --- normal form C: tokenizer_normalise.c --- */

/* text (n bytes of valid UTF-8) composed: *out (free with umbra_free) holds *out_n bytes, or is
 * NULL where the text is composed already. */
int umbra_normalise(const char *text, size_t n, char **out, size_t *out_n, umbra_error *err);

/* --- the space of sentence pieces --- */

#define UMBRA_PIECE_SPACE "\xe2\x96\x81" /* U+2581 */
enum { UMBRA_PIECE_SPACE_BYTES = sizeof UMBRA_PIECE_SPACE - 1 };

/* --- the byte alphabet --- */

/* Code point that stands for a byte. */
static inline uint32_t umbra_alphabet_code(unsigned char byte)
{
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte >= 0x7f && byte <= 0xa0)
        return 0x121u + (byte - 0x7fu);
    return byte == 0xad ? 0x143u : byte;
}

/* The byte that a code point stands for, or -1. */
static inline int umbra_alphabet_byte(uint32_t code)
{
    if (code >= 0x100 && code <= 0x120)
        return (int)(code - 0x100);
    if (code >= 0x121 && code <= 0x142)
        return (int)(code - 0x121 + 0x7f);
    if (code == 0x143)
        return 0xad;
    return code > 0x143 || umbra_alphabet_code((unsigned char)code) != code ? -1 : (int)code;
}

#endif
