/* Generation: a prompt goes in, tokens come out. One thread at a time, that of the engine. */
#ifndef UMBRA_GENERATE_H
#define UMBRA_GENERATE_H

#include <umbra/draft.h>
#include <umbra/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the next token is drawn from the logits: by default the best one (greedy). */
typedef struct umbra_sampling {
    float temperature; /* 0: greedy; else logits are divided by it */
    float top_p;       /* keep the most probable tokens that sum to this much, 0 < p < 1, at least
                          the best; 0 (not given) or 1: keep all. The best alone is temperature 0 */
    uint64_t seed;     /* the same seed, model, prompt and kernels give the same text */
    uint64_t reserved[4]; /* room for options to come: zeros */
} umbra_sampling;

/* Draws tokens; keeps its random state. One thread at a time; needs no engine. */
typedef struct umbra_sampler umbra_sampler;

/* For logits of `vocabulary` values; sampling is copied, NULL: greedy. UMBRA_E_ARGUMENT: a value
 * out of range. On failure *out is NULL. */
UMBRA_API int umbra_sampler_open(umbra_sampler **out, const umbra_sampling *sampling,
                                 int vocabulary, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
UMBRA_API void umbra_sampler_close(umbra_sampler **sampler);
/* The next token for logits (vocabulary), 0 <= id < vocabulary whatever they are: NaN is never
 * drawn unless all are NaN, equal ones (infinity too) are equally likely, of -infinity beside
 * others none is drawn; in greedy, lower ids win ties. logits are not changed. */
UMBRA_API int32_t umbra_sampler_next(umbra_sampler *sampler, const float *logits);

/* How to go on from a prompt. */
typedef struct umbra_generate_options {
    umbra_sampling sampling; /* how tokens are drawn */
    int max_tokens;          /* stop after so many new tokens; 0: as many as the context has room
                                for; negative: none, the prompt is only read */
    bool ignore_end;         /* go on after an end token */
    int sequence;            /* which sequence of the engine; the prompt is appended to it */
    /* Called for every new token as soon as it is known (end tokens excluded). May be NULL;
     * non-zero stops the generation without error. */
    int (*on_token)(void *user, int32_t id);
    void *user;                     /* handed to on_token */
    const umbra_progress *progress; /* of this call; may be NULL */
    umbra_drafts *drafts; /* of the engine: what the text is to be drafted by; NULL: by nothing.
                             Nothing changes by it but time */
    uint64_t reserved[3]; /* room for options to come: zeros */
} umbra_generate_options;

/* What a generation did. */
typedef struct umbra_generation {
    int prompt_tokens;          /* as given */
    int new_tokens;             /* without the end token */
    bool ended;                 /* an end token came */
    double prefill_seconds;     /* prompt to first token known */
    double decode_seconds;      /* first new token to the last */
    int decode_steps;           /* evaluations in decode_seconds */
    int decode_tokens;          /* that these gave, an end token included: as many, or more where
                                   drafts were right */
    double decode_wait_seconds; /* of decode_seconds, waiting for experts to be read */
    uint64_t reserved[4];       /* room for figures to come: zeros */
} umbra_generation;

/* Appends prompt (prompt_tokens) to the sequence and generates.
 * On UMBRA_E_INTERRUPTED and other errors *out tells how far it came. The context must hold
 * prompt + max_tokens - 1, and there must be a prompt (UMBRA_E_ARGUMENT otherwise). The model is
 * the engine's. options may be NULL. For the thread that drives the engine, which must not be used
 * from on_token. */
UMBRA_API int umbra_generate(umbra_engine *engine, const umbra_model *model, const int32_t *prompt,
                             int prompt_tokens, const umbra_generate_options *options,
                             umbra_generation *out, umbra_error *err);

#ifdef __cplusplus
}
#endif
#endif
