/* What everyone who divides work among ranks asks of them. ranks NULL, or a single one: nothing is
 * exchanged, and what is asked is so already. */
#ifndef UMBRA_ENGINE_RANKS_H
#define UMBRA_ENGINE_RANKS_H

#include <stdbool.h>
#include <stddef.h>

#include <umbra/ranks.h>

static inline bool umbra_ranks_divide(const umbra_ranks *r)
{
    return r && r->count > 1;
}
static inline int umbra_ranks_own(const umbra_ranks *r)
{
    return r ? r->rank : 0;
}
static inline int umbra_ranks_count(const umbra_ranks *r)
{
    return r ? r->count : 1;
}

/* UMBRA_E_ARGUMENT unless the numbers can be. */
int umbra_ranks_check(const umbra_ranks *r, umbra_error *err);
/* UMBRA_E_ARGUMENT unless the functions are there; bring: that one too. */
int umbra_ranks_check_functions(const umbra_ranks *r, bool bring, umbra_error *err);

/* See umbra_ranks. */
int umbra_ranks_agree(const umbra_ranks *r, int status, umbra_error *err);
int umbra_ranks_share(const umbra_ranks *r, void *data, uint64_t bytes, umbra_error *err);
int umbra_ranks_bring(const umbra_ranks *r, int from, void *data, uint64_t bytes, umbra_error *err);

/* Items of whole floats' size lie one after the other (count), this rank's in its place: the
 * others' are written to theirs. */
int umbra_ranks_gather(const umbra_ranks *r, void *items, size_t item_bytes, umbra_error *err);

/* What must be the same on all ranks, one by one. */
typedef struct umbra_ranks_claim {
    const char *what; /* "the version of Umbra" */
    char value[64];   /* zero-padded */
} umbra_ranks_claim;

/* Sets one; a value that is too long is cut. */
void umbra_ranks_claim_set(umbra_ranks_claim *claim, const char *what, const char *value);
/* UMBRA_E_MISMATCH, on all ranks, if one differs from rank 0's. */
int umbra_ranks_compare(const umbra_ranks *r, const umbra_ranks_claim *claims, int n,
                        umbra_error *err);

#endif
