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
#include "base/options.h"
#include "base/system.h"
#include "lab/train/setup.h"
#include "predict/form.h"

enum { MOST_EPOCHS = 100000, MOST_BATCH = 1 << 16, MOST_WIDTH = 1 << 16, MOST_THREADS = 1024 };

/* Puts the defaults in place of 0; those of the features are in parse_spec. */
static void put_defaults(umbra_train_options *o)
{
    o->weights = o->weights ? o->weights : UMBRA_WEIGHT_FORM_F32;
    o->epochs = o->epochs ? o->epochs : 4;
    o->batch = o->batch ? o->batch : 256;
    o->learning_rate = o->learning_rate != 0 ? o->learning_rate : 0.004f;
    o->warmup = (float)umbra_option_or((double)o->warmup, (double)0.05f);
    o->weight_decay = (float)umbra_option_or((double)o->weight_decay, (double)0.01f);
    o->clip = (float)umbra_option_or((double)o->clip, 1);
    o->patience = (int)umbra_option_or(o->patience, 2);
    o->validation = o->validation != 0 ? o->validation : 0.1f;
    o->seed = o->seed ? o->seed : 1;
    o->window_bytes = o->window_bytes ? o->window_bytes : (uint64_t)256 << 20;
    o->checkpoint_seconds = umbra_option_or(o->checkpoint_seconds, 60);
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

static const char *const archs[] = {"residual", "seed", NULL};
static const char *const scopes[] = {"layer", "shared", NULL};
static const char *const losses[] = {"bce", "kl", NULL};

int umbra_train_arch_parse(const char *name, umbra_train_arch *out, umbra_error *err)
{
    int i = 0, rc = name ? choose("arch", name, archs, &i, err) : UMBRA_OK;
    *out = rc == UMBRA_OK ? (umbra_train_arch)i : *out;
    return rc;
}

int umbra_train_scope_parse(const char *name, umbra_train_scope *out, umbra_error *err)
{
    int i = 0, rc = name ? choose("scope", name, scopes, &i, err) : UMBRA_OK;
    *out = rc == UMBRA_OK ? (umbra_train_scope)i : *out;
    return rc;
}

int umbra_train_loss_parse(const char *name, umbra_train_loss_kind *out, umbra_error *err)
{
    int i = 0, rc = name ? choose("loss", name, losses, &i, err) : UMBRA_OK;
    *out = rc == UMBRA_OK ? (umbra_train_loss_kind)i : *out;
    return rc;
}

static int parse_spec(umbra_train_setup *setup, umbra_error *err)
{
    umbra_train_options *o = &setup->options;
    umbra_shadow_spec *spec = &setup->spec;
    if ((unsigned)o->arch > UMBRA_TRAIN_ARCH_SEED ||
        (unsigned)o->scope > UMBRA_TRAIN_SCOPE_SHARED || (unsigned)o->loss > UMBRA_TRAIN_LOSS_KL)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "there is no arch %d, scope %d or loss %d",
                          (int)o->arch, (int)o->scope, (int)o->loss);
    int rc = umbra_weight_form_find(o->weights, UMBRA_SHADOW_F32, &spec->weights, err);
    if (rc != UMBRA_OK)
        return rc;
    bool seed = o->arch == UMBRA_TRAIN_ARCH_SEED;
    spec->arch = seed ? UMBRA_SHADOW_SEED : UMBRA_SHADOW_RESIDUAL;
    spec->shared = o->scope == UMBRA_TRAIN_SCOPE_SHARED;
    spec->loss = o->loss == UMBRA_TRAIN_LOSS_KL ? UMBRA_LOSS_KL : UMBRA_LOSS_BCE;
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

__attribute__((format(printf, 3, 4))) static void set(umbra_train_setup *setup, const char *name,
                                                      const char *format, ...)
{
    umbra_train_setting *s = &setup->settings[setup->n_settings++];
    s->name = name;
    va_list args;
    va_start(args, format);
    vsnprintf(s->value, sizeof s->value, format, args);
    va_end(args);
}

static void list_settings(umbra_train_setup *setup)
{
    const umbra_train_options *o = &setup->options;
    set(setup, "model", "%s", setup->spec.model_hash);
    set(setup, "traces", "%016" PRIx64, setup->data.fingerprint);
    set(setup, "arch", "%s", archs[o->arch]);
    set(setup, "scope", "%s", scopes[o->scope]);
    set(setup, "features", "%s", o->features);
    set(setup, "averages", "%s", o->averages);
    set(setup, "width", "%d", o->width);
    set(setup, "loss", "%s", losses[o->loss]);
    set(setup, "epochs", "%d", o->epochs);
    set(setup, "batch", "%d", o->batch);
    set(setup, "learning_rate", "%g", (double)o->learning_rate);
    set(setup, "warmup", "%g", (double)o->warmup);
    set(setup, "weight_decay", "%g", (double)o->weight_decay);
    set(setup, "clip", "%g", (double)o->clip);
    set(setup, "dropout", "%g", (double)o->dropout);
    set(setup, "average", "%g", (double)o->average);
    set(setup, "patience", "%d", o->patience);
    set(setup, "validation", "%g", (double)o->validation);
    set(setup, "seed", "%" PRIu64, o->seed);
    set(setup, "window_bytes", "%" PRIu64, o->window_bytes);
    if (setup->spec.shared)
        set(setup, "threads", "%d", setup->threads); /* products are split over them */
}

/* ---- opening ---- */

static int fill_spec(umbra_train_setup *setup, umbra_error *err)
{
    const umbra_trace_info *info = umbra_train_info(&setup->data);
    umbra_shadow_spec *spec = &setup->spec;
    snprintf(spec->model_hash, sizeof spec->model_hash, "%s", info->model_hash);
    snprintf(spec->model_name, sizeof spec->model_name, "%s", info->model_name);
    snprintf(spec->architecture, sizeof spec->architecture, "%s", info->architecture);
    spec->layers = info->layers;
    spec->hidden = info->hidden;
    spec->experts = info->experts;
    spec->used = info->used;
    setup->networks = spec->shared ? 1 : umbra_shadow_sources(spec);
    for (int source = 0; source < umbra_shadow_sources(spec); source++)
        if (umbra_train_has_source(&setup->data, spec, source))
            return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: no layer has both states and routing to predict",
                      setup->options.traces[0]);
}

int umbra_train_setup_open(umbra_train_setup *setup, const umbra_train_options *options,
                           umbra_error *err)
{
    *setup = (umbra_train_setup){.options = options ? *options : (umbra_train_options){0}};
    umbra_train_options *o = &setup->options;
    put_defaults(o);
    if (!o->output || o->output[0] == '\0')
        return umbra_fail(err, UMBRA_E_ARGUMENT, "there is no path for the shadow file");
    int rc = UMBRA_CHECK_RESERVED(o, err);
    if (rc == UMBRA_OK)
        rc = parse_spec(setup, err);
    if (rc == UMBRA_OK)
        rc = check_numbers(o, setup->spec.arch == UMBRA_SHADOW_SEED, err);
    if (rc != UMBRA_OK)
        return rc;
    setup->threads = umbra_system_threads(o->threads, MOST_THREADS);
    size_t room = strlen(o->output) + sizeof ".checkpoint";
    setup->checkpoint = umbra_calloc(room, 1);
    if (!setup->checkpoint)
        return umbra_fail_nomem(err, "a path", room);
    snprintf(setup->checkpoint, room, "%s.checkpoint", o->output);
    rc = umbra_train_data_open(&setup->data, o->traces, o->n_traces, o->validation, err);
    if (rc == UMBRA_OK)
        rc = fill_spec(setup, err);
    if (rc == UMBRA_OK)
        list_settings(setup);
    return rc;
}

void umbra_train_setup_release(umbra_train_setup *setup)
{
    umbra_train_data_release(&setup->data);
    umbra_free(setup->checkpoint);
    *setup = (umbra_train_setup){0};
}
