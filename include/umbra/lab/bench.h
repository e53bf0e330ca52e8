/* Timing of single parts on this machine. */
#ifndef UMBRA_LAB_BENCH_H
#define UMBRA_LAB_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/draft.h>
#include <umbra/prefetch.h>
#include <umbra/profile.h>
#include <umbra/progress.h>
#include <umbra/shadow.h>
#include <umbra/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What to time: a file, or a shape. */
typedef struct umbra_bench_predictor_options {
    const char *shadow;        /* file to time; NULL: a "seed" network of random weights, hidden
                                  -> width -> 4 x experts: */
    int hidden;                /* width of the state */
    int width;                 /* inner width */
    int experts;               /* per layer */
    int layers;                /* copies to cycle through; 0: 61 */
    umbra_weight_form weights; /* default: I8 */
    const char *kernels; /* "scalar", "avx2", "avxvnni", "avx512", "amx", "neon"; NULL or "auto" */
    int threads;         /* predicting at once; 0: 1 */
    int calls;           /* per thread and mode; 0: 4000 */
    const umbra_progress *progress; /* may be NULL */
    uint64_t reserved[4];           /* room for options to come: zeros */
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
    uint64_t reserved[4];     /* room for figures to come: zeros */
} umbra_bench_predictor_result;

/* Times single predictions and, in turn with them, plain reads of the same bytes. UMBRA_E_ARGUMENT:
 * a shape or number out of range, or an unknown name; on failure *out is not to be used. Starts
 * threads of its own; nothing else should compute meanwhile. */
UMBRA_API int umbra_bench_predictor(const umbra_bench_predictor_options *options,
                                    umbra_bench_predictor_result *out, umbra_error *err);

/* ---- a model under budgets and policies ---- */

/* The profile of one run. */
typedef struct umbra_bench_profile {
    const char *policy;    /* its name; "resident" is everything in memory */
    const char *io;        /* backend, as it was given */
    uint64_t ram_bytes;    /* budget of the process */
    int threads;           /* that computed */
    const char *kernels;   /* static storage */
    umbra_profile profile; /* where the time went */
} umbra_bench_profile;

/* What to bench. Lists are read during the call only. */
typedef struct umbra_bench_options {
    umbra_engine_options engine;  /* ram_bytes and io are taken from the lists below */
    const uint64_t *ram;          /* (n_ram) budgets; 0: as much as is free, or all */
    int n_ram;                    /* budgets in ram */
    const char *const *io;        /* (n_io) backends; none: auto */
    int n_io;                     /* backends in io */
    const umbra_policy *policies; /* (n_policies) as in umbra_prefetch_options; none: off, previous,
                                     gate, shadow (if there is one), runahead, auto, oracle */
    int n_policies;               /* names in policies */
    const char *shadow;           /* as in umbra_prefetch_options */
    void (*warn)(void *user, const char *message); /* the same */
    void *user;                                    /* the same */
    int every;                                     /* the same */
    const char *prompt;                            /* NULL: a short English one */
    int warm_tokens;                               /* decoded before the clock runs; 0: 32 */
    int tokens;                                    /* decoded while the clock runs; 0: 128 */
    int rounds;                                    /* 0: 5 */
    float temperature;                             /* of the text; 0: 0.8; negative: 0, the best
                                                      token */
    uint64_t seed;                                 /* of the text; 0: 1 */
    const char *against; /* a peer's command, run by sh between the rounds; or NULL */
    /* Where the last round of each setup spent its time, warm tokens and prompt included, if
     * engine.profile asks for it; may be NULL. */
    void (*profile)(void *user, const umbra_bench_profile *profile);
    /* (n_drafts) ways to draft, each with every policy; none: off alone. "off", "auto", "lookup",
     * "runahead" (with the policy of that name alone), "mtp", each with ":N" for at most N drafts
     * of a step; or "told:SHARE": drafts are the text's own tokens, each with that probability, as
     * many as pay, or with ":N" always N. */
    const char *const *drafts;
    int n_drafts;         /* words in drafts */
    uint64_t reserved[1]; /* room for options to come: zeros */
} umbra_bench_options;

/* Of the rounds. */
typedef struct umbra_spread {
    double median; /* the middle round */
    double min;    /* the slowest */
    double max;    /* the fastest */
} umbra_spread;

/* One policy at one budget on one backend. Bytes and times are those of the median round. */
typedef struct umbra_bench_row {
    const char *policy;       /* its name, with drafts "+" and their word behind it; "resident" is
                                 everything in memory. Lives as long as the row */
    const char *io;           /* backend, as it was given */
    uint64_t ram_bytes;       /* budget of the process */
    double residency;         /* share of the experts that fit */
    umbra_spread tok_s;       /* tokens per second */
    double token_s;           /* time of a token */
    double compute_s;         /* C: the same with everything in memory, or without its waits */
    bool compute_is_estimate; /* C is the time of policy off without its waits */
    double io_s;              /* I: bytes that policy off reads per token / rate */
    double bound_share;       /* max(C, I) / token_s */
    double disk_bytes_per_s;  /* what the backend reads experts at */
    double disk_busy;         /* share of the time that the bytes read take at that rate */
    double hits;              /* share of the experts that were there when asked for */
    double bytes_per_token;   /* read */
    double useful_bytes;      /* per token: read ahead, there when used */
    double late_bytes;        /* per token: read ahead, waited for */
    double wasted_bytes;      /* per token: read ahead, evicted unused */
    double distance_bytes[UMBRA_MAX_DISTANCE + 1][3]; /* per token: useful, late, wasted */
    double stall_s;                                   /* per token: waiting for reads */
    double predict_s;                                 /* per token: predicting, on whatever core */
    double on;                                        /* share of the tokens with reading ahead */
    double *layer_stall_s;                            /* (layers) per token */
    umbra_store_event *events; /* (n_events) of a token of about median time */
    int n_events;              /* in events */
    uint64_t event_begin_ns;   /* when that token began */
    uint64_t event_end_ns;     /* when it ended */
    char name[48];             /* storage of policy */
    umbra_recall_stats recall; /* of the median round: what became of forecasts */
    umbra_draft_stats drafts;  /* of the median round, while the clock ran; source off: none */
} umbra_bench_row;

/* What a bench found. */
typedef struct umbra_bench {
    int layers;                 /* of the model */
    int n_rows;                 /* in rows */
    int tokens;                 /* decoded while the clock ran */
    int warm_tokens;            /* decoded before */
    int rounds;                 /* of each policy */
    int threads;                /* that computed */
    const char *kernels;        /* static storage */
    char model[256];            /* name */
    uint64_t expert_bytes;      /* of the model */
    umbra_bench_row *rows;      /* (n_rows) by backend, then budget, then policy */
    const char *against;        /* or NULL */
    umbra_spread against_tok_s; /* 0 where its output names no speed */
} umbra_bench;

/* Lets the model write the same text under every policy, budget and backend, in turns, and
 * measures. UMBRA_E_CORRUPT: the texts differed, which must never be. On failure *out is NULL. */
UMBRA_API int umbra_bench_model(umbra_bench **out, const umbra_model *model,
                                const umbra_bench_options *options, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
UMBRA_API void umbra_bench_free(umbra_bench **bench);

/* Writes one HTML file that needs no other, whole or not at all: verdicts, tables, charts and the
 * timeline of a token. UMBRA_E_IO: it cannot be written. */
UMBRA_API int umbra_bench_report(const umbra_bench *bench, const char *path, umbra_error *err);

#ifdef __cplusplus
}
#endif
#endif
