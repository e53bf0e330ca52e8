/* Status codes and error reports: what every fallible call of Umbra returns.
 *
 * Functions return 0 (UMBRA_OK) or a negative code of the list below. A function that takes an
 * `umbra_error *` also fills it on failure: the code, a message that says what failed, where, and
 * what to do, and, for foreign files, the byte offset. The pointer may be NULL.
 * An umbra_error is plain memory of the caller; nothing in it needs freeing. */
#ifndef UMBRA_STATUS_H
#define UMBRA_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The list of codes: X(value, NAME, text). */
#define UMBRA_STATUS_MAP(X)                                                                        \
    X(-1, NOMEM, "out of memory")                                                                  \
    X(-2, IO, "input/output error")                                                                \
    X(-3, FORMAT, "malformed file")                                                                \
    X(-4, UNSUPPORTED, "not supported")                                                            \
    X(-5, BUDGET, "memory budget too small")                                                       \
    X(-6, ARGUMENT, "invalid argument")                                                            \
    X(-7, INTERRUPTED, "interrupted")                                                              \
    X(-8, MISMATCH, "files do not belong together")                                                \
    X(-9, CORRUPT, "data failed its checksum")                                                     \
    X(-10, SYSTEM, "system call failed")                                                           \
    X(-11, NONFINITE, "a number is NaN or infinite")

/* UMBRA_OK, and UMBRA_E_ and the name for every line of UMBRA_STATUS_MAP. */
typedef enum umbra_status {
    UMBRA_OK = 0, /* success */
/* One enumerator. */
#define UMBRA_STATUS_ENUM(value, name, text) UMBRA_E_##name = value,
    UMBRA_STATUS_MAP(UMBRA_STATUS_ENUM)
#undef UMBRA_STATUS_ENUM
} umbra_status;

/* What went wrong. */
typedef struct umbra_error {
    int status;        /* UMBRA_OK or UMBRA_E_* */
    bool has_offset;   /* offset is meaningful */
    uint64_t offset;   /* byte offset in the file that the message names */
    char message[512]; /* UTF-8 without control characters (escaped in hex), so without a
                          newline; NUL-terminated */
} umbra_error;

/* "UMBRA_E_NOMEM", or "UMBRA_E_?" for a value not in the list. Static storage.
 * Any thread. */
UMBRA_API const char *umbra_status_name(int status);

/* "out of memory", or "unknown status". Static storage. Any thread. */
UMBRA_API const char *umbra_status_text(int status);

#ifdef __cplusplus
}
#endif
#endif
