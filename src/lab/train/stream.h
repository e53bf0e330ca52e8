/* Batches of rows in a random order that memory bounds: documents come in a shuffled order into a
 * window of rows, which is shuffled again when it is full. */
#ifndef UMBRA_LAB_TRAIN_STREAM_H
#define UMBRA_LAB_TRAIN_STREAM_H

#include "lab/train/data.h"

typedef struct umbra_train_stream {
    umbra_train_loader *loader;   /* not owned */
    int first_source, end_source; /* within the loader's */
    bool validation;              /* the validation documents, in their order */
    uint64_t seed;
    int batch;
    int n_documents;
    const umbra_train_document *documents;
    uint64_t rows; /* of one epoch */

    uint32_t *order; /* items: source number * n_documents + document */
    uint32_t n_items;
    uint32_t item; /* next to read, from row item_row on */
    int item_row;
    float *carry; /* (averages, H) running averages within the item */

    umbra_train_rows window;
    int *permutation; /* (window.capacity) */
    int at;           /* next of the window to give out */
    uint64_t epoch, window_number;
    umbra_train_rows out; /* (batch) */
} umbra_train_stream;

/* Rows of sources [first_source, end_source). window_bytes: for the rows held, rounded down to
 * whole batches, at least one. Sources without data are left out. Release on failure too. */
int umbra_train_stream_open(umbra_train_stream *stream, umbra_train_loader *loader,
                            int first_source, int end_source, bool validation, uint64_t seed,
                            int batch, uint64_t window_bytes, umbra_error *err);
void umbra_train_stream_release(umbra_train_stream *stream);

/* Goes to a row of the order of that epoch, a multiple of the batch: the batches that follow are
 * those that would have followed had all before been taken. */
int umbra_train_stream_start(umbra_train_stream *stream, uint64_t epoch, uint64_t row,
                             umbra_error *err);
/* The next batch, n = 0 at the end of the epoch. Valid until the next call. */
int umbra_train_stream_next(umbra_train_stream *stream, const umbra_train_rows **batch,
                            umbra_error *err);

#endif
