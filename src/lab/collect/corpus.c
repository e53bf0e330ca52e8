/* Lists the files of a collection and cuts their tokens into windows. */
#include "lab/collect/corpus.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"

static const uint64_t longest_file = UINT64_C(1) << 30;

static int add_path(umbra_corpus *c, const char *path, umbra_error *err)
{
    char **larger = umbra_reallocarray(c->paths, c->count + 1, sizeof *larger);
    if (larger)
        c->paths = larger;
    char *copy = larger ? umbra_strdup(path) : NULL;
    if (!copy)
        return umbra_fail_nomem(err, "the list of texts", c->count * sizeof *larger);
    c->paths[c->count++] = copy;
    return UMBRA_OK;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_folder(umbra_corpus *c, const char *folder, umbra_error *err)
{
    DIR *d = opendir(folder);
    if (!d)
        return umbra_fail(err, UMBRA_E_IO, "%s: cannot list: %s", folder, strerror(errno));
    size_t first = c->count;
    int rc = UMBRA_OK;
    for (struct dirent *entry; rc == UMBRA_OK && (entry = readdir(d)) != NULL;) {
        char path[4096];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.' && stat(path, &st) == 0 && S_ISREG(st.st_mode))
            rc = add_path(c, path, err);
    }
    closedir(d);
    qsort(c->paths + first, c->count - first, sizeof *c->paths, compare_paths);
    return rc;
}

int umbra_corpus_open(umbra_corpus *c, const char *const *paths, int n, umbra_error *err)
{
    *c = (umbra_corpus){0};
    int rc = UMBRA_OK;
    for (int i = 0; rc == UMBRA_OK && i < n; i++) {
        struct stat st;
        if (stat(paths[i], &st) != 0)
            rc = umbra_fail(err, UMBRA_E_IO, "%s: %s", paths[i], strerror(errno));
        else if (S_ISDIR(st.st_mode))
            rc = add_folder(c, paths[i], err);
        else
            rc = add_path(c, paths[i], err);
    }
    if (rc == UMBRA_OK && n > 0 && c->count == 0)
        rc = umbra_fail(err, UMBRA_E_ARGUMENT, "%s: there are no texts in it", paths[0]);
    if (rc != UMBRA_OK)
        umbra_corpus_close(c);
    return rc;
}

void umbra_corpus_shuffle(umbra_corpus *c, uint64_t seed)
{
    umbra_random random;
    umbra_random_seed(&random, seed);
    for (size_t i = c->count; i > 1; i--) {
        size_t j = (size_t)umbra_random_below(&random, i);
        char *path = c->paths[i - 1];
        c->paths[i - 1] = c->paths[j];
        c->paths[j] = path;
    }
}

void umbra_corpus_close(umbra_corpus *c)
{
    for (size_t i = 0; i < c->count; i++)
        umbra_free(c->paths[i]);
    umbra_free(c->paths);
    *c = (umbra_corpus){0};
}

/* The whole file, to be freed with umbra_free. */
static int read_text(const char *path, char **text, uint64_t *bytes, umbra_error *err)
{
    int fd;
    *text = NULL;
    int rc = umbra_file_open(&fd, path, bytes, err);
    if (rc != UMBRA_OK)
        return rc;
    if (*bytes > longest_file)
        rc = umbra_fail(err, UMBRA_E_ARGUMENT, "%s: a text of more than 1 GiB; cut it into files",
                        path);
    else if (!(*text = umbra_calloc(*bytes, 1)))
        rc = umbra_fail_nomem(err, "a text", *bytes);
    if (rc == UMBRA_OK)
        rc = umbra_file_read(fd, path, *text, *bytes, 0, err);
    close(fd);
    return rc;
}

int umbra_corpus_tokens(const umbra_corpus *c, size_t i, const umbra_model *model, int32_t **ids,
                        size_t *count, umbra_error *err)
{
    char *text;
    uint64_t bytes;
    *ids = NULL;
    int rc = read_text(c->paths[i], &text, &bytes, err);
    if (rc == UMBRA_OK)
        rc = umbra_tokenize(model, text, bytes, false, false, ids, count, err);
    umbra_free(text);
    return rc;
}

int umbra_corpus_hash(const umbra_corpus *c, uint64_t *hash, umbra_error *err)
{
    int rc = UMBRA_OK;
    *hash = c->count;
    for (size_t i = 0; rc == UMBRA_OK && i < c->count; i++) {
        const char *name = umbra_corpus_name(c, i);
        char *text;
        uint64_t bytes;
        rc = read_text(c->paths[i], &text, &bytes, err);
        if (rc == UMBRA_OK)
            *hash =
                XXH3_64bits_withSeed(text, bytes, XXH3_64bits_withSeed(name, strlen(name), *hash));
        umbra_free(text);
    }
    return rc;
}

const char *umbra_corpus_name(const umbra_corpus *c, size_t i)
{
    const char *path = c->paths[i], *name = path + strlen(path);
    for (int parts = 0; name > path; name--) {
        parts += name[-1] == '/';
        if (parts == 2)
            break;
    }
    return name;
}
