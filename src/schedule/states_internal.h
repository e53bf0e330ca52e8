/* Inside of the states: the file of one state, and the index of a folder.
 *
 * A file, little-endian:
 *    0  char[8]   "UMBRASQ" and a zero
 *    8  u32       version, 1
 *   12  u32       tokens
 *   16  char[32]  umbra_model_hash
 *   48  char[16]  name of the kernels, zero-padded
 *   64  u64       bytes of the snapshot
 *   72  u64       XXH3 of everything before and of the tokens
 *   80            the tokens, i32 each
 *                 the snapshot (umbra_engine_snapshot), which has a hash of its own
 *
 * The file of the cache's experts, little-endian:
 *    0  char[8]   "UMBRAEX" and a zero
 *    8  u32       version, 1
 *   12  u32       experts
 *   16  char[32]  umbra_model_hash
 *   48  u64       XXH3 of everything before and of the experts
 *   56            the experts, most used first: layer and expert, i32 each, and uses, f32 */
#ifndef UMBRA_SCHEDULE_STATES_INTERNAL_H
#define UMBRA_SCHEDULE_STATES_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>

#include "schedule/states.h"

enum {
    UMBRA_STATE_MARK = 32,    /* tokens between two marks */
    UMBRA_STATE_FILES = 4096, /* in a folder */
    UMBRA_STATE_NAME = 48     /* of a file */
};

#define UMBRA_STATE_SUFFIX   ".state"
#define UMBRA_EXPERTS_SUFFIX ".experts"

typedef struct umbra_state_header {
    char magic[8];
    uint32_t version;
    uint32_t tokens;
    char model[32];
    char kernels[16];
    uint64_t snapshot_bytes;
    uint64_t hash;
} umbra_state_header;

typedef struct umbra_experts_header {
    char magic[8];
    uint32_t version;
    uint32_t experts;
    char model[32];
    uint64_t hash;
} umbra_experts_header;

/* What is known of a file without reading it. */
typedef struct umbra_state_entry {
    char name[UMBRA_STATE_NAME]; /* in the folder: 32 hex digits and the suffix */
    uint64_t bytes;
    int64_t used_ns; /* since 1970 */
    bool experts;    /* the cache's: no state, and the rest is 0 */
    bool own;        /* of this model and these kernels; else the rest is 0 */
    int tokens;
    uint64_t whole;  /* hash of all tokens */
    uint64_t *marks; /* (tokens / UMBRA_STATE_MARK) hashes of the first 32, 64, ...; owned */
} umbra_state_entry;

struct umbra_states {
    umbra_states_options o; /* texts are owned */
    char model[33], kernels[16];
    char *folder;
    int lock; /* descriptor */
    double read_bytes_per_second;
    bool refilled;
    uint64_t refill_bytes;

    pthread_t writer;
    bool has_writer;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    umbra_state_entry *entries; /* (UMBRA_STATE_FILES + 1) */
    int n;
    umbra_states_stats stats;
    bool ending, busy; /* the buffer holds what is to be written */
    char *buffer;      /* (buffer_bytes) a file, or NULL */
    uint64_t buffer_bytes;
};

/* state_file.c: fills the entry from tokens; false without memory. */
bool umbra_state_mark(umbra_state_entry *e, const int32_t *tokens, int n);
/* The name of the file for these tokens. */
void umbra_state_name(const umbra_states *s, const int32_t *tokens, int n,
                      char out[UMBRA_STATE_NAME]);
/* Fills header and tokens of a file whose snapshot follows. */
void umbra_state_fill(const umbra_states *s, char *file, const int32_t *tokens, int n,
                      uint64_t snapshot_bytes);
/* Bytes before the snapshot. */
uint64_t umbra_state_head_bytes(int n);
/* Whether the beginning of a file of so many bytes holds together, tokens included. */
bool umbra_state_check(const umbra_state_header *h, const int32_t *tokens, uint64_t bytes);
/* The path of a file in the folder; free it. NULL: no memory. */
char *umbra_state_path(const umbra_states *s, const char *name);
/* Since 1970. */
int64_t umbra_state_now_ns(void);
/* state_folder.c: finds all files; what is damaged, or was being written, goes. */
int umbra_state_scan(umbra_states *s, umbra_error *err);
/* Writes a file of the folder, for its owner alone: states tell what was said. */
int umbra_state_write(const umbra_states *s, const char *name, const void *data, uint64_t bytes,
                      umbra_error *err);
/* Under the mutex: takes an entry, whose marks are the folder's from then on, for a file that is
 * there. There must be fewer than UMBRA_STATE_FILES. */
void umbra_state_add(umbra_states *s, const umbra_state_entry *e);
/* The same, now, in place of the entry of that name if there is one. */
void umbra_state_replace(umbra_states *s, umbra_state_entry *e);
/* Under the mutex: removes file and entry. */
void umbra_state_remove(umbra_states *s, int entry);
/* The same by name, of a file that was found damaged. */
void umbra_state_remove_named(umbra_states *s, const char *name);
/* The writer has nothing to do, so that its buffer is free, and so is the room that it was given;
 * false: it has, and is not waited for. */
bool umbra_state_await_writer(umbra_states *s, bool wait);
/* Under the mutex: removes the files that were of no use for longest until so many bytes more fit.
 * False: they never will. */
bool umbra_state_make_room(umbra_states *s, uint64_t bytes);

#endif
