/* Ranks of a model, simulated: a store as it is for each, with a disk and a clock that are
 * simulated, and the exchange after every layer. Which experts a token uses the caller says. */
#ifndef UMBRA_BENCH_SIMULATED_RANKS_H
#define UMBRA_BENCH_SIMULATED_RANKS_H

#include "base/clock.h"
#include "base/random.h"
#include "store/store_internal.h"

enum { SIMULATED_USED = 64 /* most experts that a token uses in a layer */ };

typedef struct model_shape {
    const char *name;
    int layers, experts, used, hidden;
    double expert_bytes, dense_bytes; /* of an expert; of all that every token reads */
    double resident_bytes;            /* that must be in memory beside the experts */
} model_shape;

/* One rank. */
typedef struct machine {
    umbra_store *store;
    umbra_clock clock;
    uint64_t now_ns;
    double compute_ns, wait_ns;
} machine;

typedef struct simulation {
    const model_shape *shape;
    int ranks;
    uint64_t cache_bytes; /* of each rank, in simulated bytes */
    double scale;         /* simulated bytes per true byte; rates are scaled too, so times stay */
    double memory, disk;  /* bytes/s that a machine reads from them */
    double recall;        /* of what is foretold one to four layers ahead; 0: nothing is */
    /* The experts (used) of a token in a layer. */
    void (*route)(void *user, int layer, int token, int *experts);
    void *user;
    /* Inside. */
    machine *machine; /* (ranks) */
    double exchange_ns;
    umbra_random random;
    float *forecast; /* (experts) */
    char file[64];
} simulation;

/* The rank that has an expert: as engine/division.c divides without a usage file. */
int simulated_owner(const simulation *s, int layer, int expert);

/* Ends the program on failure, as everything here. */
void simulation_open(simulation *s);
void simulation_close(simulation *s);
/* Experts into the caches as far as they go, so that those are not cold after a few tokens. */
void simulation_fill(simulation *s);
/* A token through all layers, by an exchange of network_ns each. */
void simulation_token(simulation *s, int token, double network_ns);
/* What an exchange takes: every rank gets the others' outputs, in rounds that double what each has
 * (recursive doubling). */
double simulation_exchange_ns(const simulation *s, double bytes_per_s, double latency_ns);

#endif
