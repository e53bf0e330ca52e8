/* The folder of states: what is in it, and what goes when it is full. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "schedule/states_internal.h"

/* A name as umbra_state_name gives it, with this ending: whatever else lies in the folder is
 * somebody's own. */
static bool is_named(const char *name, const char *suffix)
{
    enum { DIGITS = 32 };
    return strspn(name, "0123456789abcdef") == DIGITS && strcmp(name + DIGITS, suffix) == 0;
}

/* Marks the tokens of a file of this model; false where the file is damaged. */
static bool read_tokens(const umbra_states *s, umbra_state_entry *e, int fd, const char *path)
{
    umbra_state_header h;
    if (e->bytes < sizeof h || umbra_file_read(fd, path, &h, sizeof h, 0, NULL) != UMBRA_OK ||
        !umbra_state_check(&h, NULL, e->bytes))
        return false;
    int32_t *tokens = umbra_calloc(h.tokens, sizeof *tokens);
    bool good = tokens && umbra_file_read(fd, path, tokens, h.tokens * sizeof *tokens, sizeof h,
                                          NULL) == UMBRA_OK;
    good = good && umbra_state_check(&h, tokens, e->bytes);
    e->own = good && memcmp(h.model, s->model, sizeof h.model) == 0 &&
             memcmp(h.kernels, s->kernels, sizeof h.kernels) == 0;
    if (e->own)
        good = umbra_state_mark(e, tokens, (int)h.tokens);
    umbra_free(tokens);
    return good;
}

/* False: it is none, or damaged, and goes. */
static bool read_entry(const umbra_states *s, umbra_state_entry *e, const char *path)
{
    struct stat st = {0};
    int fd;
    if (umbra_file_open(&fd, path, &e->bytes, NULL) != UMBRA_OK)
        return false;
    bool good = fstat(fd, &st) == 0 && (e->experts || read_tokens(s, e, fd, path));
    close(fd);
    e->used_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return good;
}

void umbra_state_add(umbra_states *s, const umbra_state_entry *e)
{
    s->entries[s->n++] = *e;
    s->stats.files += !e->experts;
    s->stats.bytes += e->bytes;
}

static int add_file(umbra_states *s, const char *name, umbra_error *err)
{
    char *path = umbra_state_path(s, name);
    if (!path)
        return umbra_fail_nomem(err, "a path", strlen(name));
    umbra_state_entry e = {0};
    bool part = is_named(name, UMBRA_STATE_SUFFIX UMBRA_REPLACE_SUFFIX) ||
                is_named(name, UMBRA_EXPERTS_SUFFIX UMBRA_REPLACE_SUFFIX);
    bool state = is_named(name, UMBRA_STATE_SUFFIX);
    e.experts = is_named(name, UMBRA_EXPERTS_SUFFIX);
    if (part || ((state || e.experts) && s->n == UMBRA_STATE_FILES)) {
        unlink(path);
    } else if ((state || e.experts) && read_entry(s, &e, path)) {
        strcpy(e.name, name);
        umbra_state_add(s, &e);
    } else if (state) {
        umbra_free(e.marks);
        unlink(path);
        s->stats.damaged++;
    }
    umbra_free(path);
    return UMBRA_OK;
}

int umbra_state_scan(umbra_states *s, umbra_error *err)
{
    DIR *folder = opendir(s->folder);
    if (!folder)
        return umbra_fail(err, UMBRA_E_IO, "%s: cannot read the folder: %s", s->folder,
                          strerror(errno));
    int rc = UMBRA_OK;
    for (struct dirent *d; rc == UMBRA_OK && (d = readdir(folder)) != NULL;)
        rc = add_file(s, d->d_name, err);
    closedir(folder);
    return rc;
}

int umbra_state_write(const umbra_states *s, const char *name, const void *data, uint64_t bytes,
                      umbra_error *err)
{
    umbra_replacement r = {.fd = -1};
    char *path = umbra_state_path(s, name);
    int rc = path ? umbra_replace_begin(&r, path, err) : umbra_fail_nomem(err, "a path", 64);
    if (rc == UMBRA_OK && fchmod(r.fd, 0600) != 0)
        rc = umbra_fail(err, UMBRA_E_IO, "%s: cannot be made for its owner alone: %s", path,
                        strerror(errno));
    if (rc == UMBRA_OK)
        rc = umbra_replace_reserve(&r, bytes, err);
    if (rc == UMBRA_OK)
        rc = umbra_replace_write(&r, data, bytes, 0, err);
    if (rc == UMBRA_OK)
        rc = umbra_replace_commit(&r, NULL, err);
    else
        umbra_replace_abort(&r);
    umbra_free(path);
    return rc;
}

/* The entry of that name, or -1. */
static int find(const umbra_states *s, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->entries[i].name, name) == 0)
            return i;
    return -1;
}

static void forget(umbra_states *s, int i)
{
    umbra_state_entry *e = &s->entries[i];
    s->stats.files -= !e->experts;
    s->stats.bytes -= e->bytes;
    umbra_free(e->marks);
    *e = s->entries[--s->n];
}

void umbra_state_remove(umbra_states *s, int i)
{
    char *path = umbra_state_path(s, s->entries[i].name);
    if (path)
        unlink(path);
    umbra_free(path);
    forget(s, i);
}

void umbra_state_remove_named(umbra_states *s, const char *name)
{
    int i = find(s, name);
    if (i < 0)
        return;
    umbra_state_remove(s, i);
    s->stats.damaged++;
}

void umbra_state_replace(umbra_states *s, umbra_state_entry *e)
{
    int i = find(s, e->name);
    if (i >= 0)
        forget(s, i);
    e->used_ns = umbra_state_now_ns();
    umbra_state_add(s, e);
}

bool umbra_state_make_room(umbra_states *s, uint64_t bytes)
{
    if (bytes > s->o.most_bytes)
        return false;
    while (s->n > 0 && (s->stats.bytes > s->o.most_bytes - bytes || s->n == UMBRA_STATE_FILES)) {
        int oldest = 0;
        for (int i = 1; i < s->n; i++)
            if (s->entries[i].used_ns < s->entries[oldest].used_ns)
                oldest = i;
        umbra_state_remove(s, oldest);
        s->stats.evicted++;
    }
    return true;
}
