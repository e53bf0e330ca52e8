/* The tokenizer against goldens of llama.cpp, and text that must come back as it was. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>

#include "base/memory.h"
#include "tokenizer/tokenizer.h"

typedef struct fixture {
    umbra_gguf *gguf;
    umbra_tokenizer *tokenizer;
} fixture;

static int set_up(void **state)
{
    static fixture f;
    umbra_error err = {0};
    if (umbra_gguf_open(&f.gguf, "models/tiny-q8_0.gguf", &err) != UMBRA_OK ||
        umbra_tokenizer_open(&f.tokenizer, f.gguf, &err) != UMBRA_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    umbra_tokenizer_close(&f->tokenizer);
    umbra_tokenizer_close(&f->tokenizer);
    umbra_gguf_close(&f->gguf);
    return 0;
}

/* The whole file, to be freed; NULL if there is none. */
static char *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *data = umbra_calloc(*bytes + 1, 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *bytes, file), *bytes);
    fclose(file);
    return data;
}

static void check_golden(const umbra_tokenizer *t, const char *text_path, const char *ids_path)
{
    size_t bytes, count;
    char *text = read_file(text_path, &bytes);
    FILE *file = fopen(ids_path, "r");
    if (!text || !file)
        fail_msg("%s or %s is missing", text_path, ids_path);
    int32_t *ids;
    umbra_error err;
    assert_int_equal(umbra_tokenizer_encode(t, text, bytes, true, true, &ids, &count, &err), 0);
    for (size_t i = 0; i < count; i++) {
        int id;
        assert_int_equal(fscanf(file, "%d", &id), 1);
        if (id != ids[i])
            fail_msg("%s: token %zu is %d instead of %d", text_path, i, ids[i], id);
    }
    int more;
    assert_int_equal(fscanf(file, "%d", &more), EOF);
    fclose(file);
    umbra_free(ids);
    umbra_free(text);
}

static void goldens_own(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"chat", "code", "mixed", "prose"};
    for (int i = 0; i < 4; i++) {
        char text[64], ids[64];
        snprintf(text, sizeof text, "tests/golden/own-%s.txt", names[i]);
        snprintf(ids, sizeof ids, "tests/golden/tiny-own-%s.tokens", names[i]);
        check_golden(f->tokenizer, text, ids);
    }
}

static void goldens_shared(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"0-python", "1-wordnet", "2-postgres", "3-pydoc",
                                        "4-rust",   "5-dicts",   "6-unicode",  "7-edge"};
    const char *shared = getenv("UMBRA_SHARED") ? getenv("UMBRA_SHARED") : "../shared";
    for (int i = 0; i < 8; i++) {
        char text[512], ids[512];
        snprintf(text, sizeof text, "%s/golden/%s.txt", shared, names[i]);
        FILE *file = fopen(text, "r");
        if (!file) {
            print_message("%s is not there: skipped\n", text);
            skip();
        }
        fclose(file);
        for (int model = 0; model < 2; model++) {
            snprintf(ids, sizeof ids, "%s/golden/%s-%c.tokens", shared, model ? "lab" : "tiny",
                     names[i][0]);
            check_golden(f->tokenizer, text, ids);
        }
    }
}

/* Encodes and decodes; the bytes must be the same. */
static void check_round_trip(const umbra_tokenizer *t, const char *text, size_t bytes, bool special)
{
    int32_t *ids;
    size_t count;
    umbra_error err;
    assert_int_equal(umbra_tokenizer_encode(t, text, bytes, false, special, &ids, &count, &err), 0);
    assert_non_null(ids);
    assert_true(count <= bytes);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        char piece[256];
        size_t n = umbra_tokenizer_decode(t, ids[i], special, piece, sizeof piece);
        assert_in_range(n, 1, sizeof piece);
        assert_true(at + n <= bytes);
        assert_memory_equal(text + at, piece, n);
        at += n;
    }
    assert_int_equal(at, bytes);
    umbra_free(ids);
}

static void round_trips_of_texts(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"chat", "code", "mixed", "prose"};
    for (int i = 0; i < 4; i++) {
        char path[64];
        size_t bytes;
        snprintf(path, sizeof path, "tests/golden/own-%s.txt", names[i]);
        char *text = read_file(path, &bytes);
        assert_non_null(text);
        /* Every prefix ends somewhere else: in a word, in a character, in white space. */
        for (size_t n = 0; n <= bytes; n++) {
            check_round_trip(f->tokenizer, text, n, false);
            check_round_trip(f->tokenizer, text + bytes - n, n, true);
        }
        umbra_free(text);
    }
    check_round_trip(f->tokenizer, "a\0b \0\0 c", 8, true);
    check_round_trip(f->tokenizer, "<|endoftext|>x<|endoftext|><|endoftext", 38, true);
    check_round_trip(f->tokenizer, "<|endoftext|>x<|endoftext|><|endoftext", 38, false);
}

static uint64_t random_state = 1;
static uint32_t random_u32(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

/* Pieces that meet at all kinds of borders: broken UTF-8 of every sort, white space, specials. */
static const char *const scraps[] = {
    "\xff",
    "\xc3",
    "\xe2\x82",
    "\xf0\x9f\x98",
    "\x80\x80",
    "\xc0\xaf",
    "\xed\xa0\x80",
    "\xf4\x90\x80\x80",
    "\xc3\xa9",
    "\xe2\x82\xac",
    "\xf0\x9f\x98\x80",
    "\xc2\xa0",
    "\xe1\xa0\x8e",
    "\xe3\x80\x80",
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "'s",
    "'LL",
    "abc",
    " the",
    "42",
    "...",
    "<|endoftext|>",
    "<|",
    "\xcc\x81",
    "\xe4\xb8\xad\xe6\x96\x87",
};

static void round_trips_of_random_bytes(void **state)
{
    fixture *f = *state;
    enum { N = 400 };
    char text[N + 16];
    for (int round = 0; round < 600; round++) {
        size_t n = 0;
        while (n < N) {
            if (round & 1) {
                text[n++] = (char)random_u32();
                continue;
            }
            const char *s = scraps[random_u32() % (sizeof scraps / sizeof *scraps)];
            memcpy(text + n, s, strlen(s));
            n += strlen(s);
        }
        check_round_trip(f->tokenizer, text, n, round & 2);
    }
}

static void empty_text(void **state)
{
    fixture *f = *state;
    int32_t *ids;
    size_t count = 9;
    umbra_error err;
    assert_int_equal(umbra_tokenizer_encode(f->tokenizer, "", 0, false, true, &ids, &count, &err),
                     0);
    assert_non_null(ids);
    assert_int_equal(count, 0);
    umbra_free(ids);
    assert_int_equal(umbra_tokenizer_encode(f->tokenizer, NULL, 0, true, true, &ids, &count, &err),
                     0);
    assert_int_equal(count, 1);
    assert_int_equal(ids[0], umbra_tokenizer_bos(f->tokenizer));
    umbra_free(ids);
}

/* One piece of a million bytes, for each class that the regex knows. */
static void long_runs(void **state)
{
    fixture *f = *state;
    enum { N = 1000000 };
    static const char *const units[] = {"a", "7", " ", "\n", "-", "ab", "\xe4\xb8\xad", "\xff"};
    char *text = umbra_calloc(N + 1, 1);
    assert_non_null(text);
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t length = strlen(units[u]);
        size_t n = N / length * length;
        for (size_t i = 0; i < n; i += length)
            memcpy(text + i, units[u], length);
        check_round_trip(f->tokenizer, text, n, true);
        text[n] = 'x'; /* white space before something else is cut differently */
        check_round_trip(f->tokenizer, text, n + 1, true);
    }
    umbra_free(text);
}

static void facts_of_the_file(void **state)
{
    fixture *f = *state;
    const umbra_tokenizer *t = f->tokenizer;
    assert_int_equal(umbra_tokenizer_size(t), 16384);
    assert_int_equal(umbra_tokenizer_bos(t), 0);
    assert_int_equal(umbra_tokenizer_eos(t), 0);
    assert_true(umbra_tokenizer_adds_bos(t));
    assert_true(umbra_tokenizer_is_end(t, 0));
    assert_false(umbra_tokenizer_is_end(t, 1));
    assert_false(umbra_tokenizer_is_end(t, -1));
    assert_in_range(umbra_tokenizer_bytes(t), 16384 * 8, 16384 * 64);
}

static void decoding(void **state)
{
    fixture *f = *state;
    const umbra_tokenizer *t = f->tokenizer;
    char out[16] = "unchanged";
    assert_int_equal(umbra_tokenizer_decode(t, 0, false, out, sizeof out), 0);
    assert_int_equal(umbra_tokenizer_decode(t, -1, true, out, sizeof out), 0);
    assert_int_equal(umbra_tokenizer_decode(t, 16384, true, out, sizeof out), 0);
    assert_int_equal(umbra_tokenizer_decode(t, INT32_MAX, true, out, sizeof out), 0);
    assert_int_equal(umbra_tokenizer_decode(t, 0, true, out, 12), 13);
    assert_int_equal(umbra_tokenizer_decode(t, 0, true, NULL, 0), 13);
    assert_string_equal(out, "unchanged");
    assert_int_equal(umbra_tokenizer_decode(t, 0, true, out, 13), 13);
    assert_memory_equal(out, "<|endoftext|>", 13);
    assert_int_equal(umbra_tokenizer_decode(t, 1, false, out, sizeof out), 1);
    assert_int_equal(out[0], '!');
}

static void too_long(void **state)
{
    fixture *f = *state;
    int32_t *ids;
    size_t count;
    umbra_error err;
    int rc = umbra_tokenizer_encode(f->tokenizer, "x", (size_t)INT32_MAX + 1, false, false, &ids,
                                    &count, &err);
    assert_int_equal(rc, UMBRA_E_ARGUMENT);
    assert_null(ids);
}

static void encode_without_memory(void **state)
{
    fixture *f = *state;
    char text[1000];
    memset(text, 'z', sizeof text);
    int32_t *ids;
    size_t count;
    umbra_error err;
    int failures = 0;
    for (long n = 1;; n++) {
        umbra_memory_fail_after(n);
        int rc =
            umbra_tokenizer_encode(f->tokenizer, text, sizeof text, true, true, &ids, &count, &err);
        umbra_memory_fail_after(0);
        if (rc == UMBRA_OK) {
            umbra_free(ids);
            if (n > 5)
                break; /* the last allocation only trims: its failure is no failure */
            continue;
        }
        assert_int_equal(rc, UMBRA_E_NOMEM);
        assert_null(ids);
        failures++;
    }
    assert_true(failures >= 4);
}

static void *encode_often(void *user)
{
    const umbra_tokenizer *t = user;
    for (int i = 0; i < 50; i++)
        for (size_t s = 0; s < sizeof scraps / sizeof *scraps; s++) {
            char text[64];
            int n = snprintf(text, sizeof text, "one %s two%s", scraps[s], scraps[s]);
            check_round_trip(t, text, (size_t)n, true);
        }
    return NULL;
}

static void several_threads(void **state)
{
    fixture *f = *state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, f->tokenizer), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_own),
        cmocka_unit_test(goldens_shared),
        cmocka_unit_test(round_trips_of_texts),
        cmocka_unit_test(round_trips_of_random_bytes),
        cmocka_unit_test(empty_text),
        cmocka_unit_test(long_runs),
        cmocka_unit_test(facts_of_the_file),
        cmocka_unit_test(decoding),
        cmocka_unit_test(too_long),
        cmocka_unit_test(encode_without_memory),
        cmocka_unit_test(several_threads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
