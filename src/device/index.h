/* What picks what a row sees of a long text, and rows that stand for blocks of positions: the
 * arguments of umbra_device_index and umbra_device_pool, and what an index has picked. Letters as
 * in device.h. */
#ifndef UMBRA_DEVICE_INDEX_H
#define UMBRA_DEVICE_INDEX_H

#include <stdbool.h>

#include "device/kv.h"
#include "model/model.h"

/* Of what rows see, the units that an index has picked. */
typedef struct umbra_picks {
    int32_t *unit; /* (T, stride) for each list its units, ascending, `list` apart */
    int32_t *n;    /* (T) how many of each list; 0: the row sees all */
    int stride, list;
    int lists;     /* 1, or one for each key/value head */
    int positions; /* of a unit */
} umbra_picks;

/* A row's units of a list; NULL where nothing picks. */
static inline int32_t *umbra_picks_of(const umbra_picks *p, int t, int list)
{
    if (!p->unit)
        return NULL;
    return p->unit + (size_t)t * (size_t)p->stride + (size_t)(list * p->list);
}

/* Makes queries and keys of an index what they are, puts keys where each row's view says, and picks
 * for each row `most` of the units of what it sees. */
typedef struct umbra_index_step {
    float *query;            /* (T, heads, dim); changed */
    float *key;              /* (T, dim); changed. NULL: one for each whole unit is kept already */
    const float *weight;     /* (T, heads) or NULL: 1 */
    const float *query_norm; /* (dim) of each head, or NULL */
    const float *norm;       /* (dim) of keys */
    const float *bias;       /* (dim) behind the norm, which is then one with a mean; or NULL */
    const umbra_rope *rope;
    int turned_at;                    /* the value with which what is rotated begins */
    const float *angles;              /* (T, rope.dim) */
    const umbra_kv_form *form;        /* of keys: F32, one head of dim */
    const umbra_kv_view *view, *seen; /* (T) of keys; of what is picked */
    int heads, dim, most, local;      /* as of umbra_index */
    bool by_head;
    float eps;
    umbra_picks *picks; /* all but unit and n are there; by_head: as many lists as heads */
    float *scores;      /* (threads, scores_stride): umbra_index_scores */
    int scores_stride;
    umbra_kv_run *runs; /* (threads, runs_stride) of keys */
    int runs_stride;
} umbra_index_step;
/* Scores that a row of so many heads, lists and units needs. */
static inline uint64_t umbra_index_scores(int heads, int lists, int units)
{
    return (uint64_t)heads * UMBRA_KV_PAGE + (uint64_t)(lists + 1) * (uint64_t)units;
}

/* Keeps what rows are pooled of, and pools blocks of `ratio` positions that end with a row: of each
 * of `dim` values, the sum over the positions weighed by the softmax of their scores; normed,
 * turned by `angles` and put where to_view says. With two parts a block is pooled over the rows of
 * the block before, the first part of them, and its own, the second part; with none, scores and
 * place are NULL, and values (T, dim) go in alike. */
typedef struct umbra_pool_step {
    const float *values, *scores; /* (T, parts * dim) */
    const float *place;           /* (ratio, parts * dim) added to scores by place in the block */
    const int32_t *position;      /* (T) */
    const float *norm;            /* (dim) */
    const umbra_rope *rope;
    int turned_at;                            /* the value with which what is rotated begins */
    const float *angles;                      /* (T, rope.dim) of the first position of a block that
                                                 ends with the row; others are not looked at */
    const umbra_kv_form *from, *to;           /* one head: 2 * parts * dim or dim, F32; dim */
    const umbra_kv_view *from_view, *to_view; /* (T) */
    int ratio, parts, dim;
    float eps;
    bool plain;         /* `to` is F32 whatever the kernels keep */
    float *out;         /* (T, dim) scratch */
    umbra_kv_run *runs; /* (threads, runs_stride) */
    int runs_stride;
} umbra_pool_step;

#endif
