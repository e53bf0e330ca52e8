/* Expert parallelism: several engines, on one machine or on several, that compute the same text
 * together. Each (a rank) computes attention, norms and routers itself, and holds, reads and
 * computes its own part of the experts; after the experts of a layer the ranks exchange their
 * outputs, and everyone sums them in the router's order. So each rank has the bits of a single
 * engine, with as many caches and disks as there are ranks.
 *
 * Rank 0 leads: the others' engines, opened with the same options but for budget, threads, I/O and
 * reading ahead, follow it (umbra_engine_follow) and do what it does. A program may also call all
 * engines alike; then a rank's call takes part in rank 0's next one, which must be the same.
 *
 * Collecting traces and training shadows divide otherwise: by documents (lab/collect.h) and by
 * networks (lab/train.h).
 *
 * The exchange is the caller's, by a few functions: MPI has them (the command line uses it so), and
 * so have threads behind a barrier. */
#ifndef UMBRA_RANKS_H
#define UMBRA_RANKS_H

#include <stdint.h>

#include <umbra/model.h>
#include <umbra/progress.h>
#include <umbra/status.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { UMBRA_MAX_RANKS = 1024 };

/* Who takes part, and how they exchange. All functions but bring are called by every rank in the
 * same order, by the thread that made the library's call; they return UMBRA_OK or UMBRA_E_IO once
 * the others cannot be reached, after which the engine must not be used again. */
typedef struct umbra_ranks {
    int rank;  /* this engine's, 0 to count - 1 */
    int count; /* 1 to UMBRA_MAX_RANKS */
    /* data: where first[r] (count), in floats, rank r's n[r] (count) values lie; those of this rank
     * are there, the others' are to be written. */
    int (*gather)(void *user, float *data, const int *first, const int *n, umbra_error *err);
    /* Rank 0's bytes of data (bytes) go to all. */
    int (*share)(void *user, void *data, uint64_t bytes, umbra_error *err);
    /* Every rank says its status, and err if that is not UMBRA_OK. If all are UMBRA_OK, so is what
     * is returned. Otherwise all return that of rank umbra_ranks_failure, and its message in err.
     */
    int (*agree)(void *user, int status, umbra_error *err);
    void *user; /* handed to all of them */
    /* (layers, experts) how often each expert was used, by which they are divided: a layer's ranks
     * get as many experts each, give or take one, and as even a share of the uses as can be.
     * NULL: all alike. Rank 0's count; not needed after opening. */
    const uint64_t *uses;
    /* The bytes of data of rank `from`, which is not 0, come to rank 0's data: called by these two
     * alone, with the same bytes. Engines do without it (NULL); umbra_collect and umbra_train do
     * not. */
    int (*bring)(void *user, int from, void *data, uint64_t bytes, umbra_error *err);
    uint64_t reserved[3]; /* room for options to come: zeros */
} umbra_ranks;

/* Of the status of each rank (count), the rank whose failure all shall tell: the first one with a
 * status that is neither UMBRA_OK nor UMBRA_E_NONFINITE if there is one, since a rank that fails
 * makes the others fail by handing them what is no number. -1: none failed. Any thread. */
UMBRA_API int umbra_ranks_failure(const int *status, int count);

/* Copies a model's files, under their names, into a folder that is there, without the experts that
 * other ranks have: with holes in their place, which take no room on the disk. Each file appears
 * whole or not at all. Of ranks only rank, count and uses are looked at. The division is kept in
 * the last file: an engine opens the part as that rank of so many, and as no other. */
UMBRA_API int umbra_write_part(const umbra_model *model, const umbra_ranks *ranks,
                               const char *folder, const umbra_progress *progress,
                               umbra_error *err);

#ifdef __cplusplus
}
#endif
#endif
