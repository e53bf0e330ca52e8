/* Any bytes as the beginning of a model file that is run: planned, opened, a prompt and a few
 * tokens computed, kept as bytes and brought back. With libFuzzer this is the fuzz target; with
 * fuzz_driver.c it runs the corpus as an ordinary test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <umbra/engine.h>

#include "fuzz_file.h"
#include "fuzz_target.h"

enum { TOKENS = 6, MOST_BYTES = 64 << 20 };

static void require(bool holds, const char *what, const umbra_error *err)
{
    if (holds)
        return;
    fprintf(stderr, "%s: \"%s\"\n", what, err->message);
    abort();
}

/* Sequence 0 as bytes becomes sequence 1. */
static void restore(umbra_engine *engine)
{
    int length = umbra_engine_length(engine, 0);
    uint64_t room = umbra_engine_snapshot_bytes(engine, length);
    umbra_error err = {0};
    void *bytes = malloc(room);
    if (!bytes)
        abort();
    int rc = umbra_engine_snapshot(engine, 0, bytes, room, &err);
    require(rc == UMBRA_OK, "no snapshot", &err);
    rc = umbra_engine_restore(engine, 1, bytes, room, &err);
    require(rc == UMBRA_OK && umbra_engine_length(engine, 1) == length, "not restored", &err);
    free(bytes);
}

static int eval(umbra_engine *engine, int sequence, int n)
{
    umbra_token tokens[TOKENS];
    umbra_error err = {0};
    for (int i = 0; i < n; i++)
        tokens[i] = (umbra_token){.id = i, .sequence = sequence, .want_logits = i == n - 1};
    int rc = umbra_engine_eval(engine, tokens, n, NULL, &err);
    require(rc == UMBRA_OK || (err.status == rc && err.message[0] != '\0'), "eval", &err);
    return rc;
}

static void run(umbra_engine *engine, int vocabulary)
{
    int n = vocabulary < TOKENS ? vocabulary : TOKENS;
    if (eval(engine, 0, n) != UMBRA_OK || eval(engine, 0, 1) != UMBRA_OK)
        return;
    restore(engine);
    if (eval(engine, 1, 1) != UMBRA_OK)
        return;
    (void)umbra_engine_truncate(engine, 0, umbra_engine_length(engine, 0) - 1);
    (void)eval(engine, 0, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const umbra_engine_options options = {
        .ram_bytes = MOST_BYTES, .threads = 1, .context = 16, .sequences = 2, .io = "threads"};
    umbra_model *model;
    umbra_engine *engine = NULL;
    umbra_memory_plan plan;
    umbra_error err = {0};
    if (umbra_model_open(&model, fuzz_file(data, size), NULL) != UMBRA_OK)
        return 0;
    int rc = umbra_engine_plan(model, &options, &plan, &err);
    if (rc == UMBRA_OK)
        rc = umbra_engine_open(&engine, model, &options, &err);
    if (rc == UMBRA_OK)
        run(engine, umbra_model_get_info(model)->vocabulary);
    else
        require(!engine && err.status == rc && err.message[0] != '\0', "bad order", &err);
    umbra_engine_close(&engine);
    umbra_model_close(&model);
    return 0;
}
