/* Random traces whose every value can be computed again, and the folders that they lie in. */
#include "make.h"

#include <dirent.h>
#include <math.h>
#include <unistd.h>

#include "base/random.h"
#include "kernels/half.h"

umbra_error make_err;

make make_case(bool int8, int stride)
{
    return (make){
        .info = {.model_hash = MODEL_HASH,
                 .model_name = "a \"model\" \xe2\x82\xac",
                 .architecture = "moe",
                 .layers = 4,
                 .hidden = 24,
                 .experts = 9,
                 .used = 3,
                 .int8 = int8,
                 .stride = stride,
                 .collection = "{\"seed\": 7, \"temperature\":0.5,\"text\":[\"\\u20ac\"]}"},
        .bare = 1,
        .longest = 40,
        .seed = 99,
    };
}

static umbra_random random_of(const make *m, int kind, int shard, int layer, int token)
{
    umbra_random r;
    uint64_t seed = m->seed;
    const int parts[4] = {kind, shard, layer, token};
    for (int i = 0; i < 4; i++)
        seed = seed * 0x9e3779b97f4a7c15u + (uint64_t)parts[i] + 1;
    umbra_random_seed(&r, seed);
    return r;
}

int make_documents(const make *m, int shard, umbra_trace_document documents[MAKE_DOCUMENTS],
                   int32_t tokens[MAKE_TOKENS])
{
    umbra_random r = random_of(m, 0, shard, 0, 0);
    int n = m->few ? m->few : 1 + (int)umbra_random_below(&r, MAKE_DOCUMENTS), first = 0;
    for (int i = 0; i < n; i++) {
        umbra_trace_document *d = &documents[i];
        *d =
            (umbra_trace_document){.generated = umbra_random_below(&r, 2),
                                   .shard = shard,
                                   .first = first,
                                   .tokens = 1 + (int)umbra_random_below(&r, (uint64_t)m->longest)};
        snprintf(d->id, sizeof d->id, "doc-%d \"%d\\\xe2\x82\xac.txt", shard, i);
        for (int t = 0; t < d->tokens; t++)
            tokens[first + t] = (int32_t)umbra_random_below(&r, INT32_MAX);
        d->hash = umbra_trace_hash(tokens + first, (size_t)d->tokens);
        first += d->tokens;
    }
    return n;
}

void make_gate(const make *m, int layer, float *out)
{
    umbra_random r = random_of(m, 1, 0, layer, 0);
    for (int i = 0; i < m->info.experts * m->info.hidden; i++)
        out[i] = (float)umbra_random_normal(&r);
}

/* Some tokens are all zeros, some very large or small. */
void make_state(const make *m, int shard, umbra_trace_state which, int layer, int token, float *out)
{
    umbra_random r = random_of(m, 2 + (int)which, shard, layer, token);
    static const float sizes[] = {1, 1, 1, 100, 0, 1e-41f, 1e37f, -0.0f};
    float size = sizes[umbra_random_below(&r, 8)];
    for (int i = 0; i < m->info.hidden; i++)
        out[i] = size * (float)umbra_random_normal(&r);
}

void make_routing(const make *m, int shard, int layer, int token, int32_t *experts, float *weights)
{
    umbra_random r = random_of(m, 4, shard, layer, token);
    int32_t first = (int32_t)umbra_random_below(&r, (uint64_t)m->info.experts);
    for (int i = 0; i < m->info.used; i++) {
        experts[i] = (first + 2 * i) % m->info.experts;
        weights[i] = (float)umbra_random_unit(&r);
    }
}

int make_put_gates(const make *m, umbra_trace_writer *w)
{
    static float gate[1 << 16];
    int rc = UMBRA_OK;
    /* From the last layer to the first: any order will do. */
    for (int l = m->info.layers - 1; l >= 0 && rc == UMBRA_OK; l--) {
        make_gate(m, l, gate);
        rc = l == m->bare ? UMBRA_OK : umbra_trace_put_gate(w, l, gate, &make_err);
    }
    return rc;
}

int make_begin(const make *m, umbra_trace_writer *w, int shard)
{
    umbra_trace_document documents[MAKE_DOCUMENTS];
    int32_t tokens[MAKE_TOKENS];
    int n = make_documents(m, shard, documents, tokens);
    for (int i = 0; i < n; i++) { /* what the writer is to find by itself */
        documents[i].hash = 1;
        documents[i].shard = documents[i].first = documents[i].first_row = -1;
    }
    return umbra_trace_shard_begin(w, documents, n, tokens, &make_err);
}

/* Tokens [first, first + n) of all layers. */
static int put_piece(const make *m, umbra_trace_writer *w, int shard, int first, int n)
{
    static float states[1 << 16], weights[1 << 12];
    static int32_t experts[1 << 12];
    size_t hidden = (size_t)m->info.hidden, used = (size_t)m->info.used;
    int rc = UMBRA_OK;
    for (int l = 0; l < m->info.layers; l++) {
        for (int which = 0; which < 2 && l != m->bare && rc == UMBRA_OK; which++) {
            for (int t = 0; t < n; t++)
                make_state(m, shard, (umbra_trace_state)which, l, first + t,
                           states + (size_t)t * hidden);
            rc =
                umbra_trace_put_states(w, (umbra_trace_state)which, l, first, n, states, &make_err);
        }
        for (int t = 0; t < n; t++)
            make_routing(m, shard, l, first + t, experts + (size_t)t * used,
                         weights + (size_t)t * used);
        if (l != m->bare && rc == UMBRA_OK)
            rc = umbra_trace_put_routing(w, l, first, n, experts, weights, &make_err);
    }
    return rc;
}

int make_put_values(const make *m, umbra_trace_writer *w, int shard, make_order order)
{
    umbra_trace_document documents[MAKE_DOCUMENTS];
    int32_t tokens[MAKE_TOKENS];
    int first[MAKE_TOKENS], length[MAKE_TOKENS], pieces = 0;
    int n = make_documents(m, shard, documents, tokens);
    umbra_random r = random_of(m, 5, shard, 0, (int)order);
    for (int i = 0; i < n; i++)
        for (int t = 0; t < documents[i].tokens; t += length[pieces++]) {
            int left = documents[i].tokens - t;
            int most = order == MAKE_BACKWARDS ? 1 : 1 + (int)umbra_random_below(&r, 16);
            first[pieces] = documents[i].first + t;
            length[pieces] = left < most ? left : most;
        }
    int rc = UMBRA_OK;
    for (int i = 0; i < pieces && rc == UMBRA_OK; i++) {
        int at = i;
        if (order == MAKE_BACKWARDS)
            at = pieces - 1 - i;
        if (order == MAKE_SHUFFLED)
            at = i + (int)umbra_random_below(&r, (uint64_t)(pieces - i));
        rc = put_piece(m, w, shard, first[at], length[at]);
        first[at] = first[i];
        length[at] = length[i];
    }
    return rc;
}

int make_put_shard(const make *m, umbra_trace_writer *w, int shard, make_order order)
{
    int rc = make_begin(m, w, shard);
    if (rc == UMBRA_OK)
        rc = make_put_values(m, w, shard, order);
    return rc == UMBRA_OK ? umbra_trace_shard_end(w, &make_err) : rc;
}

void make_trace(const make *m, const char *folder, int shards, make_order order)
{
    umbra_trace_writer *w;
    MUST(umbra_trace_writer_open(&w, folder, &m->info, false, &make_err));
    MUST(make_put_gates(m, w));
    for (int i = 0; i < shards; i++)
        MUST(make_put_shard(m, w, i, order));
    umbra_trace_writer_close(&w);
}

/* ---- reading ---- */

int make_read_all(umbra_trace *t, umbra_error *err)
{
    float *values = malloc(sizeof *values << 18);
    int32_t *ints = malloc(sizeof *ints << 16);
    int rc = values && ints ? UMBRA_OK : UMBRA_E_NOMEM;
    for (int l = 0; l < umbra_trace_get_info(t)->layers && rc == UMBRA_OK; l++)
        if (umbra_trace_has_layer(t, l))
            rc = umbra_trace_read_gate(t, l, values, err);
    for (int s = 0; s < umbra_trace_shards(t) && rc == UMBRA_OK; s++) {
        int tokens = umbra_trace_shard_tokens(t, s), rows = umbra_trace_shard_rows(t, s);
        rc = umbra_trace_read_tokens(t, s, 0, tokens, ints, err);
        for (int l = 0; l < umbra_trace_get_info(t)->layers && rc == UMBRA_OK; l++) {
            if (!umbra_trace_has_layer(t, l))
                continue;
            rc = umbra_trace_read_states(t, s, UMBRA_TRACE_INPUT, l, 0, rows, values, err);
            if (rc == UMBRA_OK)
                rc = umbra_trace_read_states(t, s, UMBRA_TRACE_HIDDEN, l, 0, rows, values, err);
            if (rc == UMBRA_OK)
                rc = umbra_trace_read_experts(t, s, l, 0, tokens, (uint16_t *)ints, err);
            if (rc == UMBRA_OK)
                rc = umbra_trace_read_weights(t, s, l, 0, tokens, values, err);
        }
    }
    free(values);
    free(ints);
    return rc;
}

/* The nearest BF16, of two the even one, found by comparing distances. */
static float nearest_bf16(float x)
{
    uint32_t low = umbra_f32_bits(x) & 0xffff0000u;
    float a = umbra_f32_from_bits(low), b = umbra_f32_from_bits(low + 0x10000u);
    double to_a = fabs((double)x - a), to_b = fabs((double)x - b);
    if (to_a != to_b)
        return to_a < to_b ? a : b;
    return low >> 16 & 1 ? b : a;
}

static void check_row(const make *m, const float *put, const float *got)
{
    float largest = 0;
    for (int i = 0; i < m->info.hidden; i++)
        largest = fmaxf(largest, fabsf(put[i]));
    for (int i = 0; i < m->info.hidden; i++) {
        /* Half a step, and what F32 cannot express of it. */
        double step = (double)largest / 127, slack = 1e-7 * (double)largest + 1e-43;
        if (m->info.int8 && !(fabs((double)put[i] - got[i]) <= step / 2 + slack))
            fail_msg("%g was put, %g came out, step %g", (double)put[i], (double)got[i], step);
        if (!m->info.int8 && umbra_f32_bits(got[i]) != umbra_f32_bits(nearest_bf16(put[i])))
            fail_msg("%g was put, %g came out", (double)put[i], (double)got[i]);
    }
}

static void check_layer(const make *m, umbra_trace *t, int shard, int layer,
                        const umbra_trace_document *d)
{
    size_t used = (size_t)m->info.used, hidden = (size_t)m->info.hidden;
    float put[64], got[MAKE_TOKENS * 3], states[80 * 64];
    int32_t experts[8];
    uint16_t ids[MAKE_TOKENS * 3];
    for (int which = 0; which < 2; which++) {
        MUST(umbra_trace_read_states(t, shard, (umbra_trace_state)which, layer, d->first_row,
                                     d->rows, states, &make_err));
        for (int r = 0; r < d->rows; r++) {
            make_state(m, shard, (umbra_trace_state)which, layer, d->first + r * m->info.stride,
                       put);
            check_row(m, put, states + (size_t)r * hidden);
        }
    }
    MUST(umbra_trace_read_experts(t, shard, layer, d->first, d->tokens, ids, &make_err));
    MUST(umbra_trace_read_weights(t, shard, layer, d->first, d->tokens, got, &make_err));
    for (int i = 0; i < d->tokens; i++) {
        make_routing(m, shard, layer, d->first + i, experts, put);
        for (size_t k = 0; k < used; k++) {
            assert_int_equal(ids[(size_t)i * used + k], experts[k]);
            assert_true(got[(size_t)i * used + k] == umbra_f16_to_f32(umbra_f16_from_f32(put[k])));
        }
    }
}

static void check_shard(const make *m, umbra_trace *t, int shard, int *document)
{
    umbra_trace_document documents[MAKE_DOCUMENTS];
    int32_t tokens[MAKE_TOKENS], got[MAKE_TOKENS];
    int n = make_documents(m, shard, documents, tokens), first = 0, row = 0;
    for (int i = 0; i < n; i++) {
        const umbra_trace_document *d = umbra_trace_document_at(t, (*document)++);
        assert_string_equal(d->id, documents[i].id);
        assert_int_equal(d->generated, documents[i].generated);
        assert_int_equal(d->shard, shard);
        assert_int_equal(d->tokens, documents[i].tokens);
        assert_int_equal(d->first, first);
        assert_int_equal(d->first_row, row);
        assert_int_equal(d->rows, 1 + (d->tokens - 1) / m->info.stride);
        assert_true(d->hash == documents[i].hash);
        MUST(umbra_trace_read_tokens(t, shard, d->first, d->tokens, got, &make_err));
        assert_memory_equal(got, tokens + first, (size_t)d->tokens * sizeof *got);
        for (int l = 0; l < m->info.layers; l++)
            if (l != m->bare)
                check_layer(m, t, shard, l, d);
        first += d->tokens;
        row += d->rows;
    }
    assert_int_equal(umbra_trace_shard_tokens(t, shard), first);
    assert_int_equal(umbra_trace_shard_rows(t, shard), row);
}

void make_check(const make *m, umbra_trace *t, int shards)
{
    static float gate[1 << 16], got[1 << 16];
    const umbra_trace_info *info = umbra_trace_get_info(t);
    assert_string_equal(info->model_hash, m->info.model_hash);
    assert_string_equal(info->model_name, m->info.model_name);
    assert_string_equal(info->architecture, m->info.architecture);
    assert_int_equal(info->layers, m->info.layers);
    assert_int_equal(info->hidden, m->info.hidden);
    assert_int_equal(info->experts, m->info.experts);
    assert_int_equal(info->used, m->info.used);
    assert_int_equal(info->int8, m->info.int8);
    assert_int_equal(info->stride, m->info.stride);
    assert_int_equal(umbra_trace_shards(t), shards);
    uint64_t tokens = 0;
    int document = 0;
    for (int l = 0; l < m->info.layers; l++) {
        assert_int_equal(umbra_trace_has_layer(t, l), l != m->bare);
        if (l == m->bare)
            continue;
        make_gate(m, l, gate);
        MUST(umbra_trace_read_gate(t, l, got, &make_err));
        assert_memory_equal(gate, got,
                            (size_t)m->info.experts * (size_t)m->info.hidden * sizeof *gate);
    }
    for (int s = 0; s < shards; s++) {
        check_shard(m, t, s, &document);
        tokens += (uint64_t)umbra_trace_shard_tokens(t, s);
    }
    assert_int_equal(umbra_trace_documents(t), document);
    assert_int_equal(umbra_trace_tokens(t), tokens);
}

void make_open_and_check(const make *m, const char *folder, int shards)
{
    umbra_trace *t;
    MUST(umbra_trace_open(&t, folder, &make_err));
    assert_string_equal(umbra_trace_folder(t), folder);
    make_check(m, t, shards);
    MUST(make_read_all(t, &make_err));
    umbra_trace_close(&t);
    assert_null(t);
    umbra_trace_close(&t);
}

void make_expect(int rc, int expected, const char *words)
{
    if (rc != expected || !strstr(make_err.message, words))
        fail_msg("%d instead of %d, \"%s\" in: %s", rc, expected, words, make_err.message);
}

/* ---- folders ---- */

const char *make_folder(void)
{
    static char folders[64][256]; /* more than any test needs at once */
    static int next;
    char *folder = folders[next++ % 64];
    /* Traces are synced to the disk a thousand times over in these tests: memory is quicker. */
    const char *tmp = getenv("TMPDIR");
    if (!tmp)
        tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder, 256, "%s/umbra-trace-XXXXXX", tmp);
    if (!mkdtemp(folder))
        fail_msg("cannot create %s", folder);
    return folder;
}

static void join(char path[512], const char *folder, const char *name)
{
    snprintf(path, 512, "%s/%s", folder, name);
}

/* Calls visit for every file. */
static int each(const char *folder, void (*visit)(const char *folder, const char *name, void *user),
                void *user)
{
    DIR *d = opendir(folder);
    int n = 0;
    if (!d)
        return 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        n++;
        if (visit)
            visit(folder, e->d_name, user);
    }
    closedir(d);
    return n;
}

static void remove_one(const char *folder, const char *name, void *user)
{
    char path[512];
    (void)user;
    join(path, folder, name);
    unlink(path);
}

void make_remove(const char *folder)
{
    each(folder, remove_one, NULL);
    if (rmdir(folder) != 0)
        fail_msg("cannot remove %s", folder);
}

bool make_exists(const char *folder, const char *name)
{
    char path[512];
    join(path, folder, name);
    return access(path, F_OK) == 0;
}

int make_files(const char *folder)
{
    return each(folder, NULL, NULL);
}

unsigned char *make_load(const char *folder, const char *name, size_t *bytes)
{
    char path[512];
    join(path, folder, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("cannot open %s", path);
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    unsigned char *data = malloc(*bytes + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *bytes, file), *bytes);
    data[*bytes] = 0;
    fclose(file);
    return data;
}

void make_save(const char *folder, const char *name, const void *data, size_t bytes)
{
    char path[512];
    join(path, folder, name);
    FILE *file = fopen(path, "wb");
    if (!file)
        fail_msg("cannot create %s", path);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static void copy_one(const char *folder, const char *name, void *user)
{
    size_t bytes;
    unsigned char *data = make_load(folder, name, &bytes);
    make_save(user, name, data, bytes);
    free(data);
}

void make_copy(const char *from, const char *to)
{
    each(from, copy_one, (void *)(uintptr_t)to);
}
