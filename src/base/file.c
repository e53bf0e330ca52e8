/* Opening files, and reading them whole. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/error.h"
#include "base/file.h"

int umbra_file_open(int *out, const char *path, uint64_t *bytes, umbra_error *err)
{
    *out = -1;
    *bytes = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return umbra_fail(err, UMBRA_E_IO, "%s: cannot open: %s", path, strerror(errno));
    struct stat st;
    int rc = fstat(fd, &st) == 0 ? UMBRA_OK : -errno;
    if (rc != UMBRA_OK)
        rc = umbra_fail(err, UMBRA_E_IO, "%s: cannot stat: %s", path, strerror(-rc));
    else if (S_ISBLK(st.st_mode))
        rc =
            ioctl(fd, BLKGETSIZE64, bytes) == 0
                ? UMBRA_OK
                : umbra_fail(err, UMBRA_E_IO, "%s: cannot get the size: %s", path, strerror(errno));
    else if (S_ISREG(st.st_mode))
        *bytes = (uint64_t)st.st_size;
    else
        rc = umbra_fail(err, UMBRA_E_IO, "%s: is a %s, not a file", path,
                        S_ISDIR(st.st_mode) ? "directory" : "pipe or device");
    if (rc != UMBRA_OK) {
        close(fd);
        return rc;
    }
    *out = fd;
    return UMBRA_OK;
}

int umbra_file_read(int fd, const char *path, void *buffer, size_t bytes, uint64_t offset,
                    umbra_error *err)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = pread(fd, (char *)buffer + done, bytes - done, (off_t)(offset + done));
        if (n > 0)
            done += (size_t)n;
        else if (n == 0)
            return umbra_fail_at(err, UMBRA_E_IO, offset + done,
                                 "%s: the file ends, %zu bytes more were expected", path,
                                 bytes - done);
        else if (errno != EINTR)
            return umbra_fail_at(err, UMBRA_E_IO, offset + done, "%s: cannot read: %s", path,
                                 strerror(errno));
    }
    return UMBRA_OK;
}
