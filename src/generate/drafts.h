/* Inside of drafting: sources, and what the loop that checks drafts asks of them. */
#ifndef UMBRA_GENERATE_DRAFTS_H
#define UMBRA_GENERATE_DRAFTS_H

#include <umbra/draft.h>

#include "base/clock.h"
#include "generate/gate.h"

/* One way to guess; `self` is what it keeps, of each of the engine's sequences apart. */
typedef struct umbra_draft_source {
    umbra_draft name;
    int kinds;     /* of its drafts, which the gate counts apart: 1 at least */
    bool free;     /* making drafts costs nothing worth naming: they are made at every step, and
                      compared with the text also where they are not checked */
    double effort; /* of a draft that was never made, beside what a single step computes */
    /* Of the sequence's text only the first `length` tokens are left, or it is another one (length
     * 0). */
    void (*begin)(void *self, int sequence, int length);
    /* The text has n tokens more. */
    void (*add)(void *self, int sequence, const int32_t *tokens, int n);
    /* Rows of texts leave the last layer, of prompts too; drafts that are checked with them
     * included, of which the next `add` tells. May be NULL, as what follows. */
    void (*rows)(void *self, const umbra_rows *rows);
    /* The sequence holds only the first `length` rows that it did, and goes on there. */
    void (*cut)(void *self, int sequence, int length);
    /* A sequence becomes a branch of another, which holds as much. */
    void (*fork)(void *self, int from, int to);
    /* Makes up to `most` drafts of what comes next; returns how many. *kind: 0 to kinds - 1. */
    int (*make)(void *self, int sequence, int most, int32_t *out, int *kind);
    void (*close)(void *self); /* may be NULL */
    void *self;
} umbra_draft_source;

/* A text's part in a step. */
typedef struct umbra_drafted {
    int sequence;
    int most; /* drafts that it has room for */
    int n;    /* drafts; afterwards tokens that the step gave: */
    int32_t token[UMBRA_DRAFT_MOST + 1];
} umbra_drafted;

/* sources.c: what the sources that are asked for take of the budget beside that plan,
 * for so many sequences; */
uint64_t umbra_draft_sources_bytes(umbra_draft asked, const umbra_model *model,
                                   const umbra_memory_plan *plan, int sequences);
/* and opens them, into out (UMBRA_DRAFT_SOURCES), *n of them also on failure: the caller's. */
int umbra_draft_sources_open(umbra_draft asked, umbra_engine *engine,
                             const umbra_draft_options *options, umbra_draft_source *out, int *n,
                             umbra_error *err);

/* umbra_drafts_open with a source that is not in the table, and another clock; both may be NULL.
 * gated: what a source makes goes through the gate, whatever its name. */
int umbra_drafts_open_with(umbra_drafts **out, umbra_engine *engine,
                           const umbra_draft_options *options, const umbra_draft_source *source,
                           bool gated, const umbra_clock *clock, umbra_error *err);

/* A prompt of n tokens was read, which the sequence holds behind `length` others; next follows. */
void umbra_drafts_begin(umbra_drafts *d, int sequence, int length, const int32_t *tokens, int n,
                        int32_t next);
/* UMBRA_TAP_LEAVE of texts, also before umbra_drafts_begin. */
void umbra_drafts_rows(umbra_drafts *d, const umbra_rows *rows);
/* The sequence was cut to `length` positions (0: it begins anew, whatever it holds), or has become
 * a branch of another; otherwise than by a check. */
void umbra_drafts_cut(umbra_drafts *d, int sequence, int length);
void umbra_drafts_fork(umbra_drafts *d, int from, int to);
/* The drafts that the coming step checks beside the next token of each of n texts, at most `room`
 * in all, into the texts' parts. Returns how many. beside: the step reads a prompt as well; what it
 * takes says nothing of drafts then, and only sources that go past the gate draft. A step is the
 * time from here to umbra_drafts_end. */
int umbra_drafts_make(umbra_drafts *d, umbra_drafted *texts, int n, int room, bool beside);
/* What the step gave: of each text its tokens (with the one that is not computed yet); none: it
 * ended for a reason of its own. */
void umbra_drafts_end(umbra_drafts *d, const umbra_drafted *texts, int n);

#endif
