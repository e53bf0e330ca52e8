/* Numbers that are not finite: noticed where they arise, before anybody routes, records, sums or
 * draws by them. A pass over a row costs a hundredth of a layer's norms and products. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "device/device.h"

enum {
    INFINITE = 0x7f800000 /* the magnitude of infinity as a whole number; those of NaN follow */
};

/* The largest magnitude of n values, as a whole number: in their order, with NaN behind all. */
static uint32_t largest(const float *x, size_t n)
{
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    return most;
}

bool umbra_all_finite(const float *x, size_t n)
{
    return largest(x, n) < INFINITE;
}

void umbra_note_first(atomic_int *first, int row)
{
    int before = atomic_load(first);
    while (row < before && !atomic_compare_exchange_weak(first, &before, row))
        continue;
}

typedef struct finite_run {
    const float *rows;
    size_t width;
    uint32_t most;    /* the largest magnitude allowed */
    atomic_int first; /* row that has a larger one */
} finite_run;

static void check_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    finite_run *run = context;
    for (int t = begin; t < end; t++) {
        if (largest(run->rows + (size_t)t * run->width, run->width) <= run->most)
            continue;
        umbra_note_first(&run->first, t);
        return;
    }
}

int umbra_device_first_bad(const umbra_device *d, const float *x, int width, int rows)
{
    float most = sqrtf(FLT_MAX / (float)width);
    finite_run run = {.rows = x, .width = (size_t)width, .first = UMBRA_NO_ROW};
    memcpy(&run.most, &most, sizeof most);
    umbra_device_run(d, rows, 16, check_rows, &run);
    return atomic_load(&run.first);
}
