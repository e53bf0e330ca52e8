/* Several texts at once in one engine: each step computes the next token of every text that is
 * being written and a piece of one prompt in a single call of the engine, so that an expert is read
 * once for all of them.
 *
 * A text takes one of the engine's sequences, a slot. What a slot holds stays when its job has
 * ended, until the slot is needed: a prompt that begins as some slot does computes the rest alone.
 * Prompts are admitted in the order in which they arrive and are read a piece each in turns, so
 * that a short one does not wait for the end of a long one; a prompt that shares more of its
 * beginning with one that is still being read waits for that and takes it over.
 *
 * Each text that is being written may check drafts (umbra/draft.h); how many pay is asked of the
 * whole step.
 *
 * Which token comes next depends on a job's prompt and choices alone, never on what is computed
 * beside it, nor on whether its beginning was held. */
#ifndef UMBRA_SCHEDULE_SCHEDULER_H
#define UMBRA_SCHEDULE_SCHEDULER_H

#include <stdatomic.h>

#include <umbra/draft.h>
#include <umbra/engine.h>

#include "schedule/states.h"

typedef struct umbra_scheduler umbra_scheduler;

typedef enum umbra_job_end {
    UMBRA_JOB_UNDER_WAY,
    UMBRA_JOB_STOPPED,   /* an end token came, or the caller said so */
    UMBRA_JOB_LENGTH,    /* max_tokens, or the context, is full */
    UMBRA_JOB_CANCELLED, /* by its flag, or since the scheduler ends */
    UMBRA_JOB_FAILED,    /* the engine did; the job has its error */
} umbra_job_end;

/* A text to be written. The caller's memory: it stays as it is from umbra_scheduler_submit until
 * `ended` was called, the last call of all. All calls come from the thread that drives the
 * scheduler. */
typedef struct umbra_job {
    const int32_t *prompt; /* (prompt_tokens), at least 1, at most the context; checked ids */
    int prompt_tokens;
    int max_tokens;  /* new ones; at least 0; cut to what the context has room for */
    bool ignore_end; /* go on after an end token */
    /* The token that follows tokens (n), from logits (vocabulary); a negative umbra_status fails
     * the job. */
    int32_t (*choose)(void *user, const float *logits, const int32_t *tokens, int n);
    bool (*is_end)(void *user, int32_t id); /* NULL: umbra_is_end_token of the model */
    /* A new token, end tokens excluded; non-zero ends the text. */
    int (*token)(void *user, int32_t id);
    /* The prompt has been read up to here; may be NULL. */
    void (*progress)(void *user, int done, int total);
    void (*ended)(void *user);
    void *user;
    atomic_bool cancelled; /* from any thread: ends it before the next step */

    /* What became of it. */
    umbra_job_end end;
    bool end_token;      /* stopped by one */
    int reused_tokens;   /* of the prompt, whose states were held */
    int restored_tokens; /* of those, read from disk */
    int new_tokens;      /* without the end token */
    uint64_t submitted_ns, admitted_ns, first_token_ns, ended_ns; /* umbra_clock_ns; 0: never */
    umbra_error error;

    struct umbra_job *next; /* the scheduler's */
} umbra_job;

typedef struct umbra_scheduler_options {
    umbra_engine *engine; /* must outlive the scheduler, which alone may use its sequences */
    const umbra_model *model;
    int sequences;        /* of the engine */
    umbra_drafts *drafts; /* of the engine; NULL: none. Must outlive the scheduler */
    int texts;            /* of them at once under way; 0: as many as there are sequences. What is
                             more has room for what prompts may share that models forget */
    umbra_states *states; /* where evicted states go; NULL: nowhere. Must outlive the scheduler */
} umbra_scheduler_options;

/* On failure *out is NULL. */
int umbra_scheduler_open(umbra_scheduler **out, const umbra_scheduler_options *options,
                         umbra_error *err);
/* Jobs must have ended. Accepts NULL and nulls the pointer. */
void umbra_scheduler_close(umbra_scheduler **scheduler);

/* ---- any thread ---- */

/* False: the scheduler takes no more jobs; `ended` is not called. */
bool umbra_scheduler_submit(umbra_scheduler *s, umbra_job *job);
/* Ends the job before the next step. It must not have ended. */
void umbra_scheduler_cancel(umbra_scheduler *s, umbra_job *job);
/* No more jobs are taken, and those that wait are cancelled; with `now` those under way as well.
 * When the last has ended umbra_scheduler_run returns. */
void umbra_scheduler_finish(umbra_scheduler *s, bool now);

typedef enum umbra_text_state {
    UMBRA_TEXT_IDLE,    /* holds what a job has left, or nothing */
    UMBRA_TEXT_READING, /* a prompt */
    UMBRA_TEXT_WRITING,
} umbra_text_state;

typedef struct umbra_text_stats {
    umbra_text_state state;
    int held;          /* tokens computed */
    int prompt_tokens; /* of the job */
    int new_tokens;
} umbra_text_stats;

typedef struct umbra_scheduler_stats {
    uint64_t steps, busy_ns;
    uint64_t prompt_tokens;   /* of all jobs admitted */
    uint64_t reused_tokens;   /* of them, that were held in memory */
    uint64_t restored_tokens; /* of them, that were read from disk */
    uint64_t computed_tokens; /* of prompts */
    uint64_t new_tokens;
    uint64_t jobs[UMBRA_JOB_FAILED + 1]; /* by how they ended */
    int waiting, reading, writing;
    double prompt_per_second; /* tokens, lately; 0: not known */
    uint64_t refill_bytes;    /* of experts that a process before had in its cache, which are read
                                 back */
    umbra_store_stats store;  /* as of the last step, as the rest */
    umbra_draft_stats drafts; /* zeros, and source off: none are made */
} umbra_scheduler_stats;

void umbra_scheduler_get_stats(umbra_scheduler *s, umbra_scheduler_stats *out);
/* Fills out (sequences). */
void umbra_scheduler_get_slots(umbra_scheduler *s, umbra_text_stats *out);

/* ---- the thread that drives ---- */

/* One step. False: there was nothing to do. */
bool umbra_scheduler_step(umbra_scheduler *s);
/* Steps, and waits for jobs, until umbra_scheduler_finish; then puts what is held on disk, and
 * which experts the cache has. In pauses it does that, too, and reads back the experts that it had
 * before a restart. */
void umbra_scheduler_run(umbra_scheduler *s);

#endif
