/* Lets llama.cpp's threads sleep while experts are read. */
#include "under/threads.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/system.h"
#include "under/foreign.h"

enum { PROCESSORS = 512, SPARE_BYTES = 64 };

/* struct ggml_threadpool_params. */
typedef struct threads_params {
    bool processor[PROCESSORS];
    int32_t threads;
    int32_t priority;
    uint32_t poll; /* how long threads spin; 0: they do not */
    bool strict, paused;
} threads_params;

/* The library's own defaults; false: they are not where they are known to be. */
static bool get_defaults(threads_params *out)
{
    enum { ASKED = 7, UNTOUCHED = 0xa5 };
    typedef void init(void *params, int threads);
    init *fill = (init *)umbra_foreign_find("ggml_threadpool_params_init");
    union {
        threads_params params;
        unsigned char byte[sizeof(threads_params) + SPARE_BYTES];
    } u;
    if (!fill)
        return false;
    memset(&u, UNTOUCHED, sizeof u);
    fill(&u, ASKED);
    bool known = u.params.threads == ASKED && u.params.poll <= 100 && u.byte[0] == 0 &&
                 u.byte[PROCESSORS - 1] == 0 && u.byte[offsetof(threads_params, strict)] <= 1 &&
                 u.byte[offsetof(threads_params, paused)] <= 1;
    for (size_t i = sizeof u.params; i < sizeof u.byte; i++)
        known = known && u.byte[i] == UNTOUCHED;
    *out = u.params;
    return known;
}

void umbra_threads_let_sleep(void *params)
{
    threads_params *p = params, defaults;
    if (get_defaults(&defaults) && p->poll == defaults.poll &&
        p->threads >= umbra_system_processors())
        p->poll = 0;
}
