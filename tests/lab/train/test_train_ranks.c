/* Trainings that several ranks share: the bits of one process where networks are divided, the same
 * ones again where one network is, other numbers of ranks after an interruption, and failures that
 * end all. Ranks are threads. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include <umbra/lab/train.h>

#include "predict/shadow.h"
#include "ranks.h"
#include "traces.h"

static char root[256], folder[300], other[300], alone[300], shared[300];
static char apart[TEST_RANKS][300]; /* output of each rank, as on machines of their own */
static const char *folders[TEST_RANKS] = {folder, folder, folder, folder};

/* What ranks do, and what came of it. */
typedef struct job {
    umbra_train_options options;
    bool one_disk; /* all write to the same place */
    int odd;       /* rank with other options or traces; -1: none */
    void (*make_odd)(umbra_train_options *o);
    int stopping; /* rank that is interrupted; -1: none */
    atomic_bool stop;
    int epochs_left;
    int status[TEST_RANKS];
    umbra_error error[TEST_RANKS];
    umbra_train_result result[TEST_RANKS];
    int told; /* epochs */
} job;

static int set_up(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    snprintf(root, sizeof root, "%s/umbra-train-ranks-XXXXXX", tmp);
    if (!mkdtemp(root))
        return -1;
    snprintf(folder, sizeof folder, "%s/traces", root);
    snprintf(other, sizeof other, "%s/others", root);
    snprintf(alone, sizeof alone, "%s/alone", root);
    snprintf(shared, sizeof shared, "%s/shared", root);
    for (int r = 0; r < TEST_RANKS; r++)
        snprintf(apart[r], sizeof apart[r], "%s/rank%d", root, r);
    toy_write(folder, &(toy){.documents = 16, .tokens = 60});
    toy_write(other, &(toy){.documents = 12, .tokens = 60, .seed = 3});
    return 0;
}

static void remove_training(const char *output)
{
    char path[1400];
    snprintf(path, sizeof path, "%s.checkpoint", output);
    toy_remove(path);
    unlink(output);
}

static void clean(void)
{
    remove_training(alone);
    remove_training(shared);
    for (int r = 0; r < TEST_RANKS; r++)
        remove_training(apart[r]);
}

static int tear_down(void **state)
{
    (void)state;
    clean();
    toy_remove(folder);
    toy_remove(other);
    return rmdir(root); /* fails if a test left anything else behind */
}

static umbra_train_options small_options(umbra_train_scope scope)
{
    return (umbra_train_options){.traces = folders,
                                 .n_traces = 1,
                                 .scope = scope,
                                 .width = 24,
                                 .batch = 33, /* does not divide evenly */
                                 .epochs = 3,
                                 .validation = 0.2f,
                                 .threads = 1};
}

static void count_epoch(void *user, const umbra_train_epoch *e)
{
    job *j = user;
    assert_true(e->epoch >= 0 && e->epoch <= e->epochs);
    j->told++;
    if (j->stopping >= 0 && j->epochs_left-- == 0)
        atomic_store(&j->stop, true);
}

static void train_rank(const umbra_ranks *ranks, void *user)
{
    job *j = user;
    int r = ranks->rank;
    umbra_train_options o = j->options;
    const umbra_progress progress = {.interrupted = &j->stop};
    o.ranks = ranks;
    o.output = j->one_disk ? shared : apart[r];
    o.on_epoch = count_epoch;
    o.user = j;
    if (r == j->stopping)
        o.progress = &progress;
    if (r == j->odd)
        j->make_odd(&o);
    j->status[r] = umbra_train(&o, &j->result[r], &j->error[r]);
}

static void run(job *j, int count)
{
    j->told = 0;
    atomic_store(&j->stop, false);
    test_with_ranks(count, NULL, train_rank, j);
}

static void must(const job *j, int count)
{
    for (int r = 0; r < count; r++)
        if (j->status[r] != UMBRA_OK)
            fail_msg("rank %d: %s", r, j->error[r].message);
}

static void assert_same_file(const char *a, const char *b)
{
    FILE *x = fopen(a, "rb"), *y = fopen(b, "rb");
    assert_true(x && y);
    int c, d;
    do {
        c = fgetc(x);
        d = fgetc(y);
    } while (c == d && c != EOF);
    fclose(x);
    fclose(y);
    assert_int_equal(c, d);
}

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

/* A process by itself writes `alone`. */
static umbra_train_result train_alone(umbra_train_options o)
{
    umbra_error err = {0};
    umbra_train_result result;
    o.output = alone;
    if (umbra_train(&o, &result, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    return result;
}

static void test_networks_are_divided(void **state)
{
    (void)state;
    job j = {.options = small_options(UMBRA_TRAIN_SCOPE_LAYER), .odd = -1, .stopping = -1};
    j.options.average = 0.9f;
    umbra_train_result one = train_alone(j.options);
    for (int count = 1; count <= TEST_RANKS; count++) {
        for (int disk = 0; disk < 2; disk++) {
            j.one_disk = disk == 1;
            run(&j, count);
            must(&j, count);
            assert_same_file(alone, j.one_disk ? shared : apart[0]);
            assert_int_equal(j.told, TOY_LAYERS * (one.epochs + 1));
            for (int r = 0; r < count; r++) {
                assert_memory_equal(j.result[r].recall, one.recall, sizeof one.recall);
                assert_int_equal(j.result[r].file_bytes, one.file_bytes);
                assert_int_equal(exists(apart[r]), !j.one_disk && r == 0);
            }
            remove_training(shared);
            remove_training(apart[0]);
        }
    }
}

/* One network: the same bits for the same number of ranks, and as good for another. */
static void test_batches_are_divided(void **state)
{
    (void)state;
    job j = {.options = small_options(UMBRA_TRAIN_SCOPE_SHARED), .odd = -1, .stopping = -1};
    umbra_train_result one = train_alone(j.options);
    for (int count = 1; count <= TEST_RANKS; count++) {
        j.one_disk = true;
        run(&j, count);
        must(&j, count);
        j.one_disk = false;
        run(&j, count);
        must(&j, count);
        assert_same_file(shared, apart[0]);
        if (count == 1)
            assert_same_file(shared, alone);
        for (int d = 0; d < UMBRA_MAX_DISTANCE; d++)
            assert_true(fabs(j.result[count - 1].recall[0][d] - one.recall[0][d]) < 0.03);
        assert_int_equal(j.told, one.epochs + 1);
        remove_training(shared);
        remove_training(apart[0]);
    }
    j.options.batch = 2; /* ranks without a row */
    run(&j, 3);
    must(&j, 3);
    /* What a row drops does not depend on the division. */
    j.options = small_options(UMBRA_TRAIN_SCOPE_SHARED);
    j.options.arch = UMBRA_TRAIN_ARCH_SEED;
    j.options.dropout = 0.2f;
    j.options.learning_rate = 1e-6f;
    j.options.epochs = 1;
    one = train_alone(j.options);
    run(&j, 3);
    must(&j, 3);
    for (int d = 0; d < UMBRA_MAX_DISTANCE; d++)
        assert_true(fabs(j.result[2].recall[0][d] - one.recall[0][d]) < 1e-3);
    clean();
}

/* Stops a rank after ever more epochs, goes on with another number of ranks, until it is done. */
static void check_resume(umbra_train_options o, bool one_disk)
{
    static const int counts[] = {2, 3, 1, 4};
    job j = {.options = o, .one_disk = one_disk, .odd = -1};
    j.options.resume = true;
    j.options.checkpoint_seconds = -1;
    int stops = 0;
    for (int i = 0;; i++) {
        int count = counts[i % 4];
        assert_true(i < 100);
        j.stopping = count - 1;
        j.epochs_left = i % 3;
        run(&j, count);
        if (j.status[0] == UMBRA_OK) {
            must(&j, count);
            break;
        }
        for (int r = 0; r < count; r++)
            assert_int_equal(j.status[r], UMBRA_E_INTERRUPTED);
        assert_non_null(strstr(j.error[0].message, "go on with resume"));
        stops++;
    }
    assert_true(stops >= 2);
}

static void test_resume_with_other_ranks(void **state)
{
    (void)state;
    umbra_train_options o = small_options(UMBRA_TRAIN_SCOPE_LAYER);
    o.batch = 16; /* takes longer than what tells of an epoch */
    (void)train_alone(o);
    check_resume(o, true);
    assert_same_file(alone, shared);
    clean();
    (void)train_alone(o);
    check_resume(o, false);
    assert_same_file(alone, apart[0]);
    clean();
    o = small_options(UMBRA_TRAIN_SCOPE_SHARED);
    check_resume(o, true);
    assert_true(exists(shared));
    clean();
}

static void other_batch(umbra_train_options *o)
{
    o->batch = 17;
}
static void other_form(umbra_train_options *o)
{
    o->weights = UMBRA_WEIGHT_FORM_BF16;
}
static void other_traces(umbra_train_options *o)
{
    static const char *list[] = {other};
    o->traces = list;
}
static void no_traces(umbra_train_options *o)
{
    static const char *list[] = {"/nothing/is/here"};
    o->traces = list;
}
static void no_folder(umbra_train_options *o)
{
    o->output = "/nothing/is/here/shadow";
}
static void far_too_fast(umbra_train_options *o)
{
    o->learning_rate = 10;
}

static void test_failures_end_all(void **state)
{
    (void)state;
    const struct {
        void (*make_odd)(umbra_train_options *o);
        int status;
        const char *words;
    } cases[] = {
        {other_batch, UMBRA_E_MISMATCH, "batch differs from rank 0's: \"17\" here, \"33\" there"},
        {other_form, UMBRA_E_MISMATCH, "the form of the weights differs"},
        {other_traces, UMBRA_E_MISMATCH, "traces differs from rank 0's"},
        {no_traces, UMBRA_E_IO, "/nothing/is/here"},
        {no_folder, UMBRA_E_IO, "/nothing/is/here/shadow.checkpoint: cannot make the folder"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        job j = {.options = small_options(UMBRA_TRAIN_SCOPE_LAYER), .odd = 1, .stopping = -1};
        j.make_odd = cases[i].make_odd;
        run(&j, 3);
        for (int r = 0; r < 3; r++) {
            assert_int_equal(j.status[r], cases[i].status);
            if (!strstr(j.error[r].message, cases[i].words))
                fail_msg("\"%s\" is not in: %s", cases[i].words, j.error[r].message);
            assert_int_equal(j.result[r].networks, 0);
        }
    }
    clean();
}

/* Ranks whose training goes wrong on the way. */
static void test_divergence_ends_all(void **state)
{
    (void)state;
    for (int scope = UMBRA_TRAIN_SCOPE_LAYER; scope <= UMBRA_TRAIN_SCOPE_SHARED; scope++) {
        job j = {.options = small_options((umbra_train_scope)scope), .odd = -1, .stopping = -1};
        far_too_fast(&j.options);
        j.options.epochs = 200;
        j.options.patience = -1;
        j.options.clip = -1;
        j.options.weight_decay = 10;
        run(&j, 2);
        for (int r = 0; r < 2; r++) {
            assert_int_equal(j.status[r], UMBRA_E_NONFINITE);
            assert_non_null(strstr(j.error[r].message, "use a lower learning rate"));
        }
        clean();
    }
}

/* A checkpoint that lies on another rank's machine alone is in the way of a new training too. */
static void test_in_the_way(void **state)
{
    (void)state;
    job j = {.options = small_options(UMBRA_TRAIN_SCOPE_LAYER), .odd = -1, .stopping = 1};
    run(&j, 2);
    assert_int_equal(j.status[0], UMBRA_E_INTERRUPTED);
    remove_training(apart[0]);
    j.stopping = -1;
    run(&j, 2);
    for (int r = 0; r < 2; r++) {
        assert_int_equal(j.status[r], UMBRA_E_ARGUMENT);
        assert_non_null(strstr(j.error[r].message, "holds a training that was stopped"));
    }
    j.options.resume = true;
    run(&j, 2);
    must(&j, 2);
    clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_networks_are_divided),    cmocka_unit_test(test_batches_are_divided),
        cmocka_unit_test(test_resume_with_other_ranks), cmocka_unit_test(test_failures_end_all),
        cmocka_unit_test(test_divergence_ends_all),     cmocka_unit_test(test_in_the_way),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
