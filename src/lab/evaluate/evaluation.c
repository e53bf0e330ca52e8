/* The sums and shares that an evaluation is asked for. */
#include <math.h>
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/evaluate/evaluation.h"

const umbra_eval_word umbra_eval_words[] = {
    {"distance d", "how many layers ahead of the present one the prediction is for"},
    {"slot recall@m", "of the k experts really used, the share among the m ranked first"},
    {"all-k@m", "share of the predictions where all k used experts are among the m ranked first"},
    {"top-m", "share of the predictions where the m experts ranked first hold the one to which the "
              "router gave the largest weight"},
    {"oracle", "the truth; what a perfect predictor would score"},
    {"frequency", "the experts that a layer uses most often, whatever the token"},
    {"previous",
     "the experts that the layer used for the token before, then for the one before that"},
    {"gate", "the model's own router of the coming layer, applied to the present state"},
    {"roll", "the model run ahead from the present state, attention only, without its experts"},
    {"runahead", "the same with those of the experts that are in memory"},
    {"resident", "in memory when its layer asks for it; missing: not"},
    {"beyond", "of the next token's layers, with the token that the walk itself guesses"},
    {"control", "d = 0: the router of the same layer; near 100 % if traces and routers fit"},
    {"source 0", "predictions from the token's embedding alone, before its first layer"},
    {"NLL", "mean -log of the probability that was given to what came, in nats per expert"},
    {"ECE", "expected calibration error: mean distance between stated probability and share "
            "really used, over 15 bins of equal width"},
    {"standard error", "how far a recall would wander with other documents of the same kind"},
    {NULL, NULL},
};

bool umbra_eval_predicts(const umbra_evaluation *e, int source, int distance)
{
    int target = umbra_shadow_target(source, distance);
    int state_of = source == 0 ? 0 : source - 1; /* traces hold states of layers with experts */
    return source < umbra_eval_sources(e) && target < e->model.layers && e->has_layer[target] &&
           e->has_layer[state_of];
}

const umbra_tally *umbra_eval_at_layer(const umbra_evaluation *e, const umbra_eval_row *row,
                                       int layer, int distance)
{
    int source = layer + 1 - distance;
    return source >= 0 && umbra_eval_predicts(e, source, distance)
               ? umbra_eval_tally(row, source, distance)
               : NULL;
}

uint64_t *umbra_eval_histograms(umbra_tally *tallies, int n, int experts)
{
    uint64_t *counts = umbra_calloc((size_t)n * 3, (size_t)experts * sizeof *counts);
    for (int i = 0; counts && i < n; i++) {
        tallies[i].ranks = counts + (size_t)i * 3 * (size_t)experts;
        tallies[i].worst = tallies[i].ranks + experts;
        tallies[i].first = tallies[i].worst + experts;
    }
    return counts;
}

/* One array for all tallies of a row: per source, then the two sums, which are copied out. */
int umbra_eval_row_open(umbra_evaluation *e, umbra_eval_row *row, umbra_error *err)
{
    int own = umbra_eval_sources(e) * UMBRA_MAX_DISTANCE, n = own + 2 * UMBRA_MAX_DISTANCE;
    row->tallies = umbra_calloc((size_t)n, sizeof *row->tallies);
    row->counts = row->tallies ? umbra_eval_histograms(row->tallies, n, e->model.experts) : NULL;
    if (!row->counts)
        return umbra_fail_nomem(err, "counters of a predictor",
                                (uint64_t)n * (uint64_t)e->model.experts * 24);
    for (int d = 0; d < UMBRA_MAX_DISTANCE; d++) {
        row->inner[d] = row->tallies[own + d];
        row->start[d] = row->tallies[own + UMBRA_MAX_DISTANCE + d];
    }
    return UMBRA_OK;
}

static void sum_row(const umbra_evaluation *e, umbra_eval_row *row)
{
    for (int s = 0; s < umbra_eval_sources(e); s++)
        for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++)
            if (umbra_eval_predicts(e, s, d))
                umbra_tally_merge(s == 0 ? &row->start[d - 1] : &row->inner[d - 1],
                                  umbra_eval_tally(row, s, d), e->model.experts);
}

void umbra_eval_sum(umbra_evaluation *e)
{
    for (int r = 0; r < e->n_rows; r++)
        sum_row(e, &e->rows[r]);
    for (int s = 1; s < umbra_eval_sources(e); s++)
        umbra_tally_merge(&e->control_sum, &e->control[s], e->model.experts);
}

double umbra_eval_loss(const umbra_evaluation *e, int shadow, int ablation, int distance)
{
    const umbra_eval_shadow *s = &e->shadows[shadow];
    uint64_t slots = e->ablation_slots[distance - 1];
    double whole = (double)s->hits[distance - 1];
    return slots > 0 ? (whole - (double)s->ablations[ablation].hits[distance - 1]) / (double)slots
                     : NAN;
}

double umbra_eval_share_of(const umbra_eval_share *share)
{
    return share->slots > 0 ? (double)share->hits / (double)share->slots : NAN;
}

double umbra_eval_named(const umbra_evaluation *e, const umbra_eval_walk *walk)
{
    umbra_eval_share sum = {0};
    for (int i = 0; i < e->walk_reach; i++) {
        sum.slots += walk->next[i].slots;
        sum.hits += walk->next[i].hits;
    }
    return umbra_eval_share_of(&sum);
}

double umbra_eval_recall(const umbra_evaluation *e, const umbra_tally *tally, int m)
{
    return umbra_tally_recall(tally, e->model.used, m);
}

double umbra_eval_all(const umbra_evaluation *e, const umbra_tally *tally, int m)
{
    (void)e;
    return umbra_tally_all(tally, m);
}

double umbra_eval_top(const umbra_evaluation *e, const umbra_tally *tally, int m)
{
    return umbra_tally_top(tally, m < e->model.experts ? m : e->model.experts);
}

static void append(char *out, int size, int *used, const char *text)
{
    int n = snprintf(out + *used, (size_t)(size - *used), "%s%s", *used > 0 ? ", " : "", text);
    *used = *used + n < size ? *used + n : size - 1;
}

void umbra_eval_describe(const umbra_eval_shadow *shadow, char *out, int size)
{
    static const char *const weights[] = {"F32", "BF16", "I8"};
    const umbra_shadow_spec *s = &shadow->spec;
    char text[64];
    int used = 0;
    out[0] = '\0';
    append(out, size, &used, s->arch == UMBRA_SHADOW_SEED ? "seed" : "residual");
    append(out, size, &used, s->shared ? "one network for all layers" : "one network per layer");
    snprintf(text, sizeof text, "width %d", s->width);
    append(out, size, &used, text);
    if (s->features & UMBRA_FEATURE_NOW)
        append(out, size, &used, "experts used now");
    if (s->features & UMBRA_FEATURE_PREVIOUS)
        append(out, size, &used, "experts of the token before");
    if (s->features & UMBRA_FEATURE_PREVIOUS2)
        append(out, size, &used, "experts of the token before that");
    if (s->averages > 0) {
        snprintf(text, sizeof text, "%d running average%s", s->averages,
                 s->averages > 1 ? "s" : "");
        append(out, size, &used, text);
    }
    append(out, size, &used, s->loss == UMBRA_LOSS_KL ? "KL loss" : "BCE loss");
    snprintf(text, sizeof text, "%s weights", weights[s->weights]);
    append(out, size, &used, text);
}

void umbra_evaluation_free(umbra_evaluation **evaluation)
{
    umbra_evaluation *e = *evaluation;
    if (!e)
        return;
    for (int i = 0; e->folders && i < e->n_folders; i++) {
        umbra_free(e->folders[i].path);
        umbra_free(e->folders[i].collection);
    }
    for (int i = 0; e->shadows && i < e->n_shadows; i++) {
        umbra_free(e->shadows[i].path);
        umbra_training_free(&e->shadows[i].training);
    }
    for (int i = 0; e->rows && i < e->n_rows; i++) {
        umbra_free(e->rows[i].tallies);
        umbra_free(e->rows[i].counts);
    }
    for (int i = 0; e->walks && i < e->n_walks; i++)
        umbra_free(e->walks[i].shares);
    umbra_free(e->walks);
    umbra_free(e->has_layer);
    umbra_free(e->folders);
    umbra_free(e->shadows);
    umbra_free(e->rows);
    umbra_free(e->control);
    umbra_free(e->control_counts);
    umbra_free(e);
    *evaluation = NULL;
}
