/* Timing of single parts on this machine. */
#ifndef UMBRA_BENCH_H
#define UMBRA_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/export.h>
#include <umbra/progress.h>
#include <umbra/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What to time. */
typedef struct umbra_bench_predictor_options {
    const char *shadow;  /* file to time; NULL: a "seed" network of random weights, hidden
                            -> width -> 4 x experts: */
    int hidden;          /* width of the state */
    int width;           /* inner width */
    int experts;         /* per layer */
    int layers;          /* copies to cycle through; 0: 61 */
    const char *weights; /* "f32", "bf16", "i8"; NULL: i8 */
    const char *kernels; /* "scalar", "avx2", "avx512", "neon"; NULL or "auto": the best */
    int threads;         /* predicting at once; 0: 1 */
    int calls;           /* per thread and mode; 0: 4000 */
    const umbra_progress *progress; /* may be NULL */
} umbra_bench_predictor_options;

/* Seconds per call. */
typedef struct umbra_latency {
    double median_s; /* half of the calls took at most this */
    double p95_s;    /* 95 of 100 calls */
    double p99_s;    /* 99 of 100 calls */
} umbra_latency;

/* What was timed, and how long it took. */
typedef struct umbra_bench_predictor_result {
    int hidden;          /* width of the state */
    int width;           /* inner width */
    int experts;         /* per layer */
    int layers;          /* networks cycled through */
    int best;            /* experts selected per distance */
    const char *arch;    /* "seed" or "residual"; static storage */
    const char *weights; /* "f32", "bf16" or "i8"; static storage */
    const char *kernels; /* static storage */
    uint64_t bytes;      /* weights that one prediction reads */
    /* [0]: the same source again and again, weights warm in cache; [1]: all sources in turn, so
     * that the weights come from memory if they are more than the caches hold. */
    umbra_latency predict[2]; /* scores, calibrated probabilities and the best experts */
    umbra_latency read[2];    /* a plain read of the same bytes, in the same run */
    double ratio[2];          /* of the medians */
} umbra_bench_predictor_result;

/* Times single predictions and, in turn with them, plain reads of the same bytes. UMBRA_E_ARGUMENT:
 * a shape or number out of range, or an unknown name; on failure *out is not to be used. Starts
 * threads of its own; nothing else should compute meanwhile. */
UMBRA_API int umbra_bench_predictor(const umbra_bench_predictor_options *options,
                                    umbra_bench_predictor_result *out, umbra_error *err);

#ifdef __cplusplus
}
#endif
#endif
