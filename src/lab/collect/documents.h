/* The documents of a collection, one after the other, from wherever they come: read in windows from
 * files, or written by the model, several at a time. Document number i is the same whatever came
 * before in this run, so that a collection can be resumed at any of them. Among ranks, rank 0 reads
 * for all, and each writes its share: document i is rank i % N's, and all are handed out to all. */
#ifndef UMBRA_LAB_COLLECT_DOCUMENTS_H
#define UMBRA_LAB_COLLECT_DOCUMENTS_H

#include <umbra/lab/collect.h>

#include "lab/collect/corpus.h"
#include "lab/trace/trace.h"

typedef struct umbra_document_text {
    int32_t *tokens; /* BOS first where the model has one */
    int count, room;
    char id[UMBRA_DOCUMENT_ID_CHARS];
    bool generated;
} umbra_document_text;

typedef struct umbra_documents umbra_documents;

/* exchange.c: each rank brings one text or none (count 0, or a status that is not UMBRA_OK), and
 * has those of all in all (ranks' count), whose memory is used again. */
int umbra_documents_exchange(const umbra_ranks *ranks, const umbra_document_text *own, int status,
                             umbra_document_text *all, umbra_error *err);

/* The engine's sequences [0, writers) belong to the source while it writes; they are not touched
 * otherwise. first: number of the document to begin with. */
int umbra_documents_open(umbra_documents **out, const umbra_model *model,
                         const umbra_collect_options *options, umbra_engine *engine, int writers,
                         uint64_t first, umbra_error *err);
void umbra_documents_close(umbra_documents **documents);

/* The next document: 1, or 0 at the end (texts that are read end, writing does not), or negative.
 * *out is the source's until the next call. */
int umbra_documents_next(umbra_documents *documents, umbra_document_text *out, umbra_error *err);

/* Tokens that the documents of the files have in all (0 when the model writes). Reads the files. */
int umbra_documents_total(const umbra_model *model, const umbra_collect_options *options,
                          int longest, uint64_t *tokens, umbra_error *err);

/* Time spent writing, in nanoseconds. */
uint64_t umbra_documents_write_ns(const umbra_documents *documents);

#endif
