/* Counting how good predictions are.
 *
 * Rank of an expert: how many experts are ranked before it (a higher score, or the same score and
 * a lower id). Everything about them follows from the ranks of the experts really used, so that
 * one pass gives the figures for every number m of experts ranked first:
 *   slot recall@m  share of the used experts whose rank is below m
 *   all-k@m        share of the positions where the worst rank of the used experts is below m
 *   top-m          share of the positions where the rank of the expert that the router gave the
 *                  largest weight is below m
 * Forecasts are probabilities that an expert is used, one per expert:
 *   NLL            mean over positions and experts of -log(p if used, else 1 - p), in nats; p is
 *                  kept UMBRA_TALLY_SURE away from 0 and 1
 *   ECE            15 bins of equal width; mean over the forecasts of |share used - mean p| of
 *                  their bin */
#ifndef UMBRA_LAB_EVALUATE_METRICS_H
#define UMBRA_LAB_EVALUATE_METRICS_H

#include <stdint.h>

enum { UMBRA_TALLY_BINS = 15 };
#define UMBRA_TALLY_SURE 1e-6

typedef struct umbra_tally_bin {
    uint64_t count, used;
    double sum; /* of p */
} umbra_tally_bin;

/* Counts of one predictor over any set of predictions. The three histograms belong to the caller,
 * E entries each. */
typedef struct umbra_tally {
    uint64_t positions;
    uint64_t *ranks;    /* used experts by rank */
    uint64_t *worst;    /* positions by the worst rank of the used experts */
    uint64_t *first;    /* positions by the rank of the expert with the largest weight */
    uint64_t forecasts; /* (position, expert) pairs */
    double nll;         /* summed over them */
    umbra_tally_bin bins[UMBRA_TALLY_BINS];
} umbra_tally;

/* Ranks of the k used experts. Scores that are not numbers rank last. */
void umbra_tally_rank(float *scores, int experts, const uint16_t *used, int k, uint16_t *ranks);
/* Adds a position; ranks (k) in the router's order, largest weight first. */
void umbra_tally_add(umbra_tally *tally, const uint16_t *ranks, int k);
/* Adds the forecasts (E) of a position. */
void umbra_tally_forecast(umbra_tally *tally, const float *p, int experts, const uint16_t *used,
                          int k);
/* to += from */
void umbra_tally_merge(umbra_tally *to, const umbra_tally *from, int experts);

/* Not a number where nothing was counted. */
double umbra_tally_recall(const umbra_tally *tally, int k, int m);
double umbra_tally_all(const umbra_tally *tally, int m);
double umbra_tally_top(const umbra_tally *tally, int m);
double umbra_tally_nll(const umbra_tally *tally);
double umbra_tally_ece(const umbra_tally *tally);
/* Used experts whose rank is below m. */
uint64_t umbra_tally_hits(const umbra_tally *tally, int m);

/* Fits p = sigmoid(slope * z + offset) to n outcomes by maximum likelihood (Platt, with his
 * smoothed targets). 0, 0 slope and the base rate's offset if z says nothing or n is 0. */
void umbra_platt_fit(const float *z, const uint8_t *outcome, uint64_t n, float *slope,
                     float *offset);

#endif
