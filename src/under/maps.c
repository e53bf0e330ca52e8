/* Reads /proc/self/maps. */
#include "under/maps.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/error.h"
#include "base/memory.h"

typedef struct file_id {
    struct stat st;
    char path[PATH_MAX]; /* without links */
} file_id;

/* A line of the table. */
typedef struct line {
    uintptr_t begin, end;
    uint64_t offset, inode;
    unsigned major, minor;
    char path[PATH_MAX];
} line;

static bool parse_line(const char *text, line *l)
{
    int path_at = 0;
    int n = sscanf(text, "%" SCNxPTR "-%" SCNxPTR " r%*3s %" SCNx64 " %x:%x %" SCNu64 " %n",
                   &l->begin, &l->end, &l->offset, &l->major, &l->minor, &l->inode, &path_at);
    if (n != 6 || path_at == 0)
        return false;
    snprintf(l->path, sizeof l->path, "%s", text + path_at);
    l->path[strcspn(l->path, "\n")] = 0;
    return true;
}

/* Layered file systems name another device in the table than stat does, so the path counts too. */
static int file_of(const line *l, const file_id *files, int n)
{
    for (int i = 0; i < n; i++)
        if (l->inode == files[i].st.st_ino &&
            ((l->major == major(files[i].st.st_dev) && l->minor == minor(files[i].st.st_dev)) ||
             strcmp(l->path, files[i].path) == 0))
            return i;
    return -1;
}

static int add_mapping(umbra_maps *maps, const line *l, int file, umbra_error *err)
{
    umbra_mapping *last = maps->n > 0 ? &maps->mapping[maps->n - 1] : NULL;
    if (last && last->end == l->begin && last->file == file &&
        last->offset + (last->end - last->begin) == l->offset) {
        last->end = l->end;
        return UMBRA_OK;
    }
    if (maps->n == maps->room) {
        int room = maps->room ? 2 * maps->room : 16;
        void *more = umbra_reallocarray(maps->mapping, (size_t)room, sizeof *maps->mapping);
        if (!more)
            return umbra_fail_nomem(err, "the table of mappings", 0);
        maps->mapping = more;
        maps->room = room;
    }
    maps->mapping[maps->n++] = (umbra_mapping){l->begin, l->end, l->offset, file};
    return UMBRA_OK;
}

static int identify(file_id *id, const char *path, umbra_error *err)
{
    if (stat(path, &id->st) != 0 || !realpath(path, id->path))
        return umbra_fail(err, UMBRA_E_IO, "%s: %s", path, strerror(errno));
    return UMBRA_OK;
}

static int read_lines(umbra_maps *maps, const file_id *files, int n, uintptr_t low, uintptr_t high,
                      umbra_error *err)
{
    FILE *f = fopen("/proc/self/maps", "re");
    if (!f)
        return umbra_fail(err, UMBRA_E_SYSTEM, "cannot read /proc/self/maps: %s", strerror(errno));
    char text[PATH_MAX + 128];
    int rc = UMBRA_OK;
    line l;
    while (rc == UMBRA_OK && fgets(text, sizeof text, f)) {
        int file = parse_line(text, &l) ? file_of(&l, files, n) : -1;
        if (file >= 0 && l.begin >= low && l.end <= high)
            rc = add_mapping(maps, &l, file, err);
    }
    fclose(f);
    return rc;
}

int umbra_maps_read(umbra_maps *maps, const char *const *paths, int n, uintptr_t low,
                    uintptr_t high, umbra_error *err)
{
    *maps = (umbra_maps){0};
    file_id *files = umbra_calloc((size_t)n, sizeof *files);
    int rc = files ? UMBRA_OK : umbra_fail_nomem(err, "the table of files", 0);
    for (int i = 0; rc == UMBRA_OK && i < n; i++)
        rc = identify(&files[i], paths[i], err);
    if (rc == UMBRA_OK)
        rc = read_lines(maps, files, n, low, high, err);
    umbra_free(files);
    if (rc != UMBRA_OK)
        umbra_maps_free(maps);
    return rc;
}

void umbra_maps_free(umbra_maps *maps)
{
    umbra_free(maps->mapping);
    *maps = (umbra_maps){0};
}

char *umbra_maps_find(const umbra_maps *maps, int file, uint64_t offset, uint64_t bytes)
{
    for (int i = 0; i < maps->n; i++) {
        const umbra_mapping *m = &maps->mapping[i];
        if (m->file == file && offset >= m->offset &&
            offset - m->offset + bytes <= m->end - m->begin)
            return (char *)m->begin + (offset - m->offset);
    }
    return NULL;
}
