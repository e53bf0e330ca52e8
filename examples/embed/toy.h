/* An engine of somebody else, as small as it can be: a decoder with its own attention and routers,
 * of random weights. It knows nothing of Umbra: its experts are computed by whoever calls it.
 *
 * Letters: L layers, H hidden, E experts per layer, K experts used per token, W an expert's width.
 */
#ifndef EMBED_TOY_H
#define EMBED_TOY_H

#include <stdint.h>

enum {
    TOY_L = 8,
    TOY_H = 96,
    TOY_E = 24,
    TOY_K = 3,
    TOY_W = 192,
    TOY_VOCABULARY = 256,
    TOY_POSITIONS = 512,
    TOY_SLICE_BYTES = TOY_W * TOY_H * (int)sizeof(float),
    TOY_HEADER_BYTES = 100, /* of the experts' file: only what floats need is aligned */
};

/* An expert is three matrices, one after the other in the file: */
enum { TOY_GATE, TOY_UP, TOY_DOWN, TOY_PARTS }; /* (W, H), (W, H), (H, W) */

/* Where a part of an expert lies in the experts' file. */
static inline uint64_t toy_offset(int layer, int expert, int part)
{
    return TOY_HEADER_BYTES +
           ((uint64_t)(layer * TOY_E + expert) * TOY_PARTS + (uint64_t)part) * TOY_SLICE_BYTES;
}

/* What stays in memory: everything but the experts. */
typedef struct toy_model {
    float embedding[TOY_VOCABULARY][TOY_H];
    float query[TOY_L][TOY_H][TOY_H], key[TOY_L][TOY_H][TOY_H], value[TOY_L][TOY_H][TOY_H];
    float norm[TOY_L][TOY_H]; /* gain of the norm before the router */
    float router[TOY_L][TOY_E][TOY_H];
} toy_model;

/* One text in progress. */
typedef struct toy_state {
    float x[TOY_H]; /* the residual stream */
    float keys[TOY_L][TOY_POSITIONS][TOY_H], values[TOY_L][TOY_POSITIONS][TOY_H];
    int position;
} toy_state;

/* Invents a model: the same one for the same seed. Writes the experts' file. 0, or -1 with errno.
 */
int toy_make(toy_model *model, const char *experts_path, uint64_t seed);

/* The embedding of a token into state->x. */
void toy_enter(const toy_model *model, toy_state *state, int token);
/* Attention of one layer; state->x is the state that the router sees then. */
void toy_attend(const toy_model *model, toy_state *state, int layer);
/* The router: the experts used, best first, their weights, and the experts' common input (H). */
void toy_route(const toy_model *model, const toy_state *state, int layer, int32_t experts[TOY_K],
               float weights[TOY_K], float input[TOY_H]);
/* One expert, out of its three matrices: out (H). */
void toy_expert(const float *gate, const float *up, const float *down, const float input[TOY_H],
                float out[TOY_H]);
/* Adds the experts' outputs (K, H) to the stream, in the router's order: the sum's bits do not
 * depend on the order in which they were computed. */
void toy_join(toy_state *state, const float weights[TOY_K], const float outputs[TOY_K][TOY_H]);
/* The end of a token; returns the best next one. */
int toy_leave(const toy_model *model, toy_state *state);

#endif
