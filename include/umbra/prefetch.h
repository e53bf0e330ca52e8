/* Reading ahead for Umbra's own engine: a shadow runner that goes along with it.
 *
 * Of what is evaluated together, a sequence with one token decodes: its coming experts are
 * foretold. One with several reads a prompt, which is only remembered. Any number of either may be
 * mixed. */
#ifndef UMBRA_PREFETCH_H
#define UMBRA_PREFETCH_H

#include <umbra/engine.h>
#include <umbra/runner.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A runner attached to an engine. */
typedef struct umbra_prefetch umbra_prefetch;

/* Everything 0 or NULL is the default. */
typedef struct umbra_prefetch_options {
    const char *policy; /* "auto" (default, NULL): by the shadow model if there is one, else by
                           running ahead, and only while that saves time; "off", "previous", "gate",
                           "shadow", "oracle", "runahead": always */
    const char *shadow; /* file; NULL: the model's path with ".shadow.safetensors" for its ending,
                           if that exists */
    bool no_shadow;     /* "auto" goes without a shadow model; set by umbra_prefetch_fit */
    /* Told in one line why "auto" goes without the file that lies beside the model, which is
     * damaged or of another model; may be NULL. A file that was named is an error instead. */
    void (*warn)(void *user, const char *message);
    void *user; /* handed to warn */
    int every;  /* predict at every n-th layer, 1 to 4; 0: as the time of a layer allows */
} umbra_prefetch_options;

/* What reading ahead did so far. */
typedef struct umbra_prefetch_stats {
    const char *policy;        /* that forecasts are made by; static storage */
    bool automatic;            /* only while it saves time */
    uint64_t tokens;           /* decoded, of all sequences */
    uint64_t tokens_on;        /* of these, with reading ahead */
    umbra_runner_stats runner; /* of the predictions */
} umbra_prefetch_stats;

/* Whether there is a shadow file: the one named, or with NULL the one beside the model. */
UMBRA_API bool umbra_prefetch_has_shadow(const umbra_model *model, const char *shadow);

/* Makes both options go together, before the engine is opened: sets engine->reserved_bytes to what
 * reading ahead takes of the budget, sets no_shadow where the header of the file beside the model
 * says that it cannot be used, and turns policy "auto" to "off" where that would take more
 * than an eighth of what is left for experts, or of the experts that do not fit. */
UMBRA_API int umbra_prefetch_fit(const umbra_model *model, umbra_engine_options *engine,
                                 umbra_prefetch_options *prefetch, umbra_error *err);

/* Attaches to the engine, which must outlive it; one at a time. The logits do not change by it. On
 * failure *out is NULL. UMBRA_E_MISMATCH: the shadow was made for another model. With "auto" and a
 * file beside the model whose weights are damaged, nothing is read ahead. */
UMBRA_API int umbra_prefetch_open(umbra_prefetch **out, umbra_engine *engine,
                                  const umbra_prefetch_options *options, umbra_error *err);
/* Detaches; accepts NULL and nulls the pointer. */
UMBRA_API void umbra_prefetch_close(umbra_prefetch **prefetch);

/* For the thread that drives the engine. */
UMBRA_API void umbra_prefetch_get_stats(const umbra_prefetch *prefetch, umbra_prefetch_stats *out);

/* Oracle: see umbra_runner_set_oracle. */
UMBRA_API void umbra_prefetch_set_oracle(umbra_prefetch *prefetch, int sequence,
                                         const uint16_t *routing, int tokens);

#ifdef __cplusplus
}
#endif
#endif
