/* The engine: runs a model whose experts stay on disk, inside a memory budget.
 *
 * Letters in shapes: T tokens of a call, L layers, V vocabulary, k experts used per token.
 *
 * What it computes does not depend on the budget, the number of threads, the size of prefill
 * chunks or the I/O backend: logits are the same bit for bit. They do depend on the kernels
 * (instruction set), by rounding only.
 *
 * A call is watched and stopped through its tap (umbra_tap). One thread at a time may call
 * functions of one engine. The model must outlive it. */
#ifndef UMBRA_ENGINE_H
#define UMBRA_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/model.h>
#include <umbra/progress.h>
#include <umbra/ranks.h>
#include <umbra/status.h>
#include <umbra/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A running model: its weights, its expert store and its sequences. */
typedef struct umbra_engine umbra_engine;

/* What to run the model with. Zeros are the default (see umbra.h). kernels and io are texts, not
 * enumerations: each instruction set adds a name of the first, and a simulated disk is a text with
 * numbers. */
typedef struct umbra_engine_options {
    uint64_t ram_bytes;  /* budget for the whole process; 0: all in memory if that fits in what
                            the machine and its memory cgroups have free, else as much as fits */
    int threads;         /* 1..256; 0: the processors this process may use, as affinity and the
                            processor quotas of its control groups allow, at most 256 */
    const char *kernels; /* "auto", or a name of umbra_kernel_name; NULL: auto */
    int context;         /* positions per sequence; 0: 512, or the model's if that is smaller */
    int sequences;       /* independent texts that can be in progress; 0: 1 */
    int chunk;           /* most tokens computed together, 1..4096; 0: by the budget, 16..2048 */
    const char *io; /* "auto", "uring", "threads", "sim:RATE,LATENCY" (see store.h); NULL: auto */
    bool buffered;  /* read experts through the page cache */
    bool verify;    /* hold every expert that is read against a checksum (see store.h); slow */
    bool profile;   /* keep time by kind of step (see profile.h) */
    uint64_t reserved_bytes;        /* of the budget, left to others: see umbra_prefetch_fit */
    const umbra_progress *progress; /* of the opening alone; may be NULL */
    const umbra_ranks *ranks;       /* with whom the experts are divided (see ranks.h); NULL: with
                                       nobody. Copied, but for its uses */
    uint64_t reserved[7];           /* room for options to come: zeros */
} umbra_engine_options;

enum { UMBRA_NOTE_BYTES = 512 /* of a note in a plan, the NUL included */ };

/* Where the bytes of a budget go. */
typedef struct umbra_memory_plan {
    uint64_t ram_bytes;      /* the budget that was planned for */
    uint64_t min_bytes;      /* smallest budget that works with these options */
    uint64_t all_bytes;      /* budget at which every expert stays in memory */
    uint64_t process_bytes;  /* program, libraries, stacks, small things: a fixed allowance */
    uint64_t metadata_bytes; /* file header, tokenizer, expert index */
    uint64_t dense_bytes;    /* weights that every token needs */
    uint64_t kv_bytes;       /* key/value cache */
    uint64_t scratch_bytes;  /* activations and logits of one chunk */
    uint64_t reserved_bytes; /* left to others, as asked for */
    uint64_t cache_bytes;    /* expert slots */
    uint64_t slot_bytes;     /* the largest expert's slot, alignment included */
    uint64_t slots;          /* expert slots in the cache */
    double residency;        /* share of the experts (of this rank's, if there are several) that
                                fit in the slots, 0..1 */
    int context;             /* positions per sequence */
    int chunk;               /* most tokens computed together */
    int threads;             /* that compute */
    const char *kernels;     /* name of the kernel table; static storage */
    /* For people: why there are fewer threads than processors; "" if there are not. */
    char threads_note[UMBRA_NOTE_BYTES];
    /* For people: why the budget that was asked for may not be had here (it is above a limit of a
     * control group or of the shell, which is named, or above what is free); "" if it may. */
    char memory_note[UMBRA_NOTE_BYTES];
    uint64_t slot_sizes;   /* of how many sizes slots are (see store.h) */
    double slot_waste;     /* share of cache_bytes that no expert can use, 0..1 */
    uint64_t expert_bytes; /* slots for all experts (of this rank) */
    uint64_t reserved[5];  /* room for figures to come: zeros */
} umbra_memory_plan;

/* Plans without opening; any thread; options may be NULL: what an engine with these options would
 * use. ram_bytes 0 plans for what is free now. UMBRA_E_BUDGET: too small; *out is filled all the
 * same, and the message names the smallest budget. */
UMBRA_API int umbra_engine_plan(const umbra_model *model, const umbra_engine_options *options,
                                umbra_memory_plan *out, umbra_error *err);

/* Reads the dense weights and starts the threads that compute. Options are copied, may be NULL, and
 * are refused as umbra_engine_plan refuses them; UMBRA_E_IO, UMBRA_E_NOMEM, UMBRA_E_SYSTEM:
 * reading, memory or threads failed; UMBRA_E_INTERRUPTED: through progress. On failure *out is
 * NULL. */
UMBRA_API int umbra_engine_open(umbra_engine **out, const umbra_model *model,
                                const umbra_engine_options *options, umbra_error *err);
/* Ends all its sequences and threads. What was opened on the engine must be closed before. Accepts
 * NULL and nulls the pointer. */
UMBRA_API void umbra_engine_close(umbra_engine **engine);

/* What was planned at opening. Valid until the engine is closed. */
UMBRA_API const umbra_memory_plan *umbra_engine_get_plan(const umbra_engine *engine);
/* The counters of the expert store since opening. Any thread. */
UMBRA_API void umbra_engine_get_store_stats(const umbra_engine *engine, umbra_store_stats *out);

/* umbra_store_get_residency of the expert store: out (layers, experts). Any thread. */
UMBRA_API void umbra_engine_get_residency(const umbra_engine *engine, uint8_t *out);

/* One token to compute: it takes the next position of its sequence. */
typedef struct umbra_token {
    int32_t id;       /* 0 .. vocabulary-1 */
    int32_t sequence; /* 0 .. sequences-1 */
    bool want_logits; /* hand out its logits */
} umbra_token;

/* Where a tap looks at rows on their way. In models with several residual streams x is what the
 * next half of a layer takes of them; at UMBRA_TAP_WAIT it stays that, at UMBRA_TAP_LEAVE it is
 * what the output does. */
typedef enum umbra_tap_place {
    UMBRA_TAP_ENTER,  /* x: the embeddings; layer 0 */
    UMBRA_TAP_INPUT,  /* x: the residual stream entering a layer */
    UMBRA_TAP_HIDDEN, /* x: after a layer's attention, before the norm of its experts */
    UMBRA_TAP_ROUTED, /* the same x; experts and weights are chosen, and being read where they
                         are missing. Only at layers with experts. */
    UMBRA_TAP_WAIT,   /* x: the same with what every row uses; experts of the layer are being read,
                         and all others are computed: time that a tap may use */
    UMBRA_TAP_LEAVE,  /* x: behind the last layer; the rows' sequences hold them now */
    UMBRA_TAP_PLACES
} umbra_tap_place;

/* Rows that are computed together, of one or several sequences. Arrays are valid only inside the
 * call; H hidden, k experts used. */
typedef struct umbra_rows {
    int layer;                 /* in which they are */
    int first;                 /* index of the first row in the caller's list of tokens */
    int n;                     /* rows */
    const umbra_token *tokens; /* (n) what they are */
    const int32_t *position;   /* (n) in their sequences */
    const bool *prompt;        /* (n) whether the row's sequence has more rows among these: it is
                                  a prompt's; a row by itself is decoded, and so are guessed tokens
                                  that umbra_generate checks together */
    const float *x;            /* (n, H) */
    const int32_t *experts;    /* (n, k) used, best first, or as the token
                                  names them; NULL but at UMBRA_TAP_ROUTED
                                  and UMBRA_TAP_WAIT */
    const float *weights;      /* (n, k) of the experts; the same */
} umbra_rows;

/* What a call hands out while it runs, and how it is stopped. Everything may be NULL. A non-zero
 * return stops the call, which returns that value; from UMBRA_TAP_ROUTED and UMBRA_TAP_WAIT after
 * the layer, from
 * UMBRA_TAP_LEAVE once the rows are in their sequences. */
typedef struct umbra_tap {
    void *user; /* handed to every function */
    /* By umbra_tap_place. */
    int (*at[UMBRA_TAP_PLACES])(void *user, const umbra_rows *rows);
    /* logits (V) of token `index`, for tokens that want them, in order. */
    int (*logits)(void *user, int index, const float *logits);
    const umbra_progress *progress; /* asked at every layer whether to stop: UMBRA_E_INTERRUPTED */
} umbra_tap;

/* Computes n tokens. Tokens of one sequence must be in order; several sequences may be mixed.
 * UMBRA_E_ARGUMENT: a token id, sequence or position (beyond the context) out of range, nothing
 * was computed. UMBRA_E_NONFINITE: a number became NaN or infinite (the message names the token and
 * what was the first to be so); states, scores and logits that are handed out never are. On any
 * failure, UMBRA_E_INTERRUPTED included, sequences keep the tokens of the chunks that were
 * finished. tap may be NULL. */
UMBRA_API int umbra_engine_eval(umbra_engine *engine, const umbra_token *tokens, int n,
                                const umbra_tap *tap, umbra_error *err);

/* For the ranks behind the first (ranks.h): does what rank 0's engine is told, until that is
 * closed. progress (may be NULL) can interrupt rank 0's computing, which then ends there as
 * interrupted. What fails is told at rank 0. UMBRA_E_IO: the others cannot be reached any more. For
 * the thread that drives the engine. */
UMBRA_API int umbra_engine_follow(umbra_engine *engine, const umbra_progress *progress,
                                  umbra_error *err);

/* Tokens a sequence holds. */
UMBRA_API int umbra_engine_length(const umbra_engine *engine, int sequence);
/* Forgets the tokens of a sequence from position `length` on. Returns how many it holds now:
 * `length`, or 0 where a layer with a window has forgotten what that position would see, or a
 * recurrent layer has no state of it; the tokens up to there are to be computed again then. A
 * recurrent layer has the states of what the last call of umbra_engine_eval computed, if these were
 * at most 9 tokens of the sequence (in one chunk): all of them or any number can be taken back. */
UMBRA_API int umbra_engine_truncate(umbra_engine *engine, int sequence, int length);
/* Sequence `to` becomes what `from` is, in no time worth naming: they share what they hold. Both go
 * on independently. UMBRA_E_ARGUMENT: there is no such sequence. */
UMBRA_API int umbra_engine_fork(umbra_engine *engine, int from, int to, umbra_error *err);

/* Bytes of a snapshot of a sequence of so many tokens. */
UMBRA_API uint64_t umbra_engine_snapshot_bytes(const umbra_engine *engine, int length);
/* Writes what a sequence holds to out (room of umbra_engine_snapshot_bytes of its length): version,
 * identity of model and kernels, states, checksum. The token ids are not part of it. */
UMBRA_API int umbra_engine_snapshot(umbra_engine *engine, int sequence, void *out, uint64_t room,
                                    umbra_error *err);
/* The sequence becomes what the snapshot says; what it computes next has the same bits as if it had
 * never been away. On failure it stays what it was. UMBRA_E_FORMAT: cut, or of another version;
 * UMBRA_E_CORRUPT: damaged; UMBRA_E_MISMATCH: of another model or of other kernels;
 * UMBRA_E_ARGUMENT: longer than the context. */
UMBRA_API int umbra_engine_restore(umbra_engine *engine, int sequence, const void *in,
                                   uint64_t bytes, umbra_error *err);

/* Names of the kernel tables this CPU runs, best first, "reference" last; NULL past the end. Static
 * storage; any thread. */
UMBRA_API const char *umbra_kernel_name(int index);

/* Peak resident memory of this process in bytes; 0 where the system does not say. Any thread. */
UMBRA_API uint64_t umbra_process_rss_max(void);
/* The same, now. */
UMBRA_API uint64_t umbra_process_rss(void);

#ifdef __cplusplus
}
#endif
#endif
