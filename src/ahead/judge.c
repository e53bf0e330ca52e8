/* The judge: runs, pairs of runs, and what they say. */
#include "ahead/judge.h"

#include <math.h>

enum {
    /* Guesses that were wrong are in the cache for a while, at the cost of those who come after.
     * The first step with reading ahead has nothing foretold for its first layers. */
    INHERIT = 6,
    INHERIT_NOTHING = 1,
    LOOK = INHERIT + UMBRA_JUDGE_LAST, /* steps of a look */
    /* A text may be over before a comparison is, so its first one is short. */
    TRIAL_INHERIT = 2,
    TRIAL = TRIAL_INHERIT + UMBRA_JUDGE_LAST, /* steps of a run of it */
    TRIALS = 6,                               /* runs of it, off and on in turns, at most */
    FEW = 2, /* steps of a run with reading ahead that may break it off */
    LEAST_STAY = 128,
    MOST_STAY = 2048,
    PAIRS = 8,         /* that a running mean remembers */
    LOOKS = 8,         /* the same of looks; */
    DOUBTED_LOOKS = 3, /* what the first ones say of needs counts as one of so many more */
};
static const double outlier = 1.5;     /* times the median: a pause of the machine's */
static const double broken_cost = 0.5; /* by the root of the steps: the run is broken off */
static const double most_cost = 0.25;  /* of a pair: one that is far off says no more */
/* Of the first pair: no second one is needed. What is wrongly given up is looked at again. */
static const double plain_cost = 0.03, plain_gain = -0.15;
static const double worth = -0.01;        /* cost that reading ahead must reach to be used */
static const double recent = 1.0 / 32;    /* the newest step's part in a running mean */
static const double least_left = 0.25;    /* of a step's time, when its needs are taken off */
static const double least_waiting = 0.05; /* of the time without: less is not worth trying for */

void umbra_judge_init(umbra_judge *j)
{
    *j = (umbra_judge){
        .trials = TRIALS, .left = TRIAL, .stay = LEAST_STAY, .inherit = 1, .waiting = -1};
}

static void move_to(double *mean, double value)
{
    *mean += (value - *mean) * (*mean > 0 ? recent : 1);
}

static void take(umbra_judge *j, double seconds, double waited_s, double needed)
{
    int at = j->now.counted++ % UMBRA_JUDGE_LAST;
    j->now.seconds[at] = seconds;
    j->now.needed[at] = needed;
    move_to(&j->needed[j->on], needed);
    move_to(&j->waits_s[j->on], waited_s);
    j->all_s += seconds;
    j->waited_s += waited_s;
}

static bool is_known(const umbra_judge_run *r)
{
    return r->counted >= UMBRA_JUDGE_LAST;
}

/* Steps of it that count. */
static int length(const umbra_judge_run *r)
{
    return is_known(r) ? UMBRA_JUDGE_LAST : r->counted;
}

static double mean_needed(const umbra_judge_run *r)
{
    double sum = 0;
    int n = length(r);
    for (int i = 0; i < n; i++)
        sum += r->needed[i];
    return sum / n;
}

/* What a step of the run would take if it needed so many experts, but for pauses. */
static double typical(const umbra_judge *j, const umbra_judge_run *r, bool on, double needed)
{
    double sorted[UMBRA_JUDGE_LAST], sum_s = 0;
    double each_s = j->needed[on] > 0 ? j->waits_s[on] / j->needed[on] : 0;
    int n = length(r);
    for (int i = 0; i < n; i++) {
        double seconds = r->seconds[i];
        seconds = fmax(seconds - each_s * (r->needed[i] - needed), seconds * least_left);
        int at = i;
        for (; at > 0 && sorted[at - 1] > seconds; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = seconds;
    }
    double median = sorted[(n - 1) / 2]; /* the lower one: of two, one may be a pause */
    for (int i = 0; i < n; i++)
        sum_s += fmin(sorted[i], outlier * median);
    return sum_s / n;
}

static void take_waiting(umbra_judge *j)
{
    if (j->on || j->all_s <= 0)
        return;
    double share = j->waited_s / j->all_s;
    j->waiting = j->waiting < 0 ? share : (j->waiting + share) / 2;
}

/* Looks are far apart, so that no cache fills meanwhile: what differs is what is evicted. */
static void take_excess(umbra_judge *j, double with, double without)
{
    if (!j->looking || with <= 0 || without <= 0)
        return;
    j->looks += j->looks < LOOKS;
    j->excess += (log(with / without) - j->excess) / (j->looks + DOUBTED_LOOKS);
}

/* What reading ahead costs by this run and the one before, as log(with / without); NAN: not known.
 */
static double cost_of_pair(const umbra_judge *j)
{
    const umbra_judge_run *with = j->on ? &j->now : &j->before;
    const umbra_judge_run *without = j->on ? &j->before : &j->now;
    double middle = (mean_needed(with) + mean_needed(without)) / 2, apart = exp(j->excess / 2);
    double with_s = typical(j, with, true, middle * apart);
    double without_s = typical(j, without, false, middle / apart);
    return with_s > 0 && without_s > 0 ? log(with_s / without_s) : NAN;
}

/* Compares this run with the one before. Returns whether it speaks for reading ahead. */
static bool take_pair(umbra_judge *j)
{
    take_excess(j, mean_needed(j->on ? &j->now : &j->before),
                mean_needed(j->on ? &j->before : &j->now));
    double cost = cost_of_pair(j);
    if (isnan(cost))
        return j->better;
    cost = fmax(-most_cost, fmin(cost, most_cost));
    j->pairs += j->pairs < PAIRS;
    double off_mean = cost - j->cost;
    j->cost += off_mean / j->pairs;
    j->spread += (off_mean * (cost - j->cost) - j->spread) / j->pairs;
    return cost < worth;
}

/* How far the cost may be off by chance: its standard error. */
static double chance(const umbra_judge *j)
{
    return sqrt(j->spread / j->pairs);
}

/* Reading ahead has to show that it gains, beyond chance or by much. */
static bool is_better(const umbra_judge *j)
{
    return j->pairs > 1 ? j->cost + chance(j) < worth : j->cost < plain_gain;
}

/* It loses, beyond chance or by much: no more need be tried for now. */
static bool is_worse(const umbra_judge *j)
{
    return j->pairs > 1 ? j->cost - chance(j) > 0 : j->cost > plain_cost;
}

static void begin_run(umbra_judge *j, bool on, int steps)
{
    j->inherit = on == j->on ? 0 : on ? INHERIT_NOTHING : j->trials > 0 ? TRIAL_INHERIT : INHERIT;
    j->before = j->now;
    if (on == j->on)
        j->before.counted = 0;
    j->on = on;
    j->left = steps;
    j->now.counted = 0;
    j->all_s = j->waited_s = 0;
}

/* The runs of a comparison or a look are over. */
static void settle(umbra_judge *j, bool speaks_for)
{
    bool better = is_better(j);
    if (better != j->better || speaks_for != better)
        j->stay = LEAST_STAY; /* it is not sure, or not any more */
    else if (j->looking && j->stay < MOST_STAY)
        j->stay *= 2;
    j->better = better;
    j->looking = false;
    begin_run(j, better, j->stay);
}

static bool is_comparing(const umbra_judge *j)
{
    return j->trials > 0 || j->looking;
}

/* A run with reading ahead that goes as badly as that from its first steps need not be finished. */
static bool is_hopeless(const umbra_judge *j)
{
    return j->on && is_comparing(j) && is_known(&j->before) && j->now.counted >= FEW &&
           cost_of_pair(j) > broken_cost / sqrt(length(&j->now));
}

static void end_run(umbra_judge *j, bool hopeless)
{
    bool known = is_known(&j->now) || hopeless, comparing = is_comparing(j);
    if (!known && !comparing) {
        j->left = LOOK; /* it is too new to be compared with */
        return;
    }
    bool speaks_for = j->better;
    take_waiting(j);
    if (comparing && known && is_known(&j->before))
        speaks_for = take_pair(j);
    if (!j->on && j->waiting < least_waiting) {
        j->better = j->looking = false;
        j->trials = TRIALS; /* from the beginning, when there is something to wait for */
        j->cost = j->spread = 0;
        j->pairs = 0;
        begin_run(j, false, TRIAL);
    } else if (j->trials > 1 && !is_worse(j) && !is_better(j)) {
        j->trials--;
        begin_run(j, !j->on, TRIAL);
    } else if (comparing) {
        j->trials = 0;
        settle(j, speaks_for);
    } else {
        j->looking = true;
        begin_run(j, !j->better, LOOK);
    }
}

/* The run in progress begins anew; what the one before left in the cache is still there. */
static void restart_run(umbra_judge *j, bool on, int steps)
{
    int inherit = j->inherit;
    begin_run(j, on, steps);
    j->before.counted = 0;
    j->inherit = inherit > j->inherit ? inherit : j->inherit;
}

/* A sequence joined or left. A pair that this breaks is made again; a look at the other is given
 * up; who stays is looked at before long. */
static void change_size(umbra_judge *j, int rows)
{
    bool first = j->rows == 0;
    j->rows = rows;
    if (first)
        return;
    for (int i = 0; i < 2; i++)
        j->needed[i] = j->waits_s[i] = 0;
    j->excess = 0;
    j->looks = 0;
    if (j->trials > 0) {
        j->trials += j->trials < TRIALS;
        restart_run(j, j->on, TRIAL);
        return;
    }
    int left = j->looking || j->left > LEAST_STAY ? LEAST_STAY : j->left;
    j->stay = LEAST_STAY;
    j->looking = false;
    restart_run(j, j->better, left);
}

void umbra_judge_step(umbra_judge *j, int rows, double seconds, double waited_s, double needed)
{
    if (rows != j->rows)
        change_size(j, rows);
    if (j->inherit == 0)
        take(j, seconds, waited_s, needed);
    j->inherit -= j->inherit > 0;
    bool hopeless = is_hopeless(j);
    if (--j->left <= 0 || hopeless)
        end_run(j, hopeless);
}
