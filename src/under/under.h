/* Inside of libumbra-llama. A node's way: hooks.c or the host's own call leads to eval.c, which
 * finds the experts that were chosen; lease.c has them read and holds them; predict.c foretells the
 * next ones. */
#ifndef UMBRA_UNDER_UNDER_H
#define UMBRA_UNDER_UNDER_H

#include <pthread.h>

#include <umbra/under.h>

#include "ahead/judge.h"
#include "under/experts.h"
#include "under/foreign.h"
#include "under/record.h"

enum {
    UMBRA_UNDER_ROWS = 8, /* as many together are sequences that decode; more are a prompt */
    UMBRA_UNDER_SEQUENCES = UMBRA_UNDER_ROWS + 1, /* that foretell; the last one are prompts */
};

/* What is known of a layer once it has been computed the first time. */
typedef struct umbra_under_layer {
    int experts;                   /* 0: it has none */
    bool seen;                     /* its graph was looked at */
    bool routed;                   /* its router was found there */
    char norm[UMBRA_FOREIGN_NAME]; /* tensor with the weights of the norm before the router; "": not
                                      known */
} umbra_under_layer;

/* The predictions of a model; opened when all layers have been seen. */
typedef struct umbra_under_predict {
    umbra_policy policy; /* as asked for, then as it is */
    bool automatic;      /* only while it saves time, says */
    umbra_judge judge;
    char *shadow;
    bool tried;
    umbra_runner *runner;
    float *state;       /* (hidden) of one row, if it must be fetched */
    float *norm;        /* (hidden) while opening */
    float *probability; /* (experts) of a prompt's next layer */
} umbra_under_predict;

struct umbra_under {
    umbra_experts experts;
    umbra_under_layer *layer; /* (experts.layers) */
    int last_layer;           /* the last one with experts */
    uint64_t slots;
    bool complete;         /* all experts are there, and stay: nothing is to be done any more */
    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t changed;
    umbra_store *store;
    uint64_t held; /* leases of all contexts */
    umbra_under_predict predict;
    umbra_under_record record;
    umbra_under_stats stats;
    /* keeper.c */
    pthread_t keeper;
    bool has_keeper, stop;
    int kept;        /* contexts inside a graph for which something is foretold */
    double layer_ns; /* that one layer takes: running mean */
};

/* Experts that one step of a layer uses. */
typedef struct umbra_under_choice {
    int layer;
    int n;       /* experts */
    int *expert; /* (experts.experts) ascending */
    int *uses;   /* (experts.experts) rows that use each, in the order of expert */
    int rows;    /* of this layer: a prompt's last layer may be computed for its last rows alone */
} umbra_under_choice;

/* Nodes of a graph from the one with a layer's chosen experts to the last one before they are used;
 * NULL: not known. */
typedef struct umbra_under_stretch {
    const umbra_foreign_tensor *chosen, *last;
} umbra_under_stretch;

struct umbra_under_context {
    umbra_under *under;
    bool (*host)(struct ggml_tensor *node, bool ask, void *user);
    void *host_user;
    bool host_wants; /* the node that is about to be computed */
    bool around;     /* a hook stands around the graph, and sees its end */
    bool kept;       /* counted in the model's */
    bool inside;     /* a graph's first layer has been reached, its last one not left */
    /* At its beginning: the time, and the store's waits and needs. */
    uint64_t entered_ns, waited_ns, needed;
    uint64_t layer_begun_ns;
    int rows;    /* of the graph */
    int reached; /* the last layer that was reached in it */
    bool first;  /* no layer was reached before the present one */
    umbra_under_inputs inputs;
    umbra_under_choice choice;
    umbra_under_stretch *stretch; /* (experts.layers) of the graph */
    int awaited; /* the layer at the end of whose stretch its chosen experts are looked at; -1: none
                  */
    umbra_lease *leases; /* (experts.experts) */
    int n_leases;
    const umbra_foreign_tensor *ids; /* the node whose experts are held; NULL: none */
    int32_t *fetched;                /* ids of rows that the processor cannot look at */
    size_t fetched_bytes;
};

/* ---- eval.c ---- */

/* Looks through a graph that is about to be computed, which spares a card some of its losses; may
 * be left out. */
void umbra_under_look(umbra_under_context *c, void *graph);

/* ---- lease.c ---- */

/* Lets go what the context holds. */
void umbra_under_release(umbra_under_context *c);
/* Instead of what the context holds, the experts of its choice; waits until they are there. state:
 * for predictions, may be NULL. Does not return if they cannot be read. */
void umbra_under_acquire(umbra_under_context *c, const umbra_foreign_tensor *ids,
                         const umbra_foreign_tensor *state);
/* The context's graph is at its end: what it holds is let go. */
void umbra_under_leave(umbra_under_context *c);

/* ---- keeper.c: a thread that starts and ends reads while others compute ---- */

int umbra_under_keep(umbra_under *u, umbra_error *err);
void umbra_under_stop_keeping(umbra_under *u);

/* ---- predict.c; called with the mutex held, but for umbra_under_find_state ---- */

int umbra_under_predict_init(umbra_under *u, const umbra_under_options *o, umbra_error *err);
void umbra_under_predict_free(umbra_under *u);
/* Looks at the graph above the chosen experts of a layer: where its router and norm stand. Returns
 * the state before that norm; NULL: it was not found. */
const umbra_foreign_tensor *umbra_under_find_state(umbra_under *u, int layer,
                                                   const umbra_foreign_tensor *ids);
/* The store has the layer's demands: foretells the next layers'. ids_data: the ids, rows nb[1]
 * apart.
 */
void umbra_under_foretell(umbra_under_context *c, const umbra_foreign_tensor *state,
                          const umbra_foreign_tensor *ids, const char *ids_data);
/* For umbra_runner_options.gate, and for traces; user: an umbra_under. A router that cannot be read
 * scores nothing. */
void umbra_under_write_gate(void *user, int layer, float *out);
/* Whether anything will be foretold for the context's graph. */
bool umbra_under_foretells(const umbra_under_context *c);
/* A graph begins; all its layers are computed. */
void umbra_under_predict_enter(umbra_under_context *c);
void umbra_under_predict_leave(umbra_under_context *c);

#endif
