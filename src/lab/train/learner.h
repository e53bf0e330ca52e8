/* The training of one network, by one thread. */
#ifndef UMBRA_LAB_TRAIN_LEARNER_H
#define UMBRA_LAB_TRAIN_LEARNER_H

#include "lab/train/measure.h"
#include "lab/train/optimizer.h"
#include "lab/train/setup.h"

/* What a learner reports to and asks of its caller, from its own thread. Where ranks train one
 * network together all meet at the same places of the training. */
typedef struct umbra_learner_callbacks {
    void (*advance)(void *user, uint64_t rows); /* so many more rows are done */
    void (*epoch)(void *user, const umbra_train_epoch *epoch);
    /* Before a step and between batches that judge: whether to go on. What this one's status is, or
     * UMBRA_E_INTERRUPTED; of ranks, what all agree on. */
    int (*meet)(void *user, int status, umbra_error *err);
    void *user;
} umbra_learner_callbacks;

/* One line of a network's history. */
typedef struct umbra_train_record {
    double loss, validation_loss;
    double recall[UMBRA_MAX_DISTANCE]; /* at m = k; -1 where there is no target */
} umbra_train_record;

/* What is known about one source at the end. */
typedef struct umbra_train_outcome {
    umbra_measure exact;                       /* of the weights in F32 */
    umbra_measure measure;                     /* of the weights as the file holds them */
    double calibration[UMBRA_MAX_DISTANCE][2]; /* slope, offset */
    double ece[UMBRA_MAX_DISTANCE], raw_ece[UMBRA_MAX_DISTANCE]; /* -1 where there is no target */
} umbra_train_outcome;

/* Everything that goes on changing: this is what a checkpoint holds. */
typedef struct umbra_learner_state {
    float *values, *mean, *square; /* (P) parameters and AdamW's moments */
    float *averaged;               /* (P) or NULL */
    float *best;                   /* (P) */
    uint64_t step;                 /* steps done */
    int epoch;                     /* epochs done */
    double epoch_loss;             /* sum over the rows of the epoch under way */
    uint64_t epoch_rows;
    double best_score;
    int best_epoch;
    bool done;                   /* only best and history matter then */
    umbra_train_record *history; /* (epochs + 1); the first `epoch` + 1 are filled */
} umbra_learner_state;

typedef struct umbra_learner {
    const umbra_train_setup *setup; /* not owned */
    const umbra_learner_callbacks *callbacks;
    const umbra_ranks *ranks; /* that train this network together, each a part of every batch and
                                 rank 0 with the checkpoints; NULL: it is trained here alone */
    int network;
    int first_source, end_source;
    size_t parameters;
    umbra_optimizer optimizer;
    umbra_learner_state state;
    float *gradient;             /* (P) */
    float *gathered;             /* room of umbra_train_sum */
    umbra_histogram *histograms; /* (D) */
    umbra_train_pass pass;
    umbra_train_loader loader;
    umbra_train_stream stream;
    umbra_train_outcome *outcomes; /* (end_source - first_source) */
} umbra_learner;

/* Sources of network i: [first, end). */
void umbra_learner_sources(const umbra_train_setup *setup, int network, int *first, int *end);

/* Prepares a network, from its checkpoint if there is one. Release on failure too. */
int umbra_learner_open(umbra_learner *learner, const umbra_train_setup *setup,
                       const umbra_learner_callbacks *callbacks, int network, umbra_error *err);
/* Trains to the end, keeps the best weights in state.best and measures them. When
 * meet() says UMBRA_E_INTERRUPTED: writes a checkpoint and returns that. */
int umbra_learner_run(umbra_learner *learner, umbra_error *err);
/* Rank 0's state goes to all who train the network together. */
int umbra_learner_share(umbra_learner *learner, umbra_error *err);
void umbra_learner_release(umbra_learner *learner);

#endif
