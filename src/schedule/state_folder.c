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
    bool good = fstat(fd, &st) == 0 && read_tokens(s, e, fd, path);
    close(fd);
    e->used_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return good;
}

static int add_file(umbra_states *s, const char *name, umbra_error *err)
{
    char *path = umbra_state_path(s, name);
    if (!path)
        return umbra_fail_nomem(err, "a path", strlen(name));
    umbra_state_entry e = {0};
    bool part = is_named(name, UMBRA_STATE_SUFFIX UMBRA_REPLACE_SUFFIX);
    bool state = is_named(name, UMBRA_STATE_SUFFIX);
    if (part || (state && s->n == UMBRA_STATE_FILES)) {
        unlink(path);
    } else if (state && read_entry(s, &e, path)) {
        strcpy(e.name, name);
        s->entries[s->n++] = e;
        s->stats.files++;
        s->stats.bytes += e.bytes;
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

void umbra_state_remove(umbra_states *s, int i)
{
    umbra_state_entry *e = &s->entries[i];
    char *path = umbra_state_path(s, e->name);
    if (path)
        unlink(path);
    umbra_free(path);
    s->stats.files--;
    s->stats.bytes -= e->bytes;
    umbra_free(e->marks);
    *e = s->entries[--s->n];
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
