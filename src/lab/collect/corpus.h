/* The files that a collection reads, and their tokens in windows of a document's length. */
#ifndef UMBRA_LAB_COLLECT_CORPUS_H
#define UMBRA_LAB_COLLECT_CORPUS_H

#include <stddef.h>
#include <stdint.h>

#include <umbra/model.h>

typedef struct umbra_corpus {
    char **paths; /* (count) files, sorted by name within a folder */
    size_t count;
} umbra_corpus;

/* Lists files and the regular files of folders (not of folders below them). UMBRA_E_IO names what
 * cannot be read. */
int umbra_corpus_open(umbra_corpus *corpus, const char *const *paths, int n, umbra_error *err);
/* A seeded order, so that the first files are a sample of all. */
void umbra_corpus_shuffle(umbra_corpus *corpus, uint64_t seed);
void umbra_corpus_close(umbra_corpus *corpus);

/* Tokens of file i, without BOS; free with umbra_free_tokens. */
int umbra_corpus_tokens(const umbra_corpus *corpus, size_t i, const umbra_model *model,
                        int32_t **ids, size_t *count, umbra_error *err);

/* A hash of the names and contents of all files in their order, to compare it among ranks. */
int umbra_corpus_hash(const umbra_corpus *corpus, uint64_t *hash, umbra_error *err);

/* The last two parts of the path: they name a document without saying where it lies. */
const char *umbra_corpus_name(const umbra_corpus *corpus, size_t i);

#endif
