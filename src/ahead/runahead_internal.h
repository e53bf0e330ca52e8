/* What running ahead is made of, for the two files that have to do with it: runahead.c, walks in
 * waits, and beside.c, walks on a core to spare. */
#ifndef UMBRA_AHEAD_RUNAHEAD_INTERNAL_H
#define UMBRA_AHEAD_RUNAHEAD_INTERNAL_H

#include <pthread.h>

#include "ahead/beside.h"
#include "ahead/margins.h"
#include "ahead/runahead.h"
#include "ahead/walk.h"
#include "store/forecast.h"

/* What was foretold of a sequence's layer, to learn from. */
typedef struct foretold {
    umbra_margin_row row;
    int position; /* of the token it was foretold for, */
    int32_t id;   /* and which that was taken to be; -1: it was known */
    int distance; /* from which it was foretold */
} foretold;

/* What was guessed of a sequence's next token. */
typedef struct next_token {
    umbra_token_guess guess; /* position -1: none */
    float said;              /* the walk's own probability of `best` */
} next_token;

/* A guess of which some pieces are made. */
typedef struct pending_guess {
    int sequence, position; /* of the token that is guessed; position -1: there is none */
    int layer;              /* where the walk began */
} pending_guess;

/* A walk on its way. */
typedef struct trip {
    umbra_walk *walk;
    int row, source;        /* of the step; layer from which it goes, -1: it does not go */
    int sequence, position; /* of the row */
    uint64_t clock;         /* the store's when it began */
    next_token next;        /* into which it has gone, where it has */
} trip;

struct umbra_runahead {
    umbra_engine *engine;
    umbra_recall *recall;  /* or NULL */
    trip trip;             /* of the present wait; its walk also makes drafts */
    umbra_beside *beside;  /* walks on a core to spare, or NULL */
    pthread_mutex_t names; /* guards what follows up to `next`, and the statistics: what is foretold
                              and learnt by both */
    umbra_margins margins;
    foretold *foretold;        /* (S, layers) */
    uint8_t *steps;            /* (S, layers, experts) of these, and (experts) of the next */
    umbra_margin_row unlearnt; /* what was foretold of a draft */
    float *probability;        /* (experts) */
    float *order;              /* (experts) */
    umbra_calibration guessed; /* what became of guesses; only distance 0 is in use */
    next_token *next;          /* (S) */
    pending_guess pending;
    int sequences;
    int whole;   /* layers with experts of a token */
    int turns;   /* rows that had theirs in this layer */
    bool more;   /* the walk can go on */
    int level;   /* of experts_of_level */
    float ended; /* share of waits in which every walk came far enough */
    /* Waits in all, walks included, up to the last layer that waited, which that is (-1: none since
     * the chunk began), and what such a layer waits, a running mean. */
    uint64_t waits_ns;
    int waits_in;
    double wait_ns;
    umbra_runner_stats stats;
};

/* Rows that decode take turns: the next one behind the trip's, of drafts too or not. *turns: rows
 * that have been looked at, of which none comes again. False: there is none. */
bool umbra_trip_turn(trip *at, const umbra_rows *rows, bool drafts, int *turns);
/* The trip's walk begins at its row of the step. */
void umbra_trip_begin(trip *at, const umbra_rows *rows, umbra_tap_place place);
/* What the trip's walk says of the next token, as a guess. */
next_token umbra_trip_guess(const trip *at, const umbra_walk_next *said);
/* The engine's thread takes a guess of a trip that another thread went on. */
void umbra_runahead_take_guess(umbra_runahead *r, const trip *at);
/* Of the layer to which the trip has come, by its walk. Any thread. */
void umbra_runahead_foretell(umbra_runahead *r, const trip *at);

#endif
