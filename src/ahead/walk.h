/* A walk ahead: the model itself, run through its next layers on what happens to be in memory, only
 * to find out which experts it will ask for (as a processor runs ahead of a cache miss).
 *
 * From a row's state in some layer, with the experts of that layer computed so far, the walk goes
 * on through attention over the sequence's own keys and values, the router, those of the chosen
 * experts that are in the cache, and so on from layer to layer. What is missing is left out. Behind
 * the last layer it can guess the next token, and go on with that one (or any other) from layer 0.
 * It never reads experts (only rows of a table of n-grams that the model keeps in its file), evicts
 * or appends anything: its own keys and values lie in pages of its own.
 *
 *     umbra_walk_begin(w, rows, place);
 *     while (umbra_walk_step(w)) ...                      the layers of this token
 *     if (umbra_walk_guess(w, &guess) && umbra_walk_token(w, guess.best))
 *         while (umbra_walk_step(w)) ...                  those of the next one
 *
 * For the thread that drives the engine, while the engine waits (UMBRA_TAP_WAIT) or is between two
 * calls; but for walks beside it, below. */
#ifndef UMBRA_AHEAD_WALK_H
#define UMBRA_AHEAD_WALK_H

#include "engine/engine.h"

typedef struct umbra_walk umbra_walk;

enum { UMBRA_WALK_TOKENS = 4 /* of a walk: where it began, and those it goes on with */ };

/* What a walk that has come to a token's end says of the next one. */
typedef struct umbra_walk_next {
    int32_t best, second;                  /* the likeliest ids */
    float probability, second_probability; /* by the walk's own logits, at temperature 1 */
} umbra_walk_next;

/* Memory that a walk takes for this model and a context of so many positions. */
uint64_t umbra_walk_bytes(const umbra_model *model, int context, int threads);
uint64_t umbra_walk_bytes_beside(const umbra_model *model,
                                 int context); /* umbra_walk_open_beside */
/* On failure *out is NULL. */
int umbra_walk_open(umbra_walk **out, umbra_engine *engine, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
void umbra_walk_close(umbra_walk **walk);

/* Whether this layout can be walked beside the engine, by a thread of its own: layers keep nothing
 * but keys and values, which stay as they are while a step is in progress. */
bool umbra_walk_goes_beside(const umbra_model *model);
/* A walk for that: begun by the thread that drives the engine, at UMBRA_TAP_ROUTED and from its
 * end, then stepped by another thread, before the engine ends the step. It computes on that thread
 * alone, that of guesses too. */
int umbra_walk_open_beside(umbra_walk **out, umbra_engine *engine, umbra_error *err);

/* Walks beside that take what is known need not end before they begin again from a later layer of
 * the same row: its state there is posted by the engine's thread and taken by the walk's own, under
 * a lock of the caller's. */
bool umbra_walk_takes_posts(const umbra_walk *walk);
void umbra_walk_post(umbra_walk *walk, const umbra_rows *rows, int t);
/* False: nothing was posted since the walk began. */
bool umbra_walk_renew(umbra_walk *walk);

/* Begins at row t of what the engine computes now, at a layer with experts: at UMBRA_TAP_WAIT with
 * those experts that the engine has computed, or at UMBRA_TAP_HIDDEN or _ROUTED with those that are
 * there. In the layers that follow, a row behind others of its sequence (a draft; only where
 * umbra_walk_takes_drafts) does not see those, since they are not there yet. */
void umbra_walk_begin(umbra_walk *walk, const umbra_rows *rows, int t, umbra_tap_place place);
/* Whether this layout's rows make sense without those before them. */
bool umbra_walk_takes_drafts(const umbra_walk *walk);
/* Begins in front of a token that the engine has not seen, behind the `position` tokens that it has
 * computed of the sequence. False beyond the context. */
bool umbra_walk_begin_token(umbra_walk *walk, int sequence, int position, int32_t id);
/* From now on at most so many experts of a layer are computed, the heaviest that are there; others
 * count as missing. UMBRA_MAX_USED (default): all. */
void umbra_walk_limit(umbra_walk *walk, int experts);
/* From now on (default: not) attention, most of what a layer without experts costs, is taken in
 * each layer from the walk of the same token that came there first, as it was for that one's state;
 * only the router sees the newer one. Not where layers have several streams, n-grams or picks. */
void umbra_walk_take_known(umbra_walk *walk, bool on);
/* The same of what a layer's experts add (default: not), where attention is taken. */
void umbra_walk_take_experts(umbra_walk *walk, bool on);
/* Whether the last step computed attention, and took nothing from a walk before. */
bool umbra_walk_was_new(const umbra_walk *walk);
/* Goes on to the next layer with experts, and routes there. False behind the token's last one, and
 * where a number is not finite. */
bool umbra_walk_step(umbra_walk *walk);

/* Behind the token's last layer, whether the walk has come there at all: output norm and matrix,
 * which cost vocabulary x hidden. */
bool umbra_walk_guess(umbra_walk *walk, umbra_walk_next *out);
/* The same in pieces, of which none takes much longer than a layer: begun where the walk is behind
 * the token's last layer, else false; then the next piece, until it is the last: true, and *out is
 * the guess, best -1 where a number is not finite. In between the walk may begin elsewhere and go
 * any way, but the engine must not end its step, nor another guess be made. */
bool umbra_walk_guess_begin(umbra_walk *walk);
bool umbra_walk_guess_on(umbra_walk *walk, umbra_walk_next *out);
/* Behind the token's last layer: goes on in front of layer 0 with a token at the next position.
 * False where the walk is not there, beyond the context, and beyond UMBRA_WALK_TOKENS. */
bool umbra_walk_token(umbra_walk *walk, int32_t id);

/* The layer that it has come to; of token umbra_walk_tokens(). */
int umbra_walk_layer(const umbra_walk *walk);
/* How many tokens it is behind the one where it began. */
int umbra_walk_tokens(const umbra_walk *walk);
/* How many layers with experts that is from where it began. */
int umbra_walk_distance(const umbra_walk *walk);
/* The share of the experts' weight that was left out on the way, 0 to 1: the largest of a layer. */
float umbra_walk_missing(const umbra_walk *walk);
/* Experts that it has computed since it began. */
int umbra_walk_computed(const umbra_walk *walk);
/* The router's scores there (experts), as they weigh. */
const float *umbra_walk_scores(const umbra_walk *walk);
/* What is added to them for choosing (experts), or NULL. */
const float *umbra_walk_preference(const umbra_walk *walk);
/* The experts that it names there (used), best first. */
const int32_t *umbra_walk_experts(const umbra_walk *walk);

#endif
