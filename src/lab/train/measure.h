/* What a network is worth on the validation documents: loss, recall, and calibration.
 *
 * Calibration fits p = sigmoid(slope * z' + offset) (Platt) to all (row, expert) pairs of one
 * source and distance. The pairs are gathered in one pass into a fine histogram over z', which
 * keeps the mean z' of each bin, so that memory is bounded and the fit as good as exact: within a
 * bin of width w only the curvature over w^2 / 12 is lost. */
#ifndef UMBRA_LAB_TRAIN_MEASURE_H
#define UMBRA_LAB_TRAIN_MEASURE_H

#include <umbra/lab/train.h>

#include "lab/train/stream.h"

enum { UMBRA_HISTOGRAM_BINS = 8192, UMBRA_HISTOGRAM_RANGE = 64 /* z' from -64 to 64 */ };

typedef struct umbra_histogram {
    double z[UMBRA_HISTOGRAM_BINS]; /* sums of z' */
    uint64_t count[UMBRA_HISTOGRAM_BINS];
    uint64_t used[UMBRA_HISTOGRAM_BINS]; /* pairs whose expert was used */
} umbra_histogram;

void umbra_histogram_add(umbra_histogram *histogram, float z, bool used);
/* Newton's method on Platt's smoothed cross-entropy. An empty histogram gives 1, 0. */
void umbra_histogram_fit(const umbra_histogram *histogram, double *slope, double *offset);
/* Expected calibration error over 20 equal bins of p; 0 if empty. */
double umbra_histogram_error(const umbra_histogram *histogram, double slope, double offset);

/* Sums over rows, so that measures of several sources may be added. */
typedef struct umbra_measure {
    double loss; /* sum over rows */
    uint64_t rows;
    uint64_t slots[UMBRA_MAX_DISTANCE]; /* experts used, over rows that have the target */
    uint64_t hits[UMBRA_TRAIN_BUDGETS][UMBRA_MAX_DISTANCE];
} umbra_measure;

/* m = k, 1.5 k, 2 k, at most experts. */
int umbra_measure_m(const umbra_shadow_spec *spec, int budget);
double umbra_measure_recall(const umbra_measure *measure, int budget, int distance); /* -1: none */
/* Mean over the distances that have targets, at m = k: what early stopping goes by. */
double umbra_measure_score(const umbra_measure *measure);
void umbra_measure_add(umbra_measure *sum, const umbra_measure *part);

/* Adds the rows of a batch whose z lie in pass. histograms (D), or NULL. */
void umbra_measure_batch(umbra_measure *measure, umbra_train_pass *pass,
                         const umbra_train_rows *rows, umbra_histogram *histograms);

#endif
