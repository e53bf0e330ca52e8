/* Any bytes as the usage file of a model. With libFuzzer this is the fuzz target; with
 * fuzz_driver.c it runs the corpus as an ordinary test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <umbra/usage.h>

#include "../model/make.h"
#include "fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static umbra_memory_file file = {.fd = -1}, model_file;
    static umbra_model *model;
    uint64_t counts[MAKE_LAYERS * MAKE_EXPERTS] = {0}, sum = 0;
    umbra_error err = {0};
    if (!model) {
        umbra_memory_file_init(&file);
        if (make_open(&make_olmoe, NULL, NULL, NULL, &model_file, &model, &err) != UMBRA_OK)
            abort();
    }
    umbra_memory_file_set(&file, data, size, 0);
    int rc = umbra_usage_read(model, file.path, counts, &err);
    for (int i = 0; i < MAKE_LAYERS * MAKE_EXPERTS; i++)
        sum |= counts[i];
    if (rc != UMBRA_OK && (sum != 0 || err.status != rc || !strstr(err.message, file.path))) {
        fprintf(stderr, "refused in bad order: \"%s\"\n", err.message);
        abort();
    }
    return 0;
}
