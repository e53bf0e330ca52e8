/* Umbra's expert store and shadow runner in an engine of somebody else (toy.h): the engine keeps
 * its attention, its routers and its arithmetic, and asks the store for the experts' bytes.
 *
 *   embed FILE [POLICY [SHARE [IO [TOKENS]]]]
 *
 * FILE: the experts are written there; POLICY: off, previous or gate (default: gate); SHARE: of the
 * experts that fit in memory (0.4); IO: as in umbra/store.h (auto); TOKENS: 1 to 512 (128).
 * Writes one text twice, with all experts in memory and by the store, and compares every bit of
 * every state. docs/embedding.md explains it step by step.
 *
 * With pkg-config:  cc embed.c toy.c -o embed $(pkg-config --cflags --libs umbra) -lm
 * (with --static before --cflags if libumbra was built as a static library). */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <umbra/runner.h>
#include <umbra/store.h>

#include "toy.h"

/* The engine, with its experts in memory or in a store. */
typedef struct engine {
    const toy_model *model;
    const char *file;     /* the experts' file in memory; NULL: they come from the store */
    umbra_store *store;   /* NULL: they are in memory */
    umbra_runner *runner; /* goes with the store */
    toy_state state;
} engine;

/* ---- experts: input (H) is what they compute on, outputs (K, H) are in the router's order ---- */

static void compute_resident(const engine *e, int layer, const int32_t experts[TOY_K],
                             const float input[TOY_H], float outputs[TOY_K][TOY_H])
{
    static float part[TOY_PARTS][TOY_W * TOY_H];
    for (int k = 0; k < TOY_K; k++) {
        for (int p = 0; p < TOY_PARTS; p++)
            memcpy(part[p], e->file + toy_offset(layer, experts[k], p), TOY_SLICE_BYTES);
        toy_expert(part[TOY_GATE], part[TOY_UP], part[TOY_DOWN], input, outputs[k]);
    }
}

static int compute_stored(engine *e, int layer, const int32_t experts[TOY_K],
                          const float input[TOY_H], float outputs[TOY_K][TOY_H], umbra_error *err)
{
    /* 1. The demands come first: the reads of what is missing start now. */
    const umbra_batch batch = {.layer = layer, .experts = experts, .n = TOY_K};
    int rc = umbra_store_begin(e->store, &batch, err);
    if (rc != UMBRA_OK)
        return rc;
    /* 2. Then the runner learns what was used, and from which state to look ahead. */
    umbra_runner_routed(e->runner, 0, layer, e->state.x, experts);
    /* 3. Compute what has arrived, in whatever order, and give it back. */
    umbra_lease leases[TOY_K];
    int n;
    while ((n = umbra_store_next(e->store, leases, TOY_K, err)) > 0) {
        for (int i = 0; i < n; i++) {
            const void *const *slice = leases[i].slice;
            toy_expert(slice[TOY_GATE], slice[TOY_UP], slice[TOY_DOWN], input,
                       outputs[leases[i].index]);
            umbra_store_release(e->store, &leases[i]);
        }
        rc = umbra_store_poll(e->store, err);
        if (rc != UMBRA_OK)
            return rc;
    }
    return n;
}

/* ---- opening store and runner ---- */

/* Routers for the runner, with the norm's gain folded in: out (E, H). */
static void give_router(void *user, int layer, float *out)
{
    const toy_model *m = user;
    for (int e = 0; e < TOY_E; e++)
        for (int i = 0; i < TOY_H; i++)
            out[e * TOY_H + i] = m->router[layer][e][i] * m->norm[layer][i];
}

/* Where the bytes are: the store neither knows nor cares what they mean. */
static int open_store(umbra_store **store, const char *path, double share, const char *io,
                      umbra_error *err)
{
    static umbra_slice slices[TOY_L][TOY_E][UMBRA_STORE_SLICES];
    for (int l = 0; l < TOY_L; l++)
        for (int e = 0; e < TOY_E; e++)
            for (int p = 0; p < TOY_PARTS; p++)
                slices[l][e][p] = (umbra_slice){
                    .offset = toy_offset(l, e, p), .bytes = TOY_SLICE_BYTES, .file = 0};
    uint32_t alignment;
    int rc = umbra_store_alignment(path, false, &alignment, err);
    if (rc != UMBRA_OK)
        return rc;
    uint64_t slot = umbra_store_slot_bytes(&slices[0][0][0], TOY_L, TOY_E, alignment);
    const umbra_store_options options = {
        .paths = &path,
        .n_paths = 1,
        .n_layers = TOY_L,
        .n_experts = TOY_E,
        .slices = &slices[0][0][0],
        .budget_bytes = slot * (uint64_t)(share * TOY_L * TOY_E),
        .io = io,
    };
    return umbra_store_open(store, &options, err);
}

static int open_runner(engine *e, umbra_policy policy, umbra_error *err)
{
    const umbra_runner_options options = {
        .store = e->store,
        .policy = policy,
        .layers = TOY_L,
        .hidden = TOY_H,
        .experts = TOY_E,
        .used = TOY_K,
        .gate = give_router,
        .user = (void *)e->model,
        .own_thread = true,
    };
    umbra_store_set_guessing(e->store, policy != UMBRA_POLICY_OFF);
    return umbra_runner_open(&e->runner, &options, err);
}

/* ---- the engine's loop ---- */

static int compute_layer(engine *e, int layer, umbra_error *err)
{
    int32_t experts[TOY_K];
    float weights[TOY_K], input[TOY_H], outputs[TOY_K][TOY_H];
    int rc = UMBRA_OK;
    toy_attend(e->model, &e->state, layer);
    /* 4. Between the layers, too: take what was read, start what is worth reading ahead. */
    if (e->store)
        rc = umbra_store_poll(e->store, err);
    toy_route(e->model, &e->state, layer, experts, weights, input);
    if (e->store && rc == UMBRA_OK)
        rc = compute_stored(e, layer, experts, input, outputs, err);
    else if (!e->store)
        compute_resident(e, layer, experts, input, outputs);
    if (rc == UMBRA_OK)
        toy_join(&e->state, weights, (const float(*)[TOY_H])outputs);
    return rc;
}

/* Writes `tokens` tokens; trace (tokens, L, H): the stream behind every layer. */
static int write_text(engine *e, int tokens, float *trace, umbra_error *err)
{
    int token = 1, rc = UMBRA_OK;
    for (int t = 0; rc == UMBRA_OK && t < tokens; t++) {
        toy_enter(e->model, &e->state, token);
        if (e->runner)
            umbra_runner_enter(e->runner, 0, e->state.x);
        for (int l = 0; rc == UMBRA_OK && l < TOY_L; l++) {
            rc = compute_layer(e, l, err);
            memcpy(trace, e->state.x, sizeof e->state.x);
            trace += TOY_H;
        }
        if (e->runner)
            umbra_runner_leave(e->runner, 0);
        token = toy_leave(e->model, &e->state);
        token = (token + t) % TOY_VOCABULARY; /* or it would repeat itself */
    }
    return rc;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void print_stats(const engine *e, double seconds, int tokens)
{
    umbra_store_stats st;
    umbra_runner_stats rs;
    umbra_store_get_stats(e->store, &st);
    umbra_runner_get_stats(e->runner, &rs);
    uint64_t useful = 0, late = 0, wasted = 0;
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++) {
        useful += st.ahead[d].useful_bytes;
        late += st.ahead[d].late_bytes;
        wasted += st.ahead[d].wasted_bytes;
    }
    printf("%d tokens, %.0f per second, %.1f ms of waiting for reads (%s%s)\n", tokens,
           tokens / seconds, (double)st.wait_ns * 1e-6, st.io, st.direct ? ", O_DIRECT" : "");
    printf("experts %llu hits, %llu late, %llu misses; %llu slots of %llu bytes\n",
           (unsigned long long)st.hits, (unsigned long long)st.late, (unsigned long long)st.misses,
           (unsigned long long)st.slots, (unsigned long long)st.slot_bytes);
    printf("read    %.1f MB; ahead: %.1f MB useful, %.1f MB late, %.1f MB wasted\n",
           (double)st.bytes_read * 1e-6, (double)useful * 1e-6, (double)late * 1e-6,
           (double)wasted * 1e-6);
    printf("predict %llu states, %llu dropped, %.1f us each\n", (unsigned long long)rs.predictions,
           (unsigned long long)rs.dropped,
           rs.predictions ? (double)rs.predict_ns * 1e-3 / (double)rs.predictions : 0.0);
}

/* The same text, with the experts from the store. */
static int write_stored(engine *e, const char *path, umbra_policy policy, double share,
                        const char *io, int tokens, float *trace, umbra_error *err)
{
    int rc = open_store(&e->store, path, share, io, err);
    if (rc == UMBRA_OK)
        rc = open_runner(e, policy, err);
    double start = now();
    if (rc == UMBRA_OK)
        rc = write_text(e, tokens, trace, err);
    if (rc == UMBRA_OK)
        print_stats(e, now() - start, tokens);
    umbra_runner_close(&e->runner); /* before its store; both take NULL */
    umbra_store_close(&e->store);
    return rc;
}

/* ---- the program ---- */

static char *read_file(const char *path)
{
    uint64_t bytes = toy_offset(TOY_L, 0, 0);
    char *data = malloc(bytes);
    FILE *f = fopen(path, "rb");
    bool whole = data && f && fread(data, 1, bytes, f) == bytes;
    if (f)
        fclose(f);
    if (whole)
        return data;
    free(data);
    return NULL;
}

int main(int argc, char **argv)
{
    umbra_policy policy;
    double share = argc > 3 ? atof(argv[3]) : 0.4;
    int tokens = argc > 5 ? atoi(argv[5]) : 128;
    if (argc < 2 || umbra_policy_parse(argc > 2 ? argv[2] : "gate", &policy, NULL) != UMBRA_OK ||
        policy > UMBRA_POLICY_GATE || !(share > 0) || share > 1 || tokens < 1 ||
        tokens > TOY_POSITIONS) {
        fputs("usage: embed FILE [auto|off|previous|gate [SHARE [IO [TOKENS]]]]\n", stderr);
        return 2;
    }
    static toy_model model;
    static engine resident = {.model = &model}, stored = {.model = &model};
    size_t floats = (size_t)tokens * TOY_L * TOY_H;
    float *expected = malloc(floats * sizeof *expected), *found = malloc(floats * sizeof *found);
    char *file = toy_make(&model, argv[1], 1) == 0 ? read_file(argv[1]) : NULL;
    if (!expected || !found || !file) {
        fprintf(stderr, "embed: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    umbra_error err = {0};
    resident.file = file;
    int rc = write_text(&resident, tokens, expected, &err);
    if (rc == UMBRA_OK)
        rc = write_stored(&stored, argv[1], policy, share, argc > 4 ? argv[4] : NULL, tokens, found,
                          &err);
    if (rc != UMBRA_OK)
        fprintf(stderr, "embed: %s (%s)\n", err.message, umbra_status_name(rc));
    bool same = rc == UMBRA_OK && memcmp(expected, found, floats * sizeof *found) == 0;
    if (rc == UMBRA_OK)
        puts(same ? "every bit is as with all experts in memory" : "THE RESULTS DIFFER");
    free(file);
    free(found);
    free(expected);
    return same ? 0 : 1;
}
