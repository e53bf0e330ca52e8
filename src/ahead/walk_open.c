/* A walk's memory: its scratch, its pages, and what of each layer it keeps; which layouts it can
 * walk how. */
#include "ahead/walk_internal.h"

#include "base/error.h"
#include "base/memory.h"

/* A page holds UMBRA_KV_PAGE rows, a layer needs UMBRA_WALK_TOKENS of them. */
enum { LAYERS_OF_PAGE = UMBRA_KV_PAGE / UMBRA_WALK_TOKENS };

/* Rows of the same width and unit; that of the kernels is taken for 2 bytes. */
static bool look_alike(const umbra_config *c, int a, int b)
{
    umbra_kv_form x = umbra_engine_form(c, a, 2), y = umbra_engine_form(c, b, 2);
    return x.heads == y.heads && x.key == y.key && x.value == y.value && x.unit == y.unit;
}

/* Places for the rows of all that layers keep; what looks alike shares pages. places: (kept) or
 * NULL. Returns the bytes of all pages, at the widest unit. */
static uint64_t lay_pages(const umbra_config *c, walk_rows *places)
{
    uint64_t used = 0;
    for (int k = 0; k < c->kept; k++) {
        const umbra_kv_form form = umbra_engine_form(c, k, sizeof(float));
        int before = 0, last = -1; /* of those alike */
        umbra_recurrent_form state = {0};
        if (k < c->layers)
            state = umbra_recurrent_make(&c->attention[k]);
        if (state.heads > 0) {
            if (places)
                places[k] = (walk_rows){used, 0};
            used += umbra_recurrent_page_bytes(&state);
            continue;
        }
        for (int i = 0; i < k; i++) {
            if (look_alike(c, k, i)) {
                before++;
                last = i;
            }
        }
        bool opens = before % LAYERS_OF_PAGE == 0;
        if (places)
            places[k] = (walk_rows){opens ? used : places[last].page,
                                    before % LAYERS_OF_PAGE * UMBRA_WALK_TOKENS};
        used += opens ? umbra_kv_page_bytes(&form) : 0;
    }
    return used;
}

/* Of tables with a row for each layer. */
static uint64_t layer_bytes(const umbra_config *c)
{
    return sizeof(umbra_kv_view) + sizeof(walk_known) + 2 * (uint64_t)c->hidden * sizeof(float);
}

/* outputs: 1, where it has room of its own for the way out; 0: where that is lent. */
static uint64_t walk_bytes(const umbra_model *model, int context, int threads, int outputs)
{
    const umbra_config *c = &model->config;
    umbra_scratch unused;
    return umbra_scratch_place(&unused, NULL, c, 1, outputs, context + 1, threads) +
           lay_pages(c, NULL) + (uint64_t)c->kept * sizeof(walk_rows) +
           (uint64_t)c->layers * layer_bytes(c) + (uint64_t)c->hidden * sizeof(float) +
           sizeof(umbra_walk);
}

uint64_t umbra_walk_bytes(const umbra_model *model, int context, int threads)
{
    return walk_bytes(model, context, threads, 0);
}

uint64_t umbra_walk_bytes_beside(const umbra_model *model, int context)
{
    return walk_bytes(model, context, 1, 1);
}

static bool open_tables(umbra_walk *w, const umbra_config *c)
{
    size_t layers = (size_t)c->layers;
    w->places = umbra_calloc((size_t)c->kept, sizeof *w->places);
    w->views = umbra_calloc(layers, sizeof *w->views);
    w->known = umbra_calloc(layers, sizeof *w->known);
    w->added = umbra_calloc(layers * (size_t)c->hidden, sizeof *w->added);
    w->moved = umbra_calloc(layers * (size_t)c->hidden, sizeof *w->moved);
    w->posted = umbra_calloc((size_t)c->hidden, sizeof *w->posted);
    for (int l = 0; w->known && l < c->layers; l++)
        w->known[l].position = -1;
    return w->places && w->views && w->known && w->added && w->moved && w->posted;
}

/* What attention adds is a row of its own, and nothing else goes from a layer to those behind it.
 */
static bool adds_rows(const umbra_scratch *s, const umbra_config *c)
{
    bool adds = !s->streams && c->ngrams.size == 0;
    for (int l = 0; l < c->layers; l++)
        adds = adds && c->attention[l].index.kept == 0;
    return adds;
}

static int open_walk(umbra_walk **out, umbra_engine *engine, int threads, int outputs,
                     umbra_error *err)
{
    *out = NULL;
    umbra_walk *w = umbra_calloc(1, sizeof *w);
    if (!w)
        return umbra_fail_nomem(err, "the walk ahead", sizeof *w);
    const umbra_memory_plan *plan = umbra_engine_get_plan(engine);
    const umbra_config *c = &umbra_engine_model(engine)->config;
    umbra_scratch sizes;
    w->engine = engine;
    w->scratch_bytes = umbra_scratch_place(&sizes, NULL, c, 1, outputs, plan->context + 1, threads);
    w->pages_bytes = lay_pages(c, NULL);
    umbra_engine_pass(engine, &w->pass);
    char *arena = umbra_map(w->scratch_bytes);
    w->pages = umbra_map(w->pages_bytes);
    bool tables = open_tables(w, c);
    if (arena)
        umbra_scratch_place(&w->scratch, arena, c, 1, outputs, plan->context + 1, threads);
    if (!arena || !w->pages || !tables) {
        umbra_walk_close(&w);
        return umbra_fail_nomem(err, "the walk ahead", sizes.arena_bytes);
    }
    lay_pages(c, w->places);
    if (outputs == 0)
        umbra_engine_lend_output(engine, &w->scratch);
    w->pass.scratch = &w->scratch;
    w->pass.rows = 1;
    w->most_experts = UMBRA_MAX_USED;
    w->may_take_known = adds_rows(&w->scratch, c);
    *out = w;
    return UMBRA_OK;
}

int umbra_walk_open(umbra_walk **out, umbra_engine *engine, umbra_error *err)
{
    return open_walk(out, engine, umbra_engine_get_plan(engine)->threads, 0, err);
}

bool umbra_walk_takes_drafts(const umbra_walk *w)
{
    const umbra_config *c = &w->pass.model->config;
    bool takes = c->ngrams.size == 0;
    for (int l = 0; l < c->layers; l++)
        takes = takes && c->attention[l].conv == 0 && c->attention[l].ratio == 0 &&
                c->attention[l].index.kept == 0;
    return takes;
}

bool umbra_walk_goes_beside(const umbra_model *model)
{
    const umbra_config *c = &model->config;
    bool goes = c->ngrams.size == 0;
    for (int l = 0; l < c->layers; l++) {
        const umbra_attention *a = &c->attention[l];
        goes = goes && a->conv == 0 && a->ratio == 0 && a->index.kept == 0 &&
               umbra_recurrent_make(a).heads == 0;
    }
    return goes;
}

int umbra_walk_open_beside(umbra_walk **out, umbra_engine *engine, umbra_error *err)
{
    int rc = open_walk(out, engine, 1, 1, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_walk *w = *out;
    w->beside = true;
    w->device = *w->pass.device;
    w->device.pool = NULL;
    w->device.threads = 1;
    w->device.tick = NULL;
    w->device.profiler = NULL;
    w->pass.device = &w->device;
    return UMBRA_OK;
}

void umbra_walk_close(umbra_walk **walk)
{
    umbra_walk *w = *walk;
    if (!w)
        return;
    umbra_unmap(w->scratch.arena, w->scratch_bytes);
    umbra_unmap(w->pages, w->pages_bytes);
    umbra_free(w->places);
    umbra_free(w->views);
    umbra_free(w->known);
    umbra_free(w->added);
    umbra_free(w->moved);
    umbra_free(w->posted);
    umbra_free(w);
    *walk = NULL;
}
