/* Small shadow models and inputs for the tests of this folder. */
#ifndef UMBRA_TESTS_PREDICT_SUPPORT_H
#define UMBRA_TESTS_PREDICT_SUPPORT_H

#include "base/random.h"
#include "predict/predictor.h"

/* 6 layers, hidden 24, 10 experts, 3 used, residual per layer, width 13, no features, f32. */
umbra_shadow_spec small_spec(void);

void fill_random(umbra_random *random, float *out, size_t n, double scale);

/* A shadow whose every parameter and calibration is random, rows without a target excepted. */
umbra_shadow *random_shadow(const umbra_shadow_spec *spec, uint64_t seed);

/* Random gates for a spec; free data with umbra_free. */
umbra_gates random_gates(const umbra_shadow_spec *spec, uint64_t seed);

/* n tokens of routing (n, layers, used); distinct experts in a row, some layers without any. Free
 * with umbra_free. */
uint16_t *random_routing(const umbra_shadow_spec *spec, int n, uint64_t seed);

/* A name for a file of this test that is not there yet, in TMPDIR. */
void temporary_path(char *path, size_t room);

#endif
