/* Walks on a core to spare: all the time, not only while the engine waits. When a layer's experts
 * are known and the thread has done its walk before, it goes on from there, as far as is read for,
 * with as many of the heaviest experts that are in the cache as it has time for, while the engine
 * computes.
 *
 * A thread of its own, which looks for its next walk for a moment before it sleeps. */
#ifndef UMBRA_AHEAD_BESIDE_H
#define UMBRA_AHEAD_BESIDE_H

#include <umbra/engine.h>

typedef struct umbra_beside umbra_beside;
struct umbra_runahead;

/* Whether there is a core that no thread of the engine computes on, and the model can be walked so.
 */
bool umbra_beside_is_possible(const umbra_model *model, int threads);
/* Memory that it takes, what its thread touches of a stack too; 0 where it is not possible. */
uint64_t umbra_beside_bytes(const umbra_model *model, int context, int threads);
/* *out is NULL also where it is not possible, or there is no thread to be had. */
int umbra_beside_open(umbra_beside **out, struct umbra_runahead *runahead, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
void umbra_beside_close(umbra_beside **beside);
/* At UMBRA_TAP_ROUTED: the next of the rows that decode, if no walk is under way. Where the thread
 * is no faster than those that compute, only from the first layer, to see whether it is by now. */
void umbra_beside_begin(umbra_beside *b, const umbra_rows *rows);
/* Whether it is so fast that a layer which waits so long, in the mean, need not be walked from by
 * the thread that waits, which would end its walk too late. */
bool umbra_beside_suffices(const umbra_beside *b, double wait_ns);

#endif
