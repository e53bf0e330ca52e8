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

typedef struct umbra_bench_predictor_options {
    const char *shadow;         /* file to time; NULL: a network of random weights of this shape: */
    int hidden, width, experts; /* hidden -> width -> 4 x experts, the "seed" network */
    int layers;                 /* copies to cycle through; 0: 61 */
    const char *weights;        /* "f32", "bf16", "i8"; NULL: i8 */
    const char *kernels;        /* "scalar", "avx2", "avx512", "neon"; NULL or "auto": the best */
    int threads;                /* predicting at once; 0: 1 */
    int calls;                  /* per thread and mode; 0: 4000 */
    const umbra_progress *progress; /* may be NULL */
} umbra_bench_predictor_options;

/* Seconds per call. */
typedef struct umbra_latency {
    double median_s, p95_s, p99_s;
} umbra_latency;

typedef struct umbra_bench_predictor_result {
    int hidden, width, experts, layers, best; /* best: experts selected per distance */
    const char *arch, *weights, *kernels;     /* static storage */
    uint64_t bytes;                           /* weights that one prediction reads */
    /* [0]: the same source again and again, weights warm in cache; [1]: all sources in turn, so
     * that the weights come from memory if they are more than the caches hold. */
    umbra_latency predict[2]; /* scores, calibrated probabilities and the best experts */
    umbra_latency read[2];    /* a plain read of the same bytes, in the same run */
    double ratio[2];          /* of the medians */
} umbra_bench_predictor_result;

/* Times single predictions and, in turn with them, plain reads of the same bytes. */
UMBRA_API int umbra_bench_predictor(const umbra_bench_predictor_options *options,
                                    umbra_bench_predictor_result *out, umbra_error *err);

#ifdef __cplusplus
}
#endif
#endif
