/* What running ahead names, as charts and a table of the evaluation's page. */
#include <math.h>

#include "lab/evaluate/report.h"
#include "lab/report/html.h"

static const char *style_of(const umbra_eval_walk *walk)
{
    static const char *const shadows[] = {"s0", "s1", "s2", "s0 again", "s1 again", "s2 again"};
    switch (walk->kind) {
    case UMBRA_EVAL_GATE:
        return "gate";
    case UMBRA_EVAL_ROLL:
        return "previous";
    case UMBRA_EVAL_RUNAHEAD:
        return "s3";
    default:
        return shadows[walk->shadow % 6];
    }
}

/* The walks of a residency are those from a gate on to the next one. */
static int end_of(const umbra_evaluation *e, int first)
{
    int end = first + 1;
    while (end < e->n_walks && e->walks[end].kind != UMBRA_EVAL_GATE)
        end++;
    return end;
}

static void put_line(FILE *f, const umbra_chart *chart, const char *style, const char *name,
                     const umbra_eval_share *shares, int reach, double *x, double *y)
{
    for (int d = 0; d < reach; d++) {
        x[d] = d + 1;
        y[d] = umbra_eval_share_of(&shares[d]);
    }
    umbra_chart_line(f, chart, style, name, x, y, reach, false);
}

/* The next token's line is drawn for runahead alone, thin. */
static void put_chart(const umbra_evaluation *e, FILE *f, int first, umbra_eval_which which,
                      double *x, double *y)
{
    char title[96];
    snprintf(title, sizeof title, "%.0f %% in memory, %s", 100 * e->walks[first].residency,
             which == UMBRA_EVAL_ALL ? "all used experts" : "experts not in memory");
    const umbra_chart chart = {.title = title,
                               .about =
                                   "Recall in per cent against the number of layers ahead, one "
                                   "line per predictor, thin where the layers are those of "
                                   "the next token as the walk guesses it",
                               .x_label = "layers ahead",
                               .y_label = "recall, %",
                               .x_low = 1,
                               .x_high = e->walk_reach > 1 ? e->walk_reach : 2,
                               .y_high = 1,
                               .y_scale = UMBRA_CHART_PERCENT,
                               .whole_x = true};
    umbra_chart_begin(f, &chart);
    for (int i = first; i < end_of(e, first); i++) {
        const umbra_eval_walk *walk = &e->walks[i];
        put_line(f, &chart, style_of(walk), walk->name, walk->within[which], e->walk_reach, x, y);
        if (walk->kind == UMBRA_EVAL_RUNAHEAD)
            put_line(f, &chart, "s3 again", "runahead, next token", walk->beyond[which],
                     e->walk_reach, x, y);
    }
    umbra_chart_end(f);
}

static void put_row(const umbra_evaluation *e, FILE *f, const umbra_eval_walk *walk)
{
    const umbra_eval_share *const columns[] = {walk->within[UMBRA_EVAL_ALL],
                                               walk->within[UMBRA_EVAL_MISSING],
                                               walk->beyond[UMBRA_EVAL_ALL]};
    fprintf(f, "<tr><th scope=\"row\">%.0f&#160;%% ", 100 * walk->residency);
    umbra_html_text(f, walk->name);
    fputs("</th>", f);
    for (int c = 0; c < 3; c++) {
        for (int d = 0; d < UMBRA_MAX_DISTANCE; d++) {
            fputs("<td>", f);
            umbra_html_percent(f, d < e->walk_reach ? umbra_eval_share_of(&columns[c][d]) : NAN);
            fputs("</td>", f);
        }
    }
    fputs("<td>", f);
    umbra_html_percent(f, umbra_eval_named(e, walk));
    fputs("</td><td>", f);
    umbra_html_bytes(f, (double)walk->bytes);
    fputs("</td><td>", f);
    umbra_html_amount(f, walk->macs);
    fputs("</td></tr>\n", f);
}

static void put_table(const umbra_evaluation *e, FILE *f)
{
    static const char *const groups[] = {"all", "missing", "next token’s"};
    fprintf(f,
            "<div class=\"scroll\"><table><caption>Recall at m = %d, per cent</caption>\n<thead>"
            "<tr><th scope=\"col\">predictor</th>",
            e->model.used);
    for (int g = 0; g < 3; g++)
        for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++)
            fprintf(f, "<th scope=\"col\">%s %d</th>", groups[g], d);
    fputs("<th scope=\"col\">tokens named</th><th scope=\"col\">bytes</th><th scope=\"col\">"
          "multiply-adds</th></tr></thead>\n<tbody>\n",
          f);
    for (int i = 0; i < e->n_walks; i++)
        put_row(e, f, &e->walks[i]);
    fputs("</tbody></table></div>\n", f);
}

void umbra_report_walks(const umbra_evaluation *e, FILE *f, double *x, double *y)
{
    if (e->n_walks == 0)
        return;
    fputs("<h2>Running ahead on what is in memory</h2>\n<p>The model itself decoded ", f);
    umbra_html_count(f, e->walked.tokens);
    fputs(" tokens with a part of its experts in memory. From every layer it was run ahead to the "
          "token’s end and, with the token that this guesses, through the next one: "
          "<em>roll</em> with attention alone, <em>runahead</em> with the experts that were there. "
          "Only experts "
          "that are not in memory are worth foretelling, and those are harder. Bytes and "
          "multiply-adds are those of one prediction, for roll and runahead of each layer that "
          "they go.</p>\n<ul class=\"legend\">\n",
          f);
    for (int i = 0; i < end_of(e, 0); i++)
        umbra_chart_legend(f, style_of(&e->walks[i]), e->walks[i].name);
    umbra_chart_legend(f, "s3 again", "runahead, next token");
    fputs("</ul>\n<div class=\"charts\">\n", f);
    for (int first = 0; first < e->n_walks; first = end_of(e, first))
        for (int which = 0; which < UMBRA_EVAL_WHICH; which++)
            put_chart(e, f, first, (umbra_eval_which)which, x, y);
    fputs("</div>\n", f);
    put_table(e, f);
}
