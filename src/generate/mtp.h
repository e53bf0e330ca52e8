/* Drafts by the file's own block for further tokens (model/nextn.h): from a token's state behind
 * the last layer and the token that follows, the one behind that; and so on from its own state. It
 * is an engine of one layer beside the model's, with keys, values and experts of its own, and keeps
 * of each of the model's sequences its own. */
#ifndef UMBRA_GENERATE_MTP_H
#define UMBRA_GENERATE_MTP_H

#include <umbra/engine.h>

typedef struct umbra_mtp umbra_mtp;

/* What it takes of a budget of which `plan` is the model's, for so many sequences; 0: the file has
 * no such block. */
uint64_t umbra_mtp_bytes(const umbra_model *model, const umbra_memory_plan *plan, int sequences);
/* On failure *out is NULL. */
int umbra_mtp_open(umbra_mtp **out, umbra_engine *engine, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
void umbra_mtp_close(umbra_mtp **mtp);

/* UMBRA_TAP_LEAVE of rows of texts, the drafts that are checked with them included. */
void umbra_mtp_rows(umbra_mtp *m, const umbra_rows *rows);
/* The tokens that follow the first n of the last rows of a sequence. */
void umbra_mtp_follow(umbra_mtp *m, int sequence, const int32_t *tokens, int n);
/* The sequence holds only the first `length` of its rows. */
void umbra_mtp_cut(umbra_mtp *m, int sequence, int length);
/* The sequence `to` holds what `from` does. */
void umbra_mtp_fork(umbra_mtp *m, int from, int to);
/* Up to `most` drafts of what follows these. Returns how many. */
int umbra_mtp_draft(umbra_mtp *m, int sequence, int most, int32_t *out);
/* The logits (vocabulary) behind each of n pairs of a state and the token that follows it, from an
 * empty text on: for tests. */
int umbra_mtp_logits(umbra_mtp *m, const float *states, const int32_t *tokens, int n, float *out,
                     umbra_error *err);

#endif
