/* States of texts on disk: what a sequence remembers, under the tokens that it has read, so that a
 * prompt that begins alike need not be computed again, also after a restart; and which experts the
 * cache held, so that the next process need not wait for them.
 *
 * A folder holds a file per state, and one per model for experts. Files appear whole or not at all,
 * are checked by their hashes on the way back, are of use to the model and kernels that wrote them
 * alone, and go in the order of their last use when the folder outgrows its limit. Damaged ones are
 * removed.
 *
 * One thread, that of the engine, calls these functions; files are written by a thread of the
 * states' own. */
#ifndef UMBRA_SCHEDULE_STATES_H
#define UMBRA_SCHEDULE_STATES_H

#include <umbra/engine.h>

typedef struct umbra_states umbra_states;

typedef struct umbra_states_options {
    const char *folder;    /* made if it is not there, for its owner alone */
    uint64_t most_bytes;   /* of all files in it */
    const char *model;     /* umbra_model_hash */
    const char *kernels;   /* of the plan */
    bool forgets;          /* layers do: a longer state is of no use to a shorter prompt */
    uint64_t buffer_bytes; /* of the largest state; larger ones are passed over */
    void (*warn)(void *user, const char *message); /* a state could not be written or read */
    void *user;
} umbra_states_options;

/* Finds what is in the folder. UMBRA_E_IO: it cannot be used, or another program uses it. On
 * failure *out is NULL. */
int umbra_states_open(umbra_states **out, const umbra_states_options *options, umbra_error *err);
/* Waits for what is being written. Accepts NULL and nulls the pointer. */
void umbra_states_close(umbra_states **states);

/* Takes a copy of the sequence, which holds n tokens, and has it written. prompt_per_second: tokens
 * that are computed, 0 if that is not known: what is quicker to compute than to read is passed
 * over. wait: for the file that is being written; else this one is passed over while there is one.
 * Returns whether there is nothing more to do: it is written, or there, or not worth it. */
bool umbra_states_save(umbra_states *s, umbra_engine *engine, int sequence, const int32_t *tokens,
                       int n, double prompt_per_second, bool wait);

/* Makes the sequence hold as much of the beginning of tokens (n) as there is, if that is more than
 * `held` tokens, which it holds already, and sooner read than computed. False: nothing was read,
 * and it holds what it did; else umbra_engine_length says how many tokens it holds. */
bool umbra_states_restore(umbra_states *s, umbra_engine *engine, int sequence,
                          const int32_t *tokens, int n, int held, double prompt_per_second);

/* Writes which experts the engine's cache holds, for umbra_states_refill after a restart. wait: for
 * the file that is being written; else nothing is done while there is one. Returns whether it was.
 */
bool umbra_states_save_experts(umbra_states *s, umbra_engine *engine, bool wait);
/* Makes what umbra_states_save_experts wrote for this model last what the engine's store reads back
 * (store/refill.h), the first time. Returns the bytes that were to be read then; 0: there is
 * nothing. */
uint64_t umbra_states_refill(umbra_states *s, umbra_engine *engine);

typedef struct umbra_states_stats {
    uint64_t files;                           /* states */
    uint64_t bytes;                           /* of all files */
    uint64_t written, read, damaged, evicted; /* files since opening */
} umbra_states_stats;

/* Any thread. */
void umbra_states_get_stats(umbra_states *s, umbra_states_stats *out);

#endif
