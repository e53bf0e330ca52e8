/* The one file in memory that fuzz targets of models begin anew. */
#include "fuzz_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char path[32];
static unsigned char *bytes;
static size_t dirty; /* of the beginning */

static void fill(void)
{
    float *values = (float *)(void *)bytes;
    uint32_t x = 12345;
    for (size_t i = 0; i < FUZZ_FILE_BYTES / sizeof *values; i++) {
        x = x * 1664525u + 1013904223u;
        values[i] = ((float)(x >> 16) / 32768.0f - 1.0f) * 0.25f;
    }
}

static void open_once(void)
{
    if (bytes)
        return;
    int fd = memfd_create("umbra-fuzz", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, FUZZ_FILE_BYTES) != 0)
        abort();
    bytes = mmap(NULL, FUZZ_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    dirty = FUZZ_FILE_BYTES;
}

const char *fuzz_file(const uint8_t *data, size_t size)
{
    static unsigned char *clean;
    open_once();
    if (!clean) {
        clean = malloc(FUZZ_FILE_BYTES);
        if (!clean)
            abort();
        fill();
        memcpy(clean, bytes, FUZZ_FILE_BYTES);
    }
    size_t most = FUZZ_FILE_BYTES / 2, n = size < most ? size : most;
    memcpy(bytes, clean, dirty);
    if (n > 0)
        memcpy(bytes, data, n);
    dirty = n;
    return path;
}
