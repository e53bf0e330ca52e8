/* Graphs over a model file's experts, as llama.cpp makes them. */
#ifndef UMBRA_TESTS_UNDER_GRAPHS_H
#define UMBRA_TESTS_UNDER_GRAPHS_H

#include "gguf/gguf.h"
#include "stub.h"

typedef struct host {
    umbra_gguf *gguf;
    int fd;
    char *map; /* of the file, or a copy of it */
    size_t bytes;
    bool mapped;
    int layers, experts, used, hidden;
} host;

/* Maps the file, or, mapped false, reads it into memory. Ends the program if that fails. */
void host_open(host *h, const char *path, bool mapped);
void host_close(host *h);

typedef struct host_graph {
    stub_graph graph;
    void *context;
} host_graph;

enum host_ids { IDS_NAMED, IDS_OTHER_NAME, IDS_ON_DEVICE };

/* A graph over all layers for rows that choose experts by chance. */
void host_graph_make(host_graph *g, const host *h, int rows, uint64_t *seed, enum host_ids ids);
void host_graph_free(host_graph *g);

#endif
