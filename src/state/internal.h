/* Inside of the state: pages by size, and each sequence's table of them. */
#ifndef UMBRA_STATE_INTERNAL_H
#define UMBRA_STATE_INTERNAL_H

#include "state/state.h"

/* Pages of one size. */
typedef struct umbra_page_pool {
    size_t bytes;  /* of a page */
    int pages;     /* in the arena */
    char *arena;   /* (pages, bytes) */
    int32_t *free; /* (pages) a stack of free ones */
    int n_free;
    int32_t *owners; /* (pages) sequences that hold it */
} umbra_page_pool;

struct umbra_state {
    umbra_kv_form *forms; /* (layers) */
    int layers, sequences, context, step;
    int table_pages;        /* of a sequence and layer */
    umbra_page_pool *pools; /* (layers at most) */
    int n_pools;
    int *pool;     /* (layers) index of each layer's pool */
    char **table;  /* (sequences, layers, table_pages); NULL: not held */
    int *first;    /* (sequences, layers) the first position that is held */
    int *length;   /* (sequences) */
    int *reserved; /* (sequences) positions with room, at least the length */
};

static inline char **umbra_state_table(const umbra_state *s, int sequence, int layer)
{
    return s->table +
           ((size_t)sequence * (size_t)s->layers + (size_t)layer) * (size_t)s->table_pages;
}

/* Takes the pages that a layer needs for positions [first, length); it holds none so far. */
void umbra_state_hold(umbra_state *s, int sequence, int layer, int first, int length);

/* The first position that a row at `position` sees. */
static inline int umbra_state_first_seen(const umbra_kv_form *f, int position)
{
    return f->window > 0 && position >= f->window ? position - f->window + 1 : 0;
}

#endif
