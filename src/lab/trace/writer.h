/* The writer's state, shared by writer.c (the folder and the gates) and shard.c (shards). */
#ifndef UMBRA_LAB_TRACE_WRITER_H
#define UMBRA_LAB_TRACE_WRITER_H

#include "lab/trace/internal.h"

/* What arrives token by token for one layer: its input, its hidden state, or its routing. */
typedef struct umbra_trace_stream {
    int next;      /* the token that follows the last one, while they come in order */
    int count;     /* tokens that have come */
    bool unsorted; /* they did not: the running hash is worth nothing */
} umbra_trace_stream;

enum { UMBRA_TRACE_ROUTING = 2 /* after umbra_trace_state */, UMBRA_TRACE_STREAMS = 3 };

struct umbra_trace_writer {
    char *folder;
    int folder_fd;          /* locked */
    bool made_folder;       /* it was not there */
    umbra_trace_manifest m; /* of the finished shards; its arrays have room for the open one */

    /* Gates. Until the first shard of this run, which layers come is not known. */
    bool *gate_put;        /* (layers) */
    int *staged;           /* (layers) the layers put, in order */
    uint64_t *staged_hash; /* (layers) in that order */
    int n_staged;
    int staging_fd;  /* their values one after the other, in a file without a name; -1: none */
    bool gates_done; /* put and complete: shards may come */

    /* The open shard; `file` NULL if there is none. */
    umbra_safetensors_writer *file;
    umbra_trace_shard shard;
    umbra_trace_stream *streams; /* (moe_layers, UMBRA_TRACE_STREAMS) */
    uint64_t *seen;              /* (moe_layers, UMBRA_TRACE_STREAMS, words) a bit per token */
    size_t words;
    XXH3_state_t *hashes; /* (tensors) */

    /* Scratch of a put. */
    unsigned char *piece; /* (UMBRA_TRACE_PIECE) */
    float *scales;        /* (UMBRA_TRACE_PIECE_ROWS) */
};

/* writer.c: before the first shard of a run, makes the gates complete. */
int umbra_trace_finish_gates(umbra_trace_writer *w, umbra_error *err);

/* shard.c: writes a piece of a tensor of the open shard, which is hashed unless the pieces do not
 * come in order. */
int umbra_trace_put_piece(umbra_trace_writer *w, int tensor, uint64_t offset, const void *data,
                          uint64_t bytes, bool hashed, umbra_error *err);
/* shard.c: gives up the open shard, if there is one. */
void umbra_trace_shard_abandon(umbra_trace_writer *w);

#endif
