/* What a walk is made of, for the two files that have to do with it: walk.c, its way, and
 * walk_open.c, its memory. */
#ifndef UMBRA_AHEAD_WALK_INTERNAL_H
#define UMBRA_AHEAD_WALK_INTERNAL_H

#include "ahead/walk.h"
#include "engine/steps/steps.h"

/* Where a layer keeps the walk's own keys and values, or its recurrent state. */
typedef struct walk_rows {
    uint64_t page; /* bytes from the arena's start */
    int row;       /* of that page */
} walk_rows;

/* Of which token it is known what a layer's attention adds to the residual, and, where that is
 * taken too, its experts. */
typedef struct walk_known {
    int sequence, position; /* position -1: of none */
    int32_t id;
    bool experts;  /* what they add is known */
    float missing; /* the share of their weight that was left out */
} walk_known;

/* A guess of the next token that has been begun: of the first rows of the output matrix, the best
 * two and the logarithm of the sum of all exponentials. */
typedef struct walk_guess {
    int rows, n;
    int32_t best[2];
    double log_sum;
} walk_guess;

struct umbra_walk {
    umbra_engine *engine;
    umbra_pass pass; /* one row */
    umbra_scratch scratch;
    uint64_t scratch_bytes, pages_bytes;
    char *pages;
    walk_rows *places; /* (umbra_config.kept) */
    walk_known *known; /* (layers) */
    float *added;      /* (layers, hidden) what attention adds, where it is known */
    float *moved;      /* (layers, hidden) the same of the experts */
    bool may_take_known, takes_known, takes_experts;
    /* Where it began: positions of the sequence before the walk's first token, and the last of the
     * layers in which the sequence itself holds that token. */
    int sequence, position, source;
    int unseen; /* positions before that which layers behind the source do not hold yet */
    int tokens; /* gone on with behind that token */
    int layer, distance;
    int most_experts; /* computed of a layer */
    int computed;     /* in all */
    float missing;
    walk_guess guess;
    bool was_new; /* the last step computed attention */
    bool routed;  /* the layer's experts are named, and not yet computed */
    /* Beside the engine: the thread's own device, what the walk sees of each layer, and whether its
     * own layer is to be routed yet. */
    bool beside, begun;
    umbra_device device;
    umbra_kv_view *views; /* (layers) */
    int32_t id;           /* of its row */
    float *posted;        /* (hidden) a newer state of that, in */
    int posted_in;        /* that layer; -1: there is none */
};

#endif
