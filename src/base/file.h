/* Files: whole reads at an offset, and files that appear whole or not at all. */
#ifndef UMBRA_BASE_FILE_H
#define UMBRA_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <umbra/status.h>

/* Opens for reading; only regular files and block devices. *out is the descriptor (close it),
 * *bytes the size. Messages name the path. */
int umbra_file_open(int *out, const char *path, uint64_t *bytes, umbra_error *err);

/* Reads exactly `bytes` at `offset`; short reads and EINTR are retried, the end of the file is an
 * error with its offset. path is for the message. */
int umbra_file_read(int fd, const char *path, void *buffer, size_t bytes, uint64_t offset,
                    umbra_error *err);

/* ---- replacing a file ----
 * What is written goes to PATH.part next to PATH, with the rights that the umask leaves, and gets
 * its name at the commit: a reader sees the old file or the whole new one. Of a link the file that
 * it leads to is replaced; directories, pipes and devices are refused. One writer per path at a
 * time. Failures are UMBRA_E_IO (a full disk says so) or UMBRA_E_NOMEM and leave no PATH.part. */

#define UMBRA_REPLACE_SUFFIX ".part"

/* All zero but fd = -1 when nothing is under way: then an abort does nothing. */
typedef struct umbra_replacement {
    char *path, *part; /* owned */
    int fd;            /* of PATH.part; -1 none */
    FILE *stream;      /* over it, or NULL */
} umbra_replacement;

int umbra_replace_begin(umbra_replacement *r, const char *path, umbra_error *err);
/* Gives the file its full size, so that a full disk shows now and not hours later. */
int umbra_replace_reserve(const umbra_replacement *r, uint64_t bytes, umbra_error *err);
/* Writes at an offset; several threads at once may, for different pieces. After a failure abort. */
int umbra_replace_write(const umbra_replacement *r, const void *data, uint64_t bytes,
                        uint64_t offset, umbra_error *err);
/* A stream over the file, from its beginning; it belongs to the replacement, and what goes wrong in
 * it is told by the commit. */
int umbra_replace_stream(umbra_replacement *r, FILE **out, umbra_error *err);
/* Makes the file durable and gives it its name; ends the replacement in any case. *replaced (may be
 * NULL): it has its name, true also where only its durability is in doubt, which is a failure. */
int umbra_replace_commit(umbra_replacement *r, bool *replaced, umbra_error *err);
void umbra_replace_abort(umbra_replacement *r);

/* All of it, for what a function writes to a stream. */
typedef void umbra_replace_writer(FILE *f, void *user);
int umbra_replace_file(const char *path, umbra_replace_writer *write, void *user, bool *replaced,
                       umbra_error *err);

/* Makes the names in the folder fd durable; where the file system cannot, that is no failure. path
 * is for the message. */
int umbra_folder_sync(int fd, const char *path, umbra_error *err);

#endif
