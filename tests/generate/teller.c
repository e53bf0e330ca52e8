/* A source of drafts that knows the text. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../engine/answers.h"
#include "teller.h"

static void teller_begin(void *self, int sequence, int length)
{
    assert_in_range(sequence, 0, TOLD_TEXTS - 1);
    ((teller *)self)->at[sequence] = length;
}

static void teller_add(void *self, int sequence, const int32_t *tokens, int n)
{
    teller *t = self;
    int at = t->at[sequence];
    for (int i = 0; i < n && at + i < t->n; i++)
        assert_int_equal(tokens[i], t->text[sequence][at + i]);
    t->at[sequence] += n;
}

static int teller_make(void *self, int sequence, int most, int32_t *out, int *kind)
{
    teller *t = self;
    *kind = 0;
    for (int i = 0; i < most; i++) {
        int at = t->at[sequence] + i;
        bool wrong = at >= t->n || umbra_random_unit(&t->random) < t->wrong;
        out[i] =
            wrong ? (int32_t)umbra_random_below(&t->random, MAKE_TOKENS) : t->text[sequence][at];
    }
    t->made += most;
    return most;
}

umbra_draft_source teller_source(teller *t)
{
    umbra_random_seed(&t->random, 5);
    return (umbra_draft_source){.name = UMBRA_DRAFT_LOOKUP,
                                .kinds = 1,
                                .begin = teller_begin,
                                .add = teller_add,
                                .make = teller_make,
                                .self = t};
}
