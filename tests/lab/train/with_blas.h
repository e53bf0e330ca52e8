#ifndef UMBRA_TESTS_WITH_BLAS_H
#define UMBRA_TESTS_WITH_BLAS_H

#include "lab/train/blas.h"

/* A group's setup: products can be called. */
static int open_blas(void **state)
{
    (void)state;
    int callers = 1;
    return umbra_blas_open(&callers, 1, NULL);
}

#endif
