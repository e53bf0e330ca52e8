/* Small trace folders and shadow files with known contents. */
#ifndef UMBRA_TESTS_LAB_EVALUATE_FIXTURE_H
#define UMBRA_TESTS_LAB_EVALUATE_FIXTURE_H

#include "predict/predictor.h"
#include "lab/trace/trace.h"

enum {
    FIXTURE_LAYERS = 6,
    FIXTURE_HIDDEN = 16,
    FIXTURE_EXPERTS = 12,
    FIXTURE_USED = 3,
};

typedef struct fixture_document {
    const char *id;
    int tokens;
    bool generated;
    uint64_t seed; /* the same seed and number of tokens: the same content */
} fixture_document;

/* A folder in TMPDIR for the test's files; fixture_clean removes it with all in it. */
const char *fixture_folder(void);
void fixture_clean(void);
/* NAME in that folder, in a static ring of buffers. */
const char *fixture_path(const char *name);

/* Writes a trace folder; every `per_shard` documents begin a new shard. The routing is what the
 * gates say of the states, so that the control must be 100 %. model: 0 or another model's number;
 * bare_layer: a layer without experts, or -1. */
void fixture_trace(const char *path, const fixture_document *documents, int n, int per_shard,
                   int stride, int model, int bare_layer);

/* The usual 25 documents, generated-7-N and read-N, of 20 to 90 tokens. */
enum { FIXTURE_DOCUMENTS = 25 };
const fixture_document *fixture_documents(void);

umbra_shadow_spec fixture_spec(void);
/* Writes a shadow with random parameters of this size (0: as created) and that training text. */
void fixture_shadow(const char *path, const umbra_shadow_spec *spec, double size,
                    const char *training);

#endif
