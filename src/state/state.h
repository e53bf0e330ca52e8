/* What sequences remember: per layer, keys and values (or latents) of their positions, or the state
 * that a recurrent layer makes of them all.
 *
 * Memory is one arena per size of page, planned for every sequence at its full context, so nothing
 * here fails for want of room once it is open. A layer with a window keeps the pages of its window
 * alone. Forks share whole pages; a page that is still being written belongs to one sequence. A
 * recurrent layer has two states of each sequence: the one before the last step and the one behind
 * it, so that a step that fails leaves no trace, and one of at most UMBRA_TAKE_BACK positions can
 * be taken back from its end.
 *
 * One thread drives a state. Another may read, through a view, what lies below the length at which
 * it took the view, while the driver goes on with the sequence: rows of positions are
 * written once. A view ends when its sequence is truncated, forked into or loaded, and in windowed
 * layers when it has grown by more than UMBRA_KV_PAGE positions. */
#ifndef UMBRA_STATE_STATE_H
#define UMBRA_STATE_STATE_H

#include <umbra/status.h>

#include "device/device.h"

typedef struct umbra_state umbra_state;

/* What is to be remembered. A "layer" is all that is kept in one form: a layer of a model may keep
 * several things. */
typedef struct umbra_state_shape {
    const umbra_kv_form *forms; /* (layers); copied */
    int layers;
    int sequences;
    int context;                           /* positions of each */
    int step;                              /* most positions added to a sequence at once */
    const umbra_recurrent_form *recurrent; /* (layers); copied. NULL: no layer is recurrent */
    const umbra_device *device;            /* computes states again; outlives the state */
} umbra_state_shape;

/* Bytes that a state of this shape takes. */
uint64_t umbra_state_bytes(const umbra_state_shape *shape);
/* On failure *out is NULL. */
int umbra_state_open(umbra_state **out, const umbra_state_shape *shape, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
void umbra_state_close(umbra_state **state);

const umbra_kv_form *umbra_state_form(const umbra_state *s, int layer);
/* Positions held. */
int umbra_state_length(const umbra_state *s, int sequence);

/* A step begins that may add up to `step` positions to the sequence; what was reserved and not
 * advanced over before is given up. */
void umbra_state_begin(umbra_state *s, int sequence);
/* The sequence's next position, with room for it in every layer; it is within the context. */
int umbra_state_reserve(umbra_state *s, int sequence);
/* Positions reserved behind what the sequence holds. */
int umbra_state_pending(const umbra_state *s, int sequence);
/* The first n reserved positions are written in every layer: the sequence holds them now. */
void umbra_state_advance(umbra_state *s, int sequence, int n);
/* What a row at `position` sees, its own included; position was held or
 * reserved. */
umbra_kv_view umbra_state_view(const umbra_state *s, int layer, int sequence, int position);

/* The states that a recurrent layer goes on from, and to, in the step in progress. */
umbra_recurrent_view umbra_state_recurrent(const umbra_state *s, int layer, int sequence);

/* Forgets positions from `length` on. Returns what is held now: `length`, or 0 where a windowed
 * layer has forgotten what position `length` would see, or a recurrent one has no state of it: it
 * has those of the last step's positions, if these are at most UMBRA_TAKE_BACK, and of the one
 * before. */
int umbra_state_truncate(umbra_state *s, int sequence, int length);
/* `to` becomes what `from` is; both go on independently. */
void umbra_state_fork(umbra_state *s, int from, int to);

/* snapshot.c: a sequence as bytes, without any header: for each layer the rows that its last
 * position sees, so that this one can be taken back and computed again; of recurrent layers what is
 * needed to take back as much as here. */
uint64_t umbra_state_save_bytes(const umbra_state *s, int length);
void umbra_state_save(const umbra_state *s, int sequence, char *out);
/* in: umbra_state_save_bytes(s, length) of a state of the same forms; length is within the
 * context. */
void umbra_state_load(umbra_state *s, int sequence, int length, const char *in);

#endif
