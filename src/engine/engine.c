#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/system.h"
#include "engine/engine.h"

/* ---- opening and closing ---- */

int umbra_engine_open_store(umbra_store **out, const umbra_model *model,
                            const umbra_engine_options *o, uint64_t bytes, umbra_error *err)
{
    uint32_t n_paths = umbra_gguf_file_count(model->gguf);
    const char **paths = umbra_calloc(n_paths, sizeof *paths);
    if (!paths)
        return umbra_fail_nomem(err, "the paths of the model", n_paths * sizeof *paths);
    for (uint32_t i = 0; i < n_paths; i++)
        paths[i] = umbra_gguf_file_path(model->gguf, i);
    umbra_store_options options = {
        .paths = paths,
        .n_paths = (int)n_paths,
        .n_layers = model->config.layers,
        .n_experts = model->config.experts,
        .n_sequences = o->sequences,
        .slices = model->slices,
        .budget_bytes = bytes,
        .io = o->io,
        .buffered = o->buffered,
        .verify = o->verify,
    };
    int rc = umbra_store_open(out, &options, err);
    umbra_free(paths);
    return rc;
}

static int open_memory(umbra_engine *e, umbra_error *err)
{
    const umbra_config *c = &e->model->config;
    umbra_memory_plan *p = &e->plan;
    char *arena = umbra_map(p->scratch_bytes);
    umbra_scratch_layout(&e->scratch, arena, c, p->chunk, p->context, p->threads);
    e->kv.k = umbra_map(
        umbra_plan_kv_bytes(e->model, e->kernels, p->context, e->sequences, c->cache_key));
    e->kv.v = umbra_map(
        umbra_plan_kv_bytes(e->model, e->kernels, p->context, e->sequences, c->cache_value));
    e->kv.length = umbra_calloc((size_t)e->sequences, sizeof *e->kv.length);
    if (!arena || !e->kv.k || !e->kv.v || !e->kv.length)
        return umbra_fail_nomem(err, "activations and key/value cache",
                                p->scratch_bytes + p->kv_bytes);
    return UMBRA_OK;
}

/* q16 blocks and the kernels' speed ask for whole blocks of 32. */
static int check_widths(const umbra_model *model, umbra_error *err)
{
    const umbra_config *c = &model->config;
    const struct {
        const char *what;
        int width; /* 0: there is none */
    } widths[] = {
        {"hidden", c->hidden},
        {"expert", c->expert_width},
        {"attention (heads x values)", c->heads * c->value_dim},
        {"dense layer", c->dense_layers ? c->dense_width : 0},
        {"shared expert", c->shared_width},
        {"query bottleneck", c->q_rank},
        {"latent", c->kv_rank},
        {"unrotated key", c->kv_rank ? c->key_dim - c->rope.dim : 0},
    };
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++)
        if (widths[i].width % UMBRA_Q16_BLOCK != 0)
            return umbra_fail(
                err, UMBRA_E_UNSUPPORTED, "%s: the width %d (%s) is no multiple of %d",
                umbra_gguf_path(model->gguf), widths[i].width, widths[i].what, UMBRA_Q16_BLOCK);
    return UMBRA_OK;
}

int umbra_engine_open(umbra_engine **out, const umbra_model *model,
                      const umbra_engine_options *options, umbra_error *err)
{
    *out = NULL;
    umbra_engine_options o = options ? *options : (umbra_engine_options){0};
    umbra_engine *e = umbra_calloc(1, sizeof *e);
    if (!e)
        return umbra_fail_nomem(err, "the engine", sizeof *e);
    e->model = model;
    e->progress = o.progress;
    e->sequences = o.sequences ? o.sequences : 1;
    int rc = check_widths(model, err);
    if (rc == UMBRA_OK)
        rc = umbra_engine_plan(model, &o, &e->plan, err);
    if (rc == UMBRA_OK) {
        e->kernels = umbra_kernels_find(e->plan.kernels);
        rc = umbra_pool_open(&e->pool, e->plan.threads, err);
    }
    if (rc == UMBRA_OK)
        rc = open_memory(e, err);
    if (rc == UMBRA_OK)
        rc = umbra_weights_load(&e->weights, model, e->kernels, e->progress, err);
    if (rc == UMBRA_OK)
        rc = umbra_rope_open(e, err);
    if (rc == UMBRA_OK)
        rc = umbra_engine_open_store(&e->store, model, &o, e->plan.cache_bytes, err);
    if (rc != UMBRA_OK) {
        umbra_engine_close(&e);
        return rc;
    }
    *out = e;
    return UMBRA_OK;
}

void umbra_engine_close(umbra_engine **p)
{
    umbra_engine *e = *p;
    if (!e)
        return;
    const umbra_config *c = &e->model->config;
    umbra_store_close(&e->store);
    umbra_weights_free(&e->weights);
    if (e->kernels) {
        umbra_unmap(e->kv.k, umbra_plan_kv_bytes(e->model, e->kernels, e->plan.context,
                                                 e->sequences, c->cache_key));
        umbra_unmap(e->kv.v, umbra_plan_kv_bytes(e->model, e->kernels, e->plan.context,
                                                 e->sequences, c->cache_value));
    }
    umbra_free(e->kv.length);
    umbra_free(e->rope_frequency);
    umbra_unmap(e->scratch.arena, e->plan.scratch_bytes);
    umbra_pool_close(&e->pool);
    umbra_free(e);
    *p = NULL;
}

/* ---- evaluating ---- */

/* Puts the chunk's embeddings, positions and rotary angles into scratch. */
static void enter(umbra_engine *e, const umbra_token *tokens, int n)
{
    const umbra_config *c = &e->model->config;
    const umbra_matrix *embedding = &e->weights.model[UMBRA_TOKEN_EMBEDDING];
    umbra_scratch *s = &e->scratch;
    for (int t = 0; t < n; t++) {
        const char *row =
            (const char *)embedding->data + (size_t)tokens[t].id * embedding->row_bytes;
        e->kernels->dequantize[embedding->dtype](s->x + (size_t)t * (size_t)c->hidden, row,
                                                 c->hidden);
        int position = e->kv.length[tokens[t].sequence];
        s->prompt[t] = false;
        for (int earlier = 0; earlier < t; earlier++) {
            if (tokens[earlier].sequence != tokens[t].sequence)
                continue;
            s->prompt[earlier] = s->prompt[t] = true;
            position++;
        }
        s->sequence[t] = tokens[t].sequence;
        s->position[t] = position;
        umbra_rope_angles(e, position, s->rope + (size_t)t * (size_t)c->rope.dim);
    }
}

static int compute_layers(umbra_engine *e, int first, int n, const umbra_observer *o,
                          umbra_error *err)
{
    umbra_scratch *s = &e->scratch;
    for (int l = 0; l < e->model->config.layers; l++) {
        if (umbra_progress_interrupted(e->progress))
            return umbra_fail(err, UMBRA_E_INTERRUPTED, "interrupted");
        int rc = 0;
        if (o->layer_input && (rc = o->layer_input(o->user, l, first, n, s->x)) != 0)
            return rc;
        umbra_attention(e, l, n);
        if (o->hidden_state && (rc = o->hidden_state(o->user, l, first, n, s->x)) != 0)
            return rc;
        if (!umbra_layer_has_experts(e->model, l)) {
            umbra_ffn_dense(e, l, n);
            continue;
        }
        umbra_route(e, l, n);
        if (o->routing && (rc = o->routing(o->user, l, first, n, s->experts, s->weights)) != 0)
            return rc;
        rc = umbra_experts(e, l, n, err);
        if (rc != UMBRA_OK)
            return rc;
    }
    return UMBRA_OK;
}

/* Logits of the tokens `index` (positions in the chunk), `rows` at most UMBRA_LOGITS_ROWS. */
static int compute_logits(umbra_engine *e, const int *index, int rows, int first,
                          const umbra_observer *o)
{
    umbra_scratch *s = &e->scratch;
    const umbra_config *c = &e->model->config;
    size_t hidden = (size_t)c->hidden;
    for (int i = 0; i < rows; i++) {
        e->kernels->rms_norm(s->out.f32 + (size_t)i * hidden, s->x + (size_t)index[i] * hidden,
                             e->weights.model[UMBRA_OUTPUT_NORM].data, c->hidden, c->rms_eps);
    }
    umbra_quantize_rows(e->kernels, &s->out, 0, rows);
    umbra_product output =
        umbra_product_make(e, &e->weights.model[UMBRA_OUTPUT], &s->out, rows, s->logits);
    umbra_products_run(e, &output, 1);
    for (int i = 0; i < rows; i++) {
        int rc =
            o->logits(o->user, first + index[i], s->logits + (size_t)i * (size_t)c->vocabulary);
        if (rc != 0)
            return rc;
    }
    return UMBRA_OK;
}

static int leave(umbra_engine *e, const umbra_token *tokens, int n, int first,
                 const umbra_observer *o)
{
    int index[UMBRA_LOGITS_ROWS], rows = 0, rc = UMBRA_OK;
    if (!o->logits)
        return UMBRA_OK;
    for (int t = 0; t < n && rc == UMBRA_OK; t++) {
        if (tokens[t].want_logits)
            index[rows++] = t;
        if (rows == UMBRA_LOGITS_ROWS || (t == n - 1 && rows > 0)) {
            rc = compute_logits(e, index, rows, first, o);
            rows = 0;
        }
    }
    return rc;
}

static int check_tokens(const umbra_engine *e, const umbra_token *tokens, int n, umbra_error *err)
{
    for (int t = 0; t < n; t++) {
        if (tokens[t].id < 0 || tokens[t].id >= e->model->config.vocabulary)
            return umbra_fail(err, UMBRA_E_ARGUMENT, "token id %" PRId32 " is not one of 0..%d",
                              tokens[t].id, e->model->config.vocabulary - 1);
        if (tokens[t].sequence < 0 || tokens[t].sequence >= e->sequences)
            return umbra_fail(err, UMBRA_E_ARGUMENT, "sequence %" PRId32 " is not one of 0..%d",
                              tokens[t].sequence, e->sequences - 1);
    }
    for (int s = 0; s < e->sequences; s++) {
        int64_t length = e->kv.length[s];
        for (int t = 0; t < n; t++)
            length += tokens[t].sequence == s;
        if (length > e->plan.context)
            return umbra_fail(err, UMBRA_E_ARGUMENT,
                              "%" PRId64 " tokens do not fit into a context of %d positions",
                              length, e->plan.context);
    }
    return UMBRA_OK;
}

int umbra_engine_eval(umbra_engine *e, const umbra_token *tokens, int n,
                      const umbra_observer *observer, umbra_error *err)
{
    static const umbra_observer none = {0};
    const umbra_observer *o = observer ? observer : &none;
    int rc = check_tokens(e, tokens, n, err);
    for (int first = 0; rc == UMBRA_OK && first < n; first += e->plan.chunk) {
        int count = n - first < e->plan.chunk ? n - first : e->plan.chunk;
        enter(e, tokens + first, count);
        if (e->companion.enter)
            e->companion.enter(e->companion.user, tokens + first, count);
        rc = compute_layers(e, first, count, o, err);
        if (rc != UMBRA_OK)
            break;
        for (int t = 0; t < count; t++)
            e->kv.length[tokens[first + t].sequence]++;
        if (e->companion.leave)
            e->companion.leave(e->companion.user, count);
        rc = leave(e, tokens + first, count, first, o);
    }
    return rc;
}

int umbra_engine_length(const umbra_engine *e, int sequence)
{
    return e->kv.length[sequence];
}

void umbra_engine_truncate(umbra_engine *e, int sequence, int length)
{
    if (length < e->kv.length[sequence])
        e->kv.length[sequence] = length < 0 ? 0 : length;
}

const umbra_memory_plan *umbra_engine_get_plan(const umbra_engine *e)
{
    return &e->plan;
}

void umbra_engine_get_store_stats(const umbra_engine *e, umbra_store_stats *out)
{
    umbra_store_get_stats(e->store, out);
}

const char *umbra_kernel_name(int index)
{
    return umbra_kernels_name(index);
}

uint64_t umbra_process_rss_max(void)
{
    return umbra_system_rss_max();
}

uint64_t umbra_process_rss(void)
{
    return umbra_system_rss();
}
