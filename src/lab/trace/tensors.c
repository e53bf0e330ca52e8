/* Which tensors a shard of a trace has, and their shapes. */
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/trace/internal.h"

int umbra_trace_layers_make(umbra_trace_layers *layers, const umbra_trace_info *info,
                            const bool *present, umbra_error *err)
{
    size_t n = (size_t)info->layers;
    *layers = (umbra_trace_layers){
        .place = umbra_calloc(n, sizeof *layers->place),
        .layer = umbra_calloc(n, sizeof *layers->layer),
    };
    if (!layers->place || !layers->layer) {
        umbra_trace_layers_release(layers);
        return umbra_fail_nomem(err, "the list of layers", 2 * n * sizeof *layers->place);
    }
    for (int l = 0; l < info->layers; l++) {
        layers->place[l] = present[l] ? layers->moe_layers : -1;
        if (present[l])
            layers->layer[layers->moe_layers++] = l;
    }
    return UMBRA_OK;
}

void umbra_trace_layers_release(umbra_trace_layers *layers)
{
    umbra_free(layers->place);
    umbra_free(layers->layer);
    *layers = (umbra_trace_layers){0};
}

umbra_trace_name umbra_trace_tensor(const umbra_trace_info *info, const umbra_trace_layers *layers,
                                    int i, uint64_t tokens, uint64_t rows,
                                    umbra_safetensors_tensor *t)
{
    static const char *const names[UMBRA_TRACE_PARTS] = {"input",   "hidden", "experts",
                                                         "weights", "input",  "hidden"};
    umbra_safetensors_tensor shape = {.dtype = UMBRA_ST_I32, .dimensions = 1, .shape = {tokens}};
    umbra_trace_name name = {"tokens"};
    if (i > 0) {
        int part = (i - 1) % umbra_trace_parts(info);
        bool scale = part >= UMBRA_TRACE_PART_INPUT_SCALE;
        snprintf(name.text, sizeof name.text, "%s.%d%s", names[part],
                 layers->layer[(i - 1) / umbra_trace_parts(info)], scale ? ".scale" : "");
        bool state = part <= UMBRA_TRACE_PART_HIDDEN;
        shape.dtype = scale                              ? UMBRA_ST_F32
                      : state                            ? info->int8 ? UMBRA_ST_I8 : UMBRA_ST_BF16
                      : part == UMBRA_TRACE_PART_EXPERTS ? UMBRA_ST_U16
                                                         : UMBRA_ST_F16;
        shape.dimensions = scale ? 1 : 2;
        shape.shape[0] = scale || state ? rows : tokens;
        shape.shape[1] = scale ? 0 : (uint64_t)(state ? info->hidden : info->used);
    }
    if (t)
        *t = shape;
    return name;
}

umbra_trace_name umbra_trace_gate_name(int layer)
{
    umbra_trace_name name;
    snprintf(name.text, sizeof name.text, "gate.%d", layer);
    return name;
}

uint64_t umbra_trace_shard_bytes(const umbra_trace_info *info, uint64_t tokens, uint64_t documents)
{
    /* A tensor's line in the header: name, dtype, two dimensions and two offsets at their longest,
     * and the format's own 53 characters. */
    enum { HEADER = 128, PER_TENSOR = 24 + 4 + 4 * 20 + 53 };
    uint64_t layers = (uint64_t)info->layers;
    uint64_t hidden = (uint64_t)info->hidden;
    uint64_t rows = tokens / (uint64_t)info->stride + documents;
    if (rows > tokens)
        rows = tokens;
    uint64_t state_bytes = info->int8 ? hidden + sizeof(float) : 2 * hidden;
    uint64_t tensors = 1 + layers * (uint64_t)umbra_trace_parts(info);
    return HEADER + PER_TENSOR * tensors + tokens * sizeof(int32_t) +
           layers * (2 * rows * state_bytes + tokens * (uint64_t)info->used * 4);
}

uint64_t umbra_trace_hash(const int32_t *tokens, size_t n)
{
    return XXH3_64bits(tokens, n * sizeof *tokens);
}
