/* From a walked router's scores to probabilities, learned while running.
 *
 * How far an expert's score stands above or below what is needed to be among the k used ones, its
 * margin, says how likely it is to be used. Margins are counted in steps, by the distance at which
 * they were foretold and the share of the experts' weight that was missing on the way; each step's
 * share of used experts is what it foretells from then on, beginning with a curve that fits most
 * models. */
#ifndef UMBRA_AHEAD_MARGINS_H
#define UMBRA_AHEAD_MARGINS_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/store.h>

#include "model/model.h"

enum {
    UMBRA_MARGIN_STEPS = 24,
    UMBRA_MARGIN_SHARES = 3,
    UMBRA_MARGIN_DISTANCES = UMBRA_MAX_DISTANCE + 2, /* 1 to 4, then 5 to 8, and all beyond */
};

typedef struct umbra_margins {
    float seen[UMBRA_MARGIN_DISTANCES][UMBRA_MARGIN_SHARES][UMBRA_MARGIN_STEPS];
    float used[UMBRA_MARGIN_DISTANCES][UMBRA_MARGIN_SHARES][UMBRA_MARGIN_STEPS];
} umbra_margins;

/* What was foretold of a layer, to learn from. */
typedef struct umbra_margin_row {
    uint8_t distance, share; /* where it is counted; distance 0: nothing was */
    uint8_t *step;           /* (experts) */
} umbra_margin_row;

void umbra_margins_init(umbra_margins *m);
/* Probability (n) of each expert from the router's scores (n) as they weigh (weights of a softmax,
 * or sigmoids), k of them used; what is foretold is noted in row. preference (n): added to the
 * scores for choosing, or NULL. order: (n) scratch. */
void umbra_margins_foretell(const umbra_margins *m, umbra_gating gating, const float *scores,
                            const float *preference, int n, int k, int distance, float missing,
                            float *order, float *probability, umbra_margin_row *row);
/* The layer's experts (k of n) are known: what was foretold of it has come true or not. */
void umbra_margins_learn(umbra_margins *m, umbra_margin_row *row, int n, const int32_t *experts,
                         int k);

#endif
