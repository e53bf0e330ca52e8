/* Recorded routing, for programs that simulate. */
#ifndef UMBRA_BENCH_ROUTING_H
#define UMBRA_BENCH_ROUTING_H

#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "numbers.h"
#include "lab/trace/trace.h"

/* The experts (T, L, k) of all documents, one behind the other; *tokens: T. The caller's. */
static inline uint16_t *read_routing(umbra_trace *trace, int *tokens)
{
    umbra_error err = {0};
    const umbra_trace_info *info = umbra_trace_get_info(trace);
    size_t layers = (size_t)info->layers, used = (size_t)info->used, first = 0;
    uint16_t *out = NULL;
    for (int i = 0; i < umbra_trace_documents(trace); i++) {
        const umbra_trace_document *d = umbra_trace_document_at(trace, i);
        size_t n = (size_t)d->tokens;
        uint16_t *column = need(umbra_calloc(n * used, sizeof *column));
        out = need(umbra_reallocarray(out, (first + n) * layers * used, sizeof *out));
        for (size_t l = 0; l < layers; l++) {
            must(umbra_trace_read_experts(trace, d->shard, (int)l, d->first, d->tokens, column,
                                          &err),
                 &err);
            for (size_t t = 0; t < n; t++)
                memcpy(out + ((first + t) * layers + l) * used, column + t * used,
                       used * sizeof *column);
        }
        umbra_free(column);
        first += n;
    }
    *tokens = (int)first;
    return out;
}

/* A simulated disk's file, of nothing but zeros; path (64). */
static inline void make_disk(char *path, off_t bytes)
{
    snprintf(path, 64, "/tmp/%s-XXXXXX", program_invocation_short_name);
    int fd = mkstemp(path);
    if (fd < 0 || ftruncate(fd, bytes) != 0) {
        perror(path);
        exit(1);
    }
    close(fd);
}

#endif
