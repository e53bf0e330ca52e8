/* The keys of the rotary embedding: plain, linearly stretched or YaRN. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/quote.h"
#include "model/architecture.h"

static bool is(umbra_string s, const char *text)
{
    return s.bytes == strlen(text) && memcmp(s.data, text, s.bytes) == 0;
}

/* The pair that makes `turns` full turns over the context that the model was first trained for. */
static float pair_of(const umbra_rope *r, int context, float turns)
{
    double wave = (double)context / ((double)turns * 2 * 3.14159265358979323846);
    return (float)(r->dim * log(wave) / (2 * log((double)r->base)));
}

/* YaRN: pairs that turn at least beta_fast times keep their frequency, those that turn at most
 * beta_slow times are stretched. Stretching flattens attention, which a larger magnitude of
 * queries and keys makes good. */
static int read_yarn(umbra_keys *keys, const umbra_architecture *a, const umbra_config *c,
                     umbra_rope *r, umbra_error *err)
{
    float fast, slow, extrapolation;
    int context;
    const umbra_int_key key = {"rope.scaling.original_context_length", 1, 1 << 30, c->context,
                               &context};
    int rc = umbra_lookup_ints(keys, &key, 1, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(keys, "rope.scaling.yarn_beta_fast", 32, &fast, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(keys, "rope.scaling.yarn_beta_slow", 1, &slow, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(keys, "rope.scaling.yarn_ext_factor", 1, &extrapolation, err);
    if (rc != UMBRA_OK)
        return rc;
    if (extrapolation != 1)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: %s.rope.scaling.yarn_ext_factor is %g; only 1 is supported",
                          umbra_gguf_path(keys->gguf), a->name, (double)extrapolation);
    if (r->base <= 1)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: %s.rope.freq_base is %g, YaRN needs more than 1",
                          umbra_gguf_path(keys->gguf), a->name, (double)r->base);
    float low = pair_of(r, context, fast), high = pair_of(r, context, slow);
    if (!a->ramp_unrounded) {
        low = floorf(low);
        high = ceilf(high);
    }
    r->ramp_low = fmaxf(low, 0);
    r->ramp_high = fminf(high, (float)(r->dim - 1));
    r->magnitude *= 1 + 0.1f * logf(r->factor);
    return UMBRA_OK;
}

/* The factor by its name, or by the one that it had in early files; 0: none is given. */
static int read_factor(umbra_keys *keys, float *factor, umbra_error *err)
{
    float early = 0;
    int rc = umbra_lookup_float(keys, "rope.scaling.factor", 0, factor, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(keys, "rope.scale_linear", 0, &early, err);
    if (rc == UMBRA_OK && *factor != 0 && early != 0 && *factor != early)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: the context is stretched by %g after %s.rope.scaling.factor, but by "
                          "%g after %s.rope.scale_linear; remove the wrong key",
                          umbra_gguf_path(keys->gguf), (double)*factor, keys->architecture,
                          (double)early, keys->architecture);
    if (*factor == 0)
        *factor = early;
    return rc;
}

int umbra_read_rope_scaling(umbra_keys *keys, const umbra_architecture *a, const umbra_config *c,
                            umbra_rope *r, umbra_error *err)
{
    umbra_string type = {"linear", 6}; /* what a factor alone means */
    int rc = umbra_lookup_string(keys, "rope.scaling.type", &type, err);
    if (rc == UMBRA_OK)
        rc = read_factor(keys, &r->factor, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(keys, "rope.scaling.attn_factor", 1, &r->magnitude, err);
    if (rc != UMBRA_OK)
        return rc;
    r->ramp_low = r->ramp_high = -1;
    if (r->factor == 0 || is(type, "none"))
        r->factor = 1;
    if (is(type, "none") || is(type, "linear"))
        return UMBRA_OK;
    if (is(type, "yarn"))
        return read_yarn(keys, a, c, r, err);
    return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                      "%s: rotary scaling \"%s\" is not supported; supported: none, linear, yarn",
                      umbra_gguf_path(keys->gguf), umbra_quote(type.data, type.bytes).text);
}

/* Models that see pictures turn the pairs by several positions: in sections, of which the first
 * three follow a text's position and the fourth does not. */
static int check_sections(umbra_keys *keys, const umbra_rope *r, umbra_error *err)
{
    enum { TEXT_SECTIONS = 3 };
    int pairs[TEXT_SECTIONS] = {r->dim / 2};
    const umbra_int_key sections = {"rope.dimension_sections", 0, 4096, r->dim / 2, &pairs[0]};
    int rc =
        umbra_lookup_layers(keys, &sections, UMBRA_GGUF_I32, TEXT_SECTIONS, sizeof pairs[0], err);
    if (rc == UMBRA_OK && pairs[0] + pairs[1] + pairs[2] < r->dim / 2)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: only %d of %d rotated pairs follow the text's position "
                          "(%s.rope.dimension_sections)",
                          umbra_gguf_path(keys->gguf), pairs[0] + pairs[1] + pairs[2], r->dim / 2,
                          keys->architecture);
    return rc;
}

int umbra_read_rope(umbra_keys *keys, const umbra_architecture *a, umbra_config *c,
                    umbra_error *err)
{
    umbra_rope *r = &c->rope[0];
    r->pairs = a->rope;
    const umbra_int_key dim = {"rope.dimension_count", 2, c->usual.key_dim, c->usual.key_dim,
                               &r->dim};
    int rc = umbra_lookup_ints(keys, &dim, 1, err);
    if (rc == UMBRA_OK && r->dim % 2 != 0)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: %s rotates %d values of each head, which is odd",
                          umbra_gguf_path(keys->gguf), a->name, r->dim);
    if (rc == UMBRA_OK && r->pairs == UMBRA_ROPE_HALVES)
        rc = check_sections(keys, r, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(keys, "rope.freq_base", 1e4f, &r->base, err);
    return rc == UMBRA_OK ? umbra_read_rope_scaling(keys, a, c, r, err) : rc;
}
