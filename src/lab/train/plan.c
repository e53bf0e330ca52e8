/* Checks the options of a training run and opens its data. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/system.h"
#include "lab/train/plan.h"

enum { MOST_EPOCHS = 100000, MOST_BATCH = 1 << 16, MOST_WIDTH = 1 << 16, MOST_THREADS = 1024 };

void umbra_train_options_init(umbra_train_options *options)
{
    *options = (umbra_train_options){
        .arch = "residual",
        .scope = "layer",
        .loss = "bce",
        .weights = "f32",
        .epochs = 4,
        .batch = 256,
        .learning_rate = 0.004f,
        .warmup = 0.05f,
        .weight_decay = 0.01f,
        .clip = 1.0f,
        .patience = 2,
        .validation = 0.1f,
        .seed = 1,
        .window_bytes = (uint64_t)256 << 20,
        .checkpoint_seconds = 60.0,
    };
}

/* ---- words ---- */

/* Index of word in the NULL-terminated list, or an error that names them all. */
static int choose(const char *what, const char *word, const char *const *list, int *out,
                  umbra_error *err)
{
    char all[128] = "";
    for (int i = 0; list[i]; i++) {
        if (word && strcmp(word, list[i]) == 0) {
            *out = i;
            return UMBRA_OK;
        }
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? ", " : "", list[i]);
    }
    return umbra_fail(err, UMBRA_E_ARGUMENT, "%s \"%s\" is none of: %s", what, word ? word : "",
                      all);
}

/* The next item of a comma-separated list, moved over; false at its end. */
static bool next_item(const char **list, char *item, size_t room)
{
    if (!*list)
        return false;
    size_t n = strcspn(*list, ",");
    snprintf(item, room, "%.*s", (int)(n < room ? n : room), *list);
    *list = (*list)[n] == ',' ? *list + n + 1 : NULL;
    return true;
}

static int parse_features(const char *list, unsigned *out, umbra_error *err)
{
    static const char *const names[] = {"now", "previous", "previous2", NULL};
    static const unsigned bits[] = {UMBRA_FEATURE_NOW, UMBRA_FEATURE_PREVIOUS,
                                    UMBRA_FEATURE_PREVIOUS2};
    char item[32];
    *out = 0;
    if (strcmp(list, "none") == 0)
        return UMBRA_OK;
    while (next_item(&list, item, sizeof item)) {
        int i = 0;
        int rc = choose("feature", item, names, &i, err);
        if (rc != UMBRA_OK)
            return rc;
        *out |= bits[i];
    }
    return UMBRA_OK;
}

static int parse_averages(const char *list, umbra_shadow_spec *spec, umbra_error *err)
{
    char item[32];
    spec->averages = 0;
    if (strcmp(list, "none") == 0)
        return UMBRA_OK;
    while (next_item(&list, item, sizeof item)) {
        char *end;
        float decay = strtof(item, &end);
        if (end == item || *end != '\0' || !(decay > 0.0f && decay < 1.0f))
            return umbra_fail(err, UMBRA_E_ARGUMENT,
                              "\"%s\" is no decay of a running average: give numbers between 0 and "
                              "1, or \"none\"",
                              item);
        if (spec->averages == UMBRA_MAX_AVERAGES)
            return umbra_fail(err, UMBRA_E_ARGUMENT, "there are more than %d running averages",
                              UMBRA_MAX_AVERAGES);
        spec->decay[spec->averages++] = decay;
    }
    return UMBRA_OK;
}

static int parse_spec(umbra_train_plan *plan, umbra_error *err)
{
    static const char *const archs[] = {"residual", "seed", NULL};
    static const char *const scopes[] = {"layer", "shared", NULL};
    static const char *const losses[] = {"bce", "kl", NULL};
    static const char *const forms[] = {"f32", "bf16", "i8", NULL};
    umbra_train_options *o = &plan->options;
    umbra_shadow_spec *spec = &plan->spec;
    int arch = 0, scope = 0, loss = 0, form = 0;
    int rc = choose("arch", o->arch, archs, &arch, err);
    if (rc == UMBRA_OK)
        rc = choose("scope", o->scope, scopes, &scope, err);
    if (rc == UMBRA_OK)
        rc = choose("loss", o->loss, losses, &loss, err);
    if (rc == UMBRA_OK)
        rc = choose("weights", o->weights, forms, &form, err);
    if (rc != UMBRA_OK)
        return rc;
    bool seed = arch == 1;
    spec->arch = seed ? UMBRA_SHADOW_SEED : UMBRA_SHADOW_RESIDUAL;
    spec->shared = scope == 1;
    spec->loss = loss == 0 ? UMBRA_LOSS_BCE : UMBRA_LOSS_KL;
    spec->weights = form == 0 ? UMBRA_SHADOW_F32 : form == 1 ? UMBRA_SHADOW_BF16 : UMBRA_SHADOW_I8;
    if (!o->features)
        o->features = seed ? "none" : "now,previous,previous2";
    if (!o->averages)
        o->averages = seed ? "none" : "0.8,0.95";
    if (o->width == 0)
        o->width = seed ? 1024 : 256;
    spec->width = o->width;
    rc = parse_features(o->features, &spec->features, err);
    if (rc == UMBRA_OK)
        rc = parse_averages(o->averages, spec, err);
    if (rc == UMBRA_OK && seed && (spec->features != 0 || spec->averages > 0))
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "arch seed reads the state alone: features and averages must be none");
    return rc;
}

/* ---- numbers ---- */

static int check_range(const char *what, double value, double least, double most, umbra_error *err)
{
    if (value >= least && value <= most)
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_ARGUMENT, "%s %g is not in %g..%g", what, value, least, most);
}

static int check_numbers(const umbra_train_options *o, bool seed, umbra_error *err)
{
    const double below_one = 1.0 - 1e-6;
    const struct {
        const char *what;
        double value, least, most;
    } checks[] = {
        {"width", o->width, 1, MOST_WIDTH},
        {"epochs", o->epochs, 1, MOST_EPOCHS},
        {"batch", o->batch, 1, MOST_BATCH},
        {"learning rate", (double)o->learning_rate, 1e-9, 10},
        {"warm-up", (double)o->warmup, 0, 1},
        {"weight decay", (double)o->weight_decay, 0, 10},
        {"clip", (double)o->clip, 0, 1e9},
        {"dropout", (double)o->dropout, 0, seed ? below_one : 0},
        {"average", (double)o->average, 0, below_one},
        {"patience", o->patience, 0, MOST_EPOCHS},
        {"validation share", (double)o->validation, 1e-6, 0.9},
        {"threads", o->threads, 0, MOST_THREADS},
        {"checkpoint seconds", o->checkpoint_seconds, 0, 1e9},
    };
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        int rc = check_range(checks[i].what, checks[i].value, checks[i].least, checks[i].most, err);
        if (rc != UMBRA_OK)
            return rc;
    }
    return UMBRA_OK;
}

/* ---- settings ---- */

__attribute__((format(printf, 3, 4))) static void set(umbra_train_plan *plan, const char *name,
                                                      const char *format, ...)
{
    umbra_train_setting *s = &plan->settings[plan->n_settings++];
    s->name = name;
    va_list args;
    va_start(args, format);
    vsnprintf(s->value, sizeof s->value, format, args);
    va_end(args);
}

static void list_settings(umbra_train_plan *plan)
{
    const umbra_train_options *o = &plan->options;
    set(plan, "model", "%s", plan->spec.model_hash);
    set(plan, "traces", "%016" PRIx64, plan->data.fingerprint);
    set(plan, "arch", "%s", o->arch);
    set(plan, "scope", "%s", o->scope);
    set(plan, "features", "%s", o->features);
    set(plan, "averages", "%s", o->averages);
    set(plan, "width", "%d", o->width);
    set(plan, "loss", "%s", o->loss);
    set(plan, "epochs", "%d", o->epochs);
    set(plan, "batch", "%d", o->batch);
    set(plan, "learning_rate", "%g", (double)o->learning_rate);
    set(plan, "warmup", "%g", (double)o->warmup);
    set(plan, "weight_decay", "%g", (double)o->weight_decay);
    set(plan, "clip", "%g", (double)o->clip);
    set(plan, "dropout", "%g", (double)o->dropout);
    set(plan, "average", "%g", (double)o->average);
    set(plan, "patience", "%d", o->patience);
    set(plan, "validation", "%g", (double)o->validation);
    set(plan, "seed", "%" PRIu64, o->seed);
    set(plan, "window_bytes", "%" PRIu64, o->window_bytes);
    if (plan->spec.shared)
        set(plan, "threads", "%d", plan->threads); /* products are split over them */
}

/* ---- opening ---- */

static int fill_spec(umbra_train_plan *plan, umbra_error *err)
{
    const umbra_trace_info *info = umbra_train_info(&plan->data);
    umbra_shadow_spec *spec = &plan->spec;
    snprintf(spec->model_hash, sizeof spec->model_hash, "%s", info->model_hash);
    snprintf(spec->model_name, sizeof spec->model_name, "%s", info->model_name);
    snprintf(spec->architecture, sizeof spec->architecture, "%s", info->architecture);
    spec->layers = info->layers;
    spec->hidden = info->hidden;
    spec->experts = info->experts;
    spec->used = info->used;
    plan->networks = spec->shared ? 1 : umbra_shadow_sources(spec);
    for (int source = 0; source < umbra_shadow_sources(spec); source++)
        if (umbra_train_has_source(&plan->data, spec, source))
            return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: no layer has both states and routing to predict",
                      plan->options.traces[0]);
}

int umbra_train_plan_open(umbra_train_plan *plan, const umbra_train_options *options,
                          umbra_error *err)
{
    *plan = (umbra_train_plan){.options = *options};
    umbra_train_options *o = &plan->options;
    if (!o->output || o->output[0] == '\0')
        return umbra_fail(err, UMBRA_E_ARGUMENT, "there is no path for the shadow file");
    int rc = parse_spec(plan, err);
    if (rc == UMBRA_OK)
        rc = check_numbers(o, plan->spec.arch == UMBRA_SHADOW_SEED, err);
    if (rc != UMBRA_OK)
        return rc;
    plan->threads = umbra_system_threads(o->threads, MOST_THREADS);
    size_t room = strlen(o->output) + sizeof ".checkpoint";
    plan->checkpoint = umbra_calloc(room, 1);
    if (!plan->checkpoint)
        return umbra_fail_nomem(err, "a path", room);
    snprintf(plan->checkpoint, room, "%s.checkpoint", o->output);
    rc = umbra_train_data_open(&plan->data, o->traces, o->n_traces, o->validation, err);
    if (rc == UMBRA_OK)
        rc = fill_spec(plan, err);
    if (rc == UMBRA_OK)
        list_settings(plan);
    return rc;
}

void umbra_train_plan_release(umbra_train_plan *plan)
{
    umbra_train_data_release(&plan->data);
    umbra_free(plan->checkpoint);
    *plan = (umbra_train_plan){0};
}
