/* What the last tokens say together (umbra_config.ngrams): their ids name rows of a table in the
 * model's file, of which the latest are kept. */
#include <string.h>

#include "base/error.h"
#include "engine/steps/steps.h"

/* Where the id stands in what is kept of a position, behind the inputs of the convolution. */
static int id_at(const umbra_config *c)
{
    return c->streams.count * c->hidden;
}

static void keep_ids(const umbra_pass *p)
{
    const umbra_config *c = &p->model->config;
    const umbra_kv_form *form = &p->forms[c->ngrams.kept];
    umbra_scratch *s = p->scratch;
    for (int t = 0; t < p->rows; t++) {
        int at;
        char *page = umbra_kv_own(&s->ngrams[t], &at);
        float *row = (float *)(void *)(page + umbra_kv_key_at(form, 0, at));
        memcpy(row + id_at(c), &s->id[t], sizeof *s->id);
    }
}

/* The ids of the row's token and those before it, the latest first; what is missing, and all before
 * the token that ends texts, reads as this one. */
static void collect_ids(const umbra_pass *p, int t, uint64_t *ids)
{
    const umbra_config *c = &p->model->config;
    const umbra_ngrams *g = &c->ngrams;
    const umbra_kv_form *form = &p->forms[g->kept];
    umbra_scratch *s = p->scratch;
    int n_runs = umbra_kv_runs(form, &s->ngrams[t], 0, s->runs), n = 0;
    bool ended = false;
    for (int r = n_runs - 1; r >= 0 && n < g->size; r--) {
        for (int j = s->runs[r].positions - 1; j >= 0 && n < g->size; j--, n++) {
            const float *row = (const float *)s->runs[r].k + (size_t)j * (size_t)form->key;
            int32_t id;
            memcpy(&id, row + id_at(c), sizeof id);
            ended = ended || (n > 0 && id == g->end);
            ids[n] = (uint64_t)(ended ? g->end : id);
        }
    }
    while (n < g->size)
        ids[n++] = (uint64_t)g->end;
}

/* A row of the table, as it lies in the file. */
static int find_row(const umbra_pass *p, uint64_t row, const char **out, umbra_error *err)
{
    const umbra_ngram_rows *rows = p->ngram_rows;
    size_t place = (size_t)(row % UMBRA_NGRAM_ROWS);
    char *data = rows->data + place * rows->row_bytes;
    *out = data;
    if (rows->number[place] == row + 1)
        return UMBRA_OK;
    rows->number[place] = 0;
    int rc = umbra_gguf_read_tensor(p->model->gguf, p->model->ngrams, row * rows->row_bytes, data,
                                    rows->row_bytes, err);
    if (rc == UMBRA_OK)
        rows->number[place] = row + 1;
    return rc;
}

/* The rows that a token's last ids name, one behind the other. */
static int gather(const umbra_pass *p, int t, umbra_error *err)
{
    const umbra_ngrams *g = &p->model->config.ngrams;
    umbra_scratch *s = p->scratch;
    uint64_t ids[UMBRA_MAX_NGRAM], mixed;
    float *out = s->ngram_state.f32 + (size_t)t * (size_t)s->ngram_state.columns;
    collect_ids(p, t, ids);
    mixed = ids[0] * g->multiplier[0];
    for (int n = 1, head = 0; n < g->size; n++) {
        mixed ^= ids[n] * g->multiplier[n];
        for (int i = 0; i < g->heads; i++, head++, out += g->width) {
            const char *packed;
            int rc = find_row(p, g->first_row[head] + mixed % g->rows[head], &packed, err);
            if (rc != UMBRA_OK)
                return rc;
            p->device->kernels->dequantize[p->model->ngrams->dtype](out, packed, g->width);
        }
    }
    return UMBRA_OK;
}

int umbra_step_ngrams(const umbra_pass *p, int layer, umbra_error *err)
{
    const umbra_config *c = &p->model->config;
    const umbra_ngrams *g = &c->ngrams;
    const umbra_matrix *w = p->weights->layer[layer];
    umbra_scratch *s = p->scratch;
    int rc = UMBRA_OK;
    if (g->size == 0 || layer != g->layer)
        return rc;
    keep_ids(p);
    for (int t = 0; rc == UMBRA_OK && t < p->rows; t++)
        rc = gather(p, t, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_device_round(p->device, &s->ngram_state, p->rows);
    const umbra_activations *state = &s->ngram_state;
    umbra_product products[] = {
        umbra_product_make(p->device, &w[UMBRA_NGRAM_KEY], state, p->rows, s->ngram_key),
        umbra_product_make(p->device, &w[UMBRA_NGRAM_VALUE], state, p->rows, s->block),
    };
    umbra_device_products(p->device, products, 2);
    umbra_ngram_step join = {
        .x = s->streams,
        .key = s->ngram_key,
        .value = s->block,
        .key_norm = w[UMBRA_NGRAM_KEY_NORM].data,
        .query_norm = w[UMBRA_NGRAM_QUERY_NORM].data,
        .conv_norm = w[UMBRA_NGRAM_CONV_NORM].data,
        .conv = w[UMBRA_NGRAM_CONV].data,
        .taps = g->taps,
        .apart = g->size,
        .form = &p->forms[g->kept],
        .view = s->ngrams,
        .streams = c->streams.count,
        .hidden = c->hidden,
        .eps = c->rms_eps,
        .row = s->ngram_row,
        .runs = s->runs,
        .runs_stride = s->runs_stride,
    };
    umbra_device_join_ngrams(p->device, &join, p->rows);
    return UMBRA_OK;
}
