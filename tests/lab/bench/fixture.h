/* A made-up benchmark for tests of its report. */
#ifndef UMBRA_TESTS_LAB_BENCH_FIXTURE_H
#define UMBRA_TESTS_LAB_BENCH_FIXTURE_H

#include <umbra/lab/bench.h>

enum { FIXTURE_RESIDENT = 1, FIXTURE_HOSTILE = 2, FIXTURE_PEER = 4 };

/* Two backends with so many budgets, six policies each; free with umbra_bench_free. The disk limits
 * on the first backend's first budget, the processor on its last, and neither on the second
 * backend's first; policy gate has neither events nor stalls per layer. */
umbra_bench *fixture_bench(int budgets, int what);

#endif
