/* What a shadow model is shown of a token: its state and running averages made comparable, and the
 * experts around it as rows of the features' matrices. Training, evaluation and the runner all
 * take it from here. */
#ifndef UMBRA_PREDICT_FEATURES_H
#define UMBRA_PREDICT_FEATURES_H

#include "predict/shadow.h"

/* 1 / rms(state), and r = state / rms(state), over `hidden` values. */
float umbra_shadow_scale(const float *state, int hidden);
void umbra_shadow_normalise(const float *state, int hidden, float *r);

/* Takes r of one more token into a running mean; first: r begins it. */
void umbra_shadow_average(float *average, const float *r, int hidden, float decay, bool first);
/* The same for all running means of a spec (averages, H). Where only every stride-th state was
 * kept, they decay as much as between two kept ones. */
void umbra_shadow_averages(const umbra_shadow_spec *spec, float *averages, const float *r,
                           int stride, bool first);

/* The experts that may be features of one prediction, lists of k ids each, NULL where there is
 * none; ids that are no experts are passed over. */
typedef struct umbra_feature_lists {
    const uint16_t *now; /* of the layer before the state */
    /* Of the target layers at distance i + 1, one token and two tokens before. */
    const uint16_t *previous[UMBRA_MAX_DISTANCE], *previous2[UMBRA_MAX_DISTANCE];
} umbra_feature_lists;

/* The lists of a source out of whole tokens' experts (L, k), each of which may be NULL. */
umbra_feature_lists umbra_feature_lists_of(const umbra_shadow_spec *spec, int source,
                                           const uint16_t *now, const uint16_t *previous,
                                           const uint16_t *previous2);

/* The feature rows of one prediction that are on, as indices into the features' matrices; returns
 * how many, at most umbra_shadow_feature_most. off: UMBRA_FEATURE_* bits left out. */
int umbra_shadow_feature_most(const umbra_shadow_spec *spec, unsigned off);
int umbra_shadow_feature_rows(const umbra_shadow_spec *spec, unsigned off, int source,
                              const umbra_feature_lists *lists, uint32_t *rows);

#endif
