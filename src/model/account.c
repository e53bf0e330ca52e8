/* What of a model file is used, what is known to be of no matter, and what is refused. */
#include "model/account.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/quote.h"
#include "model/architecture.h"

static bool is(umbra_string s, const char *text)
{
    return s.bytes == strlen(text) && memcmp(s.data, text, s.bytes) == 0;
}

/* ---- keys ---- */

/* A key that no layout asked for, and what it may say without making a difference. */
typedef struct idle_key {
    const char *name; /* behind the architecture's */
    enum { ANYTHING, NUMBER, TEXT } kind;
    double values[2];     /* NUMBER: either of them; also integers and booleans */
    const char *texts[2]; /* TEXT: either of them */
} idle_key;

#define NUMBERS(NAME, A, B)                                                                        \
    {                                                                                              \
        (NAME), NUMBER, {(A), (B)},                                                                \
        {                                                                                          \
            NULL, NULL                                                                             \
        }                                                                                          \
    }
#define OF_NO_MATTER(NAME)                                                                         \
    {                                                                                              \
        (NAME), ANYTHING, {0, 0},                                                                  \
        {                                                                                          \
            NULL, NULL                                                                             \
        }                                                                                          \
    }

static const idle_key idle_keys[] = {
    OF_NO_MATTER("vocab_size"),                   /* the tokenizer and the embedding say it */
    OF_NO_MATTER("pooling_type"),                 /* for embeddings of texts */
    OF_NO_MATTER("attention.layer_norm_epsilon"), /* asked for where norms have a mean */
    OF_NO_MATTER("rope.scaling.finetuned"),
    OF_NO_MATTER("ple.image_token_id"), /* no text has pictures */
    /* YaRN's alone, and asked for where a file has it. */
    OF_NO_MATTER("rope.scaling.original_context_length"),
    OF_NO_MATTER("rope.scaling.yarn_beta_fast"),
    OF_NO_MATTER("rope.scaling.yarn_beta_slow"),
    /* Of windows, and asked for where a layout has them. */
    OF_NO_MATTER("attention.sliding_window_pattern"),
    OF_NO_MATTER("rope.freq_base_swa"),
    /* Values that switch something off, or say what is done anyway. */
    NUMBERS("rope.scaling.yarn_ext_factor", 0, -1),
    NUMBERS("rope.scaling.yarn_attn_factor", 1, -1),
    NUMBERS("rope.scaling.yarn_log_multiplier", 0, 0),
    NUMBERS("attention.causal", 1, 1),
    NUMBERS("attention.scale", 0, 0),
    NUMBERS("attention.output_scale", 0, 1),
    NUMBERS("attention.temperature_scale", 0, 0),
    NUMBERS("attention.temperature_length", 0, 0),
    NUMBERS("attention.clamp_kqv", 0, 0),
    NUMBERS("attention.max_alibi_bias", 0, 0),
    NUMBERS("attention.q_lora_rank", 0, 0),
    NUMBERS("attention.kv_lora_rank", 0, 0),
    NUMBERS("attention.shared_kv_layers", 0, 0),
    NUMBERS("attn_logit_softcapping", 0, 0),
    NUMBERS("final_logit_softcapping", 0, 0),
    NUMBERS("router_logit_softcapping", 0, 0),
    NUMBERS("logit_scale", 0, 1),
    NUMBERS("residual_scale", 0, 1),
    NUMBERS("embedding_scale", 0, 1),
    NUMBERS("use_parallel_residual", 0, 0),
    NUMBERS("leading_dense_block_count", 0, 0),
    NUMBERS("interleave_moe_layer_step", 0, 1),
    NUMBERS("moe_every_n_layers", 0, 1),
    NUMBERS("full_attention_interval", 0, 1),
    NUMBERS("expert_shared_count", 0, 0),
    NUMBERS("expert_shared_feed_forward_length", 0, 0),
    NUMBERS("expert_chunk_feed_forward_length", 0, 0),
    NUMBERS("expert_group_scale", 0, 1),
    {"hidden_act", TEXT, {0, 0}, {"silu", "silu"}},
    {"hidden_activation", TEXT, {0, 0}, {"silu", "silu"}},
    {"tensor_data_layout", TEXT, {0, 0}, {"Meta AI original pth", "reference"}},
};

static const idle_key *find_idle(const char *name)
{
    for (size_t i = 0; i < sizeof idle_keys / sizeof idle_keys[0]; i++)
        if (strcmp(idle_keys[i].name, name) == 0)
            return &idle_keys[i];
    return NULL;
}

/* A number of any type. As the getters of gguf.h. */
static int get_number(const umbra_gguf *gguf, const char *key, umbra_gguf_type type, double *out,
                      umbra_error *err)
{
    bool truth;
    float real;
    uint32_t whole;
    int rc;
    if (type == UMBRA_GGUF_BOOL) {
        rc = umbra_gguf_get_bool(gguf, key, &truth, err);
        *out = rc > 0 && truth;
    } else if (type == UMBRA_GGUF_F32 || type == UMBRA_GGUF_F64) {
        rc = umbra_gguf_get_f32(gguf, key, &real, err);
        *out = rc > 0 ? (double)real : 0;
    } else {
        rc = umbra_gguf_get_u32(gguf, key, &whole, err);
        *out = rc > 0 ? whole : 0;
    }
    return rc;
}

static int check_number(const umbra_gguf *gguf, const char *key, umbra_gguf_type type,
                        const double *allowed, umbra_error *err)
{
    double value;
    int rc = get_number(gguf, key, type, &value, err);
    if (rc < 0)
        return rc;
    if (value == allowed[0] || value == allowed[1])
        return UMBRA_OK;
    char other[32] = "";
    if (allowed[1] != allowed[0])
        snprintf(other, sizeof other, " or %g", allowed[1]);
    return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                      "%s: %s is %g; only %g%s is supported, and to ignore it would make the text "
                      "wrong",
                      umbra_gguf_path(gguf), key, value, allowed[0], other);
}

static int check_text(const umbra_gguf *gguf, const char *key, const char *const *allowed,
                      umbra_error *err)
{
    umbra_string value;
    int rc = umbra_gguf_get_string(gguf, key, &value, err);
    if (rc < 0)
        return rc;
    if (is(value, allowed[0]) || is(value, allowed[1]))
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                      "%s: %s is \"%s\"; only \"%s\" is supported, and to ignore it would "
                      "make the text wrong",
                      umbra_gguf_path(gguf), key, umbra_quote(value.data, value.bytes).text,
                      allowed[0]);
}

/* A layout without windows sees all positions, which is the same where a window is as long as the
 * longest context. */
static int check_window(const umbra_gguf *gguf, const char *key, const umbra_config *c,
                        umbra_error *err)
{
    uint32_t window;
    int rc = umbra_gguf_get_u32(gguf, key, &window, err);
    if (rc < 0 || window == 0 || window >= (uint32_t)c->context)
        return rc < 0 ? rc : UMBRA_OK;
    return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                      "%s: %s is %u, less than the context of %d; windows are not supported for "
                      "this architecture, and to ignore it would make the text wrong",
                      umbra_gguf_path(gguf), key, window, c->context);
}

static bool was_asked(const umbra_keys *keys, const char *name)
{
    for (int i = 0; i < keys->asked_count; i++)
        if (strcmp(keys->asked[i], name) == 0)
            return true;
    return false;
}

static int account_key(const umbra_keys *keys, const umbra_config *c, umbra_string whole,
                       umbra_gguf_type type, umbra_error *err)
{
    char key[128];
    const char *name = key + strlen(keys->architecture) + 1;
    const umbra_gguf *gguf = keys->gguf;
    bool fits = whole.bytes < sizeof key;
    if (fits) {
        memcpy(key, whole.data, whole.bytes);
        key[whole.bytes] = '\0';
    }
    if (fits && was_asked(keys, name))
        return UMBRA_OK;
    if (fits && strcmp(name, "attention.sliding_window") == 0)
        return check_window(gguf, key, c, err);
    const idle_key *idle = fits ? find_idle(name) : NULL;
    if (!idle)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: the key %s is not known, and without what it asks for the text "
                          "could be wrong; only files whose keys are all known are run",
                          umbra_gguf_path(gguf), umbra_quote(whole.data, whole.bytes).text);
    if (idle->kind == NUMBER)
        return check_number(gguf, key, type, idle->values, err);
    return idle->kind == TEXT ? check_text(gguf, key, idle->texts, err) : UMBRA_OK;
}

int umbra_account_keys(const umbra_keys *keys, const umbra_config *c, umbra_error *err)
{
    int rc = UMBRA_OK;
    for (uint64_t i = 0; rc == UMBRA_OK && i < umbra_gguf_pair_count(keys->gguf); i++) {
        umbra_string whole = umbra_gguf_pair_key(keys->gguf, i), name = whole;
        if (umbra_take_text(&name, keys->architecture) && umbra_take_text(&name, "."))
            rc = account_key(keys, c, whole, umbra_gguf_pair_type(keys->gguf, i), err);
    }
    return rc;
}

/* ---- the file ---- */

enum { QUANTIZATION_VERSION = 2 /* of the block formats in base/dtype.h */ };

int umbra_account_file(const umbra_gguf *gguf, umbra_error *err)
{
    umbra_string type = {"model", 5};
    int rc = umbra_gguf_get_string(gguf, "general.type", &type, err);
    if (rc >= 0 && (is(type, "adapter") || is(type, "mmproj") || is(type, "imatrix")))
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: general.type is \"%s\": not a model but something beside one; name "
                          "the model's own file",
                          umbra_gguf_path(gguf), umbra_quote(type.data, type.bytes).text);
    for (uint64_t i = 0; rc >= 0 && i < umbra_gguf_pair_count(gguf); i++) {
        umbra_string whole = umbra_gguf_pair_key(gguf, i), name = whole;
        if (umbra_take_text(&name, "adapter."))
            return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                              "%s: the key %s belongs to an adapter; adapters are not supported, "
                              "merge it into its model",
                              umbra_gguf_path(gguf), umbra_quote(whole.data, whole.bytes).text);
    }
    uint32_t version = 0;
    if (rc >= 0)
        rc = umbra_gguf_get_u32(gguf, "general.quantization_version", &version, err);
    if (rc > 0 && version != 0 && version != QUANTIZATION_VERSION)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: general.quantization_version is %u; weights are read as version %d "
                          "has them",
                          umbra_gguf_path(gguf), version, QUANTIZATION_VERSION);
    return rc < 0 ? rc : UMBRA_OK;
}

/* ---- tensors ---- */

static bool has_role(const umbra_gguf_tensor *const *role, int roles, const umbra_gguf_tensor *t)
{
    for (int i = 0; i < roles; i++)
        if (role[i] == t)
            return true;
    return false;
}

static bool ends_with(umbra_string s, const char *ending)
{
    size_t n = strlen(ending);
    return s.bytes >= n && memcmp(s.data + s.bytes - n, ending, n) == 0;
}

/* The rotary frequencies, stored though rope.freq_base says them: they must be the same. */
static int check_frequencies(const umbra_model *model, const umbra_gguf_tensor *t, bool *same,
                             umbra_error *err)
{
    const umbra_rope *r = &model->config.rope[0];
    *same = t->dtype == UMBRA_F32 && t->bytes == (uint64_t)r->dim / 2 * sizeof(float);
    int rc = UMBRA_OK;
    for (int i = 0; rc == UMBRA_OK && *same && i < r->dim / 2; i++) {
        float is;
        double wanted = pow((double)r->base, -2.0 * i / r->dim);
        rc = umbra_gguf_read_tensor(model->gguf, t, (uint64_t)i * sizeof is, &is, sizeof is, err);
        *same = rc == UMBRA_OK && fabs((double)is - wanted) <= 1e-3 * wanted;
    }
    return rc;
}

static bool begins_with(umbra_string s, const char *beginning)
{
    return umbra_take_text(&s, beginning);
}

/* Whether an unused tensor of a layer makes no difference. */
static int check_idle(const umbra_architecture *a, const umbra_model *model, int layer,
                      umbra_string name, const umbra_gguf_tensor *t, bool *idle, umbra_error *err)
{
    const umbra_gguf_tensor *const *role = model->layers[layer].role;
    /* How activations were rounded when the weights were made; here they keep their values. */
    *idle = ends_with(name, ".input_scale");
    if (a->idle_tensors && begins_with(name, a->idle_tensors))
        *idle = true;
    /* The same numbers in another form. */
    if (role[UMBRA_ATTN_KV_B] && (is(name, "attn_k_b.weight") || is(name, "attn_v_b.weight")))
        *idle = true;
    if (is(name, "attn_rot_embd.weight") || is(name, "attn_rot_embd"))
        return check_frequencies(model, t, idle, err);
    return UMBRA_OK;
}

static int account_tensor(const umbra_architecture *a, const umbra_model *model,
                          const umbra_gguf_tensor *t, umbra_error *err)
{
    const umbra_config *c = &model->config;
    umbra_string name = t->name;
    int layer;
    bool known = t == model->ngrams || has_role(model->role, UMBRA_MODEL_ROLES, t);
    if (!known && umbra_take_text(&name, "blk.") && umbra_take_number(&name, &layer) &&
        umbra_take_text(&name, ".")) {
        int rc = UMBRA_OK;
        known = layer >= c->layers ? layer < c->layers + c->mtp_layers
                                   : has_role(model->layers[layer].role, UMBRA_LAYER_ROLES, t) ||
                                         umbra_is_expert_tensor(model, layer, name, t);
        if (!known && layer < c->layers)
            rc = check_idle(a, model, layer, name, t, &known, err);
        if (rc != UMBRA_OK)
            return rc;
    }
    if (known || is(t->name, "output.input_scale"))
        return UMBRA_OK;
    return umbra_fail_at(err, UMBRA_E_UNSUPPORTED, t->offset,
                         "%s: tensor %s has no part in architecture %s of %d layers, and without "
                         "it the text could be wrong; only files whose tensors are all known are "
                         "run",
                         umbra_gguf_file_path(model->gguf, t->file),
                         umbra_quote(t->name.data, t->name.bytes).text, model->info.architecture,
                         c->layers);
}

int umbra_account_tensors(const umbra_architecture *a, const umbra_model *model, umbra_error *err)
{
    int rc = UMBRA_OK;
    for (uint64_t i = 0; rc == UMBRA_OK && i < umbra_gguf_tensor_count(model->gguf); i++)
        rc = account_tensor(a, model, umbra_gguf_tensor_at(model->gguf, i), err);
    return rc;
}
