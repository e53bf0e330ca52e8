/* Files that appear whole or not at all: what may be replaced, and what failures leave behind. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

/* The linker sends these calls here: the call number `countdown` fails with `error`. */
static struct fault {
    int countdown, error;
} fault_fsync, fault_rename, fault_pwrite, fault_fallocate;

static bool strikes(struct fault *f)
{
    if (f->countdown <= 0 || --f->countdown > 0)
        return false;
    errno = f->error;
    return true;
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    return strikes(&fault_fsync) ? -1 : __real_fsync(fd);
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to)
{
    return strikes(&fault_rename) ? -1 : __real_rename(from, to);
}

ssize_t __real_pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    return strikes(&fault_pwrite) ? -1 : __real_pwrite(fd, data, bytes, offset);
}

int __real_fallocate(int fd, int mode, off_t offset, off_t bytes);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t bytes);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t bytes)
{
    return strikes(&fault_fallocate) ? -1 : __real_fallocate(fd, mode, offset, bytes);
}

static char folder[] = "/tmp/umbra-replace-XXXXXX", path[64], part[80];
static umbra_error err;

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/file", folder);
    snprintf(part, sizeof part, "%s" UMBRA_REPLACE_SUFFIX, path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder); /* fails if a test has left something */
}

static void write_text(FILE *f, void *user)
{
    fputs(user, f);
}

static int replace_with(const char *target, const char *text)
{
    return umbra_replace_file(target, write_text, (void *)(uintptr_t)text, NULL, &err);
}

static void expect_text(const char *file, const char *text)
{
    char got[64] = "";
    FILE *f = fopen(file, "rb");
    assert_non_null(f);
    (void)!fread(got, 1, sizeof got - 1, f);
    fclose(f);
    assert_string_equal(got, text);
    assert_int_not_equal(access(part, F_OK), 0);
}

static void replaces_with_the_rights_of_the_umask(void **state)
{
    (void)state;
    struct stat st;
    mode_t before = umask(027);
    assert_int_equal(replace_with(path, "one"), UMBRA_OK);
    umask(before);
    expect_text(path, "one");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    FILE *f = fopen(part, "wb"); /* what an interrupted run has left */
    assert_non_null(f);
    fputs("much longer than what follows", f);
    fclose(f);
    assert_int_equal(replace_with(path, "two"), UMBRA_OK);
    expect_text(path, "two");
}

static void keeps_links_and_replaces_what_they_lead_to(void **state)
{
    (void)state;
    char link[80], middle[80];
    struct stat st;
    snprintf(link, sizeof link, "%s/link", folder);
    snprintf(middle, sizeof middle, "%s/middle", folder);
    assert_int_equal(replace_with(path, "old"), UMBRA_OK);
    assert_int_equal(symlink("file", middle), 0);
    assert_int_equal(symlink(middle, link), 0);
    assert_int_equal(replace_with(link, "new"), UMBRA_OK);
    expect_text(path, "new");
    assert_true(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
    unlink(path);
    assert_int_equal(replace_with(link, "newer"), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "leads nowhere"));
    unlink(middle);
    unlink(link);
}

static void refuses_what_is_no_file(void **state)
{
    (void)state;
    char other[80];
    snprintf(other, sizeof other, "%s/other", folder);
    assert_int_equal(replace_with(folder, "x"), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "directory"));
    assert_int_equal(replace_with("/dev/null", "x"), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "pipe or device"));
    assert_int_equal(mkfifo(other, 0600), 0);
    assert_int_equal(replace_with(other, "x"), UMBRA_E_IO);
    assert_int_equal(replace_with("/nonexistent/file", "x"), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "/nonexistent/file"));
    assert_int_equal(replace_with(path, "kept"), UMBRA_OK);
    /* Nor is anything written through what stands at PATH.part. */
    assert_int_equal(symlink(path, part), 0);
    assert_int_equal(replace_with(path, "x"), UMBRA_E_IO);
    assert_int_equal(unlink(part), 0);
    assert_int_equal(rename(other, part), 0);
    assert_int_equal(replace_with(path, "x"), UMBRA_E_IO);
    assert_int_equal(unlink(part), 0);
    expect_text(path, "kept");
}

/* One whole replacement by pieces. */
static int by_pieces(bool *replaced)
{
    umbra_replacement r;
    *replaced = false;
    int rc = umbra_replace_begin(&r, path, &err);
    if (rc == UMBRA_OK)
        rc = umbra_replace_reserve(&r, 4, &err);
    if (rc == UMBRA_OK)
        rc = umbra_replace_write(&r, "ew", 2, 1, &err);
    if (rc == UMBRA_OK)
        rc = umbra_replace_write(&r, "n", 1, 0, &err);
    if (rc == UMBRA_OK)
        rc = umbra_replace_write(&r, "!", 1, 3, &err);
    if (rc == UMBRA_OK)
        rc = umbra_replace_commit(&r, replaced, &err);
    umbra_replace_abort(&r);
    return rc;
}

static void failures_are_told_and_leave_the_old_file(void **state)
{
    (void)state;
    static const struct {
        struct fault *fault;
        int nth, error;
        const char *says;
    } cases[] = {
        {&fault_fallocate, 1, ENOSPC, "free some space"},
        {&fault_pwrite, 1, ENOSPC, "free some space"},
        {&fault_pwrite, 2, EIO, "Input/output error"},
        {&fault_pwrite, 3, EDQUOT, "free some space"},
        {&fault_fsync, 1, EIO, "Input/output error"},
        {&fault_fsync, 1, ENOSPC, "free some space"},
        {&fault_rename, 1, EACCES, "cannot take the place"},
    };
    bool replaced;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(replace_with(path, "old"), UMBRA_OK);
        *cases[i].fault = (struct fault){cases[i].nth, cases[i].error};
        assert_int_equal(by_pieces(&replaced), UMBRA_E_IO);
        assert_int_equal(cases[i].fault->countdown, 0);
        assert_false(replaced);
        assert_non_null(strstr(err.message, path));
        assert_non_null(strstr(err.message, cases[i].says));
        expect_text(path, "old");
    }
    /* Where a file system cannot reserve, and where a signal comes. */
    fault_fallocate = (struct fault){1, EOPNOTSUPP};
    fault_pwrite = (struct fault){2, EINTR};
    assert_int_equal(by_pieces(&replaced), UMBRA_OK);
    assert_true(replaced);
    expect_text(path, "new!");
}

static void doubtful_durability_is_told_apart(void **state)
{
    (void)state;
    bool replaced;
    assert_int_equal(replace_with(path, "old"), UMBRA_OK);
    fault_fsync = (struct fault){2, EIO}; /* the folder's */
    assert_int_equal(by_pieces(&replaced), UMBRA_E_IO);
    assert_true(replaced);
    assert_non_null(strstr(err.message, "may be lost"));
    expect_text(path, "new!");
    fault_fsync = (struct fault){2, EINVAL}; /* a file system that syncs no folders */
    assert_int_equal(by_pieces(&replaced), UMBRA_OK);
}

/* A limit on the size of files stands in for a full disk, as the stream sees it. */
static void full_disk_under_a_stream(void **state)
{
    (void)state;
    static char text[200000];
    memset(text, 'x', sizeof text - 1);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    small = (struct rlimit){.rlim_cur = 4096, .rlim_max = before.rlim_max};
    assert_int_equal(replace_with(path, "old"), UMBRA_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = replace_with(path, text);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(rc, UMBRA_E_IO);
    assert_non_null(strstr(err.message, "limit on the size"));
    expect_text(path, "old");
}

static void without_memory(void **state)
{
    (void)state;
    assert_int_equal(replace_with(path, "old"), UMBRA_OK);
    for (long n = 1; n <= 2; n++) {
        umbra_memory_fail_after(n);
        assert_int_equal(replace_with(path, "new"), UMBRA_E_NOMEM);
        umbra_memory_fail_after(0);
        expect_text(path, "old");
    }
}

static void aborts(void **state)
{
    (void)state;
    umbra_replacement r;
    FILE *f;
    assert_int_equal(replace_with(path, "old"), UMBRA_OK);
    assert_int_equal(umbra_replace_begin(&r, path, &err), UMBRA_OK);
    assert_int_equal(umbra_replace_stream(&r, &f, &err), UMBRA_OK);
    fputs("never", f);
    umbra_replace_abort(&r);
    umbra_replace_abort(&r);
    expect_text(path, "old");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaces_with_the_rights_of_the_umask),
        cmocka_unit_test(keeps_links_and_replaces_what_they_lead_to),
        cmocka_unit_test(refuses_what_is_no_file),
        cmocka_unit_test(failures_are_told_and_leave_the_old_file),
        cmocka_unit_test(doubtful_durability_is_told_apart),
        cmocka_unit_test(full_disk_under_a_stream),
        cmocka_unit_test(without_memory),
        cmocka_unit_test(aborts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
