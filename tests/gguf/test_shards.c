/* Of a model in shards the first one has the keys; another may repeat them and add none. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builder.h"

enum { PATH_BYTES = 512 };

static const char *const vocabulary[] = {"a", "b", "c"};

/* What the second shard has beside split.*. */
typedef struct repetition {
    const char *architecture; /* NULL: no such key */
    float base;               /* llama.rope.freq_base; 0: no such key */
    uint64_t tokens;          /* so many of the vocabulary; 0: no such key */
    const char *note;         /* general.name; NULL: no such key */
    const char *refused;      /* the key that the message names; NULL: sound */
} repetition;

static void put_shard(const char *path, uint32_t number, const repetition *r)
{
    umbra_builder b;
    umbra_builder_init(&b, 3);
    umbra_builder_u32(&b, "split.no", number);
    umbra_builder_u32(&b, "split.count", 2);
    umbra_builder_u32(&b, "split.tensors.count", 2);
    if (r->architecture)
        umbra_builder_string(&b, "general.architecture", r->architecture);
    if (r->base != 0)
        umbra_builder_f32(&b, "llama.rope.freq_base", r->base);
    if (r->tokens)
        umbra_builder_strings(&b, "tokenizer.ggml.tokens", vocabulary, r->tokens);
    if (r->note)
        umbra_builder_string(&b, "general.name", r->note);
    umbra_builder_tensor(&b, number ? "b.weight" : "a.weight", UMBRA_F32, 1, (uint64_t[]){8}, NULL);
    umbra_builder_finish(&b);
    umbra_builder_write(&b, path);
    umbra_builder_release(&b);
}

/* For a model in two shards. */
static void make_folder(char folder[PATH_BYTES], char paths[2][PATH_BYTES + 32])
{
    const char *base = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    snprintf(folder, PATH_BYTES, "%s/umbra-shards-XXXXXX", base);
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < 2; i++)
        snprintf(paths[i], PATH_BYTES + 32, "%s/m-0000%d-of-00002.gguf", folder, i + 1);
}

static void later_shards_add_no_keys(void **state)
{
    (void)state;
    static const repetition first = {"llama", 500, 3, "one", NULL};
    static const repetition later[] = {
        {NULL, 0, 0, NULL, NULL},
        {"llama", 500, 3, "two", NULL},
        {"olmoe", 0, 0, NULL, "general.architecture"},
        {NULL, 600, 0, NULL, "llama.rope.freq_base"},
        {NULL, 0, 2, NULL, "tokenizer.ggml.tokens"},
    };
    static const repetition bare = {"llama", 0, 3, NULL, NULL};
    char folder[PATH_BYTES], paths[2][PATH_BYTES + 32];
    make_folder(folder, paths);
    for (size_t i = 0; i < 6; i++) {
        const repetition *r = i < 5 ? &later[i] : &later[1]; /* at last: a key that is new */
        const char *refused = i < 5 ? r->refused : "llama.rope.freq_base";
        umbra_gguf *gguf;
        umbra_error err = {0};
        put_shard(paths[0], 0, i < 5 ? &first : &bare);
        put_shard(paths[1], 1, r);
        int rc = umbra_gguf_open_all(&gguf, paths[0], &err);
        if (rc != (refused ? UMBRA_E_MISMATCH : UMBRA_OK) ||
            (refused && (!strstr(err.message, refused) || !strstr(err.message, paths[1]))))
            fail_msg("%zu: %d, \"%s\"", i, rc, err.message);
        umbra_gguf_close(&gguf);
    }
    unlink(paths[0]);
    unlink(paths[1]);
    rmdir(folder);
}

/* ---- sets that are none ---- */

enum { NO_KEY = -1 };

/* What a shard says of itself; two tensors are there where nothing is wrong. */
typedef struct claim {
    int64_t number, count, tensors;
    const char *tensor;
} claim;

static void put_claim(const char *path, const claim *c)
{
    umbra_builder b;
    umbra_builder_init(&b, 3);
    if (c->number != NO_KEY)
        umbra_builder_u32(&b, "split.no", (uint32_t)c->number);
    if (c->count != NO_KEY)
        umbra_builder_u32(&b, "split.count", (uint32_t)c->count);
    if (c->tensors != NO_KEY)
        umbra_builder_u32(&b, "split.tensors.count", (uint32_t)c->tensors);
    umbra_builder_string(&b, "general.architecture", "llama");
    umbra_builder_array(&b, "tokenizer.ggml.token_type", UMBRA_GGUF_I32, (int32_t[]){1, 2, 3}, 3);
    umbra_builder_tensor(&b, c->tensor, UMBRA_F32, 1, (uint64_t[]){8}, NULL);
    umbra_builder_finish(&b);
    umbra_builder_write(&b, path);
    umbra_builder_release(&b);
}

static void wrong_sets_are_refused(void **state)
{
    (void)state;
    static const struct {
        claim first, second;
        int rc;
        const char *words;
    } rows[] = {
        {{0, 2, 2, "a"}, {1, 2, 2, "b"}, UMBRA_OK, ""},
        {{0, 2, NO_KEY, "a"}, {1, 2, 2, "b"}, UMBRA_E_FORMAT, "split.tensors.count is missing"},
        {{NO_KEY, 2, 2, "a"}, {1, 2, 2, "b"}, UMBRA_E_FORMAT, "split.no is missing"},
        {{2, 2, 2, "a"}, {1, 2, 2, "b"}, UMBRA_E_FORMAT, "split.no is 2, but there are 2"},
        {{0, 70000, 2, "a"}, {1, 2, 2, "b"}, UMBRA_E_UNSUPPORTED, "split.count is 70000"},
        {{0, 3, 2, "a"}, {1, 2, 2, "b"}, UMBRA_E_MISMATCH, "ends in -00001-of-00003.gguf"},
        {{0, 2, 2, "a"}, {NO_KEY, NO_KEY, NO_KEY, "b"}, UMBRA_E_MISMATCH, "is a whole model"},
        {{0, 2, 2, "a"}, {0, 2, 2, "b"}, UMBRA_E_MISMATCH, "is shard 1 of 2 by its keys"},
        {{0, 2, 2, "a"}, {1, 2, 3, "b"}, UMBRA_E_MISMATCH, "belongs to a model of 3 tensors"},
        {{0, 2, 2, "a"}, {1, 2, NO_KEY, "b"}, UMBRA_E_FORMAT, "split.tensors.count is missing"},
        {{0, 2, 2, "a"}, {1, 2, 2, "a"}, UMBRA_E_MISMATCH, "tensor a is in "},
        {{0, 2, 5, "a"}, {1, 2, 5, "b"}, UMBRA_E_MISMATCH, "the 2 shards hold 2 tensors"},
        {{0, 2, 2, "a"}, {0}, UMBRA_E_IO, "shard 2 of 2: "},
    };
    char folder[PATH_BYTES], paths[2][PATH_BYTES + 32];
    make_folder(folder, paths);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        umbra_gguf *gguf;
        umbra_error err = {0};
        put_claim(paths[0], &rows[i].first);
        if (rows[i].second.tensor)
            put_claim(paths[1], &rows[i].second);
        else
            unlink(paths[1]);
        int rc = umbra_gguf_open_all(&gguf, paths[0], &err);
        if (rc != rows[i].rc || !strstr(err.message, rows[i].words))
            fail_msg("%zu: %d, \"%s\"", i, rc, err.message);
        umbra_gguf_close(&gguf);
    }
    unlink(paths[0]);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(later_shards_add_no_keys),
        cmocka_unit_test(wrong_sets_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
