/* The charts of a benchmark's page. */
#include <math.h>
#include <string.h>

#include "lab/report/html.h"
#include "lab/bench/report.h"

enum { D = UMBRA_MAX_DISTANCE };

/* ---- speed against budget ---- */

/* Groups first..last - 1 are one backend's. */
typedef struct panel {
    const umbra_bench_page *p;
    FILE *f;
    umbra_chart chart;
    int first, last;
    double unit;
} panel;

static void sort_points(double *x, double *y, int n)
{
    for (int i = 1; i < n; i++)
        for (int k = i; k > 0 && x[k] < x[k - 1]; k--) {
            double t = x[k], u = y[k];
            x[k] = x[k - 1];
            y[k] = y[k - 1];
            x[k - 1] = t;
            y[k - 1] = u;
        }
}

static const umbra_bench_row *row_of(const umbra_bench_group *g, const char *policy)
{
    for (int i = 0; i < g->n; i++)
        if (strcmp(g->rows[i].policy, policy) == 0)
            return &g->rows[i];
    return NULL;
}

/* The line of a policy, or the bound's with NULL. */
static void put_policy(const panel *a, const char *policy)
{
    const umbra_bench_page *p = a->p;
    int n = 0;
    for (int i = a->first; i < a->last; i++) {
        const umbra_bench_group *g = &p->groups[i];
        const umbra_bench_row *row = policy ? row_of(g, policy) : &g->rows[0];
        double speed = !row ? 0 : policy ? row->tok_s.median : umbra_bench_bound(row);
        if (row && (policy || (speed > 0 && speed <= a->chart.y_high))) {
            p->x[n] = (double)row->ram_bytes / a->unit;
            p->y[n++] = speed;
        }
    }
    sort_points(p->x, p->y, n);
    umbra_chart_line(a->f, &a->chart, umbra_bench_line_style(policy ? policy : "bound"),
                     policy ? policy : "bound max(C, I)", p->x, p->y, n, policy != NULL || n == 1);
}

/* Whether the policy stands in an earlier row of the groups from first on. */
static bool seen(const umbra_bench_page *p, int first, const umbra_bench_row *row)
{
    for (const umbra_bench_row *r = p->groups[first].rows; r < row; r++)
        if (strcmp(r->policy, row->policy) == 0)
            return true;
    return false;
}

static void put_level(const panel *a, const char *name, double speed)
{
    double x[] = {a->chart.x_low, a->chart.x_high}, y[] = {speed, speed};
    umbra_chart_line(a->f, &a->chart, umbra_bench_line_style(name), name, x, y, 2, false);
}

/* Room for everything that was measured, and for bounds that are not far above. */
static double speed_top(const umbra_bench_page *p)
{
    double top = p->fastest, most = 0;
    if (p->bench->against && p->bench->against_tok_s.median > top)
        top = p->bench->against_tok_s.median;
    for (int i = 0; i < p->n_groups; i++) {
        double bound = umbra_bench_bound(&p->groups[i].rows[0]);
        most = bound > most && bound <= 2 * top ? bound : most;
    }
    most = most > top ? most : top;
    return most > 0 ? 1.05 * most : 1;
}

static bool budgets_of(panel *a, double *low, double *high)
{
    *low = INFINITY;
    *high = 0;
    for (int i = a->first; i < a->last; i++) {
        double ram = (double)a->p->groups[i].rows[0].ram_bytes;
        *low = fmin(*low, ram);
        *high = fmax(*high, ram);
    }
    return *low > 0 && *low < *high;
}

static void put_panel(const umbra_bench_page *p, FILE *f, int first, int last)
{
    panel a = {.p = p, .f = f, .first = first, .last = last};
    const char *unit;
    char label[24];
    double low, high;
    if (!budgets_of(&a, &low, &high))
        return;
    a.unit = umbra_bench_unit(high, &unit);
    bool wide = high > 4 * low;
    double margin = wide ? 1.06 : (high - low) * 0.04;
    snprintf(label, sizeof label, "budget, %s", unit);
    a.chart = (umbra_chart){
        .title = p->groups[first].rows[0].io,
        .about = "Tokens per second against the budget, one line per policy; the figures stand in "
                 "the tables below",
        .x_label = label,
        .y_label = "tokens/s",
        .x_low = (wide ? low / margin : low - margin) / a.unit,
        .x_high = (wide ? high * margin : high + margin) / a.unit,
        .y_high = speed_top(p),
        .x_scale = wide ? UMBRA_CHART_LOG : UMBRA_CHART_LINEAR};
    umbra_chart_begin(f, &a.chart);
    if (p->resident)
        put_level(&a, "resident", p->resident->tok_s.median);
    if (p->bench->against && p->bench->against_tok_s.median > 0)
        put_level(&a, "peer", p->bench->against_tok_s.median);
    put_policy(&a, NULL);
    const umbra_bench_group *end = &p->groups[last - 1];
    for (const umbra_bench_row *r = p->groups[first].rows; r < end->rows + end->n; r++)
        if (!seen(p, first, r))
            put_policy(&a, r->policy);
    umbra_chart_end(f);
}

static int end_of_backend(const umbra_bench_page *p, int first)
{
    int last = first + 1;
    while (last < p->n_groups && !p->groups[last].opens)
        last++;
    return last;
}

static void put_speed_legend(const umbra_bench_page *p, FILE *f)
{
    fputs("<ul class=\"legend\">\n", f);
    for (const umbra_bench_row *r = p->groups[0].rows; r < p->bench->rows + p->bench->n_rows; r++)
        if (r != p->resident && !seen(p, 0, r))
            umbra_chart_legend(f, umbra_bench_line_style(r->policy), r->policy);
    umbra_chart_legend(f, umbra_bench_line_style("bound"), "bound max(C, I)");
    if (p->resident)
        umbra_chart_legend(f, umbra_bench_line_style("resident"), "resident: all in memory");
    if (p->bench->against && p->bench->against_tok_s.median > 0)
        umbra_chart_legend(f, umbra_bench_line_style("peer"), "peer");
    fputs("</ul>\n", f);
}

void umbra_bench_report_speed(const umbra_bench_page *p, FILE *f)
{
    bool any = false;
    for (int first = 0; first < p->n_groups; first = end_of_backend(p, first)) {
        panel a = {.p = p, .first = first, .last = end_of_backend(p, first)};
        double low, high;
        any = any || budgets_of(&a, &low, &high);
    }
    fputs("<h2>Speed against budget</h2>\n", f);
    if (!any) {
        fputs("<p>One budget was measured, so there is no line to draw: the speeds stand in the "
              "table.</p>\n",
              f);
        return;
    }
    fputs("<p>Medians. The dashed bound is what reading and computing fully side by side would "
          "allow; where it is far above all that was measured it leaves the chart.</p>\n",
          f);
    put_speed_legend(p, f);
    fputs("<div class=\"charts\">\n", f);
    for (int first = 0; first < p->n_groups; first = end_of_backend(p, first))
        put_panel(p, f, first, end_of_backend(p, first));
    fputs("</div>\n", f);
}

/* ---- waste against distance ---- */

static bool reads_ahead(const umbra_bench_row *row)
{
    return row->useful_bytes + row->late_bytes + row->wasted_bytes > 0;
}

static void put_distances(FILE *f, const umbra_chart *chart, const umbra_bench_row *row, int place,
                          double unit, const char *unit_name)
{
    static const char *const fills[] = {"useful", "late", "wasted"};
    for (int d = 1; d <= D; d++) {
        double from = place + (d - 0.3) / (D + 1.0), low = 0;
        double x[] = {from, from + 0.8 / (D + 1.0)};
        for (int i = 0; i < 3; i++) {
            char name[128];
            double y[] = {low, low + row->distance_bytes[d][i] / unit};
            snprintf(name, sizeof name, "%s, %d ahead, %s: %.3g %s per token", row->policy, d,
                     fills[i], row->distance_bytes[d][i] / unit, unit_name);
            if (y[1] > y[0])
                umbra_chart_bar(f, chart, fills[i], name, x, y);
            low = y[1];
        }
        char digit[12];
        snprintf(digit, sizeof digit, "%d", d);
        umbra_chart_mark(f, chart, (x[0] + x[1]) / 2, 0, digit);
    }
    umbra_chart_mark(f, chart, place + 0.54, 1, row->policy);
}

static void put_waste(FILE *f, const umbra_bench_group *g)
{
    double most = 0;
    int bars = 0;
    for (int i = 0; i < g->n; i++) {
        bars += reads_ahead(&g->rows[i]);
        for (int d = 1; d <= D; d++) {
            const double *b = g->rows[i].distance_bytes[d];
            most = fmax(most, b[0] + b[1] + b[2]);
        }
    }
    if (bars == 0 || most <= 0)
        return;
    const char *name;
    char label[32], title[128];
    double unit = umbra_bench_unit(most, &name);
    snprintf(label, sizeof label, "%s per token", name);
    umbra_bench_group_name(g, title, sizeof title);
    umbra_chart chart = {.title = title,
                         .about = "Bytes read ahead per token by policy and distance, stacked as "
                                  "useful, late and wasted",
                         .x_label = "",
                         .y_label = label,
                         .x_high = bars,
                         .y_high = 1.05 * most / unit,
                         .x_step = -1,
                         .width = bars <= 6 ? 0 : 54 + 52 * bars};
    umbra_chart_begin(f, &chart);
    for (int i = 0, place = 0; i < g->n; i++)
        if (reads_ahead(&g->rows[i]))
            put_distances(f, &chart, &g->rows[i], place++, unit, name);
    umbra_chart_end(f);
}

void umbra_bench_report_waste(const umbra_bench_page *p, FILE *f)
{
    bool any = false;
    for (int i = 0; i < p->bench->n_rows; i++)
        any = any || reads_ahead(&p->bench->rows[i]);
    if (!any)
        return;
    fputs("<h2>Waste against distance</h2>\n<p>Bytes per token that were read 1 to 4 layers "
          "ahead, and what became of them: used in time, used but waited for, or never used.</p>\n"
          "<ul class=\"legend\">\n",
          f);
    umbra_chart_legend_fill(f, "useful", "useful");
    umbra_chart_legend_fill(f, "late", "late");
    umbra_chart_legend_fill(f, "wasted", "wasted");
    fputs("</ul>\n", f);
    fputs("<div class=\"charts\">\n", f);
    for (int i = 0; i < p->n_groups; i++)
        put_waste(f, &p->groups[i]);
    fputs("</div>\n", f);
}

/* ---- stall per layer ---- */

static void put_layers(FILE *f, const umbra_bench_row *row, int layers, double top)
{
    char about[96], name[64];
    snprintf(about, sizeof about, "Stall per layer, %.2f ms per token in all", 1e3 * row->stall_s);
    umbra_chart chart = {.title = row->policy,
                         .about = about,
                         .x_label = "layer",
                         .y_label = "ms per token",
                         .x_low = -0.5,
                         .x_high = layers - 0.5,
                         .y_high = top,
                         .whole_x = true,
                         .width = 200,
                         .height = 130};
    umbra_chart_begin(f, &chart);
    for (int l = 0; l < layers; l++) {
        double x[] = {l - 0.4, l + 0.4}, y[] = {0, 1e3 * row->layer_stall_s[l]};
        snprintf(name, sizeof name, "layer %d: %.3f ms", l, y[1]);
        if (y[1] > 0)
            umbra_chart_bar(f, &chart, "whole", name, x, y);
    }
    umbra_chart_end(f);
}

static void put_stalls(FILE *f, const umbra_bench_group *g, int layers)
{
    double most = 0;
    for (int i = 0; i < g->n; i++)
        for (int l = 0; g->rows[i].layer_stall_s && l < layers; l++)
            most = fmax(most, 1e3 * g->rows[i].layer_stall_s[l]);
    if (most <= 0) {
        fputs("<p>Nothing was waited for here.</p>\n", f);
        return;
    }
    fputs("<div class=\"smalls\">\n", f);
    for (int i = 0; i < g->n; i++)
        if (g->rows[i].layer_stall_s)
            put_layers(f, &g->rows[i], layers, 1.05 * most);
    fputs("</div>\n", f);
}

void umbra_bench_report_stall(const umbra_bench_page *p, FILE *f)
{
    if (p->bench->layers <= 0)
        return;
    fputs("<h2>Where the waits are</h2>\n<p>Milliseconds per token in which the computing thread "
          "waited for a layer’s experts, on one scale for all policies of a budget, in the last "
          "round.</p>\n",
          f);
    for (int i = 0; i < p->n_groups; i++) {
        umbra_bench_begin_details(p, f, i);
        put_stalls(f, &p->groups[i], p->bench->layers);
        umbra_bench_end_details(f);
    }
}
