/* The whole public interface of libumbra_lab, which stands on libumbra: it collects routing, trains
 * shadow models, evaluates them and measures. A program that only runs models does not need it. */
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
    const char *jansson; /* version */
} umbra_lab_build;

/* Fills *out. Any thread may call it. */
UMBRA_API void umbra_lab_get_build(umbra_lab_build *out);

#ifdef __cplusplus
}
#endif
#endif
