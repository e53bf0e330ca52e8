/* The tokens that may be drawn, with their weights, and what cuts them down. */
#ifndef UMBRA_GENERATE_CANDIDATES_H
#define UMBRA_GENERATE_CANDIDATES_H

#include <umbra/generate.h>

typedef struct umbra_candidate {
    int32_t id;
    float weight; /* in proportion to the probability; that of the best is 1 */
    float key;    /* what is kept first has the lowest, or of equal keys the lowest id */
} umbra_candidate;

/* Keeps of n > 0 candidates what the options say, in front and in no order that matters, at least
 * one. Returns how many are left. */
int umbra_candidates_filter(umbra_candidate *c, int n, const umbra_sampling *sampling);

/* The sum of their weights. */
double umbra_candidates_sum(const umbra_candidate *c, int n);

#endif
