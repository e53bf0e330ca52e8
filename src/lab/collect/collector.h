/* A collection under way: collect.c opens it, record.c computes and records a shard, round.c finds
 * the texts of the next shards, one for each rank, and brings what was recorded to rank 0. */
#ifndef UMBRA_LAB_COLLECT_COLLECTOR_H
#define UMBRA_LAB_COLLECT_COLLECTOR_H

#include "engine/engine.h"
#include "engine/ranks.h"
#include "lab/collect/documents.h"
#include "lab/trace/trace.h"

enum { UMBRA_COLLECT_READERS = 4 /* documents computed together: short ones fill a chunk */ };

/* The texts of a shard. */
typedef struct umbra_shard_texts {
    umbra_trace_document *list;
    int n_list, list_room;
    int32_t *tokens;
    size_t n_tokens, tokens_room;
} umbra_shard_texts;

typedef struct umbra_collector {
    const umbra_model *model;
    const umbra_collect_options *options;
    const umbra_progress *progress;
    const umbra_ranks *ranks;
    umbra_engine *engine;
    umbra_trace_info info;
    umbra_trace_writer *trace; /* into the folder; on ranks behind the first into `aside` */
    char *aside;               /* folder of this rank's own, until rank 0 has the shard; or NULL */
    umbra_documents *documents;
    int writers; /* sequences [0, writers) write, [writers, + READERS) read */
    uint64_t shard_tokens;
    /* The same on all ranks. */
    struct {
        uint64_t wanted;                    /* tokens in all */
        uint64_t started;                   /* tokens found at a resume */
        uint64_t tokens, documents, shards; /* in the folder now */
    } state;
    umbra_error *err;

    umbra_shard_texts *round; /* (ranks) the shards at hand: rank i records round[i] */
    int in_round;
    uint64_t round_tokens;

    /* The shard that this rank records. */
    const umbra_shard_texts *shard;
    umbra_token *batch;  /* (n of one evaluation) */
    int batch_first;     /* shard token of batch[0] */
    int batch_documents; /* first document of the batch */
} umbra_collector;

/* Computes and records this rank's shard of the round, if it has one. */
int umbra_collect_record(umbra_collector *c);

/* Gathers the documents of the next shards: 1, 0 when there are no more, or negative. */
int umbra_collect_gather(umbra_collector *c);
/* What the ranks recorded comes into the folder. status: of this rank's recording; returns that of
 * all. */
int umbra_collect_keep(umbra_collector *c, int status);
void umbra_collect_release_round(umbra_collector *c);

#endif
