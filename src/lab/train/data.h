/* Trace folders as training data: which documents train and which validate, and their rows. */
#ifndef UMBRA_LAB_TRAIN_DATA_H
#define UMBRA_LAB_TRAIN_DATA_H

#include "lab/trace/trace.h"
#include "lab/train/network.h"

enum { UMBRA_TRAIN_CHUNK = 256 /* rows read at a time */ };

typedef struct umbra_train_document {
    int trace;                      /* of umbra_train_data.traces */
    const umbra_trace_document *at; /* owned by the trace */
} umbra_train_document;

typedef struct umbra_train_data {
    int n_traces;
    umbra_trace **traces;
    umbra_train_document *documents; /* the training ones, then the validation ones */
    int n_training, n_validation;
    uint64_t training_rows, validation_rows, tokens;
    uint64_t fingerprint; /* of the documents' contents, their order and their split */
} umbra_train_data;

/* Opens the folders and splits their documents: a document validates if a hash of its text falls
 * into that share, so copies stay together and other documents change nothing. Each part gets at
 * least one document. UMBRA_E_MISMATCH if models or shapes differ. Release on failure too. */
int umbra_train_data_open(umbra_train_data *data, const char *const *folders, int n_folders,
                          float validation, umbra_error *err);
void umbra_train_data_release(umbra_train_data *data);

const umbra_trace_info *umbra_train_info(const umbra_train_data *data);
/* Has that layer experts? False for a layer outside the model. */
bool umbra_train_has_layer(const umbra_train_data *data, int layer);
/* counts (layers, E), zeroed by the caller: how often training documents used each expert. */
int umbra_train_count_experts(const umbra_train_data *data, uint64_t *counts, umbra_error *err);
/* Do the traces hold this source's states and the routing of one target at least? */
bool umbra_train_has_source(const umbra_train_data *data, const umbra_shadow_spec *spec,
                            int source);

/* Reads the rows of sources [first_source, end_source). One per thread. */
typedef struct umbra_train_loader {
    const umbra_train_data *data; /* not owned, as is spec */
    const umbra_shadow_spec *spec;
    int first_source, end_source;
    int first_gate, n_gates; /* layers whose gates are held */
    float *gates;            /* (n_gates, E, H) */
    float *states;           /* (CHUNK, H) */
    float *normed;           /* (CHUNK, H) */
    uint16_t *experts;       /* (1 + D, tokens of a chunk, k): layers source - 1 .. */
    int expert_tokens;       /* room for that many tokens */
} umbra_train_loader;

/* Release on failure too. */
int umbra_train_loader_open(umbra_train_loader *loader, const umbra_train_data *data,
                            const umbra_shadow_spec *spec, int first_source, int end_source,
                            umbra_error *err);
void umbra_train_loader_release(umbra_train_loader *loader);

/* Rows first .. first + n - 1 (n at most UMBRA_TRAIN_CHUNK) of a document become rows at .. of
 * `rows`. carry (averages, H): the running averages after the row before `first`, moved on; a
 * document is read in order if there are any.
 * Where only every stride-th state was kept, the averages run over the kept ones with decays to
 * the power of the stride, so that they reach about as far back as at inference. */
int umbra_train_load(umbra_train_loader *loader, int source, const umbra_train_document *document,
                     int first, int n, float *carry, umbra_train_rows *rows, int at,
                     umbra_error *err);

#endif
