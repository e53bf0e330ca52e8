/* The whole public interface of libumbra_lab, which stands on libumbra: it collects routing, trains
 * shadow models, evaluates them and measures. A program that only runs models does not need it.
 *
 * Rules are those of libumbra (see <umbra/umbra.h>): zero is the default, errors are returned, what
 * is opened is closed by who opened it. Its functions are whole jobs that run for seconds to hours,
 * on threads of their own; any number may run at once in a process, from different threads, except
 * that umbra_train may change the environment for a moment when it first loads OpenBLAS, and that
 * umbra_bench_model, where it is told of a peer, starts that by the shell. */
#ifndef UMBRA_LAB_LAB_H
#define UMBRA_LAB_LAB_H

#include <umbra/export.h>
#include <umbra/lab/bench.h>
#include <umbra/lab/collect.h>
#include <umbra/lab/evaluate.h>
#include <umbra/lab/quantize.h>
#include <umbra/lab/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The libraries that this one was built against; those of libumbra are in umbra_build. All texts
 * are static storage. */
typedef struct umbra_lab_build {
    const char *jansson;  /* version */
    uint64_t reserved[4]; /* room for figures to come: zeros */
} umbra_lab_build;

/* Fills *out. Any thread may call it. */
UMBRA_API void umbra_lab_get_build(umbra_lab_build *out);

#ifdef __cplusplus
}
#endif
#endif
