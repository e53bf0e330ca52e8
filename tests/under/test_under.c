/* The C API: what a host that calls it gets, with two contexts at once, and what it is refused. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <umbra/under.h>

#include "graphs.h"
#include "lab/trace/trace.h"

#define MODEL "models/tiny-q8_0.gguf"

static umbra_under *open_under(const umbra_under_options *o)
{
    umbra_under *u;
    umbra_error err = {0};
    if (umbra_under_model(&u, MODEL, o, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    return u;
}

static umbra_under_stats stats_of(umbra_under *u)
{
    umbra_under_stats stats;
    umbra_under_get_stats(u, &stats);
    assert_true(stats.store.resident_bytes_max <= stats.store.slots * stats.store.slot_bytes);
    return stats;
}

/* The smallest budget, as the refusal names it. */
static uint64_t smallest_budget(void)
{
    umbra_under *u;
    umbra_error err = {0};
    assert_int_equal(umbra_under_model(&u, MODEL, &(umbra_under_options){.expert_bytes = 1}, &err),
                     UMBRA_E_BUDGET);
    assert_null(u);
    const char *at = strstr(err.message, "give at least ");
    assert_non_null(at);
    return strtoull(at + 14, NULL, 10);
}

static uint64_t sum_of(const host *h, umbra_under_context *c, int rows, uint64_t *seed)
{
    host_graph g;
    stub_scheduler s = {.eval = c ? umbra_under_eval : NULL, .user = c};
    host_graph_make(&g, h, rows, seed, IDS_NAMED);
    assert_int_equal(ggml_backend_sched_graph_compute_async(&s, &g.graph), 0);
    uint64_t sum = g.graph.sum;
    host_graph_free(&g);
    return sum;
}

enum { GRAPHS = 8 };

static int rows_of(int i)
{
    return i % 4 == 3 ? 20 : 1 + i % 3;
}

static void sums_alone(const host *h, uint64_t seed, uint64_t out[GRAPHS])
{
    for (int i = 0; i < GRAPHS; i++)
        out[i] = sum_of(h, NULL, rows_of(i), &seed);
}

/* ---- one context ---- */

static void test_same_result(void **state)
{
    (void)state;
    host h;
    uint64_t expected[GRAPHS];
    host_open(&h, MODEL, true);
    uint64_t budget = smallest_budget();
    sums_alone(&h, 7, expected);
    static const umbra_policy policies[] = {UMBRA_POLICY_OFF, UMBRA_POLICY_GATE,
                                            UMBRA_POLICY_PREVIOUS, UMBRA_POLICY_AUTO};
    for (int k = 0; k < 8; k++) {
        umbra_under_options o = {.expert_bytes = budget * (1 + (uint64_t)k / 4 * 2),
                                 .policy = policies[k % 4],
                                 .verify = true};
        umbra_under *u = open_under(&o);
        umbra_under_context *c;
        assert_int_equal(umbra_under_context_open(&c, u, NULL, NULL, NULL), UMBRA_OK);
        uint64_t seed = 7;
        for (int i = 0; i < GRAPHS; i++)
            assert_int_equal(sum_of(&h, c, rows_of(i), &seed), expected[i]);
        umbra_under_stats s = stats_of(u);
        assert_int_equal(s.tokens, 12);
        assert_int_equal(s.prompt_tokens, 2 * 20);
        assert_int_equal(s.whole_layers, 0);
        assert_int_equal(s.layers, h.layers);
        assert_int_equal(s.policy, k % 4 == 3 ? UMBRA_POLICY_GATE : policies[k % 4]);
        assert_true(s.store.misses > 0 && s.inside_ns > 0);
        if (policies[k % 4] != UMBRA_POLICY_AUTO) /* by the clock */
            assert_int_equal(s.runner.predictions > 0, s.policy != UMBRA_POLICY_OFF);
        umbra_under_context_close(&c);
        umbra_under_detach(&u);
        assert_null(u);
        sums_alone(&h, 7, expected); /* the mapping is the file's again */
    }
    host_close(&h);
}

/* A library that the program is linked with before ggml looks at its graphs too, so that nothing
 * that a device computes as one is cut. */
static void test_device_is_not_cut(void **state)
{
    (void)state;
    host h;
    umbra_under_context *c;
    uint64_t expected[GRAPHS], seed = 7;
    host_open(&h, MODEL, true);
    sums_alone(&h, 7, expected);
    umbra_under *u = open_under(&(umbra_under_options){.expert_bytes = smallest_budget()});
    assert_int_equal(umbra_under_context_open(&c, u, NULL, NULL, NULL), UMBRA_OK);
    for (int i = 0; i < GRAPHS; i++) {
        stub_scheduler s = {0};
        host_graph g;
        host_graph_make(&g, &h, rows_of(i), &seed, IDS_ON_DEVICE);
        ggml_backend_sched_set_eval_callback(&s, umbra_under_eval, c);
        assert_int_equal(ggml_backend_sched_graph_compute_async(&s, &g.graph), 0);
        assert_int_equal(g.graph.sum, expected[i]);
        assert_int_equal(g.graph.cuts, 0);
        host_graph_free(&g);
    }
    assert_int_equal(stats_of(u).whole_layers, 0);
    umbra_under_context_close(&c);
    umbra_under_detach(&u);
    host_close(&h);
}

/* The first layers are read when a model is taken over, which is nobody's need or waiting. */
static void test_first_layers_are_there(void **state)
{
    (void)state;
    host h;
    host_open(&h, MODEL, true);
    static const umbra_policy policies[] = {UMBRA_POLICY_OFF, UMBRA_POLICY_GATE};
    for (int k = 0; k < 2; k++) {
        uint64_t budget = 2 * smallest_budget(), seed = 7;
        umbra_under *u =
            open_under(&(umbra_under_options){.expert_bytes = budget, .policy = policies[k]});
        umbra_under_context *c;
        assert_int_equal(umbra_under_context_open(&c, u, NULL, NULL, NULL), UMBRA_OK);
        umbra_store_stats before = stats_of(u).store;
        assert_true(before.resident_bytes > budget / 2 && before.resident_bytes <= budget);
        assert_int_equal(before.hits + before.late + before.misses, 0);
        assert_int_equal(before.wait_ns, 0);
        (void)sum_of(&h, c, 20, &seed);
        assert_true(stats_of(u).store.hits > 0);
        umbra_under_context_close(&c);
        umbra_under_detach(&u);
    }
    host_close(&h);
}

/* With room for all experts nothing is left to do. */
static void test_everything_in_memory(void **state)
{
    (void)state;
    host h;
    uint64_t expected[GRAPHS], seed = 7;
    host_open(&h, MODEL, true);
    sums_alone(&h, 7, expected);
    umbra_under *u = open_under(NULL);
    umbra_under_context *c;
    umbra_under_stats before = stats_of(u);
    assert_true(before.complete);
    assert_int_equal(umbra_under_context_open(&c, u, NULL, NULL, NULL), UMBRA_OK);
    for (int i = 0; i < GRAPHS; i++)
        assert_int_equal(sum_of(&h, c, rows_of(i), &seed), expected[i]);
    umbra_under_stats after = stats_of(u);
    assert_int_equal(after.store.bytes_read, before.store.bytes_read);
    assert_int_equal(after.store.evictions, 0);
    umbra_under_context_close(&c);
    umbra_under_detach(&u);
    host_close(&h);
}

/* The host's own callback sees what it asks for, and can end a graph. */
static bool count_products(struct ggml_tensor *node, bool ask, void *user)
{
    int *n = user;
    if (ask)
        return node->op == STUB_MUL_MAT_ID;
    assert_int_equal(node->op, STUB_MUL_MAT_ID);
    return ++*n != 10;
}

static void test_host_callback(void **state)
{
    (void)state;
    host h;
    host_open(&h, MODEL, true);
    umbra_under *u = open_under(&(umbra_under_options){.expert_bytes = smallest_budget()});
    umbra_under_context *c;
    int n = 0;
    assert_int_equal(umbra_under_context_open(&c, u, count_products, &n, NULL), UMBRA_OK);
    host_graph g;
    stub_scheduler s = {.eval = umbra_under_eval, .user = c};
    uint64_t seed = 3;
    host_graph_make(&g, &h, 2, &seed, IDS_NAMED);
    assert_int_equal(ggml_backend_sched_graph_compute_async(&s, &g.graph), 1);
    assert_int_equal(n, 10);
    assert_int_equal(ggml_backend_sched_graph_compute_async(&s, &g.graph), 0);
    assert_int_equal(n, 10 + 3 * h.layers);
    host_graph_free(&g);
    umbra_under_context_close(&c); /* whatever it still holds */
    umbra_under_detach(&u);
    host_close(&h);
}

/* ---- traces ---- */

static void check_states(umbra_trace *trace, int document, umbra_trace_state which, int layer,
                         const struct ggml_tensor *t)
{
    int n = (int)t->ne[0];
    float *row = calloc((size_t)n, sizeof *row);
    for (int r = 0; r < (int)t->ne[1]; r++) {
        assert_int_equal(umbra_trace_read_states(trace, document, which, layer, r, 1, row, NULL),
                         UMBRA_OK);
        for (int i = 0; i < n; i++)
            assert_float_equal(row[i], ((const float *)t->data)[r * n + i], 0.005);
    }
    free(row);
}

static void check_document(umbra_trace *trace, int document, const host *h, const host_graph *g)
{
    int rows = (int)g->tokens->ne[0];
    assert_int_equal(umbra_trace_shard_tokens(trace, document), rows);
    int32_t token[64];
    uint16_t experts[64];
    float weights[64];
    assert_int_equal(umbra_trace_read_tokens(trace, document, 0, rows, token, NULL), UMBRA_OK);
    assert_memory_equal(token, g->tokens->data, (size_t)rows * sizeof *token);
    char hash[24]; /* no other recording's prompt has that name, unless it is the same */
    snprintf(hash, sizeof hash, "-%016" PRIx64, umbra_trace_hash(token, (size_t)rows));
    assert_non_null(strstr(umbra_trace_document_at(trace, document)->id, hash));
    for (int layer = 0; layer < h->layers; layer++) {
        check_states(trace, document, UMBRA_TRACE_INPUT, layer, g->input[layer]);
        check_states(trace, document, UMBRA_TRACE_HIDDEN, layer, g->state[layer]);
        for (int r = 0; r < rows; r++) {
            assert_int_equal(umbra_trace_read_experts(trace, document, layer, r, 1, experts, NULL),
                             UMBRA_OK);
            assert_int_equal(umbra_trace_read_weights(trace, document, layer, r, 1, weights, NULL),
                             UMBRA_OK);
            for (int i = 0; i < h->used; i++) {
                int at = r * h->used + i;
                assert_int_equal(experts[i], ((const int32_t *)g->ids[layer]->data)[at]);
                assert_float_equal(weights[i], ((const float *)g->weights[layer]->data)[at], 0.001);
            }
        }
    }
}

/* Prompts from their beginning on are recorded, but for the first; a folder is gone on with. */
static void test_traces(void **state)
{
    (void)state;
    static const int rows[] = {12, 20, 1, 30, 15};
    char folder[] = "/tmp/umbra-under-XXXXXX", command[64];
    host h;
    assert_non_null(mkdtemp(folder));
    host_open(&h, MODEL, true);
    uint64_t budget = smallest_budget();
    for (int times = 1; times <= 2; times++) {
        umbra_under *u =
            open_under(&(umbra_under_options){.expert_bytes = budget, .collect = folder});
        umbra_under_context *c;
        host_graph g[5];
        uint64_t seed = 17 * (uint64_t)times;
        assert_int_equal(umbra_under_context_open(&c, u, NULL, NULL, NULL), UMBRA_OK);
        for (int i = 0; i < 5; i++) {
            stub_scheduler s = {.eval = umbra_under_eval, .user = c};
            host_graph_make(&g[i], &h, rows[i], &seed, IDS_NAMED);
            if (i == 4) /* goes on with a text */
                for (int r = 0; r < rows[i]; r++)
                    ((int32_t *)g[i].positions->data)[r] += 30;
            assert_int_equal(ggml_backend_sched_graph_compute_async(&s, &g[i].graph), 0);
        }
        umbra_under_context_close(&c);
        umbra_under_detach(&u);
        umbra_trace *trace;
        umbra_error err = {0};
        if (umbra_trace_open(&trace, folder, &err) != UMBRA_OK)
            fail_msg("%s", err.message);
        assert_int_equal(umbra_trace_documents(trace), 2 * times);
        assert_int_equal(umbra_trace_get_info(trace)->used, h.used);
        check_document(trace, 2 * times - 2, &h, &g[1]);
        check_document(trace, 2 * times - 1, &h, &g[3]);
        umbra_trace_close(&trace);
        for (int i = 0; i < 5; i++)
            host_graph_free(&g[i]);
    }
    host_close(&h);
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

/* ---- several contexts ---- */

typedef struct worker {
    const host *h;
    umbra_under *under;
    uint64_t seed, expected[GRAPHS];
    int wrong;
} worker;

static void *work(void *user)
{
    worker *w = user;
    umbra_under_context *c;
    uint64_t seed = w->seed;
    w->wrong = umbra_under_context_open(&c, w->under, NULL, NULL, NULL) != UMBRA_OK;
    for (int i = 0; i < GRAPHS && w->wrong == 0; i++)
        w->wrong += sum_of(w->h, c, rows_of(i), &seed) != w->expected[i];
    umbra_under_context_close(&c);
    return NULL;
}

/* With room for one layer they take turns. */
static void test_contexts_at_once(void **state)
{
    (void)state;
    enum { WORKERS = 3 };
    host h;
    worker workers[WORKERS];
    pthread_t threads[WORKERS];
    host_open(&h, MODEL, true);
    uint64_t budget = smallest_budget();
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (worker){.h = &h, .seed = 100 + (uint64_t)i};
        sums_alone(&h, workers[i].seed, workers[i].expected);
    }
    for (int times = 1; times <= 2; times++) {
        umbra_under *u =
            open_under(&(umbra_under_options){.expert_bytes = budget * (uint64_t)times});
        for (int i = 0; i < WORKERS; i++) {
            workers[i].under = u;
            assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
        }
        for (int i = 0; i < WORKERS; i++) {
            pthread_join(threads[i], NULL);
            assert_int_equal(workers[i].wrong, 0);
        }
        (void)stats_of(u);
        umbra_under_detach(&u);
    }
    host_close(&h);
}

/* Two models of one file, each in its mapping. */
static void test_mapped_twice(void **state)
{
    (void)state;
    host a, b;
    host_open(&a, MODEL, true);
    host_open(&b, MODEL, true);
    umbra_under *u = open_under(&(umbra_under_options){.mapping = b.map, .mapping_bytes = b.bytes});
    umbra_under *other = open_under(NULL); /* the one that is left */
    umbra_under *none;
    umbra_error err = {0};
    assert_int_equal(umbra_under_model(&none, MODEL, NULL, &err), UMBRA_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "must be loaded with mmap"));
    umbra_under_context *c, *d;
    assert_int_equal(umbra_under_context_open(&c, u, NULL, NULL, NULL), UMBRA_OK);
    assert_int_equal(umbra_under_context_open(&d, other, NULL, NULL, NULL), UMBRA_OK);
    uint64_t seed = 9, again = 9;
    for (int i = 0; i < 4; i++)
        assert_int_equal(sum_of(&b, c, 2, &seed), sum_of(&a, d, 2, &again));
    umbra_under_context_close(&c);
    umbra_under_context_close(&d);
    umbra_under_detach(&u);
    umbra_under_detach(&other);
    host_close(&a);
    host_close(&b);
}

/* ---- refusals ---- */

static void refused(const umbra_under_options *o, int status, const char *text)
{
    umbra_under *u;
    umbra_error err = {0};
    assert_int_equal(umbra_under_model(&u, MODEL, o, &err), status);
    assert_null(u);
    if (!strstr(err.message, text))
        fail_msg("\"%s\" does not say \"%s\"", err.message, text);
}

static void test_refusals(void **state)
{
    (void)state;
    umbra_under *u;
    refused(NULL, UMBRA_E_UNSUPPORTED, "must be loaded with mmap");
    assert_int_equal(umbra_under_model(&u, "README.md", NULL, NULL), UMBRA_E_FORMAT);
    host h;
    host_open(&h, MODEL, true);
    refused(&(umbra_under_options){.expert_bytes = smallest_budget() - 1}, UMBRA_E_BUDGET,
            "computes all experts of a layer together");
    refused(&(umbra_under_options){.ram_bytes = 1}, UMBRA_E_BUDGET, "the process without experts");
    refused(&(umbra_under_options){.policy = UMBRA_POLICY_ORACLE}, UMBRA_E_ARGUMENT, "policies");
    refused(&(umbra_under_options){.policy = UMBRA_POLICY_SHADOW}, UMBRA_E_ARGUMENT, "name the");
    refused(&(umbra_under_options){.io = "tape"}, UMBRA_E_ARGUMENT, "tape");
    refused(&(umbra_under_options){.reserved = {1}}, UMBRA_E_ARGUMENT, "");
    uint64_t seed = 5, expected = sum_of(&h, NULL, 3, &seed);
    seed = 5;
    assert_int_equal(sum_of(&h, NULL, 3, &seed), expected); /* and nothing has changed */
    host_close(&h);
    umbra_under_detach(&(umbra_under *){NULL});
    umbra_under_context_close(&(umbra_under_context *){NULL});
}

/* Layers that the host has cut off the mapping are left out; the others are kept. */
static void test_layers_that_were_not_loaded(void **state)
{
    (void)state;
    host h;
    host_open(&h, MODEL, true);
    char name[64];
    snprintf(name, sizeof name, "blk.%d.ffn_down_exps.weight", h.layers - 1);
    const umbra_gguf_tensor *last = umbra_gguf_tensor_find(h.gguf, name);
    uint64_t cut = (last->offset + 4095) / 4096 * 4096;
    munmap(h.map + cut, 4096);
    umbra_under *u = open_under(NULL);
    assert_int_equal(stats_of(u).layers, h.layers - 1);
    umbra_under_detach(&u);
    host_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_result),
        cmocka_unit_test(test_device_is_not_cut),
        cmocka_unit_test(test_first_layers_are_there),
        cmocka_unit_test(test_everything_in_memory),
        cmocka_unit_test(test_host_callback),
        cmocka_unit_test(test_contexts_at_once),
        cmocka_unit_test(test_mapped_twice),
        cmocka_unit_test(test_traces),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_layers_that_were_not_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
