/* How the library fills an umbra_error. */
#ifndef UMBRA_BASE_ERROR_H
#define UMBRA_BASE_ERROR_H

#include <umbra/status.h>

/* Fills err (which may be NULL) and returns status, so that a caller can write
 * `return umbra_fail(err, UMBRA_E_IO, "%s: %s", path, strerror(errno));`
 * A message longer than the field is cut at a character boundary. */
__attribute__((format(printf, 3, 4))) int umbra_fail(umbra_error *err, int status,
                                                     const char *format, ...);

/* The same with the byte offset of a file; " (at byte N)" is appended to the message. */
__attribute__((format(printf, 4, 5))) int umbra_fail_at(umbra_error *err, int status,
                                                        uint64_t offset, const char *format, ...);

/* Fails as another call did: with its message and its status. */
int umbra_fail_as(const umbra_error *why, umbra_error *err);

/* The usual answer to a failed allocation of `bytes` for `what`. */
int umbra_fail_nomem(umbra_error *err, const char *what, uint64_t bytes);

#endif
