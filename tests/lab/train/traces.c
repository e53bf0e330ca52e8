/* Synthetic traces of a small make-believe model whose routing can be learnt. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <dirent.h>
#include <math.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/random.h"
#include "traces.h"

static umbra_error err;

#define MUST(call)                                                                                 \
    do {                                                                                           \
        if ((call) != UMBRA_OK)                                                                    \
            fail_msg("%s", err.message);                                                           \
    } while (0)

typedef struct toy_model {
    int hidden;
    float *embedding; /* (V, H) */
    float *map;       /* (L, H, H) */
    float *gate;      /* (L, E, H) */
} toy_model;

static float *random_floats(umbra_random *random, size_t n, double size)
{
    float *x = umbra_calloc(n, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(size * umbra_random_normal(random));
    return x;
}

static toy_model make_model(int hidden)
{
    umbra_random random;
    umbra_random_seed(&random, 99);
    size_t h = (size_t)hidden;
    toy_model m = {.hidden = hidden};
    m.embedding = random_floats(&random, TOY_VOCABULARY * h, 1.0);
    m.map = random_floats(&random, TOY_LAYERS * h * h, 0.7 / sqrt((double)hidden));
    m.gate = random_floats(&random, TOY_LAYERS * TOY_EXPERTS * h, 4.0 / sqrt((double)hidden));
    return m;
}

/* state (H) += tanh(map of the layer * state) + a share of what the token before had */
static void move(const toy_model *m, int layer, float *state, const float *before)
{
    float next[64];
    for (int i = 0; i < m->hidden; i++) {
        double sum = 0.0;
        for (int j = 0; j < m->hidden; j++)
            sum += (double)m->map[(layer * m->hidden + i) * m->hidden + j] * (double)state[j];
        next[i] = state[i] + (float)tanh(sum) + (before ? 0.2f * before[i] : 0.0f);
    }
    memcpy(state, next, (size_t)m->hidden * sizeof *state);
}

static void route(const toy_model *m, int layer, const float *state, int32_t *experts,
                  float *weights)
{
    double score[TOY_EXPERTS];
    for (int e = 0; e < TOY_EXPERTS; e++) {
        score[e] = 0.0;
        for (int j = 0; j < m->hidden; j++)
            score[e] +=
                (double)m->gate[(layer * TOY_EXPERTS + e) * m->hidden + j] * (double)state[j];
    }
    for (int k = 0; k < TOY_USED; k++) {
        experts[k] = 0;
        for (int e = 1; e < TOY_EXPERTS; e++)
            if (score[e] > score[experts[k]])
                experts[k] = e;
        score[experts[k]] = -1e30;
        weights[k] = 1.0f / TOY_USED;
    }
}

/* What one shard holds: (L, T, ...). */
typedef struct shard_data {
    float *input, *hidden, *weights;
    int32_t *experts;
} shard_data;

static void compute(const toy_model *m, const umbra_trace_document *documents, int n,
                    const int32_t *tokens, int total, shard_data *s)
{
    size_t h = (size_t)m->hidden, t_all = (size_t)total;
    s->input = umbra_calloc(TOY_LAYERS * t_all * h, sizeof(float));
    s->hidden = umbra_calloc(TOY_LAYERS * t_all * h, sizeof(float));
    s->weights = umbra_calloc(TOY_LAYERS * t_all * TOY_USED, sizeof(float));
    s->experts = umbra_calloc(TOY_LAYERS * t_all * TOY_USED, sizeof(int32_t));
    assert_true(s->input && s->hidden && s->weights && s->experts);
    float state[64];
    for (int d = 0, t = 0; d < n; d++) {
        for (int i = 0; i < documents[d].tokens; i++, t++) {
            memcpy(state, m->embedding + (size_t)tokens[t] * h, h * sizeof *state);
            for (int layer = 0; layer < TOY_LAYERS; layer++) {
                size_t at = (size_t)layer * t_all + (size_t)t;
                memcpy(s->input + at * h, state, h * sizeof *state);
                move(m, layer, state, i > 0 ? s->hidden + (at - 1) * h : NULL);
                memcpy(s->hidden + at * h, state, h * sizeof *state);
                route(m, layer, state, s->experts + at * TOY_USED, s->weights + at * TOY_USED);
            }
        }
    }
}

static void put_document(umbra_trace_writer *writer, const toy *t, const toy_model *m,
                         const shard_data *s, int total, int first, int n)
{
    for (int layer = t->dense_first; layer < TOY_LAYERS; layer++) {
        size_t at = (size_t)layer * (size_t)total + (size_t)first, h = (size_t)m->hidden;
        MUST(umbra_trace_put_states(writer, UMBRA_TRACE_INPUT, layer, first, n, s->input + at * h,
                                    &err));
        MUST(umbra_trace_put_states(writer, UMBRA_TRACE_HIDDEN, layer, first, n, s->hidden + at * h,
                                    &err));
        MUST(umbra_trace_put_routing(writer, layer, first, n, s->experts + at * TOY_USED,
                                     s->weights + at * TOY_USED, &err));
    }
}

static void write_shard(umbra_trace_writer *writer, const toy *t, const toy_model *m,
                        umbra_random *random, int first_document, int n)
{
    umbra_trace_document *documents = umbra_calloc((size_t)n, sizeof *documents);
    int32_t *tokens = umbra_calloc((size_t)n * (size_t)t->tokens, sizeof *tokens);
    assert_true(documents && tokens);
    int total = 0;
    for (int d = 0; d < n; d++) {
        snprintf(documents[d].id, sizeof documents[d].id, "toy-%d-%d", (int)t->seed,
                 first_document + d);
        documents[d].tokens = 1 + t->tokens / 2 + (first_document + d) * 7 % (t->tokens / 2);
        for (int i = 0; i < documents[d].tokens; i++)
            tokens[total++] = (int32_t)umbra_random_below(random, TOY_VOCABULARY);
    }
    shard_data s;
    compute(m, documents, n, tokens, total, &s);
    MUST(umbra_trace_shard_begin(writer, documents, n, tokens, &err));
    for (int d = 0, first = 0; d < n; first += documents[d++].tokens)
        put_document(writer, t, m, &s, total, first, documents[d].tokens);
    MUST(umbra_trace_shard_end(writer, &err));
    umbra_free(s.input);
    umbra_free(s.hidden);
    umbra_free(s.weights);
    umbra_free(s.experts);
    umbra_free(documents);
    umbra_free(tokens);
}

void toy_write(const char *folder, const toy *t)
{
    toy_model m = make_model(t->hidden ? t->hidden : TOY_HIDDEN);
    umbra_trace_info info = {
        .model_name = "a toy",
        .architecture = "toy",
        .layers = TOY_LAYERS,
        .hidden = m.hidden,
        .experts = TOY_EXPERTS,
        .used = TOY_USED,
        .int8 = t->int8,
        .stride = t->stride ? t->stride : 1,
    };
    snprintf(info.model_hash, sizeof info.model_hash, "%s",
             t->model_hash ? t->model_hash : "0123456789abcdef0123456789abcdef");
    umbra_trace_writer *writer;
    MUST(umbra_trace_writer_open(&writer, folder, &info, false, &err));
    for (int layer = t->dense_first; layer < TOY_LAYERS; layer++)
        MUST(umbra_trace_put_gate(writer, layer,
                                  m.gate + (size_t)(layer * TOY_EXPERTS) * (size_t)m.hidden, &err));
    umbra_random random;
    umbra_random_seed(&random, 1000 + t->seed);
    int half = t->documents / 2;
    if (half > 0)
        write_shard(writer, t, &m, &random, 0, half);
    write_shard(writer, t, &m, &random, half, t->documents - half);
    umbra_trace_writer_close(&writer);
    umbra_free(m.embedding);
    umbra_free(m.map);
    umbra_free(m.gate);
}

void toy_remove(const char *folder)
{
    DIR *d = opendir(folder);
    if (!d)
        return;
    for (struct dirent *entry; (entry = readdir(d));) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    closedir(d);
    rmdir(folder);
}
