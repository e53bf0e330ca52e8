/* Inside of the engine. A token's way: embedding -> (attention -> router -> experts) per layer ->
 * output. Everything is laid out at opening; evaluating allocates nothing. */
#ifndef UMBRA_ENGINE_INTERNAL_H
#define UMBRA_ENGINE_INTERNAL_H

#include "engine/division.h"
#include "engine/engine.h"
#include "engine/follow.h"
#include "engine/steps/steps.h"
#include "state/state.h"

enum {
    UMBRA_MAX_THREADS = 256,
    UMBRA_MAX_CHUNK = 4096,
};

struct umbra_engine {
    const umbra_model *model;
    umbra_memory_plan plan;
    umbra_division division;
    umbra_follow *follow; /* with ranks, else NULL */
    bool opened;          /* whole: with ranks, all of them */
    int sequences;
    umbra_device device;
    umbra_pool *pool;
    umbra_store *store;
    umbra_weights weights;
    umbra_kv_form *forms;            /* (config.kept) */
    umbra_recurrent_form *recurrent; /* (config.kept) */
    bool has_recurrent;
    double *rope_frequency; /* (rope.dim / 2) */
    umbra_state *state;
    umbra_scratch scratch;
    umbra_ngram_rows ngram_rows;
    bool *checks; /* (sequences) several rows of a call are guesses, not a prompt */
    umbra_tap attached;
    void (*ended)(void *user); /* see umbra_engine_attach_end */
    void *ended_user;
    bool has_identity;
    struct umbra_profiling *profiling; /* profile.c; NULL where no profile is wanted */
    uint64_t identity[2];              /* snapshot.c: of the weights, once they were asked for */
};

/* limits.c: the default number of threads, with a note if it is less than the processors; */
int umbra_limits_threads(char *note, size_t note_bytes);
/* the number that could be started, put into the plan; */
void umbra_limits_started(umbra_memory_plan *plan, int threads);
/* the plan's budget, for which all_bytes is known: what is asked for, with a note if that may not
 * be had here, or, for 0, what is free. */
void umbra_limits_budget(umbra_memory_plan *plan, uint64_t asked_bytes);

/* plan.c: what is kept of every position, forms (config.kept), and which layers keep a state of
 * all, recurrent (config.kept). Returns whether any does. */
bool umbra_plan_recurrent(const umbra_model *model, umbra_recurrent_form *recurrent);
void umbra_plan_forms(const umbra_model *model, const umbra_kernels *kernels, umbra_kv_form *forms);
uint64_t umbra_plan_dense_bytes(const umbra_model *model);
/* Rows of the table of config.ngrams that are kept. */
uint64_t umbra_plan_ngram_bytes(const umbra_model *model);

/* profile.c: opens what the options ask for; a chunk of so many rows begins, whose scratch tells
 * which are a prompt's. */
int umbra_profile_open(umbra_engine *e, bool wanted, umbra_error *err);
void umbra_profile_begin(umbra_engine *e, int rows);

/* snapshot.c: what a snapshot that was checked holds. */
void umbra_snapshot_load(umbra_engine *engine, int sequence, const void *in);

/* Whether the weights of a model's role are those of another engine's model. */
static inline bool umbra_weights_are_lent(const umbra_model *model, int role)
{
    return model->lender && role != UMBRA_ROPE_FACTORS &&
           model->role[role] == model->lender->role[role];
}

/* weights.c: for the device, which is told between reads that other reads may go on. */
int umbra_weights_load(umbra_weights *w, const umbra_model *model, const umbra_device *device,
                       const umbra_progress *progress, umbra_error *err);
void umbra_weights_free(umbra_weights *w);
/* Of all dense weights, which may be gigabytes: all threads take part, and reads go on. */
uint64_t umbra_weights_hash(const umbra_weights *w, const umbra_device *device);

#endif
