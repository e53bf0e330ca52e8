#include "runtime/judge.h"

enum {
    RUN = 4,    /* tokens of a trial or a look */
    TRIALS = 8, /* off and on in turns */
    LEAST_STAY = 64,
    MOST_STAY = 1024,
};
static const double outlier = 4;          /* times the mean: a pause of the machine's */
static const double forget = 1.0 / 32;    /* a running mean's newest part, at least */
static const double worth = 0.99;         /* of the time without: what reading ahead must reach */
static const double least_waiting = 0.02; /* of the time without: what it takes to try at all */

void umbra_judge_init(umbra_judge *j)
{
    *j = (umbra_judge){.trials = TRIALS, .left = RUN, .stay = LEAST_STAY, .first = true};
}

static void take(umbra_judge *j, double seconds, double waited_s)
{
    int i = j->on;
    if (j->weight[i] > 0 && seconds > outlier * j->mean_s[i]) {
        waited_s *= outlier * j->mean_s[i] / seconds;
        seconds = outlier * j->mean_s[i];
    }
    j->weight[i] += 1;
    double part = 1 / j->weight[i] > forget ? 1 / j->weight[i] : forget;
    j->mean_s[i] += part * (seconds - j->mean_s[i]);
    j->waited_s[i] += part * (waited_s - j->waited_s[i]);
}

/* Nothing is waited for without reading ahead. */
static bool is_idle(const umbra_judge *j)
{
    return j->weight[0] >= RUN - 1 && j->waited_s[0] < least_waiting * j->mean_s[0];
}

static void begin_run(umbra_judge *j, bool on, int tokens)
{
    j->first = on != j->on;
    j->on = on;
    j->left = tokens;
}

static void settle(umbra_judge *j)
{
    bool better = j->weight[1] > 0 && j->mean_s[1] < worth * j->mean_s[0];
    if (better != j->better)
        j->stay = LEAST_STAY;
    else if (j->looking && j->stay < MOST_STAY)
        j->stay *= 2;
    j->better = better;
    j->looking = false;
    begin_run(j, better, j->stay);
}

static void end_run(umbra_judge *j)
{
    if (!j->on && is_idle(j)) {
        j->better = false;
        j->looking = false;
        j->trials = TRIALS; /* from the beginning, when there is something to wait for */
        begin_run(j, false, RUN);
    } else if (j->trials > 1) {
        j->trials--;
        begin_run(j, !j->on, RUN);
    } else if (j->trials == 1 || j->looking) {
        j->trials = 0;
        settle(j);
    } else {
        j->looking = true;
        begin_run(j, !j->better, RUN);
    }
}

void umbra_judge_token(umbra_judge *j, double seconds, double waited_s)
{
    if (!j->first)
        take(j, seconds, waited_s);
    j->first = false;
    if (--j->left <= 0)
        end_run(j);
}
