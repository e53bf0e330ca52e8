/* Generation: a prompt goes in, tokens come out. One thread at a time, that of the engine. */
#ifndef UMBRA_GENERATE_H
#define UMBRA_GENERATE_H

#include <umbra/draft.h>
#include <umbra/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is added to the logit of a token. */
typedef struct umbra_bias {
    int32_t id;  /* 0 .. vocabulary-1 */
    float value; /* -infinity: never drawn, unless nothing else can be */
} umbra_bias;

/* How the next token is drawn from the logits: by default the best one (greedy). In this order:
 * penalties, bias, what may follow at all (allow), temperature, and then each of top-k, typical-p,
 * top-p and min-p looks at what the one before has left. */
typedef struct umbra_sampling {
    float temperature; /* 0: greedy; else logits are divided by it, at most 100 */
    float top_p;       /* keep the most probable tokens that sum to this much, 0 < p < 1, at least
                          the best; 0 (not given) or 1: keep all. The best alone is temperature 0 */
    uint64_t seed;     /* the same seed, model, prompt and kernels give the same text */
    int top_k;         /* keep so many of the most probable tokens; 0: all */
    float min_p;       /* keep what is at least this times as probable as the best, 0 < p <= 1;
                          0: all */
    float typical_p;   /* keep the tokens whose surprise is nearest to the expected one, up to this
                          sum, 0 < p < 1; 0 or 1: all */
    float repetition_penalty; /* of tokens that were there, logits above 0 are divided by it, others
                                 multiplied; above 0, at most 10; 0 or 1: none */
    float presence_penalty;   /* taken from their logits, -2..2; 0: none */
    float frequency_penalty;  /* the same once for every time that they were there, -2..2 */
    int penalty_tokens;       /* the last tokens, the prompt's too, that penalties look at; 0: 64;
                                 negative: all */
    int n_bias;               /* of bias */
    const umbra_bias *bias;   /* (n_bias) copied; a token that stands there twice gets the sum */
    /* What may come after tokens (n): fills allowed, a bit per token of the vocabulary, id i being
     * bit i % 64 of word i / 64, and returns 1; or returns 0: anything may; or an umbra_status, and
     * the drawing fails with it. A function of the tokens alone, since tokens that were drawn may
     * be taken back. NULL: anything may. */
    int (*allow)(void *user, const int32_t *tokens, int n, uint64_t *allowed);
    void *user;           /* handed to allow */
    uint64_t reserved[4]; /* room for options to come: zeros */
} umbra_sampling;

/* Draws tokens. It remembers nothing between two draws: what is drawn depends on the options, the
 * logits and the tokens before alone, so that several continuations can be looked at, and one be
 * taken back. One thread at a time; needs no engine. */
typedef struct umbra_sampler umbra_sampler;

/* For logits of `vocabulary` values; sampling is copied, NULL: greedy. UMBRA_E_ARGUMENT: a value
 * out of range. On failure *out is NULL. */
UMBRA_API int umbra_sampler_open(umbra_sampler **out, const umbra_sampling *sampling,
                                 int vocabulary, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
UMBRA_API void umbra_sampler_close(umbra_sampler **sampler);
/* The token at position n of a text whose tokens so far, with the prompt's, are tokens (n; may be
 * NULL where neither penalties nor allow look at them). The random number depends on the seed and n
 * alone. 0 <= id < vocabulary whatever the logits (vocabulary) are: NaN is never drawn unless all
 * are NaN, equal ones (infinity too) are equally likely, of -infinity beside others none is drawn;
 * in greedy, lower ids win ties. logits are not changed. A negative umbra_status: allow failed, or
 * lets nothing follow (UMBRA_E_UNSUPPORTED). */
UMBRA_API int32_t umbra_sampler_next(umbra_sampler *sampler, const float *logits,
                                     const int32_t *tokens, int n);

/* A token and how probable the model holds it to be. */
typedef struct umbra_logprob {
    int32_t id;    /* of the token */
    float logprob; /* natural logarithm of its probability */
} umbra_logprob;

/* By the logits (vocabulary) as they are, before any option of sampling: of the token id in *chosen
 * (may be NULL), and of the `most` best, best first, in best (most; lower ids win ties). Returns
 * how many there are in best. Any thread. */
UMBRA_API int umbra_logprobs(const float *logits, int vocabulary, int32_t id, umbra_logprob *chosen,
                             umbra_logprob *best, int most);

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
    /* The tokens that the sequence holds before the prompt (umbra_engine_length of them), for what
     * sampling looks back at; NULL: it sees the prompt first. */
    const int32_t *before;
    umbra_drafts *drafts; /* of the engine: what the text is to be drafted by; NULL: by nothing.
                             Nothing changes by it but time */
    uint64_t reserved[2]; /* room for options to come: zeros */
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
