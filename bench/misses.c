/* Misses per token on recorded routing, by what an eviction goes by: no disk, no clock, nothing
 * that depends on the machine.
 *
 *   misses TRACES [--tokens N] [--warm N] [--residency SHARE...] [--known BATCHES...]
 *          [--recall R1 R2...] [--sizes N...]
 *
 * order: the order of use (LRU). fade: a count of uses that fades by 2 % a token (LFU), as the
 * store keeps it. known B: the same, knowing which experts the next B batches use. told B: what is
 * told of the next B batches comes true as often as --recall says, distance by distance (the last
 * one for all beyond). Belady: who is used last goes, the bound of all policies. Of what is told,
 * as much is false as is missed. sizes N: fade where the experts of the layers are of N sizes in
 * turns, each with slots of its own, as many as its share of the experts: what no common cache
 * costs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lab/trace/trace.h"
#include "numbers.h"

enum { MOST = 16, DOCUMENT = 512 /* tokens taken of a document at most */ };

static const double keep = 0.98; /* of a use, after a token */

/* Recorded routing: batch b = token * layers + layer uses used[b * k ...]. */
typedef struct record {
    int layers, experts, k;
    size_t batches;
    uint16_t *used;
    int32_t *next; /* (batches, k) the batch in which the same expert is used next; INT32_MAX */
} record;

typedef enum rule { RULE_ORDER, RULE_FADE, RULE_TOLD, RULE_BELADY } rule;

typedef struct policy {
    rule rule;
    int horizon;          /* batches, RULE_TOLD */
    const double *recall; /* (n_recall) by distance; NULL: everything comes true */
    int n_recall;
    int sizes; /* 0: one */
} policy;

/* One expert of one layer. */
typedef struct expert {
    bool resident;
    double count; /* as of `seen` */
    int32_t seen; /* batch of its last use */
    int32_t next; /* batch of its next use */
    int32_t told; /* batch for which it was told last, and with what probability */
    double probability;
} expert;

/* Slots of one size. */
typedef struct pool {
    int32_t *slots; /* (room) indices into experts */
    int room, held;
} pool;

typedef struct cache {
    const record *r;
    const policy *p;
    expert *experts; /* (layers, experts) */
    pool pools[MOST];
    int n_pools;
    uint64_t random;
} cache;

/* ---- the record ---- */

static size_t count_tokens(const umbra_trace *trace, size_t most)
{
    size_t n = 0;
    for (int i = 0; i < umbra_trace_documents(trace); i++) {
        int tokens = umbra_trace_document_at(trace, i)->tokens;
        n += (size_t)(tokens < DOCUMENT ? tokens : DOCUMENT);
    }
    return n < most ? n : most;
}

static void read_document(record *r, umbra_trace *trace, const umbra_trace_document *d,
                          size_t first, int n)
{
    umbra_error err = {0};
    size_t k = (size_t)r->k, layers = (size_t)r->layers;
    uint16_t *column = need(malloc((size_t)n * k * sizeof *column));
    for (size_t l = 0; l < layers; l++) {
        must(umbra_trace_read_experts(trace, d->shard, (int)l, d->first, n, column, &err), &err);
        for (size_t t = 0; t < (size_t)n; t++)
            memcpy(r->used + ((first + t) * layers + l) * k, column + t * k, k * sizeof *column);
    }
    free(column);
}

static void find_next(record *r)
{
    size_t pairs = (size_t)r->layers * (size_t)r->experts;
    int32_t *last = need(malloc(pairs * sizeof *last));
    for (size_t i = 0; i < pairs; i++)
        last[i] = INT32_MAX;
    for (size_t b = r->batches; b-- > 0;) {
        for (size_t j = b * (size_t)r->k; j < (b + 1) * (size_t)r->k; j++) {
            int32_t *l = &last[b % (size_t)r->layers * (size_t)r->experts + r->used[j]];
            r->next[j] = *l;
            *l = (int32_t)b;
        }
    }
    free(last);
}

static void read_record(record *r, umbra_trace *trace, size_t most)
{
    const umbra_trace_info *info = umbra_trace_get_info(trace);
    *r = (record){.layers = info->layers, .experts = info->experts, .k = info->used};
    size_t tokens = count_tokens(trace, most), first = 0;
    r->batches = tokens * (size_t)r->layers;
    r->used = need(calloc(r->batches * (size_t)r->k, sizeof *r->used));
    r->next = need(calloc(r->batches * (size_t)r->k, sizeof *r->next));
    for (int i = 0; i < umbra_trace_documents(trace) && first < tokens; i++) {
        const umbra_trace_document *d = umbra_trace_document_at(trace, i);
        size_t n = (size_t)(d->tokens < DOCUMENT ? d->tokens : DOCUMENT);
        n = n < tokens - first ? n : tokens - first;
        read_document(r, trace, d, first, (int)n);
        first += n;
    }
    find_next(r);
}

/* ---- the cache ---- */

static expert *expert_of(const cache *c, size_t batch, int id)
{
    size_t layer = batch % (size_t)c->r->layers;
    return &c->experts[layer * (size_t)c->r->experts + (size_t)id];
}

/* 0 to 1. */
static double draw(cache *c)
{
    c->random = c->random * 6364136223846793005u + 1442695040888963407u;
    return (double)(c->random >> 11) * 0x1p-53;
}

static double recall_at(const policy *p, int distance)
{
    if (!p->recall)
        return 1;
    return p->recall[distance < p->n_recall ? distance - 1 : p->n_recall - 1];
}

/* What is told of a coming batch from here: most of what it uses, and for what is left out some
 * that it does not. A nearer word replaces a farther one. */
static void tell(cache *c, size_t now, size_t batch)
{
    double recall = recall_at(c->p, (int)(batch - now));
    expert *layer = expert_of(c, batch, 0);
    for (int e = 0; e < c->r->experts; e++)
        if (layer[e].told == (int32_t)batch)
            layer[e].told = -1;
    for (int j = 0; j < c->r->k; j++) {
        bool true_word = draw(c) < recall;
        int id = true_word ? c->r->used[batch * (size_t)c->r->k + (size_t)j]
                           : (int)(draw(c) * c->r->experts);
        layer[id].told = (int32_t)batch;
        layer[id].probability = recall;
    }
}

/* How much an expert is worth keeping: the least goes. */
static double worth(const cache *c, const expert *x, size_t now)
{
    double fade = x->count * pow(keep, (double)((int32_t)now - x->seen) / c->r->layers);
    switch (c->p->rule) {
    case RULE_ORDER:
        return x->seen;
    case RULE_BELADY:
        return -(double)x->next;
    case RULE_TOLD:
        if (x->told > (int32_t)now) /* used by every token: as many uses */
            return fade + x->probability / (1 - keep);
        return fade;
    default:
        return fade;
    }
}

/* pinned: used by the batch `now`. */
static bool is_pinned(const cache *c, const expert *x, size_t now)
{
    (void)c;
    return x->seen == (int32_t)now;
}

static void read_in(cache *c, expert *x, size_t now)
{
    pool *p = &c->pools[now % (size_t)c->r->layers % (size_t)c->n_pools];
    int at = p->held;
    if (p->held < p->room) {
        p->held++;
    } else {
        double least = INFINITY;
        for (int i = 0; i < p->room; i++) {
            const expert *y = &c->experts[p->slots[i]];
            double w = is_pinned(c, y, now) ? INFINITY : worth(c, y, now);
            if (w < least) {
                least = w;
                at = i;
            }
        }
        c->experts[p->slots[at]].resident = false;
    }
    p->slots[at] = (int32_t)(x - c->experts);
    x->resident = true;
}

/* Returns the misses. */
static int use(cache *c, size_t now)
{
    const uint16_t *used = c->r->used + now * (size_t)c->r->k;
    int misses = 0;
    for (int j = 0; j < c->r->k; j++) {
        expert *x = expert_of(c, now, used[j]);
        x->count = 1 + x->count * pow(keep, (double)((int32_t)now - x->seen) / c->r->layers);
        x->seen = (int32_t)now;
        x->next = c->r->next[now * (size_t)c->r->k + (size_t)j];
        misses += !x->resident;
    }
    for (int j = 0; j < c->r->k; j++) {
        expert *x = expert_of(c, now, used[j]);
        if (!x->resident)
            read_in(c, x, now);
    }
    return misses;
}

/* Every size gets the same share of its experts. */
static void make_pools(cache *c, double residency)
{
    c->n_pools = c->p->sizes > 0 ? c->p->sizes : 1;
    for (int i = 0; i < c->n_pools; i++) {
        int layers = (c->r->layers - i + c->n_pools - 1) / c->n_pools;
        c->pools[i].room = (int)(residency * layers * c->r->experts);
        c->pools[i].slots = need(calloc((size_t)c->pools[i].room + 1, sizeof(int32_t)));
    }
}

static double misses_per_token(const record *r, const policy *p, double residency, size_t warm)
{
    size_t pairs = (size_t)r->layers * (size_t)r->experts;
    cache c = {.r = r, .p = p, .random = 1};
    c.experts = need(calloc(pairs, sizeof *c.experts));
    make_pools(&c, residency);
    for (size_t i = 0; i < pairs; i++)
        c.experts[i].told = -1;
    uint64_t misses = 0;
    for (size_t b = 0; b < r->batches; b++) {
        for (int d = 1; p->rule == RULE_TOLD && d <= p->horizon && b + (size_t)d < r->batches; d++)
            tell(&c, b, b + (size_t)d);
        int n = use(&c, b);
        misses += b >= warm * (size_t)r->layers ? (uint64_t)n : 0;
    }
    free(c.experts);
    for (int i = 0; i < c.n_pools; i++)
        free(c.pools[i].slots);
    return (double)misses / (double)(r->batches / (size_t)r->layers - warm);
}

/* ---- the table ---- */

static void print(const record *r, const char *name, const policy *p, const double *residencies,
                  int n, size_t warm)
{
    printf("%-12s", name);
    for (int i = 0; i < n; i++) {
        printf(" %7.2f", misses_per_token(r, p, residencies[i], warm));
        fflush(stdout);
    }
    putchar('\n');
}

int main(int argc, char **argv)
{
    double residencies[MOST] = {0.3, 0.5, 0.7}, recall[MOST] = {0.97, 0.96, 0.95, 0.94},
           known[MOST] = {4, 16, 32}, sizes[MOST] = {2, 4};
    int n_residencies = 3, n_recall = 4, n_known = 3, n_sizes = 2;
    size_t tokens = 3000, warm = 500;
    if (argc < 2) {
        fputs("usage: misses TRACES [OPTIONS]; the source's head explains them\n", stderr);
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        const char *option = argv[i];
        double one = 0;
        if (strcmp(option, "--residency") == 0)
            n_residencies = numbers_of(argc, argv, &i, residencies, MOST);
        else if (strcmp(option, "--known") == 0)
            n_known = numbers_of(argc, argv, &i, known, MOST);
        else if (strcmp(option, "--recall") == 0)
            n_recall = numbers_of(argc, argv, &i, recall, MOST);
        else if (strcmp(option, "--sizes") == 0)
            n_sizes = numbers_of(argc, argv, &i, sizes, MOST);
        else if (strcmp(option, "--tokens") == 0 && numbers_of(argc, argv, &i, &one, 1))
            tokens = (size_t)one;
        else if (strcmp(option, "--warm") == 0 && numbers_of(argc, argv, &i, &one, 1))
            warm = (size_t)one;
    }
    umbra_error err = {0};
    umbra_trace *trace;
    record r;
    must(umbra_trace_open(&trace, argv[1], &err), &err);
    read_record(&r, trace, tokens);
    printf("misses per token of %d used, %zu tokens\n%-12s", r.layers * r.k,
           r.batches / (size_t)r.layers, "resident");
    for (int i = 0; i < n_residencies; i++)
        printf(" %6.0f%%", 100 * residencies[i]);
    putchar('\n');
    print(&r, "order", &(policy){.rule = RULE_ORDER}, residencies, n_residencies, warm);
    print(&r, "fade", &(policy){.rule = RULE_FADE}, residencies, n_residencies, warm);
    for (int i = 0; i < n_sizes; i++) {
        char name[32];
        int n = sizes[i] < 1 ? 1 : sizes[i] > MOST ? MOST : (int)sizes[i];
        snprintf(name, sizeof name, "sizes %d", n);
        print(&r, name, &(policy){.rule = RULE_FADE, .sizes = n}, residencies, n_residencies, warm);
    }
    for (int told = 0; told < 2; told++) {
        for (int i = 0; i < n_known; i++) {
            char name[32];
            snprintf(name, sizeof name, "%s %.0f", told ? "told" : "known", known[i]);
            const policy p = {.rule = RULE_TOLD,
                              .horizon = (int)known[i],
                              .recall = told ? recall : NULL,
                              .n_recall = n_recall};
            print(&r, name, &p, residencies, n_residencies, warm);
        }
    }
    print(&r, "Belady", &(policy){.rule = RULE_BELADY}, residencies, n_residencies, warm);
    free(r.used);
    free(r.next);
    umbra_trace_close(&trace);
    return 0;
}
