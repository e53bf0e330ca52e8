/* What the reader's two parts share: reader.c opens and checks, rows.c reads. */
#ifndef UMBRA_LAB_TRACE_READER_H
#define UMBRA_LAB_TRACE_READER_H

#include <stdatomic.h>

#include "lab/trace/internal.h"

/* A file of the folder. It is opened for every read and not kept open: a trace may have more shards
 * than a process may have descriptors. */
typedef struct umbra_trace_file {
    char *path;
    uint64_t bytes;
    uint64_t *offsets;     /* of the tensors: of a shard by number, of the gates by place */
    atomic_bool *verified; /* has the tensor's checksum been found right? */
} umbra_trace_file;

struct umbra_trace {
    char *folder;
    umbra_trace_manifest m;
    umbra_trace_file gates;
    umbra_trace_file *shards; /* (n_shards) */
    int n_shards;             /* also when the manifest has been taken */
};

/* Opens a file and checks that it is still as long as when its header was read. */
int umbra_trace_reopen(const umbra_trace_file *f, int *fd, umbra_error *err);
/* kind: "tensor" or "document". */
int umbra_trace_fail_checksum(const char *path, const char *kind, const char *name, uint64_t offset,
                              uint64_t found, uint64_t listed, umbra_error *err);

#endif
