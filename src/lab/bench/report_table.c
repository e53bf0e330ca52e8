/* The table of a benchmark's page, with where the time and the bytes went. */
#include <math.h>

#include "lab/report/html.h"
#include "lab/bench/report.h"

/* ---- drawn cells ---- */

/* Median as a bar, lowest and highest round as a whisker, the bound dashed. */
static void put_gauge(const umbra_bench_page *p, FILE *f, const umbra_bench_row *row)
{
    enum { WIDTH = 176 };
    double scale = p->fastest > 0 ? (WIDTH - 4) / p->fastest : 0;
    double low = row->tok_s.min * scale, high = row->tok_s.max * scale;
    double bound = umbra_bench_bound(row) * scale;
    fprintf(f,
            "<svg class=\"gauge\" viewBox=\"0 0 %d 16\" role=\"img\" aria-label=\"%.1f to %.1f "
            "tokens per second\"><title>%.1f to %.1f tokens/s, median %.1f; the bound is "
            "%.1f</title><rect class=\"whole\" y=\"3\" width=\"%.1f\" height=\"10\"/>"
            "<path d=\"M%.1f 8H%.1fM%.1f 5V11M%.1f 5V11\"/>",
            WIDTH, row->tok_s.min, row->tok_s.max, row->tok_s.min, row->tok_s.max,
            row->tok_s.median, umbra_bench_bound(row), row->tok_s.median * scale, low, high, low,
            high);
    if (bound > 0 && bound <= WIDTH)
        fprintf(f, "<path class=\"bound\" d=\"M%.1f 0V16\"/>", bound);
    fputs("</svg>", f);
}

static double ahead_bytes(const umbra_bench_row *row)
{
    return row->useful_bytes + row->late_bytes + row->wasted_bytes;
}

/* What was read: on demand, useful, late, wasted. What was read ahead before the clock ran may be
 * judged while it does, so the parts can be more than the whole. */
static void read_parts(const umbra_bench_row *row, double parts[4])
{
    double demand = row->bytes_per_token - ahead_bytes(row);
    parts[0] = demand > 0 ? demand : 0;
    parts[1] = row->useful_bytes;
    parts[2] = row->late_bytes;
    parts[3] = row->wasted_bytes;
}

static double read_sum(const umbra_bench_row *row)
{
    double parts[4];
    read_parts(row, parts);
    return parts[0] + parts[1] + parts[2] + parts[3];
}

static void put_stack(FILE *f, const umbra_bench_row *row, double most)
{
    enum { WIDTH = 144 };
    static const char *const fills[] = {"rest", "useful", "late", "wasted"};
    static const char *const names[] = {"on demand", "useful", "late", "wasted"};
    double parts[4], at = 0;
    read_parts(row, parts);
    fprintf(f, "<svg class=\"stack\" viewBox=\"0 0 %d 14\" role=\"img\" aria-label=\"", WIDTH);
    for (int i = 0; i < 4; i++) {
        fprintf(f, "%s%s ", i > 0 ? ", " : "", names[i]);
        umbra_html_bytes(f, parts[i]);
    }
    fputs("\">", f);
    for (int i = 0; i < 4; i++) {
        double width = most > 0 ? WIDTH * parts[i] / most : 0;
        if (width <= 0)
            continue;
        fprintf(f, "<rect class=\"%s\" x=\"%.1f\" y=\"1\" width=\"%.2f\" height=\"12\"><title>%s: ",
                fills[i], at, width > 1.5 ? width - 0.8 : width, names[i]);
        umbra_html_bytes(f, parts[i]);
        fputs(" per token</title></rect>", f);
        at += width;
    }
    fputs("</svg>", f);
}

/* ---- rows ---- */

static void put_number(FILE *f, int digits, double value)
{
    if (isfinite(value))
        fprintf(f, "<td>%.*f</td>", digits, value);
    else
        fputs("<td>–</td>", f);
}

static void put_row(const umbra_bench_page *p, FILE *f, const umbra_bench_row *row, bool best,
                    double most)
{
    double sum = read_sum(row);
    fprintf(f, "<tr><th scope=\"row\">");
    umbra_html_text(f, row->policy);
    fprintf(f, "</th><td%s>%.1f</td><td class=\"drawn\">", best ? " class=\"best\"" : "",
            row->tok_s.median);
    put_gauge(p, f, row);
    fprintf(f, "</td><td>%.1f&#160;– %.1f</td>", row->tok_s.min, row->tok_s.max);
    if (row == p->resident) { /* it reads nothing */
        for (int i = 0; i < 9; i++)
            fputs(i == 3 ? "<td></td>" : "<td>–</td>", f);
        fputs("</tr>\n", f);
        return;
    }
    put_number(f, 0, 100 * row->bound_share);
    put_number(f, 1, 100 * row->hits);
    fputs("<td>", f);
    umbra_html_bytes(f, row->bytes_per_token);
    fputs("</td><td class=\"drawn\">", f);
    put_stack(f, row, most);
    fputs("</td>", f);
    put_number(f, 1, 100 * row->useful_bytes / sum);
    put_number(f, 1, 100 * row->late_bytes / sum);
    put_number(f, 1, 100 * row->wasted_bytes / sum);
    put_number(f, 2, 1e3 * row->stall_s);
    put_number(f, 0, 100 * row->disk_busy);
    fputs("</tr>\n", f);
}

/* Outside of the table, which is wider than a phone and moves under the finger. */
static void put_caption(FILE *f, const umbra_bench_group *g)
{
    const umbra_bench_row *first = &g->rows[0];
    fputs("<h3>", f);
    umbra_bench_put_group(f, g);
    fprintf(f,
            "</h3>\n<p class=\"soft\">%.1f&#160;%% of the experts fit; C %.2f&#160;ms%s, I "
            "%.2f&#160;ms",
            100 * first->residency, 1e3 * first->compute_s,
            first->compute_is_estimate ? " (estimated)" : "", 1e3 * first->io_s);
    if (umbra_bench_bound(first) > 0)
        fprintf(f, ", bound %.1f&#160;tokens/s", umbra_bench_bound(first));
    fputs("</p>\n", f);
}

static void put_heading(FILE *f, const char *text, bool drawn)
{
    fprintf(f, "<th scope=\"col\"%s>%s</th>", drawn ? " class=\"words\"" : "", text);
}

static void put_table(const umbra_bench_page *p, FILE *f, const umbra_bench_group *g)
{
    double most = 0;
    for (int i = 0; i < g->n; i++)
        most = read_sum(&g->rows[i]) > most ? read_sum(&g->rows[i]) : most;
    put_caption(f, g);
    fputs("<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"", f);
    umbra_bench_put_group(f, g);
    fputs("\"><table>\n<thead><tr>", f);
    put_heading(f, "policy", false);
    put_heading(f, "tokens/s", false);
    put_heading(f, "rounds and bound", true);
    put_heading(f, "min – max", false);
    put_heading(f, "bound, %", false);
    put_heading(f, "hits, %", false);
    put_heading(f, "read/token", false);
    put_heading(f, "of what use", true);
    put_heading(f, "useful, %", false);
    put_heading(f, "late, %", false);
    put_heading(f, "wasted, %", false);
    put_heading(f, "stall, ms", false);
    put_heading(f, "disk, %", false);
    fputs("</tr></thead>\n<tbody>\n", f);
    if (p->resident)
        put_row(p, f, p->resident, false, most);
    for (int i = 0; i < g->n; i++)
        put_row(p, f, &g->rows[i], &g->rows[i] == umbra_bench_fastest(g), most);
    fputs("</tbody></table></div>\n", f);
}

void umbra_bench_report_tables(const umbra_bench_page *p, FILE *f)
{
    fputs("<h2>All figures</h2>\n<p>Bars are medians on one scale, thin lines reach from the "
          "slowest to the fastest round, the dashed line is the bound max(C, I). Bold: the fastest "
          "that does not know the future. What was read per token is on demand, or ahead and then "
          "useful, late or wasted; disk: share of the time that it was busy.</p>\n<ul "
          "class=\"legend\">\n",
          f);
    umbra_chart_legend_fill(f, "rest", "on demand");
    umbra_chart_legend_fill(f, "useful", "useful");
    umbra_chart_legend_fill(f, "late", "late");
    umbra_chart_legend_fill(f, "wasted", "wasted");
    fputs("</ul>\n", f);
    for (int i = 0; i < p->n_groups; i++)
        put_table(p, f, &p->groups[i]);
}
