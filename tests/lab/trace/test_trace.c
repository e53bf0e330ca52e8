/* Round trips, and what the writer and the reader refuse. */
#include "make.h"

#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "lab/trace/internal.h"

static const make_order orders[] = {MAKE_CHUNKS, MAKE_BACKWARDS, MAKE_SHUFFLED};

static void round_trips(void **state)
{
    (void)state;
    for (int int8 = 0; int8 < 2; int8++)
        for (int stride = 1; stride <= 7; stride += 2)
            for (int shards = 1; shards <= 3; shards++)
                for (int o = 0; o < MAKE_ORDERS; o++) {
                    const char *folder = make_folder();
                    make m = make_case(int8, stride);
                    m.seed = (uint64_t)(stride * 10 + shards * 100 + o);
                    make_trace(&m, folder, shards, orders[o]);
                    assert_int_equal(make_files(folder), shards + 2);
                    make_open_and_check(&m, folder, shards);
                    make_remove(folder);
                }
}

static void shapes(void **state)
{
    (void)state;
    make m = make_case(false, 1);
    m.bare = -1;
    /* One of everything; a stride longer than any document; rows longer than a piece. */
    for (int i = 0; i < 4; i++) {
        const char *folder = make_folder();
        m.info.layers = m.info.hidden = m.info.experts = m.info.used = 1;
        m.info.stride = i == 1 ? INT32_MAX : 1;
        m.info.int8 = i % 2;
        m.longest = i == 1 ? 40 : 1;
        m.info.model_name[0] = m.info.architecture[0] = '\0';
        m.info.collection = NULL;
        make_trace(&m, folder, 2, MAKE_CHUNKS);
        make_open_and_check(&m, folder, 2);
        make_remove(folder);
    }
}

/* A row as long as the piece in which rows are converted. */
static void widest_rows(void **state)
{
    (void)state;
    enum { HIDDEN = 32768, TOKENS = 5 };
    float *gate = calloc(2 * HIDDEN, sizeof *gate);
    float *states = calloc(TOKENS * HIDDEN, sizeof *states), *got = calloc(TOKENS * HIDDEN, 4);
    const umbra_trace_document d = {.id = "d", .tokens = TOKENS};
    const int32_t tokens[TOKENS] = {1, 2, 3, 4, 5}, experts[TOKENS] = {0, 1, 1, 0, 1};
    const float weights[TOKENS] = {1, 1, 1, 1, 1};
    for (int i = 0; i < TOKENS * HIDDEN; i++)
        states[i] = (float)(i % 255 - 127);
    for (int int8 = 0; int8 < 2; int8++) {
        const char *folder = make_folder();
        umbra_trace_info info = {.model_hash = MODEL_HASH,
                                 .layers = 1,
                                 .hidden = HIDDEN,
                                 .experts = 2,
                                 .used = 1,
                                 .stride = 2,
                                 .int8 = int8};
        umbra_trace_writer *w;
        umbra_trace *t;
        MUST(umbra_trace_writer_open(&w, folder, &info, false, &make_err));
        MUST(umbra_trace_put_gate(w, 0, gate, &make_err));
        MUST(umbra_trace_shard_begin(w, &d, 1, tokens, &make_err));
        MUST(umbra_trace_put_states(w, UMBRA_TRACE_INPUT, 0, 0, TOKENS, states, &make_err));
        MUST(umbra_trace_put_states(w, UMBRA_TRACE_HIDDEN, 0, 0, TOKENS, states, &make_err));
        MUST(umbra_trace_put_routing(w, 0, 0, TOKENS, experts, weights, &make_err));
        MUST(umbra_trace_shard_end(w, &make_err));
        umbra_trace_writer_close(&w);
        MUST(umbra_trace_open(&t, folder, &make_err));
        assert_int_equal(umbra_trace_shard_rows(t, 0), 3);
        MUST(umbra_trace_read_states(t, 0, UMBRA_TRACE_HIDDEN, 0, 1, 2, got, &make_err));
        assert_memory_equal(got, states + 2 * HIDDEN, HIDDEN * sizeof *got);
        assert_memory_equal(got + HIDDEN, states + 4 * HIDDEN, HIDDEN * sizeof *got);
        umbra_trace_close(&t);
        make_remove(folder);
    }
    free(gate);
    free(states);
    free(got);
}

static void bytes_are_foretold(void **state)
{
    (void)state;
    for (int int8 = 0; int8 < 2; int8++) {
        const char *folder = make_folder();
        make m = make_case(int8, 3);
        m.bare = -1;
        make_trace(&m, folder, 3, MAKE_CHUNKS);
        umbra_trace *t;
        MUST(umbra_trace_open(&t, folder, &make_err));
        for (int s = 0, d = 0; s < 3; s++) {
            int first = d;
            struct stat st;
            char path[400];
            while (d < umbra_trace_documents(t) && umbra_trace_document_at(t, d)->shard == s)
                d++;
            snprintf(path, sizeof path, "%s/shard-%05d.safetensors", folder, s);
            assert_int_equal(stat(path, &st), 0);
            uint64_t most = umbra_trace_shard_bytes(
                &m.info, (uint64_t)umbra_trace_shard_tokens(t, s), (uint64_t)(d - first));
            assert_true((uint64_t)st.st_size <= most);
            assert_true(most < (uint64_t)st.st_size + 8192);
        }
        umbra_trace_close(&t);
        make_remove(folder);
    }
}

/* The bound that keeps a manifest from growing beyond what is read, at the longest of everything.
 */
static void manifest_growth_is_foretold(void **state)
{
    (void)state;
    enum { SHARDS = 3, PER_SHARD = 2, LAYERS = UMBRA_TRACE_LAYERS_MAX };
    static bool present[LAYERS];
    umbra_trace_manifest m = {0};
    umbra_trace_document d[SHARDS * PER_SHARD] = {0};
    umbra_trace_shard s[SHARDS] = {0};
    make longest = make_case(true, INT32_MAX);
    const char *folder = make_folder();
    int fd = open(folder, O_RDONLY | O_DIRECTORY);
    bool replaced;
    memset(present, true, sizeof present);
    m.info = longest.info;
    m.info.layers = LAYERS;
    memset(m.info.model_name, '"', sizeof m.info.model_name - 1);
    memset(m.info.architecture, '"', sizeof m.info.architecture - 1);
    m.collection = umbra_strdup("{}");
    MUST(umbra_trace_layers_make(&m.layers, &m.info, present, &make_err));
    m.gates = umbra_calloc(LAYERS, sizeof *m.gates);
    for (int i = 0; i < SHARDS * PER_SHARD; i++) {
        memset(d[i].id, '\\', sizeof d[i].id - 1);
        d[i].shard = UMBRA_TRACE_SHARDS_MAX;
        d[i].first = d[i].tokens = INT32_MAX;
    }
    m.documents = d;
    m.shards = s;
    uint64_t before = 0;
    for (int i = 0; i < SHARDS; i++) {
        s[i].tokens = s[i].rows = INT32_MAX;
        s[i].checksums =
            umbra_calloc((size_t)umbra_trace_tensors(&m.info, &m.layers), sizeof(uint64_t));
        uint64_t most = umbra_trace_manifest_growth(&m, d + (size_t)i * PER_SHARD, PER_SHARD);
        m.n_shards++;
        m.n_documents += PER_SHARD;
        MUST(umbra_trace_manifest_write(&m, folder, &replaced, &make_err));
        assert_true(m.bytes - before <= most && most < 2 * (m.bytes - before));
        before = m.bytes;
    }
    m.documents = NULL;
    for (int i = 0; i < SHARDS; i++)
        umbra_free(s[i].checksums);
    m.shards = NULL;
    m.n_shards = 0;
    umbra_trace_manifest_release(&m);
    close(fd);
    make_remove(folder);
}

static void infos_refused(void **state)
{
    (void)state;
    const char *folder = make_folder();
    for (int i = 0; i < 18; i++) {
        make m = make_case(false, 1);
        umbra_trace_writer *w;
        int *numbers[] = {&m.info.layers, &m.info.hidden, &m.info.experts, &m.info.used,
                          &m.info.stride};
        if (i < 5)
            *numbers[i] = 0;
        else if (i < 10)
            *numbers[i - 5] = -1;
        else if (i < 14)
            *numbers[i - 10] = 100000;
        else if (i == 14)
            m.info.model_hash[31] = '\0';
        else if (i == 15)
            m.info.model_hash[3] = 'G';
        else if (i == 16)
            m.info.collection = "[1]";
        else
            memcpy(m.info.model_name, "\xff", 2);
        make_expect(umbra_trace_writer_open(&w, folder, &m.info, false, &make_err),
                    UMBRA_E_ARGUMENT, folder);
        assert_null(w);
    }
    assert_int_equal(make_files(folder), 0);
    make_remove(folder);
}

static void gates_refused(void **state)
{
    (void)state;
    const char *folder = make_folder();
    make m = make_case(false, 1);
    float gate[512] = {0};
    umbra_trace_writer *w;
    MUST(umbra_trace_writer_open(&w, folder, &m.info, false, &make_err));
    make_expect(make_begin(&m, w, 0), UMBRA_E_ARGUMENT, "routers must come before");
    make_expect(umbra_trace_put_gate(w, -1, gate, &make_err), UMBRA_E_ARGUMENT, "layer -1");
    make_expect(umbra_trace_put_gate(w, 4, gate, &make_err), UMBRA_E_ARGUMENT, "layer 4");
    gate[100] = NAN;
    make_expect(umbra_trace_put_gate(w, 0, gate, &make_err), UMBRA_E_NONFINITE,
                "expert 4, column 4");
    gate[100] = 0;
    MUST(umbra_trace_put_gate(w, 0, gate, &make_err));
    make_expect(umbra_trace_put_gate(w, 0, gate, &make_err), UMBRA_E_ARGUMENT, "twice");
    MUST(make_begin(&m, w, 0));
    make_expect(umbra_trace_put_gate(w, 2, gate, &make_err), UMBRA_E_ARGUMENT, "after a shard");
    umbra_trace_writer_close(&w);
    make_remove(folder);
}

static void begin_refused(umbra_trace_writer *w, const char *id, int tokens, int token,
                          const char *words)
{
    umbra_trace_document d[2] = {{.id = "fine", .tokens = 1}, {.tokens = tokens}};
    const int32_t list[4] = {1, token, 1, 1};
    memcpy(d[1].id, id, strlen(id) + 1 < sizeof d[1].id ? strlen(id) + 1 : sizeof d[1].id);
    make_expect(umbra_trace_shard_begin(w, d, 2, list, &make_err), UMBRA_E_ARGUMENT, words);
}

static void documents_refused(void **state)
{
    (void)state;
    const char *folder = make_folder();
    make m = make_case(false, 1);
    umbra_trace_writer *w;
    char longest[200];
    memset(longest, 'x', sizeof longest);
    longest[199] = '\0';
    MUST(umbra_trace_writer_open(&w, folder, &m.info, false, &make_err));
    MUST(make_put_gates(&m, w));
    make_expect(umbra_trace_shard_begin(w, NULL, 0, NULL, &make_err), UMBRA_E_ARGUMENT,
                "a document");
    begin_refused(w, "", 1, 1, "id of document 1");
    begin_refused(w, "a\nb", 1, 1, "id of document 1");
    begin_refused(w, "\xc0\x80", 1, 1, "id of document 1");
    begin_refused(w, longest, 1, 1, "id of document 1");
    begin_refused(w, "a", 0, 1, "has 0 tokens");
    begin_refused(w, "a", -1, 1, "has -1 tokens");
    begin_refused(w, "a", INT32_MAX, 1, "has 2147483647 tokens");
    begin_refused(w, "a", 1, -5, "token 0 is -5");
    /* None of that is in the way of a good one. */
    MUST(make_put_shard(&m, w, 0, MAKE_CHUNKS));
    umbra_trace_writer_close(&w);
    make_open_and_check(&m, folder, 1);
    make_remove(folder);
}

/* Every misuse is refused and leaves the shard as it was, so that it can still be completed. */
static void puts_refused(void **state)
{
    (void)state;
    const char *folder = make_folder();
    make m = make_case(false, 3);
    m.few = 3;
    umbra_trace_document d[MAKE_DOCUMENTS];
    int32_t tokens[MAKE_TOKENS], experts[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2};
    float states[100 * 24] = {0}, weights[12] = {0};
    umbra_trace_writer *w;
    int n = make_documents(&m, 0, d, tokens), all = d[n - 1].first + d[n - 1].tokens;
    MUST(umbra_trace_writer_open(&w, folder, &m.info, false, &make_err));
    MUST(make_put_gates(&m, w));
    make_expect(umbra_trace_put_states(w, UMBRA_TRACE_INPUT, 0, 0, 1, states, &make_err),
                UMBRA_E_ARGUMENT, "no shard is open");
    make_expect(umbra_trace_shard_end(w, &make_err), UMBRA_E_ARGUMENT, "no shard is open");
    MUST(make_begin(&m, w, 0));
    make_expect(make_begin(&m, w, 1), UMBRA_E_ARGUMENT, "open already");
    const int bad[][4] = {{-1, 0, 1},      {4, 0, 1},         {1, 0, 1},
                          {0, -1, 1},      {0, 0, -1},        {0, all, 1},
                          {0, all + 1, 0}, {0, 0, INT32_MAX}, {0, INT32_MAX, INT32_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        make_expect(umbra_trace_put_states(w, UMBRA_TRACE_HIDDEN, bad[i][0], bad[i][1], bad[i][2],
                                           states, &make_err),
                    UMBRA_E_ARGUMENT, "the hidden state comes for");
        make_expect(umbra_trace_put_routing(w, bad[i][0], bad[i][1], bad[i][2], experts, weights,
                                            &make_err),
                    UMBRA_E_ARGUMENT, "the routing comes for");
    }
    make_expect(
        umbra_trace_put_states(w, UMBRA_TRACE_INPUT, 0, 0, d[0].tokens + 1, states, &make_err),
        UMBRA_E_ARGUMENT, "reach past the document");
    states[25] = -INFINITY; /* even where the stride leaves it out */
    make_expect(umbra_trace_put_states(w, UMBRA_TRACE_INPUT, 0, 0, 2, states, &make_err),
                UMBRA_E_NONFINITE,
                "token 1 of document \"doc-0 \"0\\\xe2\x82\xac.txt\" holds -inf");
    experts[7] = 9;
    make_expect(umbra_trace_put_routing(w, 0, 0, 3, experts, weights, &make_err), UMBRA_E_ARGUMENT,
                "for token 2");
    experts[7] = -1;
    make_expect(umbra_trace_put_routing(w, 0, 0, 3, experts, weights, &make_err), UMBRA_E_ARGUMENT,
                "different ones of the model");
    experts[7] = 6;
    make_expect(umbra_trace_put_routing(w, 0, 0, 3, experts, weights, &make_err), UMBRA_E_ARGUMENT,
                "different ones of the model");
    experts[7] = 7;
    weights[5] = 65536;
    make_expect(umbra_trace_put_routing(w, 0, 0, 3, experts, weights, &make_err), UMBRA_E_ARGUMENT,
                "do not fit F16");
    MUST(umbra_trace_put_routing(w, 0, 0, 0, NULL, NULL, &make_err));
    make_expect(umbra_trace_shard_end(w, &make_err), UMBRA_E_ARGUMENT, "has come for 0 of");
    MUST(make_put_values(&m, w, 0, MAKE_CHUNKS));
    make_expect(umbra_trace_put_states(w, UMBRA_TRACE_HIDDEN, 2, 0, 1, states, &make_err),
                UMBRA_E_ARGUMENT, "the hidden state of layer 2 comes twice for token 0");
    weights[5] = 0;
    make_expect(umbra_trace_put_routing(w, 3, all - 1, 1, experts, weights, &make_err),
                UMBRA_E_ARGUMENT, "comes twice");
    MUST(umbra_trace_shard_end(w, &make_err));
    umbra_trace_writer_close(&w);
    make_open_and_check(&m, folder, 1);
    make_remove(folder);
}

static void reads_refused(void **state)
{
    (void)state;
    const char *folder = make_folder();
    make m = make_case(true, 3);
    float states[24];
    uint16_t ids[3];
    int32_t token;
    make_trace(&m, folder, 2, MAKE_CHUNKS);
    umbra_trace *t;
    MUST(umbra_trace_open(&t, folder, &make_err));
    int rows = umbra_trace_shard_rows(t, 0), tokens = umbra_trace_shard_tokens(t, 0);
    const int bad[][4] = {/* shard, layer, first row, rows */
                          {-1, 0, 0, 1},         {2, 0, 0, 1},
                          {0, -1, 0, 1},         {0, 4, 0, 1},
                          {0, 1, 0, 1},          {0, 0, -1, 1},
                          {0, 0, 0, -1},         {0, 0, tokens, 1},
                          {0, 0, tokens + 1, 0}, {0, 0, INT32_MAX, INT32_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const int *b = bad[i];
        make_expect(umbra_trace_read_experts(t, b[0], b[1], b[2], b[3], ids, &make_err),
                    UMBRA_E_ARGUMENT, folder);
        make_expect(umbra_trace_read_weights(t, b[0], b[1], b[2], b[3], states, &make_err),
                    UMBRA_E_ARGUMENT, folder);
        make_expect(umbra_trace_read_states(t, b[0], UMBRA_TRACE_INPUT, b[1], b[2], b[3], states,
                                            &make_err),
                    UMBRA_E_ARGUMENT, folder);
        if (b[1] == 0)
            make_expect(umbra_trace_read_tokens(t, b[0], b[2], b[3], &token, &make_err),
                        UMBRA_E_ARGUMENT, folder);
    }
    make_expect(umbra_trace_read_states(t, 0, UMBRA_TRACE_INPUT, 0, rows, 1, states, &make_err),
                UMBRA_E_ARGUMENT, "\"input.0\" has");
    make_expect(umbra_trace_read_gate(t, 1, states, &make_err), UMBRA_E_ARGUMENT, "layer 1");
    MUST(umbra_trace_read_states(t, 0, UMBRA_TRACE_INPUT, 0, rows, 0, NULL, &make_err));
    assert_false(umbra_trace_has_layer(t, -1));
    assert_false(umbra_trace_has_layer(t, 4));
    umbra_trace_close(&t);
    make_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(shapes),
        cmocka_unit_test(widest_rows),
        cmocka_unit_test(bytes_are_foretold),
        cmocka_unit_test(manifest_growth_is_foretold),
        cmocka_unit_test(infos_refused),
        cmocka_unit_test(gates_refused),
        cmocka_unit_test(documents_refused),
        cmocka_unit_test(puts_refused),
        cmocka_unit_test(reads_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
