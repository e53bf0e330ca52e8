/* Any bytes as a shadow file: loaded whole, network by network, and in the form that predicts. With
 * libFuzzer this is the fuzz target; with fuzz_driver.c it runs the corpus as an ordinary test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../gguf/builder.h"
#include "base/memory.h"
#include "fuzz_target.h"
#include "predict/fast.h"

static void require(bool holds, const char *what, const umbra_error *err)
{
    if (holds)
        return;
    fprintf(stderr, "shadow: %s: \"%s\"\n", what, err->message);
    abort();
}

static void no_gate(void *user, int layer, float *out)
{
    const umbra_shadow_spec *spec = user;
    size_t n = (size_t)spec->experts * (size_t)spec->hidden;
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(layer + (int)(i % 7)) * 0.1f;
}

static int read_networks(umbra_shadow_file *file, umbra_error *err)
{
    const umbra_shadow_spec *spec = umbra_shadow_file_spec(file);
    umbra_shadow_network network;
    int rc = umbra_shadow_network_create(&network, spec, err);
    if (rc != UMBRA_OK)
        return rc;
    for (int i = 0; rc == UMBRA_OK && i < (spec->shared ? 1 : umbra_shadow_sources(spec)); i++)
        rc = umbra_shadow_file_network(file, i, &network, err);
    umbra_shadow_network_free(&network);
    return rc;
}

static void open_fast(umbra_shadow_file *file, umbra_shadow_weights form)
{
    umbra_shadow_spec spec = *umbra_shadow_file_spec(file);
    umbra_shadow_fast *fast;
    umbra_error err = {0};
    int rc = umbra_shadow_fast_read(&fast, file, 1, no_gate, &spec, form, NULL, &err);
    require((rc == UMBRA_OK) == (fast != NULL), "the fast form", &err);
    umbra_shadow_fast_close(&fast);
}

/* Piece by piece: what is sound as a whole is so in pieces, and the other way round. */
static void read_pieces(const char *path, bool sound)
{
    umbra_shadow_file *file;
    umbra_error err = {0};
    int rc = umbra_shadow_file_open(&file, path, &err);
    require(rc == UMBRA_OK || (!file && !sound), "opened in pieces", &err);
    if (rc != UMBRA_OK)
        return;
    const umbra_shadow_spec *spec = umbra_shadow_file_spec(file);
    float *calibration = umbra_calloc((size_t)(spec->layers + 1) * 8, sizeof *calibration);
    if (!calibration)
        abort();
    rc = umbra_shadow_file_calibration(file, calibration, &err);
    if (rc == UMBRA_OK)
        rc = read_networks(file, &err);
    require((rc == UMBRA_OK) == sound, "in pieces otherwise than as a whole", &err);
    for (int form = 0; form < 3; form++)
        open_fast(file, (umbra_shadow_weights)form);
    umbra_free(calibration);
    umbra_shadow_file_close(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static umbra_memory_file file = {.fd = -1};
    if (file.fd < 0)
        umbra_memory_file_init(&file);
    umbra_memory_file_set(&file, data, size, 0);
    umbra_shadow *shadow = NULL;
    umbra_error err = {0};
    int rc = umbra_shadow_load(&shadow, file.path, &err);
    require(rc == UMBRA_OK || (!shadow && err.status == rc && strstr(err.message, file.path)),
            "refused in bad order", &err);
    read_pieces(file.path, rc == UMBRA_OK);
    umbra_shadow_free(&shadow);
    return 0;
}
