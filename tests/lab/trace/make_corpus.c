/* Writes the seeds of fuzz_trace into a folder: make_trace_corpus FOLDER. The files are committed;
 * this program is run only when the format or the list changes. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "make.h"

static void append(FILE *out, const char *folder, const char *name)
{
    size_t bytes;
    unsigned char *data = make_load(folder, name, &bytes);
    if (fwrite(data, 1, bytes, out) != bytes)
        abort();
    free(data);
}

static void write_seed(const char *folder, const char *name, const make *m)
{
    char path[512];
    const char *trace = make_folder();
    snprintf(path, sizeof path, "%s/%s.trace", folder, name);
    FILE *out = fopen(path, "wb");
    if (!out)
        abort();
    make_trace(m, trace, 1, MAKE_CHUNKS);
    append(out, trace, "manifest.json");
    fputs("\n####\n", out);
    append(out, trace, "gates.safetensors");
    fputs("\n####\n", out);
    append(out, trace, "shard-00000.safetensors");
    if (fclose(out) != 0)
        abort();
    make_remove(trace);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    for (int int8 = 0; int8 < 2; int8++) {
        make m = make_case(int8, 1 + int8);
        m.info.layers = 2;
        m.info.hidden = 3;
        m.info.experts = 4;
        m.info.used = 2;
        m.bare = int8 ? 0 : -1;
        m.longest = 5;
        m.few = 2;
        write_seed(argv[1], int8 ? "i8" : "bf16", &m);
    }
    return 0;
}
