/* What one layer does with the rows of a pass, step by step. A step takes all that it uses from
 * the pass: two passes with scratch of their own may be under way at once, over other states, on
 * other devices.
 *
 * Letters: C rows of the pass, P = C * k pairs (row, used expert). */
#ifndef UMBRA_ENGINE_STEPS_H
#define UMBRA_ENGINE_STEPS_H

#include <umbra/profile.h>
#include <umbra/store.h>

#include "device/device.h"

enum {
    UMBRA_LOGITS_ROWS = 8,    /* output rows computed together */
    UMBRA_LATENT_HEADS = 32,  /* query heads that go through a compressed cache together */
    UMBRA_LATENT_TOKENS = 16, /* rows whose queries are in the latent's space at a time */
};

/* The dense weights of a model. */
typedef struct umbra_weights {
    umbra_matrix model[UMBRA_MODEL_ROLES];
    umbra_matrix (*layer)[UMBRA_LAYER_ROLES]; /* (layers) */
    void *arena;
    uint64_t arena_bytes;
} umbra_weights;

/* Attention over a compressed cache; T at most UMBRA_LATENT_TOKENS. */
typedef struct umbra_latent {
    umbra_activations plain; /* (T * heads, key_dim - rope.dim) the part of q that is not rotated */
    float *query;            /* (T, heads, cache_key) q as the cache's rows see it */
    umbra_activations mixed; /* (T * heads, kv_rank) attention's output */
    float *row;              /* (threads, kv_rank) one row of weights */
} umbra_latent;

/* The numbers of a pass, in one arena. */
typedef struct umbra_scratch {
    float *x;               /* (C, hidden) residual stream, or what a block takes of several: */
    float *streams;         /* (C, streams, hidden) these; NULL: there is one */
    float *carry;           /* (C, streams + streams^2) what becomes of them behind the block */
    umbra_activations flat; /* (C, streams * hidden) they, normed together */
    float *stream_scores;   /* (C, streams * (streams + 2)) */
    umbra_activations stream_low;  /* (C, streams.rank) */
    float *stream_gates;           /* (C, streams * hidden) */
    umbra_activations ngram_state; /* (C, hidden) rows of the table */
    float *ngram_key;              /* (C, streams * hidden) */
    float *ngram_row;              /* (threads, hidden) */
    umbra_kv_view *ngrams;         /* (C) what each row sees of what is kept of the last tokens */
    umbra_activations normed;      /* (C, hidden) input of a block */
    umbra_activations q_low;       /* (C, q_rank) bottleneck of the queries */
    float *q, *k, *v;    /* (C, heads * dim) of a layer; k and v as the cache keeps them; q also
                            (C, 3 * hidden) of one that convolves; q and k (C, channels) of a
                            recurrent one, before and behind its convolution */
    float *gate;         /* (C, heads * value_dim) of attention's output */
    float *steps;        /* (C, heads + decays) of a recurrent layer, before the next two: */
    float *decay, *rate; /* (C, heads) or (C, heads * key_dim); (C, heads) */
    umbra_chains chains; /* rows by sequence, (C) each */
    umbra_recurrent_view *recurrent; /* (chains) of the layer in progress */
    umbra_product *dealt;            /* parts of a matrix that go to several outputs */
    umbra_activations mixed;         /* (C, heads * value_dim) attention's output */
    float *block;                    /* (C, hidden) output of a block, before it joins x */
    float *beside; /* (C, hidden) with post norms or several streams: what the block beside
                      experts gives */
    float *pool_values, *pool_scores; /* (C, ratio_parts * key_dim) */
    float *pool_angles;               /* (C, rope.dim) */
    umbra_activations groups_out;     /* (C, out_groups * out_rank) */
    umbra_product *parts;             /* (most parts of a matrix) */
    int32_t *part_rows;               /* (the same, part_stride) */
    int part_stride;
    float *rope[UMBRA_ROPES]; /* (C, its dim) cos, sin of each pair */
    umbra_kv_view *view;      /* (C) what each row sees of the layer in progress, and */
    umbra_kv_view *pooled;    /* (C) of its pooled rows, */
    umbra_kv_view *pooling;   /* (C) and of what is pooled; NULL where no layer does */
    umbra_attend_room attend;
    umbra_kv_run *runs; /* (threads, runs_stride) */
    int runs_stride;
    umbra_latent latent;
    float *index_query, *index_weight;   /* (C, heads * dim), (C, heads) */
    float *index_key, *index_key_scores; /* (C, dim or parts * dim) of an index, before pooling */
    float *index_scores;                 /* (threads, index_scores_stride) */
    int index_scores_stride;
    umbra_picks picks; /* what the last index has picked; n NULL: there is none */
    umbra_kv_view *index, *index_pooling; /* (C) what each row sees of its keys, and of what these
                                             are pooled */
    float *router;                        /* (C, experts) */
    float *selection;                     /* (threads, experts + groups) */
    int32_t *groups;                      /* (threads, groups) */
    float *shared_weight;                 /* (C) */
    int32_t *experts;                     /* (C, k) used experts, best first */
    float *weights;                       /* (C, k) */
    bool *computed;                       /* (experts) of the layer in progress, so far */
    int32_t *pair_token;                  /* (P) row of each pair, pairs sorted by expert */
    int32_t *token_pair;                  /* (C, k) the pair of a row's j-th expert */
    float *pair_weight;                   /* (P) where weights multiply what experts get */
    umbra_activate_span *spans;           /* (experts) the pairs of each expert */
    int *span_expert;                     /* (experts) those that have pairs, in the pass's order */
    int *span_uses;          /* (experts) how many rows that decode use each of these */
    float *up;               /* (Q, width), Q pairs of the experts computed together */
    umbra_activations inner; /* (Q, width): gate's output, then silu(gate) * up */
    umbra_activations latent_in, latent_out; /* (C, expert_hidden) where experts work on a latent */
    umbra_activations ffn;             /* (C, dense or shared width): the same place and purpose for
                                          the block that every row uses, as is `up` */
    float *contribution;               /* (P, expert_hidden) */
    umbra_activations out;             /* (output rows, hidden) */
    float *logits;                     /* (output rows, vocabulary) */
    int32_t *id, *sequence, *position; /* (C) */
    bool *prompt;                      /* (C) the row's sequence has more rows in the pass */
    void *arena;
    uint64_t arena_bytes;
} umbra_scratch;

/* The latest rows of the table of config.ngrams, each in the place that its number gives it. */
enum { UMBRA_NGRAM_ROWS = 4096 };
typedef struct umbra_ngram_rows {
    uint64_t *number; /* (UMBRA_NGRAM_ROWS) of the row that is there, and 1; 0: none is */
    char *data;       /* (UMBRA_NGRAM_ROWS, row_bytes) */
    uint64_t row_bytes;
} umbra_ngram_rows;

/* Rows on their way through the layers. */
typedef struct umbra_pass {
    const umbra_device *device;
    const umbra_model *model;
    const umbra_weights *weights;
    const umbra_kv_form *forms;            /* (config.kept), of each layer first */
    const umbra_recurrent_form *recurrent; /* (layers) */
    const double *rope_frequency;          /* radians per position of each pair, rope r's from
                                              umbra_rope_at(r) on */
    const uint16_t *order; /* (layers, experts) in which their pairs lie, or NULL: by id */
    const umbra_ngram_rows *ngram_rows;
    umbra_scratch *scratch;
    int rows; /* C */
} umbra_pass;

typedef enum umbra_half { UMBRA_HALF_ATTENTION, UMBRA_HALF_FFN } umbra_half;

/* Rows [first + i * step, ... + rows) of a matrix are its i-th part. */
typedef struct umbra_part {
    int first, step, rows;
} umbra_part;

/* Pairs of the rotary embeddings before r. */
static inline int umbra_rope_at(const umbra_config *c, int r)
{
    int pairs = 0;
    while (r-- > 0)
        pairs += c->rope[r].dim / 2;
    return pairs;
}

/* Query heads of a layer that go through the cache together. */
static inline int umbra_heads_together(const umbra_attention *a)
{
    bool one = a->kv_rank > 0 || a->keys_are_values;
    int heads = one ? a->heads : a->heads / a->kv_heads;
    int most = one ? UMBRA_LATENT_HEADS : UMBRA_ATTEND_ROWS;
    return heads < most ? heads : most;
}

/* scratch.c: sizes for so many rows, positions and threads (base NULL), or places in an arena of
 * that size. Returns bytes. */
uint64_t umbra_scratch_place(umbra_scratch *s, char *base, const umbra_config *c, int rows,
                             int output_rows, int context, int threads);

/* rope.c: radians per position of each pair; out (rope.dim / 2). slowed: factors or NULL. */
void umbra_rope_frequencies(const umbra_rope *rope, const float *slowed, double *out);

/* embed.c: x, and the rotary angles, of the rows' ids and positions. */
void umbra_step_embed(const umbra_pass *p);
/* (rope.dim / 2, 2) cos, sin of a position. */
void umbra_rope_angles(const umbra_rope *rope, const double *frequency, int position,
                       float *angles);
/* parts.c: one product per part of a matrix; x holds a row for each part of each token, out a
 * stretch of `width`. Tokens are at most part_stride. */
void umbra_step_per_part(const umbra_pass *p, int parts, const umbra_matrix *matrix,
                         umbra_part part, const umbra_activations *x, int tokens, float *out,
                         int width);

/* streams.c, all but the last two without effect where there is one stream. Makes them of x. */
void umbra_step_split(const umbra_pass *p);
/* x: what a half of a layer takes of them; or, behind the last layer, what the output does. */
void umbra_step_enter(const umbra_pass *p, int layer, umbra_half half);
void umbra_step_leave(const umbra_pass *p);
/* normed = norm(x), or x where mixtures of streams are normed already. */
void umbra_step_norm(const umbra_pass *p, const umbra_matrix *weight);
/* ngrams.c: what the last tokens say together joins the streams, in front of the layer that it is
 * for; scratch->ngrams is what each row sees of what is kept of it. Fails where the file cannot be
 * read.
 */
int umbra_step_ngrams(const umbra_pass *p, int layer, umbra_error *err);
/* What a half gives, scratch->block, joins the residual, as scratch->carry says of several. */
void umbra_step_add(const umbra_pass *p, float *residual);
/* The residual stream, or all of several. */
float *umbra_residual(const umbra_scratch *s);
/* output.c: logits of the rows `index` (n, at most UMBRA_LOGITS_ROWS) of x. */
void umbra_step_output(const umbra_pass *p, const int *index, int n);
/* The same of one row in pieces: the norm, then the logits [first, first + n), and others. */
void umbra_step_output_norm(const umbra_pass *p, const int *index, int n);
void umbra_step_output_part(const umbra_pass *p, int first, int n);

/* attention.c: x += attention(norm(x)); scratch->view is what each row sees of the layer. With
 * several streams, behind umbra_step_enter, and the second half is entered. */
void umbra_step_attention(const umbra_pass *p, int layer);
/* A part of each of the groups of rows of a matrix: `rows` of them go to out (C, stride), group g's
 * g * rows further on. */
typedef struct umbra_share {
    int rows;
    float *out;
    int stride;
} umbra_share;
/* products.c: products of the normed rows with w, whose rows are `groups` groups of n shares one
 * behind the other. Returns how many products (groups * n) it makes at `products`. */
int umbra_step_deal(const umbra_pass *p, const umbra_matrix *w, int groups,
                    const umbra_share *shares, int n, umbra_product *products);
/* attention_latent.c, convolution.c, recurrent.c: what stands in its place with a compressed cache,
 * in layers that convolve and in recurrent ones, from normed to mixed.f32; the last goes on from
 * scratch->recurrent, by scratch->chains. attention_pooled.c, where keys are values: to
 * groups_out.f32. */
void umbra_step_attention_latent(const umbra_pass *p, int layer);
void umbra_step_attention_pooled(const umbra_pass *p, int layer);
/* index.c: what each row sees of such a layer, to picks, from q_low and normed; and these, or NULL
 * where a row sees all. */
void umbra_step_index(const umbra_pass *p, int layer);
const umbra_picks *umbra_step_picks(const umbra_pass *p, int layer);
/* pool.c: pools what the caller names but for positions, angles (of the model's rope `rope`) and
 * runs. */
void umbra_step_pool(const umbra_pass *p, int rope, umbra_pool_step *pool);
void umbra_step_convolution(const umbra_pass *p, int layer);
void umbra_step_recurrent(const umbra_pass *p, int layer);

/* experts.c: which experts each row uses; fills normed, experts, weights. Returns the first row
 * whose scores are not finite, or UMBRA_NO_ROW. */
int umbra_step_route(const umbra_pass *p, int layer);
/* Sorts the pairs by expert, in the pass's order: fills spans, span_expert, span_uses and both
 * tables of pairs. Returns the number of distinct experts. */
int umbra_step_sort_pairs(const umbra_pass *p, int layer);
/* The contributions of n leased experts, at most UMBRA_MAX_USED. */
void umbra_step_experts(const umbra_pass *p, int layer, const umbra_lease *leases, int n);
/* x += sum of weight * contribution, in the router's order, so that the order of arrival leaves no
 * trace in the bits. */
void umbra_step_mix(const umbra_pass *p, int layer);
/* The parts of it: where the experts' sum goes, (C, expert_hidden); what of it comes to the block;
 * and what the block gives in all, with the experts' sum in scratch->block, joins the residual. */
float *umbra_step_sum(const umbra_pass *p);
void umbra_step_raise(const umbra_pass *p, int layer);
void umbra_step_join(const umbra_pass *p, int layer, float *residual);

/* ffn.c: x += ffn(normed), the block that every row uses, or with post norms or several streams
 * beside = ffn(normed), which umbra_step_mix joins; nothing where a layer has none. Leaves in
 * normed what experts get. */
void umbra_step_ffn(const umbra_pass *p, int layer);
/* x += ffn(norm(x)): all that a layer without experts has after attention. */
void umbra_step_ffn_dense(const umbra_pass *p, int layer);

#endif
