/* Any bytes as a safetensors file: opened, and read through if they are one. With libFuzzer this is
 * the fuzz target; with fuzz_driver.c it runs the corpus as an ordinary test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../gguf/builder.h"
#include "fuzz_target.h"
#include "safetensors/safetensors.h"

static void require(bool holds, const char *what, const char *message)
{
    if (holds)
        return;
    fprintf(stderr, "safetensors: %s: \"%s\"\n", what, message);
    abort();
}

static void read_tensor(const umbra_safetensors *file, const umbra_safetensors_tensor *t)
{
    umbra_error err = {0};
    unsigned char *whole = malloc(t->bytes + 1), *rows = malloc(t->bytes + 1);
    require(whole && rows, "no memory", t->name);
    require(umbra_safetensors_find(file, t->name) == t, "a tensor is not found again", t->name);
    require(umbra_safetensors_dtype_name(t->dtype) != NULL, "a dtype", t->name);
    int rc = umbra_safetensors_read(file, t, whole, &err);
    require(rc == UMBRA_OK, "a tensor cannot be read", err.message);
    uint64_t n = t->dimensions > 0 ? t->shape[0] : 1;
    for (uint64_t i = 0; i < n && i < 64 && rc == UMBRA_OK; i++) {
        uint64_t bytes = t->bytes / n;
        rc = umbra_safetensors_read_rows(file, t, i, 1, rows, &err);
        require(rc == UMBRA_OK, "a row cannot be read", err.message);
        require(memcmp(rows, whole + i * bytes, bytes) == 0, "a row differs", t->name);
    }
    require(umbra_safetensors_read_rows(file, t, n, 1, rows, &err) != UMBRA_OK,
            "a row behind the last", t->name);
    free(whole);
    free(rows);
}

static void read_all(const umbra_safetensors *file)
{
    for (size_t i = 0; i < umbra_safetensors_count(file); i++)
        read_tensor(file, umbra_safetensors_at(file, i));
    for (size_t i = 0; i < umbra_safetensors_metadata_count(file); i++) {
        umbra_safetensors_pair p = umbra_safetensors_metadata_at(file, i);
        require(umbra_safetensors_metadata(file, p.key) == p.value, "a key is not found", p.key);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static umbra_memory_file file = {.fd = -1};
    if (file.fd < 0)
        umbra_memory_file_init(&file);
    umbra_memory_file_set(&file, data, size, 0);
    umbra_safetensors *tensors = NULL;
    umbra_error err = {0};
    int rc = umbra_safetensors_open(&tensors, file.path, &err);
    if (rc == UMBRA_OK)
        read_all(tensors);
    else
        require(!tensors && err.status == rc && strstr(err.message, file.path),
                "refused in bad order", err.message);
    umbra_safetensors_close(&tensors);
    return 0;
}
