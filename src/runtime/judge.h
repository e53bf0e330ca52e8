/* Whether reading ahead pays, by the clock: short runs of tokens with and without it, in turns,
 * then the better of the two with a look at the other now and then, ever more seldom while it stays
 * worse. Each run is compared with the one right before it, so that a machine whose speed drifts
 * does not mislead, and by its median token, so that a pause does not. Where nothing is waited for
 * without reading ahead there is nothing to win, and nothing is tried. */
#ifndef UMBRA_RUNTIME_JUDGE_H
#define UMBRA_RUNTIME_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

enum { UMBRA_JUDGE_RUN = 5 /* tokens of a short run; the first one inherits and is not counted */ };

typedef struct umbra_judge {
    bool on;      /* for the coming token */
    bool better;  /* the verdict so far */
    int trials;   /* runs of the first comparison still to come */
    int left;     /* tokens of this run */
    int stay;     /* tokens of the better between two looks at the other */
    bool looking; /* this run is a look at the other */
    int counted;  /* tokens of this run so far, at most UMBRA_JUDGE_RUN - 1 are kept */
    bool first;
    double recent_s[UMBRA_JUDGE_RUN - 1]; /* times of the last counted ones, as a ring */
    double before_s;                      /* median of the run before; 0: there was none */
    double gain;                          /* mean of log(without / with) over pairs of runs */
    int pairs;
    double waited; /* running mean of the share of time that was waited without it */
    int waited_n;
} umbra_judge;

void umbra_judge_init(umbra_judge *j);
/* A token took so long, and waited so long for reads; sets `on` for the next. */
void umbra_judge_token(umbra_judge *j, double seconds, double waited_s);

#endif
