/* Inside of the state: pages by size, and each sequence's table of them. A recurrent layer's states
 * are pages too, of which a sequence holds at most two at a time. */
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

/* The states of a sequence in a recurrent layer. A page is written while it is `next`, and not
 * after: forks share it. */
typedef struct umbra_held {
    char *now;  /* of the positions held; NULL: there are none */
    char *base; /* from which the rows that `now` keeps go on; NULL: from the text's beginning */
    char *next; /* of the step in progress */
} umbra_held;

struct umbra_state {
    umbra_kv_form *forms;            /* (layers) */
    umbra_recurrent_form *recurrent; /* (layers) */
    const umbra_device *device;
    int layers, sequences, context, step;
    int table_pages;        /* of a sequence and layer */
    umbra_page_pool *pools; /* (layers at most) */
    int n_pools;
    int *pool;        /* (layers) index of each layer's pool */
    char **table;     /* (sequences, layers, table_pages); NULL: not held */
    int *first;       /* (sequences, layers) the first position that is held */
    int *length;      /* (sequences) */
    int *reserved;    /* (sequences) positions with room, at least the length */
    umbra_held *held; /* (sequences, layers) */
    int *base;        /* (sequences) position of the bases: the least that can be gone back to */
};

static inline umbra_held *umbra_state_held(const umbra_state *s, int sequence, int layer)
{
    return &s->held[(size_t)sequence * (size_t)s->layers + (size_t)layer];
}

/* state.c: pages; what is dropped becomes NULL. */
char *umbra_state_take_page(umbra_page_pool *p);
void umbra_state_drop_page(umbra_page_pool *p, char **entry);
int umbra_state_page_owners(umbra_page_pool *p, const char *page);
/* One more sequence holds the page; NULL: there is none. */
void umbra_state_share_page(umbra_page_pool *p, char *page);

/* recurrent.c: what the functions of state.h of these names do in recurrent layers. */
void umbra_recurrent_begin(umbra_state *s, int sequence);
/* Before any of the reserved rows is counted. */
void umbra_recurrent_advance(umbra_state *s, int sequence);
/* length 0, or at least the base. */
void umbra_recurrent_truncate(umbra_state *s, int sequence, int length);
void umbra_recurrent_fork(umbra_state *s, int from, int to);
uint64_t umbra_recurrent_save_bytes(const umbra_state *s);
char *umbra_recurrent_save(const umbra_state *s, int sequence, char *out);
/* Returns the end of what it read. */
const char *umbra_recurrent_load(umbra_state *s, int sequence, int length, const char *in);

static inline char **umbra_state_table(const umbra_state *s, int sequence, int layer)
{
    return s->table +
           ((size_t)sequence * (size_t)s->layers + (size_t)layer) * (size_t)s->table_pages;
}

/* Takes the pages that a layer needs for positions [first, length); it holds none so far. */
void umbra_state_hold(umbra_state *s, int sequence, int layer, int first, int length);

/* Whether every layer still has what a row at `length` sees. */
bool umbra_state_reaches(const umbra_state *s, int sequence, int length);

/* The first position that a row at `position` sees. */
static inline int umbra_state_first_seen(const umbra_kv_form *f, int position)
{
    return f->window > 0 && position >= f->window ? position - f->window + 1 : 0;
}

#endif
