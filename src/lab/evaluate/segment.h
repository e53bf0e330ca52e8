/* A segment of one document in memory: routing at all layers, states at all sources. */
#ifndef UMBRA_LAB_EVALUATE_SEGMENT_H
#define UMBRA_LAB_EVALUATE_SEGMENT_H

#include "lab/evaluate/input.h"

typedef struct umbra_eval_segment {
    int capacity;      /* rows */
    int span;          /* tokens of routing that fit */
    int rows;          /* read */
    float *states;     /* (sources, capacity, H); sources without states are left alone */
    uint16_t *routing; /* (span, L, k); 0xffff at layers without experts */
    uint16_t *layer;   /* (span, k) scratch */
    const uint16_t **now, **previous, **previous2; /* (capacity) -> (L, k) of routing; NULL: the
                                                       document has no such token */
} umbra_eval_segment;

/* Room for a segment within a fixed number of bytes, whatever the traces' size. */
int umbra_eval_segment_open(umbra_eval_segment *segment, const umbra_evaluation *e,
                            umbra_error *err);
void umbra_eval_segment_close(umbra_eval_segment *segment);

/* How many rows a read of this document may ask for. */
int umbra_eval_segment_rows(const umbra_eval_segment *segment, const umbra_evaluation *e,
                            const umbra_eval_document *document);
/* Reads rows [first, first + n) of the document. */
int umbra_eval_segment_read(umbra_eval_segment *segment, const umbra_evaluation *e,
                            const umbra_eval_input *in, const umbra_eval_document *document,
                            int first, int n, umbra_error *err);
/* Adds the used experts of a whole document, as far as it counts, to counts (L, E). */
int umbra_eval_segment_count(umbra_eval_segment *segment, const umbra_evaluation *e,
                             const umbra_eval_input *in, const umbra_eval_document *document,
                             uint64_t *counts, umbra_error *err);

#endif
