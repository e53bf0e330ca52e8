/* Whether reading ahead pays, by the clock: runs of steps with and without it, in turns, then the
 * better of the two with a look at the other now and then, ever more seldom while it stays worse.
 * Where nothing is waited for there is nothing to win, and nothing is tried. The first comparison
 * is short, as a text may be: it ends as soon as a pair of runs shows a loss, or a large gain, and
 * a run with reading ahead ends with its first steps if these go badly. What was given up by chance
 * comes up again with the next look.
 *
 * A step decodes one token of each of its rows. Only runs that follow each other are compared, so
 * what changes in the course of a text, the machine's load and the length of its context, does not
 * take part. Steps differ most by how many experts they need that are not in memory; what these are
 * known to cost is taken off first, so that a gain of a few percent shows in a few steps. The two
 * of a pair are measured by the needs of both: while a cache fills, needs fall from run to run,
 * which is no gain of the later one's. That reading ahead makes steps need more, by what it evicts,
 * is told by the looks alone, and stays its cost.
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

/* Of a run of steps: the times of the last ones, and the experts that they needed. */
typedef struct umbra_judge_run {
    int counted; /* steps in all */
    double seconds[UMBRA_JUDGE_LAST], needed[UMBRA_JUDGE_LAST];
} umbra_judge_run;

typedef struct umbra_judge {
    bool on;      /* for the coming step */
    bool better;  /* the verdict so far */
    bool looking; /* this run is a look at the other */
    int inherit;  /* steps of this run that are not counted: they live on what the other left */
    int trials;   /* runs of the first comparison still to come */
    int left;     /* steps of this run */
    int stay;     /* steps of the better between two looks at the other */
    int rows;     /* of the steps of this run; 0: none came yet */
    umbra_judge_run now;    /* this run, */
    umbra_judge_run before; /* and the one before, if that was the other; else nothing is counted */
    double all_s, waited_s; /* of all steps counted of this run: times, waits */
    double waiting;         /* share of the time without that is waited; running mean of the runs */
    double cost;            /* log(time with / time without); running mean of the pairs of runs */
    double spread;          /* of the pairs about it: running mean square */
    int pairs;              /* in both; 0: never compared */
    double needed[2], waits_s[2]; /* per step; running means, [1] with reading ahead */
    double excess; /* log(needed with / without); running mean of the looks, from 0 */
    int looks;     /* in it */
} umbra_judge;

void umbra_judge_init(umbra_judge *j);
/* A step of so many rows took so long, waited so long for reads, and needed so many experts that
 * the cache would not have had by itself; sets `on` for the next. */
void umbra_judge_step(umbra_judge *j, int rows, double seconds, double waited_s, double needed);

#endif
