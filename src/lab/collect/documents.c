/* Hands out documents: read from files, or written by the model. */
#include "lab/collect/documents.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <umbra/generate.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/quote.h"
#include "engine/ranks.h"

enum {
    HEAD_TOKENS = 24, /* of a text, for the model to go on from */
};

/* One sequence of the engine that writes a document. */
typedef struct writer {
    bool busy;
    uint64_t number; /* of the document */
    umbra_document_text text;
    umbra_sampler *sampler;
    int fed; /* tokens that the engine has */
} writer;

struct umbra_documents {
    const umbra_model *model;
    const umbra_collect_options *options;
    umbra_engine *engine;
    umbra_corpus corpus;
    int longest;
    int32_t bos;
    umbra_document_text current; /* what umbra_documents_next handed out */

    /* Reading: the file at hand and how far it is done. */
    size_t file;
    int32_t *ids;
    size_t ids_count, ids_done;
    int window;

    /* Writing. */
    writer *writers;
    int n_writers;
    uint64_t next_started;         /* number of the next document to begin */
    uint64_t next_wanted;          /* number of the next document to hand out */
    umbra_document_text *finished; /* those that wait for their turn */
    uint64_t *finished_number;
    int finished_count, finished_room;
    umbra_token *batch;
    uint64_t write_ns;

    /* Among ranks: one text of each, handed out one after the other. */
    umbra_document_text *group; /* (ranks) */
    int group_at;
};

static void clear_text(umbra_document_text *t)
{
    umbra_free(t->tokens);
    *t = (umbra_document_text){0};
}

static int append(umbra_document_text *t, const int32_t *ids, int n, umbra_error *err)
{
    if (t->count + n > t->room) {
        int room = (t->count + n) * 2;
        int32_t *larger = umbra_reallocarray(t->tokens, (size_t)room, sizeof *larger);
        if (!larger)
            return umbra_fail_nomem(err, "a document", (uint64_t)room * sizeof *larger);
        t->tokens = larger;
        t->room = room;
    }
    memcpy(t->tokens + t->count, ids, (size_t)n * sizeof *ids);
    t->count += n;
    return UMBRA_OK;
}

/* ---- reading ---- */

/* Makes sure that a file with tokens left is at hand. 0 at the end. */
static int load_file(umbra_documents *d, umbra_error *err)
{
    while (d->ids_done == d->ids_count) {
        umbra_free_tokens(d->ids);
        d->ids = NULL;
        d->ids_count = d->ids_done = 0;
        d->window = 0;
        if (d->file == d->corpus.count)
            return 0;
        int rc = umbra_corpus_tokens(&d->corpus, d->file++, d->model, &d->ids, &d->ids_count, err);
        if (rc != UMBRA_OK)
            return rc;
    }
    return 1;
}

static int read_next(umbra_documents *d, umbra_document_text *t, umbra_error *err)
{
    int rc = load_file(d, err);
    if (rc <= 0)
        return rc;
    t->count = 0;
    rc = d->bos >= 0 ? append(t, &d->bos, 1, err) : UMBRA_OK;
    size_t left = d->ids_count - d->ids_done, room = (size_t)(d->longest - t->count);
    size_t n = left < room ? left : room;
    if (rc == UMBRA_OK)
        rc = append(t, d->ids + d->ids_done, (int)n, err);
    if (rc != UMBRA_OK)
        return rc;
    bool whole = d->ids_done == 0 && n == left;
    d->ids_done += n;
    const char *name = umbra_corpus_name(&d->corpus, d->file - 1);
    umbra_quoted quoted = umbra_quote(name, strlen(name));
    snprintf(t->id, sizeof t->id, whole ? "%s" : "%s#%d", quoted.text, d->window++);
    t->generated = false;
    return 1;
}

int umbra_documents_total(const umbra_model *model, const umbra_collect_options *options,
                          int longest, uint64_t *tokens, umbra_error *err)
{
    *tokens = 0;
    if (options->generate || options->n_texts == 0)
        return UMBRA_OK;
    umbra_documents d = {.model = model, .longest = longest, .bos = umbra_bos_token(model)};
    int rc = umbra_corpus_open(&d.corpus, options->texts, options->n_texts, err);
    umbra_corpus_shuffle(&d.corpus, options->seed);
    while (rc == UMBRA_OK && (rc = read_next(&d, &d.current, err)) == 1) {
        *tokens += (uint64_t)d.current.count;
        rc = UMBRA_OK;
        if (options->tokens && *tokens >= options->tokens)
            break;
    }
    if (rc == UMBRA_OK && *tokens == 0)
        rc = umbra_fail(err, UMBRA_E_ARGUMENT,
                        "%s: there is nothing to read: all %zu texts are empty", options->texts[0],
                        d.corpus.count);
    clear_text(&d.current);
    umbra_free_tokens(d.ids);
    umbra_corpus_close(&d.corpus);
    return rc;
}

/* ---- writing ---- */

/* The beginning of document `number`: BOS, or every other time the head of a text. */
static int begin_text(umbra_documents *d, uint64_t number, umbra_document_text *t, umbra_error *err)
{
    t->count = 0;
    t->generated = true;
    snprintf(t->id, sizeof t->id, "generated-%" PRIu64 "-%" PRIu64, d->options->seed, number);
    int32_t start = d->bos >= 0 ? d->bos : 0;
    int rc = append(t, &start, 1, err);
    if (rc != UMBRA_OK || d->corpus.count == 0 || number % 2 == 0)
        return rc;
    int32_t *ids;
    size_t count;
    size_t file = (size_t)(number / 2 % d->corpus.count);
    rc = umbra_corpus_tokens(&d->corpus, file, d->model, &ids, &count, err);
    if (rc != UMBRA_OK)
        return rc;
    int n = count < HEAD_TOKENS ? (int)count : HEAD_TOKENS;
    rc = append(t, ids, n < d->longest - 1 ? n : d->longest - 1, err);
    umbra_free_tokens(ids);
    return rc;
}

static int start_writer(umbra_documents *d, int index, umbra_error *err)
{
    writer *w = &d->writers[index];
    w->number = d->next_started;
    int rc = begin_text(d, w->number, &w->text, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_sampling sampling = {
        .temperature = d->options->temperature,
        .top_p = d->options->top_p,
        .seed = d->options->seed * UINT64_C(0x9e3779b97f4a7c15) + w->number,
    };
    rc =
        umbra_sampler_open(&w->sampler, &sampling, umbra_model_get_info(d->model)->vocabulary, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_engine_truncate(d->engine, index, 0);
    w->fed = 0;
    w->busy = true;
    d->next_started += (uint64_t)umbra_ranks_count(d->options->ranks);
    return UMBRA_OK;
}

/* Moves a writer's document to those that wait. */
static int finish_writer(umbra_documents *d, writer *w, umbra_error *err)
{
    if (d->finished_count == d->finished_room) {
        int room = d->finished_room ? d->finished_room * 2 : 64;
        umbra_document_text *texts = umbra_reallocarray(d->finished, (size_t)room, sizeof *texts);
        d->finished = texts ? texts : d->finished;
        uint64_t *numbers = umbra_reallocarray(d->finished_number, (size_t)room, sizeof *numbers);
        d->finished_number = numbers ? numbers : d->finished_number;
        if (!texts || !numbers)
            return umbra_fail_nomem(err, "the documents", (uint64_t)room * sizeof *texts);
        d->finished_room = room;
    }
    d->finished[d->finished_count] = w->text;
    d->finished_number[d->finished_count++] = w->number;
    w->text = (umbra_document_text){0};
    umbra_sampler_close(&w->sampler);
    w->busy = false;
    return UMBRA_OK;
}

/* The token after the last one that was fed: appended, or the end. */
static int take_logits(void *user, int index, const float *logits)
{
    umbra_documents *d = user;
    writer *w = &d->writers[d->batch[index].sequence];
    int32_t id = umbra_sampler_next(w->sampler, logits, w->text.tokens, w->text.count);
    bool end = umbra_is_end_token(d->model, id);
    int rc = end ? UMBRA_OK : append(&w->text, &id, 1, NULL);
    if (rc == UMBRA_OK && (end || w->text.count == d->longest))
        rc = finish_writer(d, w, NULL);
    return rc;
}

/* One step of all writers: each feeds what the engine does not have of its document. */
static int write_step(umbra_documents *d, umbra_error *err)
{
    int n = 0;
    for (int i = 0; i < d->n_writers; i++) {
        writer *w = &d->writers[i];
        if (!w->busy) {
            int rc = start_writer(d, i, err);
            if (rc != UMBRA_OK)
                return rc;
        }
        for (; w->fed < w->text.count; w->fed++)
            d->batch[n++] = (umbra_token){w->text.tokens[w->fed], i, w->fed == w->text.count - 1};
    }
    umbra_tap tap = {.user = d, .logits = take_logits, .progress = d->options->engine.progress};
    int rc = umbra_engine_eval(d->engine, d->batch, n, &tap, err);
    if (rc == UMBRA_E_NOMEM)
        umbra_fail_nomem(err, "a document", 0);
    return rc;
}

static int find_finished(const umbra_documents *d, uint64_t number)
{
    for (int i = 0; i < d->finished_count; i++)
        if (d->finished_number[i] == number)
            return i;
    return -1;
}

static int write_next(umbra_documents *d, umbra_document_text *t, umbra_error *err)
{
    uint64_t start = umbra_clock_ns();
    int at, rc = UMBRA_OK;
    while ((at = find_finished(d, d->next_wanted)) < 0 && rc == UMBRA_OK)
        rc = write_step(d, err);
    d->write_ns += umbra_clock_ns() - start;
    if (rc != UMBRA_OK)
        return rc;
    clear_text(t);
    *t = d->finished[at];
    d->finished_count--;
    d->finished[at] = d->finished[d->finished_count];
    d->finished_number[at] = d->finished_number[d->finished_count];
    d->next_wanted += (uint64_t)umbra_ranks_count(d->options->ranks);
    return 1;
}

/* ---- both ---- */

static int make_next(umbra_documents *d, umbra_error *err)
{
    return d->options->generate ? write_next(d, &d->current, err) : read_next(d, &d->current, err);
}

/* The next text of the group of all ranks' texts, and the next group when it is through. */
static int next_of_group(umbra_documents *d, umbra_document_text *out, umbra_error *err)
{
    const umbra_ranks *r = d->options->ranks;
    for (int tries = 0; tries < 2; tries++) {
        while (d->group_at < r->count && d->group[d->group_at].count == 0)
            d->group_at++;
        if (d->group_at < r->count) {
            *out = d->group[d->group_at++];
            return 1;
        }
        if (tries > 0)
            break;
        int rc = d->options->generate || r->rank == 0 ? make_next(d, err) : 0;
        if (rc == 0)
            d->current.count = 0;
        rc = umbra_documents_exchange(r, &d->current, rc < 0 ? rc : UMBRA_OK, d->group, err);
        if (rc != UMBRA_OK)
            return rc;
        d->group_at = 0;
    }
    return 0;
}

int umbra_documents_next(umbra_documents *d, umbra_document_text *out, umbra_error *err)
{
    if (d->group)
        return next_of_group(d, out, err);
    int rc = make_next(d, err);
    if (rc == 1)
        *out = d->current;
    return rc;
}

uint64_t umbra_documents_write_ns(const umbra_documents *d)
{
    return d->write_ns;
}

/* Passes over the first documents of the files: those that a resumed folder has. */
static int skip_read(umbra_documents *d, uint64_t n, umbra_error *err)
{
    for (uint64_t i = 0; i < n; i++) {
        int rc = read_next(d, &d->current, err);
        if (rc < 0)
            return rc;
        if (rc == 0)
            return UMBRA_OK;
    }
    return UMBRA_OK;
}

int umbra_documents_open(umbra_documents **out, const umbra_model *model,
                         const umbra_collect_options *options, umbra_engine *engine, int writers,
                         uint64_t first, umbra_error *err)
{
    *out = NULL;
    umbra_documents *d = umbra_calloc(1, sizeof *d);
    if (!d)
        return umbra_fail_nomem(err, "the documents", sizeof *d);
    d->model = model;
    d->options = options;
    d->engine = engine;
    d->longest = umbra_engine_get_plan(engine)->context;
    d->bos = umbra_bos_token(model);
    const umbra_ranks *ranks = options->ranks;
    d->next_started = d->next_wanted = first + (uint64_t)umbra_ranks_own(ranks);
    d->n_writers = writers;
    bool reads = !options->generate && umbra_ranks_own(ranks) == 0;
    int rc = UMBRA_OK;
    if (umbra_ranks_divide(ranks)) {
        d->group = umbra_calloc((size_t)ranks->count, sizeof *d->group);
        d->group_at = ranks->count;
        rc = d->group ? UMBRA_OK : umbra_fail_nomem(err, "the documents of all ranks", 0);
    }
    if (rc == UMBRA_OK && (reads || options->generate)) {
        rc = umbra_corpus_open(&d->corpus, options->texts, options->n_texts, err);
        umbra_corpus_shuffle(&d->corpus, options->seed);
    }
    if (rc == UMBRA_OK && options->generate) {
        d->writers = umbra_calloc((size_t)writers, sizeof *d->writers);
        d->batch = umbra_calloc((size_t)writers * (HEAD_TOKENS + 1), sizeof *d->batch);
        if (!d->writers || !d->batch)
            rc = umbra_fail_nomem(err, "the documents", (uint64_t)writers * sizeof *d->writers);
    } else if (rc == UMBRA_OK && reads) {
        rc = skip_read(d, first, err);
    }
    if (rc != UMBRA_OK)
        umbra_documents_close(&d);
    *out = d;
    return rc;
}

void umbra_documents_close(umbra_documents **p)
{
    umbra_documents *d = *p;
    if (!d)
        return;
    for (int i = 0; d->writers && i < d->n_writers; i++) {
        clear_text(&d->writers[i].text);
        umbra_sampler_close(&d->writers[i].sampler);
    }
    for (int i = 0; i < d->finished_count; i++)
        clear_text(&d->finished[i]);
    for (int i = 0; d->group && i < d->options->ranks->count; i++)
        clear_text(&d->group[i]);
    clear_text(&d->current);
    umbra_free(d->group);
    umbra_free(d->finished);
    umbra_free(d->finished_number);
    umbra_free(d->writers);
    umbra_free(d->batch);
    umbra_free_tokens(d->ids);
    umbra_corpus_close(&d->corpus);
    umbra_free(d);
    *p = NULL;
}
