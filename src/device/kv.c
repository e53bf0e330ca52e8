/* Cuts what a row sees of its layer's keys and values into runs that lie in one piece. */
#include "device/kv.h"

#include <stdbool.h>

static umbra_kv_run make_run(const umbra_kv_form *f, const char *page, int head, int row, int n)
{
    const char *k = page + umbra_kv_key_at(f, head, row);
    return (umbra_kv_run){k, f->value ? page + umbra_kv_value_at(f, head, row) : k, n};
}

/* Positions [begin, end), counted from the view's first. */
static int cut_runs(const umbra_kv_form *f, const umbra_kv_view *v, int head, int begin, int end,
                    umbra_kv_run *runs)
{
    int n = 0, at = v->first + begin, stop = v->first + end;
    while (at < stop && at < v->kept) {
        int row = at % UMBRA_KV_PAGE;
        int left = (stop < v->kept ? stop : v->kept) - at, room = UMBRA_KV_PAGE - row;
        int count = left < room ? left : room;
        runs[n++] = make_run(f, v->page[at / UMBRA_KV_PAGE], head, row, count);
        at += count;
    }
    if (at < stop)
        runs[n++] = make_run(f, v->extra, head, v->extra_at + at - v->kept, stop - at);
    return n;
}

int umbra_kv_runs(const umbra_kv_form *f, const umbra_kv_view *v, int head, umbra_kv_run *runs)
{
    return cut_runs(f, v, head, 0, umbra_kv_positions(v), runs);
}

int umbra_kv_picked_runs(const umbra_kv_form *f, const umbra_kv_view *v, int head,
                         const int32_t *picked, int n, int unit, umbra_kv_run *runs)
{
    int n_runs = 0, positions = umbra_kv_positions(v);
    for (int i = 0; i < n;) {
        int begin = picked[i++] * unit;
        while (i < n && picked[i] == picked[i - 1] + 1)
            i++;
        int end = (picked[i - 1] + 1) * unit;
        n_runs += cut_runs(f, v, head, begin, end < positions ? end : positions, runs + n_runs);
    }
    return n_runs;
}
