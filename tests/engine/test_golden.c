/* The engine against golden files. `exact` ones come from 32-bit arithmetic on the same weights;
 * the reference kernels must agree with them, and the default kernels must be no further from them
 * than llama.cpp v0.5.0 on a CPU is (measured on the same texts). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "shared.h"

typedef struct text {
    const char *golden; /* after "tiny-" or "lab-" */
    const char *file;
} text;

static const text own_texts[] = {
    {"own-chat", "own-chat.txt"},
    {"own-code", "own-code.txt"},
    {"own-mixed", "own-mixed.txt"},
    {"own-prose", "own-prose.txt"},
};

static const text shared_texts[] = {
    {"0", "0-python.txt"},
    {"1", "1-wordnet.txt"},
    {"2", "2-postgres.txt"},
    {"3", "3-pydoc.txt"},
    {"4", "4-rust.txt"},
    {"5", "5-dicts.txt"},
    {"6", "6-unicode.txt"},
    {"7", "7-edge.txt"},
    {"own-chat", "own-chat.txt"},
    {"own-code", "own-code.txt"},
    {"own-mixed", "own-mixed.txt"},
    {"own-prose", "own-prose.txt"},
};

enum { SHARED_TEXTS = sizeof shared_texts / sizeof shared_texts[0], OWN_TEXTS = 4 };

/* llama.cpp's distance from exact. */
typedef struct peer {
    double lse_p95, lse_p99, best, experts;
} peer;

static const peer tiny_peer = {0.078, 0.196, 0.999, 0.994};
static const peer lab_peer = {0.082, 0.166, 0.999, 0.993};

static int32_t *tokens_of(const umbra_model *model, const char *folder, const char *file,
                          int *count)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char buffer[8192];
    size_t bytes = fread(buffer, 1, sizeof buffer, f), n;
    fclose(f);
    int32_t *ids;
    assert_int_equal(umbra_tokenize(model, buffer, bytes, true, false, &ids, &n, NULL), 0);
    *count = (int)n;
    return ids;
}

/* Scores all texts with the kernels and compares with the exact files. */
static distance measure(const char *model_path, const char *prefix, const char *folder,
                        const text *texts, int n, const char *kernels)
{
    umbra_error err = {0};
    umbra_model *model;
    umbra_engine *engine;
    if (umbra_model_open(&model, model_path, &err) != 0)
        fail_msg("%s", err.message);
    umbra_engine_options options = {.kernels = kernels};
    if (umbra_engine_open(&engine, model, &options, &err) != 0)
        fail_msg("%s", err.message);
    const umbra_model_info *info = umbra_model_get_info(model);
    char exact[512];
    snprintf(exact, sizeof exact, "%s/exact", folder);
    distance d = {0};
    for (int i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s-%s", prefix, texts[i].golden);
        golden g;
        golden_read(&g, folder, exact, name, info->layers, info->experts_used);
        int count;
        int32_t *ids = tokens_of(model, folder, texts[i].file, &count);
        assert_int_equal(count, g.tokens);
        assert_memory_equal(ids, g.token, (size_t)count * sizeof *ids);
        umbra_scores scores;
        umbra_score_options wanted = {.top = 1, .experts = true};
        assert_int_equal(umbra_score(engine, model, ids, count, &wanted, &scores, &err), 0);
        distance_add(&d, &g, &scores);
        umbra_score_free(&scores);
        umbra_free_tokens(ids);
        golden_free(&g);
    }
    umbra_engine_close(&engine);
    umbra_model_close(&model);
    print_message("%s, %s kernels: %d positions, lse error p95 %.5f p99 %.5f, best %.5f, "
                  "experts %.5f\n",
                  prefix, kernels, d.count, distance_quantile(&d, 0.95),
                  distance_quantile(&d, 0.99), distance_best(&d), distance_experts(&d));
    return d;
}

static void check_reference(distance *d)
{
    assert_true(distance_share_within(d, 0.01) >= 0.995);
    assert_true(distance_experts(d) >= 0.999);
    assert_true(distance_best(d) >= 0.999);
    distance_free(d);
}

static void check_default(distance *d, const peer *p)
{
    assert_true(distance_quantile(d, 0.95) <= p->lse_p95);
    assert_true(distance_quantile(d, 0.99) <= p->lse_p99);
    assert_true(distance_best(d) >= p->best);
    assert_true(distance_experts(d) >= p->experts);
    distance_free(d);
}

static void own_texts_agree(void **state)
{
    (void)state;
    const char *model = "models/tiny-q8_0.gguf";
    distance d = measure(model, "tiny", "tests/golden", own_texts, OWN_TEXTS, "reference");
    check_reference(&d);
    for (int i = 0; umbra_kernel_name(i); i++) { /* every table that runs here */
        d = measure(model, "tiny", "tests/golden", own_texts, OWN_TEXTS, umbra_kernel_name(i));
        check_default(&d, &tiny_peer);
    }
}

static void check_shared(const char *file, const char *prefix, const peer *p)
{
    char model[512], folder[512];
    if (!shared_path(model, sizeof model, file) || !shared_path(folder, sizeof folder, "golden")) {
        say_skipped("golden texts", file);
        skip();
    }
    distance d = measure(model, prefix, folder, shared_texts, SHARED_TEXTS, "reference");
    check_reference(&d);
    d = measure(model, prefix, folder, shared_texts, SHARED_TEXTS, "auto");
    check_default(&d, p);
}

static void shared_texts_agree_tiny(void **state)
{
    (void)state;
    check_shared("models/tiny-q8_0.gguf", "tiny", &tiny_peer);
}

static void shared_texts_agree_lab(void **state)
{
    (void)state;
    check_shared("models/lab-q4_0.gguf", "lab", &lab_peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_texts_agree),
        cmocka_unit_test(shared_texts_agree_tiny),
        cmocka_unit_test(shared_texts_agree_lab),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
