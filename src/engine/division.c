/* Divides experts among ranks, and exchanges what they compute. */
#include "engine/division.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/part.h"
#include "engine/ranks.h"

/* An expert as it waits to be given to a rank. */
typedef struct candidate {
    uint64_t uses;
    int expert;
} candidate;

/* What a rank has of a layer so far. */
typedef struct load {
    uint64_t uses;
    int experts;
} load;

static int by_uses(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->uses != y->uses)
        return x->uses < y->uses ? 1 : -1;
    return x->expert - y->expert;
}

/* Whether rank a is to be given the next expert before rank b. Ranks that are alike take turns,
 * and another one begins in each layer, so that what does not divide evenly is not always the
 * same rank's. */
static bool goes_first(const load *loads, int a, int b, int layer, int ranks)
{
    if (loads[a].uses != loads[b].uses)
        return loads[a].uses < loads[b].uses;
    if (loads[a].experts != loads[b].experts)
        return loads[a].experts < loads[b].experts;
    return (a + layer) % ranks < (b + layer) % ranks;
}

/* The largest first, each to the rank with least (longest processing time first). */
static void divide_layer(umbra_division *d, candidate *list, load *loads, int layer)
{
    int ranks = d->ranks.count, least = d->experts / ranks, left = d->experts % ranks;
    uint16_t *owner = d->owner + (size_t)layer * (size_t)d->experts;
    for (int e = 0; e < d->experts; e++) {
        size_t at = (size_t)layer * (size_t)d->experts + (size_t)e;
        list[e] = (candidate){d->ranks.uses ? d->ranks.uses[at] : 0, e};
    }
    qsort(list, (size_t)d->experts, sizeof *list, by_uses);
    memset(loads, 0, (size_t)ranks * sizeof *loads);
    for (int i = 0; i < d->experts; i++) {
        int best = -1;
        for (int r = 0; r < ranks; r++)
            if (loads[r].experts < least + (left > 0) &&
                (best < 0 || goes_first(loads, r, best, layer, ranks)))
                best = r;
        owner[list[i].expert] = (uint16_t)best;
        loads[best].uses += list[i].uses;
        if (++loads[best].experts > least)
            left--;
    }
}

static int divide(umbra_division *d, umbra_error *err)
{
    candidate *list = umbra_calloc((size_t)d->experts, sizeof *list);
    load *loads = umbra_calloc((size_t)d->ranks.count, sizeof *loads);
    int rc = list && loads ? UMBRA_OK : umbra_fail_nomem(err, "the division of experts", 0);
    for (int l = 0; rc == UMBRA_OK && l < d->layers; l++)
        divide_layer(d, list, loads, l);
    umbra_free(list);
    umbra_free(loads);
    return rc;
}

static void order_layer(umbra_division *d, int layer)
{
    size_t at = (size_t)layer * (size_t)d->experts;
    int n = 0;
    for (int r = 0; r < d->ranks.count; r++)
        for (int e = 0; e < d->experts; e++)
            if (d->owner[at + (size_t)e] == r)
                d->order[at + (size_t)n++] = (uint16_t)e;
}

/* What follows from who has what. */
static void take_owners(umbra_division *d, const umbra_model *model)
{
    d->owned = 0;
    for (int l = 0; l < d->layers; l++) {
        order_layer(d, l);
        if (umbra_layer_has_experts(model, l))
            for (int e = 0; e < d->experts; e++)
                d->owned += d->owner[(size_t)l * (size_t)d->experts + (size_t)e] == d->ranks.rank;
    }
}

int umbra_division_init(umbra_division *d, const umbra_model *model, const umbra_ranks *ranks,
                        umbra_error *err)
{
    *d = (umbra_division){.layers = model->config.layers, .experts = model->config.experts};
    d->owned = (uint64_t)model->info.moe_layers * (uint64_t)d->experts;
    if (!ranks)
        return UMBRA_OK;
    int rc = umbra_ranks_check(ranks, err);
    if (rc != UMBRA_OK || ranks->count == 1)
        return rc;
    d->ranks = *ranks;
    size_t pairs = (size_t)d->layers * (size_t)d->experts, n = (size_t)ranks->count;
    d->owner = umbra_calloc(pairs, sizeof *d->owner);
    d->order = umbra_calloc(pairs, sizeof *d->order);
    d->first = umbra_calloc(n, sizeof *d->first);
    d->n = umbra_calloc(n, sizeof *d->n);
    if (!d->owner || !d->order || !d->first || !d->n)
        return umbra_fail_nomem(err, "the division of experts", pairs * 2 * sizeof *d->owner);
    int rank, of_ranks;
    rc = umbra_part_read(model, &rank, &of_ranks, d->owner, err);
    if (rc == UMBRA_OK && of_ranks != ranks->count)
        rc = divide(d, err);
    if (rc == UMBRA_OK)
        take_owners(d, model);
    return rc;
}

void umbra_division_free(umbra_division *d)
{
    umbra_free(d->owner);
    umbra_free(d->order);
    umbra_free(d->first);
    umbra_free(d->n);
    *d = (umbra_division){0};
}

int umbra_division_share(umbra_division *d, const umbra_model *model, umbra_error *err)
{
    size_t pairs = (size_t)d->layers * (size_t)d->experts;
    if (!d->owner)
        return UMBRA_OK;
    int rc = d->ranks.share(d->ranks.user, d->owner, pairs * sizeof *d->owner, err);
    if (rc == UMBRA_OK)
        take_owners(d, model);
    return rc;
}

umbra_slice *umbra_division_slices(const umbra_division *d, const umbra_model *model)
{
    size_t pairs = (size_t)d->layers * (size_t)d->experts;
    umbra_slice *slices = umbra_calloc(pairs * UMBRA_STORE_SLICES, sizeof *slices);
    for (size_t i = 0; slices && i < pairs; i++)
        if (!d->owner || d->owner[i] == d->ranks.rank)
            memcpy(slices + i * UMBRA_STORE_SLICES, model->slices + i * UMBRA_STORE_SLICES,
                   UMBRA_STORE_SLICES * sizeof *slices);
    return slices;
}

/* ---- a layer ---- */

int umbra_division_own(const umbra_division *d, const umbra_scratch *s, int layer, int n,
                       int *first)
{
    *first = 0;
    if (!d->owner)
        return n;
    const uint16_t *owner = d->owner + (size_t)layer * (size_t)d->experts;
    while (*first < n && owner[s->span_expert[*first]] < d->ranks.rank)
        ++*first;
    int end = *first;
    while (end < n && owner[s->span_expert[end]] == d->ranks.rank)
        end++;
    return end - *first;
}

/* Where each rank's contributions lie: side by side, since pairs are sorted by owner. */
static void find_parts(umbra_division *d, const umbra_scratch *s, int layer, int distinct,
                       int hidden)
{
    const uint16_t *owner = d->owner + (size_t)layer * (size_t)d->experts;
    int at = 0;
    memset(d->n, 0, (size_t)d->ranks.count * sizeof *d->n);
    for (int i = 0; i < distinct; i++)
        d->n[owner[s->span_expert[i]]] += s->spans[s->span_expert[i]].count * hidden;
    for (int r = 0; r < d->ranks.count; r++) {
        d->first[r] = at;
        at += d->n[r];
    }
}

int umbra_division_gather(umbra_division *d, const umbra_pass *p, int layer, int distinct,
                          bool failed, umbra_error *err)
{
    if (!d->owner)
        return UMBRA_OK;
    umbra_scratch *s = p->scratch;
    find_parts(d, s, layer, distinct, p->model->config.expert_hidden);
    for (int i = 0; failed && i < d->n[d->ranks.rank]; i++)
        s->contribution[d->first[d->ranks.rank] + i] = NAN;
    return d->ranks.gather(d->ranks.user, s->contribution, d->first, d->n, failed ? NULL : err);
}

/* ---- agreeing ---- */

int umbra_division_agree(const umbra_division *d, int status, umbra_error *err)
{
    return umbra_ranks_agree(d->owner ? &d->ranks : NULL, status, err);
}

int umbra_division_least(const umbra_division *d, int *value, umbra_error *err)
{
    if (!d->owner)
        return UMBRA_OK;
    float *all = umbra_calloc((size_t)d->ranks.count, sizeof *all);
    if (!all)
        return umbra_fail_nomem(err, "what ranks agree on", 0);
    for (int r = 0; r < d->ranks.count; r++) {
        d->first[r] = r;
        d->n[r] = 1;
    }
    all[d->ranks.rank] = (float)*value;
    int rc = d->ranks.gather(d->ranks.user, all, d->first, d->n, err);
    for (int r = 0; rc == UMBRA_OK && r < d->ranks.count; r++)
        *value = (int)all[r] < *value ? (int)all[r] : *value;
    umbra_free(all);
    return rc;
}

int umbra_division_sum(const umbra_division *d, uint64_t *counts, umbra_error *err)
{
    enum { FLOATS = sizeof(uint64_t) / sizeof(float) }; /* an exchange copies bits */
    size_t pairs = (size_t)d->layers * (size_t)d->experts, at = 0;
    if (!d->owner)
        return UMBRA_OK;
    uint64_t *all = umbra_calloc(pairs, sizeof *all);
    if (!all)
        return umbra_fail_nomem(err, "the uses of all ranks", pairs * sizeof *all);
    for (int r = 0; r < d->ranks.count; r++) {
        d->first[r] = (int)(at * FLOATS);
        for (size_t i = 0; i < pairs; i++)
            if (d->owner[i] == r)
                all[at++] = counts[i];
        d->n[r] = (int)(at * FLOATS) - d->first[r];
    }
    int rc = d->ranks.gather(d->ranks.user, (float *)(void *)all, d->first, d->n, err);
    at = 0;
    for (int r = 0; rc == UMBRA_OK && r < d->ranks.count; r++)
        for (size_t i = 0; i < pairs; i++)
            if (d->owner[i] == r)
                counts[i] = all[at++];
    umbra_free(all);
    return rc;
}
