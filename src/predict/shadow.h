/* Shadow models: small networks that say which experts the coming layers will use.
 *
 * Words: a source s is a place where a prediction starts. Source 0 is the token's embedding (the
 * residual entering layer 0), known as soon as the token is sampled; source s = l + 1 is h[l], the
 * residual after layer l's attention. At distance d = 1..4 source s predicts the target layer
 * s - 1 + d, if the model has it (umbra_shadow_target); d = 0 is layer s - 1 itself, the control.
 *
 * Letters: H hidden, E experts per layer, D = 4 distances, N inner width, F features,
 * X = H * (1 + averages) dense inputs.
 *
 * Inputs of one prediction at source s:
 *   r   (H)  state / rms(state), rms without epsilon other than 1e-12
 *   avg (averages, H) running means of r over the tokens of the document, one per decay:
 *       avg <- decay * avg + (1 - decay) * r, r of this token included; begins at r of the first
 *       (umbra_shadow_normalise and umbra_shadow_average are the arithmetic that is meant)
 *   features: one-hots, each E wide, in this order, as far as spec.features has them
 *     NOW        experts used at layer s - 1 for this token (none at s = 0)
 *     PREVIOUS   experts used at the targets of d = 1..4 for the token before (4 x E)
 *     PREVIOUS2  the same for the token before that (4 x E)
 *   A part that does not exist (no earlier token, no such layer, s = 0) is all zeros.
 *
 * Networks, per source (scope LAYER) or one for all (scope SHARED; then a one-hot of the source is
 * one more feature, last):
 *   residual: z[d] = a[d] * gate(target) r + bias[d] + W2[d] silu(LN(W1 x + b1)) + W[d] x
 *   seed:     z[d] = bias[d] + W2[d] silu(LN(W1 x + b1))
 * x = [r, avg..., features]; the seed is trained without averages and features
 * (shared: with the one-hot of the source only). LN over N: (v - mean) / sqrt(var + 1e-5) * gain +
 * shift.
 * gate(target) (E, H) is the model's own router with its norm's weights folded in; it is not in the
 * file. a begins at 1, W2, W and bias at 0: an untrained residual is the gate predictor exactly.
 *
 * Probability that an expert is used: p = sigmoid(calibration.slope[s][d] * z' +
 * calibration.offset[s][d]), z' = z - logsumexp(z over E) if spec.loss is KL, else z.
 *
 * File: safetensors. Metadata (strings): format "umbra-shadow", version "1", model_hash,
 * model_name, architecture, layers, hidden, experts, experts_used, distances, arch ("residual",
 * "seed"), scope ("layer", "shared"), width, features ("now,previous,previous2"), averages (decays,
 * comma-separated), loss ("bce", "kl"), weights ("f32", "bf16", "i8"), training (JSON object),
 * recall (JSON object). Tensors, prefix "s.{source}." or "all.":
 *   W1 (N, X) and W1.features (F, N), b1 (N), gain (N), shift (N), W2 (D*E, N), bias (D*E),
 *   and for residual: W (D*E, X), W.features (F, D*E), a (D)
 *   calibration (layers + 1, D, 2) F32: slope, offset
 * The features' matrices are transposed: adding the columns of a sparse one-hot is adding rows.
 * Rows of distances whose target does not exist are never read; leave them zero. BF16 matrices are
 * rounded to nearest even. I8 ones come with "{name}.scale" (rows) F32, one per row: value =
 * scale * q, q in -127..127. Vectors stay F32. */
#ifndef UMBRA_PREDICT_SHADOW_H
#define UMBRA_PREDICT_SHADOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umbra/status.h>
#include <umbra/store.h>

enum {
    UMBRA_MAX_AVERAGES = 4,
    UMBRA_FEATURE_NOW = 1,
    UMBRA_FEATURE_PREVIOUS = 2,
    UMBRA_FEATURE_PREVIOUS2 = 4,
};

typedef enum umbra_shadow_arch { UMBRA_SHADOW_RESIDUAL, UMBRA_SHADOW_SEED } umbra_shadow_arch;
typedef enum umbra_shadow_loss { UMBRA_LOSS_BCE, UMBRA_LOSS_KL } umbra_shadow_loss;
typedef enum umbra_shadow_weights {
    UMBRA_SHADOW_F32,
    UMBRA_SHADOW_BF16,
    UMBRA_SHADOW_I8
} umbra_shadow_weights;

typedef struct umbra_shadow_spec {
    char model_hash[33], model_name[128], architecture[32];
    int layers, hidden, experts, used;
    umbra_shadow_arch arch;
    bool shared;       /* one network for all sources */
    int width;         /* N */
    unsigned features; /* UMBRA_FEATURE_* */
    int averages;      /* 0..UMBRA_MAX_AVERAGES */
    float decay[UMBRA_MAX_AVERAGES];
    umbra_shadow_loss loss;
    umbra_shadow_weights weights;
} umbra_shadow_spec;

static inline int umbra_shadow_target(int source, int distance)
{
    return source - 1 + distance;
}
/* Distances of a source whose target exists: 1..count. */
static inline int umbra_shadow_distances(const umbra_shadow_spec *s, int source)
{
    int n = s->layers - source;
    return n < 0 ? 0 : n > UMBRA_MAX_DISTANCE ? UMBRA_MAX_DISTANCE : n;
}
/* Sources that predict anything: 0 .. layers - 1. */
static inline int umbra_shadow_sources(const umbra_shadow_spec *s)
{
    return s->layers;
}
int umbra_shadow_inputs(const umbra_shadow_spec *spec); /* X */
/* F; if shared with the one-hot of the source, umbra_shadow_sources wide. */
int umbra_shadow_features(const umbra_shadow_spec *spec);

/* One network's parameters in F32, as trained; matrices as in the file. Residual parts are NULL for
 * seed, feature parts where F is 0. */
typedef struct umbra_shadow_network {
    float *w1;                /* (N, X) */
    float *w1_features;       /* (F, N) */
    float *b1, *gain, *shift; /* (N) */
    float *w2;                /* (D*E, N) */
    float *bias;              /* (D*E) */
    float *w;                 /* (D*E, X) */
    float *w_features;        /* (F, D*E) */
    float *a;                 /* (D) */
} umbra_shadow_network;

/* A shadow model in memory, F32. networks: one per source, or one. */
typedef struct umbra_shadow {
    umbra_shadow_spec spec;
    int count;                      /* networks */
    umbra_shadow_network *networks; /* (count) */
    float *calibration;             /* (layers + 1, D, 2): slope, offset; 1, 0 if not fitted */
    char *training, *recall;        /* texts of JSON objects, or NULL; owned (umbra_strdup) */
} umbra_shadow;

/* Zeroed parameters of the right shapes, a = 1, gain = 1, slopes 1. A spec that no file could hold
 * is UMBRA_E_ARGUMENT. On failure *out is NULL, here and in umbra_shadow_load. */
int umbra_shadow_create(umbra_shadow **out, const umbra_shadow_spec *spec, umbra_error *err);
void umbra_shadow_free(umbra_shadow **shadow);
/* Parameters of one network, in the order of umbra_shadow_network: pointers and lengths (0 for the
 * absent), so that optimisers and files can go over them. Returns 10. */
enum { UMBRA_SHADOW_PARTS = 10 };
void umbra_shadow_parts(const umbra_shadow_spec *spec, const umbra_shadow_network *network,
                        float *parts[UMBRA_SHADOW_PARTS], size_t lengths[UMBRA_SHADOW_PARTS]);
const char *umbra_shadow_part_name(int part); /* "W1", "W1.features", ... */

/* Rounds a network's matrices in place to what a file of spec.weights' form would give back. */
void umbra_shadow_round(const umbra_shadow_spec *spec, const umbra_shadow_network *network);

/* Writes spec.weights' form (quantising if it is not F32). Whole or not at all. Parameters that are
 * not finite, or no longer in BF16, are refused (UMBRA_E_ARGUMENT), as are texts that are no JSON
 * objects. */
int umbra_shadow_save(const umbra_shadow *shadow, const char *path, umbra_error *err);
/* Reads any form into F32. Every wrong shape, number out of range, NaN, missing or extra tensor is
 * refused with path and what. */
int umbra_shadow_load(umbra_shadow **out, const char *path, umbra_error *err);

/* The same network by network, for those who have no room for all in F32. */
typedef struct umbra_shadow_file umbra_shadow_file;
/* Checks the whole header; on failure *out is NULL. */
int umbra_shadow_file_open(umbra_shadow_file **out, const char *path, umbra_error *err);
void umbra_shadow_file_close(umbra_shadow_file **file); /* accepts a pointer to NULL */
const umbra_shadow_spec *umbra_shadow_file_spec(const umbra_shadow_file *file);
/* Network i into parts of the caller's (umbra_shadow_network_create). */
int umbra_shadow_file_network(umbra_shadow_file *file, int i, const umbra_shadow_network *network,
                              umbra_error *err);
/* out (layers + 1, D, 2) */
int umbra_shadow_file_calibration(umbra_shadow_file *file, float *out, umbra_error *err);
/* One network's parts, as umbra_shadow_create makes them; free with umbra_shadow_network_free. */
int umbra_shadow_network_create(umbra_shadow_network *network, const umbra_shadow_spec *spec,
                                umbra_error *err);
void umbra_shadow_network_free(umbra_shadow_network *network);
/* UMBRA_E_MISMATCH, naming both sides, unless the shadow was made for a model of this hash and
 * shape. */
int umbra_shadow_check(const umbra_shadow_spec *spec, const char *path, const char *model_hash,
                       const char *model_name, int layers, int hidden, int experts, int used,
                       umbra_error *err);

#endif
