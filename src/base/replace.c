/* Files that appear whole or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

static char *append(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b) + 1;
    char *text = umbra_calloc(n + m, 1);
    if (text) {
        memcpy(text, a, n);
        memcpy(text + n, b, m);
    }
    return text;
}

/* The file that a link points to: replacing the link itself would leave that one as it was. */
static int follow(char **out, const char *path, umbra_error *err)
{
    char *real = realpath(path, NULL);
    if (!real)
        return umbra_fail(err, UMBRA_E_IO,
                          "%s: is a link that leads nowhere (%s); remove it or name another file",
                          path, strerror(errno));
    *out = umbra_strdup(real);
    free(real);
    return UMBRA_OK;
}

/* The path to write to: only a file can be replaced, or nothing. */
static int find_target(char **out, const char *path, umbra_error *err)
{
    struct stat st;
    bool link = lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
    int rc = UMBRA_OK;
    if (link)
        rc = follow(out, path, err);
    else
        *out = umbra_strdup(path);
    if (rc == UMBRA_OK && !*out)
        rc = umbra_fail_nomem(err, "a path", strlen(path));
    if (rc == UMBRA_OK && stat(*out, &st) == 0 && !S_ISREG(st.st_mode))
        rc = umbra_fail(err, UMBRA_E_IO, "%s: is a %s; name a file", path,
                        S_ISDIR(st.st_mode) ? "directory" : "pipe or device");
    return rc;
}

/* Not through a link or into a pipe that somebody put there; a file is what an interrupted run has
 * left. */
static int open_part(umbra_replacement *r, umbra_error *err)
{
    const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    struct stat st;
    r->fd = open(r->part, flags, 0666);
    if (r->fd < 0)
        return umbra_fail(err, UMBRA_E_IO, "%s: cannot create: %s", r->part, strerror(errno));
    if (fstat(r->fd, &st) == 0 && S_ISREG(st.st_mode))
        return UMBRA_OK;
    close(r->fd);
    r->fd = -1; /* it is not ours to remove */
    return umbra_fail(err, UMBRA_E_IO, "%s: is no file, but stands where one is to be written",
                      r->part);
}

int umbra_replace_begin(umbra_replacement *r, const char *path, umbra_error *err)
{
    *r = (umbra_replacement){.fd = -1};
    int rc = find_target(&r->path, path, err);
    if (rc == UMBRA_OK) {
        r->part = append(r->path, UMBRA_REPLACE_SUFFIX);
        rc = r->part ? open_part(r, err) : umbra_fail_nomem(err, "a path", strlen(path));
    }
    if (rc != UMBRA_OK)
        umbra_replace_abort(r);
    return rc;
}

static const char *hint_of(int error)
{
    return error == ENOSPC || error == EDQUOT ? "; free some space or use another disk"
           : error == EFBIG                   ? "; a limit on the size of files is in force"
                                              : "";
}

static int fail(const umbra_replacement *r, int error, umbra_error *err)
{
    error = error ? error : EIO;
    return umbra_fail(err, UMBRA_E_IO, "%s: cannot write: %s%s", r->part, strerror(error),
                      hint_of(error));
}

static int fail_piece(const umbra_replacement *r, int error, uint64_t bytes, uint64_t offset,
                      umbra_error *err)
{
    return umbra_fail_at(err, UMBRA_E_IO, offset, "%s: cannot write %llu bytes: %s%s", r->part,
                         (unsigned long long)bytes, strerror(error), hint_of(error));
}

int umbra_replace_reserve(const umbra_replacement *r, uint64_t bytes, umbra_error *err)
{
    int error;
    do
        error = fallocate(r->fd, 0, 0, (off_t)bytes) == 0 ? 0 : errno;
    while (error == EINTR);
    if (error == EOPNOTSUPP || error == ENOSYS)
        error = ftruncate(r->fd, (off_t)bytes) == 0 ? 0 : errno;
    return error == 0 ? UMBRA_OK : fail_piece(r, error, bytes, 0, err);
}

int umbra_replace_write(const umbra_replacement *r, const void *data, uint64_t bytes,
                        uint64_t offset, umbra_error *err)
{
    for (uint64_t done = 0; done < bytes;) {
        ssize_t n = pwrite(r->fd, (const char *)data + done, bytes - done, (off_t)(offset + done));
        if (n > 0)
            done += (uint64_t)n;
        else if (n == 0 || errno != EINTR)
            return fail_piece(r, n == 0 ? EIO : errno, bytes - done, offset + done, err);
    }
    return UMBRA_OK;
}

int umbra_replace_stream(umbra_replacement *r, FILE **out, umbra_error *err)
{
    int fd = r->stream ? -1 : dup(r->fd);
    if (!r->stream)
        r->stream = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (!r->stream) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return fail(r, error, err);
    }
    errno = 0; /* what goes wrong from here on is told by the commit */
    *out = r->stream;
    return UMBRA_OK;
}

/* All that was written is with the file system. */
static int flush(umbra_replacement *r, umbra_error *err)
{
    if (!r->stream)
        return UMBRA_OK;
    bool bad = fflush(r->stream) != 0 || ferror(r->stream);
    int error = errno;
    fclose(r->stream);
    r->stream = NULL;
    return bad ? fail(r, error, err) : UMBRA_OK;
}

int umbra_folder_sync(int fd, const char *path, umbra_error *err)
{
    if (fsync(fd) == 0 || errno == EINVAL || errno == EROFS)
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_IO,
                      "%s: is written, but may be lost if the power fails now: cannot sync its "
                      "folder: %s",
                      path, strerror(errno));
}

/* A folder that may not be read is no failure. */
static int sync_folder_of(const char *path, umbra_error *err)
{
    char *folder = append(path, "");
    if (!folder)
        return umbra_fail_nomem(err, "a path", strlen(path) + 1);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder ? 1 : 0] = '\0';
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    umbra_free(folder);
    if (fd < 0)
        return UMBRA_OK;
    int rc = umbra_folder_sync(fd, path, err);
    close(fd);
    return rc;
}

int umbra_replace_commit(umbra_replacement *r, bool *replaced, umbra_error *err)
{
    int rc = flush(r, err);
    bool done = false;
    if (rc == UMBRA_OK && fsync(r->fd) != 0)
        rc = fail(r, errno, err);
    if (rc == UMBRA_OK && rename(r->part, r->path) != 0)
        rc = umbra_fail(err, UMBRA_E_IO, "%s: cannot take the place of %s: %s", r->part, r->path,
                        strerror(errno));
    if (rc == UMBRA_OK) {
        close(r->fd);
        r->fd = -1; /* nothing is left to remove */
        done = true;
        rc = sync_folder_of(r->path, err);
    }
    umbra_replace_abort(r);
    if (replaced)
        *replaced = done;
    return rc;
}

void umbra_replace_abort(umbra_replacement *r)
{
    if (r->stream)
        fclose(r->stream);
    if (r->fd >= 0) {
        close(r->fd);
        unlink(r->part);
    }
    umbra_free(r->path);
    umbra_free(r->part);
    *r = (umbra_replacement){.fd = -1};
}

int umbra_replace_file(const char *path, umbra_replace_writer *write, void *user, bool *replaced,
                       umbra_error *err)
{
    umbra_replacement r;
    FILE *f;
    if (replaced)
        *replaced = false;
    int rc = umbra_replace_begin(&r, path, err);
    if (rc == UMBRA_OK)
        rc = umbra_replace_stream(&r, &f, err);
    if (rc == UMBRA_OK) {
        write(f, user);
        rc = umbra_replace_commit(&r, replaced, err);
    }
    umbra_replace_abort(&r);
    return rc;
}
