/* Saves and loads the state of a network's training. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "safetensors/safetensors.h"
#include "lab/train/checkpoint.h"

enum { STATE_PAIRS = 9, VALUE_CHARS = 40, TENSORS = 6 };
enum { RECORD_VALUES = sizeof(umbra_train_record) / sizeof(double) };

/* FOLDER/network-0007.safetensors + suffix, or NULL. */
static char *path_of(const umbra_train_setup *setup, int network, const char *suffix)
{
    size_t room = strlen(setup->checkpoint) + 64;
    char *path = umbra_calloc(room, 1);
    if (path)
        snprintf(path, room, "%s/network-%04d.safetensors%s", setup->checkpoint, network, suffix);
    return path;
}

/* ---- the folder ---- */

static int is_in_the_way(const char *folder, umbra_error *err)
{
    return umbra_fail(err, UMBRA_E_ARGUMENT,
                      "%s holds a training that was stopped: go on with it (resume), or remove it",
                      folder);
}

int umbra_checkpoint_folder_open(const umbra_train_setup *setup, umbra_error *err)
{
    const char *folder = setup->checkpoint;
    if (mkdir(folder, 0777) == 0)
        return UMBRA_OK;
    if (errno != EEXIST)
        return umbra_fail(err, UMBRA_E_IO, "%s: cannot make the folder: %s", folder,
                          strerror(errno));
    if (setup->options.resume)
        return UMBRA_OK;
    if (rmdir(folder) == 0 && mkdir(folder, 0777) == 0)
        return UMBRA_OK;
    return is_in_the_way(folder, err);
}

int umbra_checkpoint_folder_join(const umbra_train_setup *setup, umbra_error *err)
{
    const char *folder = setup->checkpoint;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return umbra_fail(err, UMBRA_E_IO, "%s: cannot make the folder: %s", folder,
                          strerror(errno));
    int entries = 0;
    DIR *dir = opendir(folder);
    while (dir && readdir(dir))
        entries++;
    if (dir)
        closedir(dir);
    const int own_and_parent = 2;
    return entries <= own_and_parent || setup->options.resume ? UMBRA_OK
                                                              : is_in_the_way(folder, err);
}

void umbra_checkpoint_folder_remove(const umbra_train_setup *setup)
{
    for (int i = 0; i < setup->networks; i++) {
        char *path = path_of(setup, i, "");
        if (path)
            unlink(path);
        umbra_free(path);
        path = path_of(setup, i, UMBRA_REPLACE_SUFFIX);
        if (path)
            unlink(path);
        umbra_free(path);
    }
    umbra_checkpoint_folder_tidy(setup);
}

void umbra_checkpoint_folder_tidy(const umbra_train_setup *setup)
{
    (void)rmdir(setup->checkpoint); /* fails if something lies in it, as it should */
}

/* ---- tensors ---- */

typedef struct tensor_list {
    int n;
    umbra_safetensors_tensor tensors[TENSORS];
    void *data[TENSORS];
} tensor_list;

static void add_vector(tensor_list *list, const char *name, float *data, size_t n)
{
    list->data[list->n] = data;
    list->tensors[list->n++] = (umbra_safetensors_tensor){
        .name = name,
        .dtype = UMBRA_ST_F32,
        .dimensions = 1,
        .shape = {n},
        .bytes = n * sizeof *data,
    };
}

/* The tensors that a checkpoint of this state holds. */
static tensor_list tensors_of(const umbra_learner *l)
{
    const umbra_learner_state *s = &l->state;
    tensor_list list = {0};
    add_vector(&list, "best", s->best, l->parameters);
    if (!s->done) {
        add_vector(&list, "values", s->values, l->parameters);
        add_vector(&list, "mean", s->mean, l->parameters);
        add_vector(&list, "square", s->square, l->parameters);
        if (s->averaged)
            add_vector(&list, "averaged", s->averaged, l->parameters);
    }
    uint64_t records = (uint64_t)(s->epoch + 1);
    list.data[list.n] = s->history;
    list.tensors[list.n++] = (umbra_safetensors_tensor){
        .name = "history",
        .dtype = UMBRA_ST_F64,
        .dimensions = 2,
        .shape = {records, RECORD_VALUES},
        .bytes = records * sizeof *s->history,
    };
    return list;
}

/* ---- writing ---- */

typedef struct metadata {
    size_t n;
    umbra_safetensors_pair pairs[STATE_PAIRS + UMBRA_TRAIN_SETTINGS];
    char state[STATE_PAIRS][VALUE_CHARS];
    char names[UMBRA_TRAIN_SETTINGS][VALUE_CHARS];
} metadata;

static char *add_value(metadata *m, const char *key)
{
    m->pairs[m->n] = (umbra_safetensors_pair){key, m->state[m->n]};
    return m->state[m->n++];
}

static void describe(metadata *m, const umbra_learner *l)
{
    const umbra_learner_state *s = &l->state;
    m->n = 0;
    snprintf(add_value(m, "format"), VALUE_CHARS, "umbra-train-checkpoint");
    snprintf(add_value(m, "version"), VALUE_CHARS, "1");
    snprintf(add_value(m, "step"), VALUE_CHARS, "%" PRIu64, s->step);
    snprintf(add_value(m, "epoch"), VALUE_CHARS, "%d", s->epoch);
    snprintf(add_value(m, "epoch_rows"), VALUE_CHARS, "%" PRIu64, s->epoch_rows);
    snprintf(add_value(m, "epoch_loss"), VALUE_CHARS, "%a", s->epoch_loss);
    snprintf(add_value(m, "best_epoch"), VALUE_CHARS, "%d", s->best_epoch);
    snprintf(add_value(m, "best_score"), VALUE_CHARS, "%a", s->best_score);
    snprintf(add_value(m, "done"), VALUE_CHARS, "%d", s->done);
    for (int i = 0; i < l->setup->n_settings; i++) {
        const umbra_train_setting *setting = &l->setup->settings[i];
        snprintf(m->names[i], VALUE_CHARS, "setting.%s", setting->name);
        m->pairs[m->n++] = (umbra_safetensors_pair){m->names[i], setting->value};
    }
}

int umbra_checkpoint_write(const umbra_learner *l, umbra_error *err)
{
    char *path = path_of(l->setup, l->network, "");
    metadata *m = umbra_calloc(1, sizeof *m);
    if (!path || !m) {
        umbra_free(path);
        umbra_free(m);
        return umbra_fail_nomem(err, "a checkpoint", sizeof *m);
    }
    describe(m, l);
    tensor_list list = tensors_of(l);
    umbra_safetensors_writer *writer = NULL;
    int rc =
        umbra_safetensors_create(&writer, path, list.tensors, (size_t)list.n, m->pairs, m->n, err);
    for (int i = 0; rc == UMBRA_OK && i < list.n; i++)
        rc =
            umbra_safetensors_write(writer, (size_t)i, 0, list.data[i], list.tensors[i].bytes, err);
    if (rc == UMBRA_OK)
        rc = umbra_safetensors_finish(&writer, err);
    umbra_safetensors_abandon(&writer);
    umbra_free(m);
    umbra_free(path);
    return rc;
}

/* ---- reading ---- */

static int check_settings(const umbra_train_setup *setup, const umbra_safetensors *file,
                          umbra_error *err)
{
    const char *path = umbra_safetensors_path(file);
    const char *format = umbra_safetensors_metadata(file, "format");
    const char *version = umbra_safetensors_metadata(file, "version");
    if (!format || strcmp(format, "umbra-train-checkpoint") != 0 || !version ||
        strcmp(version, "1") != 0)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: is no training checkpoint of version 1", path);
    for (int i = 0; i < setup->n_settings; i++) {
        char name[VALUE_CHARS];
        snprintf(name, sizeof name, "setting.%s", setup->settings[i].name);
        const char *value = umbra_safetensors_metadata(file, name);
        if (!value || strcmp(value, setup->settings[i].value) != 0)
            return umbra_fail(err, UMBRA_E_MISMATCH,
                              "%s: was made with %s %s, this run has %s: use the same, or remove "
                              "the folder and begin anew",
                              path, setup->settings[i].name, value ? value : "(none)",
                              setup->settings[i].value);
    }
    return UMBRA_OK;
}

/* A number of the metadata in [least, most]; false if there is none. */
static bool read_number(const umbra_safetensors *file, const char *key, double least, double most,
                        double *out)
{
    const char *text = umbra_safetensors_metadata(file, key);
    char *end;
    if (!text || *text == '\0')
        return false;
    *out = strtod(text, &end);
    return *end == '\0' && *out >= least && *out <= most;
}

static int read_state(umbra_learner *l, const umbra_safetensors *file, umbra_error *err)
{
    const umbra_train_options *o = &l->setup->options;
    const double most_steps = 0x1p53;
    umbra_learner_state *s = &l->state;
    double step, epoch, epoch_rows, epoch_loss, best_epoch, best_score, done;
    if (!read_number(file, "step", 0, most_steps, &step) ||
        !read_number(file, "epoch", -1, o->epochs, &epoch) ||
        !read_number(file, "epoch_rows", 0, most_steps, &epoch_rows) ||
        !read_number(file, "epoch_loss", 0, 1e300, &epoch_loss) ||
        !read_number(file, "best_epoch", 0, o->epochs, &best_epoch) ||
        !read_number(file, "best_score", -1, 1, &best_score) ||
        !read_number(file, "done", 0, 1, &done))
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: the training's state is missing or out of range",
                          umbra_safetensors_path(file));
    s->step = (uint64_t)step;
    s->epoch = (int)epoch;
    s->epoch_rows = (uint64_t)epoch_rows;
    s->epoch_loss = epoch_loss;
    s->best_epoch = (int)best_epoch;
    s->best_score = best_score;
    s->done = done == 1.0;
    return UMBRA_OK;
}

static int read_tensors(umbra_learner *l, const umbra_safetensors *file, umbra_error *err)
{
    tensor_list list = tensors_of(l);
    for (int i = 0; i < list.n; i++) {
        const umbra_safetensors_tensor *want = &list.tensors[i];
        const umbra_safetensors_tensor *t = umbra_safetensors_find(file, want->name);
        if (!t || t->dtype != want->dtype || t->dimensions != want->dimensions ||
            memcmp(t->shape, want->shape, want->dimensions * sizeof *t->shape) != 0)
            return umbra_fail(err, UMBRA_E_FORMAT, "%s: tensor %s is missing or has another shape",
                              umbra_safetensors_path(file), want->name);
        int rc = umbra_safetensors_read(file, t, list.data[i], err);
        if (rc != UMBRA_OK)
            return rc;
    }
    return UMBRA_OK;
}

int umbra_checkpoint_read(umbra_learner *l, umbra_error *err)
{
    char *path = path_of(l->setup, l->network, "");
    if (!path)
        return umbra_fail_nomem(err, "a path", 0);
    umbra_safetensors *file = NULL;
    int rc = UMBRA_OK;
    if (access(path, F_OK) == 0) {
        rc = umbra_safetensors_open(&file, path, err);
        if (rc == UMBRA_OK)
            rc = check_settings(l->setup, file, err);
        if (rc == UMBRA_OK)
            rc = read_state(l, file, err);
        if (rc == UMBRA_OK)
            rc = read_tensors(l, file, err);
    }
    umbra_safetensors_close(&file);
    umbra_free(path);
    return rc;
}

/* ---- files ---- */

int umbra_checkpoint_look(const umbra_train_setup *setup, int network, uint64_t *age,
                          uint64_t *bytes, umbra_error *err)
{
    char *path = path_of(setup, network, "");
    umbra_safetensors *file = NULL;
    struct stat st;
    double step = 0, done = 0;
    *age = *bytes = 0;
    if (!path)
        return umbra_fail_nomem(err, "a path", 0);
    int rc = UMBRA_OK;
    if (stat(path, &st) == 0) {
        rc = umbra_safetensors_open(&file, path, err);
        if (rc == UMBRA_OK)
            rc = check_settings(setup, file, err);
        if (rc == UMBRA_OK && (!read_number(file, "step", 0, 0x1p53, &step) ||
                               !read_number(file, "done", 0, 1, &done)))
            rc = umbra_fail(err, UMBRA_E_FORMAT, "%s: the training's state is missing", path);
        *age = 1 + 2 * (uint64_t)step + (uint64_t)done;
        *bytes = (uint64_t)st.st_size;
    }
    umbra_safetensors_close(&file);
    umbra_free(path);
    return rc;
}

int umbra_checkpoint_load_file(const umbra_train_setup *setup, int network, void *data,
                               uint64_t bytes, umbra_error *err)
{
    char *path = path_of(setup, network, "");
    uint64_t size;
    int fd = -1;
    int rc = path ? umbra_file_open(&fd, path, &size, err) : umbra_fail_nomem(err, "a path", 0);
    if (rc == UMBRA_OK)
        rc = umbra_file_read(fd, path, data, bytes, 0, err);
    if (fd >= 0)
        close(fd);
    umbra_free(path);
    return rc;
}

int umbra_checkpoint_save_file(const umbra_train_setup *setup, int network, const void *data,
                               uint64_t bytes, umbra_error *err)
{
    char *path = path_of(setup, network, "");
    umbra_replacement r;
    int rc = path ? umbra_replace_begin(&r, path, err) : umbra_fail_nomem(err, "a path", 0);
    if (rc == UMBRA_OK) {
        rc = umbra_replace_write(&r, data, bytes, 0, err);
        if (rc == UMBRA_OK)
            rc = umbra_replace_commit(&r, NULL, err);
        else
            umbra_replace_abort(&r);
    }
    umbra_free(path);
    return rc;
}
