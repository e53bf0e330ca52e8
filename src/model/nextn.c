/* Makes a model of one layer of the block that foretells a further token. */
#include "model/nextn.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/architecture.h"

/* The last layer that attends and keeps its positions whole: the block does as it does. */
static int model_layer(const umbra_config *c)
{
    int l = c->layers - 1;
    while (l >= 0 && (c->attention[l].conv > 0 || c->attention[l].recurrence.key_heads > 0 ||
                      c->attention[l].window > 0))
        l--;
    return l;
}

bool umbra_nextn_has(const umbra_model *model)
{
    const umbra_config *c = &model->config;
    return c->mtp_layers > 0 && model_layer(c) >= 0 && !model->role[UMBRA_OUTPUT_MIX] &&
           umbra_has_tensor(model->gguf, c->layers, "nextn.eh_proj.weight") &&
           umbra_has_tensor(model->gguf, c->layers, "ffn_gate_inp.weight");
}

/* In place of the model's own where the block has one. */
static int take_own(umbra_model *m, int block, int role, const umbra_tensor_rule *rule,
                    umbra_error *err)
{
    const umbra_gguf_tensor *found;
    int rc = umbra_lookup_tensor(m->gguf, block, rule, &found, err);
    if (rc == UMBRA_OK && found)
        m->role[role] = found;
    return rc;
}

static int find_ends(umbra_model *m, int block, umbra_error *err)
{
    uint64_t hidden = (uint64_t)m->config.hidden, vocabulary = (uint64_t)m->config.vocabulary;
    const struct {
        int role;
        umbra_tensor_rule rule;
    } own[] = {
        {UMBRA_TOKEN_EMBEDDING, {"nextn.embed_tokens.weight", {hidden, vocabulary}, false, true}},
        {UMBRA_OUTPUT, {"nextn.shared_head_head.weight", {hidden, vocabulary}, false, true}},
        {UMBRA_OUTPUT_NORM, {"layer_output_norm.weight", {hidden}, true, true}},
        {UMBRA_OUTPUT_NORM, {"nextn.shared_head_norm.weight", {hidden}, true, true}},
    };
    int rc = UMBRA_OK;
    for (size_t i = 0; rc == UMBRA_OK && i < sizeof own / sizeof own[0]; i++)
        rc = take_own(m, block, own[i].role, &own[i].rule, err);
    return rc;
}

static int find_inputs(umbra_model *m, int block, umbra_error *err)
{
    uint64_t hidden = (uint64_t)m->config.hidden;
    const umbra_tensor_rule rules[] = {
        {"nextn.eh_proj.weight", {2 * hidden, hidden}, false, false},
        {"nextn.enorm.weight", {hidden}, true, false},
        {"nextn.hnorm.weight", {hidden}, true, false},
    };
    int rc = UMBRA_OK;
    for (int i = 0; rc == UMBRA_OK && i < 3; i++)
        rc = umbra_lookup_tensor(m->gguf, block, &rules[i],
                                 &m->layers[block].role[UMBRA_NEXTN_PROJECTION + i], err);
    return rc;
}

/* Tables as long as if the block were a layer of the model: what finds tensors asks by its number.
 */
static int open_tables(umbra_model *m, const umbra_model *model, umbra_error *err)
{
    size_t layers = (size_t)model->config.layers + 1, experts = (size_t)model->config.experts;
    m->config.attention = umbra_calloc(layers, sizeof *m->config.attention);
    m->layers = umbra_calloc(layers, sizeof *m->layers);
    m->slices = umbra_calloc(layers * experts, sizeof *m->slices * UMBRA_STORE_SLICES);
    if (!m->config.attention || !m->layers || !m->slices)
        return umbra_fail_nomem(err, "the tables of a block", 0);
    for (size_t l = 0; l + 1 < layers; l++)
        m->config.attention[l] = model->config.attention[l];
    m->config.attention[layers - 1] = model->config.attention[model_layer(&model->config)];
    /* A draft may look at everything. */
    m->config.attention[layers - 1].index = (umbra_index){0};
    return UMBRA_OK;
}

/* The block becomes the only layer. */
static void keep_block(umbra_model *m, int block)
{
    size_t slices = (size_t)m->config.experts * UMBRA_STORE_SLICES;
    m->config.attention[0] = m->config.attention[block];
    m->layers[0] = m->layers[block];
    memmove(m->slices, m->slices + (size_t)block * slices, slices * sizeof *m->slices);
    m->config.layers = m->config.kept = m->info.layers = m->info.moe_layers = 1;
    m->config.mtp_layers = m->config.dense_layers = 0;
    m->config.moe_period = 1;
}

int umbra_nextn_open(umbra_model **out, const umbra_model *model, umbra_error *err)
{
    *out = NULL;
    umbra_string name = {model->info.architecture, strlen(model->info.architecture)};
    const umbra_architecture *a = umbra_architecture_find(name);
    int block = model->config.layers;
    if (!a || !umbra_nextn_has(model))
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: there is no block that foretells a further token (nextn.*) in this "
                          "file, or of a kind that is not known",
                          umbra_gguf_path(model->gguf));
    umbra_model *m = umbra_calloc(1, sizeof *m);
    if (!m)
        return umbra_fail_nomem(err, "a block", sizeof *m);
    *m = *model;
    m->config.attention = NULL;
    m->layers = NULL;
    m->slices = NULL;
    m->lender = model;
    int rc = open_tables(m, model, err);
    if (rc == UMBRA_OK)
        rc = umbra_find_layer_tensors(a, m, block, err);
    if (rc == UMBRA_OK)
        rc = find_inputs(m, block, err);
    if (rc == UMBRA_OK)
        rc = find_ends(m, block, err);
    if (rc != UMBRA_OK) {
        umbra_nextn_close(&m);
        return rc;
    }
    keep_block(m, block);
    *out = m;
    return UMBRA_OK;
}

void umbra_nextn_close(umbra_model **nextn)
{
    umbra_model *m = *nextn;
    if (!m)
        return;
    umbra_free(m->config.attention);
    umbra_free(m->layers);
    umbra_free(m->slices);
    umbra_free(m);
    *nextn = NULL;
}
