/* Any bytes as the snapshot of a sequence, or as a file in a folder of states: of a state, or of
 * the experts of a cache. The first byte says of which model, which of these, and whether the
 * checksums are put right, so that what they guard is reached. With libFuzzer this is the fuzz
 * target; with fuzz_driver.c it runs the corpus as an ordinary test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include <umbra/engine.h>

#include "../model/make.h"
#include "engine/engine.h"
#include "fuzz_target.h"
#include "schedule/states_internal.h"
#include "store/refill.h"

enum { MODELS = 3, STATE_FILE = 4, RIGHT = 8, EXPERTS_FILE = 16, CONTEXT = 64, MOST = 1 << 17 };

static const make_layout *const layouts[MODELS] = {&make_glm4moe, &make_gpt_oss, &make_qwen3next};
static struct machine {
    umbra_memory_file file;
    umbra_model *model;
    umbra_engine *engine;
    char hash[UMBRA_MODEL_HASH_CHARS];
    unsigned char *sound; /* a snapshot of 3 tokens */
    size_t bytes;
} machines[MODELS];
static char folder[256], path[320], experts_path[320], lock[320];

static void eval(umbra_engine *engine, int n)
{
    umbra_error err = {0};
    for (int i = 0; i < n; i++) {
        const umbra_token token = {.id = i + 3, .want_logits = true};
        int rc = umbra_engine_eval(engine, &token, 1, NULL, &err);
        if (rc != UMBRA_OK && rc != UMBRA_E_NONFINITE && rc != UMBRA_E_ARGUMENT)
            abort();
    }
}

static void open_machine(struct machine *m, const make_layout *layout)
{
    const umbra_engine_options o = {
        .ram_bytes = 64 << 20, .threads = 1, .context = CONTEXT, .io = "threads"};
    umbra_error err = {0};
    if (make_open(layout, NULL, NULL, NULL, &m->file, &m->model, &err) != UMBRA_OK ||
        umbra_model_hash(m->model, m->hash, &err) != UMBRA_OK ||
        umbra_engine_open(&m->engine, m->model, &o, &err) != UMBRA_OK) {
        fprintf(stderr, "%s\n", err.message);
        abort();
    }
    eval(m->engine, 3);
    m->bytes = umbra_engine_snapshot_bytes(m->engine, 3);
    m->sound = malloc(m->bytes);
    if (!m->sound || umbra_engine_snapshot(m->engine, 0, m->sound, m->bytes, &err) != UMBRA_OK)
        abort();
}

static void remove_folder(void)
{
    unlink(path);
    unlink(experts_path);
    unlink(lock);
    rmdir(folder);
}

static void open_once(void)
{
    const char *top = getenv("TMPDIR");
    if (folder[0] != '\0')
        return;
    for (int i = 0; i < MODELS; i++)
        open_machine(&machines[i], layouts[i]);
    if (!top)
        top = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder, sizeof folder, "%s/umbra-fuzz-XXXXXX", top);
    if (!mkdtemp(folder))
        abort();
    snprintf(path, sizeof path, "%s/%032d.state", folder, 7);
    snprintf(lock, sizeof lock, "%s/lock", folder);
    atexit(remove_folder);
}

/* A snapshot that begins as a sound one does where the input is short, so that headers need not be
 * guessed: input replaces its end. */
static void restore(struct machine *m, unsigned char *bytes, size_t n, bool right)
{
    umbra_error err = {0};
    if (right && n < m->bytes) {
        unsigned char *whole = malloc(m->bytes);
        if (!whole)
            abort();
        memcpy(whole, m->sound, m->bytes);
        memcpy(whole + m->bytes - n, bytes, n);
        memcpy(bytes, whole, m->bytes);
        free(whole);
        n = m->bytes;
    }
    if (right && n >= 8) {
        uint64_t sum = XXH3_64bits(bytes, n - 8);
        memcpy(bytes + n - 8, &sum, 8);
    }
    int rc = umbra_engine_restore(m->engine, 0, bytes, n, &err);
    if (rc == UMBRA_OK)
        eval(m->engine, 2);
    else if (err.status != rc || err.message[0] == '\0')
        abort();
}

static void no_warning(void *user, const char *message)
{
    if (user || strlen(message) < 10)
        abort();
}

static void put_right(struct machine *m, unsigned char *bytes, size_t n)
{
    umbra_state_header h;
    if (n < sizeof h)
        return;
    memcpy(&h, bytes, sizeof h);
    memcpy(h.model, m->hash, sizeof h.model);
    memset(h.kernels, 0, sizeof h.kernels);
    strncpy(h.kernels, umbra_engine_get_plan(m->engine)->kernels, sizeof h.kernels - 1);
    h.tokens %= (uint32_t)((n - sizeof h) / sizeof(int32_t)) + 1;
    h.snapshot_bytes = n - sizeof h - h.tokens * sizeof(int32_t);
    h.hash = XXH3_64bits_withSeed(bytes + sizeof h, h.tokens * sizeof(int32_t),
                                  XXH3_64bits(&h, offsetof(umbra_state_header, hash)));
    memcpy(bytes, &h, sizeof h);
}

static void open_folder(struct machine *m, unsigned char *bytes, size_t n, bool right)
{
    const umbra_states_options o = {.folder = folder,
                                    .most_bytes = 1 << 20,
                                    .model = m->hash,
                                    .kernels = umbra_engine_get_plan(m->engine)->kernels,
                                    .buffer_bytes = 1 << 20,
                                    .warn = no_warning};
    int32_t tokens[CONTEXT];
    umbra_states *states;
    if (right)
        put_right(m, bytes, n);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
        abort();
    memset(tokens, 0, sizeof tokens);
    if (n > sizeof(umbra_state_header)) {
        size_t rest = n - sizeof(umbra_state_header);
        memcpy(tokens, bytes + sizeof(umbra_state_header),
               rest < sizeof tokens ? rest : sizeof tokens);
    }
    if (umbra_states_open(&states, &o, NULL) != UMBRA_OK)
        abort();
    if (umbra_states_restore(states, m->engine, 0, tokens, CONTEXT, 0, 1e-3))
        eval(m->engine, 1);
    umbra_states_close(&states);
}

static void put_experts_right(const struct machine *m, unsigned char *bytes, size_t n)
{
    umbra_experts_header h;
    if (n < sizeof h)
        return;
    memcpy(&h, bytes, sizeof h);
    memcpy(h.model, m->hash, sizeof h.model);
    h.experts = (uint32_t)((n - sizeof h) / sizeof(umbra_cached_expert));
    h.hash = XXH3_64bits_withSeed(bytes + sizeof h, h.experts * sizeof(umbra_cached_expert),
                                  XXH3_64bits(&h, offsetof(umbra_experts_header, hash)));
    memcpy(bytes, &h, sizeof h);
}

/* What is taken of them is read, and the model computes as before. */
static void refill(struct machine *m, unsigned char *bytes, size_t n, bool right)
{
    const umbra_states_options o = {.folder = folder,
                                    .most_bytes = 1 << 20,
                                    .model = m->hash,
                                    .kernels = umbra_engine_get_plan(m->engine)->kernels,
                                    .buffer_bytes = 1 << 20,
                                    .warn = no_warning};
    umbra_store *store = umbra_engine_store(m->engine);
    umbra_states *states;
    snprintf(experts_path, sizeof experts_path, "%s/%s.experts", folder, m->hash);
    if (right)
        put_experts_right(m, bytes, n);
    FILE *f = fopen(experts_path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
        abort();
    if (umbra_store_clear(store, NULL) != UMBRA_OK ||
        umbra_states_open(&states, &o, NULL) != UMBRA_OK)
        abort();
    (void)umbra_states_refill(states, m->engine);
    int rc;
    while ((rc = umbra_store_refill(store, NULL)) > 0)
        ;
    if (rc != 0)
        abort();
    eval(m->engine, 1);
    if (!umbra_states_save_experts(states, m->engine, true))
        abort();
    umbra_states_close(&states);
    unlink(experts_path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > MOST)
        return 0;
    open_once();
    struct machine *m = &machines[(data[0] & 3) % MODELS];
    size_t n = size - 1, room = n > m->bytes ? n : m->bytes;
    unsigned char *bytes = malloc(room);
    if (!bytes)
        abort();
    memcpy(bytes, data + 1, n);
    (void)umbra_engine_truncate(m->engine, 0, 0);
    if (data[0] & EXPERTS_FILE)
        refill(m, bytes, n, data[0] & RIGHT);
    else if (data[0] & STATE_FILE)
        open_folder(m, bytes, n, data[0] & RIGHT);
    else
        restore(m, bytes, n, data[0] & RIGHT);
    free(bytes);
    return 0;
}
