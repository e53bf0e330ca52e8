/* Begins or resumes a trace and writes its routers. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "lab/trace/writer.h"

/* ---- opening and closing ---- */

/* Takes over the finished shards of an earlier run, if they were made with the same info. */
static int resume_trace(umbra_trace_writer *w, const umbra_trace_info *info, umbra_error *err)
{
    umbra_trace *trace;
    char *collection;
    char differences[400];
    int rc = umbra_trace_open(&trace, w->folder, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_trace_take_manifest(trace, &w->m);
    umbra_trace_close(&trace);
    rc = umbra_trace_collection(&collection, info->collection, w->folder, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_trace_info now = *info;
    now.collection = collection;
    rc = umbra_trace_info_difference(&now, &w->m.info, differences, sizeof differences, err);
    umbra_free(collection);
    if (rc == UMBRA_OK && differences[0])
        rc = umbra_fail(err, UMBRA_E_MISMATCH, "%s: cannot be resumed, it was made otherwise: %s",
                        w->folder, differences);
    return rc;
}

static int begin_trace(umbra_trace_writer *w, const umbra_trace_info *info, umbra_error *err)
{
    w->m.info = *info;
    w->m.info.collection = NULL;
    int rc = umbra_trace_collection(&w->m.collection, info->collection, w->folder, err);
    w->m.info.collection = w->m.collection;
    return rc;
}

static int open_folder(umbra_trace_writer *w, const umbra_trace_info *info, bool resume,
                       umbra_error *err)
{
    bool has_manifest = false;
    int rc = umbra_trace_folder_open(&w->folder_fd, &w->made_folder, w->folder, err);
    if (rc == UMBRA_OK)
        rc = umbra_trace_folder_check(w->folder, resume, &has_manifest, err);
    if (rc == UMBRA_OK)
        rc = has_manifest ? resume_trace(w, info, err) : begin_trace(w, info, err);
    return rc == UMBRA_OK ? umbra_trace_folder_sweep(w->folder, w->m.n_shards, err) : rc;
}

int umbra_trace_writer_open(umbra_trace_writer **out, const char *folder,
                            const umbra_trace_info *info, bool resume, umbra_error *err)
{
    *out = NULL;
    int rc = umbra_trace_check_info(info, folder, UMBRA_E_ARGUMENT, err);
    if (rc != UMBRA_OK)
        return rc;
    size_t layers = (size_t)info->layers;
    umbra_trace_writer *w = umbra_calloc(1, sizeof *w);
    if (!w)
        return umbra_fail_nomem(err, "a trace", sizeof *w);
    w->folder_fd = w->staging_fd = -1;
    w->folder = umbra_strdup(folder);
    w->gate_put = umbra_calloc(layers, sizeof *w->gate_put);
    w->staged = umbra_calloc(layers, sizeof *w->staged);
    w->staged_hash = umbra_calloc(layers, sizeof *w->staged_hash);
    w->piece = umbra_aligned_alloc(64, UMBRA_TRACE_PIECE);
    w->scales = umbra_calloc(UMBRA_TRACE_PIECE_ROWS, sizeof *w->scales);
    bool ready = w->folder && w->gate_put && w->staged && w->staged_hash && w->piece && w->scales;
    rc = ready ? open_folder(w, info, resume, err)
               : umbra_fail_nomem(err, "a trace", UMBRA_TRACE_PIECE);
    if (rc != UMBRA_OK)
        umbra_trace_writer_close(&w);
    *out = w;
    return rc;
}

void umbra_trace_writer_close(umbra_trace_writer **writer)
{
    umbra_trace_writer *w = *writer;
    if (!w)
        return;
    umbra_trace_shard_abandon(w);
    if (w->made_folder && w->m.n_shards == 0 &&
        umbra_trace_folder_sweep(w->folder, 0, NULL) == UMBRA_OK)
        rmdir(w->folder); /* nothing came of it */
    if (w->staging_fd >= 0)
        close(w->staging_fd);
    if (w->folder_fd >= 0)
        close(w->folder_fd); /* releases the lock */
    umbra_trace_manifest_release(&w->m);
    umbra_free(w->folder);
    umbra_free(w->gate_put);
    umbra_free(w->staged);
    umbra_free(w->staged_hash);
    umbra_free(w->piece);
    umbra_free(w->scales);
    umbra_free(w->streams);
    umbra_free(w->seen);
    umbra_free(w->hashes);
    umbra_free(w);
    *writer = NULL;
}

int umbra_trace_writer_shards(const umbra_trace_writer *writer)
{
    return writer->m.n_shards;
}

uint64_t umbra_trace_writer_tokens(const umbra_trace_writer *writer)
{
    return writer->m.tokens;
}

uint64_t umbra_trace_writer_documents(const umbra_trace_writer *writer)
{
    return (uint64_t)writer->m.n_documents;
}

/* ---- gates ---- */

/* On resume: is it the gate of before? Its file was checked at opening. */
static int compare_gate(const umbra_trace_writer *w, int layer, uint64_t hash, umbra_error *err)
{
    int place = w->m.layers.place[layer];
    char hex[2][UMBRA_TRACE_HEX_CHARS];
    if (place < 0)
        return umbra_fail(err, UMBRA_E_MISMATCH,
                          "%s: layer %d has a router now, in the trace it has none", w->folder,
                          layer);
    umbra_trace_hex(hash, hex[0]);
    umbra_trace_hex(w->m.gates[place], hex[1]);
    if (hash != w->m.gates[place])
        return umbra_fail(err, UMBRA_E_MISMATCH,
                          "%s: the router of layer %d has checksum %s, in the trace it has %s",
                          w->folder, layer, hex[0], hex[1]);
    return UMBRA_OK;
}

static int fail_staging(const umbra_trace_writer *w, int error, umbra_error *err)
{
    return umbra_fail(err, UMBRA_E_IO, "%s: cannot write the routers: %s", w->folder,
                      strerror(error));
}

/* Appends a gate to the staging file. A safetensors file lists its tensors first, and the gates of
 * a large model are too big to wait in memory. */
static int stage_gate(umbra_trace_writer *w, int layer, const float *gate, uint64_t bytes,
                      uint64_t hash, umbra_error *err)
{
    if (w->staging_fd < 0) {
        char *path = umbra_trace_path(w->folder, UMBRA_TRACE_GATES UMBRA_REPLACE_SUFFIX);
        if (!path)
            return umbra_fail_nomem(err, "a path", strlen(w->folder));
        w->staging_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
        int error = errno;
        if (w->staging_fd >= 0)
            unlink(path); /* so that it goes with the process */
        umbra_free(path);
        if (w->staging_fd < 0)
            return fail_staging(w, error, err);
    }
    uint64_t offset = (uint64_t)w->n_staged * bytes;
    for (uint64_t done = 0; done < bytes;) {
        ssize_t n =
            pwrite(w->staging_fd, (const char *)gate + done, bytes - done, (off_t)(offset + done));
        if (n > 0)
            done += (uint64_t)n;
        else if (n == 0 || errno != EINTR)
            return fail_staging(w, n == 0 ? EIO : errno, err);
    }
    w->staged[w->n_staged] = layer;
    w->staged_hash[w->n_staged++] = hash;
    return UMBRA_OK;
}

int umbra_trace_put_gate(umbra_trace_writer *writer, int layer, const float *gate, umbra_error *err)
{
    umbra_trace_writer *w = writer;
    const umbra_trace_info *info = &w->m.info;
    size_t values = (size_t)info->experts * (size_t)info->hidden;
    if (layer < 0 || layer >= info->layers || w->gate_put[layer] || w->gates_done)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "%s: the router of layer %d comes twice, after a shard, or for no layer",
                          w->folder, layer);
    size_t bad = umbra_trace_first_bad(gate, values);
    if (bad < values)
        return umbra_fail(err, UMBRA_E_NONFINITE,
                          "%s: the router of layer %d holds %g for expert %zu, column %zu",
                          w->folder, layer, (double)gate[bad], bad / (size_t)info->hidden,
                          bad % (size_t)info->hidden);
    uint64_t bytes = values * sizeof *gate;
    uint64_t hash = XXH3_64bits(gate, bytes);
    int rc = w->m.n_shards > 0 ? compare_gate(w, layer, hash, err)
                               : stage_gate(w, layer, gate, bytes, hash, err);
    w->gate_put[layer] = rc == UMBRA_OK;
    return rc;
}

/* Copies the staged gate number `staged` into the file as tensor `place`. */
static int copy_gate(umbra_trace_writer *w, umbra_safetensors_writer *file, int staged, int place,
                     uint64_t bytes, umbra_error *err)
{
    int rc = UMBRA_OK;
    for (uint64_t done = 0, n; done < bytes && rc == UMBRA_OK; done += n) {
        n = bytes - done < UMBRA_TRACE_PIECE ? bytes - done : UMBRA_TRACE_PIECE;
        rc = umbra_file_read(w->staging_fd, w->folder, w->piece, (size_t)n,
                             (uint64_t)staged * bytes + done, err);
        if (rc == UMBRA_OK)
            rc = umbra_safetensors_write(file, (size_t)place, done, w->piece, n, err);
    }
    return rc;
}

static int write_gates(umbra_trace_writer *w, const umbra_safetensors_tensor *tensors,
                       umbra_error *err)
{
    const umbra_trace_layers *layers = &w->m.layers;
    uint64_t bytes = tensors[0].shape[0] * tensors[0].shape[1] * sizeof(float);
    umbra_safetensors_writer *file;
    char *path = umbra_trace_path(w->folder, UMBRA_TRACE_GATES);
    if (!path)
        return umbra_fail_nomem(err, "a path", strlen(w->folder));
    int rc =
        umbra_safetensors_create(&file, path, tensors, (size_t)layers->moe_layers, NULL, 0, err);
    umbra_free(path);
    for (int i = 0; i < w->n_staged && rc == UMBRA_OK; i++) {
        int place = layers->place[w->staged[i]];
        w->m.gates[place] = w->staged_hash[i];
        rc = copy_gate(w, file, i, place, bytes, err);
    }
    if (rc == UMBRA_OK)
        return umbra_safetensors_finish(&file, err);
    umbra_safetensors_abandon(&file);
    return rc;
}

/* Makes gates.safetensors of what was staged. May be called again after a failure. */
static int make_gates(umbra_trace_writer *w, umbra_error *err)
{
    const umbra_trace_info *info = &w->m.info;
    size_t n = (size_t)w->n_staged;
    umbra_trace_layers_release(&w->m.layers);
    umbra_free(w->m.gates);
    w->m.gates = umbra_calloc(n, sizeof *w->m.gates);
    umbra_safetensors_tensor *tensors = umbra_calloc(n, sizeof *tensors);
    umbra_trace_name *names = umbra_calloc(n, sizeof *names);
    int rc = w->m.gates && tensors && names
                 ? umbra_trace_layers_make(&w->m.layers, info, w->gate_put, err)
                 : umbra_fail_nomem(err, "the routers of a trace", n * sizeof *tensors);
    if (rc == UMBRA_OK) {
        for (size_t i = 0; i < n; i++) {
            names[i] = umbra_trace_gate_name(w->m.layers.layer[i]);
            tensors[i] = (umbra_safetensors_tensor){
                .name = names[i].text,
                .dtype = UMBRA_ST_F32,
                .dimensions = 2,
                .shape = {(uint64_t)info->experts, (uint64_t)info->hidden}};
        }
        rc = write_gates(w, tensors, err);
    }
    umbra_free(tensors);
    umbra_free(names);
    return rc;
}

int umbra_trace_finish_gates(umbra_trace_writer *w, umbra_error *err)
{
    int rc = UMBRA_OK;
    if (w->gates_done)
        return UMBRA_OK;
    if (w->m.n_shards > 0) {
        for (int i = 0; i < w->m.layers.moe_layers && rc == UMBRA_OK; i++)
            if (!w->gate_put[w->m.layers.layer[i]])
                rc = umbra_fail(err, UMBRA_E_ARGUMENT,
                                "%s: the router of layer %d must come before the first shard",
                                w->folder, w->m.layers.layer[i]);
    } else {
        rc = w->n_staged > 0
                 ? make_gates(w, err)
                 : umbra_fail(err, UMBRA_E_ARGUMENT,
                              "%s: the routers must come before the first shard", w->folder);
    }
    w->gates_done = rc == UMBRA_OK;
    if (w->gates_done && w->staging_fd >= 0) {
        close(w->staging_fd);
        w->staging_fd = -1;
    }
    return rc;
}
