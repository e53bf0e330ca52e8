/* Writes the seeds of fuzz_shadow into a folder: make_shadow_corpus FOLDER. The files are
 * committed; this program is run only when the format or the list changes. */
#include <stdio.h>
#include <stdlib.h>

#include "predict/shadow.h"

static const struct {
    const char *name;
    umbra_shadow_spec spec;
} seeds[] = {
    {"residual-f32", {.width = 2}},
    {"residual-bf16", {.width = 2, .weights = UMBRA_SHADOW_BF16, .features = UMBRA_FEATURE_NOW}},
    {"residual-i8",
     {.width = 3, .weights = UMBRA_SHADOW_I8, .averages = 1, .decay = {0.5f}, .features = 7}},
    {"seed-f32", {.width = 2, .arch = UMBRA_SHADOW_SEED, .loss = UMBRA_LOSS_KL}},
    {"shared-i8", {.width = 2, .shared = true, .weights = UMBRA_SHADOW_I8}},
};

static int make(const char *folder, const char *name, umbra_shadow_spec spec)
{
    char path[512];
    umbra_shadow *shadow;
    umbra_error err;
    snprintf(spec.model_hash, sizeof spec.model_hash, "0123456789abcdef0123456789abcdef");
    snprintf(spec.model_name, sizeof spec.model_name, "small");
    snprintf(spec.architecture, sizeof spec.architecture, "qwen3moe");
    spec.layers = 2;
    spec.hidden = 3;
    spec.experts = 4;
    spec.used = 2;
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
    int rc = umbra_shadow_create(&shadow, &spec, &err);
    if (rc == UMBRA_OK)
        rc = umbra_shadow_save(shadow, path, &err);
    if (rc != UMBRA_OK)
        fprintf(stderr, "%s\n", err.message);
    umbra_shadow_free(&shadow);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++)
        if (make(argv[1], seeds[i].name, seeds[i].spec) != UMBRA_OK)
            return 1;
    return 0;
}
