/* Finds ggml in the process, and tries whether its tensors are what we take them for. */
#include "under/foreign.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <string.h>

#include "base/error.h"

/* struct ggml_init_params. */
typedef struct init_params {
    size_t mem_size;
    void *mem_buffer;
    bool no_alloc;
} init_params;

/* What the trial makes tensors with. */
typedef struct maker {
    void *(*init)(init_params params);
    void (*release)(void *context);
    umbra_foreign_tensor *(*tensor)(void *context, int32_t type, int n, const int64_t *ne);
    umbra_foreign_tensor *(*mul_mat_id)(void *context, umbra_foreign_tensor *experts,
                                        umbra_foreign_tensor *x, umbra_foreign_tensor *ids);
    umbra_foreign_tensor *(*mul_mat)(void *context, umbra_foreign_tensor *a,
                                     umbra_foreign_tensor *b);
    umbra_foreign_tensor *(*mul)(void *context, umbra_foreign_tensor *a, umbra_foreign_tensor *b);
    umbra_foreign_tensor *(*rms_norm)(void *context, umbra_foreign_tensor *a, float eps);
    umbra_foreign_tensor *(*view)(void *context, umbra_foreign_tensor *a, int64_t n, size_t offset);
    umbra_foreign_tensor *(*set_name)(umbra_foreign_tensor *a, const char *name);
    void *(*get_data)(const umbra_foreign_tensor *a);
    size_t (*overhead)(void);
} maker;

static struct {
    pthread_once_t once;
    umbra_foreign foreign;
    umbra_error err; /* status 0: it can be used */
} ggml = {.once = PTHREAD_ONCE_INIT};

/* ---- looking for functions ---- */

typedef struct search {
    const char *name;
    void *found;
} search;

/* Libraries that were loaded for one caller alone are not seen by dlsym(RTLD_NEXT). */
static int look_in(struct dl_phdr_info *info, size_t size, void *user)
{
    (void)size;
    search *s = user;
    const char *base = info->dlpi_name ? strrchr(info->dlpi_name, '/') : NULL;
    base = base ? base + 1 : info->dlpi_name;
    if (!base || (strncmp(base, "libggml", 7) != 0 && strncmp(base, "libllama", 8) != 0))
        return 0;
    void *handle = dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NOLOAD);
    s->found = handle ? dlsym(handle, s->name) : NULL;
    if (handle)
        dlclose(handle); /* it was open before */
    return s->found != NULL;
}

umbra_foreign_function *umbra_foreign_find(const char *name)
{
    search s = {.name = name, .found = dlsym(RTLD_NEXT, name)};
    if (!s.found)
        dl_iterate_phdr(look_in, &s);
    union {
        void *object;
        umbra_foreign_function *function;
    } cast = {.object = s.found};
    return cast.function;
}

/* ---- the trial ---- */

#define FIND(field, name) ((field) = (__typeof__(field))umbra_foreign_find(name))

static bool find_all(umbra_foreign *f, maker *m)
{
    return FIND(f->buffer_is_host, "ggml_backend_buffer_is_host") &&
           FIND(f->tensor_get, "ggml_backend_tensor_get") &&
           FIND(f->graph_n_nodes, "ggml_graph_n_nodes") && FIND(f->graph_node, "ggml_graph_node") &&
           FIND(m->init, "ggml_init") && FIND(m->release, "ggml_free") &&
           FIND(m->tensor, "ggml_new_tensor") && FIND(m->mul_mat_id, "ggml_mul_mat_id") &&
           FIND(m->mul_mat, "ggml_mul_mat") && FIND(m->mul, "ggml_mul") &&
           FIND(m->rms_norm, "ggml_rms_norm") && FIND(m->view, "ggml_view_1d") &&
           FIND(m->set_name, "ggml_set_name") && FIND(m->get_data, "ggml_get_data") &&
           FIND(m->overhead, "ggml_tensor_overhead");
}

/* An expert's tensor: shape, strides, name, data. */
static bool tensor_fits(const maker *m, umbra_foreign_tensor *t)
{
    return t->type == UMBRA_FOREIGN_F32 && !t->buffer && t->ne[0] == 32 && t->ne[1] == 8 &&
           t->ne[2] == 4 && t->ne[3] == 1 && t->nb[0] == 4 && t->nb[1] == 128 && t->nb[2] == 1024 &&
           t->data && m->get_data(t) == t->data && m->set_name(t, "expert") == t &&
           strcmp(t->name, "expert") == 0 && m->overhead() >= sizeof *t;
}

static bool nodes_fit(umbra_foreign *f, const maker *m, void *context)
{
    static const int64_t experts_ne[] = {32, 8, 4}, x_ne[] = {32, 1, 3}, ids_ne[] = {2, 3};
    umbra_foreign_tensor *experts = m->tensor(context, UMBRA_FOREIGN_F32, 3, experts_ne);
    umbra_foreign_tensor *x = m->tensor(context, UMBRA_FOREIGN_F32, 3, x_ne);
    umbra_foreign_tensor *ids = m->tensor(context, UMBRA_FOREIGN_I32, 2, ids_ne);
    if (!experts || !x || !ids || !tensor_fits(m, experts) || ids->type != UMBRA_FOREIGN_I32)
        return false;
    umbra_foreign_tensor *product = m->mul_mat_id(context, experts, x, ids);
    umbra_foreign_tensor *norm = m->rms_norm(context, x, 1e-6f), *scaled = m->mul(context, norm, x);
    umbra_foreign_tensor *scores = m->mul_mat(context, x, scaled);
    umbra_foreign_tensor *view = m->view(context, experts, 4, 16);
    *f = (umbra_foreign){.mul_mat_id = product->op,
                         .mul_mat = scores->op,
                         .mul = scaled->op,
                         .rms_norm = norm->op,
                         .buffer_is_host = f->buffer_is_host,
                         .tensor_get = f->tensor_get,
                         .graph_n_nodes = f->graph_n_nodes,
                         .graph_node = f->graph_node};
    return product->src[0] == experts && product->src[1] == x && product->src[2] == ids &&
           !product->src[3] && norm->src[0] == x && scaled->src[0] == norm && scaled->src[1] == x &&
           scores->src[1] == scaled && view->view_src == experts && view->view_offs == 16 &&
           f->mul != f->mul_mat && f->mul_mat != f->mul_mat_id && f->rms_norm != f->mul;
}

static void try_ggml(void)
{
    maker m;
    if (!find_all(&ggml.foreign, &m)) {
        umbra_fail(&ggml.err, UMBRA_E_UNSUPPORTED,
                   "there is no ggml with the functions needed in this process: a program that "
                   "has it linked in statically cannot be helped from outside");
        return;
    }
    void *context = m.init((init_params){.mem_size = 64 << 10});
    bool fits = context && nodes_fit(&ggml.foreign, &m, context);
    if (context)
        m.release(context);
    if (!fits)
        umbra_fail(&ggml.err, UMBRA_E_UNSUPPORTED,
                   "the tensors of this ggml are laid out otherwise than this Umbra knows them; "
                   "nothing is guessed: use a version of Umbra that knows them");
}

const umbra_foreign *umbra_foreign_get(umbra_error *err)
{
    pthread_once(&ggml.once, try_ggml);
    if (ggml.err.status != UMBRA_OK && err)
        *err = ggml.err;
    return ggml.err.status == UMBRA_OK ? &ggml.foreign : NULL;
}

bool umbra_foreign_is_host(const umbra_foreign *f, const umbra_foreign_tensor *t)
{
    void *buffer = t->view_src && t->view_src->buffer ? t->view_src->buffer : t->buffer;
    return !buffer || f->buffer_is_host(buffer);
}
