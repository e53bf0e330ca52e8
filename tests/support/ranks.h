/* Ranks that are threads of one process: what MPI does between processes, behind a barrier. */
#ifndef UMBRA_TESTS_RANKS_H
#define UMBRA_TESTS_RANKS_H

#include <umbra/ranks.h>

enum { TEST_RANKS = 4 };

/* Runs body once per rank, each in a thread of its own, and waits for all. */
void test_with_ranks(int count, const uint64_t *uses,
                     void (*body)(const umbra_ranks *ranks, void *user), void *user);

#endif
