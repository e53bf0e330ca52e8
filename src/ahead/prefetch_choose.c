/* What the options of reading ahead come to for a model: a policy, its predictor, its memory. */
#include "ahead/prefetch_choose.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "ahead/recall.h"
#include "ahead/runahead.h"

/* The shadow file beside the model: its path with another ending. NULL if there is no memory. */
static char *path_beside(const char *model)
{
    static const char ending[] = ".shadow.safetensors", gguf[] = ".gguf";
    size_t n = strlen(model), cut = n;
    if (n > strlen(gguf) && strcmp(model + n - strlen(gguf), gguf) == 0)
        cut = n - strlen(gguf);
    char *path = umbra_calloc(cut + sizeof ending, 1);
    if (path) {
        memcpy(path, model, cut);
        memcpy(path + cut, ending, sizeof ending);
    }
    return path;
}

bool umbra_prefetch_has_shadow(const umbra_model *model, const char *shadow)
{
    if (shadow)
        return true;
    char *beside = path_beside(umbra_gguf_path(model->gguf));
    bool there = beside && access(beside, R_OK) == 0;
    umbra_free(beside);
    return there;
}

void umbra_choice_release(umbra_choice *c)
{
    umbra_free(c->beside);
    umbra_free(c->sparse);
    umbra_free(c->known);
}

/* How often to predict: so that predictions read at most an eighth of the bytes that the layers
 * themselves read per token, and take about as small a share of the time. */
static int choose_every(const umbra_runner_options *r, const umbra_model_info *info, int *every,
                        umbra_error *err)
{
    umbra_runner_options dense = *r;
    uint64_t bytes;
    dense.every = 1;
    int rc = umbra_runner_bytes(&dense, &bytes, err);
    if (rc != UMBRA_OK)
        return rc;
    uint64_t used =
        (uint64_t)info->moe_layers * (uint64_t)info->experts_used * info->bytes_per_expert;
    uint64_t budget = (used + info->dense_bytes) / 8;
    *every = budget > 0 && bytes / budget < UMBRA_MAX_DISTANCE ? (int)(bytes / budget) + 1
                                                               : UMBRA_MAX_DISTANCE;
    return UMBRA_OK;
}

int umbra_choose(umbra_choice *c, const umbra_model *model, int sequences,
                 const umbra_prefetch_options *o, umbra_error *err)
{
    const umbra_model_info *info = umbra_model_get_info(model);
    *c = (umbra_choice){.policy = o->policy, .automatic = o->policy == UMBRA_POLICY_AUTO};
    int rc = UMBRA_CHECK_RESERVED(o, err);
    if (rc == UMBRA_OK && !umbra_policy_name(o->policy))
        rc = umbra_fail(err, UMBRA_E_ARGUMENT, "there is no policy %d", (int)o->policy);
    if (rc == UMBRA_OK)
        rc = umbra_model_hash(model, c->hash, err);
    if (rc != UMBRA_OK)
        return rc;
    c->beside = path_beside(umbra_gguf_path(model->gguf));
    c->sparse = umbra_calloc((size_t)info->layers, sizeof *c->sparse);
    c->known = umbra_calloc((size_t)info->layers, sizeof *c->known);
    if (!c->beside || !c->sparse || !c->known)
        return umbra_fail_nomem(err, "the choice of a predictor", 0);
    for (int l = 0; l < info->layers; l++) {
        c->sparse[l] = umbra_layer_has_experts(model, l);
        c->known[l] = model->layers[l].role[UMBRA_TOKEN_EXPERTS] != NULL;
    }
    if (c->automatic)
        c->policy = !o->no_shadow && umbra_prefetch_has_shadow(model, o->shadow)
                        ? UMBRA_POLICY_SHADOW
                        : UMBRA_POLICY_RUNAHEAD;
    c->found = c->automatic && c->policy == UMBRA_POLICY_SHADOW && !o->shadow;
    c->runner = (umbra_runner_options){
        .policy = c->policy,
        .layers = info->layers,
        .hidden = info->hidden,
        .experts = info->experts,
        .used = info->experts_used,
        .sparse = c->sparse,
        .known = c->known,
        .shadow = o->shadow ? o->shadow : c->beside,
        .model_hash = c->hash,
        .model_name = info->name,
        .sequences = sequences,
        .every = o->every,
    };
    if (o->every == 0 && (c->policy == UMBRA_POLICY_SHADOW || c->policy == UMBRA_POLICY_GATE))
        rc = choose_every(&c->runner, info, &c->runner.every, err);
    return rc;
}

bool umbra_choice_passes_over(const umbra_choice *c, const umbra_prefetch_options *o,
                              const umbra_error *why)
{
    bool of_the_file = why->status == UMBRA_E_FORMAT || why->status == UMBRA_E_UNSUPPORTED ||
                       why->status == UMBRA_E_MISMATCH || why->status == UMBRA_E_CORRUPT ||
                       why->status == UMBRA_E_IO;
    if (!c->found || !of_the_file)
        return false;
    if (o->warn)
        o->warn(o->user, why->message);
    return true;
}

/* What the store keeps of sequences beyond the first, which is among the small things. */
static uint64_t forecast_bytes(const umbra_model_info *info, int sequences)
{
    return umbra_store_forecast_bytes(info->layers, info->experts, sequences) -
           umbra_store_forecast_bytes(info->layers, info->experts, 1);
}

/* What the options come to, and the memory that it takes. */
static int measure(umbra_choice *c, const umbra_model *model, const umbra_engine_options *engine,
                   const umbra_prefetch_options *o, uint64_t *bytes, umbra_error *err)
{
    *bytes = 0;
    int rc = umbra_choose(c, model, engine->sequences, o, err);
    if (rc != UMBRA_OK || c->policy == UMBRA_POLICY_OFF)
        return rc;
    if (c->policy == UMBRA_POLICY_RUNAHEAD) {
        umbra_memory_plan plan; /* also where the budget is too small: that is told at opening */
        rc = umbra_engine_plan(model, engine, &plan, err);
        rc = rc == UMBRA_E_BUDGET ? UMBRA_OK : rc;
        *bytes = umbra_runahead_bytes(model, plan.context, plan.threads, engine->sequences);
    } else {
        rc = umbra_runner_bytes(&c->runner, bytes, err);
    }
    *bytes += forecast_bytes(umbra_model_get_info(model), engine->sequences) +
              umbra_recall_bytes(model, engine->sequences);
    return rc;
}

enum { LEAST_OF_CACHE = 7, LEAST_OF_MISSING = 8 };

/* What a predictor takes is not there for experts: too much where it is a seventh of the cache, or
 * an eighth of what does not fit into it, since as many more misses are then there to win back. */
static bool is_worth_its_memory(uint64_t bytes, const umbra_memory_plan *plan)
{
    double cache = (double)plan->cache_bytes;
    double missing = cache / plan->residency - cache;
    return (double)bytes <= fmin(cache / LEAST_OF_CACHE, missing / LEAST_OF_MISSING);
}

/* Auto goes without a shadow that takes too much where running ahead would not, and off where both
 * would. */
static int fit_auto(const umbra_choice *c, const umbra_model *model,
                    const umbra_engine_options *engine, umbra_prefetch_options *prefetch,
                    uint64_t *bytes, umbra_error *err)
{
    umbra_memory_plan plan;
    int rc = umbra_engine_plan(model, engine, &plan, err);
    if (rc != UMBRA_OK || is_worth_its_memory(*bytes, &plan))
        return rc;
    if (c->policy == UMBRA_POLICY_SHADOW) {
        umbra_prefetch_options without = *prefetch;
        umbra_choice other;
        without.no_shadow = true;
        rc = measure(&other, model, engine, &without, bytes, err);
        umbra_choice_release(&other);
        if (rc == UMBRA_OK && is_worth_its_memory(*bytes, &plan))
            prefetch->no_shadow = true;
        if (rc != UMBRA_OK || prefetch->no_shadow)
            return rc;
    }
    prefetch->policy = UMBRA_POLICY_OFF;
    *bytes = 0;
    return UMBRA_OK;
}

int umbra_prefetch_fit(const umbra_model *model, umbra_engine_options *engine,
                       umbra_prefetch_options *prefetch, umbra_error *err)
{
    umbra_choice c;
    umbra_error why = {0};
    uint64_t bytes = 0;
    int rc = measure(&c, model, engine, prefetch, &bytes, &why);
    if (rc != UMBRA_OK && umbra_choice_passes_over(&c, prefetch, &why)) {
        umbra_choice_release(&c);
        prefetch->no_shadow = true;
        rc = measure(&c, model, engine, prefetch, &bytes, &why);
    }
    umbra_choice_release(&c);
    if (rc != UMBRA_OK)
        (void)umbra_fail_as(&why, err);
    engine->reserved_bytes = 0;
    if (rc == UMBRA_OK && c.automatic)
        rc = fit_auto(&c, model, engine, prefetch, &bytes, err);
    engine->reserved_bytes = bytes;
    return rc;
}
