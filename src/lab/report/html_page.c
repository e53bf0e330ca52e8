/* A page's head and foot. */
#include "lab/report/html.h"

static void put_style(FILE *f, const char *const *pieces)
{
    for (; pieces && *pieces; pieces++)
        fputs(*pieces, f);
}

void umbra_html_begin_page(FILE *f, const char *title, const char *name,
                           const char *const *more_style)
{
    fprintf(f,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
            "<meta name=\"generator\" content=\"umbra " UMBRA_VERSION "\">\n<title>%s",
            title);
    umbra_html_text(f, name);
    fputs("</title>\n<style>\n", f);
    put_style(f, umbra_html_style);
    put_style(f, more_style);
    fputs("</style>\n</head>\n<body>\n<main>\n", f);
}

void umbra_html_end_page(FILE *f)
{
    fputs("</main>\n</body>\n</html>\n", f);
}
