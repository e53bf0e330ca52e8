/* How a recurrent layer's state lies in memory, and which state a row of a step goes on from.
 *
 * A state is one page of floats: S of each head, (key_dim, value_dim) in blocks of
 * UMBRA_STATE_COLUMNS columns; the inputs of the last positions that the convolution takes in,
 * oldest first; and a row for each of the positions of the step that made it, if these are at most
 * UMBRA_TAKE_BACK: what the state before needs to become the state behind any of them. */
#ifndef UMBRA_DEVICE_RECURRENT_H
#define UMBRA_DEVICE_RECURRENT_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/kernels.h"

enum { UMBRA_TAKE_BACK = 9 };

/* What a recurrent layer keeps. A position has queries and keys of key_heads heads and values of
 * `heads` ones, which lie among its convolved channels from query, key and value on. */
typedef struct umbra_recurrent_form {
    int heads, key_heads; /* heads 0: the layer is not recurrent */
    int key_dim, value_dim;
    bool tiled; /* head h has the key head h % key_heads; else h / (heads / key_heads) */
    bool delta;
    bool key_decay; /* a decay for each of key_dim; else one for a head */
    int channels;   /* that are convolved */
    int query, key, value;
    int taps; /* positions that the convolution takes in */
} umbra_recurrent_form;

/* The state before a step (NULL: none, its text begins) and where the one behind goes. */
typedef struct umbra_recurrent_view {
    const float *from;
    float *to;
} umbra_recurrent_view;

/* What one position gives to the state; the parts of a row. */
typedef struct umbra_recurrent_row {
    float *input; /* (channels) before the convolution */
    float *mixed; /* (channels) behind it */
    float *decay; /* (heads), or (heads, key_dim) */
    float *rate;  /* (heads) */
} umbra_recurrent_row;

static inline int umbra_recurrent_blocks(const umbra_recurrent_form *f)
{
    return (f->value_dim + UMBRA_STATE_COLUMNS - 1) / UMBRA_STATE_COLUMNS;
}

static inline int umbra_recurrent_decays(const umbra_recurrent_form *f)
{
    return f->key_decay ? f->heads * f->key_dim : f->heads;
}

/* Floats of a block of columns, of one kept row, and in a page before its rows. */
static inline size_t umbra_recurrent_block_size(const umbra_recurrent_form *f)
{
    return (size_t)f->key_dim * UMBRA_STATE_COLUMNS;
}

static inline size_t umbra_recurrent_row_size(const umbra_recurrent_form *f)
{
    return 2 * (size_t)f->channels + (size_t)umbra_recurrent_decays(f) + (size_t)f->heads;
}

static inline size_t umbra_recurrent_tail_at(const umbra_recurrent_form *f)
{
    return (size_t)(f->heads * umbra_recurrent_blocks(f)) * umbra_recurrent_block_size(f);
}

static inline size_t umbra_recurrent_rows_at(const umbra_recurrent_form *f)
{
    return umbra_recurrent_tail_at(f) + (size_t)(f->taps - 1) * (size_t)f->channels;
}

/* 0 for a layer that is not recurrent. */
static inline size_t umbra_recurrent_page_bytes(const umbra_recurrent_form *f)
{
    size_t rows = UMBRA_TAKE_BACK * umbra_recurrent_row_size(f);
    size_t bytes = (umbra_recurrent_rows_at(f) + rows) * sizeof(float);
    return f->heads ? (bytes + 63) / 64 * 64 : 0; /* lines of the cache */
}

/* The i-th row that a page keeps. */
static inline umbra_recurrent_row umbra_recurrent_kept(const umbra_recurrent_form *f, float *page,
                                                       int i)
{
    float *at = page + umbra_recurrent_rows_at(f) + (size_t)i * umbra_recurrent_row_size(f);
    float *decay = at + 2 * (size_t)f->channels;
    return (umbra_recurrent_row){at, at + f->channels, decay, decay + umbra_recurrent_decays(f)};
}

#endif
