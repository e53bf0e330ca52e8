/* make_report OUT: writes the report of a made-up evaluation with hostile names, for the browser.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "lab/evaluate/synthetic.h"

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: make_report OUT [plain]\n", stderr);
        return 2;
    }
    umbra_error err;
    umbra_evaluation *e = synthetic_evaluation(argc < 3);
    int rc = umbra_evaluation_report(e, argv[1], &err);
    if (rc != UMBRA_OK)
        fprintf(stderr, "make_report: %s\n", err.message);
    umbra_evaluation_free(&e);
    return rc == UMBRA_OK ? 0 : 1;
}
