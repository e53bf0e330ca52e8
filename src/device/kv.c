/* Cuts what a row sees of its layer's keys and values into runs that lie in one piece. */
#include "device/kv.h"

static umbra_kv_run make_run(const umbra_kv_form *f, const char *page, int head, int row, int n)
{
    const char *k = page + umbra_kv_key_at(f, head, row);
    return (umbra_kv_run){k, f->value ? page + umbra_kv_value_at(f, head, row) : k, n};
}

int umbra_kv_runs(const umbra_kv_form *f, const umbra_kv_view *v, int head, umbra_kv_run *runs)
{
    int n = 0;
    for (int at = v->first; at < v->kept;) {
        int row = at % UMBRA_KV_PAGE;
        int left = v->kept - at, room = UMBRA_KV_PAGE - row;
        int count = left < room ? left : room;
        runs[n++] = make_run(f, v->page[at / UMBRA_KV_PAGE], head, row, count);
        at += count;
    }
    if (v->extras > 0)
        runs[n++] = make_run(f, v->extra, head, v->extra_at, v->extras);
    return n;
}
