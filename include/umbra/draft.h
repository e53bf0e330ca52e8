/* Drafts: tokens that are guessed ahead and checked several at once, which changes nothing but
 * time.
 *
 * What a token computes does not depend on what is computed beside it, so a step that checks
 * guesses gives the bits that single steps give: the longest beginning that agrees with the text is
 * kept, the rest is taken back. Whether that pays is another matter, since a guessed token asks for
 * experts of its own; with UMBRA_DRAFT_AUTO it is decided by the clock, step by step. */
#ifndef UMBRA_DRAFT_H
#define UMBRA_DRAFT_H

#include <umbra/engine.h>
#include <umbra/prefetch.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where drafts come from. */
typedef enum umbra_draft {
    UMBRA_DRAFT_AUTO,     /* whatever promises most, as many as pay, and none where none do */
    UMBRA_DRAFT_OFF,      /* nowhere: every step computes one token */
    UMBRA_DRAFT_LOOKUP,   /* from prompt and answer: what followed the longest earlier occurrence of
                             the last tokens */
    UMBRA_DRAFT_RUNAHEAD, /* from the model itself, run ahead on what is in memory: needs reading
                             ahead by that policy; at most 4 of a step */
    UMBRA_DRAFT_MTP,      /* from the block for further tokens that some files have (nextn.*): its
                             weights, keys and values count in the budget, so auto goes without */
} umbra_draft;

enum { UMBRA_DRAFT_SOURCES = 5 /* enumerators of umbra_draft */ };

/* "auto", "off", "lookup", "runahead", "mtp"; NULL past the last one. Static storage. Any thread.
 */
UMBRA_API const char *umbra_draft_name(umbra_draft draft);
/* The source of that name; NULL is "auto". UMBRA_E_ARGUMENT: there is none, the message lists all,
 * and *out is not touched. Any thread. */
UMBRA_API int umbra_draft_parse(const char *name, umbra_draft *out, umbra_error *err);

/* Drafts for the texts of an engine's sequences. One thread at a time, the engine's. */
typedef struct umbra_drafts umbra_drafts;

/* How to draft. Zeros are the default (see umbra.h). */
typedef struct umbra_draft_options {
    umbra_draft source; /* auto; or this one alone, and then always as many drafts as it makes,
                             but for mtp, of which as many are made as pay */
    int most;           /* drafts of a text's step, 1 to 16; 0: 16 for auto and mtp, else 8 */
    /* Of the same engine, which must outlive the drafts: what runahead drafts with. Not looked at
     * before opening. NULL, or of another policy: auto goes without it. */
    umbra_prefetch *ahead;
    uint64_t reserved[3]; /* room for options to come: zeros */
} umbra_draft_options;

/* What drafting did since opening. A step computes the next token of every text and its drafts; one
 * that reads a prompt as well counts only in drafted and accepted. */
typedef struct umbra_draft_stats {
    umbra_draft source;                     /* as opened */
    uint64_t tokens;                        /* that steps gave */
    uint64_t steps;                         /* with drafts or without */
    uint64_t checks;                        /* of these, with drafts */
    uint64_t drafted[UMBRA_DRAFT_SOURCES];  /* tokens that were checked, by source */
    uint64_t accepted[UMBRA_DRAFT_SOURCES]; /* of these, those that stand in the text */
    uint64_t step_experts;                  /* that steps without drafts asked the store for */
    uint64_t check_experts;                 /* that steps with drafts did */
    double gain;          /* time that as many tokens take without drafts, by the steps without,
                             over the time they took; 0: not known */
    uint64_t reserved[8]; /* room for figures to come: zeros */
} umbra_draft_stats;

/* Before the engine is opened and after umbra_prefetch_fit; neither may be NULL. Adds to
 * engine->reserved_bytes what drafting takes of the budget, and turns auto to off where nothing
 * would be left for that. Among ranks (ranks.h), who must all check the same drafts, only lookup is
 * not off. */
UMBRA_API int umbra_drafts_fit(const umbra_model *model, umbra_engine_options *engine,
                               umbra_draft_options *draft, umbra_error *err);

/* For an engine, which must outlive it. Options are copied, may be NULL. On failure *out is NULL.
 * UMBRA_E_ARGUMENT: there is no such source, `most` is out of range, or runahead is asked for and
 * `ahead` does not run ahead. */
UMBRA_API int umbra_drafts_open(umbra_drafts **out, umbra_engine *engine,
                                const umbra_draft_options *options, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
UMBRA_API void umbra_drafts_close(umbra_drafts **drafts);

/* For the thread that drives the engine. */
UMBRA_API void umbra_drafts_get_stats(const umbra_drafts *drafts, umbra_draft_stats *out);

#ifdef __cplusplus
}
#endif
#endif
