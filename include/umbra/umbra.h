/* The whole public interface of libumbra. */
#ifndef UMBRA_UMBRA_H
#define UMBRA_UMBRA_H

#include <umbra/bench.h>
#include <umbra/collect.h>
#include <umbra/engine.h>
#include <umbra/evaluate.h>
#include <umbra/generate.h>
#include <umbra/model.h>
#include <umbra/prefetch.h>
#include <umbra/progress.h>
#include <umbra/quantize.h>
#include <umbra/runner.h>
#include <umbra/score.h>
#include <umbra/status.h>
#include <umbra/store.h>
#include <umbra/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0". Static storage. */
UMBRA_API const char *umbra_version(void);

#ifdef __cplusplus
}
#endif
#endif
