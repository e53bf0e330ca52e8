/* A source of drafts that knows the text, but for a share of wrong tokens. */
#ifndef UMBRA_TESTS_GENERATE_TELLER_H
#define UMBRA_TESTS_GENERATE_TELLER_H

#include "base/random.h"
#include "generate/drafts.h"

enum { TOLD_TEXTS = 4 };

typedef struct teller {
    const int32_t *text[TOLD_TEXTS]; /* (n) of each sequence; NULL: none */
    int n, at[TOLD_TEXTS];           /* at: tokens that came */
    double wrong;
    umbra_random random;
    int made;
} teller;

/* Tells of these texts, always as many as are asked for; seeded. */
umbra_draft_source teller_source(teller *t);

#endif
