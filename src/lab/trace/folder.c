/* The folder of a trace: its names, and what lies in it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "lab/trace/internal.h"

char *umbra_trace_path(const char *folder, const char *name)
{
    size_t bytes = strlen(folder) + strlen(name) + 2;
    char *path = umbra_calloc(bytes, 1);
    if (path)
        snprintf(path, bytes, "%s/%s", folder, name);
    return path;
}

umbra_trace_name umbra_trace_shard_name(int shard)
{
    umbra_trace_name name;
    snprintf(name.text, sizeof name.text, "shard-%05d.safetensors", shard);
    return name;
}

/* Makes the name of a new folder durable, if its parent may be read. */
static int sync_parent(const char *folder, umbra_error *err)
{
    char *path = umbra_trace_path(folder, "..");
    if (!path)
        return umbra_fail_nomem(err, "a path", strlen(folder) + 4);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    umbra_free(path);
    if (fd < 0)
        return UMBRA_OK;
    int rc = umbra_folder_sync(fd, folder, err);
    close(fd);
    return rc;
}

int umbra_trace_folder_open(int *out, bool *made, const char *folder, umbra_error *err)
{
    *made = mkdir(folder, 0777) == 0;
    if (*made) {
        int rc = sync_parent(folder, err);
        if (rc != UMBRA_OK)
            return rc;
    } else if (errno != EEXIST) {
        return umbra_fail(err, UMBRA_E_IO, "%s: cannot create the folder: %s", folder,
                          strerror(errno));
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return umbra_fail(err, UMBRA_E_IO, "%s: cannot open the folder: %s", folder,
                          strerror(errno));
    /* Where locks do not work, two writers at once are the user's to avoid. */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        close(fd);
        return umbra_fail(err, UMBRA_E_IO, "%s: another run is writing a trace to this folder",
                          folder);
    }
    *out = fd;
    return UMBRA_OK;
}

typedef enum kind { OTHER, MANIFEST, GATES, SHARD, PARTIAL } kind;

/* What a name in the folder is; of a shard, also its number. */
static kind classify(const char *name, int *shard)
{
    static const char suffix[] = UMBRA_REPLACE_SUFFIX;
    size_t length = strlen(name);
    char whole[UMBRA_TRACE_NAME_CHARS];
    bool partial =
        length >= sizeof suffix && strcmp(name + length - (sizeof suffix - 1), suffix) == 0;
    length -= partial ? sizeof suffix - 1 : 0;
    if (length >= sizeof whole)
        return OTHER;
    memcpy(whole, name, length);
    whole[length] = '\0';
    kind found = strcmp(whole, UMBRA_TRACE_MANIFEST) == 0 ? MANIFEST
                 : strcmp(whole, UMBRA_TRACE_GATES) == 0  ? GATES
                                                          : OTHER;
    if (sscanf(whole, "shard-%5d", shard) == 1 && *shard >= 0 &&
        strcmp(whole, umbra_trace_shard_name(*shard).text) == 0)
        found = SHARD;
    return found != OTHER && partial ? PARTIAL : found;
}

/* Calls visit for every name of a trace's files in the folder, until it fails. */
static int visit_files(const char *folder,
                       int (*visit)(void *context, const char *name, kind k, int shard,
                                    umbra_error *err),
                       void *context, umbra_error *err)
{
    DIR *d = opendir(folder);
    if (!d)
        return umbra_fail(err, UMBRA_E_IO, "%s: cannot open the folder: %s", folder,
                          strerror(errno));
    int rc = UMBRA_OK;
    errno = 0;
    for (struct dirent *e; rc == UMBRA_OK && (e = readdir(d));) {
        int shard = 0;
        kind k = classify(e->d_name, &shard);
        if (k != OTHER)
            rc = visit(context, e->d_name, k, shard, err);
        errno = 0;
    }
    if (rc == UMBRA_OK && errno != 0)
        rc = umbra_fail(err, UMBRA_E_IO, "%s: cannot list the folder: %s", folder, strerror(errno));
    closedir(d);
    return rc;
}

typedef struct check {
    const char *folder;
    bool resume, has_manifest;
} check;

static int check_name(void *context, const char *name, kind k, int shard, umbra_error *err)
{
    (void)shard;
    check *c = context;
    if (!c->resume && k != PARTIAL)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "%s: already holds a trace or a part of one (%s): resume it or use "
                          "another folder",
                          c->folder, name);
    c->has_manifest |= k == MANIFEST;
    return UMBRA_OK;
}

int umbra_trace_folder_check(const char *folder, bool resume, bool *has_manifest, umbra_error *err)
{
    check c = {.folder = folder, .resume = resume};
    int rc = visit_files(folder, check_name, &c, err);
    *has_manifest = c.has_manifest;
    return rc;
}

typedef struct sweep {
    const char *folder;
    int shards; /* listed in the manifest */
    bool remove;
} sweep;

static int sweep_name(void *context, const char *name, kind k, int shard, umbra_error *err)
{
    const sweep *s = context;
    if (k == SHARD && shard > s->shards)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: %s is not in the manifest, which lists %d shards: put the right "
                          "manifest back or remove the file",
                          s->folder, name, s->shards);
    bool stray =
        k == PARTIAL || (k == SHARD && shard == s->shards) || (k == GATES && s->shards == 0);
    if (!stray || !s->remove)
        return UMBRA_OK;
    char *path = umbra_trace_path(s->folder, name);
    if (!path)
        return umbra_fail_nomem(err, "a path", strlen(s->folder) + strlen(name) + 2);
    int rc = unlink(path) == 0 || errno == ENOENT
                 ? UMBRA_OK
                 : umbra_fail(err, UMBRA_E_IO, "%s: cannot remove it: %s", path, strerror(errno));
    umbra_free(path);
    return rc;
}

int umbra_trace_folder_sweep(const char *folder, int shards, umbra_error *err)
{
    /* First all refusals, so that nothing is gone when there is one. */
    sweep s = {.folder = folder, .shards = shards};
    int rc = visit_files(folder, sweep_name, &s, err);
    s.remove = true;
    return rc == UMBRA_OK ? visit_files(folder, sweep_name, &s, err) : rc;
}

static int remove_name(void *context, const char *name, kind k, int shard, umbra_error *err)
{
    (void)k;
    (void)shard;
    (void)err;
    char *path = umbra_trace_path(context, name);
    if (path)
        unlink(path);
    umbra_free(path);
    return UMBRA_OK;
}

void umbra_trace_remove(const char *folder)
{
    (void)visit_files(folder, remove_name, (void *)(uintptr_t)folder, NULL);
    (void)rmdir(folder);
}
