/* Small trace folders and shadow files with known contents. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/random.h"
#include "lab/evaluate/fixture.h"

enum { L = FIXTURE_LAYERS, H = FIXTURE_HIDDEN, E = FIXTURE_EXPERTS, K = FIXTURE_USED };

static char folder[256];

const char *fixture_folder(void)
{
    if (folder[0] == '\0') {
        const char *base = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/umbra-evaluate-XXXXXX", base ? base : "/tmp");
        assert_non_null(mkdtemp(folder));
    }
    return folder;
}

const char *fixture_path(const char *name)
{
    static char ring[8][512];
    static int next;
    char *out = ring[next++ % 8];
    snprintf(out, sizeof ring[0], "%s/%s", fixture_folder(), name);
    return out;
}

static void remove_all(const char *path)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        char child[1024];
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
        if (lstat(child, &st) == 0 && S_ISDIR(st.st_mode))
            remove_all(child);
        else
            unlink(child);
    }
    if (directory)
        closedir(directory);
    rmdir(path);
}

void fixture_clean(void)
{
    if (folder[0] != '\0')
        remove_all(folder);
    folder[0] = '\0';
}

/* A normal number that BF16 holds exactly. */
static float draw(umbra_random *random)
{
    float x = (float)umbra_random_normal(random);
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= 0xffff0000u;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void make_gates(float *gates, int model)
{
    umbra_random random;
    umbra_random_seed(&random, 1000 + (uint64_t)model);
    for (int i = 0; i < L * E * H; i++)
        gates[i] = (float)umbra_random_normal(&random);
}

static void route(const float *gate, const float *state, int32_t *experts, float *weights)
{
    float scores[E];
    uint16_t best[K];
    umbra_gates one = {1, E, H, (float *)(uintptr_t)gate};
    umbra_predict_control(&one, 1, 1, state, scores);
    umbra_predict_top(scores, E, K, best);
    for (int j = 0; j < K; j++) {
        experts[j] = best[j];
        weights[j] = 0.5f / (float)(j + 1);
    }
}

/* A document's states: slow drift from token to token and from layer to layer. */
static void put_document(umbra_trace_writer *writer, const fixture_document *d, int first,
                         const float *gates, int bare_layer)
{
    umbra_error err;
    umbra_random random;
    umbra_random_seed(&random, d->seed);
    float base[H], state[2][H];
    for (int c = 0; c < H; c++)
        base[c] = draw(&random);
    for (int t = 0; t < d->tokens; t++) {
        for (int c = 0; c < H; c++) {
            base[c] = 0.7f * base[c] + 0.7f * draw(&random);
            state[1][c] = base[c];
        }
        for (int l = 0; l < L; l++) {
            for (int c = 0; c < H; c++) {
                uint32_t bits;
                state[0][c] = state[1][c];
                state[1][c] += 0.3f * draw(&random);
                memcpy(&bits, &state[1][c], sizeof bits);
                bits &= 0xffff0000u;
                memcpy(&state[1][c], &bits, sizeof bits);
            }
            if (l == bare_layer)
                continue;
            int32_t experts[K];
            float weights[K];
            route(gates + (size_t)l * E * H, state[1], experts, weights);
            assert_int_equal(
                umbra_trace_put_states(writer, UMBRA_TRACE_INPUT, l, first + t, 1, state[0], &err),
                0);
            assert_int_equal(
                umbra_trace_put_states(writer, UMBRA_TRACE_HIDDEN, l, first + t, 1, state[1], &err),
                0);
            assert_int_equal(
                umbra_trace_put_routing(writer, l, first + t, 1, experts, weights, &err), 0);
        }
    }
}

static void put_shard(umbra_trace_writer *writer, const fixture_document *documents, int n,
                      const float *gates, int bare_layer)
{
    umbra_error err;
    umbra_trace_document *list = umbra_calloc((size_t)n, sizeof *list);
    int total = 0;
    for (int i = 0; i < n; i++)
        total += documents[i].tokens;
    int32_t *tokens = umbra_calloc((size_t)total, sizeof *tokens);
    for (int i = 0, at = 0; i < n; i++) {
        snprintf(list[i].id, sizeof list[i].id, "%s", documents[i].id);
        list[i].generated = documents[i].generated;
        list[i].tokens = documents[i].tokens;
        umbra_random random;
        umbra_random_seed(&random, documents[i].seed);
        for (int t = 0; t < documents[i].tokens; t++)
            tokens[at++] = (int32_t)umbra_random_below(&random, 500);
    }
    if (umbra_trace_shard_begin(writer, list, n, tokens, &err) != 0)
        fail_msg("%s", err.message);
    for (int i = 0, first = 0; i < n; i++) {
        put_document(writer, &documents[i], first, gates, bare_layer);
        first += documents[i].tokens;
    }
    if (umbra_trace_shard_end(writer, &err) != 0)
        fail_msg("%s", err.message);
    umbra_free(list);
    umbra_free(tokens);
}

void fixture_trace(const char *path, const fixture_document *documents, int n, int per_shard,
                   int stride, int model, int bare_layer)
{
    static float gates[L * E * H];
    umbra_error err;
    umbra_trace_writer *writer;
    umbra_trace_info info = {
        .model_name = "toy",
        .architecture = "test",
        .layers = L,
        .hidden = H,
        .experts = E,
        .used = K,
        .stride = stride,
        .collection = "{\"made by\":\"a test\"}",
    };
    snprintf(info.model_hash, sizeof info.model_hash, "%032d", 100 + model);
    make_gates(gates, model);
    if (umbra_trace_writer_open(&writer, path, &info, false, &err) != 0)
        fail_msg("%s", err.message);
    for (int l = 0; l < L; l++)
        if (l != bare_layer)
            assert_int_equal(umbra_trace_put_gate(writer, l, gates + (size_t)l * E * H, &err), 0);
    for (int i = 0; i < n; i += per_shard)
        put_shard(writer, documents + i, n - i < per_shard ? n - i : per_shard, gates, bare_layer);
    umbra_trace_writer_close(&writer);
}

const fixture_document *fixture_documents(void)
{
    static fixture_document documents[FIXTURE_DOCUMENTS];
    static char ids[FIXTURE_DOCUMENTS][32];
    for (int i = 0; i < FIXTURE_DOCUMENTS; i++) {
        bool generated = i % 3 != 0;
        snprintf(ids[i], sizeof ids[i], generated ? "generated-7-%d" : "read-%d", i);
        documents[i] = (fixture_document){ids[i], 20 + i * 17 % 71, generated, 50 + (uint64_t)i};
    }
    return documents;
}

umbra_shadow_spec fixture_spec(void)
{
    umbra_shadow_spec spec = {
        .model_name = "toy",
        .architecture = "test",
        .layers = L,
        .hidden = H,
        .experts = E,
        .used = K,
        .width = 8,
        .features = UMBRA_FEATURE_NOW | UMBRA_FEATURE_PREVIOUS | UMBRA_FEATURE_PREVIOUS2,
        .averages = 2,
        .decay = {0.5f, 0.9f},
    };
    snprintf(spec.model_hash, sizeof spec.model_hash, "%032d", 100);
    return spec;
}

void fixture_shadow(const char *path, const umbra_shadow_spec *spec, double size,
                    const char *training)
{
    umbra_error err;
    umbra_shadow *shadow;
    if (umbra_shadow_create(&shadow, spec, &err) != 0)
        fail_msg("%s", err.message);
    umbra_random random;
    umbra_random_seed(&random, 77);
    for (int n = 0; n < shadow->count; n++) {
        float *parts[UMBRA_SHADOW_PARTS];
        size_t lengths[UMBRA_SHADOW_PARTS];
        umbra_shadow_parts(spec, &shadow->networks[n], parts, lengths);
        for (int p = 0; p < UMBRA_SHADOW_PARTS; p++)
            for (size_t i = 0; i < lengths[p] && size > 0; i++)
                parts[p][i] += (float)(size * umbra_random_normal(&random));
    }
    shadow->training = training ? umbra_strdup(training) : NULL;
    if (umbra_shadow_save(shadow, path, &err) != 0)
        fail_msg("%s", err.message);
    umbra_shadow_free(&shadow);
}
