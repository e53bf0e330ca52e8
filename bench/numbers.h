/* The command lines of programs that measure. */
#ifndef UMBRA_BENCH_NUMBERS_H
#define UMBRA_BENCH_NUMBERS_H

#include <stdlib.h>

/* The numbers behind the option argv[*i], up to the next option and at most `most`; *i is the last
 * of them then. Returns how many. */
static inline int numbers_of(int argc, char **argv, int *i, double *out, int most)
{
    int n = 0;
    while (*i + 1 < argc && argv[*i + 1][0] != '-' && n < most)
        out[n++] = atof(argv[++*i]);
    return n;
}

#endif
