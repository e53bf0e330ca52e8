/* Counts what margins of walked routers come to. */
#include "ahead/margins.h"

#include <math.h>
#include <string.h>

/* The beginning: on the models measured, sigmoid(4 z) fits margins z of scores in logits. */
static const float steepness = 4.0f;
static const float step_width = 0.25f;  /* of margins; 0 is in the middle */
static const float prior_weight = 8.0f; /* cases that the beginning counts for */
static const float most_seen = 20000.0f;

static float margin_of(int step)
{
    return ((float)step + 0.5f - UMBRA_MARGIN_STEPS / 2) * step_width;
}

void umbra_margins_init(umbra_margins *m)
{
    for (int d = 0; d < UMBRA_MARGIN_DISTANCES; d++) {
        for (int share = 0; share < UMBRA_MARGIN_SHARES; share++) {
            for (int i = 0; i < UMBRA_MARGIN_STEPS; i++) {
                m->seen[d][share][i] = prior_weight;
                m->used[d][share][i] = prior_weight / (1 + expf(-steepness * margin_of(i)));
            }
        }
    }
}

/* 1 to UMBRA_MARGIN_DISTANCES: far ones are counted together. */
static int distance_of(int distance)
{
    if (distance <= UMBRA_MAX_DISTANCE)
        return distance;
    return distance <= 2 * UMBRA_MAX_DISTANCE ? UMBRA_MAX_DISTANCE + 1 : UMBRA_MARGIN_DISTANCES;
}

static int share_of(float missing)
{
    return missing < 0.15f ? 0 : missing < 0.45f ? 1 : 2;
}

static int step_of(float margin)
{
    float step = floorf(margin / step_width) + UMBRA_MARGIN_STEPS / 2;
    if (!(step > 0)) /* NaN, too */
        return 0;
    return step >= UMBRA_MARGIN_STEPS ? UMBRA_MARGIN_STEPS - 1 : (int)step;
}

/* What an expert's score must reach: between the k-th and the next best of n. */
static float threshold_of(const float *score, int n, int k, float *best)
{
    int have = 0, want = k < n ? k + 1 : k;
    for (int i = 0; i < n; i++) {
        if (have == want && score[i] <= best[have - 1])
            continue;
        int at = have < want ? have++ : have - 1;
        for (; at > 0 && best[at - 1] < score[i]; at--)
            best[at] = best[at - 1];
        best[at] = score[i];
    }
    return k < n ? (best[k - 1] + best[k]) / 2 : best[k - 1] - 1;
}

/* In logits, where a softmax has been taken and alone chooses; a sigmoid's steps are small near its
 * ends, as theirs are. preference: of the same expert, or NULL. */
static float choosing_score(umbra_gating gating, float score, const float *preference)
{
    if (gating == UMBRA_GATING_SOFTMAX && !preference)
        return logf(score > 1e-30f ? score : 1e-30f);
    bool scaled = gating == UMBRA_GATING_SOFTMAX || gating == UMBRA_GATING_SIGMOID;
    return (scaled ? 8 : 1) * (score + (preference ? *preference : 0));
}

void umbra_margins_foretell(const umbra_margins *m, umbra_gating gating, const float *scores,
                            const float *preference, int n, int k, int distance, float missing,
                            float *order, float *probability, umbra_margin_row *row)
{
    int d = distance_of(distance);
    int share = share_of(missing);
    float *choosing = probability; /* until it is overwritten */
    for (int i = 0; i < n; i++)
        choosing[i] = choosing_score(gating, scores[i], preference ? &preference[i] : NULL);
    float threshold = threshold_of(choosing, n, k, order);
    row->distance = (uint8_t)d;
    row->share = (uint8_t)share;
    for (int i = 0; i < n; i++) {
        int step = step_of(choosing[i] - threshold);
        row->step[i] = (uint8_t)step;
        probability[i] = m->used[d - 1][share][step] / m->seen[d - 1][share][step];
    }
}

void umbra_margins_learn(umbra_margins *m, umbra_margin_row *row, int n, const int32_t *experts,
                         int k)
{
    if (row->distance == 0)
        return;
    float *seen = m->seen[row->distance - 1][row->share];
    float *used = m->used[row->distance - 1][row->share];
    for (int i = 0; i < n; i++)
        seen[row->step[i]]++;
    for (int j = 0; j < k; j++)
        used[row->step[experts[j]]]++;
    for (int i = 0; i < UMBRA_MARGIN_STEPS; i++) {
        if (seen[i] > most_seen) { /* newer cases count as much as all older ones */
            seen[i] /= 2;
            used[i] /= 2;
        }
    }
    row->distance = 0;
}
