/* The bytes of all tokens as a tree, in the order of a walk through it. */
#ifndef UMBRA_GRAMMAR_SPELLINGS_H
#define UMBRA_GRAMMAR_SPELLINGS_H

#include <umbra/grammar.h>

enum { SPELLING_BYTES = 255 /* of the longest token that counts */ };

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

#endif
