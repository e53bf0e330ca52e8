/* Traces: what a model did on whole documents, for training and judging predictors.
 *
 * A trace is a folder:
 *   manifest.json         what it is (below), rewritten whole after every shard
 *   gates.safetensors     "gate.L" (experts, hidden) F32: the router of layer L with the weights of
 *                         the norm before it folded in, so that its scores for a state h are
 *                         gate.L * (h / rms(h))
 *   shard-00000.safetensors ...
 *     "tokens"            (T) I32, documents one after the other, each whole and in order
 *     for every layer L with experts:
 *     "input.L"           (R, hidden) the residual stream entering the layer
 *     "hidden.L"          (R, hidden) h[L], after the layer's attention
 *                         BF16, or I8 with "input.L.scale" (R) F32: value = scale * q
 *     "experts.L"         (T, k) U16 experts used, best first
 *     "weights.L"         (T, k) F16 their weights
 * T tokens of the shard. States are kept for every stride-th position of a document, counted from
 * its first token (R rows in all); routing for every one.
 *
 * manifest.json: {"format":"umbra-trace","version":1, "model":{"hash","name","architecture",
 * "layers","hidden","experts","experts_used"}, "dtype":"BF16"|"I8", "stride":N,
 * "collection":{...free text about how it was made...}, "gates":{tensor:hex},
 * "shards":[{"file","tokens","rows","checksums":{tensor:hex}}],
 * "documents":[{"id","hash","generated":bool,"shard","first","tokens"}]}
 * first: the document's first token in its shard. checksum (also of gates): XXH3-64 of the tensor's
 * bytes. hash: XXH3-64 of the document's token ids (little-endian int32), as hex. Documents come in
 * the order of shards and tokens and fill the shards.
 *
 * Everything read from a folder is checked; what is truncated, altered or hostile is refused with
 * the file and, where there is one, the byte offset. */
#ifndef UMBRA_LAB_TRACE_TRACE_H
#define UMBRA_LAB_TRACE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umbra/status.h>

enum { UMBRA_HASH_CHARS = 33 /* 128 bits in hex and a NUL */, UMBRA_DOCUMENT_ID_CHARS = 128 };

typedef struct umbra_trace_info {
    char model_hash[UMBRA_HASH_CHARS]; /* umbra_model_hash: 32 digits */
    char model_name[128];
    char architecture[32];
    int layers; /* with and without experts */
    int hidden, experts, used;
    bool int8;              /* states as I8, else BF16 */
    int stride;             /* 1 keeps every state */
    const char *collection; /* JSON text of an object, or NULL; copied by the writer */
} umbra_trace_info;

typedef struct umbra_trace_document {
    char id[UMBRA_DOCUMENT_ID_CHARS]; /* file name, or "generated-SEED-N" */
    uint64_t hash;
    bool generated;
    int shard;
    int first, tokens;   /* in the shard */
    int first_row, rows; /* of its states, in the shard; derived from stride */
} umbra_trace_document;

typedef enum umbra_trace_state { UMBRA_TRACE_INPUT, UMBRA_TRACE_HIDDEN } umbra_trace_state;

/* Hash of a document's tokens, as above. */
uint64_t umbra_trace_hash(const int32_t *tokens, size_t n);

/* ---- writing: one thread ---- */

typedef struct umbra_trace_writer umbra_trace_writer;

/* Creates the folder (UMBRA_E_ARGUMENT if it already holds a trace), or, with resume, goes on with
 * one made with the same info (UMBRA_E_MISMATCH otherwise, both values named; a folder without a
 * manifest is begun). An unfinished shard of an earlier run is removed. The folder is locked:
 * UMBRA_E_IO while another writer has it. */
int umbra_trace_writer_open(umbra_trace_writer **out, const char *folder,
                            const umbra_trace_info *info, bool resume, umbra_error *err);
/* Abandons an open shard; finished ones stay. Accepts NULL. */
void umbra_trace_writer_close(umbra_trace_writer **writer);

/* Finished shards, and tokens and documents in them, so far (after a resume: from before). */
int umbra_trace_writer_shards(const umbra_trace_writer *writer);
uint64_t umbra_trace_writer_tokens(const umbra_trace_writer *writer);
uint64_t umbra_trace_writer_documents(const umbra_trace_writer *writer);

/* gate (experts, hidden) of a layer; every layer with experts once, before the first shard; on
 * resume they are compared instead. UMBRA_E_NONFINITE: it holds a NaN or infinity. */
int umbra_trace_put_gate(umbra_trace_writer *writer, int layer, const float *gate,
                         umbra_error *err);

/* Bytes a shard of so many tokens in so many documents has at most. */
uint64_t umbra_trace_shard_bytes(const umbra_trace_info *info, uint64_t tokens, uint64_t documents);

/* Starts a shard of n documents whose tokens lie one after the other in `tokens`; of the documents
 * id, generated and tokens are read. */
int umbra_trace_shard_begin(umbra_trace_writer *writer, const umbra_trace_document *documents,
                            int n, const int32_t *tokens, umbra_error *err);
/* States (n, hidden) of tokens [first, first + n) of the shard, all of one document; those that the
 * stride leaves out are skipped here. Any order, each token once per layer. A NaN or infinity is
 * refused (UMBRA_E_NONFINITE). After any other failure the shard can only be closed. */
int umbra_trace_put_states(umbra_trace_writer *writer, umbra_trace_state which, int layer,
                           int first, int n, const float *states, umbra_error *err);
/* experts, weights (n, used); the experts of a token differ. */
int umbra_trace_put_routing(umbra_trace_writer *writer, int layer, int first, int n,
                            const int32_t *experts, const float *weights, umbra_error *err);
/* Completes the shard: written whole, fsynced, renamed, then the manifest. UMBRA_E_IO names the
 * file (a full disk too) and leaves the finished shards as they were; the open one is given up and
 * its documents may be begun again. UMBRA_E_ARGUMENT: a token is missing; the shard stays open. */
int umbra_trace_shard_end(umbra_trace_writer *writer, umbra_error *err);

/* A shard may be made elsewhere: one writer gives it, and another, of the same info and routers,
 * takes it as its next one. Both hand the same pieces of bytes to `move` in turn, which brings them
 * over and fails only if the other cannot be reached. */
typedef int (*umbra_trace_move)(void *user, void *data, uint64_t bytes, umbra_error *err);
/* Gives the writer's last finished shard, whose file is then gone. */
int umbra_trace_shard_give(umbra_trace_writer *writer, umbra_trace_move move, void *user,
                           umbra_error *err);
/* As umbra_trace_shard_begin to _end. UMBRA_E_NONFINITE: the giver failed, and tells of it. */
int umbra_trace_shard_take(umbra_trace_writer *writer, const umbra_trace_document *documents, int n,
                           const int32_t *tokens, umbra_trace_move move, void *user,
                           umbra_error *err);
/* Takes one and keeps nothing of it. */
void umbra_trace_shard_drop(umbra_trace_writer *writer, umbra_trace_move move, void *user);
/* Removes the files of a trace that is nobody's any more, and its folder if that is empty then.
 * What cannot be removed stays. */
void umbra_trace_remove(const char *folder);

/* ---- reading: any number of threads may use one handle ---- */

typedef struct umbra_trace umbra_trace;

/* Opens and checks the manifest, the headers of all shards, the gates and the hashes of all
 * documents. Files are opened again by their path for every read, so that a trace of any number of
 * shards takes no descriptors. */
int umbra_trace_open(umbra_trace **out, const char *folder, umbra_error *err);
void umbra_trace_close(umbra_trace **trace);

const umbra_trace_info *umbra_trace_get_info(const umbra_trace *trace);
const char *umbra_trace_folder(const umbra_trace *trace);
int umbra_trace_shards(const umbra_trace *trace);
int umbra_trace_shard_tokens(const umbra_trace *trace, int shard);
int umbra_trace_shard_rows(const umbra_trace *trace, int shard);
uint64_t umbra_trace_tokens(const umbra_trace *trace);
int umbra_trace_documents(const umbra_trace *trace);
const umbra_trace_document *umbra_trace_document_at(const umbra_trace *trace, int i);

/* Ranges of one shard into the caller's arrays, by pread. A tensor's checksum is verified the first
 * time that any part of it is read (the tensor is then read once more, in pieces). A document's
 * expert ids are checked to be below `experts`.
 * states: (n, hidden) F32. experts: (n, used). weights: (n, used) F32. tokens: (n). */
int umbra_trace_read_states(umbra_trace *trace, int shard, umbra_trace_state which, int layer,
                            int first_row, int n, float *out, umbra_error *err);
int umbra_trace_read_experts(umbra_trace *trace, int shard, int layer, int first, int n,
                             uint16_t *out, umbra_error *err);
int umbra_trace_read_weights(umbra_trace *trace, int shard, int layer, int first, int n, float *out,
                             umbra_error *err);
int umbra_trace_read_tokens(umbra_trace *trace, int shard, int first, int n, int32_t *out,
                            umbra_error *err);
/* gate (experts, hidden) F32. */
int umbra_trace_read_gate(umbra_trace *trace, int layer, float *out, umbra_error *err);
/* Has the layer experts? */
bool umbra_trace_has_layer(const umbra_trace *trace, int layer);

#endif
