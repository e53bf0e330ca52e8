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
    int n = 0, at = first;
    while (at < end && at < v->kept) {
        int row = at % UMBRA_KV_PAGE;
        int left = (end < v->kept ? end : v->kept) - at, room = UMBRA_KV_PAGE - row;
        int count = left < room ? left : room;
        runs[n++] = make_run(f, v->page[at / UMBRA_KV_PAGE], head, row, count);
        at += count;
    }
    if (at < end)
        runs[n++] = make_run(f, v->extra, head, v->extra_at + at - v->kept, end - at);
    return n;
}

int umbra_kv_runs(const umbra_kv_form *f, const umbra_kv_view *v, int head, umbra_kv_run *runs)
{
    return umbra_kv_runs_of(f, v, head, v->first, v->kept + v->extras, runs);
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
        end = end < positions ? end : positions;
        n_runs += umbra_kv_runs_of(f, v, head, v->first + begin, v->first + end, runs + n_runs);
    }
    return n_runs;
}
