/* make_bench_report OUT: writes the report of a made-up benchmark with hostile names, for the
 * browser. */
#include <stdio.h>

#include "lab/bench/fixture.h"

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: make_bench_report OUT [plain]\n", stderr);
        return 2;
    }
    umbra_error err;
    int what = FIXTURE_RESIDENT | FIXTURE_PEER | (argc < 3 ? FIXTURE_HOSTILE : 0);
    umbra_bench *bench = fixture_bench(3, what);
    int rc = umbra_bench_report(bench, argv[1], &err);
    if (rc != UMBRA_OK)
        fprintf(stderr, "make_bench_report: %s\n", err.message);
    umbra_bench_free(&bench);
    return rc == UMBRA_OK ? 0 : 1;
}
