/* Puts the page of an evaluation together. */
#include "lab/evaluate/report.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "lab/report/html.h"

typedef struct page {
    const umbra_evaluation *e;
    double *x, *y; /* scratch for the points of a line */
} page;

static void write_page(FILE *f, void *user)
{
    const page *p = user;
    const umbra_evaluation *e = p->e;
    umbra_html_begin_page(f, "Shadow models of ", e->model.model_name, NULL);
    fputs("<h1>Which experts will ", f);
    umbra_html_text(f, e->model.model_name);
    fputs(" need next?</h1>\n<p class=\"soft\">", f);
    fprintf(f, "%d layers, %d experts each, %d used per token</p>\n", e->model.layers,
            e->model.experts, e->model.used);
    umbra_report_headline(e, f);
    umbra_report_budget_tables(e, f);
    umbra_report_curves(e, f, p->x, p->y);
    umbra_report_walks(e, f, p->x, p->y);
    umbra_report_heat_maps(e, f);
    umbra_report_difficulty(e, f, p->x, p->y);
    umbra_report_reliability(e, f);
    umbra_report_ablations(e, f);
    umbra_report_start_table(e, f);
    umbra_report_costs(e, f);
    umbra_report_training(e, f, p->x, p->y);
    umbra_report_data(e, f);
    umbra_report_words(e, f);
    umbra_html_end_page(f);
}

int umbra_evaluation_report(const umbra_evaluation *e, const char *path, umbra_error *err)
{
    size_t n = umbra_report_points(e);
    double *points = umbra_calloc(2 * n, sizeof *points);
    if (!points)
        return umbra_fail_nomem(err, "the report", 2 * n * sizeof *points);
    page p = {e, points, points + n};
    int rc = umbra_replace_file(path, write_page, &p, NULL, err);
    umbra_free(points);
    return rc;
}
