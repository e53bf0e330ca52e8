/* The forward pass of a shadow model, in batches and F32: for judging, and as the standard that the
 * fast forms are held against. */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "predict/predictor_internal.h"

enum { D = UMBRA_MAX_DISTANCE };

static void add(float *y, const float *x, int n)
{
    for (int i = 0; i < n; i++)
        y[i] += x[i];
}

/* y (n, width of which `take` are used) += rows of a features' matrix (F, width) that are on. */
static void add_features(const umbra_predictor *p, int source, const umbra_predict_input *in,
                         umbra_predict_scratch *scratch, const float *matrix, int width, int take,
                         float *y)
{
    if (!matrix)
        return;
    for (int i = 0; i < in->n; i++) {
        const umbra_feature_lists lists = umbra_feature_lists_of(
            &p->shadow->spec, source, in->now ? in->now[i] : NULL,
            in->previous ? in->previous[i] : NULL, in->previous2 ? in->previous2[i] : NULL);
        int rows =
            umbra_shadow_feature_rows(&p->shadow->spec, p->off, source, &lists, scratch->rows);
        for (int k = 0; k < rows; k++)
            add(y + (size_t)i * (size_t)width, matrix + (size_t)scratch->rows[k] * (size_t)width,
                take);
    }
}

/* v <- silu(LN(v)) */
static void activate(const umbra_shadow_network *net, int width, float *v)
{
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < width; i++)
        sum += (double)v[i];
    double mean = sum / width;
    for (int i = 0; i < width; i++)
        squares += ((double)v[i] - mean) * ((double)v[i] - mean);
    float center = (float)mean, factor = (float)(1.0 / sqrt(squares / width + 1e-5));
    for (int i = 0; i < width; i++) {
        float y = (v[i] - center) * factor * net->gain[i] + net->shift[i];
        v[i] = y / (1.0f + expf(-y));
    }
}

static void fill_inputs(const umbra_predictor *p, const umbra_predict_input *in,
                        umbra_predict_scratch *scratch)
{
    size_t hidden = (size_t)p->hidden, inputs = (size_t)umbra_shadow_inputs(&p->shadow->spec);
    umbra_predict_normalise(in, p->hidden, scratch->r);
    for (size_t i = 0; inputs > hidden && i < (size_t)in->n; i++) {
        float *x = scratch->x + i * inputs;
        memcpy(x, scratch->r + i * hidden, hidden * sizeof *x);
        memcpy(x + hidden, in->averages + i * (inputs - hidden), (inputs - hidden) * sizeof *x);
    }
}

/* scores <- a gate + bias, or the bias alone */
static void begin(const umbra_predictor *p, const umbra_shadow_network *net, int source,
                  int distances, const float *r, int n, float *scores)
{
    size_t experts = (size_t)p->experts;
    bool residual = p->shadow->spec.arch == UMBRA_SHADOW_RESIDUAL;
    if (residual)
        umbra_predict_gates(p->gates, source, distances, r, n, scores);
    for (size_t i = 0; i < (size_t)n; i++)
        for (size_t d = 0; d < (size_t)distances; d++) {
            float *row = scores + (i * D + d) * experts;
            const float *bias = net->bias + d * experts;
            for (size_t e = 0; e < experts; e++)
                row[e] = residual ? net->a[d] * row[e] + bias[e] : bias[e];
        }
}

void umbra_predict_shadow(const umbra_predictor *p, int source, const umbra_predict_input *in,
                          umbra_predict_scratch *scratch, float *scores)
{
    const umbra_shadow_spec *spec = &p->shadow->spec;
    int distances = umbra_shadow_distances(spec, source);
    if (distances == 0)
        return;
    const umbra_shadow_network *net = &p->shadow->networks[spec->shared ? 0 : source];
    int inputs = umbra_shadow_inputs(spec), outputs = D * spec->experts;
    int take = distances * spec->experts;
    size_t stride = (size_t)outputs;

    fill_inputs(p, in, scratch);
    begin(p, net, source, distances, scratch->r, in->n, scores);
    if (net->w && !(p->off & UMBRA_OFF_LINEAR)) {
        umbra_predict_matmul(net->w, take, inputs, scratch->x, in->n, scratch->part, outputs);
        add_features(p, source, in, scratch, net->w_features, outputs, take, scratch->part);
        for (size_t i = 0; i < (size_t)in->n; i++)
            add(scores + i * stride, scratch->part + i * stride, take);
    }
    if (p->off & UMBRA_OFF_INNER)
        return;
    umbra_predict_matmul(net->w1, spec->width, inputs, scratch->x, in->n, scratch->inner,
                         spec->width);
    add_features(p, source, in, scratch, net->w1_features, spec->width, spec->width,
                 scratch->inner);
    for (size_t i = 0; i < (size_t)in->n; i++) {
        float *v = scratch->inner + i * (size_t)spec->width;
        add(v, net->b1, spec->width);
        activate(net, spec->width, v);
    }
    umbra_predict_matmul(net->w2, take, spec->width, scratch->inner, in->n, scratch->part, outputs);
    for (size_t i = 0; i < (size_t)in->n; i++)
        add(scores + i * stride, scratch->part + i * stride, take);
}
