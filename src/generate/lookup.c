/* The longest earlier occurrence of a text's last tokens, by chains of places that hash alike. */
#include "generate/lookup.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

enum {
    LEAST_BITS = 8,
    MOST_BITS = 16,
    PLACES = 64,       /* looked at for a draft, at most */
    MATCH_COUNTED = 32 /* tokens of a match; a longer one is as good */
};

static int bits_for(int context)
{
    int bits = LEAST_BITS;
    while (bits < MOST_BITS && 1 << bits < context)
        bits++;
    return bits;
}

uint64_t umbra_lookup_bytes(int context)
{
    return (2 * (uint64_t)context + ((uint64_t)1 << bits_for(context))) * sizeof(int32_t);
}

int umbra_lookup_open(umbra_lookup *l, int context, umbra_error *err)
{
    *l = (umbra_lookup){.room = context, .bits = bits_for(context)};
    l->token = umbra_calloc((size_t)context, sizeof *l->token);
    l->previous = umbra_calloc((size_t)context, sizeof *l->previous);
    l->newest = umbra_calloc((size_t)1 << l->bits, sizeof *l->newest);
    if (!l->token || !l->previous || !l->newest) {
        umbra_lookup_close(l);
        return umbra_fail_nomem(err, "looking drafts up", umbra_lookup_bytes(context));
    }
    umbra_lookup_cut(l, 0);
    return UMBRA_OK;
}

void umbra_lookup_close(umbra_lookup *l)
{
    umbra_free(l->token);
    umbra_free(l->previous);
    umbra_free(l->newest);
    *l = (umbra_lookup){0};
}

/* Of the two tokens before place n. */
static int32_t *chain_of(const umbra_lookup *l, int n)
{
    uint32_t pair = (uint32_t)l->token[n - 1] * 2654435761u ^ (uint32_t)l->token[n - 2];
    return &l->newest[pair * 2246822519u >> (32 - l->bits)];
}

/* How many tokens before places a and b are the same; a < b. */
static int match_at(const umbra_lookup *l, int a, int b)
{
    int n = 0;
    while (n < MATCH_COUNTED && n < a && l->token[a - 1 - n] == l->token[b - 1 - n])
        n++;
    return n;
}

static void consider(umbra_lookup *l, int place)
{
    int matched = match_at(l, place, l->n);
    if (matched > l->matched) {
        l->at = place;
        l->matched = matched;
    }
}

/* The place that was found stays the first choice as long as the text agrees with it: a long
 * repetition is followed without searching. Otherwise the newest of the longest matches is taken.
 */
static void search(umbra_lookup *l)
{
    int followed = l->matched > 0 ? l->at + l->n - l->searched : 0;
    l->searched = l->n;
    l->matched = 0;
    if (l->n < UMBRA_LOOKUP_LEAST)
        return;
    if (followed > 0)
        consider(l, followed);
    int place = *chain_of(l, l->n);
    for (int i = 0; i < PLACES && place >= 0 && l->matched < MATCH_COUNTED; i++) {
        consider(l, place);
        place = l->previous[place];
    }
    if (l->matched < UMBRA_LOOKUP_LEAST)
        l->matched = 0;
}

void umbra_lookup_add(umbra_lookup *l, int32_t token)
{
    if (l->n == l->room)
        return;
    if (l->n >= UMBRA_LOOKUP_LEAST) {
        int32_t *chain = chain_of(l, l->n);
        l->previous[l->n] = *chain;
        *chain = l->n;
    }
    l->token[l->n++] = token;
}

void umbra_lookup_cut(umbra_lookup *l, int n)
{
    int kept = n < l->n ? n : l->n;
    memset(l->newest, 0xff, sizeof *l->newest << l->bits);
    l->n = l->matched = l->searched = 0;
    for (int i = 0; i < kept; i++)
        umbra_lookup_add(l, l->token[i]);
}

int umbra_lookup_draft(umbra_lookup *l, int most, int32_t *out, int *matched)
{
    int n = 0;
    if (l->searched != l->n)
        search(l);
    *matched = l->matched;
    /* A match that overlaps its continuation goes round: what it drafts is then text of its own. */
    for (; l->matched > 0 && n < most; n++)
        out[n] = l->at + n < l->n ? l->token[l->at + n] : out[l->at + n - l->n];
    return n;
}
