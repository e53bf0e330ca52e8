/* A page's head and foot, and saving it whole or not at all. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
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

static int io_error(const char *path, umbra_error *err)
{
    return umbra_fail(err, UMBRA_E_IO, "%s: cannot write the report: %s", path, strerror(errno));
}

static int write_file(const char *part, const char *path, void (*write)(FILE *f, void *user),
                      void *user, umbra_error *err)
{
    FILE *f = fopen(part, "wbe");
    if (!f)
        return io_error(path, err);
    write(f, user);
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

int umbra_html_save(const char *path, void (*write)(FILE *f, void *user), void *user,
                    umbra_error *err)
{
    static const char ending[] = ".part";
    size_t length = strlen(path);
    char *part = umbra_calloc(length + sizeof ending, 1);
    if (!part)
        return umbra_fail_nomem(err, "the report", length);
    memcpy(part, path, length);
    memcpy(part + length, ending, sizeof ending);
    int rc = write_file(part, path, write, user, err);
    umbra_free(part);
    return rc;
}
