/* The gate of drafting: agreement by position, time of a step by width, and what they come to. */
#include "generate/gate.h"

#include <math.h>
#include <string.h>

static const double fade = 0.99;            /* of what times and waits stand on, with each step */
static const double fade_ratio = 0.997;     /* the same, of how widths differ in waiting */
static const double fade_agreement = 0.995; /* the same; a property of the text more than of now */
/* Steps for which what was measured says something of now: an eighth of all steps within these.
 * What a step without drafts takes is what all else is compared with. */
enum { FRESH_ALONE = 4, FRESH_LEAST = 16, FRESH_MOST = 120 };
static const double most_part =
    0.5; /* of the newest value in a mean, for what was measured before */
static const double least_part = 0.08; /* of the newest time in a mean: things change, */
static const double fill_steps = 3;    /* most while caches fill: so many over all steps */
static const double pause = 1.4; /* times the mean: what is above is a pause of the machine's */
/* A mean that is so many times what steps take now stood on a pause; and so many times what is
 * usual a wait counts at most. */
static const double outlier = 3;
static const double price = 0.005;       /* share of all the time that trying may lose */
static const double single_price = 0.02; /* the same, for steps without drafts alone */
static const double margin = 1.01;       /* by which drafting must promise more than none, */
static const double worth_trying = 1.02; /* and a trial, at best, more than what is known */
/* How many times quicker a step without drafts may be by now, if none was taken since the first. */
static const double none_may_gain = 16;
static const double row_guess = 0.5; /* of what a step computes, for one row more; not measured */
/* By which waits grow with the rows, and what that weighs beside the waits of a width, in squares
 * of the logarithm of its rows. */
static const double power_guess = 0.5, power_weight = 2;
static const double like_token = 10;  /* rows that a wrong draft's being as any weighs as much as */
static const double driven_out = 0.3; /* waits that one for a wrong draft causes later */
static const double alike = 1; /* steps that its being as with a row less weighs as much as */
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

/* What a step with n drafts computes: as measured, or on the line through its neighbours. */
static double compute_of(const umbra_gate *g, int texts, int n)
{
    const umbra_fading *by_rows = &g->compute_s[texts];
    if (by_rows[n].weight > 0)
        return by_rows[n].mean;
    int below = measured_below(g, texts, n), above = measured_above(g, texts, n);
    double none = by_rows[0].mean, low = by_rows[below].mean;
    double slope = row_guess * none / texts;
    if (above > 0)
        slope = (by_rows[above].mean - low) / (above - below);
    else if (below > 0)
        slope = fmax((low - none) / below, 0);
    return low + slope * (n - below);
}

/* Seconds for which a token that comes is waited for, and a wrong draft. */
typedef struct each_wait {
    double came, wrong;
} each_wait;

/* By least squares, neither below nothing. */
static each_wait each_of(const umbra_gate *g)
{
    const umbra_waits *w = &g->waits;
    if (w->came_came <= 0)
        return (each_wait){0};
    double came_came = w->came_came + like_token, wrong_wrong = w->wrong_wrong + like_token;
    double came_wrong = w->came_wrong - like_token;
    double by = came_came * wrong_wrong - came_wrong * came_wrong;
    each_wait e = {(wrong_wrong * w->came_s - came_wrong * w->wrong_s) / by,
                   (came_came * w->wrong_s - came_wrong * w->came_s) / by};
    if (e.wrong < 0)
        e = (each_wait){w->came_s / w->came_came, 0};
    else if (e.came < 0)
        e = (each_wait){0, w->wrong_s / w->wrong_wrong};
    return e;
}

/* How long a step with n drafts waits beside what its tokens and wrong drafts usually do: as with a
 * row less, as long as it has not shown to differ. */
static double ratio_of(const umbra_gate *g, int texts, int n)
{
    double ratio = 1;
    for (int i = 0; i <= n; i++) {
        const umbra_fading *own = &g->wait_ratio[texts + i];
        ratio = (own->mean * own->weight + ratio * alike) / (own->weight + alike);
    }
    return ratio;
}

/* By what power of the rows waits grow: as they do up to the widest step that was measured. */
static double power_of(int texts, int widest, double waits_s, double none_s)
{
    double rows = log((double)(texts + widest) / texts);
    double grown = none_s > 0 ? log(fmax(waits_s / none_s, 1)) : 0;
    return fmin((rows * grown + power_guess * power_weight) / (rows * rows + power_weight), 1);
}

/* What a step with n drafts waits of which so many tokens come. */
static double waits_of(const umbra_gate *g, int texts, int n, double came)
{
    each_wait e = each_of(g);
    double rows = texts + n, waits_s = e.came * came + e.wrong * (rows - came);
    if (n == 0 || g->compute_s[texts + n].weight > 0 || measured_above(g, texts, n) > 0)
        return waits_s * ratio_of(g, texts, n);
    int widest = measured_below(g, texts, n);
    double less = (texts + widest) / rows, none_s = e.came * texts * ratio_of(g, texts, 0);
    waits_s *= less * ratio_of(g, texts, widest);
    return waits_s * pow(1 / less, power_of(texts, widest, waits_s, none_s));
}

/* The time of a step with n drafts: computing and waiting. */
static double seconds_of(const umbra_gate *g, const plan *p, int n)
{
    return compute_of(g, p->texts, n) + waits_of(g, p->texts, n, p->tokens[n]);
}

/* The least and the most that it may take, where it was not measured lately: as a narrower step,
 * and as much for each row more as for one of those without drafts. A step without drafts may have
 * become quicker, the more the greater the part of all steps that came since: the first ones fill
 * caches. */
static double least_seconds(const umbra_gate *g, const plan *p, int n)
{
    if (is_fresh(g, p->texts, n))
        return seconds_of(g, p, n);
    if (n > 0)
        return seconds_of(g, p, measured_below(g, p->texts, n));
    double since = (double)(g->steps - g->compute_s[p->texts].when) / (double)g->steps;
    return seconds_of(g, p, 0) / (1 + none_may_gain * since);
}

static double most_seconds(const umbra_gate *g, const plan *p, int n)
{
    if (n == 0 || is_fresh(g, p->texts, n))
        return seconds_of(g, p, n);
    int below = measured_below(g, p->texts, n);
    return seconds_of(g, p, below) + (n - below) * seconds_of(g, p, 0) / p->texts;
}

/* Also pays for what wrong drafts drive out of the cache, which later steps wait for. */
static double rate_of(const umbra_gate *g, const plan *p, int n)
{
    double tokens = p->tokens[n], wrong = p->texts + n - tokens;
    double later_s = driven_out * wrong * each_of(g).wrong * ratio_of(g, p->texts, n);
    double seconds = seconds_of(g, p, n) + p->make_s[n] + later_s;
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
    double hoped = p->hoped[n] / (least_seconds(g, p, n) + p->make_s[n]);
    double lost_s = most_seconds(g, p, n) + p->make_s[n] - p->tokens[n] / best_rate;
    if (hoped <= best_rate * worth_trying)
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
        seconds = fmin(seconds, pause * f->mean);
    if (drafts > 0 && none->weight > 0)
        seconds = fmin(seconds, (texts + drafts) * none->mean / texts);
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
static double part_of_newest(const umbra_gate *g)
{
    return fmax(least_part, fmin(fill_steps / (double)(g->steps + 1), most_part));
}

static void take_compute(umbra_gate *g, int texts, int drafts, double seconds)
{
    umbra_fading *f = &g->compute_s[texts + drafts];
    const umbra_fading before = *f;
    if (f->mean > outlier * seconds)
        f->mean = seconds;
    double least = is_fresh(g, texts, drafts) ? part_of_newest(g) : most_part;
    take(f, seconds, least);
    f->when = g->steps + 1;
    if (drafts == 0)
        follow_drift(g, texts, &before);
}

/* A step of many rows scatters more, and weighs less. */
static void take_wait(umbra_gate *g, int rows, int tokens, double waited_s)
{
    umbra_waits *w = &g->waits;
    each_wait e = each_of(g);
    double came = tokens, wrong = rows - tokens, usual_s = e.came * came + e.wrong * wrong;
    if (usual_s > 0)
        take(&g->wait_ratio[rows], fmin(waited_s / usual_s, outlier), 0);
    w->came_came = w->came_came * fade + came * came / rows;
    w->came_wrong = w->came_wrong * fade + came * wrong / rows;
    w->wrong_wrong = w->wrong_wrong * fade + wrong * wrong / rows;
    w->came_s = w->came_s * fade + came * waited_s / rows;
    w->wrong_s = w->wrong_s * fade + wrong * waited_s / rows;
}

void umbra_gate_step(umbra_gate *g, int texts, int drafts, int tokens, const umbra_step_cost *cost)
{
    if (texts + drafts > UMBRA_GATE_ROWS)
        return;
    for (int i = 1; i <= UMBRA_GATE_ROWS; i++) {
        g->compute_s[i].weight *= fade;
        g->wait_ratio[i].weight *= fade_ratio;
    }
    for (int k = 0; k < UMBRA_DRAFT_KINDS; k++)
        for (int i = 0; i < UMBRA_DRAFT_MOST; i++)
            g->agreement[k][i].weight *= fade_agreement;
    double compute_s = usual(g, texts, drafts, fmax(cost->seconds - cost->waited_s, 0));
    take_compute(g, texts, drafts, compute_s);
    take_wait(g, texts + drafts, tokens, cost->waited_s);
    g->steps++;
    g->all_s += cost->seconds;
    if (drafts == 0)
        g->single_s = g->all_s;
    else if (g->trying && g->best_rate > 0)
        g->lost_s =
            fmax(g->lost_s + compute_s + cost->waited_s + g->trial_s - tokens / g->best_rate, 0);
    g->trying = false;
}
