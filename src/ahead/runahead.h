/* Reading ahead by walking: while the engine waits for a read, the walk names the experts of the
 * coming layers from what is in memory, and they are foretold to the store. Behind the last layer
 * it guesses the next token where there is time for that, and foretells its first layers.
 *
 * Where several sequences decode in a step, or drafts are checked, their walks take turns. Letters:
 * S sequences. */
#ifndef UMBRA_AHEAD_RUNAHEAD_H
#define UMBRA_AHEAD_RUNAHEAD_H

#include <umbra/prefetch.h>

#include "ahead/recall.h"
#include "engine/engine.h"

typedef struct umbra_runahead umbra_runahead;

/* Whether a row is a draft, checked with the row before it. It may be wrong, so nothing is learnt
 * by it, but what it needs is read with what that row needs. */
static inline bool umbra_is_draft(const umbra_rows *rows, int t)
{
    return t > 0 && !rows->prompt[t] && rows->tokens[t].sequence == rows->tokens[t - 1].sequence;
}

/* Memory that it takes. */
uint64_t umbra_runahead_bytes(const umbra_model *model, int context, int threads, int sequences);
/* What is foretold is counted in `recall`, which outlives it, or is NULL. On failure *out is
 * NULL. */
int umbra_runahead_open(umbra_runahead **out, umbra_engine *engine, umbra_recall *recall,
                        umbra_error *err);
/* Accepts NULL and nulls the pointer. */
void umbra_runahead_close(umbra_runahead **runahead);

/* A step begins: what was guessed of its tokens has come true or not. */
void umbra_runahead_enter(umbra_runahead *r, const umbra_rows *rows);
/* UMBRA_TAP_ROUTED: what was foretold of the layer has come true or not. */
void umbra_runahead_routed(umbra_runahead *r, const umbra_rows *rows);
/* UMBRA_TAP_ROUTED, while reading ahead: where a core is to spare and idle, it walks from here. */
void umbra_runahead_beside(umbra_runahead *r, const umbra_rows *rows);
/* UMBRA_TAP_WAIT: walks until what the engine waits for is there. */
void umbra_runahead_wait(umbra_runahead *r, const umbra_rows *rows);

/* See umbra_prefetch_get_guess and umbra_prefetch_draft. */
bool umbra_runahead_get_guess(const umbra_runahead *r, int sequence, umbra_token_guess *out);
int umbra_runahead_draft(umbra_runahead *r, int sequence, int32_t id, int n,
                         umbra_token_guess *out);

void umbra_runahead_get_stats(const umbra_runahead *r, umbra_runner_stats *out);

#endif
