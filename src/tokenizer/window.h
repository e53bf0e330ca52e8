/* A stretch of text whose symbols are merged. */
#ifndef UMBRA_TOKENIZER_WINDOW_H
#define UMBRA_TOKENIZER_WINDOW_H

#include "tokenizer/internal.h"

#define UMBRA_NO_TOKEN UINT32_MAX

/* A run of the window's bytes that is one token so far. It has the number of its first byte. */
typedef struct umbra_symbol {
    uint32_t id;             /* UMBRA_NO_TOKEN: a character not looked up yet, a byte without one */
    uint32_t previous, next; /* UINT32_MAX before the first, the window's n after the last */
    uint32_t rank;           /* of its merge with the next one, or UMBRA_NO_MERGE */
    uint32_t merged;         /* id that this merge makes */
} umbra_symbol;

typedef struct umbra_window {
    const umbra_tokenizer *tokenizer;
    const char *piece; /* (n) its bytes; byte pairs do not read them */
    uint32_t n;
    umbra_symbol *symbols; /* (room) */
    uint64_t *heap;        /* (2 room) rank << 32 | symbol: least rank first, then leftmost */
    size_t n_heap;
    size_t room;
} umbra_window;

/* Room for n bytes; what it held is lost. */
int umbra_window_reserve(umbra_window *w, size_t n, umbra_error *err);
void umbra_window_release(umbra_window *w);
/* Merges; piece, n and the symbols' id, previous and next are set. */
void umbra_window_merge(umbra_window *w);
/* Id of the token that this text may become by merging, or UMBRA_NO_TOKEN. */
uint32_t umbra_window_find(const umbra_tokenizer *t, const char *text, size_t bytes);

#endif
