/* The charts of an evaluation's page. */
#include <math.h>

#include "lab/report/html.h"
#include "lab/evaluate/report.h"

enum { D = UMBRA_MAX_DISTANCE };

const char *umbra_report_line_style(const umbra_evaluation *e, int row)
{
    static const char *const shadows[] = {"s0",       "s1",       "s2",       "s3",
                                          "s0 again", "s1 again", "s2 again", "s3 again"};
    switch (e->rows[row].kind) {
    case UMBRA_EVAL_ORACLE:
        return NULL;
    case UMBRA_EVAL_FREQUENCY:
        return "frequency";
    case UMBRA_EVAL_PREVIOUS:
        return "previous";
    case UMBRA_EVAL_GATE:
        return "gate";
    default:
        return shadows[e->rows[row].shadow % 8];
    }
}

static void put_legend(const umbra_evaluation *e, FILE *f, bool forecasts)
{
    fputs("<ul class=\"legend\">\n", f);
    for (int r = 0; r < e->n_rows; r++)
        if (umbra_report_line_style(e, r) &&
            (!forecasts || e->rows[r].forecast != UMBRA_EVAL_NO_FORECAST))
            umbra_chart_legend(f, umbra_report_line_style(e, r), e->rows[r].name);
    fputs("</ul>\n", f);
}

static bool counted(const umbra_evaluation *e, int d)
{
    return e->n_rows > 0 && e->rows[0].inner[d].positions > 0;
}

/* ---- recall against m ---- */

/* The largest marked share below everything that is drawn, so that the scale begins there. */
static double curve_floor(const umbra_evaluation *e)
{
    static const double floors[] = {0.9, 0.8, 0.5, 0};
    double least = 1;
    for (int r = 0; r < e->n_rows; r++)
        for (int d = 0; d < D && counted(e, d); d++)
            least = fmin(least, umbra_eval_recall(e, &e->rows[r].inner[d], e->model.used));
    int i = 0;
    while (floors[i] > least)
        i++;
    return floors[i];
}

static void put_curves(const umbra_evaluation *e, FILE *f, int d, double floor_share, double *x,
                       double *y)
{
    char title[64], about[160];
    snprintf(title, sizeof title, "d = %d", d + 1);
    snprintf(about, sizeof about,
             "Slot recall in per cent against the number m of experts ranked first, %d "
             "layer%s ahead, one line per predictor",
             d + 1, d > 0 ? "s" : "");
    int k = e->model.used, n = e->curve_last - k + 1;
    umbra_chart chart = {.title = title,
                         .about = about,
                         .x_label = "m experts ranked first",
                         .x_step = k,
                         .y_label = "recall, %",
                         .x_low = k,
                         .x_high = n > 1 ? e->curve_last : k + 1,
                         .y_low = floor_share,
                         .y_high = 0.999,
                         .y_scale = UMBRA_CHART_NINES,
                         .whole_x = true};
    umbra_chart_begin(f, &chart);
    for (int r = 0; r < e->n_rows; r++) {
        if (!umbra_report_line_style(e, r))
            continue;
        for (int i = 0; i < n; i++) {
            x[i] = k + i;
            y[i] = umbra_eval_recall(e, &e->rows[r].inner[d], k + i);
        }
        umbra_chart_line(f, &chart, umbra_report_line_style(e, r), e->rows[r].name, x, y, n, false);
    }
    umbra_chart_end(f);
}

size_t umbra_report_points(const umbra_evaluation *e)
{
    size_t n = (size_t)(e->curve_last - e->model.used + 1);
    n = n > (size_t)e->model.layers ? n : (size_t)e->model.layers; /* also what walks reach */
    for (int s = 0; s < e->n_shadows; s++)
        if ((size_t)e->shadows[s].training.n_epochs > n)
            n = (size_t)e->shadows[s].training.n_epochs;
    return n;
}

void umbra_report_curves(const umbra_evaluation *e, FILE *f, double *x, double *y)
{
    fputs("<h2>Recall against the number of experts read</h2>\n<p>Who reads more of the experts "
          "ranked "
          "first finds more of the used ones, and reads more in vain. The scale stretches towards "
          "100&#160;%: equal steps "
          "are equal factors of what is missed.</p>\n",
          f);
    put_legend(e, f, false);
    fputs("<div class=\"charts\">\n", f);
    for (int d = 0; d < D; d++)
        if (counted(e, d))
            put_curves(e, f, d, curve_floor(e), x, y);
    fputs("</div>\n", f);
}

/* ---- heat maps ---- */

static double heat_floor(const umbra_evaluation *e)
{
    double least = 1;
    for (int r = 0; r < e->n_rows; r++)
        for (int layer = 0; layer < e->model.layers; layer++)
            for (int d = 1; d <= D; d++) {
                const umbra_tally *t = umbra_eval_at_layer(e, &e->rows[r], layer, d);
                least = t ? fmin(least, umbra_eval_recall(e, t, e->model.used)) : least;
            }
    return fmin(floor(least * 10) / 10, 0.9);
}

static void put_heat_row(const umbra_evaluation *e, FILE *f, const umbra_eval_row *row, int layer,
                         double low)
{
    fprintf(f, "<tr><th scope=\"row\">%d</th>", layer);
    for (int d = 1; d <= D; d++) {
        const umbra_tally *t = umbra_eval_at_layer(e, row, layer, d);
        double recall = t ? umbra_eval_recall(e, t, e->model.used) : NAN;
        if (isnan(recall)) {
            fputs("<td></td>", f);
            continue;
        }
        fprintf(f, "<td%s style=\"", layer + 1 == d ? " class=\"start\"" : "");
        umbra_html_heat(f, (recall - low) / (1 - low));
        fprintf(f, "\">%.0f</td>", 100 * recall);
    }
    fputs("</tr>\n", f);
}

static void put_heat_scale(FILE *f, double low)
{
    enum { PARTS = 40 };
    fputs("<svg class=\"bar\" viewBox=\"0 0 320 36\" role=\"img\" aria-label=\"Colour scale of "
          "recall\"><title>Colour scale of recall</title>\n",
          f);
    for (int i = 0; i < PARTS; i++) {
        fprintf(f, "<rect x=\"%d\" y=\"0\" width=\"8.5\" height=\"14\" style=\"fill:", i * 8);
        umbra_html_heat_colour(f, (i + 0.5) / PARTS);
        fputs("\"/>", f);
    }
    fprintf(f,
            "\n<text x=\"0\" y=\"30\">%.0f %%</text><text x=\"320\" y=\"30\" class=\"end\">100 %%"
            "</text></svg>\n",
            100 * low);
}

static void put_heat_map(const umbra_evaluation *e, FILE *f, const umbra_eval_row *row, double low)
{
    fputs("<table class=\"heat\"><caption>", f);
    umbra_html_text(f, row->name);
    fputs("</caption>\n<thead><tr><th scope=\"col\">layer</th>", f);
    for (int d = 1; d <= D; d++)
        fprintf(f, "<th scope=\"col\">+%d</th>", d);
    fputs("</tr></thead>\n<tbody>\n", f);
    for (int layer = 0; layer < e->model.layers; layer++)
        if (e->has_layer[layer])
            put_heat_row(e, f, row, layer, low);
    fputs("</tbody></table>\n", f);
}

void umbra_report_heat_maps(const umbra_evaluation *e, FILE *f)
{
    double low = heat_floor(e);
    fprintf(f,
            "<h2>Recall by layer</h2>\n<p>Slot recall at m = %d in per cent. Rows are the layers "
            "that are predicted, columns how many layers ahead. Underlined: from the token’s "
            "embedding.</p>\n",
            e->model.used);
    put_heat_scale(f, low);
    fputs("<div class=\"heats\">\n", f);
    for (int r = 0; r < e->n_rows; r++)
        if (e->rows[r].kind == UMBRA_EVAL_SHADOW)
            put_heat_map(e, f, &e->rows[r], low);
    for (int r = e->n_rows - 1; r >= 0; r--)
        if (e->rows[r].kind != UMBRA_EVAL_SHADOW && e->rows[r].kind != UMBRA_EVAL_ORACLE)
            put_heat_map(e, f, &e->rows[r], low);
    fputs("</div>\n", f);
}

/* ---- difficulty ---- */

static void put_layers(const umbra_evaluation *e, FILE *f, int d, double *x, double *y)
{
    char title[32], about[96];
    int layers = e->model.layers, n = layers - 1;
    snprintf(title, sizeof title, "d = %d", d);
    snprintf(about, sizeof about, "Slot recall in per cent by predicted layer, %d layer%s ahead", d,
             d > 1 ? "s" : "");
    umbra_chart chart = {.title = title,
                         .about = about,
                         .x_label = "layer",
                         .y_label = "recall, %",
                         .x_low = 1,
                         .x_high = layers - 1,
                         .y_low = heat_floor(e),
                         .y_high = 1,
                         .y_scale = UMBRA_CHART_PERCENT,
                         .whole_x = true};
    umbra_chart_begin(f, &chart);
    for (int r = 0; r < e->n_rows; r++) {
        if (!umbra_report_line_style(e, r))
            continue;
        for (int layer = 1; layer < layers; layer++) {
            const umbra_tally *t =
                d <= layer ? umbra_eval_at_layer(e, &e->rows[r], layer, d) : NULL;
            x[layer - 1] = layer;
            y[layer - 1] = t ? umbra_eval_recall(e, t, e->model.used) : NAN;
        }
        umbra_chart_line(f, &chart, umbra_report_line_style(e, r), e->rows[r].name, x, y, n,
                         n <= 32);
    }
    umbra_chart_end(f);
}

void umbra_report_difficulty(const umbra_evaluation *e, FILE *f, double *x, double *y)
{
    if (e->model.layers < 3)
        return;
    fputs(
        "<h2>Which layers are hard</h2>\n<p>Where <em>frequency</em> is high, few experts do most "
        "of the work; where <em>previous</em> is high, experts stay the same from token to token; "
        "where <em>gate</em> is low, the layers between change the state most.</p>\n",
        f);
    put_legend(e, f, false);
    fputs("<div class=\"charts\">\n", f);
    for (int d = 1; d <= D; d += D - 1)
        if (counted(e, d - 1))
            put_layers(e, f, d, x, y);
    fputs("</div>\n", f);
}

/* ---- reliability ---- */

/* Bins with few forecasts wander; they are left out. */
enum { FEW_FORECASTS = 30 };

static void put_reliability(const umbra_evaluation *e, FILE *f, int d)
{
    char title[64], about[200];
    snprintf(title, sizeof title, "d = %d", d + 1);
    snprintf(about, sizeof about,
             "Share of experts really used against the probability that was "
             "stated, %d layer%s ahead; the diagonal would be perfect",
             d + 1, d > 0 ? "s" : "");
    umbra_chart chart = {.title = title,
                         .about = about,
                         .x_label = "stated probability, %",
                         .y_label = "used, %",
                         .x_high = 1,
                         .y_high = 1,
                         .x_scale = UMBRA_CHART_PERCENT,
                         .y_scale = UMBRA_CHART_PERCENT};
    static const double ends[] = {0, 1};
    umbra_chart_begin(f, &chart);
    umbra_chart_line(f, &chart, "ideal", "perfect", ends, ends, 2, false);
    for (int r = 0; r < e->n_rows; r++) {
        double x[UMBRA_TALLY_BINS], y[UMBRA_TALLY_BINS];
        if (e->rows[r].forecast == UMBRA_EVAL_NO_FORECAST)
            continue;
        for (int b = 0; b < UMBRA_TALLY_BINS; b++) {
            const umbra_tally_bin *bin = &e->rows[r].inner[d].bins[b];
            bool enough = bin->count >= FEW_FORECASTS;
            x[b] = enough ? bin->sum / (double)bin->count : NAN;
            y[b] = enough ? (double)bin->used / (double)bin->count : NAN;
        }
        umbra_chart_line(f, &chart, umbra_report_line_style(e, r), e->rows[r].name, x, y,
                         UMBRA_TALLY_BINS, true);
    }
    umbra_chart_end(f);
}

static void put_errors(const umbra_evaluation *e, FILE *f, const char *caption, double factor,
                       int digits, double (*figure)(const umbra_tally *))
{
    fprintf(f,
            "<div class=\"scroll\"><table><caption>%s</caption>\n<thead><tr><th "
            "scope=\"col\">predictor</th>",
            caption);
    for (int d = 1; d <= D; d++)
        fprintf(f, "<th scope=\"col\">d = %d</th>", d);
    fputs("</tr></thead>\n<tbody>\n", f);
    for (int r = 0; r < e->n_rows; r++) {
        const umbra_eval_row *row = &e->rows[r];
        if (row->forecast == UMBRA_EVAL_NO_FORECAST)
            continue;
        fprintf(f, "<tr%s><th scope=\"row\">",
                row->kind == UMBRA_EVAL_SHADOW ? " class=\"shadow\"" : "");
        umbra_html_text(f, row->name);
        fputs("</th>", f);
        for (int d = 0; d < D; d++) {
            double value = figure(&row->inner[d]);
            if (isnan(value))
                fputs("<td>–</td>", f);
            else
                fprintf(f, "<td>%.*f</td>", digits, factor * value);
        }
        fputs("</tr>\n", f);
    }
    fputs("</tbody></table></div>\n", f);
}

void umbra_report_reliability(const umbra_evaluation *e, FILE *f)
{
    bool any = false;
    for (int r = 0; r < e->n_rows; r++)
        any = any || e->rows[r].forecast != UMBRA_EVAL_NO_FORECAST;
    if (!any)
        return;
    fputs("<h2>Probabilities that hold</h2>\n<p>Of the experts that were given a probability of 80 "
          "per "
          "cent, 80 in a hundred should be used. Shadow files bring their own calibration; for "
          "the others a slope and an offset per distance were fitted (Platt) on the calibration "
          "documents. Bins of equal width, fifteen of them, if at least 30 forecasts fell "
          "into them.</p>\n",
          f);
    put_legend(e, f, true);
    fputs("<div class=\"charts\">\n", f);
    for (int d = 0; d < D; d++)
        if (counted(e, d))
            put_reliability(e, f, d);
    fputs("</div>\n<div class=\"grid\">\n", f);
    put_errors(e, f, "ECE, per cent", 100, 2, umbra_tally_ece);
    put_errors(e, f, "NLL per expert, thousandths of a nat", 1000, 1, umbra_tally_nll);
    fputs("</div>\n", f);
}

/* ---- training ---- */

/* Lowest and highest of n epochs' values at an offset; false if there are none. */
static bool range_of(const umbra_training *t, int what, double *low, double *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (int i = 0; i < t->n_epochs; i++)
        for (int d = what < 0 ? 0 : what; d < (what < 0 ? 1 : D); d++) {
            double v = what < 0 ? t->epochs[i].loss : t->epochs[i].recall[d];
            *low = isfinite(v) ? fmin(*low, v) : *low;
            *high = isfinite(v) ? fmax(*high, v) : *high;
        }
    return *low <= *high;
}

/* Makes a range that a chart can divide. */
static void widen(double *low, double *high)
{
    double margin = *high > *low ? (*high - *low) * 0.05 : fabs(*high) * 0.05 + 1e-6;
    *low -= margin;
    *high += margin;
}

static void put_loss(const umbra_training *t, FILE *f, double *x, double *y)
{
    umbra_chart chart = {.title = "Training loss",
                         .about = "Training loss by epoch",
                         .x_label = "epoch",
                         .y_label = "loss",
                         .x_low = 1,
                         .x_high = t->n_epochs > 1 ? t->n_epochs : 2,
                         .whole_x = true};
    if (!range_of(t, -1, &chart.y_low, &chart.y_high))
        return;
    widen(&chart.y_low, &chart.y_high);
    umbra_chart_begin(f, &chart);
    for (int i = 0; i < t->n_epochs; i++)
        y[i] = t->epochs[i].loss;
    umbra_chart_line(f, &chart, "s0", "training loss", x, y, t->n_epochs, t->n_epochs <= 40);
    umbra_chart_end(f);
}

static void put_validation(const umbra_training *t, FILE *f, double *x, double *y)
{
    static const char *const styles[D] = {"s0", "s1", "s2", "s3"};
    static const char *const names[D] = {"d = 1", "d = 2", "d = 3", "d = 4"};
    umbra_chart chart = {.title = "Recall on the validation split",
                         .about = "Slot recall on the validation split by epoch and distance",
                         .x_label = "epoch",
                         .y_label = "recall, %",
                         .x_low = 1,
                         .x_high = t->n_epochs > 1 ? t->n_epochs : 2,
                         .y_scale = UMBRA_CHART_PERCENT,
                         .whole_x = true};
    if (!range_of(t, 0, &chart.y_low, &chart.y_high))
        return;
    widen(&chart.y_low, &chart.y_high);
    fputs("<div>", f);
    umbra_chart_begin(f, &chart);
    for (int d = 0; d < D; d++) {
        for (int i = 0; i < t->n_epochs; i++)
            y[i] = t->epochs[i].recall[d];
        umbra_chart_line(f, &chart, styles[d], names[d], x, y, t->n_epochs, t->n_epochs <= 40);
    }
    umbra_chart_end(f);
    fputs("<ul class=\"legend\">\n", f);
    for (int d = 0; d < D; d++)
        umbra_chart_legend(f, styles[d], names[d]);
    fputs("</ul></div>\n", f);
}

static void put_shadow(const umbra_eval_shadow *shadow, FILE *f, double *x, double *y)
{
    const umbra_training *t = &shadow->training;
    fputs("<h3>", f);
    umbra_html_text(f, shadow->path);
    fputs("</h3>\n<p>", f);
    umbra_html_count(f, (uint64_t)t->n_hashes);
    fputs(" documents", f);
    if (t->tokens >= 0 && t->tokens < 1e18) {
        fputs(", ", f);
        umbra_html_count(f, (uint64_t)t->tokens);
        fputs(" tokens", f);
    }
    if (t->seconds >= 0 && t->seconds < 1e12)
        fprintf(f, ", %.0f s", t->seconds);
    fputs(".</p>\n<div class=\"charts\">\n", f);
    for (int i = 0; i < t->n_epochs; i++)
        x[i] = i + 1;
    put_loss(t, f, x, y);
    put_validation(t, f, x, y);
    fputs("</div>\n", f);
}

void umbra_report_training(const umbra_evaluation *e, FILE *f, double *x, double *y)
{
    if (e->n_shadows == 0)
        return;
    fputs("<h2>How the shadows were trained</h2>\n", f);
    for (int s = 0; s < e->n_shadows; s++)
        put_shadow(&e->shadows[s], f, x, y);
}
