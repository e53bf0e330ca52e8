/* Rounding the weights of a shadow file. */
#ifndef UMBRA_QUANTIZE_H
#define UMBRA_QUANTIZE_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/export.h>
#include <umbra/progress.h>
#include <umbra/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct umbra_quantize_options {
    const char *input, *output; /* shadow files; may be the same */
    const char *weights;        /* "i8" (symmetric, one scale per row), "bf16", "f32"; NULL: i8 */
    const char *const *traces;  /* (n_traces) folders to measure the lost recall on, none of whose
                                   documents the shadow was trained on; may be empty */
    int n_traces;
    uint64_t max_tokens;            /* measure on about so many tokens; 0: 20000 */
    bool force;                     /* keep a file that loses more than 0.2 points of recall */
    int threads;                    /* 0: the processors at hand */
    const umbra_progress *progress; /* may be NULL */
} umbra_quantize_options;

typedef struct umbra_quantization {
    uint64_t bytes_before, bytes_after; /* of the files */
    bool measured;
    int m;                     /* slot recall at m = k */
    double recall[4], lost[4]; /* by distance: before, and what the rounding costs */
} umbra_quantization;

/* Writes `output` and, in its recall summary, what was lost. UMBRA_E_ARGUMENT: more than 0.2 points
 * at some distance, nothing was written; out is filled all the same. */
UMBRA_API int umbra_quantize_shadow(const umbra_quantize_options *options, umbra_quantization *out,
                                    umbra_error *err);

#ifdef __cplusplus
}
#endif
#endif
