/* Stop strings: texts that end an answer and are no part of it, found while it is written. */
#ifndef UMBRA_STOPS_H
#define UMBRA_STOPS_H

#include <stddef.h>

#include <umbra/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Looks for stop strings in a text that comes piece by piece. One thread at a time. */
typedef struct umbra_stops umbra_stops;

/* Copies n texts; n may be 0: then it only keeps characters whole. UMBRA_E_ARGUMENT: one is empty.
 * On failure *out is NULL. */
UMBRA_API int umbra_stops_open(umbra_stops **out, const char *const *texts, int n,
                               umbra_error *err);
/* Accepts NULL and nulls the pointer. */
UMBRA_API void umbra_stops_close(umbra_stops **stops);
/* Takes the next bytes of the text. *out (*out_bytes, valid until the next call) is what is sure to
 * belong to it by now: not what may be the beginning of a stop string, nor of a UTF-8 character.
 * Returns 0; or 1 once a stop string has come: *out ends before it, and nothing more is taken; or
 * UMBRA_E_NOMEM. Of several stop strings the one that begins first counts, then the shortest. */
UMBRA_API int umbra_stops_take(umbra_stops *stops, const char *bytes, size_t n, const char **out,
                               size_t *out_bytes);
/* The text has ended: hands out what was held back. A stop string may be found in it. */
UMBRA_API void umbra_stops_end(umbra_stops *stops, const char **out, size_t *out_bytes);
/* Which of the texts has come, from 0; -1: none. */
UMBRA_API int umbra_stops_found(const umbra_stops *stops);

#ifdef __cplusplus
}
#endif
#endif
