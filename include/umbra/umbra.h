/* The whole public interface of libumbra, which runs models. What makes shadow models and measures
 * is libumbra_lab, see <umbra/lab/lab.h>. */
#ifndef UMBRA_UMBRA_H
#define UMBRA_UMBRA_H

#include <umbra/engine.h>
#include <umbra/generate.h>
#include <umbra/model.h>
#include <umbra/prefetch.h>
#include <umbra/progress.h>
#include <umbra/runner.h>
#include <umbra/score.h>
#include <umbra/status.h>
#include <umbra/store.h>
#include <umbra/template.h>
#include <umbra/usage.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0". Static storage. */
UMBRA_API const char *umbra_version(void);

enum { UMBRA_BUILD_KERNELS = 8 /* room for names, NULL behind the last */ };

/* What a build is made of and can use on this machine. All texts are static storage. */
typedef struct umbra_build {
    const char *version;                      /* as umbra_version */
    const char *compiler;                     /* "gcc 12.2.0" */
    const char *kernels[UMBRA_BUILD_KERNELS]; /* kernel tables in the build, best first, NULL behind
                                                 the last; umbra_kernel_name tells which of them
                                                 this CPU runs */
    const char *pcre2;                        /* version that was built against */
    const char *liburing;                     /* version that was built against */
    const char *xxhash;                       /* version that was built against */
    const char *utf8proc;                     /* version that was built against */
    bool io_uring; /* a ring could be opened just now; kernels and containers may forbid it */
} umbra_build;

/* Fills *out; tries to open an io_uring. Any thread may call it. */
UMBRA_API void umbra_get_build(umbra_build *out);

#ifdef __cplusplus
}
#endif
#endif
