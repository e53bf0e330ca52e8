/* What the options of reading ahead come to for a model, for prefetch.c. */
#ifndef UMBRA_AHEAD_PREFETCH_CHOOSE_H
#define UMBRA_AHEAD_PREFETCH_CHOOSE_H

#include <umbra/prefetch.h>

#include "ahead/runner.h"
#include "engine/engine.h"

/* What the options come to for this model; the paths live as long as beside. */
typedef struct umbra_choice {
    umbra_policy policy;
    bool automatic;
    bool found;           /* automatic by a shadow that nobody named */
    char *beside;         /* owned */
    bool *sparse, *known; /* owned: (layers) */
    char hash[UMBRA_MODEL_HASH_CHARS];
    umbra_runner_options runner; /* but for the store and the routers */
} umbra_choice;

/* *out is to be released, on failure too. */
int umbra_choose(umbra_choice *out, const umbra_model *model, int sequences,
                 const umbra_prefetch_options *options, umbra_error *err);
void umbra_choice_release(umbra_choice *choice);
/* Whether a failure is that of a shadow file which nobody asked for: then it is told, and the run
 * goes on without it. */
bool umbra_choice_passes_over(const umbra_choice *choice, const umbra_prefetch_options *options,
                              const umbra_error *why);

#endif
