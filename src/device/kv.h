/* How keys and values lie in memory, and what of them a row of a step sees.
 *
 * A layer keeps its keys and values in pages of UMBRA_KV_PAGE positions. A page holds, for each of
 * its heads one behind the other, (UMBRA_KV_PAGE, key) keys, and behind all keys, for each head,
 * (UMBRA_KV_PAGE, value) values. A latent layer has one head and value 0: its values lie inside its
 * keys. A value is `unit` bytes (the kernels' kv_bytes). */
#ifndef UMBRA_DEVICE_KV_H
#define UMBRA_DEVICE_KV_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

enum { UMBRA_KV_PAGE = 64 };

/* What a layer keeps of every position, or of every block of positions. */
typedef struct umbra_kv_form {
    int heads;      /* key/value heads */
    int key, value; /* values of a row */
    int window;     /* positions that a row sees, its own included; 0: all */
    int every; /* one row stands for each whole block of so many positions; no window then. 0, 1:
                  for each position */
    uint32_t unit;
} umbra_kv_form;

/* What one row of a step sees of its layer's keys and values: positions (or blocks of them) [first,
 * kept) of its sequence, and behind them `extras` rows that are not the sequence's (yet). The row's
 * own key is the last of all. */
typedef struct umbra_kv_view {
    char *const *page; /* page p holds the positions from p * UMBRA_KV_PAGE on; those wholly before
                          `first` may be gone */
    int first, kept;
    char *extra;  /* a page, or NULL */
    int extra_at; /* the row of that page with which the extras begin */
    int extras;
} umbra_kv_view;

/* Rows that stand for the first `positions` positions. */
static inline int umbra_kv_rows(const umbra_kv_form *f, int positions)
{
    return f->every > 1 ? positions / f->every : positions;
}

static inline size_t umbra_kv_page_bytes(const umbra_kv_form *f)
{
    return (size_t)f->heads * UMBRA_KV_PAGE * (size_t)(f->key + f->value) * f->unit;
}

/* Bytes from a page's start to a head's row. */
static inline size_t umbra_kv_key_at(const umbra_kv_form *f, int head, int row)
{
    return (size_t)(head * UMBRA_KV_PAGE + row) * (size_t)f->key * f->unit;
}

static inline size_t umbra_kv_value_at(const umbra_kv_form *f, int head, int row)
{
    size_t keys = (size_t)f->heads * UMBRA_KV_PAGE * (size_t)f->key;
    return (keys + (size_t)(head * UMBRA_KV_PAGE + row) * (size_t)f->value) * f->unit;
}

/* The page of a view's own row, and which row of it. */
static inline char *umbra_kv_own(const umbra_kv_view *v, int *row)
{
    int last = v->extras > 0 ? v->extra_at + v->extras - 1 : v->kept - 1;
    *row = last % UMBRA_KV_PAGE;
    return v->extras > 0 ? v->extra : v->page[last / UMBRA_KV_PAGE];
}

static inline int umbra_kv_positions(const umbra_kv_view *v)
{
    return v->kept - v->first + v->extras;
}

/* Runs that a view of so many positions has at the most. */
static inline int umbra_kv_most_runs(int positions)
{
    return positions / UMBRA_KV_PAGE + 3;
}

/* And n of its units: each may begin and end within a page, and reach behind what is kept. */
static inline int umbra_kv_most_picked_runs(int n, int unit)
{
    return n * (unit > 1 ? unit / UMBRA_KV_PAGE + 3 : 1);
}

/* The runs of one head, in the order of positions: runs (umbra_kv_most_runs). Returns how many. */
int umbra_kv_runs(const umbra_kv_form *f, const umbra_kv_view *v, int head, umbra_kv_run *runs);
/* Those of positions [first, end), which the view shows; the extras' begin with `kept`. */
int umbra_kv_runs_of(const umbra_kv_form *f, const umbra_kv_view *v, int head, int first, int end,
                     umbra_kv_run *runs);
/* Those of n of the view's units of `unit` positions, the first of which begins with the view's
 * first position and the last may have fewer: numbers of units, ascending; runs
 * (umbra_kv_most_picked_runs). */
int umbra_kv_picked_runs(const umbra_kv_form *f, const umbra_kv_view *v, int head,
                         const int32_t *picked, int n, int unit, umbra_kv_run *runs);

#endif
