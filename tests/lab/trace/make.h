/* Random traces whose every value can be computed again, and the folders that they lie in. */
#ifndef UMBRA_TESTS_LAB_TRACE_MAKE_H
#define UMBRA_TESTS_LAB_TRACE_MAKE_H

#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lab/trace/trace.h"

#define MODEL_HASH "0123456789abcdef0123456789abcdef"

enum { MAKE_DOCUMENTS = 5 /* per shard, at most */, MAKE_TOKENS = 400 };

typedef struct make {
    umbra_trace_info info;
    int bare;    /* a layer without experts, or -1 */
    int longest; /* document, at most 80 */
    int few;     /* documents of a shard, or 0: 1 to MAKE_DOCUMENTS */
    uint64_t seed;
} make;

/* How the values of a shard arrive. */
typedef enum make_order {
    MAKE_CHUNKS,    /* pieces of tokens, each through all layers: as a model computes */
    MAKE_BACKWARDS, /* token by token from the last one */
    MAKE_SHUFFLED,  /* pieces in random order */
    MAKE_ORDERS
} make_order;

extern umbra_error make_err;
#define MUST(call)                                                                                 \
    do {                                                                                           \
        if ((call) != UMBRA_OK)                                                                    \
            fail_msg("%s", make_err.message);                                                      \
    } while (0)

make make_case(bool int8, int stride);

/* Documents and tokens of a shard; returns the number of documents. */
int make_documents(const make *m, int shard, umbra_trace_document documents[MAKE_DOCUMENTS],
                   int32_t tokens[MAKE_TOKENS]);
void make_gate(const make *m, int layer, float *out);
void make_state(const make *m, int shard, umbra_trace_state which, int layer, int token,
                float *out);
void make_routing(const make *m, int shard, int layer, int token, int32_t *experts, float *weights);

int make_put_gates(const make *m, umbra_trace_writer *w);
int make_begin(const make *m, umbra_trace_writer *w, int shard);
int make_put_values(const make *m, umbra_trace_writer *w, int shard, make_order order);
/* All of a shard. */
int make_put_shard(const make *m, umbra_trace_writer *w, int shard, make_order order);
/* A whole trace. */
void make_trace(const make *m, const char *folder, int shards, make_order order);

/* Reads all that a trace has and returns the first failure. */
int make_read_all(umbra_trace *t, umbra_error *err);
/* Compares all of it with what was put in. */
void make_check(const make *m, umbra_trace *t, int shards);

/* Opens the folder's trace for that. */
void make_open_and_check(const make *m, const char *folder, int shards);
/* rc and the message that make_err must hold. */
void make_expect(int rc, int expected, const char *words);

/* A new empty folder, and its removal with all files in it. */
const char *make_folder(void);
void make_remove(const char *folder);
bool make_exists(const char *folder, const char *name);
int make_files(const char *folder); /* how many there are */
/* A whole file (free it), and one that is replaced. */
unsigned char *make_load(const char *folder, const char *name, size_t *bytes);
void make_save(const char *folder, const char *name, const void *data, size_t bytes);
void make_copy(const char *from, const char *to);

#endif
