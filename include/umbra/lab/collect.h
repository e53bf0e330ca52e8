/* Collecting traces: what a model's layers see and which experts they use, on text that the model
 * writes itself or reads. The result is a folder that umbra_train and umbra_evaluate take.
 *
 * Two passes per shard. First the texts of its documents: read from files, or written by the model,
 * several at a time. Then every document is computed from its beginning, at prefill speed, and
 * recorded; since the engine's bits do not depend on what is computed together, the record is the
 * same as if it had been made while writing. Both depend only on the model, the options and the
 * number of the document, so a collection that was cut off and resumed ends in the same data. */
#ifndef UMBRA_LAB_COLLECT_H
#define UMBRA_LAB_COLLECT_H

#include <umbra/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a collection will write; told before it begins. */
typedef struct umbra_collect_plan {
    uint64_t tokens;          /* in all, those of a resumed run included */
    uint64_t bytes;           /* that are still to be written, at most */
    uint64_t bytes_per_token; /* in a shard, on average */
    uint64_t free_bytes;      /* on the disk */
    uint64_t done_tokens;     /* found in a resumed folder */
} umbra_collect_plan;

/* Zeros are the default (see umbra.h), but there must be texts, or leave to generate. Lists are
 * read during the call only. */
typedef struct umbra_collect_options {
    umbra_engine_options engine; /* context: longest document in tokens (0: the model's, at most
                                    1024); sequences is set by the collection */
    uint64_t tokens;             /* stop once there are so many; 0: all texts, or 100000 written */
    const char *const *texts;    /* (n_texts) files, or folders whose files are taken by name */
    int n_texts;                 /* paths in texts */
    bool generate;               /* the model writes; with texts, from their beginnings */
    float temperature;           /* for writing; 0: the best token */
    float top_p;                 /* for writing: most probable tokens kept; 0: all */
    uint64_t seed;               /* for writing, and for the order of texts */
    bool int8;                   /* states in 8 bits with a scale per row, else bf16 */
    int stride;                  /* keep the states of every n-th position; 0: 1 */
    uint64_t shard_bytes;        /* about; 0: 256 MiB. A kill loses at most the open shard */
    bool resume;                 /* go on with a folder that was cut off */
    void (*planned)(void *user, const umbra_collect_plan *plan); /* called once, before the first
                                                                    write; may be NULL */
    void *user;                                                  /* handed to planned */
    const umbra_ranks *ranks; /* with whom the documents are divided; NULL: with nobody. All must be
                                 given the same options but for the engine's budget, threads and
                                 I/O. Rank 0 reads the texts (with generate: all do), has the
                                 folder and is told the plan; the folder is the same for every
                                 number of ranks, and may be resumed with another. The others need
                                 room for a shard beside the folder's name on their machine.
                                 engine.ranks stays NULL */
    uint64_t reserved[3];     /* room for options to come: zeros */
} umbra_collect_options;

/* What is in the folder, and what this run added. */
typedef struct umbra_collection {
    char model_hash[UMBRA_MODEL_HASH_CHARS]; /* umbra_model_hash */
    uint64_t tokens;                         /* in the folder */
    uint64_t documents;                      /* in the folder */
    uint64_t shards;                         /* in the folder */
    uint64_t new_tokens;                     /* of this run */
    double seconds;                          /* of this run */
    double write_seconds;                    /* of it, in which the model wrote */
    uint64_t bytes_read;                     /* expert bytes */
    uint64_t reserved[4];                    /* room for figures to come: zeros */
} umbra_collection;

/* Collects into `folder`. On UMBRA_E_INTERRUPTED or failure the finished shards stay and `resume`
 * goes on from them; *out tells what is there. A folder that it made stays only if a shard does.
 * UMBRA_E_ARGUMENT: among others, texts in which there is no token. */
UMBRA_API int umbra_collect(const umbra_model *model, const char *folder,
                            const umbra_collect_options *options, umbra_collection *out,
                            umbra_error *err);

#ifdef __cplusplus
}
#endif
#endif
