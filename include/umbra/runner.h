/* The shadow runner: predicts, beside an engine that computes, which experts the coming layers will
 * use, and foretells them to the expert store, which reads ahead.
 *
 * It serves any engine that keeps its experts in an umbra_store. For every step, in which one or
 * several sequences (texts) decode a token each:
 *
 *     for each row:  umbra_runner_enter(r, sequence, embedding);
 *     for each layer:
 *         ... attention, router ...
 *         umbra_store_begin(store, &batch, err);     the experts of all rows
 *         for each row:  umbra_runner_routed(r, sequence, layer, hidden, experts);
 *         ... umbra_store_next, compute, umbra_store_release; umbra_store_poll now and then ...
 *     for each row:  umbra_runner_leave(r, sequence);
 *
 * Rows of a prompt in the same step are told by umbra_runner_absorb. Sequences may join and leave
 * between steps; what is remembered of one does not touch the others.
 *
 * None of these calls blocks: states are copied into a bounded queue, and a full queue drops its
 * oldest entry, counted. Predictions are made by a thread of the runner's own (own_thread), or by
 * whoever calls umbra_runner_work; rows of one layer that wait together are predicted together.
 *
 * Letters: L layers, H hidden, E experts per layer, k experts used per token and layer. `sequence`
 * is 0 to sequences - 1.
 *
 * One thread at a time may call functions of one runner, but for umbra_runner_work and
 * umbra_runner_get_stats, which may be called from any. */
#ifndef UMBRA_RUNNER_H
#define UMBRA_RUNNER_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/export.h>
#include <umbra/status.h>
#include <umbra/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Predicts beside an engine and foretells its batches to the store. */
typedef struct umbra_runner umbra_runner;

/* What a forecast is made from. */
typedef enum umbra_policy {
    UMBRA_POLICY_AUTO,     /* by the shadow model if there is one. Else Umbra's own engine runs
                              ahead, and another goes by its routers if it hands them out, else by
                              the experts before. Umbra's own does so only while it saves time */
    UMBRA_POLICY_OFF,      /* nothing is read ahead */
    UMBRA_POLICY_PREVIOUS, /* the experts that the tokens before used */
    UMBRA_POLICY_GATE,     /* the coming layers' own routers, on the present state */
    UMBRA_POLICY_SHADOW,   /* a trained shadow model */
    UMBRA_POLICY_ORACLE,   /* recorded routing of the same text: the upper bound */
    UMBRA_POLICY_RUNAHEAD, /* the model itself, run ahead on what is in memory while the engine
                              waits; not for umbra_runner_open: it needs Umbra's own engine */
} umbra_policy;

/* "auto", "off", "previous", "gate", "shadow", "oracle", "runahead"; NULL for a value not in the
 * list, so that counting from 0 lists them. Static storage. Any thread. */
UMBRA_API const char *umbra_policy_name(umbra_policy policy);
/* The policy of that name; NULL is "auto". UMBRA_E_ARGUMENT: there is none, the message lists all,
 * *out is as before. Any thread. */
UMBRA_API int umbra_policy_parse(const char *name, umbra_policy *out, umbra_error *err);

/* The model's shape, and what to predict by. store, layers, hidden, experts and used must be given.
 */
typedef struct umbra_runner_options {
    umbra_store *store;     /* must outlive the runner; open for as many sequences */
    umbra_policy policy;    /* what forecasts are made from. Auto: `shadow` if that is given, else
                               `gate` if that is, else the experts before */
    int layers;             /* L, with and without experts */
    int hidden;             /* H, width of the residual stream */
    int experts;            /* per layer */
    int used;               /* k, experts per token and layer */
    const bool *sparse;     /* (L) whether a layer has experts; NULL: all have. Copied */
    const bool *known;      /* (L) whether its experts are certain, and foretold by somebody else;
                               NULL: of none. Copied */
    const char *shadow;     /* file, for UMBRA_POLICY_SHADOW */
    const char *model_hash; /* that the shadow must be made for; NULL: any model of this shape */
    const char *model_name; /* for messages; may be NULL */
    /* For gate, and for shadow models of arch "residual": writes the router of a layer with the
     * weights of the norm before it folded in, out (E, H), so that its scores for a state h are
     * out * (h / rms(h)). Called while opening. */
    void (*gate)(void *user, int layer, float *out);
    void *user; /* handed to gate */
    int every;  /* predict at every n-th layer, 1 to 4; 0: 1. Sparser predictions cost less time and
                   memory and know less */
    int sequences;        /* texts that may be in progress; 0: 1 */
    bool own_thread;      /* predict on a thread of the runner, not in umbra_runner_work */
    const char *kernels;  /* of the predictions: "scalar", "avx2", "avxvnni", "avx512", "amx",
                             "neon"; or NULL: the best */
    uint64_t reserved[3]; /* room for options to come: zeros */
} umbra_runner_options;

/* Counters since opening. */
typedef struct umbra_runner_stats {
    uint64_t predictions; /* states predicted from */
    uint64_t dropped;     /* states that the full queue dropped */
    uint64_t predict_ns;  /* time spent predicting */
    uint64_t bytes;       /* memory that the runner holds */
    const char *kernels;  /* that predictions are computed with; NULL: none are computed */
    uint64_t reserved[3]; /* room for figures to come: zeros */
} umbra_runner_stats;

/* Options are copied. On failure *out is NULL. UMBRA_E_MISMATCH: the shadow was made for another
 * model. */
UMBRA_API int umbra_runner_open(umbra_runner **out, const umbra_runner_options *options,
                                umbra_error *err);
/* Accepts NULL, ends the thread, nulls the pointer. */
UMBRA_API void umbra_runner_close(umbra_runner **runner);

/* Bytes that a runner with these options holds once it is open; at opening it needs, for a moment,
 * one layer's network in F32 besides. Reads the shadow's header. */
UMBRA_API int umbra_runner_bytes(const umbra_runner_options *options, uint64_t *out,
                                 umbra_error *err);

/* A sequence's next token begins: embedding (H) is the residual stream that enters layer 0. */
UMBRA_API void umbra_runner_enter(umbra_runner *runner, int sequence, const float *embedding);
/* A layer with experts has named its demands to the store: hidden (H) is the state of the
 * sequence's token after its attention, experts (k) the experts that it uses. */
UMBRA_API void umbra_runner_routed(umbra_runner *runner, int sequence, int layer,
                                   const float *hidden, const int32_t *experts);
/* A draft that is checked in the same step, behind the sequence's token and the drafts before it:
 * what it needs is foretold with what they need, and nothing is remembered of it. To be called
 * behind umbra_runner_enter (layer -1, experts NULL) or umbra_runner_routed of the sequence. */
UMBRA_API void umbra_runner_draft(umbra_runner *runner, int sequence, int layer,
                                  const float *hidden, const int32_t *experts);
/* Instead of umbra_runner_routed, where no forecast is wanted: only remembers the routing, which
 * later forecasts build on. */
UMBRA_API void umbra_runner_note(umbra_runner *runner, int sequence, int layer,
                                 const int32_t *experts);
/* The sequence's token is computed. */
UMBRA_API void umbra_runner_leave(umbra_runner *runner, int sequence);
/* The sequence's next token begins another text, or continues one whose last tokens the runner did
 * not see. Also when a sequence goes away: what it has foretold is forgotten. */
UMBRA_API void umbra_runner_restart(umbra_runner *runner, int sequence);
/* n tokens of a sequence's prompt at one layer, instead of enter, routed and leave for each, in the
 * order of the layers: hidden (n, H), experts (n, k). Layer -1: hidden are the embeddings, experts
 * is NULL. */
UMBRA_API void umbra_runner_absorb(umbra_runner *runner, int sequence, int layer, int n,
                                   const float *hidden, const int32_t *experts);

/* Makes the predictions that wait. Returns how many. */
UMBRA_API int umbra_runner_work(umbra_runner *runner);

/* Oracle: routing (tokens, L, k) of the sequence's tokens to come, from the next one on; layers
 * without experts hold anything. The array must stay until it is replaced or the runner is
 * closed. */
UMBRA_API void umbra_runner_set_oracle(umbra_runner *runner, int sequence, const uint16_t *routing,
                                       int tokens);

/* For the thread that drives the runner. */
UMBRA_API void umbra_runner_get_stats(const umbra_runner *runner, umbra_runner_stats *out);

#ifdef __cplusplus
}
#endif
#endif
