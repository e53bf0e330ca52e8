/* Golden files: what another implementation computed for a text.
 *   NAME.tokens   one id per line, BOS first
 *   NAME.top      per position: log-sum-exp, then the best logits as id:logit
 *   NAME.experts  per line: layer, position, ascending expert ids */
#ifndef UMBRA_TESTS_GOLDEN_H
#define UMBRA_TESTS_GOLDEN_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/umbra.h>

typedef struct golden {
    int tokens, tops, layers, used;
    int32_t *token;   /* (tokens) */
    double *lse;      /* (tops): the first positions only, for long texts */
    int32_t *best;    /* (tops) */
    double *margin;   /* (tops) best logit - second best */
    uint16_t *expert; /* (layers, tokens, used) ascending; 0xffff: not in the file */
} golden;

/* Reads FOLDER/NAME.tokens, TOPS/NAME.top and TOPS/NAME.experts; the test fails if it cannot. */
void golden_read(golden *g, const char *folder, const char *tops, const char *name, int layers,
                 int used);
void golden_free(golden *g);

/* How far a run was from golden ones, over any number of texts. */
typedef struct distance {
    double *lse_error; /* sorted by distance_quantile */
    int count, room;
    int best_right, best_asked; /* positions whose margin exceeds 0.1 */
    int64_t expert_right, expert_asked;
} distance;

void distance_add(distance *d, const golden *g, const umbra_scores *scores);
double distance_quantile(distance *d, double q);
double distance_share_within(const distance *d, double error);
double distance_best(const distance *d);
double distance_experts(const distance *d);
void distance_free(distance *d);

#endif
