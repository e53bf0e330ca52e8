/* Training: traces of a model go in, a shadow file comes out. */
#ifndef UMBRA_LAB_TRAIN_H
#define UMBRA_LAB_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/progress.h>
#include <umbra/ranks.h>
#include <umbra/shadow.h>
#include <umbra/status.h>
#include <umbra/store.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    UMBRA_TRAIN_BUDGETS = 3 /* recall is measured at m = k, 1.5 k and 2 k */
};

/* One network finished an epoch. Epoch 0 is the network before any training: for "residual" the
 * gate predictor. A recall is negative where the distance has no target. */
typedef struct umbra_train_epoch {
    int network;            /* number of the network, from 0 */
    int networks;           /* in all */
    int source;             /* the network's, or -1 for one network of all sources */
    int epoch;              /* epochs done */
    int epochs;             /* at most */
    double loss;            /* mean over the epoch's training rows; not a number in epoch 0 */
    double validation_loss; /* the same on the validation rows */
    double recall[UMBRA_MAX_DISTANCE]; /* slot recall at m = k on the validation documents */
    bool best;                         /* best so far: these weights are kept */
} umbra_train_epoch;

/* The network. */
typedef enum umbra_train_arch {
    UMBRA_TRAIN_ARCH_RESIDUAL, /* corrects what the routers say of the present state */
    UMBRA_TRAIN_ARCH_SEED      /* predicts from the state alone */
} umbra_train_arch;
/* How many networks. */
typedef enum umbra_train_scope {
    UMBRA_TRAIN_SCOPE_LAYER, /* one per source */
    UMBRA_TRAIN_SCOPE_SHARED /* one for all */
} umbra_train_scope;
/* What is minimised. */
typedef enum umbra_train_loss_kind {
    UMBRA_TRAIN_LOSS_BCE, /* binary cross entropy of each expert */
    UMBRA_TRAIN_LOSS_KL   /* divergence from the router's distribution; one more read of states */
} umbra_train_loss_kind;

/* "residual", "seed"; NULL is the first. UMBRA_E_ARGUMENT: there is none of that name, the message
 * lists all, *out is as before. Any thread. */
UMBRA_API int umbra_train_arch_parse(const char *name, umbra_train_arch *out, umbra_error *err);
/* The same for "layer", "shared". */
UMBRA_API int umbra_train_scope_parse(const char *name, umbra_train_scope *out, umbra_error *err);
/* The same for "bce", "kl". */
UMBRA_API int umbra_train_loss_parse(const char *name, umbra_train_loss_kind *out,
                                     umbra_error *err);

/* traces and output must be given. Texts and lists are read during the call only. */
typedef struct umbra_train_options {
    const char *const *traces; /* (n_traces) trace folders of one model */
    int n_traces;              /* paths in traces */
    const char *output;        /* the shadow file; replaced if it exists */

    umbra_train_arch arch;      /* the network */
    umbra_train_scope scope;    /* how many of them */
    const char *features;       /* routing features: some of "now,previous,previous2", or "none";
                                   NULL: "now,previous,previous2" for residual, "none"
                                   for seed, which has no others */
    const char *averages;       /* decays of the running averages of the state, 0 < decay < 1, at
                                   most 4: "0.5,0.8,0.95"; or "none". NULL: "0.8,0.95"
                                   for residual, "none" for seed */
    int width;                  /* inner width; 0: 256 for residual, 1024 for seed */
    umbra_train_loss_kind loss; /* what is minimised */
    umbra_weight_form weights;  /* form in the file; default: F32 */
    bool force; /* keep a form of the weights that costs more than 0.2 points of recall */

    int epochs;          /* at most; 0: 4 */
    int batch;           /* rows per step; 0: 256 */
    float learning_rate; /* of the peak; 0: 0.004 */
    float warmup;        /* share of all steps, to 1; 0: 0.05; negative: none. Then cosine decay to
                            0 */
    float weight_decay;  /* decoupled; 0: 0.01; negative: none. Not on biases, gains, shifts and a
                          */
    float clip;          /* global norm of a network's gradient; 0: 1; negative: none */
    float dropout;       /* seed only: share of inner values, 0 <= dropout < 1 */
    float average;       /* decay of the averaged weights that are judged and kept, 0 <=
                            average < 1; 0: none are kept */
    int patience;        /* epochs without a better validation recall before a network
                            stops; 0: 2; negative: never stops early */
    float validation;    /* share of the documents kept for validation; 0: 0.1. Chosen by a hash of
                            the text, so a document stays where it is */
    uint64_t seed;       /* of the first weights and the order; 0: 1 */

    int threads;           /* 0: all processors. The result does not depend on it, except for scope
                              shared, where products are split over threads */
    uint64_t window_bytes; /* shuffle window of each thread; 0: 256 MiB */

    bool resume;               /* go on from OUTPUT.checkpoint, if it is there */
    double checkpoint_seconds; /* time between checkpoints of a network; 0: 60; negative: one after
                                  every step. One is also written after every epoch */

    const umbra_progress *progress; /* may be NULL; unit "rows" */
    /* May be NULL. Called from the thread that called umbra_train. */
    void (*on_epoch)(void *user, const umbra_train_epoch *epoch);
    void *user; /* handed to on_epoch */
    /* With whom networks are divided: network i is rank i modulo count's, and where there is one
     * network alone, each rank computes a part of every batch, whose gradients are added in the
     * order of ranks. NULL: with nobody. All must be given the same options but for threads (of
     * scope shared these too), window and checkpoint times, and find the same traces under the
     * paths on their machines; bring must be there. Rank 0 writes the file, which for scope layer
     * is the same for every number of ranks, else for one number; on_epoch is called there alone,
     * the result is given to all. */
    const umbra_ranks *ranks;
    uint64_t reserved[7]; /* room for options to come: zeros */
} umbra_train_options;

/* Recalls and errors are over the validation documents and all sources; negative where there is
 * none. */
typedef struct umbra_train_result {
    int networks;                  /* in the file */
    int epochs;                    /* the most that a network trained for, earlier runs included */
    uint64_t documents;            /* trained on */
    uint64_t validation_documents; /* kept apart */
    uint64_t rows;                 /* states of one layer, trained on */
    uint64_t validation_rows;      /* states of one layer, kept apart */
    uint64_t tokens;               /* of all documents */
    uint64_t parameters;           /* of all networks */
    uint64_t file_bytes;           /* of the shadow file */
    int m[UMBRA_TRAIN_BUDGETS];    /* k, 1.5 k, 2 k */
    double recall[UMBRA_TRAIN_BUDGETS][UMBRA_MAX_DISTANCE]; /* slot recall at each m */
    double untrained_recall[UMBRA_MAX_DISTANCE];            /* at m = k in epoch 0 */
    double lost[UMBRA_MAX_DISTANCE];    /* recall at m = k that rounding the weights to
                                              the file's form costs; 0 for f32 */
    double ece[UMBRA_MAX_DISTANCE];     /* expected calibration error, calibrated */
    double raw_ece[UMBRA_MAX_DISTANCE]; /* the same before calibration */
    double seconds;                     /* of this run */
    uint64_t reserved[8];               /* room for figures to come: zeros */
} umbra_train_result;

/* Trains and saves. While it runs, OUTPUT.checkpoint is a folder from which a run that was stopped
 * goes on with `resume`, to the same bits as one that was not; it is removed at the end. Ranks have
 * such a folder each, with the networks that they train (one for all may be the same). A run may go
 * on with another number of ranks, which then find the newest state of each network; a single
 * network for all then has bits of its own.
 *   UMBRA_E_INTERRUPTED  through options->progress; the checkpoint is complete
 *   UMBRA_E_NONFINITE    a loss or gradient became NaN or infinite (the message names the step)
 *   UMBRA_E_MISMATCH     traces of different models, or a checkpoint of other options or traces
 *   UMBRA_E_ARGUMENT     rounding to `weights` costs too much recall (the checkpoint stays: resume
 *                        with another form, or force it); or an option out of range, fewer than
 *                        two documents, or a checkpoint in the way while `resume` is not set
 *   UMBRA_E_UNSUPPORTED  libopenblas.so.0 cannot be loaded. It is loaded at the first training of a
 *                        process and stays; for that moment OPENBLAS_NUM_THREADS is set in the
 *                        environment, which no other thread may read or change meanwhile
 *   UMBRA_E_NOMEM        also where there is no address space for what OpenBLAS takes
 * On failure *out is all zeros and OUTPUT is as it was. out may be NULL. */
UMBRA_API int umbra_train(const umbra_train_options *options, umbra_train_result *out,
                          umbra_error *err);

#ifdef __cplusplus
}
#endif
#endif
