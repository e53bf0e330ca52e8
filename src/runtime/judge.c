#include "runtime/judge.h"

#include <math.h>

enum {
    RUN = UMBRA_JUDGE_RUN,
    KEPT = RUN - 1,
    TRIALS = 6, /* off and on in turns */
    LEAST_STAY = 60,
    MOST_STAY = 960,
};
static const double forget = 1.0 / 8;     /* the newest part of a mean, at least */
static const double worth = 0.01;         /* gain from which on reading ahead is on */
static const double least_waiting = 0.02; /* of the time without: what it takes to try at all */

static void begin_run(umbra_judge *j, bool on, int tokens)
{
    j->first = on != j->on;
    j->on = on;
    j->left = tokens;
    j->counted = 0;
}

void umbra_judge_init(umbra_judge *j)
{
    *j = (umbra_judge){.trials = TRIALS, .stay = LEAST_STAY};
    begin_run(j, false, RUN);
    j->first = true;
}

static void move_to(double *mean, double value, int n)
{
    double part = 1.0 / n > forget ? 1.0 / n : forget;
    *mean += part * (value - *mean);
}

/* Of the last tokens counted. */
static double median(const umbra_judge *j)
{
    double sorted[KEPT];
    int n = j->counted < KEPT ? j->counted : KEPT;
    for (int i = 0; i < n; i++) {
        int at = i;
        for (; at > 0 && sorted[at - 1] > j->recent_s[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = j->recent_s[i];
    }
    return n == 0 ? 0 : (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

/* Compares this run with the one before, which was of the other kind. */
static void compare(umbra_judge *j, double now_s)
{
    if (j->before_s > 0 && now_s > 0) {
        double gain = log(j->on ? j->before_s / now_s : now_s / j->before_s);
        move_to(&j->gain, gain, ++j->pairs);
    }
}

/* Leaves a run for one of the other kind. */
static void turn(umbra_judge *j, int tokens)
{
    j->before_s = median(j);
    begin_run(j, !j->on, tokens);
}

static void settle(umbra_judge *j)
{
    bool better = j->pairs > 0 && j->gain > worth;
    if (better != j->better)
        j->stay = LEAST_STAY;
    else if (j->looking && j->stay < MOST_STAY)
        j->stay *= 2;
    j->better = better;
    j->looking = false;
    if (better != j->on)
        turn(j, j->stay);
    else
        begin_run(j, better, j->stay);
}

/* Nothing is waited for without reading ahead. */
static bool is_idle(const umbra_judge *j)
{
    return j->waited_n >= KEPT && j->waited < least_waiting;
}

static void end_run(umbra_judge *j)
{
    if (!j->on && is_idle(j)) {
        umbra_judge idle = {.trials = TRIALS, .stay = LEAST_STAY};
        idle.waited = j->waited;
        idle.waited_n = j->waited_n;
        begin_run(&idle, false, RUN); /* from the beginning, when there is something to wait for */
        *j = idle;
    } else if (j->trials > 1) {
        j->trials--;
        turn(j, RUN);
    } else if (j->trials == 1 || j->looking) {
        j->trials = 0;
        settle(j);
    } else {
        j->looking = true;
        turn(j, RUN);
    }
}

void umbra_judge_token(umbra_judge *j, double seconds, double waited_s)
{
    if (!j->first && seconds > 0) {
        j->recent_s[j->counted++ % KEPT] = seconds;
        if (!j->on)
            move_to(&j->waited, waited_s / seconds, ++j->waited_n);
        if (j->counted == KEPT && j->before_s > 0) {
            compare(j, median(j));
            j->before_s = 0;
        }
    }
    j->first = false;
    if (--j->left <= 0)
        end_run(j);
}
