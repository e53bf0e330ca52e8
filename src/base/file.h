/* Files: whole reads at an offset, and files that appear whole or not at all. */
#ifndef UMBRA_BASE_FILE_H
#define UMBRA_BASE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include <umbra/status.h>

/* Opens for reading; only regular files and block devices. *out is the descriptor (close it),
 * *bytes the size. Messages name the path. */
int umbra_file_open(int *out, const char *path, uint64_t *bytes, umbra_error *err);

/* Reads exactly `bytes` at `offset`; short reads and EINTR are retried, the end of the file is an
 * error with its offset. path is for the message. */
int umbra_file_read(int fd, const char *path, void *buffer, size_t bytes, uint64_t offset,
                    umbra_error *err);

#endif
