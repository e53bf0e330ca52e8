/* Full disks, failing allocations, and several threads on one handle. */
#include "make.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/memory.h"

/* A limit on the size of files stands in for a full disk. */
static struct rlimit unlimited;

static void limit_files(rlim_t bytes)
{
    struct rlimit limit = {.rlim_cur = bytes, .rlim_max = unlimited.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, bytes ? &limit : &unlimited), 0);
}

static int set_up(void **state)
{
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    return getrlimit(RLIMIT_FSIZE, &unlimited);
}

static void expect_full(int rc, const char *folder, const char *file)
{
    limit_files(0);
    if (rc != UMBRA_E_IO || !strstr(make_err.message, folder) || !strstr(make_err.message, file))
        fail_msg("%d: %s", rc, make_err.message);
}

/* Opens the folder's trace and finds the first `shards` shards intact. */
static void check_trace(const make *m, const char *folder, int shards)
{
    umbra_trace *t;
    MUST(umbra_trace_open(&t, folder, &make_err));
    make_check(m, t, shards);
    umbra_trace_close(&t);
    assert_int_equal(make_files(folder), shards + 2);
}

static void disk_full(void **state)
{
    (void)state;
    const char *folder = make_folder();
    const make m = make_case(false, 1);
    umbra_trace_writer *w;
    int rc;
    MUST(umbra_trace_writer_open(&w, folder, &m.info, false, &make_err));
    limit_files(1000);
    rc = make_put_gates(&m, w); /* the second one finds no room */
    expect_full(rc, folder, "routers");
    umbra_trace_writer_close(&w);
    assert_int_equal(make_files(folder), 0);

    MUST(umbra_trace_writer_open(&w, folder, &m.info, false, &make_err));
    MUST(make_put_gates(&m, w));
    limit_files(2000);
    rc = make_begin(&m, w, 0);
    expect_full(rc, folder, "gates.safetensors.part");
    assert_int_equal(make_files(folder), 0);
    limit_files(5000);
    rc = make_begin(&m, w, 0);
    expect_full(rc, folder, "shard-00000.safetensors.part");
    assert_int_equal(make_files(folder), 1);
    MUST(make_put_shard(&m, w, 0, MAKE_CHUNKS));
    check_trace(&m, folder, 1);

    /* The space was there when it was reserved, and a write fails all the same. */
    MUST(make_begin(&m, w, 1));
    limit_files(5000);
    rc = make_put_values(&m, w, 1, MAKE_CHUNKS);
    expect_full(rc, folder, "shard-00001.safetensors.part");
    umbra_trace_writer_close(&w);
    check_trace(&m, folder, 1);
    make_remove(folder);
}

/* Of a shard so small that the manifest is the bigger file. The same documents can then be begun
 * again. */
static void disk_full_for_the_manifest(void **state)
{
    (void)state;
    const char *folder = make_folder();
    make m = make_case(false, 1);
    umbra_trace_writer *w;
    m.info.layers = m.info.hidden = m.info.used = 1;
    m.info.collection = NULL;
    m.bare = -1;
    m.longest = 1;
    m.few = 1;
    MUST(umbra_trace_writer_open(&w, folder, &m.info, false, &make_err));
    MUST(make_put_gates(&m, w));
    for (int s = 0; s < 10; s++) {
        bool full = s == 5;
        MUST(make_begin(&m, w, s));
        MUST(make_put_values(&m, w, s, MAKE_CHUNKS));
        limit_files(full ? 1000 : 0);
        int rc = umbra_trace_shard_end(w, &make_err);
        limit_files(0);
        if (full) {
            expect_full(rc, folder, "manifest.json.part");
            assert_int_equal(umbra_trace_writer_shards(w), s);
            check_trace(&m, folder, s);
            rc = make_put_shard(&m, w, s, MAKE_CHUNKS);
        }
        assert_int_equal(rc, UMBRA_OK);
    }
    umbra_trace_writer_close(&w);
    check_trace(&m, folder, 10);
    make_remove(folder);
}

/* A run that makes its n-th allocation fail. Returns whether it came to its end without. */
static bool run_with_failure(const make *m, const char *folder, long n)
{
    umbra_trace_writer *w;
    umbra_memory_fail_after(n);
    int rc = umbra_trace_writer_open(&w, folder, &m->info, true, &make_err);
    if (rc == UMBRA_OK)
        rc = make_put_gates(m, w);
    for (int s = rc == UMBRA_OK ? umbra_trace_writer_shards(w) : 2; s < 2 && rc == UMBRA_OK; s++)
        rc = make_put_shard(m, w, s, MAKE_SHUFFLED);
    umbra_memory_fail_after(0);
    umbra_trace_writer_close(&w);
    if (rc != UMBRA_OK && rc != UMBRA_E_NOMEM)
        fail_msg("allocation %ld: %d, %s", n, rc, make_err.message);
    return rc == UMBRA_OK;
}

static void writing_without_memory(void **state)
{
    (void)state;
    make m = make_case(true, 3);
    int failed = 0;
    m.longest = 6;
    m.few = 2;
    /* From nothing, and on top of a first shard. */
    for (int shards = 0; shards < 2; shards++) {
        bool done = false;
        for (long n = 1; !done; n++) {
            const char *folder = make_folder();
            if (shards > 0)
                make_trace(&m, folder, shards, MAKE_CHUNKS);
            done = run_with_failure(&m, folder, n);
            if (!done) /* what was left behind can be gone on with */
                assert_true(run_with_failure(&m, folder, 0));
            check_trace(&m, folder, 2);
            make_remove(folder);
            failed += !done;
        }
    }
    assert_true(failed > 100);
}

static void reading_without_memory(void **state)
{
    (void)state;
    const char *folder = make_folder();
    const make m = make_case(true, 3);
    make_trace(&m, folder, 2, MAKE_CHUNKS);
    long n = 1;
    for (;; n++) {
        umbra_trace *t;
        umbra_memory_fail_after(n);
        int rc = umbra_trace_open(&t, folder, &make_err);
        umbra_memory_fail_after(0);
        if (rc == UMBRA_OK) {
            make_check(&m, t, 2);
            umbra_trace_close(&t);
            break;
        }
        assert_int_equal(rc, UMBRA_E_NOMEM);
        assert_null(t);
    }
    assert_true(n > 20);
    make_remove(folder);
}

/* ---- threads ---- */

enum { THREADS = 4 };

typedef struct reader {
    umbra_trace *trace;
    umbra_error err;
    int rc;
} reader;

static void *read_all(void *user)
{
    reader *r = user;
    r->rc = make_read_all(r->trace, &r->err);
    return NULL;
}

static void read_together(umbra_trace *t, int rc, const char *words)
{
    pthread_t threads[THREADS];
    reader readers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        readers[i] = (reader){.trace = t};
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, &readers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(readers[i].rc, rc);
        assert_non_null(strstr(readers[i].err.message, words));
    }
}

/* All begin with tensors whose checksums nobody has verified. */
static void several_threads(void **state)
{
    (void)state;
    const char *folder = make_folder();
    for (int int8 = 0; int8 < 2; int8++) {
        const make m = make_case(int8, 1);
        umbra_trace *t;
        make_trace(&m, folder, 3, MAKE_CHUNKS);
        MUST(umbra_trace_open(&t, folder, &make_err));
        read_together(t, UMBRA_OK, "");
        make_check(&m, t, 3);
        umbra_trace_close(&t);
        /* And where one of them is wrong: each thread is told. */
        size_t bytes;
        unsigned char *data = make_load(folder, "shard-00001.safetensors", &bytes);
        data[bytes - 1] ^= 1;
        make_save(folder, "shard-00001.safetensors", data, bytes);
        free(data);
        MUST(umbra_trace_open(&t, folder, &make_err));
        read_together(t, UMBRA_E_CORRUPT, "shard-00001.safetensors");
        umbra_trace_close(&t);
        make_remove(folder);
        folder = make_folder();
    }
    make_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disk_full),
        cmocka_unit_test(disk_full_for_the_manifest),
        cmocka_unit_test(writing_without_memory),
        cmocka_unit_test(reading_without_memory),
        cmocka_unit_test(several_threads),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
