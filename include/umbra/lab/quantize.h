/* Rounding the weights of a shadow file. */
#ifndef UMBRA_LAB_QUANTIZE_H
#define UMBRA_LAB_QUANTIZE_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/export.h>
#include <umbra/progress.h>
#include <umbra/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What to round, to what, and what to measure it on. Lists are read during the call only. */
typedef struct umbra_quantize_options {
    const char *input;         /* a shadow file */
    const char *output;        /* the file to write; may be the input */
    const char *weights;       /* "i8" (symmetric, one scale per row), "bf16", "f32"; NULL: i8 */
    const char *const *traces; /* (n_traces) folders to measure the lost recall on, none of whose
                                  documents the shadow was trained on; may be empty */
    int n_traces;              /* paths in traces */
    uint64_t max_tokens;       /* measure on about so many tokens; 0: 20000 */
    bool force;                /* keep a file that loses more than 0.2 points of recall */
    int threads;               /* 0: the processors at hand */
    const umbra_progress *progress; /* may be NULL */
} umbra_quantize_options;

/* What the rounding saved and cost. */
typedef struct umbra_quantization {
    uint64_t bytes_before; /* of the input */
    uint64_t bytes_after;  /* of the output */
    bool measured;         /* there were traces; else the figures below are 0 */
    int m;                 /* experts ranked first that recall looks at: k */
    double recall[4];      /* slot recall at m by distance, before */
    double lost[4];        /* of it, what the rounding costs */
} umbra_quantization;

/* Writes `output` and, in its recall summary, what was lost. UMBRA_E_ARGUMENT: more than 0.2 points
 * at some distance, nothing was written; out is filled all the same. */
UMBRA_API int umbra_quantize_shadow(const umbra_quantize_options *options, umbra_quantization *out,
                                    umbra_error *err);

#ifdef __cplusplus
}
#endif
#endif
