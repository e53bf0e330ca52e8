/* The engine's face to the modules above it, beside what include/umbra/engine.h promises. What is
 * inside stays in internal.h, which only this folder includes. */
#ifndef UMBRA_ENGINE_ENGINE_H
#define UMBRA_ENGINE_ENGINE_H

#include <umbra/engine.h>

#include "base/pool.h"
#include "device/kv.h"
#include "device/recurrent.h"
#include "kernels/kernels.h"
#include "model/model.h"

struct umbra_pass;
struct umbra_scratch;

/* What the engine works with. The pool and the store are lent: between two calls of the engine they
 * are idle. */
const umbra_model *umbra_engine_model(const umbra_engine *engine);
const umbra_kernels *umbra_engine_kernels(const umbra_engine *engine);
umbra_store *umbra_engine_store(const umbra_engine *engine);
int umbra_engine_sequences(const umbra_engine *engine);
umbra_pool *umbra_engine_pool(const umbra_engine *engine);

/* Among ranks: which one this is (alone: 0), and whether it has the expert. */
int umbra_engine_rank(const umbra_engine *engine);
/* How many there are; alone: 1. */
int umbra_engine_ranks(const umbra_engine *engine);
bool umbra_engine_owns(const umbra_engine *engine, int layer, int expert);
/* umbra_store_get_uses, of all ranks together, who must all call it. */
int umbra_engine_uses(const umbra_engine *engine, uint64_t *out, umbra_error *err);

/* UMBRA_E_MISMATCH, on all ranks, where their engines would not come to the same bits: another
 * version, set of kernels, context, model. */
int umbra_engine_compare(const umbra_engine *engine, const umbra_ranks *ranks, umbra_error *err);

/* umbra_engine_open, which calls early(user, engine) as soon as there is a plan and the store can
 * be driven, before the dense weights are read: what it starts to read goes on beside them. Any
 * other status than UMBRA_OK ends the opening. */
typedef int (*umbra_engine_early_fn)(void *user, umbra_engine *engine, umbra_error *err);
int umbra_engine_open_early(umbra_engine **out, const umbra_model *model,
                            const umbra_engine_options *options, umbra_engine_early_fn early,
                            void *user, umbra_error *err);
/* Finds out now what snapshots are marked with, which takes a look at all dense weights: else the
 * first one does. */
int umbra_engine_identify(umbra_engine *engine, umbra_error *err);

/* A store of so many bytes for the model's experts, as an engine with these options would open it.
 */
int umbra_engine_open_store(umbra_store **out, const umbra_model *model,
                            const umbra_engine_options *options, uint64_t bytes, umbra_error *err);

/* Several rows of this sequence in one call are the next token and guesses of those behind it,
 * which are checked together: they count as decoding, not as a prompt. Holds until it is set
 * otherwise. */
void umbra_engine_set_checking(umbra_engine *engine, int sequence, bool on);

/* An engine for a block of the lender's model (model/nextn.h), whose weights it uses where they are
 * the same; the lender must outlive it. */
int umbra_engine_open_block(umbra_engine **out, const umbra_model *block,
                            const umbra_engine *lender, const umbra_engine_options *options,
                            umbra_error *err);
/* The states of the rows in progress (rows, hidden): at UMBRA_TAP_ENTER they may be replaced. */
float *umbra_engine_states(umbra_engine *engine);

/* A tap that goes along with every call, beside the call's own; logits and progress are not used.
 * NULL detaches it. Copied. */
void umbra_engine_attach(umbra_engine *engine, const umbra_tap *tap);
/* Calls ended(user) behind every chunk, however it ended, before anything of its sequences can
 * change: whoever reads them on another thread stops. NULL detaches it. */
void umbra_engine_attach_end(umbra_engine *engine, void (*ended)(void *user), void *user);

/* For a second pass beside the engine's own (ahead/walk.c): everything but scratch and rows. Valid
 * while the engine is open. */
void umbra_engine_pass(const umbra_engine *engine, struct umbra_pass *out);
/* In which form something is kept (0 to umbra_config.kept - 1): values of `unit` bytes, but those
 * that are F32 whatever the kernels are. */
umbra_kv_form umbra_engine_form(const umbra_config *config, int kept, uint32_t unit);
/* What a row at `position` of a sequence sees of a layer, or of what else is kept
 * (umbra_config.kept). */
umbra_kv_view umbra_engine_view(const umbra_engine *engine, int layer, int sequence, int position);
/* The states of a recurrent layer before and behind the step in progress. */
umbra_recurrent_view umbra_engine_recurrent(const umbra_engine *engine, int layer, int sequence);
/* From UMBRA_TAP_WAIT: the residual of the chunk's row t, (streams, hidden), with the experts of
 * the layer that are computed so far. Returns the share of their weight that is not yet there, 0
 * to 1.
 */
float umbra_engine_partial(umbra_engine *engine, int layer, int t, float *residual);
/* What the chunk's row t is so far: its id, position and rotary angles, x, and several streams. */
void umbra_engine_row(const umbra_engine *engine, int t, struct umbra_scratch *out);
/* Lends a second pass the room for one row of logits, which the engine itself uses only behind the
 * last layer: scratch->out and scratch->logits. For the thread that drives the engine. */
void umbra_engine_lend_output(const umbra_engine *engine, struct umbra_scratch *scratch);

/* The router of a layer with the norm before it folded in, (experts, hidden): its scores for a
 * state h are gate * (h / rms(h)), without the biases that some layouts add. All 0 for a layer
 * without experts. */
void umbra_engine_gate(const umbra_engine *engine, int layer, float *gate);
/* The experts of a layer (used) that this token's id alone names; NULL where the router chooses. */
const int32_t *umbra_engine_token_experts(const umbra_engine *engine, int layer, int32_t id);

#endif
