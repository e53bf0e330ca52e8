/* Hands out batches of rows in a random order. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "lab/train/stream.h"

/* Numbers apart the random sequences of a stream. */
enum { ORDER, WINDOW };

static int set_items(umbra_train_stream *s, umbra_error *err)
{
    uint64_t most = (uint64_t)(s->end_source - s->first_source) * (uint64_t)s->n_documents;
    if (most > UINT32_MAX)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED, "%d documents are too many to train on",
                          s->n_documents);
    s->order = umbra_calloc((size_t)most, sizeof *s->order);
    if (!s->order)
        return umbra_fail_nomem(err, "the order of documents", most * sizeof *s->order);
    return UMBRA_OK;
}

/* The unshuffled order: by source, then by document. */
static void list_items(umbra_train_stream *s)
{
    const umbra_train_loader *l = s->loader;
    s->n_items = 0;
    for (int source = s->first_source; source < s->end_source; source++) {
        if (!umbra_train_has_source(l->data, l->spec, source))
            continue;
        uint32_t base = (uint32_t)(source - s->first_source) * (uint32_t)s->n_documents;
        for (int i = 0; i < s->n_documents; i++)
            s->order[s->n_items++] = base + (uint32_t)i;
    }
}

static const umbra_train_document *document_of(const umbra_train_stream *s, uint32_t item)
{
    return &s->documents[s->order[item] % (uint32_t)s->n_documents];
}

int umbra_train_stream_open(umbra_train_stream *s, umbra_train_loader *loader, int first_source,
                            int end_source, bool validation, uint64_t seed, int batch,
                            uint64_t window_bytes, umbra_error *err)
{
    const umbra_train_data *data = loader->data;
    const umbra_shadow_spec *spec = loader->spec;
    *s = (umbra_train_stream){
        .loader = loader,
        .first_source = first_source,
        .end_source = end_source,
        .validation = validation,
        .seed = seed,
        .batch = batch,
        .n_documents = validation ? data->n_validation : data->n_training,
        .documents = data->documents + (validation ? data->n_training : 0),
    };
    int rc = set_items(s, err);
    if (rc != UMBRA_OK)
        return rc;
    list_items(s);
    for (uint32_t i = 0; i < s->n_items; i++)
        s->rows += (uint64_t)document_of(s, i)->at->rows;

    uint64_t row_bytes = umbra_train_row_bytes(spec) + sizeof *s->permutation;
    uint64_t whole = (s->rows + (uint64_t)batch - 1) / (uint64_t)batch; /* batches of an epoch */
    uint64_t size = window_bytes / row_bytes / (uint64_t)batch;
    size = size < whole ? size : whole;
    size = size * (uint64_t)batch > INT32_MAX ? INT32_MAX / (uint64_t)batch : size;
    size = (size < 1 ? 1 : size) * (uint64_t)batch;
    size_t carry = (size_t)spec->averages * (size_t)spec->hidden;
    s->carry = umbra_calloc(carry, sizeof *s->carry);
    s->permutation = umbra_calloc((size_t)size, sizeof *s->permutation);
    if (!s->carry || !s->permutation)
        return umbra_fail_nomem(err, "the shuffle window", size * sizeof *s->permutation);
    rc = umbra_train_rows_open(&s->window, spec, (int)size, err);
    return rc == UMBRA_OK ? umbra_train_rows_open(&s->out, spec, batch, err) : rc;
}

void umbra_train_stream_release(umbra_train_stream *s)
{
    umbra_free(s->order);
    umbra_free(s->carry);
    umbra_free(s->permutation);
    umbra_train_rows_release(&s->window);
    umbra_train_rows_release(&s->out);
    *s = (umbra_train_stream){0};
}

static void seed_for(const umbra_train_stream *s, int what, umbra_random *random)
{
    umbra_random_seed(random, s->seed);
    uint64_t a = umbra_random_u64(random) ^ s->epoch;
    umbra_random_seed(random, a);
    uint64_t b = umbra_random_u64(random) ^ (what == ORDER ? 0 : 1 + s->window_number);
    umbra_random_seed(random, b);
}

/* Reads rows of the present item to the window's place `at`; the item ends with its last row. */
static int read_piece(umbra_train_stream *s, int n, int at, umbra_error *err)
{
    const umbra_train_document *d = document_of(s, s->item);
    int source = s->first_source + (int)(s->order[s->item] / (uint32_t)s->n_documents);
    int rc = umbra_train_load(s->loader, source, d, s->item_row, n, s->carry, &s->window, at, err);
    s->item_row += n;
    if (s->item_row == d->at->rows) {
        s->item++;
        s->item_row = 0;
    }
    return rc;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

static int fill_window(umbra_train_stream *s, umbra_error *err)
{
    umbra_train_rows *w = &s->window;
    w->n = 0;
    s->at = 0;
    while (w->n < w->capacity && s->item < s->n_items) {
        int n = least(document_of(s, s->item)->at->rows - s->item_row, UMBRA_TRAIN_CHUNK);
        n = least(n, w->capacity - w->n);
        int rc = read_piece(s, n, w->n, err);
        if (rc != UMBRA_OK)
            return rc;
        w->n += n;
    }
    for (int i = 0; i < w->n; i++)
        s->permutation[i] = i;
    if (!s->validation) {
        umbra_random random;
        seed_for(s, WINDOW, &random);
        for (int i = w->n - 1; i > 0; i--) {
            int j = (int)umbra_random_below(&random, (uint64_t)i + 1);
            int swap = s->permutation[i];
            s->permutation[i] = s->permutation[j];
            s->permutation[j] = swap;
        }
    }
    s->window_number++;
    return UMBRA_OK;
}

/* Goes to a row of the order without giving anything out. Within a document the averages must be
 * run up to there; without averages nothing is read. */
static int skip_rows(umbra_train_stream *s, uint64_t rows, umbra_error *err)
{
    while (rows > 0 && rows >= (uint64_t)document_of(s, s->item)->at->rows)
        rows -= (uint64_t)document_of(s, s->item++)->at->rows;
    if (s->loader->spec->averages == 0) {
        s->item_row = (int)rows;
        return UMBRA_OK;
    }
    while (rows > 0) {
        int n = least(least((int)rows, UMBRA_TRAIN_CHUNK), s->window.capacity);
        int rc = read_piece(s, n, 0, err);
        if (rc != UMBRA_OK)
            return rc;
        rows -= (uint64_t)n;
    }
    return UMBRA_OK;
}

int umbra_train_stream_start(umbra_train_stream *s, uint64_t epoch, uint64_t row, umbra_error *err)
{
    uint64_t capacity = (uint64_t)s->window.capacity;
    s->epoch = epoch;
    s->item = 0;
    s->item_row = 0;
    s->window_number = row / capacity;
    list_items(s);
    if (!s->validation) {
        umbra_random random;
        seed_for(s, ORDER, &random);
        for (uint32_t i = s->n_items; i-- > 1;) {
            uint32_t j = (uint32_t)umbra_random_below(&random, (uint64_t)i + 1);
            uint32_t swap = s->order[i];
            s->order[i] = s->order[j];
            s->order[j] = swap;
        }
    }
    s->window.n = 0;
    s->at = 0;
    if (row >= s->rows) {
        s->item = s->n_items;
        return UMBRA_OK;
    }
    int rc = skip_rows(s, s->window_number * capacity, err);
    if (rc == UMBRA_OK)
        rc = fill_window(s, err);
    s->at = (int)(row % capacity);
    return rc;
}

int umbra_train_stream_next(umbra_train_stream *s, const umbra_train_rows **batch, umbra_error *err)
{
    s->out.n = 0;
    *batch = &s->out;
    if (s->at == s->window.n) {
        int rc = fill_window(s, err);
        if (rc != UMBRA_OK)
            return rc;
    }
    s->out.n = least(s->batch, s->window.n - s->at);
    for (int i = 0; i < s->out.n; i++)
        umbra_train_rows_copy(&s->out, i, &s->window, s->permutation[s->at + i], s->loader->spec);
    s->at += s->out.n;
    return UMBRA_OK;
}
