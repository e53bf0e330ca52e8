/* Any bytes as a trace folder, opened and read through. Three files lie in the bytes, with a line
 * of four signs between them: the manifest, the gates, the only shard. With libFuzzer this is the
 * fuzz target; with fuzz_driver.c it runs the corpus as an ordinary test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz_target.h"
#include "lab/trace/trace.h"

static const char mark[] = "\n####\n";
static const char *const names[] = {"manifest.json", "gates.safetensors",
                                    "shard-00000.safetensors"};
static char folder[256], paths[3][300];

static void remove_folder(void)
{
    for (int i = 0; i < 3; i++)
        unlink(paths[i]);
    rmdir(folder);
}

/* In memory where the system has a file system there. */
static void make_folder(void)
{
    const char *top = getenv("TMPDIR");
    if (folder[0] != '\0')
        return;
    if (!top)
        top = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder, sizeof folder, "%s/umbra-fuzz-XXXXXX", top);
    if (!mkdtemp(folder))
        abort();
    for (int i = 0; i < 3; i++)
        snprintf(paths[i], sizeof paths[i], "%s/%s", folder, names[i]);
    atexit(remove_folder);
}

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (!f || (size > 0 && fwrite(data, 1, size, f) != size) || fclose(f) != 0)
        abort();
}

static void write_files(const uint8_t *data, size_t size)
{
    for (int i = 0; i < 3; i++) {
        const uint8_t *end = i < 2 ? memmem(data, size, mark, sizeof mark - 1) : NULL;
        size_t n = end ? (size_t)(end - data) : size, skip = end ? n + sizeof mark - 1 : n;
        write_file(paths[i], data, n);
        data += skip;
        size -= skip;
    }
}

/* What a row of each kind takes is known to fit in the files, but a manifest can say more. */
static void read_layer(umbra_trace *t, int layer, float *room, int values)
{
    const umbra_trace_info *info = umbra_trace_get_info(t);
    int tokens = umbra_trace_shard_tokens(t, 0), rows = umbra_trace_shard_rows(t, 0);
    int states = values / info->hidden, routings = values / info->used;
    states = states < rows ? states : rows;
    routings = routings < tokens ? routings : tokens;
    (void)umbra_trace_read_states(t, 0, UMBRA_TRACE_INPUT, layer, 0, states, room, NULL);
    (void)umbra_trace_read_states(t, 0, UMBRA_TRACE_HIDDEN, layer, rows - states, states, room,
                                  NULL);
    (void)umbra_trace_read_experts(t, 0, layer, 0, routings, (uint16_t *)(void *)room, NULL);
    (void)umbra_trace_read_weights(t, 0, layer, 0, routings, room, NULL);
    if (info->experts <= values / info->hidden)
        (void)umbra_trace_read_gate(t, layer, room, NULL);
}

static void read_all(umbra_trace *t)
{
    enum { VALUES = 1 << 18 };
    static float room[VALUES];
    if (umbra_trace_shards(t) < 1)
        return;
    int tokens = umbra_trace_shard_tokens(t, 0);
    (void)umbra_trace_read_tokens(t, 0, 0, tokens < VALUES ? tokens : VALUES,
                                  (int32_t *)(void *)room, NULL);
    for (int l = 0; l < umbra_trace_get_info(t)->layers; l++)
        if (umbra_trace_has_layer(t, l))
            read_layer(t, l, room, VALUES);
    for (int i = 0; i < umbra_trace_documents(t); i++) {
        const umbra_trace_document *d = umbra_trace_document_at(t, i);
        if (strlen(d->id) >= sizeof d->id || d->tokens < 1 || d->rows < 1)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    umbra_trace *t = NULL;
    umbra_error err = {0};
    make_folder();
    write_files(data, size);
    int rc = umbra_trace_open(&t, folder, &err);
    if (rc == UMBRA_OK) {
        read_all(t);
    } else if (t || err.status != rc || !strstr(err.message, folder)) {
        fprintf(stderr, "refused in bad order: \"%s\"\n", err.message);
        abort();
    }
    umbra_trace_close(&t);
    return 0;
}
