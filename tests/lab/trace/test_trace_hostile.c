/* Folders that are truncated, altered or made to harm: each is refused with the file and, where
 * there is one, the byte. */
#include "make.h"

#include <math.h>
#include <unistd.h>

#include "base/random.h"
#include "lab/trace/internal.h"

/* Two shards of two documents each, of 5, 7, 4 and 6 tokens, as the corpus below knows. */
static make small(bool int8)
{
    make m = make_case(int8, 2);
    m.info.layers = 3;
    m.info.hidden = 4;
    m.few = 2;
    m.longest = 9;
    return m;
}

static const char *good, *folder;
static unsigned char *manifest;
static size_t manifest_bytes;
static umbra_error err;

static int set_up(void **state)
{
    (void)state;
    const make m = small(true);
    good = make_folder();
    folder = make_folder();
    make_trace(&m, good, 2, MAKE_CHUNKS);
    manifest = make_load(good, "manifest.json", &manifest_bytes);
    make_copy(good, folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    make_remove(good);
    make_remove(folder);
    free(manifest);
    return 0;
}

static int open_and_read(void)
{
    umbra_trace *t;
    err.message[0] = '\0';
    int rc = umbra_trace_open(&t, folder, &err);
    if (rc != UMBRA_OK)
        assert_null(t);
    else
        rc = make_read_all(t, &err);
    umbra_trace_close(&t);
    return rc;
}

static void restore(const char *name)
{
    size_t bytes;
    unsigned char *data = make_load(good, name, &bytes);
    make_save(folder, name, data, bytes);
    free(data);
}

/* The n-th (from 0) occurrence of `find` in the manifest, or a failure. */
static char *nth(const char *find, int n)
{
    char *at = strstr((char *)manifest, find);
    while (at && n-- > 0)
        at = strstr(at + 1, find);
    if (!at)
        fail_msg("the manifest has no %s", find);
    return at;
}

/* Saves the manifest with a piece replaced. */
static void save_replaced(const char *at, size_t length, const char *by)
{
    size_t before = (size_t)(at - (char *)manifest), n = strlen(by);
    char *text = malloc(manifest_bytes + n + 1);
    assert_non_null(text);
    memcpy(text, manifest, before);
    memcpy(text + before, by, n);
    memcpy(text + before + n, at + length, manifest_bytes - before - length);
    make_save(folder, "manifest.json", text, manifest_bytes - length + n);
    free(text);
}

static void expect(int rc, const char *file, const char *words)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    if (rc == UMBRA_OK || rc != err.status || !strstr(err.message, path) ||
        !strstr(err.message, words) || strpbrk(err.message, "\n\r"))
        fail_msg("%d, not \"%s\" of %s: %s", rc, words, file, err.message);
}

#define HEX "\"0123456789abcdef\""

static const struct hostile {
    const char *find;
    int occurrence;
    const char *by;
    const char *words; /* of the message */
} corpus[] = {
    /* not the object that it should be */
    {"{", 0, "[", "malformed JSON"},
    {"{\"format\"", 0, "x{\"format\"", "malformed JSON"},
    {"{\"format\"", 0, "{,\"format\"", "malformed JSON"},
    {"\"umbra-trace\"", 0, "\"umbra-track\"", "format is not"},
    {"\"umbra-trace\"", 0, "1", "format is not a string"},
    {"\"umbra-trace\"", 0, "\"\\u0000\"", "malformed JSON"},
    {"\"umbra-trace\"", 0, "\"\xff\"", "malformed JSON"},
    {"\"umbra-trace\"", 0, "\"\xe2\x82\n\"", "malformed JSON"},
    {"\"format\"", 0, "\"former\"", "format is missing"},
    {"\"version\":1", 0, "\"version\":2", "version 2"},
    {"\"version\":1", 0, "\"version\":-1", "version is -1"},
    {"\"version\":1", 0, "\"version\":1.0", "version is not a whole number"},
    {"\"version\":1", 0, "\"version\":\"1\"", "version is not a whole number"},
    {"\"version\":1", 0, "\"version\":1,\"version\":1", "malformed JSON"},
    {"\"version\":1", 0, "\"version\":1,\"extra\":1", "has 10 members"},
    {"\"version\":1,", 0, "", "version is missing"},
    /* the model */
    {"\"model\":{", 0, "\"model\":[],\"m\":{", "has 10 members"},
    {"\"model\":{", 0, "\"model\":{\"extra\":1,", "has 8 members"},
    {"\"model\"", 0, "\"mode1\"", "model is missing"},
    {"\"" MODEL_HASH "\"", 0, "\"0123456789abcdef0123456789abcde\"", "32 digits"},
    {"\"" MODEL_HASH "\"", 0, "\"0123456789ABCDEF0123456789abcdef\"", "32 digits"},
    {"\"" MODEL_HASH "\"", 0, "\"0123456789abcdef0123456789abcdef0\"", "hash is not text of at"},
    {"\"" MODEL_HASH "\"", 0, "null", "hash is not a string"},
    {"\"moe\"", 0, "\"0123456789012345678901234567890123\"", "architecture is not text"},
    {"\"moe\"", 0, "\"a\\nb\"", "architecture is not text"},
    {"\"layers\":3", 0, "\"layers\":0", "layers is 0"},
    {"\"layers\":3", 0, "\"layers\":4097", "layers is 4097"},
    {"\"layers\":3", 0, "\"layers\":2", "gates has 2 members, and 1 layers"},
    {"\"layers\":3", 0, "\"layers\":99999999999999999999", "malformed JSON"},
    {"\"layers\":3", 0, "\"layers\":4294967299", "layers is 4294967299"},
    {"\"layers\":3", 0, "\"layers\":3e0", "layers is not a whole number"},
    {"\"layers\":3", 0, "\"layers\":true", "layers is not a whole number"},
    {"\"hidden\":4", 0, "\"hidden\":0", "hidden is 0"},
    {"\"hidden\":4", 0, "\"hidden\":32769", "hidden is 32769"},
    {"\"experts\":9", 0, "\"experts\":-9", "experts is -9"},
    {"\"experts\":9", 0, "\"experts\":65537", "experts is 65537"},
    {"\"experts\":9", 0, "\"experts\":2", "experts_used is 3 of 2"},
    {"\"experts_used\":3", 0, "\"experts_used\":1025", "experts_used is 1025"},
    {"\"I8\"", 0, "\"F32\"", "dtype is neither"},
    {"\"I8\"", 0, "8", "dtype is not a string"},
    {"\"I8\"", 0, "\"BF16\"", "checksums has 13 members, 9"},
    {"\"stride\":2", 0, "\"stride\":0", "stride is 0"},
    {"\"stride\":2", 0, "\"stride\":1", "rows is"},
    {"\"stride\":2", 0, "\"stride\":2147483648", "stride is 2147483648"},
    {"\"collection\":{", 0, "\"collection\":[],\"c\":{", "has 10 members"},
    {"\"collection\":{", 0, "\"collect\":{", "collection is missing"},
    /* gates */
    {"\"gate.0\"", 0, "\"gate.1\"", "shards[0].input.1 is missing"},
    {"\"gate.0\"", 0, "\"gate.00\"", "gates has 2 members, and 1 layers"},
    {"\"gate.0\"", 0, "\"gate.3\"", "gates has 2 members, and 1 layers"},
    {"\"gate.0\":", 0, "\"gate.1\":" HEX ",\"gate.0\":", "checksums has 13 members, 19"},
    {"\"gate.0\":\"", 0, "\"gate.0\":\"z", "gate.0 is not 16 digits"},
    {"\"gate.0\":", 0, "\"gate.0\":" HEX ",\"x\":", "gates has 3 members"},
    {"\"gates\":{", 0, "\"gates\":{},\"g\":{", "has 10 members"},
    /* shards */
    {"\"shards\":[", 0, "\"shards\":[],\"s\":[", "has 10 members"},
    {"\"shards\":[", 0, "\"shards\":[1,", "shards[0] is not an object"},
    {"\"shards\":[", 0, "\"shards\":[{},", "shards[0].file is missing"},
    {"\"shards\":[", 0, "\"shards\":[[[[[", "malformed JSON"},
    {"shard-00000", 0, "shard-00001", "shards[0].file is not \"shard-00000.safetensors\""},
    {"shard-00001", 0, "shard-00000", "shards[1].file is not"},
    {"shard-00001", 0, "shard-00002", "shards[1].file is not"},
    {"shard-00000.safetensors", 0, "../../etc/passwd", "shards[0].file is not"},
    {"\"tokens\":", 0, "\"tokens\":1", "tokens is 1"},
    {"\"tokens\":", 0, "\"tokens\":-", "tokens is -"},
    {"\"tokens\":", 0, "\"tokens\":0,\"x\":", "has 5 members"},
    {"\"rows\":", 0, "\"rows\":1", "rows is 1"},
    {"\"rows\":", 0, "\"rows\":[],\"rows\":", "malformed JSON"},
    {"\"tokens\":\"", 0, "\"token\":\"", "tokens is missing"},
    {"\"input.0\":", 0, "\"input.1\":", "input.0 is missing"},
    {"\"input.0\":", 0, "\"extra\":" HEX ",\"input.0\":", "checksums has 14 members"},
    {"\"input.0.scale\":\"", 0, "\"input.0.scale\":\"A", "input.0.scale is not 16 digits"},
    {"\"checksums\":{", 1, "\"checksums\":[],\"x\":{", "shards[1] has 5 members"},
    /* documents */
    {"\"documents\":[", 0, "\"documents\":[],\"d\":[", "has 10 members"},
    {"\"documents\":[", 0, "\"documents\":[null,", "documents[0] is not an object"},
    {"\"documents\":[", 0, "\"documents\":[{},", "documents[0].id is missing"},
    {"\"id\":\"", 0, "\"id\":\"\",\"x\":\"", "documents[0] has 7 members"},
    {"\"id\":\"", 0, "\"id\":\"\\u0007", "documents[0].id is not text"},
    {"\"hash\":\"", 1, "\"hash\":\"0", "documents[0].hash is not 16 digits"},
    {"\"hash\":\"", 2, "\"hash\":null,\"h\":\"", "documents[1] has 7 members"},
    {"\"generated\":", 0, "\"generated\":1,\"x\":", "documents[0] has 7 members"},
    {"\"generated\":", 0, "\"degenerated\":", "documents[0].generated is not"},
    {"\"shard\":0", 0, "\"shard\":1", "shards[0].tokens is"},
    {"\"shard\":0", 0, "\"shard\":2", "documents[0].shard is 2"},
    {"\"shard\":0", 1, "\"shard\":-1", "documents[1].shard is -1"},
    {"\"shard\":1", 0, "\"shard\":0", "documents[2].first is 0"},
    {"\"shard\":1", 1, "\"shard\":2", "documents[3].shard is 2"},
    {"\"shard\":1", 1, "\"shard\":0", "documents[3].shard is 0"},
    {"\"first\":0", 0, "\"first\":1", "documents[0].first is 1"},
    {"\"first\":0", 1, "\"first\":-1", "documents[2].first is -1"},
    {"\"first\":", 1, "\"first\":0,\"f\":", "documents[1] has 7 members"},
    {"\"first\":", 3, "\"first\":2147483640,\"x\":", "documents[3] has 7 members"},
};

static void altered_manifests(void **state)
{
    (void)state;
    const size_t n = sizeof corpus / sizeof *corpus;
    assert_true(n >= 60);
    for (size_t i = 0; i < n; i++) {
        const struct hostile *h = &corpus[i];
        save_replaced(nth(h->find, h->occurrence), strlen(h->find), h->by);
        int rc = open_and_read();
        expect(rc, "manifest.json", h->words);
        assert_int_equal(rc, strstr(h->words, "version 2") ? UMBRA_E_UNSUPPORTED : UMBRA_E_FORMAT);
        assert_int_equal(err.has_offset, strstr(h->words, "malformed JSON") != NULL);
    }
    restore("manifest.json");
    assert_int_equal(open_and_read(), UMBRA_OK);
}

/* Numbers and lists as they are in the good trace, and what is made of them. */
static void altered_documents(void **state)
{
    (void)state;
    umbra_trace *t;
    MUST(umbra_trace_open(&t, good, &make_err));
    char by[1024];
    char *objects[4] = {strchr(nth("\"documents\":[", 0), '{')};
    for (int i = 1; i < 4; i++)
        objects[i] = strchr(objects[i - 1] + 1, '{');
    for (int i = 0; i < 4; i++) {
        size_t length = (size_t)(strchr(objects[i], '}') + 1 - objects[i]);
        /* one is there twice */
        snprintf(by, sizeof by, "%.*s,%.*s", (int)length, objects[i], (int)length, objects[i]);
        save_replaced(objects[i], length, by);
        expect(open_and_read(), "manifest.json", "].first is ");
        /* one is missing */
        if (i < 3) {
            save_replaced(objects[i], (size_t)(objects[i + 1] - objects[i]), "");
            expect(open_and_read(), "manifest.json", i == 1 ? "tokens is " : "].first is ");
        }
        /* one is longer, or shorter, than it was */
        for (int sign = -1; sign <= 1; sign += 2) {
            char *at = strstr(objects[i], "\"tokens\":");
            int tokens = umbra_trace_document_at(t, i)->tokens;
            snprintf(by, sizeof by, "\"tokens\":%d", tokens + sign);
            save_replaced(at, strspn(at, "\"tokens:0123456789"), by);
            expect(open_and_read(), "manifest.json", " is ");
        }
        /* one has another hash */
        char *hash = strstr(objects[i], "\"hash\":\"") + 8;
        by[0] = *hash == '0' ? '1' : '0';
        by[1] = '\0';
        save_replaced(hash, 1, by);
        const umbra_trace_document *d = umbra_trace_document_at(t, i);
        expect(open_and_read(), d->shard ? "shard-00001.safetensors" : "shard-00000.safetensors",
               d->id);
        assert_int_equal(err.status, UMBRA_E_CORRUPT);
        assert_true(err.has_offset);
    }
    umbra_trace_close(&t);
    restore("manifest.json");
}

static void truncated_manifests(void **state)
{
    (void)state;
    for (size_t n = 0; n < manifest_bytes - 1; n++) { /* the last byte is a line's end */
        make_save(folder, "manifest.json", manifest, n);
        expect(open_and_read(), "manifest.json", "malformed JSON");
        assert_true(err.has_offset && err.offset <= n);
    }
    restore("manifest.json");
}

/* A flipped bit may make another name or id; it may never do harm. */
static void flipped_manifests(void **state)
{
    (void)state;
    int accepted = 0, total = 0;
    for (size_t i = 0; i < manifest_bytes; i++)
        for (int bit = 0; bit < 8; bit += 3, total++) {
            manifest[i] ^= (unsigned char)(1 << bit);
            make_save(folder, "manifest.json", manifest, manifest_bytes);
            manifest[i] ^= (unsigned char)(1 << bit);
            int rc = open_and_read();
            if (rc != UMBRA_OK)
                expect(rc, "", "");
            accepted += rc == UMBRA_OK;
        }
    /* Texts that people chose, the model's hash and line ends are all that may change unseen. */
    assert_true(accepted < total / 10);
    restore("manifest.json");
}

static void huge_manifest(void **state)
{
    (void)state;
    char path[400];
    snprintf(path, sizeof path, "%s/manifest.json", folder);
    assert_int_equal(truncate(path, ((off_t)32 << 20) + 1), 0);
    expect(open_and_read(), "manifest.json", "33554432 is the most");
    assert_int_equal(err.status, UMBRA_E_UNSUPPORTED);
    /* As deep as a stack could be made to go. */
    char *deep = malloc(1 << 20);
    assert_non_null(deep);
    memset(deep, '[', 1 << 20);
    make_save(folder, "manifest.json", deep, 1 << 20);
    expect(open_and_read(), "manifest.json", "malformed JSON");
    free(deep);
    restore("manifest.json");
}

/* Every byte of a file, altered: the file is named, and a byte at or before the altered one. */
static void altered_file(const char *name)
{
    size_t bytes;
    unsigned char *data = make_load(good, name, &bytes);
    for (size_t i = 0; i < bytes; i++) {
        data[i] ^= (unsigned char)(1 << i % 8);
        make_save(folder, name, data, bytes);
        data[i] ^= (unsigned char)(1 << i % 8);
        expect(open_and_read(), name, "");
        uint64_t header;
        memcpy(&header, data, sizeof header);
        if (i >= header + 8) {
            assert_int_equal(err.status, UMBRA_E_CORRUPT);
            assert_true(err.has_offset && err.offset <= i);
            assert_non_null(strstr(err.message, "checksum"));
            assert_non_null(strstr(err.message, "tensor \""));
        }
    }
    for (size_t n = 0; n < bytes; n += n < 600 ? 1 : 37) {
        make_save(folder, name, data, n);
        expect(open_and_read(), name, "");
    }
    data[bytes] = 0;
    make_save(folder, name, data, bytes + 1);
    expect(open_and_read(), name, "");
    free(data);
    restore(name);
}

static void altered_shards(void **state)
{
    (void)state;
    altered_file("shard-00000.safetensors");
    altered_file("gates.safetensors");
}

static void files_missing_or_mixed_up(void **state)
{
    (void)state;
    static const char *const names[] = {"gates.safetensors", "shard-00000.safetensors",
                                        "shard-00001.safetensors"};
    for (int i = 0; i < 3; i++) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
        expect(open_and_read(), names[i], "");
        assert_int_equal(err.status, UMBRA_E_IO);
        for (int other = 0; other < 3; other++) {
            size_t bytes;
            unsigned char *data = make_load(good, names[other], &bytes);
            make_save(folder, names[i], data, bytes);
            free(data);
            int rc = open_and_read();
            if (other != i)
                expect(rc, names[i], "");
            else
                assert_int_equal(rc, UMBRA_OK);
        }
        restore(names[i]);
    }
    /* Shards of a trace of the same shape, but of other values. */
    make m = small(true);
    m.info.collection = "{}";
    const char *twin = make_folder();
    m.seed++;
    make_trace(&m, twin, 2, MAKE_CHUNKS);
    for (int i = 0; i < 3; i++) {
        size_t bytes;
        unsigned char *data = make_load(twin, names[i], &bytes);
        make_save(folder, names[i], data, bytes);
        free(data);
        expect(open_and_read(), names[i], "");
        restore(names[i]);
    }
    make_remove(twin);
}

/* A file that changes while it is open. */
static void changed_after_opening(void **state)
{
    (void)state;
    umbra_trace *t;
    float values[9 * 4];
    int32_t token;
    size_t bytes;
    MUST(umbra_trace_open(&t, folder, &make_err));
    unsigned char *data = make_load(good, "shard-00001.safetensors", &bytes);
    make_save(folder, "shard-00001.safetensors", data, bytes - 1);
    assert_int_equal(umbra_trace_read_tokens(t, 1, 0, 1, &token, &err), UMBRA_E_FORMAT);
    expect(UMBRA_E_FORMAT, "shard-00001.safetensors", "when it was opened");
    char path[400];
    snprintf(path, sizeof path, "%s/gates.safetensors", folder);
    unlink(path);
    assert_int_equal(umbra_trace_read_gate(t, 0, values, &err), UMBRA_E_IO);
    restore("gates.safetensors");
    restore("shard-00001.safetensors");
    MUST(umbra_trace_read_tokens(t, 1, 0, 1, &token, &make_err));
    umbra_trace_close(&t);
    free(data);
}

/* ---- values that no writer lets in, under the right checksum ---- */

/* Alters bytes of a tensor and the checksum with them. Returns where in the file they are. */
static uint64_t forge(const char *file, const char *tensor, int occurrence, uint64_t at,
                      const void *value, size_t n)
{
    char path[400], find[64], hex[UMBRA_TRACE_HEX_CHARS];
    umbra_safetensors *st;
    size_t bytes;
    snprintf(path, sizeof path, "%s/%s", good, file);
    MUST(umbra_safetensors_open(&st, path, &make_err));
    const umbra_safetensors_tensor *t = umbra_safetensors_find(st, tensor);
    assert_non_null(t);
    uint64_t offset = t->offset;
    unsigned char *data = make_load(good, file, &bytes);
    memcpy(data + offset + at, value, n);
    make_save(folder, file, data, bytes);
    umbra_trace_hex(XXH3_64bits(data + offset, t->bytes), hex);
    free(data);
    umbra_safetensors_close(&st);
    snprintf(find, sizeof find, "\"%s\":\"", tensor);
    save_replaced(nth(find, occurrence) + strlen(find), 16, hex);
    return offset + at;
}

static void expect_forged(const char *file, uint64_t row, const char *words)
{
    int rc = open_and_read();
    expect(rc, file, words);
    assert_int_equal(rc, UMBRA_E_FORMAT);
    assert_true(err.has_offset);
    assert_int_equal(err.offset, row);
    restore(file);
    restore("manifest.json");
}

static void forged_values(void **state)
{
    (void)state;
    static const char shard[] = "shard-00000.safetensors";
    const float bad_floats[] = {NAN, INFINITY, -INFINITY};
    const float bad_scales[] = {NAN, INFINITY, -1, 3e38f};
    const uint16_t bad_ids[] = {9, 10, 65535}, bad_weights[] = {0x7c00, 0xfc00, 0x7e00};
    const int8_t least = -128;
    const int32_t token = -1;
    for (int i = 0; i < 3; i++) {
        uint64_t at = forge("gates.safetensors", "gate.2", 0, 40, &bad_floats[i], 4);
        expect_forged("gates.safetensors", at, "\"gate.2\" holds a value that is not finite");
        at = forge(shard, "experts.0", 0, 6 * 2, &bad_ids[i], 2); /* the third row of 3 */
        expect_forged(shard, at, "\"experts.0\" holds a row with an expert");
        at = forge(shard, "weights.2", 0, 6, &bad_weights[i], 2);
        expect_forged(shard, at, "\"weights.2\" holds a row with a weight");
    }
    for (int i = 0; i < 4; i++) {
        forge(shard, "hidden.2.scale", 0, 4, &bad_scales[i], 4);
        int rc = open_and_read();
        expect(rc, shard, "\"hidden.2\" holds a row with a value that is no number");
        assert_int_equal(rc, UMBRA_E_FORMAT);
        restore(shard);
        restore("manifest.json");
    }
    uint64_t at = forge(shard, "input.0", 0, 4, &least, 1);
    expect_forged(shard, at, "\"input.0\" holds a row with a value that is no number");
    /* The tokens' hash stands in the document too. */
    forge(shard, "tokens", 0, 0, &token, 4);
    expect(open_and_read(), shard, "document \"doc-0");
    restore(shard);
    restore("manifest.json");
    assert_int_equal(open_and_read(), UMBRA_OK);
}

static void forged_bf16(void **state)
{
    (void)state;
    const make m = small(false);
    const uint16_t bad[] = {0x7f80, 0xff80, 0x7fc0, 0xffff};
    const char *saved[2] = {good, folder};
    unsigned char *text = manifest;
    size_t bytes = manifest_bytes;
    good = make_folder();
    folder = make_folder();
    make_trace(&m, good, 1, MAKE_CHUNKS);
    make_copy(good, folder);
    manifest = make_load(good, "manifest.json", &manifest_bytes);
    for (int i = 0; i < 4; i++) {
        uint64_t at = forge("shard-00000.safetensors", "hidden.0", 0, 8, &bad[i], 2);
        expect_forged("shard-00000.safetensors", at, "\"hidden.0\" holds a row with a value");
    }
    make_remove(good);
    make_remove(folder);
    free(manifest);
    good = saved[0];
    folder = saved[1];
    manifest = text;
    manifest_bytes = bytes;
}

/* What cannot be read cannot be resumed either. */
static void resume_of_damaged_traces(void **state)
{
    (void)state;
    const make m = small(true);
    umbra_trace_writer *w;
    make_save(folder, "manifest.json", manifest, manifest_bytes / 2);
    assert_int_equal(umbra_trace_writer_open(&w, folder, &m.info, true, &err), UMBRA_E_FORMAT);
    assert_null(w);
    restore("manifest.json");
    size_t bytes;
    unsigned char *data = make_load(good, "shard-00001.safetensors", &bytes);
    make_save(folder, "shard-00001.safetensors", data, bytes - 10);
    free(data);
    assert_int_equal(umbra_trace_writer_open(&w, folder, &m.info, true, &err), UMBRA_E_FORMAT);
    expect(UMBRA_E_FORMAT, "shard-00001.safetensors", "");
    restore("shard-00001.safetensors");
    assert_int_equal(open_and_read(), UMBRA_OK);
    assert_int_equal(make_files(folder), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(altered_manifests),
        cmocka_unit_test(altered_documents),
        cmocka_unit_test(truncated_manifests),
        cmocka_unit_test(flipped_manifests),
        cmocka_unit_test(huge_manifest),
        cmocka_unit_test(altered_shards),
        cmocka_unit_test(files_missing_or_mixed_up),
        cmocka_unit_test(changed_after_opening),
        cmocka_unit_test(forged_values),
        cmocka_unit_test(forged_bf16),
        cmocka_unit_test(resume_of_damaged_traces),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
