/* Shapes, start values and life of a shadow model. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/quote.h"
#include "predict/internal.h"

enum { PART_ALIGNMENT = 64 };

int umbra_shadow_inputs(const umbra_shadow_spec *spec)
{
    return spec->hidden * (1 + spec->averages);
}

int umbra_shadow_features(const umbra_shadow_spec *spec)
{
    int blocks = 0;
    if (spec->features & UMBRA_FEATURE_NOW)
        blocks++;
    if (spec->features & UMBRA_FEATURE_PREVIOUS)
        blocks += UMBRA_MAX_DISTANCE;
    if (spec->features & UMBRA_FEATURE_PREVIOUS2)
        blocks += UMBRA_MAX_DISTANCE;
    return blocks * spec->experts + (spec->shared ? umbra_shadow_sources(spec) : 0);
}

static bool is_text(const char *text, size_t room)
{
    return memchr(text, '\0', room) != NULL;
}

const char *umbra_shadow_spec_fault(const umbra_shadow_spec *s)
{
    if (!is_text(s->model_hash, sizeof s->model_hash) || s->model_hash[0] == '\0')
        return "model_hash is not 1 to 32 characters";
    if (!is_text(s->model_name, sizeof s->model_name))
        return "model_name is longer than 127 bytes";
    if (!is_text(s->architecture, sizeof s->architecture))
        return "architecture is longer than 31 bytes";
    if (s->layers < 1 || s->layers > UMBRA_SHADOW_LAYERS_MAX)
        return "layers is not in 1..1024";
    if (s->hidden < 1 || s->hidden > UMBRA_SHADOW_HIDDEN_MAX)
        return "hidden is not in 1..65536";
    if (s->experts < 1 || s->experts > UMBRA_SHADOW_EXPERTS_MAX)
        return "experts is not in 1..65534";
    if (s->used < 1 || s->used > s->experts)
        return "experts_used is not in 1..experts";
    if (s->arch != UMBRA_SHADOW_RESIDUAL && s->arch != UMBRA_SHADOW_SEED)
        return "arch is neither residual nor seed";
    if (s->width < 1 || s->width > UMBRA_SHADOW_WIDTH_MAX)
        return "width is not in 1..65536";
    if (s->features > (UMBRA_FEATURE_NOW | UMBRA_FEATURE_PREVIOUS | UMBRA_FEATURE_PREVIOUS2))
        return "features has unknown members";
    if (s->averages < 0 || s->averages > UMBRA_MAX_AVERAGES)
        return "averages has more than 4 members";
    for (int i = 0; i < s->averages; i++)
        if (!(s->decay[i] > 0.0f && s->decay[i] < 1.0f))
            return "a decay of averages is not between 0 and 1";
    if (s->loss != UMBRA_LOSS_BCE && s->loss != UMBRA_LOSS_KL)
        return "loss is neither bce nor kl";
    if (!umbra_shadow_weights_name(s->weights))
        return "weights is not f32, bf16 or i8";
    return NULL;
}

umbra_part_shape umbra_shadow_part_shape(const umbra_shadow_spec *spec, int part)
{
    uint64_t n = (uint64_t)spec->width, x = (uint64_t)umbra_shadow_inputs(spec);
    uint64_t f = (uint64_t)umbra_shadow_features(spec);
    uint64_t outputs = (uint64_t)UMBRA_MAX_DISTANCE * (uint64_t)spec->experts;
    bool residual = spec->arch == UMBRA_SHADOW_RESIDUAL;
    const umbra_part_shape absent = {0};
    switch (part) {
    case UMBRA_PART_W1:
        return (umbra_part_shape){n, x, true};
    case UMBRA_PART_W1_FEATURES:
        return f > 0 ? (umbra_part_shape){f, n, true} : absent;
    case UMBRA_PART_B1:
    case UMBRA_PART_GAIN:
    case UMBRA_PART_SHIFT:
        return (umbra_part_shape){n, 1, false};
    case UMBRA_PART_W2:
        return (umbra_part_shape){outputs, n, true};
    case UMBRA_PART_BIAS:
        return (umbra_part_shape){outputs, 1, false};
    case UMBRA_PART_W:
        return residual ? (umbra_part_shape){outputs, x, true} : absent;
    case UMBRA_PART_W_FEATURES:
        return residual && f > 0 ? (umbra_part_shape){f, outputs, true} : absent;
    case UMBRA_PART_A:
        return residual ? (umbra_part_shape){UMBRA_MAX_DISTANCE, 1, false} : absent;
    default:
        return absent;
    }
}

const char *umbra_shadow_part_name(int part)
{
    static const char *const names[UMBRA_SHADOW_PARTS] = {
        "W1", "W1.features", "b1", "gain", "shift", "W2", "bias", "W", "W.features", "a",
    };
    return part >= 0 && part < UMBRA_SHADOW_PARTS ? names[part] : NULL;
}

static float **part_pointer(umbra_shadow_network *network, int part)
{
    float **const parts[UMBRA_SHADOW_PARTS] = {
        &network->w1, &network->w1_features, &network->b1, &network->gain,       &network->shift,
        &network->w2, &network->bias,        &network->w,  &network->w_features, &network->a,
    };
    return parts[part];
}

void umbra_shadow_parts(const umbra_shadow_spec *spec, const umbra_shadow_network *network,
                        float *parts[UMBRA_SHADOW_PARTS], size_t lengths[UMBRA_SHADOW_PARTS])
{
    umbra_shadow_network copy = *network;
    for (int i = 0; i < UMBRA_SHADOW_PARTS; i++) {
        umbra_part_shape shape = umbra_shadow_part_shape(spec, i);
        parts[i] = *part_pointer(&copy, i);
        lengths[i] = (size_t)(shape.rows * shape.columns);
    }
}

/* One block for all parts of a network; it begins with W1, which every network has. */
int umbra_shadow_network_create(umbra_shadow_network *network, const umbra_shadow_spec *spec,
                                umbra_error *err)
{
    *network = (umbra_shadow_network){0};
    const uint64_t per_line = PART_ALIGNMENT / sizeof(float);
    uint64_t total = 0, begin[UMBRA_SHADOW_PARTS];
    for (int i = 0; i < UMBRA_SHADOW_PARTS; i++) {
        umbra_part_shape shape = umbra_shadow_part_shape(spec, i);
        begin[i] = total;
        total += umbra_align_up(shape.rows * shape.columns, per_line);
    }
    float *block = umbra_aligned_alloc(PART_ALIGNMENT, total * sizeof *block);
    if (!block)
        return umbra_fail_nomem(err, "a shadow model", total * sizeof *block);
    memset(block, 0, total * sizeof *block);
    for (int i = 0; i < UMBRA_SHADOW_PARTS; i++)
        if (umbra_shadow_part_shape(spec, i).rows > 0)
            *part_pointer(network, i) = block + begin[i];
    for (int i = 0; i < spec->width; i++)
        network->gain[i] = 1.0f;
    for (int d = 0; network->a && d < UMBRA_MAX_DISTANCE; d++)
        network->a[d] = 1.0f;
    return UMBRA_OK;
}

void umbra_shadow_network_free(umbra_shadow_network *network)
{
    umbra_free(network->w1);
    *network = (umbra_shadow_network){0};
}

static int fill(umbra_shadow *shadow, umbra_error *err)
{
    size_t pairs = (size_t)(shadow->spec.layers + 1) * UMBRA_MAX_DISTANCE;
    int count = umbra_shadow_networks(&shadow->spec);
    shadow->calibration = umbra_calloc(pairs * 2, sizeof *shadow->calibration);
    shadow->networks = umbra_calloc((size_t)count, sizeof *shadow->networks);
    if (!shadow->calibration || !shadow->networks)
        return umbra_fail_nomem(err, "a shadow model", pairs * 2 * sizeof *shadow->calibration);
    for (size_t i = 0; i < pairs; i++)
        shadow->calibration[2 * i] = 1.0f;
    for (; shadow->count < count; shadow->count++) {
        int rc = umbra_shadow_network_create(&shadow->networks[shadow->count], &shadow->spec, err);
        if (rc != UMBRA_OK)
            return rc;
    }
    return UMBRA_OK;
}

int umbra_shadow_create(umbra_shadow **out, const umbra_shadow_spec *spec, umbra_error *err)
{
    *out = NULL;
    const char *fault = umbra_shadow_spec_fault(spec);
    if (fault)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "no such shadow model can be made: %s", fault);
    umbra_shadow *shadow = umbra_calloc(1, sizeof *shadow);
    if (!shadow)
        return umbra_fail_nomem(err, "a shadow model", sizeof *shadow);
    shadow->spec = *spec;
    int rc = fill(shadow, err);
    if (rc != UMBRA_OK)
        umbra_shadow_free(&shadow);
    *out = shadow;
    return rc;
}

void umbra_shadow_free(umbra_shadow **shadow)
{
    if (!shadow || !*shadow)
        return;
    umbra_shadow *s = *shadow;
    for (int i = 0; i < s->count; i++)
        umbra_shadow_network_free(&s->networks[i]);
    umbra_free(s->networks);
    umbra_free(s->calibration);
    umbra_free(s->training);
    umbra_free(s->recall);
    umbra_free(s);
    *shadow = NULL;
}

int umbra_shadow_check(const umbra_shadow_spec *s, const char *path, const char *model_hash,
                       const char *model_name, int layers, int hidden, int experts, int used,
                       umbra_error *err)
{
    if (strcmp(s->model_hash, model_hash) == 0 && s->layers == layers && s->hidden == hidden &&
        s->experts == experts && s->used == used)
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_MISMATCH,
                      "%s: made for model %s (hash %s, %d layers, hidden %d, %d experts, %d used), "
                      "but this is %s (hash %s, %d layers, hidden %d, %d experts, %d used); use "
                      "a shadow model trained on this one",
                      path, umbra_quote(s->model_name, strlen(s->model_name)).text,
                      umbra_quote(s->model_hash, strlen(s->model_hash)).text, s->layers, s->hidden,
                      s->experts, s->used, umbra_quote(model_name, strlen(model_name)).text,
                      model_hash, layers, hidden, experts, used);
}
