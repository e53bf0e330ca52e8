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

/* How to read ahead. Zeros are the default (see umbra.h). */
typedef struct umbra_prefetch_options {
    umbra_policy policy; /* auto: by the shadow model if there is one, else by running
                            ahead, and only while that saves time; the others: always */
    const char *shadow;  /* file; NULL: the model's path with ".shadow.safetensors" for its ending,
                            if that exists */
    bool no_shadow;      /* auto goes without a shadow model; set by umbra_prefetch_fit */
    /* Told in one line why auto goes without the file that lies beside the model, which is
     * damaged or of another model; may be NULL. A file that was named is an error instead. */
    void (*warn)(void *user, const char *message);
    void *user; /* handed to warn */
    int every;  /* predict at every n-th layer, 1 to 4; 0: as the time of a layer allows */
    uint64_t reserved[4]; /* room for options to come: zeros */
} umbra_prefetch_options;

/* What reading ahead did so far. */
typedef struct umbra_prefetch_stats {
    umbra_policy policy;       /* that forecasts are made by; never auto */
    bool automatic;            /* only while it saves time */
    uint64_t tokens;           /* decoded, of all sequences */
    uint64_t tokens_on;        /* of these, with reading ahead */
    umbra_runner_stats runner; /* of the predictions */
    uint64_t reserved[4];      /* room for figures to come: zeros */
} umbra_prefetch_stats;

/* What was foretold at one distance, beside what was then used. A forecast names the k likeliest
 * experts, as many as a token uses of a layer. */
typedef struct umbra_foretold_stats {
    uint64_t layers;        /* of decoded tokens that were foretold from this distance */
    uint64_t used;          /* experts that they used; */
    uint64_t named;         /* of these, named by the forecast */
    uint64_t missing;       /* of the used ones, not in the cache but for having been read ahead; */
    uint64_t missing_named; /* of these, named by the forecast */
} umbra_foretold_stats;

/* The recall of a policy on the run as it is. */
typedef struct umbra_recall_stats {
    uint64_t layers;  /* of decoded tokens, foretold or not */
    uint64_t missing; /* experts that they used and the cache did not have by itself */
    umbra_foretold_stats within[UMBRA_MAX_DISTANCE + 1]; /* [d]: d layers with experts ahead, of the
                                                            token from which it was foretold */
    umbra_foretold_stats beyond[UMBRA_MAX_DISTANCE + 1]; /* the same of the token behind it */
    uint64_t reserved[4];                                /* room for figures to come: zeros */
} umbra_recall_stats;

/* Any thread. Whether there is a shadow file: the one named, or with NULL the one beside the model.
 */
UMBRA_API bool umbra_prefetch_has_shadow(const umbra_model *model, const char *shadow);

/* Makes both options go together (neither may be NULL), before the engine is opened: sets
 * engine->reserved_bytes to what reading ahead takes of the budget. Auto may take a seventh of what
 * is left for experts, and an eighth of those that do not fit: sets no_shadow where a shadow would take
 * more but running ahead does not, and where the header of the file beside the model says that it
 * cannot be used; turns policy auto to off where both would take more. */
UMBRA_API int umbra_prefetch_fit(const umbra_model *model, umbra_engine_options *engine,
                                 umbra_prefetch_options *prefetch, umbra_error *err);

/* Attaches to the engine, which must outlive it; one at a time. Options are
 * copied, may be NULL. The logits do not change by it. On
 * failure *out is NULL. UMBRA_E_MISMATCH: the shadow was made for another model. With auto and a
 * file beside the model whose weights are damaged, nothing is read ahead. */
UMBRA_API int umbra_prefetch_open(umbra_prefetch **out, umbra_engine *engine,
                                  const umbra_prefetch_options *options, umbra_error *err);
/* Detaches; accepts NULL and nulls the pointer. */
UMBRA_API void umbra_prefetch_close(umbra_prefetch **prefetch);

/* For the thread that drives the engine. */
UMBRA_API void umbra_prefetch_get_stats(const umbra_prefetch *prefetch, umbra_prefetch_stats *out);

/* What became of forecasts since opening; zeros with policy off. Any thread. */
UMBRA_API void umbra_prefetch_get_recall(const umbra_prefetch *prefetch, umbra_recall_stats *out);

/* What running ahead says of a token that is not there yet. */
typedef struct umbra_token_guess {
    int32_t best;             /* the likeliest id, */
    int32_t second;           /* and the next one */
    float probability;        /* that it is `best`, 0 to 1, as such guesses came true so far */
    float second_probability; /* by the model's logits on what is in memory */
    int position;             /* that the token would take in its sequence */
    int layer; /* from which the walk came that guessed it: the later, the surer; -1: from a token
                  that was not computed yet */
} umbra_token_guess;

/* The newest guess of the token behind those that the sequence holds. False: there is none, as with
 * any policy but runahead, and where walks found no time to come to the token's end. For the thread
 * that drives the engine, between two calls of it. */
UMBRA_API bool umbra_prefetch_get_guess(const umbra_prefetch *prefetch, int sequence,
                                        umbra_token_guess *out);
/* Goes on by guesses alone behind token `id`, which is to be the sequence's next and is not
 * computed yet: out[0] is what follows it, out[1] what follows out[0].best, and so on, n at most.
 * Computes with the experts that are in memory and reads none, at the cost of a token each; changes
 * nothing. Returns how many there are: 0 with any policy but runahead, at most 4, and none beyond
 * the context. For the thread that drives the engine, between two calls of it. */
UMBRA_API int umbra_prefetch_draft(umbra_prefetch *prefetch, int sequence, int32_t id, int n,
                                   umbra_token_guess *out);

/* Oracle: see umbra_runner_set_oracle. */
UMBRA_API void umbra_prefetch_set_oracle(umbra_prefetch *prefetch, int sequence,
                                         const uint16_t *routing, int tokens);

#ifdef __cplusplus
}
#endif
#endif
