/* Agreeing, comparing and gathering among ranks. */
#include "engine/ranks.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/options.h"

int umbra_ranks_failure(const int *status, int count)
{
    int found = -1;
    for (int r = count - 1; r >= 0; r--) {
        bool own = status[r] != UMBRA_E_NONFINITE;
        if (status[r] != UMBRA_OK && (found < 0 || own || status[found] == UMBRA_E_NONFINITE))
            found = r;
    }
    return found;
}

int umbra_ranks_check(const umbra_ranks *r, umbra_error *err)
{
    if (!r)
        return UMBRA_OK;
    if (r->count < 1 || r->count > UMBRA_MAX_RANKS || r->rank < 0 || r->rank >= r->count)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "rank %d of %d: there can be 1 to %d ranks",
                          r->rank, r->count, UMBRA_MAX_RANKS);
    return UMBRA_CHECK_RESERVED(r, err);
}

int umbra_ranks_check_functions(const umbra_ranks *r, bool bring, umbra_error *err)
{
    if (!r || (r->gather && r->share && r->agree && (r->bring || !bring)))
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_ARGUMENT, "ranks need gather, share and agree%s",
                      bring ? ", and bring" : "");
}

int umbra_ranks_agree(const umbra_ranks *r, int status, umbra_error *err)
{
    umbra_error unused = {0};
    return umbra_ranks_divide(r) ? r->agree(r->user, status, err ? err : &unused) : status;
}

int umbra_ranks_share(const umbra_ranks *r, void *data, uint64_t bytes, umbra_error *err)
{
    return umbra_ranks_divide(r) && bytes > 0 ? r->share(r->user, data, bytes, err) : UMBRA_OK;
}

int umbra_ranks_bring(const umbra_ranks *r, int from, void *data, uint64_t bytes, umbra_error *err)
{
    return bytes > 0 ? r->bring(r->user, from, data, bytes, err) : UMBRA_OK;
}

int umbra_ranks_gather(const umbra_ranks *r, void *items, size_t item_bytes, umbra_error *err)
{
    if (!umbra_ranks_divide(r))
        return UMBRA_OK;
    int first[UMBRA_MAX_RANKS], n[UMBRA_MAX_RANKS], floats = (int)(item_bytes / sizeof(float));
    for (int i = 0; i < r->count; i++) {
        first[i] = i * floats;
        n[i] = floats;
    }
    return r->gather(r->user, items, first, n, err); /* an exchange copies bits */
}

void umbra_ranks_claim_set(umbra_ranks_claim *claim, const char *what, const char *value)
{
    *claim = (umbra_ranks_claim){.what = what};
    snprintf(claim->value, sizeof claim->value, "%s", value);
}

int umbra_ranks_compare(const umbra_ranks *r, const umbra_ranks_claim *claims, int n,
                        umbra_error *err)
{
    int rc = UMBRA_OK, status = UMBRA_OK;
    for (int i = 0; umbra_ranks_divide(r) && rc == UMBRA_OK && i < n; i++) {
        char first[sizeof claims[i].value];
        memcpy(first, claims[i].value, sizeof first);
        rc = umbra_ranks_share(r, first, sizeof first, err);
        if (rc == UMBRA_OK && status == UMBRA_OK &&
            memcmp(first, claims[i].value, sizeof first) != 0)
            status = umbra_fail(err, UMBRA_E_MISMATCH,
                                "%s differs from rank 0's: \"%.63s\" here, \"%.63s\" there; all "
                                "ranks must have the same",
                                claims[i].what, claims[i].value, first);
    }
    return rc == UMBRA_OK ? umbra_ranks_agree(r, status, err) : rc;
}
