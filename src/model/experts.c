/* Where each expert's slices lie: stacked in one tensor per slice, with gate and up of an expert
 * behind each other in one, or in tensors of its own as early Mixtral files have them. */
#include <stdio.h>

#include "base/error.h"
#include "model/architecture.h"

static umbra_slice *slice_of(const umbra_model *model, int layer, int expert, int which)
{
    size_t row = (size_t)layer * (size_t)model->config.experts + (size_t)expert;
    return &model->slices[row * UMBRA_STORE_SLICES + (size_t)which];
}

/* Part `part` of `parts` equal ones of every expert of a stacked tensor. */
static int find_stacked(umbra_model *model, int layer, int which, const umbra_tensor_rule *rule,
                        int part, int parts, umbra_error *err)
{
    const umbra_gguf_tensor *t;
    int rc = umbra_lookup_tensor(model->gguf, layer, rule, &t, err);
    if (rc != UMBRA_OK)
        return rc;
    int experts = model->config.experts;
    model->layers[layer].experts[which] = (umbra_expert_matrix){
        .tensor = t, .rows = (int)t->shape[1] / parts, .columns = (int)t->shape[0]};
    uint64_t bytes = t->bytes / (uint64_t)(experts * parts);
    for (int e = 0; e < experts; e++)
        *slice_of(model, layer, e, which) = (umbra_slice){
            t->offset + (uint64_t)(e * parts + part) * bytes, bytes, (int32_t)t->file};
    return UMBRA_OK;
}

/* One tensor per expert: "ffn_gate.E.weight". */
static int find_single(umbra_model *model, int layer, int which, const char *name, uint64_t columns,
                       uint64_t rows, umbra_error *err)
{
    umbra_expert_matrix *matrix = &model->layers[layer].experts[which];
    for (int e = 0; e < model->config.experts; e++) {
        char whole[48];
        snprintf(whole, sizeof whole, "%s.%d.weight", name, e);
        const umbra_tensor_rule rule = {whole, {columns, rows}, false, false};
        const umbra_gguf_tensor *t;
        int rc = umbra_lookup_tensor(model->gguf, layer, &rule, &t, err);
        if (rc != UMBRA_OK)
            return rc;
        if (e == 0)
            *matrix = (umbra_expert_matrix){t, (int)rows, (int)columns};
        if (t->dtype != matrix->tensor->dtype)
            return umbra_fail_at(err, UMBRA_E_UNSUPPORTED, t->offset,
                                 "%s: blk.%d.%s has type %s, but expert 0 has %s; the experts of "
                                 "a layer must have one type",
                                 umbra_gguf_path(model->gguf), layer, whole,
                                 umbra_dtype_get(t->dtype).name,
                                 umbra_dtype_get(matrix->tensor->dtype).name);
        *slice_of(model, layer, e, which) = (umbra_slice){t->offset, t->bytes, (int32_t)t->file};
    }
    return UMBRA_OK;
}

bool umbra_is_expert_tensor(const umbra_model *model, int layer, umbra_string name,
                            const umbra_gguf_tensor *t)
{
    static const char *const names[] = {"ffn_gate.", "ffn_up.", "ffn_down."};
    for (int s = 0; s < UMBRA_STORE_SLICES; s++) {
        umbra_string rest = name;
        int expert;
        if (model->layers[layer].experts[s].tensor == t)
            return true;
        if (!umbra_take_text(&rest, names[s]) || !umbra_take_number(&rest, &expert) ||
            expert >= model->config.experts)
            continue;
        const umbra_slice *slice = slice_of(model, layer, expert, s);
        return slice->offset == t->offset && slice->file == (int32_t)t->file;
    }
    return false;
}

int umbra_find_experts(umbra_model *model, int layer, umbra_error *err)
{
    const umbra_config *c = &model->config;
    uint64_t hidden = (uint64_t)c->expert_hidden, width = (uint64_t)c->expert_width;
    uint64_t experts = (uint64_t)c->experts;
    int rc;
    if (umbra_has_tensor(model->gguf, layer, "ffn_gate.0.weight")) {
        rc = find_single(model, layer, UMBRA_GATE, "ffn_gate", hidden, width, err);
        if (rc == UMBRA_OK)
            rc = find_single(model, layer, UMBRA_UP, "ffn_up", hidden, width, err);
        if (rc == UMBRA_OK)
            rc = find_single(model, layer, UMBRA_DOWN, "ffn_down", width, hidden, err);
        return rc;
    }
    const umbra_tensor_rule both = {"ffn_gate_up_exps.weight", {hidden, 2 * width, experts}, 0, 0};
    const umbra_tensor_rule gate = {"ffn_gate_exps.weight", {hidden, width, experts}, 0, 0};
    const umbra_tensor_rule up = {"ffn_up_exps.weight", {hidden, width, experts}, 0, 0};
    const umbra_tensor_rule down = {"ffn_down_exps.weight", {width, hidden, experts}, 0, 0};
    bool fused = umbra_has_tensor(model->gguf, layer, both.name);
    int parts = fused ? 2 : 1;
    if (c->activation == UMBRA_RELU_SQUARED)
        rc = UMBRA_OK;
    else
        rc = find_stacked(model, layer, UMBRA_GATE, fused ? &both : &gate, 0, parts, err);
    if (rc == UMBRA_OK)
        rc = find_stacked(model, layer, UMBRA_UP, fused ? &both : &up, parts - 1, parts, err);
    return rc == UMBRA_OK ? find_stacked(model, layer, UMBRA_DOWN, &down, 0, 1, err) : rc;
}
