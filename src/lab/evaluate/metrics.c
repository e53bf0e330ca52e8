/* Ranks, recall and forecasts, counted. */
#include <math.h>
#include <stddef.h>

#include "lab/evaluate/metrics.h"

void umbra_tally_rank(float *scores, int experts, const uint16_t *used, int k, uint16_t *ranks)
{
    for (int e = 0; e < experts; e++)
        if (isnan(scores[e]))
            scores[e] = -INFINITY;
    for (int j = 0; j < k; j++) {
        float own = scores[used[j]];
        int before = 0;
        for (int e = 0; e < used[j]; e++)
            before += scores[e] >= own;
        for (int e = used[j] + 1; e < experts; e++)
            before += scores[e] > own;
        ranks[j] = (uint16_t)before;
    }
}

void umbra_tally_add(umbra_tally *t, const uint16_t *ranks, int k)
{
    int worst = 0;
    for (int j = 0; j < k; j++) {
        t->ranks[ranks[j]]++;
        if (ranks[j] > worst)
            worst = ranks[j];
    }
    t->worst[worst]++;
    t->first[ranks[0]]++;
    t->positions++;
}

/* p kept away from 0 and 1, and from what is not a number. */
static double kept(float p)
{
    double q = (double)p;
    q = q >= UMBRA_TALLY_SURE ? q : UMBRA_TALLY_SURE;
    return q <= 1 - UMBRA_TALLY_SURE ? q : 1 - UMBRA_TALLY_SURE;
}

void umbra_tally_forecast(umbra_tally *t, const float *p, int experts, const uint16_t *used, int k)
{
    /* One logarithm per so many factors: each is at least UMBRA_TALLY_SURE, so their product is
     * far from underflow. */
    enum { FACTORS = 32 };
    double product = 1;
    for (int e = 0; e < experts; e++) {
        double q = kept(p[e]);
        umbra_tally_bin *bin = &t->bins[(int)(q * UMBRA_TALLY_BINS)];
        bin->count++;
        bin->sum += q;
        product *= 1 - q; /* as if unused; the used ones are put right below */
        if (e % FACTORS == FACTORS - 1) {
            t->nll -= log(product);
            product = 1;
        }
    }
    t->nll -= log(product);
    for (int j = 0; j < k; j++) {
        double q = kept(p[used[j]]);
        t->bins[(int)(q * UMBRA_TALLY_BINS)].used++;
        t->nll += log(1 - q) - log(q);
    }
    t->forecasts += (uint64_t)experts;
}

void umbra_tally_merge(umbra_tally *to, const umbra_tally *from, int experts)
{
    to->positions += from->positions;
    for (int e = 0; e < experts; e++) {
        to->ranks[e] += from->ranks[e];
        to->worst[e] += from->worst[e];
        to->first[e] += from->first[e];
    }
    to->forecasts += from->forecasts;
    to->nll += from->nll;
    for (int b = 0; b < UMBRA_TALLY_BINS; b++) {
        to->bins[b].count += from->bins[b].count;
        to->bins[b].used += from->bins[b].used;
        to->bins[b].sum += from->bins[b].sum;
    }
}

static uint64_t below(const uint64_t *histogram, int m)
{
    uint64_t sum = 0;
    for (int r = 0; r < m; r++)
        sum += histogram[r];
    return sum;
}

static double share(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : NAN;
}

uint64_t umbra_tally_hits(const umbra_tally *t, int m)
{
    return below(t->ranks, m);
}

double umbra_tally_recall(const umbra_tally *t, int k, int m)
{
    return share(below(t->ranks, m), t->positions * (uint64_t)k);
}

double umbra_tally_all(const umbra_tally *t, int m)
{
    return share(below(t->worst, m), t->positions);
}

double umbra_tally_top(const umbra_tally *t, int m)
{
    return share(below(t->first, m), t->positions);
}

double umbra_tally_nll(const umbra_tally *t)
{
    return t->forecasts > 0 ? t->nll / (double)t->forecasts : NAN;
}

double umbra_tally_ece(const umbra_tally *t)
{
    if (t->forecasts == 0)
        return NAN;
    double sum = 0;
    for (int b = 0; b < UMBRA_TALLY_BINS; b++)
        sum += fabs((double)t->bins[b].used - t->bins[b].sum);
    return sum / (double)t->forecasts;
}

/* ---- Platt scaling ---- */

typedef struct platt_sums {
    double loss, g0, g1, h00, h01, h11;
} platt_sums;

/* Loss, gradient and Hessian at (slope, offset) of the standardised scores. */
static platt_sums platt_at(const float *z, const uint8_t *outcome, uint64_t n,
                           const double target[2], double mean, double scale, double slope,
                           double offset)
{
    platt_sums s = {0};
    for (uint64_t i = 0; i < n; i++) {
        double x = ((double)z[i] - mean) * scale, u = slope * x + offset;
        double p = 1 / (1 + exp(-u)), t = target[outcome[i] != 0];
        double slack = u > 0 ? log1p(exp(-u)) : log1p(exp(u)) - u;
        double w = p * (1 - p);
        s.loss += slack + (1 - t) * u;
        s.g0 += (p - t) * x;
        s.g1 += p - t;
        s.h00 += w * x * x;
        s.h01 += w * x;
        s.h11 += w;
    }
    return s;
}

/* Newton's method; a step that does not lower the loss is damped and tried again. */
static void platt_descend(const float *z, const uint8_t *outcome, uint64_t n,
                          const double target[2], double mean, double scale, double *slope,
                          double *offset)
{
    double damping = 1e-9;
    platt_sums now = platt_at(z, outcome, n, target, mean, scale, *slope, *offset);
    for (int step = 0; step < 40; step++) {
        double h00 = now.h00 + damping * (double)n, h11 = now.h11 + damping * (double)n;
        double det = h00 * h11 - now.h01 * now.h01;
        double ds = (h11 * now.g0 - now.h01 * now.g1) / det;
        double d0 = (h00 * now.g1 - now.h01 * now.g0) / det;
        platt_sums next = platt_at(z, outcome, n, target, mean, scale, *slope - ds, *offset - d0);
        if (!(next.loss <= now.loss)) {
            damping = damping < 1e-4 ? 1e-4 : damping * 10;
            continue;
        }
        *slope -= ds;
        *offset -= d0;
        damping *= 0.1;
        double gain = now.loss - next.loss;
        now = next;
        if (gain <= 1e-9 * (double)n)
            return;
    }
}

void umbra_platt_fit(const float *z, const uint8_t *outcome, uint64_t n, float *slope,
                     float *offset)
{
    uint64_t used = 0;
    double mean = 0, square = 0;
    for (uint64_t i = 0; i < n; i++) {
        used += outcome[i] != 0;
        mean += (double)z[i] / (double)n;
    }
    for (uint64_t i = 0; i < n; i++)
        square += ((double)z[i] - mean) * ((double)z[i] - mean) / (double)n;
    double base = ((double)used + 1) / ((double)n + 2);
    double a = 0, b = log(base / (1 - base));
    if (square > 1e-12 * mean * mean && isfinite(square)) { /* more than rounding */
        double scale = 1 / sqrt(square);
        double target[2] = {1 / ((double)(n - used) + 2), ((double)used + 1) / ((double)used + 2)};
        platt_descend(z, outcome, n, target, mean, scale, &a, &b);
        a *= scale;
        b -= a * mean;
    }
    *slope = (float)a;
    *offset = (float)b;
}
