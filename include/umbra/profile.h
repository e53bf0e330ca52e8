/* Where an engine's time goes, by kind of step, beside what the machine could do at best. */
#ifndef UMBRA_PROFILE_H
#define UMBRA_PROFILE_H

#include <stdint.h>

#include <umbra/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Kinds of steps. Norms, biases and activations belong to the products that they prepare or end. */
typedef enum umbra_profile_step {
    UMBRA_PROFILE_EMBED,    /* embeddings, rotary angles */
    UMBRA_PROFILE_PROJECT,  /* queries, keys and values, and the attention's output matrix */
    UMBRA_PROFILE_ATTEND,   /* attention itself: keys, softmax, values; convolutions */
    UMBRA_PROFILE_ROUTE,    /* router and choice of experts */
    UMBRA_PROFILE_GATE_UP,  /* the experts' gate and up matrices, activation */
    UMBRA_PROFILE_DOWN,     /* the experts' down matrices, and the sum over experts */
    UMBRA_PROFILE_SHARED,   /* what every row uses: shared experts, dense layers */
    UMBRA_PROFILE_OUTPUT,   /* logits */
    UMBRA_PROFILE_DISK,     /* waiting for experts, and what is done meanwhile */
    UMBRA_PROFILE_BARRIERS, /* the calling thread waits for the others at the end of a step */
    UMBRA_PROFILE_REST,     /* checks of numbers, bookkeeping, taps */
    UMBRA_PROFILE_STEPS
} umbra_profile_step;

/* Chunks are one or the other: decoded where each row is its sequence's only one. */
typedef enum umbra_profile_phase {
    UMBRA_PROFILE_PREFILL, /* chunks with rows of prompts */
    UMBRA_PROFILE_DECODE,  /* all others */
    UMBRA_PROFILE_PHASES
} umbra_profile_phase;

/* What one kind of step took in all. */
typedef struct umbra_profile_entry {
    double seconds; /* of the calling thread */
    double bytes;   /* weights, keys and values that had to be read at least once */
    double macs;    /* multiply-adds */
    uint64_t runs;  /* pieces of work that were shared by the threads: each ends with a barrier */
} umbra_profile_entry;

/* A profile since the engine was opened. */
typedef struct umbra_profile {
    /* By phase and kind of step. */
    umbra_profile_entry step[UMBRA_PROFILE_PHASES][UMBRA_PROFILE_STEPS];
    uint64_t rows[UMBRA_PROFILE_PHASES]; /* tokens computed */
    double bytes_per_s;   /* all threads of the engine read weights in memory, measured now */
    double macs_per_s;    /* all threads multiply from cache what the first layer's attention ends
                             with, for many tokens at once, measured now */
    uint64_t reserved[4]; /* room for figures to come: zeros */
} umbra_profile;

/* Fills *out; all of it 0 where the engine's options did not ask for a profile. Computes for some
 * 50 ms to measure the machine. Not while a call of the engine is under way. */
UMBRA_API void umbra_engine_get_profile(umbra_engine *engine, umbra_profile *out);

/* "attention", "experts gate, up": the name of a kind of step; NULL past the end. Static storage;
 * any thread. */
UMBRA_API const char *umbra_profile_step_name(int step);

#ifdef __cplusplus
}
#endif
#endif
