/* What an evaluation found, as plain data: filled by evaluate.c, turned into text by terminal.c,
 * json.c and report.c.
 *
 * Letters: L layers, E experts per layer, k used, D = 4 distances. Sources as in predict/shadow.h:
 * 0 is the token's embedding, l + 1 the state after layer l's attention. "Inner" sources are
 * 1..L-1; source 0 is counted apart, for it knows nothing of the context. */
#ifndef UMBRA_LAB_EVALUATE_EVALUATION_H
#define UMBRA_LAB_EVALUATE_EVALUATION_H

#include <umbra/lab/evaluate.h>

#include "lab/evaluate/metrics.h"
#include "lab/evaluate/training.h"
#include "predict/shadow.h"
#include "lab/trace/trace.h"

enum {
    UMBRA_EVAL_BUDGETS = 3,          /* m = k, 1.5 k, 2 k */
    UMBRA_EVAL_SHORT = 16,           /* tokens; shorter documents are left out */
    UMBRA_EVAL_CALIBRATE_EVERY = 10, /* documents */
    UMBRA_EVAL_MAX_SHADOWS = 16,
    UMBRA_EVAL_ABLATIONS = 8,
};

/* A control (d = 0) below this recall says that something is wrong with the traces. */
#define UMBRA_EVAL_CONTROL 0.99

typedef enum umbra_eval_kind {
    UMBRA_EVAL_ORACLE,
    UMBRA_EVAL_FREQUENCY,
    UMBRA_EVAL_PREVIOUS,
    UMBRA_EVAL_GATE,
    UMBRA_EVAL_SHADOW,
    UMBRA_EVAL_ROLL,     /* the model run ahead without its experts, */
    UMBRA_EVAL_RUNAHEAD, /* and with those that are in memory */
} umbra_eval_kind;

typedef enum umbra_eval_forecast {
    UMBRA_EVAL_NO_FORECAST,
    UMBRA_EVAL_OWN,   /* the calibration in the shadow file */
    UMBRA_EVAL_PLATT, /* fitted here, per distance, on the calibration documents */
} umbra_eval_forecast;

typedef struct umbra_eval_row {
    char name[128];
    umbra_eval_kind kind;
    int shadow;           /* index, or -1 */
    uint64_t bytes, macs; /* of one prediction of all distances at an inner source */
    umbra_eval_forecast forecast;
    float platt[UMBRA_MAX_DISTANCE][2]; /* slope, offset */
    umbra_tally *tallies;               /* (sources, D); their histograms lie in `counts` */
    umbra_tally inner[UMBRA_MAX_DISTANCE], start[UMBRA_MAX_DISTANCE]; /* sums */
    double deviation[UMBRA_MAX_DISTANCE]; /* standard error of the inner recall at m = k, with
                                             documents as the units */
    uint64_t *counts;
} umbra_eval_row;

/* Recall at m = k of inner sources without a part of a shadow, on the ablation documents. */
typedef struct umbra_eval_ablation {
    const char *without;
    unsigned off;     /* bits for umbra_predictor_shadow */
    bool no_averages; /* zeros instead of the running averages */
    uint64_t hits[UMBRA_MAX_DISTANCE];
} umbra_eval_ablation;

typedef struct umbra_eval_shadow {
    char *path;
    umbra_shadow_spec spec;
    umbra_training training;
    umbra_eval_ablation ablations[UMBRA_EVAL_ABLATIONS];
    int n_ablations;
    uint64_t hits[UMBRA_MAX_DISTANCE]; /* whole, on the same positions */
} umbra_eval_shadow;

/* Used experts, and those of them that were named; or tokens, and those named. */
typedef struct umbra_eval_share {
    uint64_t slots, hits;
} umbra_eval_share;

/* Of the used experts: all, or those that were not in memory when their layer asked for them. */
typedef enum umbra_eval_which {
    UMBRA_EVAL_ALL,
    UMBRA_EVAL_MISSING,
    UMBRA_EVAL_WHICH
} umbra_eval_which;

/* What one predictor names at m = k while the model itself decodes with a part of the experts in
 * memory, from the state of every layer with experts. Letter: M layers with experts, which is also
 * how far it reaches. */
typedef struct umbra_eval_walk {
    char name[128];
    umbra_eval_kind kind;
    int shadow;       /* index, or -1 */
    double residency; /* share of the experts that fit in memory */
    /* (M) by distance - 1: layers of the same token, and of the next one as it was guessed. */
    umbra_eval_share *within[UMBRA_EVAL_WHICH], *beyond[UMBRA_EVAL_WHICH];
    umbra_eval_share *next; /* (M) by source: next tokens named as the model itself does */
    uint64_t bytes, macs; /* of one prediction of all distances; for roll and runahead per layer */
    umbra_eval_share *shares; /* what the pointers point into; owned */
} umbra_eval_walk;

typedef struct umbra_eval_amount {
    int documents;
    uint64_t tokens;
} umbra_eval_amount;

typedef struct umbra_eval_folder {
    char *path;
    char *collection; /* JSON text of an object, or NULL */
    bool int8;
    int stride;
    umbra_eval_amount generated, read; /* in the folder */
    int short_documents, repeated;     /* of them left out: too short, or seen before */
} umbra_eval_folder;

struct umbra_evaluation {
    umbra_trace_info model;                     /* of the first folder; collection is NULL */
    bool *has_layer;                            /* (L) */
    int budgets[UMBRA_EVAL_BUDGETS], n_budgets; /* ascending, distinct */
    int curve_last;                             /* curves go from m = k to here: 4 k, or E */
    umbra_eval_folder *folders;
    int n_folders;
    umbra_eval_shadow *shadows;
    int n_shadows;
    umbra_eval_row *rows;
    int n_rows;
    umbra_eval_walk *walks;   /* by residency, then by predictor */
    int n_walks, walk_reach;  /* M */
    umbra_eval_amount walked; /* at each residency, those not counted included */
    umbra_tally *control;     /* (sources): d = 0; entry 0 is empty */
    umbra_tally control_sum;
    uint64_t *control_counts;
    uint64_t ablation_slots[UMBRA_MAX_DISTANCE]; /* used experts at the ablation positions */
    umbra_eval_amount table, calibration, ablation;
    uint64_t document_limit;    /* tokens taken of a document at most; 0: all */
    const char *frequency_from; /* where the static counts come from; NULL: no such row */
    int threads;
    double seconds;
};

static inline int umbra_eval_sources(const umbra_evaluation *e)
{
    return e->model.layers;
}
/* Does source s at distance d predict a layer with experts, and has it a state to start from? */
bool umbra_eval_predicts(const umbra_evaluation *e, int source, int distance);
/* Tally of a (source, distance) of a row. */
static inline umbra_tally *umbra_eval_tally(const umbra_eval_row *row, int source, int distance)
{
    return &row->tallies[source * UMBRA_MAX_DISTANCE + distance - 1];
}
/* The same by target layer: NULL if the row does not predict it from there. */
const umbra_tally *umbra_eval_at_layer(const umbra_evaluation *e, const umbra_eval_row *row,
                                       int layer, int distance);

/* Histograms for n tallies out of one allocation; NULL if there is no memory. */
uint64_t *umbra_eval_histograms(umbra_tally *tallies, int n, int experts);
/* Tables of a row that has none. */
int umbra_eval_row_open(umbra_evaluation *e, umbra_eval_row *row, umbra_error *err);
/* Fills the sums of all rows and of the control. */
void umbra_eval_sum(umbra_evaluation *e);

/* Recall at m = k that a shadow loses without a part (index into its ablations). */
double umbra_eval_loss(const umbra_evaluation *e, int shadow, int ablation, int distance);

/* The figures of tables, for any tally; top takes m up to E. */
typedef double (*umbra_eval_figure)(const umbra_evaluation *e, const umbra_tally *tally, int m);
double umbra_eval_recall(const umbra_evaluation *e, const umbra_tally *tally, int m);
double umbra_eval_all(const umbra_evaluation *e, const umbra_tally *tally, int m);
double umbra_eval_top(const umbra_evaluation *e, const umbra_tally *tally, int m);

/* hits / slots; not a number where nothing was counted. */
double umbra_eval_share_of(const umbra_eval_share *share);
/* The share of next tokens named, over all sources. */
double umbra_eval_named(const umbra_evaluation *e, const umbra_eval_walk *walk);

/* "residual, one network per layer, width 256, ..." */
void umbra_eval_describe(const umbra_eval_shadow *shadow, char *out, int size);
/* What the words and figures mean: pairs of term and meaning, up to a NULL term. */
typedef struct umbra_eval_word {
    const char *term, *meaning;
} umbra_eval_word;
extern const umbra_eval_word umbra_eval_words[];

#endif
