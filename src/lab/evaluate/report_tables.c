/* The headline and the tables of an evaluation's page. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lab/report/html.h"
#include "lab/evaluate/report.h"

enum { D = UMBRA_MAX_DISTANCE };

/* ---- headline ---- */

int umbra_report_best(const umbra_evaluation *e)
{
    int best = -1;
    double most = -1;
    for (int r = 0; r < e->n_rows; r++) {
        double sum = 0;
        for (int d = 0; d < D; d++) {
            double recall = umbra_eval_recall(e, &e->rows[r].inner[d], e->model.used);
            sum += isnan(recall) ? 0 : recall;
        }
        if (e->rows[r].kind == UMBRA_EVAL_SHADOW && sum > most) {
            most = sum;
            best = r;
        }
    }
    return best;
}

static const umbra_eval_row *gate_row(const umbra_evaluation *e)
{
    for (int r = 0; r < e->n_rows; r++)
        if (e->rows[r].kind == UMBRA_EVAL_GATE)
            return &e->rows[r];
    return NULL;
}

static double recall_at(const umbra_evaluation *e, const umbra_eval_row *row, int d)
{
    return row ? umbra_eval_recall(e, &row->inner[d - 1], e->model.used) : NAN;
}

static void put_sentence(const umbra_evaluation *e, FILE *f, const umbra_eval_row *row)
{
    const umbra_eval_row *gate = gate_row(e);
    double recall = recall_at(e, row, 1), gain = recall - recall_at(e, gate, 1);
    fputs("<p>On ", f);
    umbra_html_count(f, (uint64_t)e->table.documents);
    fprintf(f, " document%s ", e->table.documents == 1 ? "" : "s");
    fputs(row == gate ? "" : "that it was never trained on ", f);
    fputs("(", f);
    umbra_html_count(f, e->table.tokens);
    fputs(" tokens), <strong>", f);
    umbra_html_text(f, row->name);
    fprintf(
        f,
        "</strong> names %.1f&#160;%% of the experts that the next layer uses with the %d experts "
        "that it ranks first",
        100 * recall, e->model.used);
    if (row != gate)
        fprintf(f, ", %.1f points %s than the model’s own routers applied early (gate)",
                100 * fabs(gain), gain < 0 ? "fewer" : "more");
    fputs(".</p>\n", f);
}

void umbra_report_headline(const umbra_evaluation *e, FILE *f)
{
    int best = umbra_report_best(e);
    const umbra_eval_row *gate = gate_row(e), *row = best >= 0 ? &e->rows[best] : gate;
    if (!row || isnan(recall_at(e, row, 1)))
        return;
    put_sentence(e, f, row);
    fputs("<dl class=\"facts\">\n", f);
    for (int d = 1; d <= D; d++) {
        double recall = recall_at(e, row, d), gain = recall - recall_at(e, gate, d);
        if (isnan(recall))
            continue;
        fprintf(f, "<div><dt>%d layer%s ahead</dt><dd><b>%.1f&#160;%%</b>", d, d > 1 ? "s" : "",
                100 * recall);
        if (row != gate)
            fprintf(f, "<span class=\"soft\">gate %.1f&#160;%% (%s%.1f)</span>",
                    100 * recall_at(e, gate, d), gain < 0 ? "−" : "+", 100 * fabs(gain));
        fputs("</dd></div>\n", f);
    }
    fputs("</dl>\n", f);
    double control = umbra_eval_recall(e, &e->control_sum, e->model.used);
    if (control < UMBRA_EVAL_CONTROL)
        fprintf(f,
                "<p class=\"warning\">The control (d = 0) names only %.1f&#160;%%: states and "
                "routing of these traces do not fit the routers, so trust none of the figures "
                "below.</p>\n",
                100 * control);
}

/* ---- tables of predictors ---- */

typedef struct column {
    umbra_eval_figure figure;
    int m;
    bool start; /* source 0 */
} column;

static double cell(const umbra_evaluation *e, const umbra_eval_row *row, const column *c, int d)
{
    return c->figure(e, c->start ? &row->start[d] : &row->inner[d], c->m);
}

/* Best of all but the oracle, as shown. */
static double best_of(const umbra_evaluation *e, const column *c, int d)
{
    double best = -1;
    for (int r = 0; r < e->n_rows; r++)
        if (e->rows[r].kind != UMBRA_EVAL_ORACLE)
            best = fmax(best, cell(e, &e->rows[r], c, d));
    return best;
}

static void open_table(FILE *f, const char *caption)
{
    fprintf(f,
            "<div class=\"scroll\"><table><caption>%s</caption>\n<thead><tr><th "
            "scope=\"col\">predictor</th>",
            caption);
}

static void open_row(FILE *f, const umbra_eval_row *row)
{
    fprintf(f, "<tr%s><th scope=\"row\">",
            row->kind == UMBRA_EVAL_SHADOW ? " class=\"shadow\"" : "");
    umbra_html_text(f, row->name);
    fputs("</th>", f);
}

static void close_table(FILE *f)
{
    fputs("</tbody></table></div>\n", f);
}

static void put_table(const umbra_evaluation *e, FILE *f, const char *caption, const column *c)
{
    open_table(f, caption);
    for (int d = 1; d <= D; d++)
        fprintf(f, "<th scope=\"col\">d = %d</th>", d);
    fputs("</tr></thead>\n<tbody>\n", f);
    for (int r = 0; r < e->n_rows; r++) {
        const umbra_eval_row *row = &e->rows[r];
        open_row(f, row);
        for (int d = 0; d < D; d++) {
            double value = cell(e, row, c, d);
            bool best = row->kind != UMBRA_EVAL_ORACLE && value >= best_of(e, c, d) - 0.0005;
            fprintf(f, "<td%s>", best ? " class=\"best\"" : "");
            umbra_html_percent(f, value);
            fputs("</td>", f);
        }
        fputs("</tr>\n", f);
    }
    close_table(f);
}

static void put_grid(const umbra_evaluation *e, FILE *f, const char *what, umbra_eval_figure figure,
                     const int *m, int n, bool start)
{
    char caption[128];
    fputs("<div class=\"grid\">\n", f);
    for (int i = 0; i < n; i++) {
        snprintf(caption, sizeof caption, "%s, m = %d", what, m[i]);
        put_table(e, f, caption, &(column){figure, m[i], start});
    }
    fputs("</div>\n", f);
}

void umbra_report_budget_tables(const umbra_evaluation *e, FILE *f)
{
    static const int tops[] = {1, 4, 8};
    double worst = 0;
    for (int i = 0; i < e->n_rows * D; i++)
        worst = fmax(worst, e->rows[i / D].deviation[i % D]);
    fputs("<h2>Predictions that hit</h2>\n<p>Of the experts really used, the share among the m "
          "ranked first (slot recall, in per cent), d layers ahead. ",
          f);
    fprintf(f,
            "A layer uses %d of %d experts. The best in each column is bold; the oracle is what "
            "a perfect predictor scores.</p>\n",
            e->model.used, e->model.experts);
    put_grid(e, f, "Slot recall", umbra_eval_recall, e->budgets, e->n_budgets, false);
    fprintf(f,
            "<p class=\"soft\">Standard errors: at most %.1f points. Control (d = 0, the router "
            "of the same layer): %.1f&#160;%% at m = %d.",
            100 * worst, 100 * umbra_eval_recall(e, &e->control_sum, e->model.used), e->model.used);
    if (e->frequency_from)
        fprintf(f, " Frequency: %s.", e->frequency_from);
    fputs("</p>\n<h3>All of them</h3>\n<p>Share of the predictions whose m first-ranked experts "
          "hold every used one: a layer waits for its slowest read.</p>\n",
          f);
    put_grid(e, f, "All k", umbra_eval_all, e->budgets, e->n_budgets, false);
    fputs("<h3>The weightiest expert</h3>\n<p>Share of the predictions whose 1, 4 or 8 "
          "first-ranked experts hold the one to which the router gave the largest weight.</p>\n",
          f);
    put_grid(e, f, "Top expert", umbra_eval_top, tops, 3, false);
}

void umbra_report_start_table(const umbra_evaluation *e, FILE *f)
{
    if (!umbra_eval_predicts(e, 0, 1))
        return;
    fputs("<h2>From the token alone</h2>\n<p>The same recall from source 0, the embedding of the "
          "token before its first layer: d = 1 is layer 0. These predictions can be made as soon "
          "as the token is sampled; they are in no other table.</p>\n",
          f);
    put_grid(e, f, "Slot recall from source 0", umbra_eval_recall, e->budgets, e->n_budgets, true);
}

/* ---- ablations ---- */

static void put_signed(FILE *f, double share)
{
    if (isnan(share))
        fputs("–", f);
    else
        fprintf(f, "%s%.1f", share <= -0.0005 ? "−" : "", 100 * fabs(share));
}

void umbra_report_ablations(const umbra_evaluation *e, FILE *f)
{
    bool any = false;
    for (int s = 0; s < e->n_shadows; s++)
        any = any || e->shadows[s].n_ablations > 0;
    if (!any)
        return;
    fprintf(f,
            "<h2>What the parts give</h2>\n<p>Points of recall at m = %d that are lost when a part "
            "of the trained file is switched off at load, on ",
            e->model.used);
    umbra_html_count(f, e->ablation.tokens);
    fputs(" tokens. The rest was trained to work with the part, so a network trained without it "
          "would lose less.</p>\n<div class=\"grid\">\n",
          f);
    for (int s = 0; s < e->n_shadows; s++) {
        const umbra_eval_shadow *shadow = &e->shadows[s];
        if (shadow->n_ablations == 0)
            continue;
        fputs("<div class=\"scroll narrow\"><table><caption>", f);
        umbra_html_text(f, shadow->path);
        fputs("</caption>\n<thead><tr><th scope=\"col\">without</th>", f);
        for (int d = 1; d <= D; d++)
            fprintf(f, "<th scope=\"col\">d = %d</th>", d);
        fputs("</tr></thead>\n<tbody>\n", f);
        for (int a = 0; a < shadow->n_ablations; a++) {
            fprintf(f, "<tr><th scope=\"row\">%s</th>", shadow->ablations[a].without);
            for (int d = 1; d <= D; d++) {
                fputs("<td>", f);
                put_signed(f, umbra_eval_loss(e, s, a, d));
                fputs("</td>", f);
            }
            fputs("</tr>\n", f);
        }
        close_table(f);
    }
    fputs("</div>\n", f);
}

/* ---- costs ---- */

void umbra_report_costs(const umbra_evaluation *e, FILE *f)
{
    fputs(
        "<h2>What a prediction costs</h2>\n<p>Bytes read and multiply-adds done for one prediction "
        "of all distances at an inner source, the model’s own routers included.</p>\n",
        f);
    fputs(
        "<div class=\"scroll narrow\"><table><caption>Cost of one prediction</caption>\n<thead><tr>"
        "<th scope=\"col\">predictor</th><th scope=\"col\">bytes</th>"
        "<th scope=\"col\">multiply-adds</th></tr></thead>\n<tbody>\n",
        f);
    for (int r = 0; r < e->n_rows; r++) {
        open_row(f, &e->rows[r]);
        fputs("<td>", f);
        umbra_html_amount(f, e->rows[r].bytes);
        fputs("</td><td>", f);
        umbra_html_amount(f, e->rows[r].macs);
        fputs("</td></tr>\n", f);
    }
    close_table(f);
    for (int s = 0; s < e->n_shadows; s++) {
        char about[256];
        umbra_eval_describe(&e->shadows[s], about, sizeof about);
        fputs("<p class=\"soft\">", f);
        umbra_html_text(f, e->shadows[s].path);
        fprintf(f, ": %s.</p>\n", about);
    }
}

/* ---- data ---- */

static void put_origin(FILE *f, const char *origin, umbra_eval_amount amount)
{
    fprintf(f, "<td class=\"words\">%s</td><td>", origin);
    umbra_html_count(f, (uint64_t)amount.documents);
    fputs("</td><td>", f);
    umbra_html_count(f, amount.tokens);
    fputs("</td></tr>\n", f);
}

static void put_folders(const umbra_evaluation *e, FILE *f)
{
    fputs("<div class=\"scroll narrow\"><table><caption>Trace folders</caption>\n<thead>"
          "<tr><th scope=\"col\">folder</th><th scope=\"col\" class=\"words\">origin</th>"
          "<th scope=\"col\">documents</th><th scope=\"col\">tokens</th></tr></thead>\n<tbody>\n",
          f);
    for (int i = 0; i < e->n_folders; i++) {
        const umbra_eval_folder *folder = &e->folders[i];
        fputs("<tr><th scope=\"rowgroup\" rowspan=\"2\">", f);
        umbra_html_text(f, folder->path);
        fprintf(f, "<br><small class=\"soft\">%s states", folder->int8 ? "I8" : "BF16");
        if (folder->stride > 1)
            fprintf(f, " of 1 in %d tokens", folder->stride);
        fprintf(f, "; left out: %d too short, %d repeated</small></th>", folder->short_documents,
                folder->repeated);
        put_origin(f, "generated", folder->generated);
        fputs("<tr>", f);
        put_origin(f, "read", folder->read);
    }
    close_table(f);
}

static void put_collections(const umbra_evaluation *e, FILE *f)
{
    for (int i = 0; i < e->n_folders; i++) {
        const char *text = e->folders[i].collection;
        json_t *root = text ? json_loads(text, 0, NULL) : NULL;
        char *pretty = root ? json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
        if (text) {
            fputs("<details><summary>How ", f);
            umbra_html_text(f, e->folders[i].path);
            fputs(" was collected</summary><pre>", f);
            umbra_html_text(f, pretty ? pretty : text);
            fputs("</pre></details>\n", f);
        }
        free(pretty);
        json_decref(root);
    }
}

void umbra_report_data(const umbra_evaluation *e, FILE *f)
{
    fputs("<h2>The data</h2>\n<p>", f);
    umbra_html_count(f, (uint64_t)e->table.documents);
    fputs(" documents with ", f);
    umbra_html_count(f, e->table.tokens);
    fputs(" tokens are in the tables", f);
    if (e->calibration.documents > 0) {
        fputs("; every tenth document (", f);
        umbra_html_count(f, (uint64_t)e->calibration.documents);
        fputs(" with ", f);
        umbra_html_count(f, e->calibration.tokens);
        fputs(" tokens) only served to calibrate the predictors that are not trained", f);
    }
    if (e->document_limit > 0) {
        fputs("; of every document at most the first ", f);
        umbra_html_count(f, e->document_limit);
        fputs(" tokens count", f);
    }
    fprintf(f,
            ". Documents of fewer than %d tokens, and those whose content came before, are left "
            "out. ",
            UMBRA_EVAL_SHORT);
    if (e->n_shadows > 0)
        fputs("None is among the documents that a shadow file names as its training or validation "
              "data, by id or by hash of content. ",
              f);
    fputs("Generated documents were written by the model itself, read ones were given to it.</p>\n",
          f);
    put_folders(e, f);
    put_collections(e, f);
    fputs("<p class=\"soft\">Model ", f);
    umbra_html_text(f, e->model.model_name);
    fputs(" (", f);
    umbra_html_text(f, e->model.architecture);
    fputs("), hash ", f);
    umbra_html_text(f, e->model.model_hash);
    fputs(".</p>\n", f);
}

void umbra_report_words(const umbra_evaluation *e, FILE *f)
{
    (void)e;
    fputs("<h2>Words</h2>\n<dl class=\"words\">\n", f);
    for (const umbra_eval_word *w = umbra_eval_words; w->term; w++)
        fprintf(f, "<dt>%s</dt><dd>%s.</dd>\n", w->term, w->meaning);
    fputs("</dl>\n", f);
}
