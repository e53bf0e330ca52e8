/* Round trips, what the writer refuses, and what is left behind when something fails. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "safetensors/safetensors.h"

static char folder[256], path[300], partial[320];
static umbra_error err;

static int set_up(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    snprintf(folder, sizeof folder, "%s/umbra-safetensors-XXXXXX", tmp);
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/file.safetensors", folder);
    snprintf(partial, sizeof partial, "%s.part", path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder); /* fails if a test left anything else behind */
}

static bool exists(const char *p)
{
    struct stat st;
    return stat(p, &st) == 0;
}

#define MUST(call)                                                                                 \
    do {                                                                                           \
        if ((call) != UMBRA_OK)                                                                    \
            fail_msg("%s", err.message);                                                           \
    } while (0)

/* One tensor of every dtype, of every number of dimensions, and empty ones. */
enum { N_TENSORS = 12 };
static const umbra_safetensors_tensor tensors[N_TENSORS] = {
    {.name = "f32", .dtype = UMBRA_ST_F32, .dimensions = 2, .shape = {7, 3}},
    {.name = "f16", .dtype = UMBRA_ST_F16, .dimensions = 1, .shape = {5}},
    {.name = "bf16", .dtype = UMBRA_ST_BF16, .dimensions = 3, .shape = {2, 3, 4}},
    {.name = "f64", .dtype = UMBRA_ST_F64, .dimensions = 0},
    {.name = "empty", .dtype = UMBRA_ST_F32, .dimensions = 2, .shape = {0, 9}},
    {.name = "i8", .dtype = UMBRA_ST_I8, .dimensions = 8, .shape = {1, 2, 1, 2, 1, 2, 1, 3}},
    {.name = "u8", .dtype = UMBRA_ST_U8, .dimensions = 1, .shape = {1}},
    {.name = "i16", .dtype = UMBRA_ST_I16, .dimensions = 2, .shape = {4, 1}},
    {.name = "u16", .dtype = UMBRA_ST_U16, .dimensions = 2, .shape = {1, 4}},
    {.name = "i32 \"\\\n\x01 \xe2\x82\xac", .dtype = UMBRA_ST_I32, .dimensions = 1, .shape = {3}},
    {.name = "i64", .dtype = UMBRA_ST_I64, .dimensions = 1, .shape = {2}},
    {.name = "", .dtype = UMBRA_ST_U8, .dimensions = 2, .shape = {9, 0}},
};
static const umbra_safetensors_pair pairs[] = {
    {"z", "last"},
    {"format", "umbra 1"},
    {"", "no key"},
    {"quote \"\n\t\x7f", "\xf0\x9f\x98\x80\\/"},
};

static uint64_t bytes_of(const umbra_safetensors_tensor *t)
{
    uint64_t bytes = umbra_safetensors_dtype_bytes(t->dtype);
    for (uint32_t i = 0; i < t->dimensions; i++)
        bytes *= t->shape[i];
    return bytes;
}

static unsigned char value_at(size_t tensor, uint64_t byte)
{
    return (unsigned char)(tensor * 37 + byte * 11 + 1);
}

/* Writes pieces of `piece` bytes, from the last tensor and byte to the first. */
static int write_backwards(umbra_safetensors_writer *w, uint64_t piece)
{
    for (size_t i = N_TENSORS; i-- > 0;) {
        unsigned char data[256];
        uint64_t n = bytes_of(&tensors[i]);
        for (uint64_t k = 0; k < n; k++)
            data[k] = value_at(i, k);
        for (uint64_t end = n; end > 0;) {
            uint64_t begin = end > piece ? end - piece : 0;
            int rc = umbra_safetensors_write(w, i, begin, data + begin, end - begin, &err);
            if (rc != UMBRA_OK)
                return rc;
            end = begin;
        }
    }
    return UMBRA_OK;
}

static void check_contents(const umbra_safetensors *f)
{
    uint64_t end = 0;
    assert_int_equal(umbra_safetensors_count(f), N_TENSORS);
    for (size_t i = 0; i < N_TENSORS; i++) {
        const umbra_safetensors_tensor *t = umbra_safetensors_find(f, tensors[i].name);
        assert_non_null(t);
        assert_string_equal(t->name, tensors[i].name);
        assert_int_equal(t->dtype, tensors[i].dtype);
        assert_int_equal(t->dimensions, tensors[i].dimensions);
        assert_memory_equal(t->shape, tensors[i].shape, sizeof t->shape);
        assert_int_equal(t->bytes, bytes_of(&tensors[i]));
        unsigned char data[256];
        MUST(umbra_safetensors_read(f, t, data, &err));
        for (uint64_t k = 0; k < t->bytes; k++)
            assert_int_equal(data[k], value_at(i, k));
        const umbra_safetensors_tensor *in_order = umbra_safetensors_at(f, i);
        assert_true(in_order->offset >= end);
        end = in_order->offset + in_order->bytes;
    }
    assert_int_equal(umbra_safetensors_at(f, 0)->offset % 64, 0);
}

static void round_trip(void **state)
{
    (void)state;
    for (uint64_t piece = 1; piece <= 128; piece *= 2) {
        umbra_safetensors_writer *w;
        MUST(umbra_safetensors_create(&w, path, tensors, N_TENSORS, pairs, 4, &err));
        assert_true(exists(partial));
        MUST(write_backwards(w, piece));
        MUST(umbra_safetensors_finish(&w, &err));
        assert_null(w);
        assert_false(exists(partial));
        umbra_safetensors *f;
        MUST(umbra_safetensors_open(&f, path, &err));
        check_contents(f);
        assert_string_equal(umbra_safetensors_path(f), path);
        assert_int_equal(umbra_safetensors_metadata_count(f), 4);
        for (int i = 0; i < 4; i++)
            assert_string_equal(umbra_safetensors_metadata(f, pairs[i].key), pairs[i].value);
        for (size_t i = 1; i < 4; i++)
            assert_true(strcmp(umbra_safetensors_metadata_at(f, i - 1).key,
                               umbra_safetensors_metadata_at(f, i).key) < 0);
        assert_null(umbra_safetensors_metadata(f, "zz"));
        assert_null(umbra_safetensors_find(f, "f33"));
        assert_true(umbra_safetensors_bytes(f) > 1000);
        umbra_safetensors_close(&f);
        assert_null(f);
        umbra_safetensors_close(&f);
    }
}

static void rows(void **state)
{
    (void)state;
    umbra_safetensors *f;
    MUST(umbra_safetensors_open(&f, path, &err));
    const umbra_safetensors_tensor *t = umbra_safetensors_find(f, "f32");
    unsigned char data[84];
    for (uint64_t first = 0; first <= 7; first++)
        for (uint64_t n = 0; first + n <= 7; n++) {
            memset(data, 0xee, sizeof data);
            MUST(umbra_safetensors_read_rows(f, t, first, n, data, &err));
            for (uint64_t k = 0; k < n * 12; k++)
                assert_int_equal(data[k], value_at(0, first * 12 + k));
            if (n < 7)
                assert_int_equal(data[n * 12], 0xee);
        }
    assert_int_equal(umbra_safetensors_read_rows(f, t, 7, 1, data, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_safetensors_read_rows(f, t, 8, 0, data, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_safetensors_read_rows(f, t, 1, UINT64_MAX, data, &err),
                     UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "\"f32\" has 7 rows"));
    t = umbra_safetensors_find(f, "f64");
    MUST(umbra_safetensors_read_rows(f, t, 0, 1, data, &err));
    assert_int_equal(data[7], value_at(3, 7));
    assert_int_equal(umbra_safetensors_read_rows(f, t, 1, 1, data, &err), UMBRA_E_ARGUMENT);
    t = umbra_safetensors_find(f, "empty");
    MUST(umbra_safetensors_read_rows(f, t, 0, 0, NULL, &err));
    t = umbra_safetensors_find(f, "");
    MUST(umbra_safetensors_read_rows(f, t, 2, 7, NULL, &err));
    umbra_safetensors_close(&f);
}

static void nothing_inside(void **state)
{
    (void)state;
    umbra_safetensors_writer *w;
    umbra_safetensors *f;
    MUST(umbra_safetensors_create(&w, path, NULL, 0, NULL, 0, &err));
    MUST(umbra_safetensors_finish(&w, &err));
    MUST(umbra_safetensors_open(&f, path, &err));
    assert_int_equal(umbra_safetensors_count(f), 0);
    assert_int_equal(umbra_safetensors_metadata_count(f), 0);
    assert_null(umbra_safetensors_find(f, ""));
    assert_null(umbra_safetensors_metadata(f, ""));
    umbra_safetensors_close(&f);
}

static void expect_no_create(const umbra_safetensors_tensor *list, size_t n,
                             const umbra_safetensors_pair *metadata, size_t n_metadata)
{
    umbra_safetensors_writer *w;
    int rc = umbra_safetensors_create(&w, path, list, n, metadata, n_metadata, &err);
    assert_int_equal(rc, UMBRA_E_ARGUMENT);
    assert_null(w);
    assert_non_null(strstr(err.message, path));
    assert_false(exists(partial));
}

static void lists_refused(void **state)
{
    (void)state;
    umbra_safetensors_tensor two[2] = {tensors[0], tensors[1]};
    two[1].name = "f32";
    expect_no_create(two, 2, NULL, 0);
    two[1].name = "\xff";
    expect_no_create(two, 2, NULL, 0);
    two[1].name = NULL;
    expect_no_create(two, 2, NULL, 0);
    two[1].name = "__metadata__";
    expect_no_create(two, 2, NULL, 0);
    two[1] = tensors[1];
    two[1].dtype = UMBRA_SAFETENSORS_DTYPE_COUNT;
    expect_no_create(two, 2, NULL, 0);
    two[1] = tensors[1];
    two[1].dimensions = 9;
    expect_no_create(two, 2, NULL, 0);
    two[1] = (umbra_safetensors_tensor){.name = "x",
                                        .dtype = UMBRA_ST_F32,
                                        .dimensions = 2,
                                        .shape = {(uint64_t)1 << 32, (uint64_t)1 << 31}};
    expect_no_create(two, 2, NULL, 0);
    two[1].shape[1] = (uint64_t)1 << 29;
    expect_no_create(two, 2, NULL, 0);
    two[1].shape[1] = UINT64_MAX;
    expect_no_create(two, 2, NULL, 0);
    expect_no_create(NULL, 0, (umbra_safetensors_pair[]){{"a", "1"}, {"a", "2"}}, 2);
    expect_no_create(NULL, 0, (umbra_safetensors_pair[]){{"a", "\x80"}}, 1);
    expect_no_create(NULL, 0, (umbra_safetensors_pair[]){{"a", NULL}}, 1);
    expect_no_create(NULL, 0, (umbra_safetensors_pair[]){{"\xc0\x80", "1"}}, 1);
    size_t n = 65 << 20;
    char *huge = umbra_calloc(n + 1, 1);
    assert_non_null(huge);
    memset(huge, 'h', n);
    expect_no_create(NULL, 0, (umbra_safetensors_pair[]){{"a", huge}}, 1);
    umbra_free(huge);
}

static void writes_refused(void **state)
{
    (void)state;
    umbra_safetensors_writer *w;
    char data[100] = {0};
    MUST(umbra_safetensors_create(&w, path, tensors, 1, NULL, 0, &err));
    assert_int_equal(umbra_safetensors_write(w, 1, 0, data, 1, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_safetensors_write(w, 0, 0, data, 85, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_safetensors_write(w, 0, 85, data, 0, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_safetensors_write(w, 0, 1, data, UINT64_MAX, &err), UMBRA_E_ARGUMENT);
    MUST(umbra_safetensors_write(w, 0, 84, data, 0, &err));
    MUST(umbra_safetensors_write(w, 0, 0, data, 83, &err));
    assert_int_equal(umbra_safetensors_finish(&w, &err), UMBRA_E_ARGUMENT); /* a byte is missing */
    assert_non_null(strstr(err.message, "83 bytes of tensor \"f32\" were written, it has 84"));
    assert_null(w);
    assert_false(exists(partial));

    MUST(umbra_safetensors_create(&w, path, tensors, 1, NULL, 0, &err));
    MUST(umbra_safetensors_write(w, 0, 0, data, 84, &err));
    MUST(umbra_safetensors_write(w, 0, 0, data, 1, &err));
    assert_int_equal(umbra_safetensors_finish(&w, &err), UMBRA_E_ARGUMENT); /* one byte twice */
}

static void abandoned(void **state)
{
    (void)state;
    umbra_safetensors_writer *w;
    unlink(path);
    MUST(umbra_safetensors_create(&w, path, tensors, N_TENSORS, pairs, 4, &err));
    MUST(write_backwards(w, 16));
    umbra_safetensors_abandon(&w);
    assert_null(w);
    umbra_safetensors_abandon(&w);
    assert_false(exists(partial));
    assert_false(exists(path));
}

/* The rest of an interrupted run is overwritten; the file that was there is replaced. */
static void leftovers(void **state)
{
    (void)state;
    FILE *file = fopen(partial, "wb");
    assert_non_null(file);
    for (int i = 0; i < 100000; i++)
        fputc(i, file);
    fclose(file);
    round_trip(state);
    assert_true(exists(path));
    round_trip(state);
}

static void paths_that_cannot_be(void **state)
{
    (void)state;
    umbra_safetensors_writer *w;
    umbra_safetensors *f;
    char other[340];
    snprintf(other, sizeof other, "%s/none/file", folder);
    assert_int_equal(umbra_safetensors_create(&w, other, tensors, 1, NULL, 0, &err), UMBRA_E_IO);
    assert_null(w);
    assert_non_null(strstr(err.message, other));
    assert_int_equal(umbra_safetensors_open(&f, other, &err), UMBRA_E_IO);
    assert_null(f);
    assert_int_equal(umbra_safetensors_open(&f, folder, &err), UMBRA_E_IO);
    /* A folder has the name that the file is to get. */
    snprintf(other, sizeof other, "%s/folder", folder);
    assert_int_equal(mkdir(other, 0777), 0);
    assert_int_equal(umbra_safetensors_create(&w, other, NULL, 0, NULL, 0, &err), UMBRA_E_IO);
    assert_null(w);
    assert_int_equal(rmdir(other), 0);
    /* Somebody else's link under the partial's name is not followed. */
    assert_int_equal(symlink(folder, partial), 0);
    assert_int_equal(umbra_safetensors_create(&w, path, tensors, 1, NULL, 0, &err), UMBRA_E_IO);
    assert_int_equal(unlink(partial), 0);
}

/* A relative path without a folder in it: the folder that is synced is the present one. */
static void bare_name(void **state)
{
    (void)state;
    char here[4096];
    umbra_safetensors_writer *w;
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(folder), 0);
    MUST(umbra_safetensors_create(&w, "bare", NULL, 0, NULL, 0, &err));
    MUST(umbra_safetensors_finish(&w, &err));
    assert_int_equal(unlink("bare"), 0);
    assert_int_equal(chdir(here), 0);
}

/* A limit on the size of files stands in for a full disk: both fail in fallocate and in pwrite. */
static void disk_full(void **state)
{
    (void)state;
    unlink(path);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    umbra_safetensors_tensor big = {
        .name = "big", .dtype = UMBRA_ST_F32, .dimensions = 1, .shape = {100000}};
    struct rlimit small = {.rlim_cur = 4096, .rlim_max = before.rlim_max};
    umbra_safetensors_writer *w;

    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int at_create = umbra_safetensors_create(&w, path, &big, 1, NULL, 0, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(at_create, UMBRA_E_IO);
    assert_null(w);
    assert_non_null(strstr(err.message, partial));
    assert_non_null(strstr(err.message, "cannot write 400128 bytes"));
    assert_false(exists(partial));

    /* The space was there when it was reserved, and a write fails all the same. */
    static char data[400000];
    MUST(umbra_safetensors_create(&w, path, &big, 1, NULL, 0, &err));
    MUST(umbra_safetensors_write(w, 0, 0, data, 1000, &err));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int at_write = umbra_safetensors_write(w, 0, 1000, data, 399000, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(at_write, UMBRA_E_IO);
    assert_true(err.has_offset);
    assert_int_equal(err.offset, 4096);
    assert_non_null(strstr(err.message, partial));
    assert_int_equal(umbra_safetensors_finish(&w, &err), UMBRA_E_IO);
    assert_null(w);
    assert_false(exists(partial));
    assert_false(exists(path));
    signal(SIGXFSZ, handler);
}

static void without_memory(void **state)
{
    (void)state;
    unlink(path);
    int writing = 0, reading = 0;
    for (long n = 1;; n++) {
        umbra_safetensors_writer *w;
        umbra_memory_fail_after(n);
        int rc = umbra_safetensors_create(&w, path, tensors, N_TENSORS, pairs, 4, &err);
        umbra_memory_fail_after(0);
        assert_true(rc == UMBRA_OK || rc == UMBRA_E_NOMEM);
        assert_int_equal(exists(partial), rc == UMBRA_OK);
        if (rc == UMBRA_OK) {
            MUST(write_backwards(w, 64));
            MUST(umbra_safetensors_finish(&w, &err));
            break;
        }
        assert_null(w);
        writing++;
    }
    for (long n = 1;; n++) {
        umbra_safetensors *f;
        umbra_memory_fail_after(n);
        int rc = umbra_safetensors_open(&f, path, &err);
        umbra_memory_fail_after(0);
        assert_true(rc == UMBRA_OK || rc == UMBRA_E_NOMEM);
        if (rc == UMBRA_OK) {
            check_contents(f);
            umbra_safetensors_close(&f);
            break;
        }
        assert_null(f);
        reading++;
    }
    assert_true(writing >= 5 + N_TENSORS);
    assert_true(reading >= 6);
}

/* Several threads write the rows of one tensor, then several read them. */
enum { THREADS = 4, ROWS = 400, COLUMNS = 50 };
typedef struct job {
    umbra_safetensors_writer *writer;
    umbra_safetensors *file;
    uint32_t index;
    int rc;
} job;

static void *write_rows(void *user)
{
    job *j = user;
    for (uint32_t row = j->index; row < ROWS && j->rc == UMBRA_OK; row += THREADS) {
        uint32_t data[COLUMNS];
        for (uint32_t i = 0; i < COLUMNS; i++)
            data[i] = row * COLUMNS + i;
        j->rc = umbra_safetensors_write(j->writer, 0, row * sizeof data, data, sizeof data, NULL);
    }
    return NULL;
}

static void *read_rows(void *user)
{
    job *j = user;
    const umbra_safetensors_tensor *t = umbra_safetensors_find(j->file, "rows");
    for (uint32_t row = 0; row < ROWS && j->rc == UMBRA_OK; row++) {
        uint32_t data[COLUMNS];
        j->rc = umbra_safetensors_read_rows(j->file, t, row, 1, data, NULL);
        for (uint32_t i = 0; i < COLUMNS && j->rc == UMBRA_OK; i++)
            j->rc = data[i] == row * COLUMNS + i ? UMBRA_OK : UMBRA_E_CORRUPT;
    }
    return NULL;
}

static void run_jobs(void *(*work)(void *), job common)
{
    pthread_t threads[THREADS];
    job jobs[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        jobs[i] = common;
        jobs[i].index = i;
        assert_int_equal(pthread_create(&threads[i], NULL, work, &jobs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(jobs[i].rc, UMBRA_OK);
    }
}

static void several_threads(void **state)
{
    (void)state;
    umbra_safetensors_tensor t = {
        .name = "rows", .dtype = UMBRA_ST_I32, .dimensions = 2, .shape = {ROWS, COLUMNS}};
    job j = {0};
    MUST(umbra_safetensors_create(&j.writer, path, &t, 1, NULL, 0, &err));
    run_jobs(write_rows, j);
    MUST(umbra_safetensors_finish(&j.writer, &err));
    MUST(umbra_safetensors_open(&j.file, path, &err));
    run_jobs(read_rows, j);
    umbra_safetensors_close(&j.file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),     cmocka_unit_test(rows),
        cmocka_unit_test(nothing_inside), cmocka_unit_test(lists_refused),
        cmocka_unit_test(writes_refused), cmocka_unit_test(abandoned),
        cmocka_unit_test(leftovers),      cmocka_unit_test(paths_that_cannot_be),
        cmocka_unit_test(bare_name),      cmocka_unit_test(disk_full),
        cmocka_unit_test(without_memory), cmocka_unit_test(several_threads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
