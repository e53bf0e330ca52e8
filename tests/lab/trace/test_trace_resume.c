/* Going on after an interruption at every step, and what is not to be gone on with. */
#include "make.h"

#include <sys/wait.h>
#include <unistd.h>

static void assert_same_folders(const char *a, const char *b, int shards)
{
    for (int i = -2; i < shards; i++) {
        char name[64];
        size_t n, m;
        snprintf(name, sizeof name, "shard-%05d.safetensors", i);
        const char *file = i == -2 ? "manifest.json" : i == -1 ? "gates.safetensors" : name;
        unsigned char *x = make_load(a, file, &n), *y = make_load(b, file, &m);
        assert_int_equal(n, m);
        assert_memory_equal(x, y, n);
        free(x);
        free(y);
    }
    assert_int_equal(make_files(b), shards + 2);
}

/* What a run does, a number each; it is killed before number `stop`. True if it came to its end. */
static bool run_until(const make *m, const char *folder, bool resume, int shards, int stop)
{
    umbra_trace_writer *w;
    int step = 0;
#define STEP(call)                                                                                 \
    do {                                                                                           \
        if (step++ == stop)                                                                        \
            _exit(1);                                                                              \
        if ((call) != UMBRA_OK) {                                                                  \
            fprintf(stderr, "%s\n", make_err.message);                                             \
            _exit(2);                                                                              \
        }                                                                                          \
    } while (0)
    STEP(umbra_trace_writer_open(&w, folder, &m->info, resume, &make_err));
    STEP(make_put_gates(m, w));
    for (int s = umbra_trace_writer_shards(w); s < shards; s++) {
        STEP(make_begin(m, w, s));
        STEP(make_put_values(m, w, s, MAKE_SHUFFLED));
        STEP(umbra_trace_shard_end(w, &make_err));
    }
    umbra_trace_writer_close(&w);
    return true;
#undef STEP
}

/* In a child, so that nothing of the run is tidied up. */
static bool run_killed(const make *m, const char *folder, bool resume, int shards, int stop)
{
    int status;
    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        run_until(m, folder, resume, shards, stop);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 2);
    return WEXITSTATUS(status) == 0;
}

static void killed_at_every_step(void **state)
{
    (void)state;
    enum { SHARDS = 3 };
    make m = make_case(true, 3);
    const char *whole = make_folder();
    make_trace(&m, whole, SHARDS, MAKE_CHUNKS);
    bool done = false;
    for (int stop = 0; !done; stop++) {
        const char *folder = make_folder();
        done = run_killed(&m, folder, false, SHARDS, stop);
        if (!done) {
            run_killed(&m, folder, true, SHARDS, 3); /* and once more on the way */
            assert_true(run_killed(&m, folder, true, SHARDS, -1));
        }
        assert_same_folders(whole, folder, SHARDS);
        make_open_and_check(&m, folder, SHARDS);
        make_remove(folder);
    }
    make_remove(whole);
}

/* Between the name of a shard and the manifest that lists it, and with the partial files of every
 * kind. */
static void leftovers(void **state)
{
    (void)state;
    enum { SHARDS = 3 };
    make m = make_case(false, 1);
    const char *whole = make_folder();
    make_trace(&m, whole, SHARDS, MAKE_CHUNKS);
    for (int listed = 0; listed < SHARDS; listed++) {
        const char *folder = make_folder(), *before = make_folder();
        if (listed > 0)
            make_trace(&m, before, listed, MAKE_CHUNKS);
        make_trace(&m, folder, listed + 1, MAKE_CHUNKS);
        size_t bytes;
        char path[400];
        snprintf(path, sizeof path, "%s/manifest.json", folder);
        unlink(path);
        if (listed > 0) {
            unsigned char *text = make_load(before, "manifest.json", &bytes);
            make_save(folder, "manifest.json", text, bytes);
            free(text);
        }
        make_save(folder, "manifest.json.part", "{", 1);
        make_save(folder, "gates.safetensors.part", "", 0);
        make_save(folder, "shard-00000.safetensors.part", "x", 1);
        make_save(folder, "shard-12345.safetensors.part", "x", 1);
        make_save(folder, "mine.part", "x", 1); /* not a trace's: stays */
        assert_true(run_killed(&m, folder, true, SHARDS, -1));
        assert_true(make_exists(folder, "mine.part"));
        snprintf(path, sizeof path, "%s/mine.part", folder);
        unlink(path);
        assert_same_folders(whole, folder, SHARDS);
        make_remove(folder);
        make_remove(before);
    }
    make_remove(whole);
}

static void counts(void **state)
{
    (void)state;
    const char *folder = make_folder();
    make m = make_case(false, 1);
    umbra_trace_writer *w, *second;
    m.few = 2;
    MUST(umbra_trace_writer_open(&w, folder, &m.info, true, &make_err)); /* nothing to resume */
    MUST(make_put_gates(&m, w));
    assert_int_equal(umbra_trace_writer_shards(w), 0);
    MUST(make_put_shard(&m, w, 0, MAKE_CHUNKS));
    uint64_t tokens = umbra_trace_writer_tokens(w);
    assert_true(tokens >= 2);
    MUST(make_begin(&m, w, 1));
    assert_int_equal(umbra_trace_writer_shards(w), 1);
    assert_int_equal(umbra_trace_writer_documents(w), 2);
    make_expect(umbra_trace_writer_open(&second, folder, &m.info, true, &make_err), UMBRA_E_IO,
                "another run");
    umbra_trace_writer_close(&w);
    assert_int_equal(make_files(folder), 3);
    make_expect(umbra_trace_writer_open(&w, folder, &m.info, false, &make_err), UMBRA_E_ARGUMENT,
                "already holds a trace");
    MUST(umbra_trace_writer_open(&w, folder, &m.info, true, &make_err));
    assert_int_equal(umbra_trace_writer_shards(w), 1);
    assert_int_equal(umbra_trace_writer_documents(w), 2);
    assert_int_equal(umbra_trace_writer_tokens(w), tokens);
    umbra_trace_writer_close(&w);
    umbra_trace_writer_close(&w);
    make_open_and_check(&m, folder, 1);
    make_remove(folder);
}

static void resume_with_other_info(void **state)
{
    (void)state;
    const char *folder = make_folder();
    const make m = make_case(false, 1);
    make_trace(&m, folder, 1, MAKE_CHUNKS);
    for (int i = 0; i < 14; i++) {
        make n = m;
        umbra_trace_writer *w;
        static const char *const words[] = {
            "model hash \"1123456789abcdef0123456789abcdef\", it was \"" MODEL_HASH "\"",
            "model name \"other\", it was \"a \"model\"",
            "architecture \"x\", it was \"moe\"",
            "layers 5, it was 4",
            "hidden 25, it was 24",
            "experts 10, it was 9",
            "experts used 2, it was 3",
            "dtype \"I8\", it was \"BF16\"",
            "stride 2, it was 1",
            "collection's \"seed\" 8, it was 7",
            "collection's \"new\" null, it was absent",
            "collection's \"text\" absent, it was [\"\\u20AC\"]",
            "layers 5, it was 4; hidden 25, it was 24; stride 2, it was 1",
            "collection's \"seed\" absent, it was 7; ",
        };
        if (i == 0)
            n.info.model_hash[0] = '1';
        else if (i == 1)
            memcpy(n.info.model_name, "other", 6);
        else if (i == 2)
            memcpy(n.info.architecture, "x", 2);
        n.info.layers += i == 3 || i == 12;
        n.info.hidden += i == 4 || i == 12;
        n.info.experts += i == 5;
        n.info.used -= i == 6;
        n.info.int8 = i == 7;
        n.info.stride += i == 8 || i == 12;
        if (i == 9)
            n.info.collection = "{\"text\":[\"\\u20ac\"],\"seed\":8,\"temperature\":0.5}";
        else if (i == 10)
            n.info.collection =
                "{\"text\":[\"\\u20ac\"],\"seed\":7,\"temperature\":0.5,\"new\":null}";
        else if (i == 11)
            n.info.collection = "{\"seed\":7,\"temperature\":0.5}";
        else if (i == 13)
            n.info.collection = NULL;
        make_expect(umbra_trace_writer_open(&w, folder, &n.info, true, &make_err), UMBRA_E_MISMATCH,
                    words[i]);
        assert_null(w);
    }
    make_open_and_check(&m, folder, 1);
    make_remove(folder);
}

static void resume_with_other_gates(void **state)
{
    (void)state;
    const char *folder = make_folder();
    const make m = make_case(false, 1);
    float gate[9 * 24];
    make_trace(&m, folder, 1, MAKE_CHUNKS);
    umbra_trace_writer *w;
    MUST(umbra_trace_writer_open(&w, folder, &m.info, true, &make_err));
    make_gate(&m, 0, gate);
    MUST(umbra_trace_put_gate(w, 0, gate, &make_err));
    make_expect(umbra_trace_put_gate(w, 1, gate, &make_err), UMBRA_E_MISMATCH,
                "layer 1 has a router");
    make_expect(umbra_trace_put_gate(w, 2, gate, &make_err), UMBRA_E_MISMATCH,
                "the router of layer 2 has checksum");
    make_expect(make_begin(&m, w, 1), UMBRA_E_ARGUMENT, "the router of layer 2 must come");
    for (int l = 2; l < 4; l++) {
        make_gate(&m, l, gate);
        MUST(umbra_trace_put_gate(w, l, gate, &make_err));
    }
    MUST(make_put_shard(&m, w, 1, MAKE_CHUNKS));
    umbra_trace_writer_close(&w);
    make_open_and_check(&m, folder, 2);
    make_remove(folder);
}

/* A lost manifest must not make a resumed run remove the shards. */
static void lost_manifest(void **state)
{
    (void)state;
    const char *folder = make_folder();
    const make m = make_case(false, 1);
    char path[400];
    umbra_trace_writer *w;
    make_trace(&m, folder, 3, MAKE_CHUNKS);
    snprintf(path, sizeof path, "%s/manifest.json", folder);
    unlink(path);
    for (int resume = 0; resume < 2; resume++)
        make_expect(umbra_trace_writer_open(&w, folder, &m.info, resume, &make_err),
                    resume ? UMBRA_E_FORMAT : UMBRA_E_ARGUMENT, folder);
    assert_int_equal(make_files(folder), 4);
    make_remove(folder);
}

static void folders_that_cannot_be(void **state)
{
    (void)state;
    const char *folder = make_folder();
    const make m = make_case(false, 1);
    char path[400];
    umbra_trace_writer *w;
    umbra_trace *t;
    snprintf(path, sizeof path, "%s/a/b", folder);
    make_expect(umbra_trace_writer_open(&w, path, &m.info, false, &make_err), UMBRA_E_IO, path);
    make_save(folder, "file", "", 0);
    snprintf(path, sizeof path, "%s/file", folder);
    make_expect(umbra_trace_writer_open(&w, path, &m.info, true, &make_err), UMBRA_E_IO, path);
    make_expect(umbra_trace_open(&t, path, &make_err), UMBRA_E_IO, path);
    make_expect(umbra_trace_open(&t, folder, &make_err), UMBRA_E_IO, "manifest.json");
    assert_null(t);
    /* A new folder is made. */
    snprintf(path, sizeof path, "%s/new", folder);
    make_trace(&m, path, 1, MAKE_CHUNKS);
    make_open_and_check(&m, path, 1);
    make_remove(path);
    make_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_every_step),
        cmocka_unit_test(leftovers),
        cmocka_unit_test(counts),
        cmocka_unit_test(resume_with_other_info),
        cmocka_unit_test(resume_with_other_gates),
        cmocka_unit_test(lost_manifest),
        cmocka_unit_test(folders_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
