/* The toy model of the example: its experts on disk, and the plain arithmetic of one layer. */
#include "toy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- making a model ---- */

/* Sums of uniform numbers in -1..1, near enough to a normal distribution. */
static float noise(uint64_t *state)
{
    float sum = 0;
    for (int i = 0; i < 3; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        sum += (float)(*state >> 40) * 0x1p-23f - 1;
    }
    return sum;
}

static void fill(float *out, size_t n, float scale, uint64_t *random)
{
    for (size_t i = 0; i < n; i++)
        out[i] = scale * noise(random);
}

static int write_experts(FILE *f, uint64_t *random)
{
    static float part[TOY_W * TOY_H];
    char header[TOY_HEADER_BYTES] = "experts of a toy";
    if (fwrite(header, sizeof header, 1, f) != 1)
        return -1;
    for (int i = 0; i < TOY_L * TOY_E * TOY_PARTS; i++) {
        fill(part, TOY_W * TOY_H, i % TOY_PARTS == TOY_DOWN ? 0.05f : 0.1f, random);
        if (fwrite(part, sizeof part, 1, f) != 1)
            return -1;
    }
    return 0;
}

int toy_make(toy_model *m, const char *experts_path, uint64_t seed)
{
    uint64_t random = seed;
    fill(&m->embedding[0][0], sizeof m->embedding / sizeof(float), 1, &random);
    fill(&m->query[0][0][0], sizeof m->query / sizeof(float), 0.1f, &random);
    fill(&m->key[0][0][0], sizeof m->key / sizeof(float), 0.1f, &random);
    fill(&m->value[0][0][0], sizeof m->value / sizeof(float), 0.05f, &random);
    fill(&m->norm[0][0], sizeof m->norm / sizeof(float), 1, &random);
    fill(&m->router[0][0][0], sizeof m->router / sizeof(float), 0.2f, &random);
    FILE *f = fopen(experts_path, "wb");
    if (!f)
        return -1;
    int rc = write_experts(f, &random);
    return fclose(f) == 0 ? rc : -1;
}

/* ---- computing ---- */

static float dot(const float *a, const float *b, int n)
{
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void multiply(const float *matrix, int rows, int columns, const float *x, float *out)
{
    for (int r = 0; r < rows; r++)
        out[r] = dot(matrix + (size_t)r * (size_t)columns, x, columns);
}

static float rms(const float x[TOY_H])
{
    return sqrtf(dot(x, x, TOY_H) / TOY_H + 1e-6f);
}

void toy_enter(const toy_model *m, toy_state *s, int token)
{
    memcpy(s->x, m->embedding[token], sizeof s->x);
}

void toy_attend(const toy_model *m, toy_state *s, int layer)
{
    float in[TOY_H], query[TOY_H], score[TOY_POSITIONS];
    float size = rms(s->x), sum = 0;
    for (int i = 0; i < TOY_H; i++)
        in[i] = s->x[i] / size;
    multiply(&m->query[layer][0][0], TOY_H, TOY_H, in, query);
    multiply(&m->key[layer][0][0], TOY_H, TOY_H, in, s->keys[layer][s->position]);
    multiply(&m->value[layer][0][0], TOY_H, TOY_H, in, s->values[layer][s->position]);
    for (int p = 0; p <= s->position; p++)
        sum += score[p] = expf(dot(query, s->keys[layer][p], TOY_H) / sqrtf(TOY_H));
    for (int p = 0; p <= s->position; p++)
        for (int i = 0; i < TOY_H; i++)
            s->x[i] += score[p] / sum * s->values[layer][p][i];
}

void toy_route(const toy_model *m, const toy_state *s, int layer, int32_t experts[TOY_K],
               float weights[TOY_K], float input[TOY_H])
{
    float scores[TOY_E], size = rms(s->x), sum = 0;
    for (int i = 0; i < TOY_H; i++)
        input[i] = s->x[i] / size * m->norm[layer][i];
    multiply(&m->router[layer][0][0], TOY_E, TOY_H, input, scores);
    for (int k = 0; k < TOY_K; k++) {
        int best = 0;
        for (int e = 1; e < TOY_E; e++)
            if (scores[e] > scores[best])
                best = e;
        experts[k] = best;
        sum += weights[k] = expf(scores[best]);
        scores[best] = -INFINITY;
    }
    for (int k = 0; k < TOY_K; k++)
        weights[k] /= sum;
}

void toy_expert(const float *gate, const float *up, const float *down, const float input[TOY_H],
                float out[TOY_H])
{
    float inner[TOY_W];
    for (int w = 0; w < TOY_W; w++) {
        float g = dot(gate + w * TOY_H, input, TOY_H);
        inner[w] = g / (1 + expf(-g)) * dot(up + w * TOY_H, input, TOY_H);
    }
    multiply(down, TOY_H, TOY_W, inner, out);
}

void toy_join(toy_state *s, const float weights[TOY_K], const float outputs[TOY_K][TOY_H])
{
    for (int k = 0; k < TOY_K; k++)
        for (int i = 0; i < TOY_H; i++)
            s->x[i] += weights[k] * outputs[k][i];
}

int toy_leave(const toy_model *m, toy_state *s)
{
    int best = 0;
    float most = -INFINITY;
    for (int t = 0; t < TOY_VOCABULARY; t++) {
        float score = dot(m->embedding[t], s->x, TOY_H);
        if (score > most) {
            most = score;
            best = t;
        }
    }
    s->position++;
    return best;
}
