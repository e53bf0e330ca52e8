/* Whole runs of the engine with a clock of their own, for simulate_runs.c. */
#ifndef UMBRA_BENCH_SIMULATED_RUNS_H
#define UMBRA_BENCH_SIMULATED_RUNS_H

#include <umbra/prefetch.h>
#include <umbra/profile.h>

#include "ahead/walk.h"
#include "engine/internal.h"
#include "lab/trace/trace.h"

enum { SIMULATED_PENDING = 64, DOCUMENT = 512 /* tokens taken of a document at most */ };

/* What became of a used expert that was not there when its layer came to it. */
typedef enum fate {
    FATE_UNSEEN,  /* nothing was foretold of its layer */
    FATE_DOUBTED, /* less than .5 was */
    FATE_UNREAD,  /* it was foretold, and not read */
    FATE_LATE,    /* it was being read */
    FATES
} fate;

/* What a walk beside the others has found out, and when it is known. */
typedef struct simulated_forecast {
    uint64_t at_ns, due;
    int layer, distance;
    float *probability; /* (experts) */
} simulated_forecast;

/* Of what was foretold in a token of its own layers, by distance. */
typedef struct simulated_recall {
    uint64_t layers[UMBRA_MAX_DISTANCE + 1];
    uint64_t named[UMBRA_MAX_DISTANCE + 1]; /* of the experts that these used */
} simulated_recall;

typedef struct simulation {
    const umbra_model *model;
    /* How time goes. */
    double ns_per_byte, output_ns_per_byte, step_ns, predict_ns;
    double walk_times; /* what walks take of what the same steps take else */
    int widen;
    uint64_t now_ns;
    double owed_ns; /* a part of a nanosecond */
    umbra_profiler profiler;
    umbra_profiler_entry entry[UMBRA_PROFILE_STEPS];
    /* What is taken away. */
    bool is_true, is_free, at_routed;
    bool walking, forced;
    /* The run. */
    umbra_engine *engine;
    umbra_prefetch *prefetch;
    umbra_tap attached;       /* the prefetch's */
    void (*tick)(void *user); /* the engine's */
    int tokens, warm;
    uint16_t *routing; /* (tokens, layers, used) of all tokens, once they are known */
    bool recorded;
    int token;
    uint64_t clock;   /* the store's when the token began */
    float *foretold;  /* (layers, experts) of the next batch of each layer; */
    int *foretold_of; /* (layers) of the token; -1: nothing */
    double compute_ns, walk_ns;
    uint64_t predictions;
    uint64_t fates[FATES];
    simulated_recall recall[2]; /* from the token's first layer, from the others */
    /* Policy off: what each layer of each token waited, of all tokens that count. */
    double *stalls_ns; /* (tokens, layers), the first n_stalls in use */
    int n_stalls;
    uint64_t waited_ns;
    /* A core to spare: when it has done its walk, what the walk has cost so far, and forecasts on
     * their way. */
    bool at_spare, beside; /* the run's; while that core walks */
    double spare_times;    /* as slow as those that compute */
    int spare_experts, spare_layers;
    double spare_ns;
    uint64_t spare_until_ns, spare_began_ns;
    simulated_forecast pending[SIMULATED_PENDING];
    int n_pending;
    umbra_walk *walk; /* that was begun last */
} simulation;

typedef struct outcome {
    double seconds;
    umbra_store_stats stats;
    umbra_prefetch_stats prefetch;
} outcome;

/* Of the simulation's clock. */
uint64_t simulated_runs_now(void *simulation);
void simulated_runs_wait(void *simulation, uint64_t until_ns);

/* Decodes the documents once. policy: its name, with what is taken away; disk: as behind "sim:". */
outcome simulated_run(simulation *s, umbra_trace *trace, const char *policy, const char *disk,
                      double residency);

#endif
