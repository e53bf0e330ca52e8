/* Opens a model and describes it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/quote.h"
#include "kernels/kernels.h"
#include "model/account.h"
#include "model/architecture.h"

static void describe_router(umbra_model *model)
{
    static const char *const gatings[] = {"softmax", "sigmoid", "softmax of the chosen",
                                          "sigmoid of the chosen", "sqrt-softplus"};
    const umbra_router *r = &model->config.router;
    const umbra_layer_tensors *last = &model->layers[model->config.layers - 1];
    char groups[48] = "";
    if (r->groups > 1)
        snprintf(groups, sizeof groups, ", %d of %d groups", r->groups_used, r->groups);
    umbra_model_info *info = &model->info;
    snprintf(info->router, sizeof info->router, "%s%s%s%s", gatings[r->gating],
             r->renormalise ? ", renormalised" : "",
             last->role[UMBRA_SELECTION_BIAS] ? ", selection bias" : "", groups);
}

static void count_experts(umbra_model *model)
{
    const umbra_config *c = &model->config;
    umbra_model_info *info = &model->info;
    const umbra_slice *slice = model->slices;
    for (int l = 0; l < c->layers; l++) {
        info->moe_layers += umbra_layer_has_experts(model, l);
        for (int e = 0; e < c->experts; e++) {
            uint64_t bytes = 0;
            for (int s = 0; s < UMBRA_STORE_SLICES; s++)
                bytes += (slice++)->bytes;
            info->expert_bytes += bytes;
            if (bytes > info->bytes_per_expert)
                info->bytes_per_expert = bytes;
        }
    }
}

static void count_dense(umbra_model *model)
{
    const umbra_gguf_tensor *const *role = model->role;
    uint64_t bytes = 0;
    for (int i = 0; i < UMBRA_MODEL_ROLES; i++)
        if (role[i] && (i == 0 || role[i] != role[UMBRA_TOKEN_EMBEDDING]))
            bytes += role[i]->bytes;
    for (int l = 0; l < model->config.layers; l++)
        for (int i = 0; i < UMBRA_LAYER_ROLES; i++)
            if (model->layers[l].role[i])
                bytes += model->layers[l].role[i]->bytes;
    model->info.dense_bytes = bytes;
}

/* Layers may differ: what the first that attends is, the most that one keeps, the longest window.
 */
static void describe_attention(umbra_model *model)
{
    const umbra_config *c = &model->config;
    umbra_model_info *info = &model->info;
    info->heads = c->usual.heads;
    for (int l = c->layers - 1; l >= 0; l--) {
        const umbra_attention *a = &c->attention[l];
        if (!a->conv && a->recurrence.key_heads == 0 && a->heads > 0) {
            info->kv_heads = a->cache_heads;
            info->head_dim = a->key_dim;
            info->latent_width = a->kv_rank;
        }
        if (a->recurrence.key_heads > 0) {
            info->recurrent_layers++;
            info->state_bytes += (uint64_t)umbra_recurrent_values(a) * (uint64_t)a->key_dim * 4;
        }
        int kept = a->cache_heads * (a->cache_key + a->cache_value);
        info->cached_values = kept > info->cached_values ? kept : info->cached_values;
        info->window = a->window > info->window ? a->window : info->window;
        info->windowed_layers += a->window > 0;
    }
}

static void describe(umbra_model *model)
{
    const umbra_config *c = &model->config;
    umbra_model_info *info = &model->info;
    info->layers = c->layers;
    info->mtp_layers = c->mtp_layers;
    info->hidden = c->hidden;
    describe_attention(model);
    info->experts = c->experts;
    info->experts_used = c->experts_used;
    info->expert_width = c->expert_width;
    info->shared_width = c->shared_width;
    info->vocabulary = c->vocabulary;
    info->context = c->context;
    info->file_bytes = umbra_gguf_file_bytes(model->gguf);
    if (model->ngrams) {
        const umbra_gguf_tensor *t = model->ngrams;
        info->table_bytes = t->bytes;
        info->table_row_bytes = umbra_dtype_row_bytes(umbra_dtype_get(t->dtype), t->shape[0]);
    }
    describe_router(model);
    count_experts(model);
    count_dense(model);
}

static int load(umbra_model *model, const char *path, umbra_error *err)
{
    int rc = umbra_gguf_open_all(&model->gguf, path, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_string name = {"", 0}, architecture = {"", 0};
    rc = umbra_gguf_get_string(model->gguf, "general.architecture", &architecture, err);
    if (rc == 0)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: the key general.architecture is missing", path);
    if (rc > 0)
        rc = umbra_gguf_get_string(model->gguf, "general.name", &name, err);
    if (rc >= 0)
        rc = umbra_account_file(model->gguf, err);
    if (rc < 0)
        return rc;
    const umbra_architecture *known = umbra_architecture_find(architecture);
    char names[256];
    if (!known)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: architecture \"%s\" is not supported; supported: %s", path,
                          umbra_quote(architecture.data, architecture.bytes).text,
                          umbra_architecture_names(names, sizeof names));
    umbra_plain_text(model->info.architecture, sizeof model->info.architecture, architecture.data,
                     architecture.bytes);
    umbra_plain_text(model->info.name, sizeof model->info.name, name.data, name.bytes);
    rc = umbra_tokenizer_open(&model->tokenizer, model->gguf, err);
    if (rc == UMBRA_OK)
        rc = umbra_architecture_load(known, model, err);
    if (rc == UMBRA_OK)
        describe(model);
    return rc;
}

int umbra_model_open(umbra_model **out, const char *path, umbra_error *err)
{
    *out = NULL;
    umbra_model *model = umbra_calloc(1, sizeof *model);
    if (!model)
        return umbra_fail_nomem(err, "the model", sizeof *model);
    int rc = load(model, path, err);
    if (rc != UMBRA_OK) {
        umbra_model_close(&model);
        return rc;
    }
    *out = model;
    return UMBRA_OK;
}

void umbra_model_close(umbra_model **p)
{
    umbra_model *model = *p;
    if (!model)
        return;
    umbra_free(model->config.attention);
    umbra_free(model->config.clamp);
    umbra_free(model->slices);
    umbra_free(model->layers);
    umbra_tokenizer_close(&model->tokenizer);
    umbra_gguf_close(&model->gguf);
    umbra_free(model);
    *p = NULL;
}

const umbra_model_info *umbra_model_get_info(const umbra_model *model)
{
    return &model->info;
}

int umbra_model_get_types(const umbra_model *model, umbra_model_type *out, int max)
{
    umbra_model_type types[UMBRA_DTYPE_COUNT] = {0};
    const umbra_kernels *kernels = umbra_kernels_find("reference");
    for (uint64_t i = 0; i < umbra_gguf_tensor_count(model->gguf); i++) {
        const umbra_gguf_tensor *t = umbra_gguf_tensor_at(model->gguf, i);
        umbra_model_type *type = &types[t->dtype];
        type->name = umbra_dtype_get(t->dtype).name;
        type->tensors++;
        type->bytes += t->bytes;
        type->supported = kernels->matmul[t->dtype] || t->dtype == UMBRA_I32; /* ids */
    }
    int count = 0;
    for (;;) {
        umbra_model_type *most = NULL;
        for (int i = 0; i < UMBRA_DTYPE_COUNT; i++)
            if (types[i].tensors > 0 && (!most || types[i].bytes > most->bytes))
                most = &types[i];
        if (!most)
            return count;
        if (count < max)
            out[count] = *most;
        count++;
        most->tensors = 0;
    }
}

int umbra_tokenize(const umbra_model *model, const char *text, size_t bytes, bool bos, bool special,
                   int32_t **ids, size_t *count, umbra_error *err)
{
    return umbra_tokenizer_encode(model->tokenizer, text, bytes, bos, special, ids, count, err);
}

int umbra_tokenize_first(const umbra_model *model, const char *text, size_t bytes, bool bos,
                         bool special, size_t most, int32_t **ids, size_t *count, umbra_error *err)
{
    return umbra_tokenizer_encode_first(model->tokenizer, text, bytes, bos, special, most, ids,
                                        count, err);
}

void umbra_free_tokens(int32_t *ids)
{
    umbra_free(ids);
}

size_t umbra_detokenize(const umbra_model *model, int32_t id, bool special, char *out, size_t size)
{
    return umbra_tokenizer_decode(model->tokenizer, id, special, out, size);
}

bool umbra_is_end_token(const umbra_model *model, int32_t id)
{
    return umbra_tokenizer_is_end(model->tokenizer, id);
}

int umbra_model_get_end_tokens(const umbra_model *model, int32_t *out, int max)
{
    return umbra_tokenizer_ends(model->tokenizer, out, max);
}

const char *umbra_model_get_note(const umbra_model *model, int i)
{
    const umbra_notes *notes = umbra_tokenizer_notes(model->tokenizer);
    return i >= 0 && i < notes->n ? notes->text[i] : NULL;
}

int32_t umbra_bos_token(const umbra_model *model)
{
    return umbra_tokenizer_bos(model->tokenizer);
}
