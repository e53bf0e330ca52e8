/* Where steps are computed. A device offers some twelve steps over rows of numbers; whoever calls
 * them names every argument, so a step can run twice at once, over another state, on another
 * device. Nothing here knows sequences, models' files or the store.
 *
 * There is one device so far: kernels of an instruction set, shared by the threads of a pool, or on
 * the calling thread alone (pool NULL). A second one would implement the same functions.
 *
 * Letters: T rows (tokens), H hidden, E experts, k used ones, P pairs of (token, used expert).
 * All arrays belong to the caller. One thread at a time uses one umbra_device; two devices may
 * share kernels, and a device without a pool may run beside one with a pool. */
#ifndef UMBRA_DEVICE_DEVICE_H
#define UMBRA_DEVICE_DEVICE_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/pool.h"
#include "device/index.h"
#include "device/kv.h"
#include "device/profiler.h"
#include "device/recurrent.h"
#include "kernels/kernels.h"
#include "model/model.h"

enum { UMBRA_NO_ROW = INT_MAX };

typedef struct umbra_device {
    const umbra_kernels *kernels;
    umbra_pool *pool; /* NULL: the calling thread alone */
    int threads;      /* of the pool; 1 without */
    /* Called before products, the long steps, so that reads can go on; may be NULL. */
    void (*tick)(void *user);
    void *user;
    umbra_profiler *profiler; /* NULL: nobody wants to know; needs a pool */
} umbra_device;

/* What follows is of this kind, for the profiler. */
static inline void umbra_device_profile(const umbra_device *d, int kind)
{
    if (d->profiler)
        umbra_profiler_enter(d->profiler, d->pool, kind);
}

/* A dense weight in memory. */
typedef struct umbra_matrix {
    const void *data; /* (rows, columns); NULL: there is none */
    uint64_t row_bytes;
    uint32_t dtype;
    int rows, columns;
} umbra_matrix;

/* One product of several that are computed together. */
typedef struct umbra_product {
    umbra_matmul matmul;
    umbra_matmul_fn fn;
    int rows;
} umbra_product;

/* Items [0, items) in pieces of `grain`, shared by the threads. */
void umbra_device_run(const umbra_device *d, int items, int grain, umbra_pool_fn fn, void *context);

/* ---- rows ---- */

/* x (T, H): rows `id` (T) of a table (n, H). */
void umbra_device_embed(const umbra_device *d, const umbra_matrix *table, const int32_t *id,
                        int rows, float *x);
/* out = norm(x (T, H)) * weight, f32 and q16; x may be out's f32. */
void umbra_device_norm(const umbra_device *d, umbra_activations *out, const float *x,
                       const umbra_matrix *weight, float eps, int rows);
/* q16 of the first T rows of a. */
void umbra_device_round(const umbra_device *d, umbra_activations *a, int rows);
/* The same for rows [first, first + count), on the calling thread. */
void umbra_round_rows(const umbra_kernels *kernels, umbra_activations *a, int first, int count);
/* x (T, n) in place: norm(x) * weight in f32 alone, where there is a weight (n). */
void umbra_device_norm_rows(const umbra_device *d, const umbra_matrix *weight, float *x, float eps,
                            int rows);
/* x[t] += scale * weight[t] * y[t]; weight NULL: 1. x, y (T, n). */
void umbra_device_add(const umbra_device *d, float *x, const float *y, const float *weight,
                      float scale, int rows, int n);
/* x (T, n) *= scale. */
void umbra_device_scale(const umbra_device *d, float *x, float scale, int rows, int n);
/* x (T, n): cap * tanh(scale * x / cap); cap 0: scale * x. */
void umbra_device_shape_logits(const umbra_device *d, float *x, float scale, float cap, int rows,
                               int n);
/* x[t] += bias for T rows, where there is a bias. */
void umbra_device_add_bias(const umbra_device *d, const umbra_matrix *bias, float *x, int rows);

/* Whether none of n values is NaN or infinite. */
bool umbra_all_finite(const float *x, size_t n);
/* The first of the rows x (T, width) that holds such a value, or one so large that the squares of
 * such a row need not sum to a finite number: a norm would make zeros of it. Or UMBRA_NO_ROW. */
int umbra_device_first_bad(const umbra_device *d, const float *x, int width, int rows);
/* Makes *first, UMBRA_NO_ROW at first, the lowest row that was noted. Any thread. */
void umbra_note_first(atomic_int *first, int row);

/* ---- several residual streams ---- */

/* What a block takes of n streams: out = sum over them of (sigmoid(score) + eps) * stream; and,
 * where there is a carry, what will become of them behind it: what each stream gets of what the
 * block gives, 2 sigmoid(score), and weights between streams, a softmax over where they lead, made
 * even in both directions. A score is scores[i] * scale + base[i], scale that of its kind. */
typedef struct umbra_enter_step {
    const float *x;      /* (T, n, H) */
    const float *scores; /* (T, n) without a carry, or (T, n + n + n * n): in, out, (from, to) */
    const float *scale;  /* (1) or (3) */
    const float *base;   /* as scores of a row */
    float *out;          /* (T, H) */
    float *carry;        /* (T, n + n * n) out and (from, to), or NULL */
    int streams, hidden, iterations;
    float eps;
    const umbra_kernels *kernels; /* internal */
} umbra_enter_step;
void umbra_device_enter(const umbra_device *d, umbra_enter_step *s, int rows);
/* x (T, n, H): each stream becomes its share of block (T, H) and the weighted sum of all. */
void umbra_device_leave(const umbra_device *d, float *x, const float *carry, const float *block,
                        int streams, int hidden, int rows);

/* out (T, n H), f32 and q16: each stream of x (T, n, H) normed alone, by its own part of weight (n,
 * H). */
void umbra_device_norm_streams(const umbra_device *d, umbra_activations *out, const float *x,
                               const float *weight, int streams, float eps, int rows);
/* a = silu(scale * a), f32 and q16. */
void umbra_device_silu(const umbra_device *d, umbra_activations *a, float scale, int rows);
/* Another way to take from streams: out = mean of sigmoid(gate) * what is normed; behind the block,
 * each stream gets 2 sigmoid(score / n) of what this gives, and nothing goes between them. */
typedef struct umbra_average_step {
    const float *normed, *gates; /* (T, n, H) */
    const float *scores;         /* (T, n), or NULL: there is no carry */
    float *out;                  /* (T, H) */
    float *carry;                /* as of umbra_enter_step */
    int streams, hidden;
} umbra_average_step;
void umbra_device_average(const umbra_device *d, const umbra_average_step *s, int rows);

/* What the last tokens say together, a key for each stream and a value: each stream gets as much of
 * the value as key and stream, both normed, fit: sigmoid of the signed root of their product /
 * sqrt(H); and silu of a convolution of what it got here and before, normed, kept where each row's
 * view says. */
typedef struct umbra_ngram_step {
    float *x;                                       /* (T, n, H) the streams */
    float *key;                                     /* (T, n, H); changed */
    const float *value;                             /* (T, H) */
    const float *key_norm, *query_norm, *conv_norm; /* (n, H) */
    const float *conv; /* (n H, taps), oldest first, of positions `apart` apart */
    int taps, apart;
    const umbra_kv_form *form; /* F32, one head; its first n H values */
    const umbra_kv_view *view; /* (T) */
    int streams, hidden;
    float eps;
    float *row;         /* (threads, H) scratch */
    umbra_kv_run *runs; /* (threads, runs_stride) */
    int runs_stride;
} umbra_ngram_step;
void umbra_device_join_ngrams(const umbra_device *d, const umbra_ngram_step *s, int rows);

/* ---- products ---- */

/* out (tokens, w->rows) = x w^T, to be computed by umbra_device_products. */
umbra_product umbra_product_make(const umbra_device *d, const umbra_matrix *w,
                                 const umbra_activations *x, int tokens, float *out);
/* All rows of all products, shared by the threads. */
void umbra_device_products(const umbra_device *d, const umbra_product *products, int n);

/* ---- attention ---- */

/* Makes queries, keys and values what they are (bias, norm, rotation) and puts keys and values
 * where each row's view says. */
typedef struct umbra_place_step {
    float *q, *k, *v; /* (T, heads, key_dim), (T, kv heads, key_dim), (T, kv heads, value_dim) */
    const umbra_matrix *q_bias, *k_bias, *v_bias; /* of all heads; data may be NULL */
    const umbra_matrix *q_norm, *k_norm; /* of each head, or of all at once, as long as they are */
    bool bare_qk_norm, bare_v_norm;      /* norms of each head without weights */
    bool norms_rotated;                  /* norms of q and k come behind the rotation */
    const umbra_rope *rope;              /* NULL: nothing is rotated */
    const float *angles;                 /* (T, rope.dim) */
    int turned_at;                       /* the value of a head with which what is rotated begins */
    const umbra_kv_form *form;
    const umbra_kv_view *view;               /* (T) */
    int heads, kv_heads, key_dim, value_dim; /* value_dim 0: keys are the values, v is NULL */
    float eps;
} umbra_place_step;
void umbra_device_place(const umbra_device *d, const umbra_place_step *s, int rows);

/* Scratch of attention for the threads of a device. N: threads * UMBRA_ATTEND_ROWS. */
typedef struct umbra_attend_room {
    float *blocks;                    /* (threads, block_stride) of the kernel */
    size_t block_stride;              /* umbra_attend_scratch, a multiple of 16 */
    float *mixed;                     /* (N, width) */
    size_t width;                     /* at least umbra_attend_width of a step's values */
    umbra_attend_row *parts, *totals; /* (N) */
    int *tiles;                       /* (T + 1) */
} umbra_attend_room;

/* Attention of every row over what it sees. Each of the form's heads serves heads / form heads
 * query heads, `together` of which go through the cache at a time. */
typedef struct umbra_attend_step {
    const float *q;     /* (T, heads, form.key) */
    const float *sinks; /* (heads) or NULL */
    const umbra_kv_form *form;
    const umbra_kv_view *view; /* (T) */
    /* Rows that are seen behind these, of keys as wide; NULL: none. */
    const umbra_kv_form *pooled_form;
    const umbra_kv_view *pooled_view; /* (T) */
    /* Of what a view shows, or the pooled one where there is one, the units that a row sees; NULL:
     * all, as where a row's picks are 0. */
    const umbra_picks *picks;
    int heads;
    int together;  /* at most heads / form heads, and at most UMBRA_ATTEND_ROWS */
    int value_dim; /* of the output: form.value, or the part of the key that is the value */
    float scale;
    umbra_activations *out; /* (T * heads, value_dim): f32; with round_heads also q16 */
    bool round_heads;
    const umbra_attend_room *room;
    umbra_kv_run *runs; /* (threads, runs_stride) of rows that see picks */
    int runs_stride;
} umbra_attend_step;
void umbra_device_attend(const umbra_device *d, const umbra_attend_step *s, int rows);

/* index.h */
void umbra_device_index(const umbra_device *d, const umbra_index_step *s, int rows);

/* Turns the last rope.dim values of each head of x (T, heads, dim) back by a row's angles, whose
 * magnitude is 1. */
void umbra_device_turn_back(const umbra_device *d, const umbra_rope *rope, const float *angles,
                            float *x, int heads, int dim, int rows);

/* index.h */
void umbra_device_pool(const umbra_device *d, const umbra_pool_step *s, int rows);

/* Norms latents and turns the part behind, and puts both where each row's view says. */
typedef struct umbra_latent_step {
    float *latent;            /* (T, form.key): kv_rank values, then rope.dim */
    const umbra_matrix *norm; /* (kv_rank) */
    const umbra_rope *rope;
    const float *angles; /* (T, rope.dim) */
    const umbra_kv_form *form;
    const umbra_kv_view *view; /* (T) */
    int kv_rank;
    float eps;
} umbra_latent_step;
void umbra_device_place_latents(const umbra_device *d, const umbra_latent_step *s, int rows);

/* Splits queries: the rotated part of each head goes behind the latent's part of `query`, the rest
 * to `plain` (f32 and q16). */
typedef struct umbra_split_step {
    const float *q;           /* (T, heads, plain + rope.dim) */
    umbra_activations *plain; /* (T * heads, plain) */
    float *query;             /* (T, heads, kv_rank + rope.dim) */
    const umbra_rope *rope;
    const float *angles; /* (T, rope.dim) */
    int heads, kv_rank;
} umbra_split_step;
void umbra_device_split(const umbra_device *d, const umbra_split_step *s, int rows);

/* query = K_B^T plain for each head, K_B the first rows of each head's part of w, which are summed:
 * each is expanded once for all T rows. */
typedef struct umbra_sum_step {
    const umbra_matrix *w;          /* (heads * head_rows, kv_rank) */
    const umbra_activations *plain; /* (T * heads, plain) */
    float *query;                   /* (T, heads, query_dim); the first kv_rank are written */
    float *row;                     /* (threads, kv_rank) scratch */
    int heads, head_rows, query_dim;
} umbra_sum_step;
void umbra_device_sum_rows(const umbra_device *d, const umbra_sum_step *s, int rows);

/* A short convolution of each of H values by itself: puts opens * input where each row's view says,
 * whose form has one head of H F32 values; out = closes * sum over the positions that a view shows,
 * at most `width`, of taps * what was put there. */
typedef struct umbra_convolve_step {
    const float *in;   /* (T, 3, H): opens, closes, input */
    const float *taps; /* (H, width), the last of a row's own position */
    const umbra_kv_form *form;
    const umbra_kv_view *view; /* (T) */
    int width;                 /* the form's window */
    float *out;                /* (T, H) */
    umbra_kv_run *runs;        /* (threads, runs_stride) */
    int runs_stride;           /* umbra_kv_most_runs */
} umbra_convolve_step;
void umbra_device_convolve(const umbra_device *d, const umbra_convolve_step *s, int rows);

/* ---- recurrent layers ---- */

/* The rows of a pass by their sequences: a row's neighbours among those of its sequence. */
typedef struct umbra_chains {
    int32_t *first;  /* (n) the first row of each sequence */
    int32_t *before; /* (T) -1: the row is the first */
    int32_t *after;  /* (T) -1: the row is the last */
    int n;
} umbra_chains;

/* What a layer keeps that attends so. */
umbra_recurrent_form umbra_recurrent_make(const umbra_attention *a);

/* What the positions of a pass give to the state of a recurrent layer, and how they leave it.
 * Each step below goes through all rows: */
typedef struct umbra_recurrent_step {
    const umbra_recurrent_form *form;
    const umbra_chains *chains;
    const umbra_recurrent_view *view; /* (chains) */
    float *input;                     /* (T, channels) before the convolution */
    float *mixed;                     /* (T, channels) behind it */
    float *decay;                     /* (T, heads), or (T, heads, key_dim) */
    float *rate;                      /* (T, heads) */
    float *out;                       /* (T, heads, value_dim) */
} umbra_recurrent_step;

/* mixed = silu(convolution of input + bias); with `norm_eps` > 0 queries and keys become unit
 * vectors x / sqrt(sum x^2 + norm_eps), queries divided by sqrt(key_dim) besides. The channels may
 * lie in up to three tensors of weights, one behind the other. */
typedef struct umbra_mix_inputs {
    const umbra_matrix *weights[3]; /* (channels of it, taps); data may be NULL */
    const umbra_matrix *bias;       /* (channels); data may be NULL */
    float norm_eps;
} umbra_mix_inputs;
void umbra_device_mix_inputs(const umbra_device *d, const umbra_recurrent_step *s,
                             const umbra_mix_inputs *m, int rows);

/* decay = exp(softplus(step + bias) * a), in double; rate = sigmoid(rates), or where there are
 * none softplus(step + bias). Steps and rates lie per row in groups of so many heads. */
typedef struct umbra_recurrent_gates {
    const float *steps;       /* (T, stride): those of heads, or of their keys */
    const float *rates;       /* (T, stride); NULL: rates are steps */
    int stride;               /* of rows of both */
    int group, group_stride;  /* head h's lies at h / group * group_stride + h % group */
    const umbra_matrix *bias; /* (heads), or (heads, key_dim) */
    const umbra_matrix *a;    /* (heads) */
} umbra_recurrent_gates;
void umbra_device_open_gates(const umbra_device *d, const umbra_recurrent_step *s,
                             const umbra_recurrent_gates *g, int rows);

/* States go through their rows in the order of positions, heads beside each other; `to` keeps what
 * it needs to be taken back, as recurrent.h says. */
void umbra_device_recur(const umbra_device *d, const umbra_recurrent_step *s);
/* The state `to` that `from` becomes by the first n of the rows that `kept` keeps, which are kept
 * there; kept may be `to`. n is at least 1. */
void umbra_device_recur_again(const umbra_device *d, const umbra_recurrent_form *form,
                              const umbra_recurrent_view *view, const float *kept, int n);

/* out of every head is normed and gated, or the other way round, over all of a group's heads. */
typedef struct umbra_recurrent_close {
    const float *gate;           /* (T, heads, value_dim) */
    const umbra_matrix *norm;    /* (value_dim), or (groups, values of a group) */
    const umbra_matrix *skip;    /* (heads) out += skip * value first; data may be NULL */
    bool gate_first, by_sigmoid; /* else by silu */
    int groups;                  /* with gate_first */
    float eps;
} umbra_recurrent_close;
void umbra_device_close_gates(const umbra_device *d, const umbra_recurrent_step *s,
                              const umbra_recurrent_close *c, int rows);

/* x (T, n) *= sigmoid(gate (T, n)). */
void umbra_device_gate(const umbra_device *d, float *x, const float *gate, int rows, int n);

/* Turns the rope.dim values at x by a row's angles. */
void umbra_rope_rotate(const umbra_kernels *kernels, const umbra_rope *rope, float *x,
                       const float *angles);

/* ---- experts ---- */

/* Which experts each row uses, and with which weight. */
typedef struct umbra_route_step {
    float *scores;                         /* (T, E) the router's; changed */
    const umbra_matrix *bias, *preference; /* (E) added to the scores; for choosing alone */
    const int32_t *of_token;               /* (vocabulary, k) ids in place of choosing, or NULL: */
    const int32_t *id;                     /* (T) which row of them */
    const umbra_router *router;
    int experts, used;
    float *selection; /* (threads, E + groups) scratch */
    int32_t *groups;  /* (threads, groups) scratch */
    int32_t *chosen;  /* (T, k) best first, or as they stand in of_token */
    float *weights;   /* (T, k) */
} umbra_route_step;
/* Ids are in range and distinct whatever the scores are. Returns the first row whose scores or
 * weights are not finite, or UMBRA_NO_ROW. */
int umbra_device_route(const umbra_device *d, const umbra_route_step *s, int rows);

/* Rows that go through one expert, or through the block that all rows use. */
typedef struct umbra_activate_span {
    int first, count;    /* rows of gate, up and inner */
    int expert;          /* row of scales and biases; -1: none */
    const float *weight; /* (count) of gate and up before all else; NULL: 1 */
} umbra_activate_span;

/* inner = activation(gate) * up, to q16. gate and inner are the same rows. Where there is no gate,
 * `inner` holds up's output, and its scales and biases are the gate's here. */
typedef struct umbra_activate_step {
    const umbra_activate_span *spans; /* (n_spans) */
    int n_spans;
    umbra_activations *inner; /* (rows, width): gate's output, then the inner values */
    float *up;                /* (rows, width) */
    /* Data or the pointer may be NULL: factors (E) first, then biases (E, width). */
    const umbra_matrix *gate_scale, *up_scale, *gate_bias, *up_bias;
    umbra_activation activation;
    float clamp; /* before a plain SwiGLU: gate at most so much, up in [-clamp, clamp]; 0: any */
} umbra_activate_step;
void umbra_device_activate(const umbra_device *d, const umbra_activate_step *s);

/* sum[t] = sum over j of weights[t][j] * (scale * contribution of pair (t, j) + bias), summed
 * in the router's order. */
typedef struct umbra_mix_step {
    float *sum;                /* (T, H) */
    float *contribution;       /* (P, H); biases are added in place */
    const int32_t *pair;       /* (T, k) row of contribution; -1: left out */
    const int32_t *experts;    /* (T, k) */
    const float *weights;      /* (T, k); NULL: 1 */
    const umbra_matrix *scale; /* (E); data may be NULL, as the bias's */
    const umbra_matrix *bias;  /* (E, H) */
    int used, hidden;
} umbra_mix_step;
void umbra_device_mix(const umbra_device *d, const umbra_mix_step *s, int rows);

/* x[t] = 1 / (1 + exp(-x[t])), in double. */
void umbra_device_sigmoid(float *x, int n);

#endif
