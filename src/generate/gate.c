/* The gate of drafting: agreement by position, time of a step by width, and what they come to. */
#include "generate/gate.h"

#include <math.h>
#include <string.h>

static const double fade = 0.99;            /* of what a mean of times stands on, with each step */
static const double fade_agreement = 0.995; /* the same; a property of the text more than of now */
/* Steps for which what was measured says something of now: an eighth of all steps within these.
 * What a step without drafts takes is what all else is compared with. */
enum { FRESH_ALONE = 4, FRESH_LEAST = 16, FRESH_MOST = 120 };
static const double most_part =
    0.5; /* of the newest value in a mean, for what was measured before */
static const double least_part = 0.08; /* of the newest time in a mean: things change, */
static const double fill_steps = 3;    /* most while caches fill: so many over all steps */
static const double outlier = 3;       /* times the mean: a pause of the machine's */
static const double dear = 1.5;        /* times as many single steps, a step with drafts: a pause */
static const double price = 0.005;     /* share of all the time that trying may lose */
static const double single_price = 0.02; /* the same, for steps without drafts alone */
static const double margin = 1.02;       /* by which drafting must promise more than none */
/* How many times quicker a step without drafts may be by now, if none was taken since the first. */
static const double none_may_gain = 16;
static const double row_guess =
    0.5; /* of a step's time or experts, for one row more; not measured */
static const double recent_wait = 0.04; /* the newest step's part in what an expert is waited for */
static const double driven_out = 1;     /* reads that one read for a wrong draft causes later */
static const double alike = 3; /* steps that its being as with a row less weighs as much as */
static const double agreement_guess = 0.5; /* of drafts that were never compared, */
static const double guess_weight = 2;      /* with so much weight */
static const double other_text = 2;        /* most weight of what another text has said, */
static const double own_prompt = 4;        /* or the text's own prompt */

void umbra_gate_init(umbra_gate *g)
{
    *g = (umbra_gate){.steps = 0};
}

static void take(umbra_fading *f, double value, double least)
{
    double part = 1 / (f->weight + 1);
    if (f->weight > 0)
        part = fmax(fmin(part, most_part), least);
    f->mean += part * (value - f->mean);
    f->weight += 1;
}

/* ---- agreement ---- */

/* The share of drafts at a position that agree with the text, if all before them did, of which
 * `before` says how often they do. hope: rather too high than too low, as far as little was seen.
 */
static double agreement(const umbra_gate *g, int kind, int position, double before, bool hope)
{
    const umbra_fading *f = &g->agreement[kind][position];
    before = hope ? 1 : position > 0 ? before : agreement_guess;
    return (f->mean * f->weight + before * guess_weight) / (f->weight + guess_weight);
}

/* What a step may check, the likeliest first: so many drafts, and what it gives and takes with the
 * first n of them. */
typedef struct plan {
    int texts, most;
    int of[UMBRA_GATE_ROWS]; /* whose the nth is */
    double tokens[UMBRA_GATE_ROWS + 1], hoped[UMBRA_GATE_ROWS + 1], make_s[UMBRA_GATE_ROWS + 1];
} plan;

/* A text's next draft: how likely it and those before it come true, and with hope. */
typedef struct next_draft {
    int position;
    double agrees, chance, hope;
} next_draft;

static void go_on(const umbra_gate *g, int kind, next_draft *d)
{
    d->agrees = agreement(g, kind, d->position, d->agrees, false);
    d->chance *= d->agrees;
    d->hope *= agreement(g, kind, d->position, 0, true);
    d->position++;
}

static plan plan_of(const umbra_gate *g, const umbra_offer *offers, int n, int room)
{
    plan p = {.texts = n, .tokens = {n}, .hoped = {n}};
    next_draft next[UMBRA_GATE_ROWS];
    for (int i = 0; i < n; i++) {
        next[i] = (next_draft){.chance = 1, .hope = 1};
        if (offers[i].n > 0)
            go_on(g, offers[i].kind, &next[i]);
    }
    while (p.most < room && n + p.most < UMBRA_GATE_ROWS) {
        int best = -1, k = p.most;
        for (int i = 0; i < n; i++)
            if (next[i].position > 0 && next[i].position <= offers[i].n &&
                (best < 0 || next[i].chance > next[best].chance))
                best = i;
        if (best < 0)
            break;
        p.of[k] = best;
        p.tokens[k + 1] = p.tokens[k] + next[best].chance;
        p.hoped[k + 1] = p.hoped[k] + next[best].hope;
        p.make_s[k + 1] = p.make_s[k] + g->make_s[offers[best].kind].mean;
        p.most++;
        if (next[best].position < offers[best].n)
            go_on(g, offers[best].kind, &next[best]);
        else
            next[best].position++;
    }
    return p;
}

void umbra_gate_made(umbra_gate *g, umbra_watch *w, int kind, const int32_t *tokens, int n,
                     double seconds)
{
    if (n < 1)
        return;
    take(&g->make_s[kind], seconds / n, 0);
    if (w->n == UMBRA_GATE_WATCHED)
        return;
    umbra_watched *draft = &w->draft[w->n++];
    *draft = (umbra_watched){.n = n, .kind = kind};
    memcpy(draft->token, tokens, (size_t)n * sizeof *tokens);
}

void umbra_gate_came(umbra_gate *g, umbra_watch *w, int32_t token)
{
    int kept = 0;
    for (int i = 0; i < w->n; i++) {
        umbra_watched *draft = &w->draft[i];
        bool agrees = draft->token[draft->next] == token;
        take(&g->agreement[draft->kind][draft->next++], agrees, 0);
        if (agrees && draft->next < draft->n)
            w->draft[kept++] = *draft;
    }
    w->n = kept;
}

void umbra_gate_forget(umbra_gate *g, umbra_watch *w, bool prompt)
{
    double most = prompt ? own_prompt : other_text;
    w->n = 0;
    for (int k = 0; k < UMBRA_DRAFT_KINDS; k++)
        for (int i = 0; i < UMBRA_DRAFT_MOST; i++)
            g->agreement[k][i].weight = fmin(g->agreement[k][i].weight, most);
}

void umbra_gate_expect(umbra_gate *g, int kind, double seconds)
{
    if (g->make_s[kind].weight <= 0)
        g->make_s[kind].mean = seconds;
}

/* ---- time ---- */

static bool is_fresh(const umbra_gate *g, int texts, int n)
{
    double least = n == 0 ? FRESH_ALONE : FRESH_LEAST;
    double steps = fmin(fmax((double)g->steps / 8, least), FRESH_MOST);
    const umbra_fading *f = &g->compute_s[texts + n];
    return f->weight > 0 && (double)(g->steps - f->when) < steps;
}

/* The widest measured step of fewer drafts. */
static int measured_below(const umbra_gate *g, int texts, int n)
{
    while (n > 0 && g->compute_s[texts + --n].weight <= 0)
        ;
    return n;
}

/* The narrowest one of more; 0: there is none. */
static int measured_above(const umbra_gate *g, int texts, int n)
{
    while (texts + ++n <= UMBRA_GATE_ROWS)
        if (g->compute_s[texts + n].weight > 0)
            return n;
    return 0;
}

/* What a step with n drafts takes, of what was measured by rows: as measured, or on the line
 * through its neighbours. */
static double of_rows(const umbra_gate *g, const umbra_fading *by_rows, int texts, int n)
{
    if (by_rows[texts + n].weight > 0)
        return by_rows[texts + n].mean;
    int below = measured_below(g, texts, n), above = measured_above(g, texts, n);
    double none = by_rows[texts].mean, low = by_rows[texts + below].mean;
    double slope = row_guess * none / texts;
    if (above > 0)
        slope = (by_rows[texts + above].mean - low) / (above - below);
    else if (below > 0)
        slope = fmax((low - none) / below, 0);
    return low + slope * (n - below);
}

/* How long an expert of a step with n drafts is waited for beside what is usual: as with a row
 * less, as long as it has not shown to differ. */
static double ratio_of(const umbra_gate *g, int texts, int n)
{
    double ratio = 1;
    for (int i = 0; i <= n; i++) {
        const umbra_fading *own = &g->wait_ratio[texts + i];
        ratio = (own->mean * own->weight + ratio * alike) / (own->weight + alike);
    }
    return ratio;
}

/* What a step with n drafts waits for the experts that any of its rows needs. How long that is for
 * one changes with what the cache holds, for all widths alike. Of a step wider than all that were
 * measured: waits grow with a power of the rows, by as much as up to the widest. */
static double waits_of(const umbra_gate *g, int texts, int n)
{
    int below = measured_below(g, texts, n);
    if (below > 0 && g->compute_s[texts + n].weight <= 0 && measured_above(g, texts, n) == 0) {
        double widest = waits_of(g, texts, below), none = waits_of(g, texts, 0);
        double rows = texts + below, power = 1;
        if (none > 0)
            power = fmin(log(fmax(widest / none, 1)) / log(rows / texts), 1);
        return widest * pow((texts + n) / rows, power);
    }
    return of_rows(g, g->experts, texts, n) * g->wait_s.mean * ratio_of(g, texts, n);
}

/* The time of a step with n drafts: computing and waiting. */
static double seconds_of(const umbra_gate *g, int texts, int n)
{
    return of_rows(g, g->compute_s, texts, n) + waits_of(g, texts, n);
}

/* The least and the most that it may take, where it was not measured lately: as a narrower step,
 * and as much for each row more as for one of those without drafts. A step without drafts may have
 * become quicker, the more the greater the part of all steps that came since: the first ones fill
 * caches. */
static double least_seconds(const umbra_gate *g, int texts, int n)
{
    if (is_fresh(g, texts, n))
        return seconds_of(g, texts, n);
    if (n > 0)
        return seconds_of(g, texts, measured_below(g, texts, n));
    double since = (double)(g->steps - g->compute_s[texts].when) / (double)g->steps;
    return seconds_of(g, texts, 0) / (1 + none_may_gain * since);
}

static double most_seconds(const umbra_gate *g, int texts, int n)
{
    if (n == 0 || is_fresh(g, texts, n))
        return seconds_of(g, texts, n);
    int below = measured_below(g, texts, n);
    return seconds_of(g, texts, below) + (n - below) * seconds_of(g, texts, 0) / texts;
}

/* Also pays for what is read for wrong drafts: it drives out what later steps read again. */
static double rate_of(const umbra_gate *g, const plan *p, int n)
{
    double tokens = p->tokens[n], wrong = 1 - tokens / (p->texts + n);
    double seconds =
        seconds_of(g, p->texts, n) + p->make_s[n] + driven_out * wrong * waits_of(g, p->texts, n);
    return seconds > 0 ? tokens / seconds : 0;
}

/* ---- choosing ---- */

/* Of wide steps only some are looked at, so that there is less to try. */
static bool is_choice(int n)
{
    return n <= 4 || n == 6 || n == 8 || n == 12 || n == 24 || n % 16 == 0;
}

static int best_of(const umbra_gate *g, const plan *p, double *rate)
{
    int best = 0;
    double none = rate_of(g, p, 0);
    *rate = none;
    for (int n = 1; n <= p->most; n++) {
        double of_n = is_choice(n) ? rate_of(g, p, n) : 0;
        if (of_n > fmax(*rate, none * margin)) {
            *rate = of_n;
            best = n;
        }
    }
    return best;
}

double umbra_gate_rate(const umbra_gate *g, const umbra_offer *offers, int n, int room)
{
    double rate;
    if (n >= UMBRA_GATE_ROWS)
        return 0;
    const plan p = plan_of(g, offers, n, room);
    best_of(g, &p, &rate);
    return rate;
}

/* Whether a step with n drafts, if all goes well, would be better than the best known by what is
 * worth knowing, and costs no more than may be lost if nothing goes well. */
static bool is_worth_trying(const umbra_gate *g, const plan *p, int n, double best_rate)
{
    double hoped = p->hoped[n] / (least_seconds(g, p->texts, n) + p->make_s[n]);
    double lost_s = most_seconds(g, p->texts, n) + p->make_s[n] - p->tokens[n] / best_rate;
    if (hoped <= best_rate * margin)
        return false;
    return n == 0 ? lost_s <= single_price * (g->all_s - g->single_s)
                  : g->lost_s + lost_s <= price * g->all_s;
}

/* What is worth trying: what was never measured, the narrowest first, else what promises most. -1:
 * nothing. */
static int trial_of(const umbra_gate *g, const plan *p, int best, double best_rate)
{
    int trial = -1;
    for (int i = 0; i <= p->most && best_rate > 0; i++) {
        if (i == best || !is_choice(i) || !is_worth_trying(g, p, i, best_rate))
            continue;
        if (g->compute_s[p->texts + i].weight <= 0)
            return i;
        if (trial < 0 || rate_of(g, p, i) > rate_of(g, p, trial))
            trial = i;
    }
    return trial;
}

int umbra_gate_choose(umbra_gate *g, umbra_offer *offers, int n, int room)
{
    g->trying = false;
    for (int i = 0; i < n; i++)
        offers[i].taken = 0;
    if (n >= UMBRA_GATE_ROWS || g->compute_s[n].weight <= 0)
        return 0;
    const plan p = plan_of(g, offers, n, room);
    int best = best_of(g, &p, &g->best_rate);
    int trial = trial_of(g, &p, best, g->best_rate);
    g->trying = trial >= 0;
    if (g->trying) {
        best = trial;
        g->trial_s = p.make_s[trial];
    }
    for (int i = 0; i < best; i++)
        offers[p.of[i]].taken++;
    return best;
}

/* ---- what steps took ---- */

/* A step's computing but for pauses. One that checks drafts is hardly longer than as many rows
 * without: what is above that is a pause, or as bad. */
static double usual(const umbra_gate *g, int texts, int drafts, double seconds)
{
    const umbra_fading *f = &g->compute_s[texts + drafts], *none = &g->compute_s[texts];
    if (f->weight >= 1)
        seconds = fmin(seconds, outlier * f->mean);
    if (drafts > 0 && none->weight > 0)
        seconds = fmin(seconds, dear * (texts + drafts) * none->mean / texts);
    return seconds;
}

/* All steps become slower when somebody else wants the machine, and quicker again: what steps
 * without drafts took of late moves the times that were measured before, in proportion. */
static void follow_drift(umbra_gate *g, int texts, const umbra_fading *before)
{
    const umbra_fading *now = &g->compute_s[texts];
    for (int i = 1; before->weight > 0 && i <= UMBRA_GATE_ROWS; i++)
        if (i != texts && g->compute_s[i].when < before->when)
            g->compute_s[i].mean *= now->mean / before->mean;
}

/* The least part that the newest step has in a mean. */
static double part_of_newest(const umbra_gate *g, double least)
{
    return fmax(least, fmin(fill_steps / (double)(g->steps + 1), most_part));
}

static void take_compute(umbra_gate *g, int texts, int drafts, double seconds)
{
    umbra_fading *f = &g->compute_s[texts + drafts];
    const umbra_fading before = *f;
    if (f->mean > outlier * seconds) /* what it stood on was a pause */
        f->mean = seconds;
    double least = is_fresh(g, texts, drafts) ? part_of_newest(g, least_part) : most_part;
    take(f, usual(g, texts, drafts, seconds), least);
    f->when = g->steps + 1;
    if (drafts == 0)
        follow_drift(g, texts, &before);
}

static void take_wait(umbra_gate *g, int rows, const umbra_step_cost *cost)
{
    if (cost->experts <= 0)
        return;
    double wait_s = cost->waited_s / cost->experts;
    take(&g->experts[rows], cost->experts, least_part);
    if (g->wait_s.mean > 0)
        take(&g->wait_ratio[rows], fmin(wait_s / g->wait_s.mean, outlier), 0);
    take(&g->wait_s, wait_s, part_of_newest(g, recent_wait));
}

void umbra_gate_step(umbra_gate *g, int texts, int drafts, int tokens, const umbra_step_cost *cost)
{
    if (texts + drafts > UMBRA_GATE_ROWS)
        return;
    for (int i = 1; i <= UMBRA_GATE_ROWS; i++) {
        g->compute_s[i].weight *= fade;
        g->wait_ratio[i].weight *= fade;
    }
    for (int k = 0; k < UMBRA_DRAFT_KINDS; k++)
        for (int i = 0; i < UMBRA_DRAFT_MOST; i++)
            g->agreement[k][i].weight *= fade_agreement;
    take_compute(g, texts, drafts, fmax(cost->seconds - cost->waited_s, 0));
    take_wait(g, texts + drafts, cost);
    g->steps++;
    g->all_s += cost->seconds;
    if (drafts == 0)
        g->single_s = g->all_s;
    else if (g->trying && g->best_rate > 0)
        g->lost_s = fmax(g->lost_s + cost->seconds + g->trial_s - tokens / g->best_rate, 0);
    g->trying = false;
}
