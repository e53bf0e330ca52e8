/* Loss, recall and calibration on validation rows. */
#include <math.h>

#include "lab/train/measure.h"

enum { D = UMBRA_MAX_DISTANCE, ERROR_BINS = 20, NEWTON_STEPS = 50 };

/* ---- histogram ---- */

void umbra_histogram_add(umbra_histogram *h, float z, bool used)
{
    const float scale = UMBRA_HISTOGRAM_BINS / (2.0f * UMBRA_HISTOGRAM_RANGE);
    float at = (z + UMBRA_HISTOGRAM_RANGE) * scale;
    int bin = !(at >= 0.0f) ? 0 : at >= UMBRA_HISTOGRAM_BINS ? UMBRA_HISTOGRAM_BINS - 1 : (int)at;
    h->z[bin] += (double)z;
    h->count[bin]++;
    h->used[bin] += used;
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double softplus(double x)
{
    return (x > 0.0 ? x : 0.0) + log1p(exp(-fabs(x)));
}

/* Platt's targets: a little short of 1 and 0, so that a perfect separation has a finite fit. */
typedef struct smoothing {
    double used, unused;
} smoothing;

static smoothing smoothing_of(const umbra_histogram *h)
{
    double used = 0.0, all = 0.0;
    for (int i = 0; i < UMBRA_HISTOGRAM_BINS; i++) {
        used += (double)h->used[i];
        all += (double)h->count[i];
    }
    return (smoothing){(used + 1.0) / (used + 2.0), 1.0 / (all - used + 2.0)};
}

static double fit_loss(const umbra_histogram *h, smoothing s, double slope, double offset)
{
    double loss = 0.0;
    for (int i = 0; i < UMBRA_HISTOGRAM_BINS; i++) {
        if (h->count[i] == 0)
            continue;
        double n = (double)h->count[i], used = (double)h->used[i];
        double target = used * s.used + (n - used) * s.unused;
        double x = slope * h->z[i] / n + offset;
        loss += n * softplus(x) - target * x;
    }
    return loss;
}

/* The Newton step at (slope, offset); false if the curvature is degenerate. */
static bool newton_step(const umbra_histogram *h, smoothing s, double slope, double offset,
                        double *by_slope, double *by_offset)
{
    double g0 = 0.0, g1 = 0.0, h00 = 1e-9, h01 = 0.0, h11 = 1e-9;
    for (int i = 0; i < UMBRA_HISTOGRAM_BINS; i++) {
        if (h->count[i] == 0)
            continue;
        double n = (double)h->count[i], used = (double)h->used[i], z = h->z[i] / n;
        double p = sigmoid(slope * z + offset);
        double error = n * p - (used * s.used + (n - used) * s.unused);
        double curvature = n * p * (1.0 - p);
        g0 += error * z;
        g1 += error;
        h00 += curvature * z * z;
        h01 += curvature * z;
        h11 += curvature;
    }
    double determinant = h00 * h11 - h01 * h01;
    if (!(determinant > 0.0))
        return false;
    *by_slope = (h11 * g0 - h01 * g1) / determinant;
    *by_offset = (h00 * g1 - h01 * g0) / determinant;
    return isfinite(*by_slope) && isfinite(*by_offset);
}

void umbra_histogram_fit(const umbra_histogram *h, double *slope, double *offset)
{
    *slope = 1.0;
    *offset = 0.0;
    smoothing s = smoothing_of(h);
    double loss = fit_loss(h, s, *slope, *offset);
    for (int i = 0; i < NEWTON_STEPS; i++) {
        double by_slope, by_offset;
        if (!newton_step(h, s, *slope, *offset, &by_slope, &by_offset))
            return;
        double length = 1.0, next = fit_loss(h, s, *slope - by_slope, *offset - by_offset);
        while (!(next <= loss) && length > 1e-6) {
            length *= 0.5;
            next = fit_loss(h, s, *slope - length * by_slope, *offset - length * by_offset);
        }
        if (!(next < loss))
            return;
        *slope -= length * by_slope;
        *offset -= length * by_offset;
        bool done = loss - next <= 1e-12 * loss;
        loss = next;
        if (done)
            return;
    }
}

double umbra_histogram_error(const umbra_histogram *h, double slope, double offset)
{
    double p_sum[ERROR_BINS] = {0}, used_sum[ERROR_BINS] = {0}, all = 0.0, error = 0.0;
    for (int i = 0; i < UMBRA_HISTOGRAM_BINS; i++) {
        if (h->count[i] == 0)
            continue;
        double n = (double)h->count[i], p = sigmoid(slope * h->z[i] / n + offset);
        int bin = p >= 1.0 ? ERROR_BINS - 1 : (int)(p * ERROR_BINS);
        p_sum[bin] += n * p;
        used_sum[bin] += (double)h->used[i];
        all += n;
    }
    for (int i = 0; i < ERROR_BINS; i++)
        error += fabs(p_sum[i] - used_sum[i]);
    return all > 0.0 ? error / all : 0.0;
}

/* ---- recall ---- */

int umbra_measure_m(const umbra_shadow_spec *spec, int budget)
{
    int m = (spec->used * (2 + budget) + 1) / 2;
    return m < spec->experts ? m : spec->experts;
}

double umbra_measure_recall(const umbra_measure *m, int budget, int distance)
{
    uint64_t slots = m->slots[distance - 1];
    return slots > 0 ? (double)m->hits[budget][distance - 1] / (double)slots : -1.0;
}

double umbra_measure_score(const umbra_measure *m)
{
    double sum = 0.0;
    int n = 0;
    for (int d = 1; d <= D; d++) {
        double recall = umbra_measure_recall(m, 0, d);
        sum += recall < 0.0 ? 0.0 : recall;
        n += recall >= 0.0;
    }
    return n > 0 ? sum / n : 0.0;
}

void umbra_measure_add(umbra_measure *sum, const umbra_measure *part)
{
    sum->loss += part->loss;
    sum->rows += part->rows;
    for (int d = 0; d < D; d++) {
        sum->slots[d] += part->slots[d];
        for (int b = 0; b < UMBRA_TRAIN_BUDGETS; b++)
            sum->hits[b][d] += part->hits[b][d];
    }
}

/* How many experts are ranked before this one: those with a higher score, or the same and a
 * lower id. */
static int rank_of(const float *z, int experts, int expert)
{
    float own = z[expert];
    int rank = 0;
    for (int e = 0; e < expert; e++)
        rank += z[e] >= own;
    for (int e = expert + 1; e < experts; e++)
        rank += z[e] > own;
    return rank;
}

static void add_pairs(umbra_histogram *h, const umbra_shadow_spec *spec, const float *z,
                      const uint16_t *used)
{
    float shift = 0.0f;
    if (spec->loss == UMBRA_LOSS_KL) {
        float most = z[0];
        for (int e = 1; e < spec->experts; e++)
            most = z[e] > most ? z[e] : most;
        double sum = 0.0;
        for (int e = 0; e < spec->experts; e++)
            sum += exp((double)(z[e] - most));
        shift = most + (float)log(sum);
    }
    for (int e = 0; e < spec->experts; e++) {
        bool is_used = false;
        for (int j = 0; j < spec->used; j++)
            is_used |= used[j] == e;
        umbra_histogram_add(h, z[e] - shift, is_used);
    }
}

void umbra_measure_batch(umbra_measure *m, umbra_train_pass *pass, const umbra_train_rows *rows,
                         umbra_histogram *histograms)
{
    const umbra_shadow_spec *spec = pass->spec;
    m->loss += umbra_train_loss(pass, rows, rows->n);
    m->rows += (uint64_t)rows->n;
    for (int i = 0; i < rows->n * D; i++) {
        const float *z = pass->z + (size_t)i * (size_t)spec->experts;
        const uint16_t *used = rows->targets + (size_t)i * (size_t)spec->used;
        int d = i % D;
        if (used[0] == UMBRA_NO_TARGET)
            continue;
        m->slots[d] += (uint64_t)spec->used;
        for (int j = 0; j < spec->used; j++) {
            int rank = rank_of(z, spec->experts, used[j]);
            for (int b = 0; b < UMBRA_TRAIN_BUDGETS; b++)
                m->hits[b][d] += rank < umbra_measure_m(spec, b);
        }
        if (histograms)
            add_pairs(&histograms[d], spec, z, used);
    }
}
