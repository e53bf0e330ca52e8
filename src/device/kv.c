/* Cuts what a row sees of its layer's keys and values into runs that lie in one piece. */
#include "device/kv.h"

#include <stdbool.h>

static umbra_kv_run make_run(const umbra_kv_form *f, const char *page, int head, int row, int n)
{
    const char *k = page + umbra_kv_key_at(f, head, row);
    return (umbra_kv_run){k, f->value ? page + umbra_kv_value_at(f, head, row) : k, n};
}

int umbra_kv_runs_of(const umbra_kv_form *f, const umbra_kv_view *v, int head, int first, int end,
                     umbra_kv_run *runs)
{
    int n = 0, kept = end < v->kept ? end : v->kept;
    for (int at = first; at < kept;) {
        int row = at % UMBRA_KV_PAGE;
        int left = kept - at, room = UMBRA_KV_PAGE - row;
        int count = left < room ? left : room;
        runs[n++] = make_run(f, v->page[at / UMBRA_KV_PAGE], head, row, count);
        at += count;
    }
    int extra = first > v->kept ? first : v->kept;
    if (extra < end)
        runs[n++] = make_run(f, v->extra, head, v->extra_at + extra - v->kept, end - extra);
    return n;
}

int umbra_kv_runs(const umbra_kv_form *f, const umbra_kv_view *v, int head, umbra_kv_run *runs)
{
    return umbra_kv_runs_of(f, v, head, v->first, v->kept + v->extras, runs);
}

/* The page of the view's i-th position, and which row of it. */
static const char *find_row(const umbra_kv_view *v, int i, int *row)
{
    int at = v->first + i;
    bool extra = at >= v->kept;
    *row = extra ? v->extra_at + at - v->kept : at % UMBRA_KV_PAGE;
    return extra ? v->extra : v->page[at / UMBRA_KV_PAGE];
}

int umbra_kv_picked_runs(const umbra_kv_form *f, const umbra_kv_view *v, int head,
                         const int32_t *picked, int n, umbra_kv_run *runs)
{
    int n_runs = 0;
    for (int i = 0; i < n;) {
        int row, next, first = i;
        const char *page = find_row(v, picked[i++], &row);
        while (i < n && picked[i] == picked[i - 1] + 1 && find_row(v, picked[i], &next) == page &&
               next == row + i - first)
            i++;
        runs[n_runs++] = make_run(f, page, head, row, i - first);
    }
    return n_runs;
}
