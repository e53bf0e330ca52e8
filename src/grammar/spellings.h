/* The bytes of all tokens as a tree, in the order of a walk through it. */
#ifndef UMBRA_GRAMMAR_SPELLINGS_H
#define UMBRA_GRAMMAR_SPELLINGS_H

#include <umbra/grammar.h>

enum { SPELLING_BYTES = 255 /* of the longest token that counts */ };

/* Around the text of a control token, so that its letters are another thing: bytes that no text has
 * in UTF-8. */
#define SPELLING_CONTROL     '\xff'
#define SPELLING_CONTROL_END '\xfe'

/* A byte of a token, behind the bytes of the nodes above it. */
typedef struct spelling_node {
    uint8_t byte;
    uint8_t depth; /* bytes before it */
    int32_t token; /* the first that ends here, -1: none */
    uint32_t skip; /* the node behind all below this one */
} spelling_node;

struct umbra_spellings {
    const umbra_model *model;
    int vocabulary;
    spelling_node *nodes; /* (n) */
    uint32_t n;
    int32_t *again; /* (vocabulary) the next token of the same bytes, -1: none */
};

/* The bytes of a token; none are written where it has more than size. 0: it has no text. */
size_t umbra_spell(const umbra_model *model, int32_t id, char *out, size_t size);
/* A text as a model writes it: what are control tokens in it are spelled as such. NUL-terminated,
 * the caller frees it; NULL: memory is out. */
char *umbra_spell_text(const umbra_model *model, const char *text);

#endif
