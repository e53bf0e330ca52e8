/* Small shadow models and inputs for the tests of this folder. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <unistd.h>

#include "base/memory.h"
#include "support.h"

umbra_shadow_spec small_spec(void)
{
    return (umbra_shadow_spec){
        .model_hash = "0123456789abcdef0123456789abcdef",
        .model_name = "small",
        .architecture = "qwen3moe",
        .layers = 6,
        .hidden = 24,
        .experts = 10,
        .used = 3,
        .width = 13,
    };
}

void fill_random(umbra_random *random, float *out, size_t n, double scale)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(scale * umbra_random_normal(random));
}

umbra_shadow *random_shadow(const umbra_shadow_spec *spec, uint64_t seed)
{
    umbra_random random;
    umbra_shadow *shadow;
    umbra_error err;
    if (umbra_shadow_create(&shadow, spec, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    umbra_random_seed(&random, seed);
    for (int i = 0; i < shadow->count; i++) {
        float *parts[UMBRA_SHADOW_PARTS];
        size_t lengths[UMBRA_SHADOW_PARTS];
        umbra_shadow_parts(spec, &shadow->networks[i], parts, lengths);
        for (int p = 0; p < UMBRA_SHADOW_PARTS; p++)
            fill_random(&random, parts[p], lengths[p], 0.3);
    }
    fill_random(&random, shadow->calibration, (size_t)(spec->layers + 1) * 8, 1.0);
    return shadow;
}

umbra_gates random_gates(const umbra_shadow_spec *spec, uint64_t seed)
{
    umbra_gates gates = {.layers = spec->layers, .experts = spec->experts, .hidden = spec->hidden};
    size_t n = (size_t)gates.layers * (size_t)gates.experts * (size_t)gates.hidden;
    umbra_random random;
    umbra_random_seed(&random, seed);
    gates.data = umbra_calloc(n, sizeof *gates.data);
    assert_non_null(gates.data);
    fill_random(&random, gates.data, n, 0.5);
    return gates;
}

uint16_t *random_routing(const umbra_shadow_spec *spec, int n, uint64_t seed)
{
    size_t used = (size_t)spec->used, lists = (size_t)n * (size_t)spec->layers;
    uint16_t *out = umbra_calloc(lists * used, sizeof *out);
    umbra_random random;
    umbra_random_seed(&random, seed);
    assert_non_null(out);
    for (size_t i = 0; i < lists; i++) {
        bool none = umbra_random_below(&random, 12) == 0;
        for (size_t k = 0; k < used; k++) {
            bool again;
            do {
                out[i * used + k] = (uint16_t)umbra_random_below(&random, (uint64_t)spec->experts);
                again = false;
                for (size_t j = 0; j < k; j++)
                    again |= out[i * used + j] == out[i * used + k];
            } while (again);
        }
        for (size_t k = 0; none && k < used; k++)
            out[i * used + k] = 0xffff;
    }
    return out;
}

void temporary_path(char *path, size_t room)
{
    const char *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    snprintf(path, room, "%s/umbra-predict-XXXXXX", tmp);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
}
