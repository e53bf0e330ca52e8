/* Drafts from the text itself: what followed the longest earlier occurrence of its last tokens.
 *
 * Places in the text are chained by their last two tokens, the newest first. Memory is laid out at
 * opening, for a context; a token is added in a few instructions, and the search looks at a bounded
 * number of places. */
#ifndef UMBRA_GENERATE_LOOKUP_H
#define UMBRA_GENERATE_LOOKUP_H

#include <stdint.h>

#include <umbra/status.h>

enum { UMBRA_LOOKUP_LEAST = 2 /* tokens that must occur again */ };

typedef struct umbra_lookup {
    int32_t *token;    /* (room) the text */
    int32_t *previous; /* (room) a place whose last two tokens hash alike, before it; -1: none */
    int32_t *newest;   /* (1 << bits) by that hash; -1: none */
    int room, n, bits;
    int searched; /* n at the last search, which found */
    int at;       /* a place before which the text's last tokens stand: */
    int matched;  /* so many of them; 0: none */
} umbra_lookup;

/* Memory for a context of so many positions. */
uint64_t umbra_lookup_bytes(int context);
int umbra_lookup_open(umbra_lookup *l, int context, umbra_error *err);
/* Also one that is all zeros. */
void umbra_lookup_close(umbra_lookup *l);

/* The text has one token more; what is beyond the context is not kept. */
void umbra_lookup_add(umbra_lookup *l, int32_t token);
/* The text has only its first n tokens. */
void umbra_lookup_cut(umbra_lookup *l, int n);
/* Up to `most` tokens that may come next, into out. Returns how many; *matched: how long the
 * occurrence is that they followed, counted up to a bound. */
int umbra_lookup_draft(umbra_lookup *l, int most, int32_t *out, int *matched);

#endif
