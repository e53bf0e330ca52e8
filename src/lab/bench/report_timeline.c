/* One token on a time line: layers, waits and reads. */
#include <stdlib.h>

#include "lab/report/html.h"
#include "lab/bench/report.h"

/* Lanes from top to bottom: layers, compute, waits, then one per read at the same time. */
enum {
    WIDTH = 1000,
    LEFT = 62,
    RIGHT = 10,
    ROW = 16,
    READS = 3 * ROW + 6,
    MOST_LANES = 64, /* reads beyond share the last one */
    AXIS = 34,
};

typedef struct timeline {
    const umbra_bench_row *row;
    const umbra_store_event **events; /* (n) of the token, by their begin */
    int n;
    double per_ns; /* pixels */
    FILE *f;
} timeline;

static int by_begin(const void *a, const void *b)
{
    const umbra_store_event *x = *(const umbra_store_event *const *)a;
    const umbra_store_event *y = *(const umbra_store_event *const *)b;
    if (x->begin_ns != y->begin_ns)
        return x->begin_ns < y->begin_ns ? -1 : 1;
    return (x > y) - (x < y);
}

static uint64_t begin_of(const timeline *t, const umbra_store_event *e)
{
    return e->begin_ns > t->row->event_begin_ns ? e->begin_ns : t->row->event_begin_ns;
}

static uint64_t end_of(const timeline *t, const umbra_store_event *e)
{
    return e->end_ns < t->row->event_end_ns ? e->end_ns : t->row->event_end_ns;
}

static double x_of(const timeline *t, uint64_t ns)
{
    return LEFT + (double)(ns - t->row->event_begin_ns) * t->per_ns;
}

/* Begins a bar; its title and "</rect>" are to follow. Shorter than can be seen is drawn still. */
static void open_bar(const timeline *t, const char *fill, uint64_t begin, uint64_t end, double y,
                     double height)
{
    double x = x_of(t, begin), width = x_of(t, end) - x;
    fprintf(t->f, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>",
            fill, x, y, width > 0.6 ? width : 0.6, height);
}

static void close_bar(const timeline *t, uint64_t begin, uint64_t end)
{
    fprintf(t->f, "%.3f ms</title></rect>\n", (double)(end - begin) * 1e-6);
}

/* ---- lanes ---- */

static void put_layers(const timeline *t, double bottom)
{
    for (int i = 0; i < t->n; i++) {
        const umbra_store_event *e = t->events[i];
        if (e->kind != UMBRA_EVENT_BATCH)
            continue;
        uint64_t begin = begin_of(t, e), end = end_of(t, e);
        open_bar(t, e->layer % 2 ? "band1" : "band0", begin, end, 0, bottom);
        fprintf(t->f, "experts of layer %d: ", (int)e->layer);
        close_bar(t, begin, end);
        if (x_of(t, end) - x_of(t, begin) > 16)
            fprintf(t->f, "<text class=\"mid\" x=\"%.1f\" y=\"12\">%d</text>\n",
                    (x_of(t, begin) + x_of(t, end)) / 2, (int)e->layer);
    }
}

static void put_work(const timeline *t, uint64_t begin, uint64_t end)
{
    if (end <= begin)
        return;
    open_bar(t, "rest", begin, end, ROW + 3, ROW - 4);
    fputs("compute: ", t->f);
    close_bar(t, begin, end);
}

/* Compute is where no wait is; waits of several threads may overlap. */
static void put_waits(const timeline *t)
{
    uint64_t at = t->row->event_begin_ns;
    for (int i = 0; i < t->n; i++) {
        const umbra_store_event *e = t->events[i];
        if (e->kind != UMBRA_EVENT_WAIT)
            continue;
        uint64_t begin = begin_of(t, e), end = end_of(t, e);
        put_work(t, at, begin);
        open_bar(t, "wait", begin, end, 2 * ROW + 3, ROW - 4);
        fprintf(t->f, "wait for layer %d: ", (int)e->layer);
        close_bar(t, begin, end);
        at = end > at ? end : at;
    }
    put_work(t, at, t->row->event_end_ns);
}

static int lane_of(uint64_t *busy, int *lanes, const umbra_store_event *e)
{
    int lane = 0;
    while (lane < *lanes && busy[lane] > e->begin_ns)
        lane++;
    if (lane == MOST_LANES)
        lane--;
    *lanes = lane >= *lanes ? lane + 1 : *lanes;
    busy[lane] = e->end_ns > busy[lane] || lane < MOST_LANES - 1 ? e->end_ns : busy[lane];
    return lane;
}

static int count_lanes(const timeline *t)
{
    uint64_t busy[MOST_LANES] = {0};
    int lanes = 0;
    for (int i = 0; i < t->n; i++)
        if (t->events[i]->kind == UMBRA_EVENT_READ)
            lane_of(busy, &lanes, t->events[i]);
    return lanes;
}

static void put_read(const timeline *t, const umbra_store_event *e, double y, double height)
{
    static const char *const fills[] = {"d0", "d1", "d2", "d3", "d4"};
    int d = e->distance < 0 ? 0 : e->distance > 4 ? 4 : e->distance;
    uint64_t begin = begin_of(t, e), end = end_of(t, e);
    double left = x_of(t, begin), right = x_of(t, end);
    open_bar(t, fills[d], begin, end, y, height - 1);
    fprintf(t->f, "layer %d, expert %d, ", (int)e->layer, (int)e->expert);
    if (d == 0)
        fputs("on demand: ", t->f);
    else
        fprintf(t->f, "%d ahead: ", d);
    close_bar(t, e->begin_ns, e->end_ns);
    if (height >= 9 && right - left > 9) /* what the colour says */
        fprintf(t->f, "<text class=\"digit\" x=\"%.1f\" y=\"%.1f\">%d</text>\n", (left + right) / 2,
                y + height - 2.5, d);
}

static double lane_height(int lanes)
{
    return lanes <= 16 ? 11 : lanes <= 32 ? 7 : 4;
}

static void put_reads(const timeline *t)
{
    uint64_t busy[MOST_LANES] = {0};
    int lanes = 0;
    double height = lane_height(count_lanes(t));
    for (int i = 0; i < t->n; i++)
        if (t->events[i]->kind == UMBRA_EVENT_READ)
            put_read(t, t->events[i], READS + height * lane_of(busy, &lanes, t->events[i]), height);
}

/* ---- the axis ---- */

static double ms_step(double ms)
{
    static const double parts[] = {1, 2, 5, 10};
    double power = 1e-6;
    while (power * 10 <= ms / 10)
        power *= 10;
    for (int i = 0; i < 4; i++)
        if (ms / (power * parts[i]) <= 12)
            return power * parts[i];
    return power * 10;
}

static void put_axis(const timeline *t, double y, double span_ns)
{
    double ms = span_ns * 1e-6, step = ms_step(ms);
    fprintf(t->f, "<path class=\"axis\" d=\"M%d %.1fH%d\"/>\n", LEFT, y, WIDTH - RIGHT);
    for (int i = 0; i * step <= ms; i++) {
        double x = LEFT + i * step * 1e6 * t->per_ns;
        fprintf(t->f,
                "<path class=\"axis\" d=\"M%.1f %.1fv4\"/><text class=\"mid\" x=\"%.1f\" "
                "y=\"%.1f\">%.4g</text>\n",
                x, y, x, y + 16, i * step);
    }
    fprintf(t->f, "<text class=\"end label\" x=\"%d\" y=\"%.1f\">ms</text>\n", WIDTH - RIGHT,
            y + 30);
    double end = x_of(t, t->row->event_end_ns);
    fprintf(t->f, "<path class=\"axis\" d=\"M%.1f 0V%.1f\"/>\n", end, y);
}

static void put_lane_names(const timeline *t, int lanes)
{
    static const char *const names[] = {"layers", "compute", "waits", "reads"};
    for (int i = 0; i < 4 - (lanes == 0); i++)
        fprintf(t->f, "<text class=\"end\" x=\"%d\" y=\"%d\">%s</text>\n", LEFT - 6,
                i * ROW + 12 + (i == 3 ? 4 : 0), names[i]);
}

/* ---- timelines ---- */

static uint64_t span_of(const umbra_bench_row *row)
{
    return row->event_end_ns > row->event_begin_ns ? row->event_end_ns - row->event_begin_ns : 0;
}

static void gather(timeline *t)
{
    const umbra_bench_row *row = t->row;
    for (int i = 0; i < row->n_events; i++) {
        const umbra_store_event *e = &row->events[i];
        if (e->end_ns >= e->begin_ns && e->end_ns > row->event_begin_ns &&
            e->begin_ns < row->event_end_ns)
            t->events[t->n++] = e;
    }
    qsort(t->events, (size_t)t->n, sizeof(const umbra_store_event *), by_begin);
}

/* span_ns: what the axis reaches to. */
static void put_timeline(const umbra_bench_page *p, FILE *f, const umbra_bench_row *row,
                         double span_ns)
{
    timeline t = {row, p->events, 0, (WIDTH - LEFT - RIGHT) / span_ns, f};
    gather(&t);
    int lanes = count_lanes(&t), reads = 0, ahead = 0;
    for (int i = 0; i < t.n; i++) {
        reads += t.events[i]->kind == UMBRA_EVENT_READ;
        ahead += t.events[i]->kind == UMBRA_EVENT_READ && t.events[i]->distance > 0;
    }
    double floor_y = READS + lanes * lane_height(lanes) + 4;
    fputs("<figure>\n<figcaption>", f);
    umbra_html_text(f, row->policy);
    fprintf(f,
            " <small>%.2f&#160;ms, %d read%s, %d of them ahead</small></figcaption>\n<div "
            "class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Timeline\">"
            "<svg class=\"timeline\" viewBox=\"0 0 %d %.0f\" role=\"img\" aria-label=\"Timeline of "
            "one token: %.2f milliseconds, %d reads, %d of them ahead\">\n",
            (double)span_of(row) * 1e-6, reads, reads == 1 ? "" : "s", ahead, WIDTH, floor_y + AXIS,
            (double)span_of(row) * 1e-6, reads, ahead);
    put_layers(&t, floor_y);
    put_waits(&t);
    put_reads(&t);
    put_axis(&t, floor_y, span_ns);
    put_lane_names(&t, lanes);
    fputs("</svg></div>\n</figure>\n", f);
}

/* Off, the best that reads ahead, and the oracle. */
static bool is_chief(const umbra_bench_group *g, const umbra_bench_row *row)
{
    return row == g->off || row == g->ahead || row == g->oracle;
}

/* The timelines of a group's chief rows, or of the others, on one scale. */
static int put_some(const umbra_bench_page *p, FILE *f, const umbra_bench_group *g, bool chief)
{
    uint64_t span = 0;
    int n = 0;
    for (int i = 0; i < g->n; i++)
        if (is_chief(g, &g->rows[i]) == chief && span_of(&g->rows[i]) > span)
            span = span_of(&g->rows[i]);
    for (int i = 0; i < g->n; i++)
        if (is_chief(g, &g->rows[i]) == chief && span_of(&g->rows[i]) > 0) {
            if (!chief && n == 0)
                fputs("<details><summary>The other policies</summary>\n", f);
            put_timeline(p, f, &g->rows[i], (double)span);
            n++;
        }
    if (!chief && n > 0)
        umbra_bench_end_details(f);
    return n;
}

void umbra_bench_report_timelines(const umbra_bench_page *p, FILE *f)
{
    fputs("<h2>One token</h2>\n<p>A token of about median time under off, the best policy that "
          "reads ahead, and the oracle, on one scale of time. Bands are the layers’ experts from "
          "the first demand to the last; a read reaches from its decision to its arrival, and its "
          "digit says how many layers ahead it was made. Point at a bar for layer, expert and "
          "duration.</p>\n<ul class=\"legend\">\n",
          f);
    umbra_chart_legend_fill(f, "rest", "compute");
    umbra_chart_legend_fill(f, "wait", "wait");
    umbra_chart_legend_fill(f, "d0", "read on demand (0)");
    umbra_chart_legend_fill(f, "d1", "1 ahead");
    umbra_chart_legend_fill(f, "d2", "2 ahead");
    umbra_chart_legend_fill(f, "d3", "3 ahead");
    umbra_chart_legend_fill(f, "d4", "4 ahead");
    fputs("</ul>\n", f);
    for (int i = 0; i < p->n_groups; i++) {
        umbra_bench_begin_details(p, f, i);
        int n = put_some(p, f, &p->groups[i], true);
        n += put_some(p, f, &p->groups[i], false);
        if (n == 0)
            fputs("<p>No token was recorded here.</p>\n", f);
        umbra_bench_end_details(f);
    }
}
