#include "evaluate/report.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "evaluate/html.h"

static void write_page(const umbra_evaluation *e, FILE *f, double *x, double *y)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
          "<meta name=\"generator\" content=\"umbra " UMBRA_VERSION "\">\n<title>Shadow models of ",
          f);
    umbra_html_text(f, e->model.model_name);
    fputs("</title>\n<style>\n", f);
    for (int i = 0; umbra_report_style[i]; i++)
        fputs(umbra_report_style[i], f);
    fputs("</style>\n</head>\n<body>\n<main>\n<h1>Which experts will ", f);
    umbra_html_text(f, e->model.model_name);
    fputs(" need next?</h1>\n<p class=\"soft\">", f);
    fprintf(f, "%d layers, %d experts each, %d used per token</p>\n", e->model.layers,
            e->model.experts, e->model.used);
    umbra_report_headline(e, f);
    umbra_report_budget_tables(e, f);
    umbra_report_curves(e, f, x, y);
    umbra_report_heat_maps(e, f);
    umbra_report_difficulty(e, f, x, y);
    umbra_report_reliability(e, f);
    umbra_report_ablations(e, f);
    umbra_report_start_table(e, f);
    umbra_report_costs(e, f);
    umbra_report_training(e, f, x, y);
    umbra_report_data(e, f);
    umbra_report_words(e, f);
    fputs("</main>\n</body>\n</html>\n", f);
}

static int io_error(const char *path, umbra_error *err)
{
    return umbra_fail(err, UMBRA_E_IO, "%s: cannot write the report: %s", path, strerror(errno));
}

static int write_file(const umbra_evaluation *e, const char *part, const char *path, double *points,
                      umbra_error *err)
{
    FILE *f = fopen(part, "wbe");
    if (!f)
        return io_error(path, err);
    write_page(e, f, points, points + umbra_report_points(e));
    bool failed = fflush(f) != 0 || ferror(f) || fsync(fileno(f)) != 0;
    int rc = failed ? io_error(path, err) : UMBRA_OK;
    if (fclose(f) != 0 && rc == UMBRA_OK)
        rc = io_error(path, err);
    if (rc == UMBRA_OK && rename(part, path) != 0)
        rc = io_error(path, err);
    if (rc != UMBRA_OK)
        unlink(part);
    return rc;
}

int umbra_evaluation_report(const umbra_evaluation *e, const char *path, umbra_error *err)
{
    static const char ending[] = ".part";
    size_t length = strlen(path), n = 2 * umbra_report_points(e);
    char *part = umbra_calloc(length + sizeof ending, 1);
    double *points = umbra_calloc(n, sizeof *points);
    int rc = UMBRA_OK;
    if (part && points) {
        memcpy(part, path, length);
        memcpy(part + length, ending, sizeof ending);
        rc = write_file(e, part, path, points, err);
    } else {
        rc = umbra_fail_nomem(err, "the report", length + n * sizeof *points);
    }
    umbra_free(part);
    umbra_free(points);
    return rc;
}
