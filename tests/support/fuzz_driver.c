/* Runs a fuzz target once over each file named on the command line. */
#include <stdio.h>
#include <stdlib.h>

#include "fuzz_target.h"

/* The whole file, or NULL. */
static uint8_t *read_whole(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    long end = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    uint8_t *data = end >= 0 ? malloc((size_t)end + 1) : NULL;
    *bytes = (size_t)end;
    if (data && (fseek(f, 0, SEEK_SET) != 0 || fread(data, 1, *bytes, f) != *bytes)) {
        free(data);
        data = NULL;
    }
    fclose(f);
    return data;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s FILE...\n", argv[0]);
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        size_t bytes;
        uint8_t *data = read_whole(argv[i], &bytes);
        if (!data) {
            perror(argv[i]);
            return 1;
        }
        printf("%s: %zu bytes\n", argv[i], bytes);
        fflush(stdout);
        LLVMFuzzerTestOneInput(data, bytes);
        free(data);
    }
    return 0;
}
