/* Whole trainings on a toy model: it learns, the same again gives the same bits, a training that
 * was stopped goes on to the same bits, and what is wrong is refused. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include <umbra/lab/train.h>

#include "base/memory.h"
#include "predict/shadow.h"
#include "traces.h"

enum { D = UMBRA_MAX_DISTANCE };

static umbra_error err;
static char root[256], folder[300], other[300], output[300], second[300], checkpoint[320];
static const char *folders[2] = {folder, other};

#define MUST(call)                                                                                 \
    do {                                                                                           \
        if ((call) != UMBRA_OK)                                                                    \
            fail_msg("%s", err.message);                                                           \
    } while (0)

static int set_up(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    snprintf(root, sizeof root, "%s/umbra-train-XXXXXX", tmp);
    if (!mkdtemp(root))
        return -1;
    snprintf(folder, sizeof folder, "%s/a", root);
    snprintf(other, sizeof other, "%s/b", root);
    snprintf(output, sizeof output, "%s/toy.safetensors", root);
    snprintf(second, sizeof second, "%s/toy2.safetensors", root);
    snprintf(checkpoint, sizeof checkpoint, "%s.checkpoint", output);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    umbra_memory_fail_after(0);
    toy_remove(folder);
    toy_remove(other);
    toy_remove(checkpoint);
    unlink(output);
    unlink(second);
    return rmdir(root); /* fails if a test left anything else behind */
}

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static umbra_train_options small_options(void)
{
    return (umbra_train_options){.traces = folders,
                                 .n_traces = 1,
                                 .output = output,
                                 .width = 24,
                                 .batch = 32,
                                 .epochs = 3,
                                 .validation = 0.2f,
                                 .threads = 2};
}

/* ---- learning ---- */

static double mean_recall(const double recall[D])
{
    return (recall[0] + recall[1] + recall[2] + recall[3]) / D;
}

static void check_summary(const umbra_shadow *shadow, const umbra_train_result *r)
{
    json_t *training = json_loads(shadow->training, JSON_REJECT_DUPLICATES, NULL);
    json_t *recall = json_loads(shadow->recall, JSON_REJECT_DUPLICATES, NULL);
    assert_true(json_is_object(training) && json_is_object(recall));
    assert_int_equal(json_array_size(json_object_get(training, "documents")),
                     r->documents + r->validation_documents);
    assert_int_equal(json_array_size(json_object_get(training, "ids")),
                     r->documents + r->validation_documents);
    assert_int_equal(json_array_size(json_object_get(training, "frequency")), TOY_LAYERS);
    assert_int_equal(json_array_size(json_object_get(training, "epochs")), r->epochs + 1);
    assert_int_equal(json_array_size(json_object_get(training, "networks")), r->networks);
    assert_int_equal(json_integer_value(json_object_get(training, "tokens")), r->tokens);
    const json_t *settings = json_object_get(training, "settings");
    assert_string_equal(json_string_value(json_object_get(settings, "batch")), "32");
    const json_t *by_m = json_object_get(json_object_get(recall, "recall"), "2");
    for (size_t d = 0; d < D; d++)
        assert_true(fabs(json_number_value(json_array_get(by_m, d)) - r->recall[0][d]) < 1e-5);
    assert_int_equal(json_array_size(json_object_get(recall, "sources")), TOY_LAYERS);
    json_decref(training);
    json_decref(recall);
}

static void test_learns(void **state)
{
    (void)state;
    toy_write(folder, &(toy){.documents = 60, .tokens = 100});
    umbra_train_options o = small_options();
    o.epochs = 10;
    o.learning_rate = 0.01f;
    umbra_train_result r;
    MUST(umbra_train(&o, &r, &err));
    assert_false(exists(checkpoint));
    assert_int_equal(r.networks, TOY_LAYERS);
    assert_int_equal(r.rows + r.validation_rows, r.tokens);
    assert_int_equal(r.documents + r.validation_documents, 60);
    assert_in_range(r.epochs, 1, 10);
    assert_int_equal(r.m[0], 2);
    assert_int_equal(r.m[1], 3);
    assert_int_equal(r.m[2], 4);
    for (int d = 0; d < D; d++) {
        assert_true(r.recall[0][d] > r.untrained_recall[d] + 0.05);
        assert_true(r.recall[1][d] > r.recall[0][d] && r.recall[2][d] > r.recall[1][d]);
        assert_true(r.ece[d] >= 0.0 && r.ece[d] < 0.05);
    }
    assert_true(mean_recall(r.recall[0]) > 0.7);

    umbra_shadow *shadow;
    MUST(umbra_shadow_load(&shadow, output, &err));
    MUST(umbra_shadow_check(&shadow->spec, output, "0123456789abcdef0123456789abcdef", "a toy",
                            TOY_LAYERS, TOY_HIDDEN, TOY_EXPERTS, TOY_USED, &err));
    check_summary(shadow, &r);
    for (int source = 0; source < TOY_LAYERS; source++)
        for (int d = 0; d < umbra_shadow_distances(&shadow->spec, source); d++)
            assert_true(shadow->calibration[(source * D + d) * 2] > 0.3f);
    umbra_shadow_free(&shadow);
}

/* Every kind of network trains, saves and improves on where it began. */
static void test_kinds(void **state)
{
    (void)state;
    toy_write(folder, &(toy){.documents = 30, .tokens = 80});
    const struct {
        umbra_train_arch arch;
        umbra_train_scope scope;
        const char *features, *averages;
        umbra_train_loss_kind loss;
        umbra_weight_form weights;
        float dropout, average;
    } kinds[] = {
        {UMBRA_TRAIN_ARCH_RESIDUAL, UMBRA_TRAIN_SCOPE_LAYER, "none", "none", UMBRA_TRAIN_LOSS_KL,
         UMBRA_WEIGHT_FORM_BF16, 0, 0},
        {UMBRA_TRAIN_ARCH_RESIDUAL, UMBRA_TRAIN_SCOPE_SHARED, "now,previous", NULL,
         UMBRA_TRAIN_LOSS_BCE, UMBRA_WEIGHT_FORM_F32, 0, 0.9f},
        {UMBRA_TRAIN_ARCH_SEED, UMBRA_TRAIN_SCOPE_LAYER, NULL, NULL, UMBRA_TRAIN_LOSS_BCE,
         UMBRA_WEIGHT_FORM_I8, 0.1f, 0},
        {UMBRA_TRAIN_ARCH_SEED, UMBRA_TRAIN_SCOPE_SHARED, "none", "none", UMBRA_TRAIN_LOSS_KL,
         UMBRA_WEIGHT_FORM_DEFAULT, 0, 0},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        umbra_train_options o = small_options();
        o.arch = kinds[i].arch;
        o.scope = kinds[i].scope;
        o.features = kinds[i].features;
        o.averages = kinds[i].averages;
        o.loss = kinds[i].loss;
        o.weights = kinds[i].weights;
        o.dropout = kinds[i].dropout;
        o.average = kinds[i].average;
        o.learning_rate = 0.01f;
        umbra_train_result r;
        int rc = umbra_train(&o, &r, &err);
        if (o.weights == UMBRA_WEIGHT_FORM_I8 && rc == UMBRA_E_ARGUMENT) {
            assert_non_null(strstr(err.message, "points of recall")); /* so small a net feels it */
            o.force = true;
            o.resume = true; /* nothing is lost */
            rc = umbra_train(&o, &r, &err);
        }
        MUST(rc);
        assert_int_equal(r.networks, o.scope == UMBRA_TRAIN_SCOPE_SHARED ? 1 : TOY_LAYERS);
        assert_true(mean_recall(r.recall[0]) > mean_recall(r.untrained_recall) + 0.02);
        umbra_shadow *shadow;
        MUST(umbra_shadow_load(&shadow, output, &err));
        assert_int_equal(shadow->count, r.networks);
        umbra_shadow_free(&shadow);
    }
}

/* Sources without data keep untrained networks, and the file is whole. */
static void test_dense_first_layer(void **state)
{
    (void)state;
    toy_write(
        folder,
        &(toy){.documents = 40, .tokens = 80, .dense_first = true, .stride = 2, .int8 = true});
    umbra_train_options o = small_options();
    o.epochs = 6;
    o.learning_rate = 0.01f;
    umbra_train_result r;
    MUST(umbra_train(&o, &r, &err));
    assert_true(r.rows + r.validation_rows < r.tokens);
    umbra_shadow *shadow;
    MUST(umbra_shadow_load(&shadow, output, &err));
    for (int e = 0; e < D * TOY_EXPERTS; e++)
        assert_true(shadow->networks[0].bias[e] == 0.0f && shadow->networks[1].bias[e] == 0.0f);
    assert_true(shadow->networks[2].bias[0] != 0.0f);
    umbra_shadow_free(&shadow);
}

/* ---- the same bits ---- */

static void assert_same_weights(const char *a, const char *b, bool same)
{
    umbra_shadow *x, *y;
    bool differs = false;
    MUST(umbra_shadow_load(&x, a, &err));
    MUST(umbra_shadow_load(&y, b, &err));
    assert_int_equal(x->count, y->count);
    for (int i = 0; i < x->count; i++) {
        float *px[UMBRA_SHADOW_PARTS], *py[UMBRA_SHADOW_PARTS];
        size_t lengths[UMBRA_SHADOW_PARTS];
        umbra_shadow_parts(&x->spec, &x->networks[i], px, lengths);
        umbra_shadow_parts(&y->spec, &y->networks[i], py, lengths);
        for (int p = 0; p < UMBRA_SHADOW_PARTS; p++)
            differs |= lengths[p] > 0 && memcmp(px[p], py[p], lengths[p] * sizeof(float)) != 0;
    }
    size_t pairs = (size_t)(TOY_LAYERS + 1) * D * 2;
    differs |= memcmp(x->calibration, y->calibration, pairs * sizeof(float)) != 0;
    assert_int_equal(differs, !same);
    umbra_shadow_free(&x);
    umbra_shadow_free(&y);
}

static void test_deterministic(void **state)
{
    (void)state;
    toy_write(folder, &(toy){.documents = 16, .tokens = 60});
    umbra_train_options o = small_options();
    o.window_bytes = 100000;
    MUST(umbra_train(&o, NULL, &err));
    o.output = second;
    o.threads = 1;
    MUST(umbra_train(&o, NULL, &err));
    assert_same_weights(output, second, true);
    o.threads = 5;
    MUST(umbra_train(&o, NULL, &err));
    assert_same_weights(output, second, true);
    o.seed = 2;
    MUST(umbra_train(&o, NULL, &err));
    assert_same_weights(output, second, false);
}

typedef struct stopper {
    atomic_bool stop;
    int epochs_left; /* until it stops */
    int reports;
    uint64_t done, total;
} stopper;

static void stop_after_epochs(void *user, const umbra_train_epoch *e)
{
    stopper *s = user;
    assert_true(e->epoch >= 0 && e->epoch <= e->epochs);
    assert_true(isnan(e->loss) == (e->epoch == 0));
    if (s->epochs_left-- == 0)
        atomic_store(&s->stop, true);
}

static void take_report(void *user, const char *stage, const char *unit, uint64_t done,
                        uint64_t total)
{
    stopper *s = user;
    assert_string_equal(stage, "training");
    assert_string_equal(unit, "rows");
    assert_true(done >= s->done && done <= total);
    s->done = done;
    s->total = total;
    s->reports++;
}

static void check_resume(umbra_train_options o)
{
    o.output = second;
    MUST(umbra_train(&o, NULL, &err));
    o.output = output;
    o.resume = true;
    int rc = UMBRA_E_INTERRUPTED, interruptions = 0;
    for (int i = 0; rc != UMBRA_OK; i++) {
        assert_true(i < 100);
        stopper s = {.epochs_left = i % 3};
        umbra_progress progress = {take_report, &s, &s.stop};
        o.progress = &progress;
        o.on_epoch = stop_after_epochs;
        o.user = &s;
        o.threads = 1 + i % 2;
        rc = umbra_train(&o, NULL, &err);
        assert_true(s.reports > 0);
        if (rc == UMBRA_OK) {
            assert_int_equal(s.done, s.total);
            break;
        }
        if (rc != UMBRA_E_INTERRUPTED)
            fail_msg("%s", err.message);
        assert_non_null(strstr(err.message, checkpoint));
        assert_true(exists(checkpoint) && !exists(output));
        interruptions++;
    }
    assert_true(interruptions >= 3);
    assert_false(exists(checkpoint));
    assert_same_weights(output, second, true);
    unlink(output);
}

static void test_resume(void **state)
{
    (void)state;
    toy_write(folder, &(toy){.documents = 16, .tokens = 60});
    umbra_train_options o = small_options();
    o.window_bytes = 60000;
    o.checkpoint_seconds = -1; /* after every step */
    o.batch = 64;
    check_resume(o);
    o.average = 0.95f;
    o.patience = 1;
    o.learning_rate = 0.05f;
    check_resume(o);
    o.arch = UMBRA_TRAIN_ARCH_SEED;
    o.dropout = 0.2f;
    o.loss = UMBRA_TRAIN_LOSS_KL;
    check_resume(o);
}

/* A checkpoint of other options, an altered one, and one that is in the way. */
static void test_checkpoint_errors(void **state)
{
    (void)state;
    toy_write(folder, &(toy){.documents = 8, .tokens = 40});
    umbra_train_options o = small_options();
    stopper s = {.epochs_left = 2};
    umbra_progress progress = {NULL, NULL, &s.stop};
    o.progress = &progress;
    o.on_epoch = stop_after_epochs;
    o.user = &s;
    o.threads = 1;
    assert_int_equal(umbra_train(&o, NULL, &err), UMBRA_E_INTERRUPTED);
    o.progress = NULL;
    o.on_epoch = NULL;
    assert_int_equal(umbra_train(&o, NULL, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, checkpoint));
    o.resume = true;
    o.batch = 33;
    assert_int_equal(umbra_train(&o, NULL, &err), UMBRA_E_MISMATCH);
    assert_non_null(strstr(err.message, "batch 32"));
    assert_non_null(strstr(err.message, "33"));
    o.batch = 32;
    o.traces = (const char *const[]){folder, other};
    o.n_traces = 2;
    toy_write(other, &(toy){.documents = 2, .tokens = 40, .seed = 3});
    assert_int_equal(umbra_train(&o, NULL, &err), UMBRA_E_MISMATCH);
    o.n_traces = 1;

    char path[400];
    snprintf(path, sizeof path, "%s/network-0000.safetensors", checkpoint);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size - 8), 0);
    assert_int_equal(umbra_train(&o, NULL, &err), UMBRA_E_FORMAT);
    assert_non_null(strstr(err.message, path));
    assert_false(exists(output));
    assert_true(exists(checkpoint));
}

/* ---- what is refused ---- */

static void refuse(umbra_train_options o, const char *word)
{
    umbra_train_result r = {.networks = 77};
    assert_int_equal(umbra_train(&o, &r, &err), UMBRA_E_ARGUMENT);
    if (!strstr(err.message, word))
        fail_msg("\"%s\" does not say \"%s\"", err.message, word);
    assert_int_equal(r.networks, 0);
    assert_false(exists(output));
    assert_false(exists(checkpoint));
}

static void test_bad_options(void **state)
{
    (void)state;
    toy_write(folder, &(toy){.documents = 4, .tokens = 20});
    const umbra_train_options good = small_options();
#define REFUSE(field, value, word)                                                                 \
    do {                                                                                           \
        umbra_train_options o = good;                                                              \
        o.field = value;                                                                           \
        refuse(o, word);                                                                           \
    } while (0)
    REFUSE(arch, (umbra_train_arch)2, "arch 2");
    REFUSE(scope, (umbra_train_scope)2, "scope 2");
    REFUSE(loss, (umbra_train_loss_kind)2, "loss 2");
    REFUSE(weights, (umbra_weight_form)9, "weights 9");
    REFUSE(features, "now,later", "later");
    REFUSE(features, "", "feature");
    REFUSE(averages, "0.5,1.0", "1.0");
    REFUSE(averages, ".1,.2,.3,.4,.5", "more than 4");
    REFUSE(averages, "0.5x", "0.5x");
    REFUSE(width, -1, "width");
    REFUSE(epochs, -1, "epochs");
    REFUSE(batch, -1, "batch");
    REFUSE(learning_rate, -1.0f, "learning rate");
    REFUSE(learning_rate, NAN, "learning rate");
    REFUSE(warmup, 1.5f, "warm-up");
    REFUSE(weight_decay, 10.5f, "weight decay");
    REFUSE(clip, NAN, "clip");
    REFUSE(dropout, 0.5f, "dropout"); /* of residual */
    REFUSE(average, 1.0f, "average");
    REFUSE(patience, 100001, "patience");
    REFUSE(reserved[0], 1, "this version");
    REFUSE(validation, -0.1f, "validation");
    REFUSE(threads, -2, "threads");
    REFUSE(output, NULL, "path");
    REFUSE(n_traces, 0, "trace");
    umbra_train_options o = good;
    o.arch = UMBRA_TRAIN_ARCH_SEED;
    o.features = "now";
    refuse(o, "seed");
    assert_int_equal(umbra_train(NULL, NULL, &err), UMBRA_E_ARGUMENT);
}

/* The words of the command line, and what the messages say of others. */
static void test_words(void **state)
{
    (void)state;
    umbra_train_arch arch = UMBRA_TRAIN_ARCH_SEED;
    umbra_train_scope scope = UMBRA_TRAIN_SCOPE_LAYER;
    umbra_train_loss_kind loss = UMBRA_TRAIN_LOSS_BCE;
    assert_int_equal(umbra_train_arch_parse(NULL, &arch, &err), UMBRA_OK);
    assert_int_equal(arch, UMBRA_TRAIN_ARCH_RESIDUAL);
    assert_int_equal(umbra_train_arch_parse("seed", &arch, &err), UMBRA_OK);
    assert_int_equal(arch, UMBRA_TRAIN_ARCH_SEED);
    assert_int_equal(umbra_train_arch_parse("transformer", &arch, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "\"transformer\" is none of: residual, seed"));
    assert_int_equal(arch, UMBRA_TRAIN_ARCH_SEED);
    assert_int_equal(umbra_train_scope_parse("shared", &scope, &err), UMBRA_OK);
    assert_int_equal(scope, UMBRA_TRAIN_SCOPE_SHARED);
    assert_int_equal(umbra_train_scope_parse("model", &scope, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_train_loss_parse("kl", &loss, &err), UMBRA_OK);
    assert_int_equal(loss, UMBRA_TRAIN_LOSS_KL);
    assert_int_equal(umbra_train_loss_parse("", &loss, &err), UMBRA_E_ARGUMENT);
}

static void test_bad_traces(void **state)
{
    (void)state;
    toy_write(folder, &(toy){.documents = 4, .tokens = 20});
    toy_write(other, &(toy){.documents = 4, .tokens = 20, .hidden = 24});
    umbra_train_options o = small_options();
    o.n_traces = 2;
    assert_int_equal(umbra_train(&o, NULL, &err), UMBRA_E_MISMATCH);
    assert_non_null(strstr(err.message, folder));
    assert_non_null(strstr(err.message, other));
    o.n_traces = 1;
    o.output = "/nonexistent/folder/x.safetensors";
    assert_int_equal(umbra_train(&o, NULL, &err), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "/nonexistent/folder"));

    /* One altered byte in a shard's data is found when it is read. */
    o = small_options();
    char path[400];
    snprintf(path, sizeof path, "%s/shard-00001.safetensors", folder);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, -9000, SEEK_END);
    int byte = fgetc(f);
    fseek(f, -1, SEEK_CUR);
    fputc(byte ^ 4, f);
    fclose(f);
    int rc = umbra_train(&o, NULL, &err);
    assert_true(rc == UMBRA_E_CORRUPT || rc == UMBRA_E_FORMAT);
    assert_non_null(strstr(err.message, path));
    assert_false(exists(output));
}

static void test_divergence(void **state)
{
    (void)state;
    toy_write(folder, &(toy){.documents = 6, .tokens = 40});
    umbra_train_options o = small_options();
    o.learning_rate = 10.0f;
    o.clip = -1;
    o.weight_decay = 10.0f;
    o.epochs = 40;
    o.patience = -1;
    o.warmup = -1;
    int rc = umbra_train(&o, NULL, &err);
    if (rc != UMBRA_OK) {
        assert_int_equal(rc, UMBRA_E_NONFINITE);
        assert_non_null(strstr(err.message, "lower learning rate"));
    }
}

/* Whichever allocation fails: an error, and nothing left behind but a checkpoint. */
static void test_no_memory(void **state)
{
    (void)state;
    toy_write(folder, &(toy){.documents = 4, .tokens = 16});
    umbra_train_options o = small_options();
    o.epochs = 1;
    o.width = 4;
    o.threads = 1;
    o.averages = "none";
    int failures = 0, rc = UMBRA_E_NOMEM;
    for (long n = 1; rc != UMBRA_OK; n += n < 200 ? 1 : 17) {
        umbra_memory_fail_after(n);
        rc = umbra_train(&o, NULL, &err);
        umbra_memory_fail_after(0);
        if (rc != UMBRA_OK && rc != UMBRA_E_NOMEM)
            fail_msg("allocation %ld: %s", n, err.message);
        failures += rc == UMBRA_E_NOMEM;
        toy_remove(checkpoint);
    }
    assert_true(failures > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_learns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kinds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dense_first_layer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deterministic, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_resume, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_checkpoint_errors, set_up, tear_down),
        cmocka_unit_test(test_words),
        cmocka_unit_test_setup_teardown(test_bad_options, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_traces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_divergence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
