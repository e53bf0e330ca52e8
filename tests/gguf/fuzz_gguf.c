/* Any bytes as a GGUF file: opened, and read through if they are one. Built with libFuzzer this is
 * the fuzz target; with fuzz_driver.c it runs the corpus as an ordinary test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "fuzz_target.h"
#include "read_all.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static umbra_memory_file file = {.fd = -1};
    if (file.fd < 0)
        umbra_memory_file_init(&file);
    umbra_memory_file_set(&file, data, size, 0);
    umbra_gguf *gguf = NULL;
    umbra_error err = {0};
    if (umbra_gguf_open(&gguf, file.path, &err) == UMBRA_OK) {
        umbra_gguf_read_all(gguf);
        umbra_gguf_close(&gguf);
    } else if (gguf || err.status == UMBRA_OK || !strstr(err.message, file.path)) {
        fprintf(stderr, "refused in bad order: \"%s\"\n", err.message);
        abort();
    }
    return 0;
}
