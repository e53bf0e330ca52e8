/* Whether reading ahead pays, by the clock: runs of tokens with and without it, in turns, then the
 * better of the two with a look at the other now and then, ever more seldom while it stays worse.
 * Where nothing is waited for there is nothing to win, and nothing is tried. */
#ifndef UMBRA_RUNTIME_JUDGE_H
#define UMBRA_RUNTIME_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct umbra_judge {
    bool on;            /* for the coming token */
    bool better;        /* the verdict so far */
    int trials;         /* runs of the first comparison still to come */
    int left;           /* tokens of this run */
    int stay;           /* tokens of the better between two looks at the other */
    bool looking;       /* this run is a look at the other */
    bool first;         /* the next token is the first of its run: not counted, it inherits */
    double mean_s[2];   /* running means of a token's time, off and on */
    double waited_s[2]; /* the same of its waits */
    double weight[2];   /* 0: never run */
} umbra_judge;

void umbra_judge_init(umbra_judge *j);
/* A token took so long, and waited so long for reads; sets `on` for the next. */
void umbra_judge_token(umbra_judge *j, double seconds, double waited_s);

#endif
