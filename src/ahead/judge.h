/* Whether reading ahead pays, by the clock: runs of steps with and without it, in turns, then the
 * better of the two with a look at the other now and then, ever more seldom while it stays worse.
 * Where nothing is waited for there is nothing to win, and nothing is tried.
 *
 * A step decodes one token of each of its rows. Only runs that follow each other are compared, so
 * what changes in the course of a text, the machine's load and the length of its context, does not
 * take part. Steps differ most by how many experts they need that are not in memory; what these are
 * known to cost is taken off first, so that a gain of a few percent shows in a few steps.
 *
 * Steps of other sizes are never compared: a row's share of a step is no measure, since rows share
 * weights and experts, so that a step of eight takes far less than eight of one. When a sequence
 * joins or leaves, the run in progress begins anew. The verdict so far stays, as a gain or a loss
 * is noted as a ratio, but it is looked at again soon. */
#ifndef UMBRA_AHEAD_JUDGE_H
#define UMBRA_AHEAD_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

enum { UMBRA_JUDGE_LAST = 6 /* steps of a run that count */ };

typedef struct umbra_judge {
    bool on;      /* for the coming step */
    bool better;  /* the verdict so far */
    bool looking; /* this run is a look at the other */
    int inherit;  /* steps of this run that are not counted: they live on what the other left */
    int trials;   /* runs of the first comparison still to come */
    int left;     /* steps of this run */
    int stay;     /* steps of the better between two looks at the other */
    int rows;     /* of the steps of this run; 0: none came yet */
    /* Of this run: steps counted, the times of the last ones, all their time and their waits. */
    int counted;
    double last_s[UMBRA_JUDGE_LAST], seconds, waited_s;
    double before_s; /* a step of the run before, which was the other; 0: it was not */
    double waiting;  /* share of the time without that is waited; running mean of the runs */
    double cost;     /* log(time with / time without); running mean of the pairs of runs */
    double spread;   /* of the pairs about it: running mean square */
    int pairs;       /* in both; 0: never compared */
    double needed[2], waits_s[2]; /* per step; running means, [1] with reading ahead */
} umbra_judge;

void umbra_judge_init(umbra_judge *j);
/* A step of so many rows took so long, waited so long for reads, and needed so many experts that
 * the cache would not have had by itself; sets `on` for the next. */
void umbra_judge_step(umbra_judge *j, int rows, double seconds, double waited_s, double needed);

#endif
