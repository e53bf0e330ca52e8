/* Made-up vocabularies: merging against a plain implementation, special tokens, refusals. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/window.h"

/* What the file holds: 256 single-byte tokens (ids 0..255), then `tokens`, `merges`. */
typedef struct spec {
    const char *model, *pre; /* NULL: absent */
    struct {
        const char *text;
        int type;
    } tokens[64];
    const char *merges[64];
    long bos, eos, eot;      /* -1: absent */
    int add_bos;             /* -1: absent */
    int drop_byte;           /* this byte's token gets another text; -1: none */
    int byte_type;           /* type of the single-byte tokens */
    int extra_types;         /* entries of token_type more than tokens */
    const char *switched_on; /* a key that is true; NULL: none */
    bool no_tokens, no_types, no_merges;
} spec;

static spec usual(void)
{
    return (spec){.model = "gpt2",
                  .pre = "gpt-2",
                  .bos = -1,
                  .eos = -1,
                  .eot = -1,
                  .add_bos = -1,
                  .drop_byte = -1,
                  .byte_type = 1};
}

static char path[64];
static umbra_gguf *gguf;
static umbra_tokenizer *tokenizer;
static umbra_error err;

static void put(FILE *f, const void *data, size_t bytes)
{
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
}

static void put_u32(FILE *f, uint32_t v)
{
    put(f, &v, 4);
}

static void put_u64(FILE *f, uint64_t v)
{
    put(f, &v, 8);
}

static void put_text(FILE *f, const char *s)
{
    put_u64(f, strlen(s));
    put(f, s, strlen(s));
}

static void put_key(FILE *f, const char *key, uint32_t type)
{
    put_text(f, key);
    put_u32(f, type);
}

static void put_array(FILE *f, const char *key, uint32_t type, size_t count)
{
    put_key(f, key, 9);
    put_u32(f, type);
    put_u64(f, count);
}

static void put_pair_text(FILE *f, const char *key, const char *value)
{
    if (value) {
        put_key(f, key, 8);
        put_text(f, value);
    }
}

static void put_pair_id(FILE *f, const char *key, long value)
{
    if (value >= 0) {
        put_key(f, key, 4);
        put_u32(f, (uint32_t)value);
    }
}

static void put_vocabulary(FILE *f, const spec *s, size_t n_tokens)
{
    if (!s->no_tokens) {
        put_array(f, "tokenizer.ggml.tokens", 8, n_tokens);
        for (int byte = 0; byte < 256; byte++) {
            char utf8[16] = {0};
            umbra_utf8_encode(umbra_alphabet_code((unsigned char)byte), utf8);
            put_text(f, byte == s->drop_byte ? "dropped" : utf8);
        }
        for (size_t i = 256; i < n_tokens; i++)
            put_text(f, s->tokens[i - 256].text);
    }
    if (!s->no_types) {
        size_t n = (size_t)((int)n_tokens + s->extra_types);
        put_array(f, "tokenizer.ggml.token_type", 5, n);
        for (size_t i = 0; i < n; i++)
            put_u32(f, (uint32_t)(i < 256        ? s->byte_type
                                  : i < n_tokens ? s->tokens[i - 256].type
                                                 : 1));
    }
}

static void write_file(const spec *s)
{
    size_t n_tokens = 256, n_merges = 0;
    while (n_tokens - 256 < 64 && s->tokens[n_tokens - 256].text)
        n_tokens++;
    while (n_merges < 64 && s->merges[n_merges])
        n_merges++;
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    put(f, "GGUF", 4);
    put_u32(f, 3);
    put_u64(f, 0);
    put_u64(f, (s->model != NULL) + (s->pre != NULL) + !s->no_tokens + !s->no_types +
                   !s->no_merges + (s->bos >= 0) + (s->eos >= 0) + (s->eot >= 0) +
                   (s->add_bos >= 0) + (s->switched_on != NULL));
    put_pair_text(f, "tokenizer.ggml.model", s->model);
    put_pair_text(f, "tokenizer.ggml.pre", s->pre);
    put_vocabulary(f, s, n_tokens);
    if (!s->no_merges) {
        put_array(f, "tokenizer.ggml.merges", 8, n_merges);
        for (size_t i = 0; i < n_merges; i++)
            put_text(f, s->merges[i]);
    }
    put_pair_id(f, "tokenizer.ggml.bos_token_id", s->bos);
    put_pair_id(f, "tokenizer.ggml.eos_token_id", s->eos);
    put_pair_id(f, "tokenizer.ggml.eot_token_id", s->eot);
    if (s->add_bos >= 0) {
        put_key(f, "tokenizer.ggml.add_bos_token", 7);
        put(f, &(char){(char)s->add_bos}, 1);
    }
    if (s->switched_on) {
        put_key(f, s->switched_on, 7);
        put(f, &(char){1}, 1);
    }
    assert_int_equal(fclose(f), 0);
}

static void close_all(void)
{
    umbra_tokenizer_close(&tokenizer);
    umbra_gguf_close(&gguf);
}

/* Writes the file and opens it; the status of the tokenizer. */
static int open_spec(const spec *s)
{
    close_all();
    write_file(s);
    if (umbra_gguf_open(&gguf, path, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    err = (umbra_error){0};
    return umbra_tokenizer_open(&tokenizer, gguf, &err);
}

static void must_open(const spec *s)
{
    if (open_spec(s) != UMBRA_OK)
        fail_msg("%s", err.message);
}

static int make_path(void **state)
{
    (void)state;
    const char *folder = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    snprintf(path, sizeof path, "%s/umbra-tokenizer-XXXXXX", folder);
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    close_all();
    return unlink(path);
}

static void expect_note(const char *words)
{
    const umbra_notes *notes = umbra_tokenizer_notes(tokenizer);
    for (int i = 0; i < notes->n; i++)
        if (strstr(notes->text[i], words))
            return;
    fail_msg("no note says \"%s\" (the first of %d: %s)", words, notes->n, notes->text[0]);
}

static void expect_ids(const char *text, bool special, size_t n, const int32_t *expected)
{
    int32_t *ids;
    size_t count;
    assert_int_equal(
        umbra_tokenizer_encode(tokenizer, text, strlen(text), true, special, &ids, &count, &err),
        UMBRA_OK);
    assert_int_equal(count, n);
    assert_memory_equal(ids, expected, n * sizeof *ids);
    umbra_free(ids);
}
#define EXPECT_IDS(text, special, ...)                                                             \
    expect_ids(text, special, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t),                  \
               (int32_t[]){__VA_ARGS__})

static uint64_t random_state = 7;
static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

typedef struct word {
    char text[64];
} word;

/* The definition: of all neighbours that can be merged, the least rank first, then leftmost. */
static size_t merge_plainly(const spec *s, const char *text, size_t n, word *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (word){{text[i]}};
    for (;;) {
        size_t best_rank = 64, best = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t rank = 0; rank < best_rank && s->merges[rank]; rank++) {
                size_t left = strlen(out[i].text);
                if (strncmp(s->merges[rank], out[i].text, left) == 0 &&
                    s->merges[rank][left] == ' ' &&
                    strcmp(s->merges[rank] + left + 1, out[i + 1].text) == 0) {
                    best_rank = rank;
                    best = i;
                }
            }
        if (best_rank == 64)
            return n;
        size_t left = strlen(out[best].text);
        memcpy(out[best].text + left, out[best + 1].text, sizeof out->text - left);
        memmove(out + best + 1, out + best + 2, (n - best - 2) * sizeof *out);
        n--;
    }
}

/* Random merges over the letters a and b, in any order of ranks. */
static int random_merges(spec *s, char texts[64][16], char merges[64][32])
{
    int n_tokens = 0, n_merges = 0;
    for (int i = 0; i < 60; i++) {
        int left = (int)random_below((uint32_t)n_tokens + 2);
        int right = (int)random_below((uint32_t)n_tokens + 2);
        const char *a = left == 0 ? "a" : left == 1 ? "b" : texts[left - 2];
        const char *b = right == 0 ? "a" : right == 1 ? "b" : texts[right - 2];
        if (strlen(a) + strlen(b) > 8)
            continue;
        snprintf(merges[n_merges], 32, "%s %s", a, b);
        char text[16];
        snprintf(text, sizeof text, "%s%s", a, b);
        bool known = false, listed = false;
        for (int k = 0; k < n_tokens; k++)
            known = known || strcmp(texts[k], text) == 0;
        for (int k = 0; k < n_merges; k++)
            listed = listed || strcmp(merges[k], merges[n_merges]) == 0;
        if (listed)
            continue;
        if (!known) {
            memcpy(texts[n_tokens], text, sizeof text);
            s->tokens[n_tokens].text = texts[n_tokens];
            s->tokens[n_tokens++].type = 1;
        }
        n_merges++;
    }
    for (int i = 0; i < n_merges; i++)
        s->merges[i] = merges[i];
    for (int i = n_merges - 1; i > 0; i--) {
        int j = (int)random_below((uint32_t)i + 1);
        const char *swap = s->merges[i];
        s->merges[i] = s->merges[j];
        s->merges[j] = swap;
    }
    return n_merges;
}

static void merging_is_as_defined(void **state)
{
    (void)state;
    static char texts[64][16], merges[64][32];
    static word expected[64];
    for (int round = 0; round < 60; round++) {
        spec s = usual();
        assert_true(random_merges(&s, texts, merges) > 10);
        must_open(&s);
        for (int i_word = 0; i_word < 50; i_word++) {
            char text[64];
            size_t n = 1 + random_below(60);
            for (size_t i = 0; i < n; i++)
                text[i] = (char)('a' + random_below(2));
            size_t n_expected = merge_plainly(&s, text, n, expected);
            int32_t *ids;
            size_t count;
            assert_int_equal(
                umbra_tokenizer_encode(tokenizer, text, n, false, false, &ids, &count, &err),
                UMBRA_OK);
            assert_int_equal(count, n_expected);
            for (size_t i = 0; i < count; i++) {
                char piece[64] = {0};
                umbra_tokenizer_decode(tokenizer, ids[i], false, piece, sizeof piece - 1);
                assert_string_equal(piece, expected[i].text);
            }
            umbra_free(ids);
        }
    }
}

/* The same ids as a single window over the whole run gives. */
static void check_run(const char *text, size_t n)
{
    umbra_window w = {.tokenizer = tokenizer, .n = (uint32_t)n};
    assert_int_equal(umbra_window_reserve(&w, n, &err), UMBRA_OK);
    for (uint32_t i = 0; i < n; i++)
        w.symbols[i] = (umbra_symbol){
            .id = (uint32_t)(unsigned char)text[i], .previous = i - 1, .next = i + 1};
    umbra_window_merge(&w);
    int32_t *ids;
    size_t count, i = 0;
    assert_int_equal(umbra_tokenizer_encode(tokenizer, text, n, false, false, &ids, &count, &err),
                     UMBRA_OK);
    for (uint32_t at = 0; at < n; at = w.symbols[at].next, i++)
        if (i >= count || (uint32_t)ids[i] != w.symbols[at].id)
            fail_msg("token %zu of %zu differs", i, count);
    assert_int_equal(i, count);
    umbra_free(ids);
    umbra_window_release(&w);
}

static void long_runs_are_merged_as_a_whole(void **state)
{
    (void)state;
    enum { N = 50000 };
    static char texts[64][16], merges[64][32], text[N];
    for (int round = 0; round < 12; round++) {
        spec s = usual();
        assert_true(random_merges(&s, texts, merges) > 10);
        must_open(&s);
        uint32_t letters = 1 + (uint32_t)round % 3;
        for (size_t i = 0; i < N; i++)
            text[i] = (char)('a' + (letters == 3 ? i / 7 % 2 : random_below(letters)));
        for (size_t n = N - 1; n <= N; n++)
            check_run(text, n);
    }
    /* The tokens of the whole depend on whether its length is odd: windows can never be sure. */
    spec s = usual();
    s.tokens[0].text = "aa", s.tokens[0].type = 1;
    s.tokens[1].text = "aab", s.tokens[1].type = 1;
    s.merges[0] = "aa b";
    s.merges[1] = "a a";
    must_open(&s);
    memset(text, 'a', N);
    text[N - 1] = 'b';
    check_run(text, N);
    check_run(text + 1, N - 1);
}

static void a_run_costs_no_memory_of_its_own(void **state)
{
    (void)state;
    enum { N = 1 << 17, SMALL = 1 << 19 };
    static const char *const names[] = {"default",      "gpt-2",       "olmo",          "qwen2",
                                        "llama-bpe",    "gpt-4o",      "kimi-k2",       "dbrx",
                                        "deepseek-llm", "deepseek-v3", "deepseek-coder"};
    static const char *const units[] = {"a",    "A",  " ",  "\n", "9",        "<",
                                        "-",    "'s", " a", "aA", "\xcc\x81", "\xe4\xb8\xad",
                                        "\xff", " \n"};
    char *text = umbra_calloc(N + 1, 1);
    assert_non_null(text);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        spec s = usual();
        s.pre = names[k];
        s.tokens[0].text = "<<", s.tokens[0].type = 1;
        s.tokens[1].text = "<|special|>", s.tokens[1].type = 3;
        s.merges[0] = "< <";
        must_open(&s);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            size_t unit = strlen(units[u]), n = N / unit * unit, count;
            for (size_t i = 0; i < n; i += unit)
                memcpy(text + i, units[u], unit);
            text[n] = 'x';
            int32_t *ids;
            (void)umbra_memory_largest();
            assert_int_equal(
                umbra_tokenizer_encode(tokenizer, text, n + 1, false, true, &ids, &count, &err),
                UMBRA_OK);
            assert_in_range(umbra_memory_largest(), count, 12 * N); /* the ids, as they grow */
            umbra_free(ids);
            assert_int_equal(umbra_tokenizer_encode_first(tokenizer, text, n + 1, false, true, 100,
                                                          &ids, &count, &err),
                             UMBRA_OK);
            assert_int_equal(count, 100);
            /* Composing comes before the first token, and has the text twice at most. */
            assert_in_range(umbra_memory_largest(), 1,
                            tokenizer->splitter.composes ? 8 * N : SMALL);
            umbra_free(ids);
        }
    }
    umbra_free(text);
}

static void special_tokens(void **state)
{
    (void)state;
    spec s = usual();
    s.tokens[0].text = "<a>", s.tokens[0].type = 3;          /* 256 */
    s.tokens[1].text = "<a><b>", s.tokens[1].type = 3;       /* 257 */
    s.tokens[2].text = "<b>", s.tokens[2].type = 4;          /* 258 */
    s.tokens[3].text = "<c>", s.tokens[3].type = 5;          /* 259, unused: never in text */
    s.tokens[4].text = "<0x41>", s.tokens[4].type = 6;       /* 260 */
    s.tokens[5].text = "", s.tokens[5].type = 1;             /* 261, a placeholder */
    s.tokens[6].text = "", s.tokens[6].type = 3;             /* 262 */
    s.tokens[7].text = "\xe4\xb8\xad", s.tokens[7].type = 1; /* 263, outside the alphabet */
    s.bos = 256;
    s.add_bos = 1;
    must_open(&s);
    EXPECT_IDS("<a>x", true, 256, 256, 'x');
    EXPECT_IDS("<a><b><b>", true, 256, 257, 258);
    EXPECT_IDS("<a><a><b>", true, 256, 256, 257);
    EXPECT_IDS("<a", true, 256, '<', 'a');
    EXPECT_IDS("<c>", true, 256, '<', 'c', '>');
    EXPECT_IDS("<a>", false, 256, '<', 'a', '>');
    EXPECT_IDS("<b><a>", false, 256, 258, '<', 'a', '>'); /* user-defined: always */
    EXPECT_IDS("", true, 256);
    char out[16] = {0};
    assert_int_equal(umbra_tokenizer_decode(tokenizer, 256, false, out, 16), 0);
    assert_int_equal(umbra_tokenizer_decode(tokenizer, 256, true, out, 16), 3);
    assert_int_equal(umbra_tokenizer_decode(tokenizer, 258, false, out, 16), 3);
    assert_int_equal(umbra_tokenizer_decode(tokenizer, 259, false, out, 16), 0);
    assert_int_equal(umbra_tokenizer_decode(tokenizer, 261, true, out, 16), 0);
    assert_int_equal(umbra_tokenizer_decode(tokenizer, 260, false, out, 16), 1);
    assert_int_equal(out[0], 'A');
    assert_int_equal(umbra_tokenizer_decode(tokenizer, 263, false, out, 16), 3);
    assert_memory_equal(out, "\xe4\xb8\xad", 3);
}

#define SPACE "\xe2\x96\x81" /* U+2581 */

/* Characters are merged by rank across words, but not across lines. */
static void pairs_of_characters(void **state)
{
    (void)state;
    spec s = usual();
    s.model = "gemma4";
    s.pre = NULL;
    s.tokens[0].text = "<bos>", s.tokens[0].type = 3;           /* 256 */
    s.tokens[1].text = SPACE, s.tokens[1].type = 1;             /* 257 */
    s.tokens[2].text = "b" SPACE, s.tokens[2].type = 1;         /* 258 */
    s.tokens[3].text = "ab" SPACE, s.tokens[3].type = 1;        /* 259 */
    s.tokens[4].text = "\n", s.tokens[4].type = 1;              /* 260 */
    s.tokens[5].text = "\n\n", s.tokens[5].type = 1;            /* 261, by no merge */
    s.tokens[6].text = "\n\n\n\n", s.tokens[6].type = 1;        /* 262 */
    s.tokens[7].text = "<0xE4>", s.tokens[7].type = 6;          /* 263 */
    s.tokens[8].text = "<0xB8>", s.tokens[8].type = 6;          /* 264 */
    s.tokens[9].text = "<0xAD>", s.tokens[9].type = 6;          /* 265 */
    s.tokens[10].text = "\xe4\xb8\xae", s.tokens[10].type = 1;  /* 266 */
    s.tokens[11].text = "a\xe4\xb8\xae", s.tokens[11].type = 1; /* 267 */
    s.tokens[12].text = "{b}", s.tokens[12].type = 4;           /* 268 */
    s.merges[0] = "b " SPACE;
    s.merges[1] = "a b" SPACE;
    s.merges[2] = "a \xe4\xb8\xae";
    s.merges[3] = "\n \n";
    s.bos = 256;
    must_open(&s);
    EXPECT_IDS("ab ab", false, 256, 259, 'a', 'b');
    EXPECT_IDS("a b", false, 256, 'a', 257, 'b');
    EXPECT_IDS(" a", false, 256, 257, 'a'); /* no space that is not there */
    EXPECT_IDS("a\nb\n\n\n\n", false, 256, 'a', 260, 'b', 262);
    EXPECT_IDS("\n\n\n", false, 256, 261, 260);
    EXPECT_IDS("a\xe4\xb8\xae\xe4\xb8\xad", false, 256, 267, 263, 264, 265);
    EXPECT_IDS("a{b} b", false, 256, 'a', 268, 257, 'b');
    char out[16] = {0};
    assert_int_equal(umbra_tokenizer_decode(tokenizer, 259, false, out, 16), 3);
    assert_memory_equal(out, "ab ", 3);
    assert_int_equal(umbra_tokenizer_decode(tokenizer, 264, false, out, 16), 1);
    assert_memory_equal(out, "\xb8", 1);
    s.add_bos = 0; /* as early files have it, wrongly */
    must_open(&s);
    expect_note("the BOS token all the same");
    EXPECT_IDS("a", false, 256, 'a');
    s.no_merges = true;
    assert_int_equal(open_spec(&s), UMBRA_E_FORMAT);
}

static bool ends(int32_t id)
{
    return umbra_tokenizer_is_end(tokenizer, id);
}

static void ends_of_generation(void **state)
{
    (void)state;
    spec s = usual();
    s.tokens[0].text = "<|im_end|>", s.tokens[0].type = 3;
    s.tokens[1].text = "<|end|>", s.tokens[1].type = 4;
    s.tokens[2].text = "<|return|>", s.tokens[2].type = 5;
    s.tokens[3].text = "<|endoftext|>", s.tokens[3].type = 1; /* whatever its type */
    s.tokens[4].text = "<|user|>", s.tokens[4].type = 3;      /* alone it ends nothing */
    s.tokens[5].text = "<|im_start|>", s.tokens[5].type = 3;
    s.eos = 65;
    s.eot = 66;
    must_open(&s);
    static const bool expected[] = {true, true, true, true, false, false};
    for (int i = 0; i < 6; i++)
        assert_int_equal(ends(256 + i), expected[i]);
    assert_true(ends(65) && ends(66) && !ends(67));
    int32_t all[8] = {0};
    assert_int_equal(umbra_tokenizer_ends(tokenizer, all, 1), 6);
    assert_int_equal(all[0], 65);
    assert_int_equal(all[1], 0);
    assert_int_equal(umbra_tokenizer_eos(tokenizer), 65);
    assert_int_equal(umbra_tokenizer_bos(tokenizer), -1);
    assert_false(umbra_tokenizer_adds_bos(tokenizer));
    EXPECT_IDS("a<|endoftext|>", true, 'a', 259); /* a control token by its text */
    expect_note("token 259 \"<|endoftext|>\" has the type 1");

    s.tokens[3].text = "<|call|>", s.tokens[3].type = 3;
    s.tokens[5].text = "<|observation|>";
    must_open(&s);
    assert_false(ends(257)); /* ends a message, not the turn */
    assert_true(ends(258) && ends(259) && ends(260) && ends(261));
}

static void names_of_ends_that_are_words(void **state)
{
    (void)state;
    spec s = usual();
    static const char *const parts[] = {"</", "</s", "</s>"};
    static const char *const merges[] = {"< /", "</ s", "</s >"};
    for (int i = 0; i < 3; i++) {
        s.tokens[i].text = parts[i], s.tokens[i].type = 1;
        s.merges[i] = merges[i];
    }
    must_open(&s);
    assert_false(ends(258)); /* plain text becomes it */
    s.tokens[2].type = 3;
    must_open(&s);
    assert_true(ends(258));
    EXPECT_IDS("</s>", false, 256, 's', '>'); /* and never a control token */
    s.tokens[2].type = 4;
    s.tokens[3].text = "<end_of_turn>", s.tokens[3].type = 3;
    must_open(&s);
    assert_false(ends(258)); /* a tag */
    assert_true(ends(259));
}

/* Words as the regex of GPT-2 cuts them, seen through merges that a cut would prevent. */
static void pre_tokenisation(void **state)
{
    (void)state;
    spec s = usual();
    static const char *const texts[] = {"\xc4\xa0"
                                        "a",
                                        "a1",
                                        "1a",
                                        "'s",
                                        "a'",
                                        "\xc4\xa0\xc4\xa0",
                                        "\xc4\xa0!",
                                        "!a",
                                        "\xc4\xa0"
                                        "1"};
    static const char *const merges[] = {"\xc4\xa0 a", "a 1", "1 a",
                                         "' s",        "a '", "\xc4\xa0 \xc4\xa0",
                                         "\xc4\xa0 !", "! a", "\xc4\xa0 1"};
    for (int i = 0; i < 9; i++) {
        s.tokens[i].text = texts[i];
        s.tokens[i].type = 1;
        s.merges[i] = merges[i];
    }
    must_open(&s);
    EXPECT_IDS("a a", false, 'a', 256);
    EXPECT_IDS("a1a", false, 'a', '1', 'a');
    EXPECT_IDS("a's", false, 'a', 259);
    EXPECT_IDS("a  a", false, 'a', ' ', 256); /* the last space belongs to the word */
    EXPECT_IDS("a   a", false, 'a', 261, 256);
    EXPECT_IDS("a  ", false, 'a', 261);
    EXPECT_IDS(" !a", false, 262, 'a');
    EXPECT_IDS(" 1", false, 264);
    EXPECT_IDS(" \xff"
               "a",
               false, ' ', 0xff, 'a'); /* a bad byte is no part of any word */
}

static void expect_refusal(const spec *s, int status, const char *words)
{
    int rc = open_spec(s);
    if (rc != status || !strstr(err.message, words) || !strstr(err.message, path))
        fail_msg("wanted \"%s\", got %s: %s", words, umbra_status_name(rc), err.message);
    assert_null(tokenizer);
    assert_int_equal(err.status, status);
}

static void refusals_of_kinds(void **state)
{
    (void)state;
    spec s = usual();
    s.model = NULL;
    expect_refusal(&s, UMBRA_E_FORMAT, "no tokenizer");
    s.model = "bert";
    expect_refusal(&s, UMBRA_E_UNSUPPORTED, "\"bert\"");
    expect_refusal(&s, UMBRA_E_UNSUPPORTED, "supported: gpt2, llama");
    s.model = "gpt2\n\x01\xff";
    expect_refusal(&s, UMBRA_E_UNSUPPORTED, "\"gpt2\\x0a\\x01\\xff\"");
    s.model = "01234567890123456789012345678901234567890123456789012345678901234567890123456789"
              "01234567890123456789";
    expect_refusal(&s, UMBRA_E_UNSUPPORTED, "012345678901...\"");
    s = usual();
    s.pre = "qwen3000";
    expect_refusal(&s, UMBRA_E_UNSUPPORTED, "\"qwen3000\"");
    expect_refusal(&s, UMBRA_E_UNSUPPORTED, "docs/formats.md lists them");
}

/* How files from before the key cut text: punctuation in runs, digits in threes from the left. */
static void words_of_no_named_kind(void **state)
{
    (void)state;
    static const char *const names[] = {"default", "", NULL};
    spec s = usual();
    static const char *const texts[] = {"12",
                                        "23",
                                        "!!",
                                        "a!",
                                        "\xc4\xa0!",
                                        ("\xc4\xa0"
                                         "a")};
    static const char *const merges[] = {"1 2", "2 3", "! !", "a !", "\xc4\xa0 !", "\xc4\xa0 a"};
    for (int i = 0; i < 6; i++) {
        s.tokens[i].text = texts[i], s.tokens[i].type = 1;
        s.merges[i] = merges[i];
    }
    for (int i = 0; i < 3; i++) {
        s.pre = names[i];
        must_open(&s);
        EXPECT_IDS("a!!a", false, 'a', 258, 'a');
        EXPECT_IDS("a ! a", false, 'a', ' ', '!', 261); /* a mark takes no space before it */
        EXPECT_IDS("4123", false, '4', 256, '3');       /* 412|3: not 4|123 */
        EXPECT_IDS("123", false, 256, '3');
        if (i > 0)
            expect_note("tokenizer.ggml.pre is missing: text is cut into words by \"default\"");
        else
            assert_int_equal(umbra_tokenizer_notes(tokenizer)->n, 0);
    }
}

static void types_for_some_tokens(void **state)
{
    (void)state;
    spec s = usual();
    s.tokens[0].text = "<x>", s.tokens[0].type = 3;
    s.extra_types = 1;
    must_open(&s);
    expect_note("token_type has 258 entries for 257 tokens: the last are ignored");
    EXPECT_IDS("a<x>", true, 'a', 256);
    s.extra_types = -1;
    must_open(&s);
    expect_note("token_type has 256 entries for 257 tokens: the rest are taken for text");
    EXPECT_IDS("a<x>", true, 'a', '<', 'x', '>');
}

static void what_is_not_done_to_a_text_is_told(void **state)
{
    (void)state;
    spec s = usual();
    s.switched_on = "tokenizer.ggml.add_eos_token";
    must_open(&s);
    expect_note("tokenizer.ggml.add_eos_token is set: ");
    s.switched_on = "tokenizer.ggml.add_sep_token";
    must_open(&s);
    expect_note("tokenizer.ggml.add_sep_token is set: ");
    s.switched_on = "tokenizer.ggml.normalizer.lowercase";
    must_open(&s);
    expect_note("texts keep their capital letters");
    EXPECT_IDS("A", false, 'A');
}

static void refusals_of_tokens(void **state)
{
    (void)state;
    spec s = usual();
    s.no_tokens = true;
    expect_refusal(&s, UMBRA_E_FORMAT, "tokens is missing");
    s = usual();
    static char huge[70000];
    memset(huge, 'h', sizeof huge - 1);
    s.tokens[0].text = huge, s.tokens[0].type = 1;
    expect_refusal(&s, UMBRA_E_FORMAT, "too much");
    s = usual();
    s.no_types = true;
    must_open(&s);
}

static void bytes_without_tokens(void **state)
{
    (void)state;
    spec s = usual();
    must_open(&s);
    assert_int_equal(umbra_tokenizer_notes(tokenizer)->n, 0);
    s.drop_byte = 'q';
    s.tokens[0].text = "ab", s.tokens[0].type = 1;
    s.merges[0] = "a b";
    must_open(&s);
    expect_note("bytes without a token: 1 (the first: 0x71); they are left out");
    EXPECT_IDS("aqab", false, 'a', 256);
    EXPECT_IDS("qaq", false, 'a');
    s.tokens[1].text = "<unk>", s.tokens[1].type = 2;
    must_open(&s);
    expect_note("they become \"<unk>\"");
    EXPECT_IDS("aqqb", false, 'a', 257, 257, 'b');
}

static void types_of_all_kinds(void **state)
{
    (void)state;
    spec s = usual();
    static const int types[] = {0, 3, 4, 5, 6, 7, -1};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        s.byte_type = types[i];
        must_open(&s);
        EXPECT_IDS("ab\xff", false, 'a', 'b', 0xff);
        if (types[i] <= 0 || types[i] == 7)
            expect_note("a type other than 1 to 6 are taken for text: 256 (the first: token 0)");
    }
    /* The token of a byte that is literal text, too. */
    s = usual();
    s.drop_byte = 0xc0;
    s.tokens[0].text = "\xc3\x80", s.tokens[0].type = 4;
    must_open(&s);
    EXPECT_IDS("t\xc3\x80\xc0", false, 't', 256, 256);
}

static void equal_texts(void **state)
{
    (void)state;
    spec s = usual();
    s.tokens[0].text = "ab", s.tokens[0].type = 1;
    s.tokens[1].text = "ab", s.tokens[1].type = 1;
    s.tokens[2].text = "ab", s.tokens[2].type = 3; /* goes behind what is text */
    s.tokens[3].text = "<x>", s.tokens[3].type = 3;
    s.tokens[4].text = "<x>", s.tokens[4].type = 3;
    s.merges[0] = "a b";
    must_open(&s);
    EXPECT_IDS("ab", false, 257);
    EXPECT_IDS("<x>", true, 260);
    expect_note("used instead: 3 ");
    expect_note("256, used 257, \"ab\"");
}

static void ids_of_no_token(void **state)
{
    (void)state;
    spec s = usual();
    s.bos = 256;
    s.eos = 4294967295;
    s.eot = 300;
    s.add_bos = 1;
    must_open(&s);
    expect_note("bos_token_id is 256, but there are 256 tokens");
    expect_note("eos_token_id is 4294967295");
    expect_note("eot_token_id is 300");
    expect_note("no BOS token");
    assert_int_equal(umbra_tokenizer_bos(tokenizer), -1);
    assert_int_equal(umbra_tokenizer_eos(tokenizer), -1);
    assert_int_equal(umbra_tokenizer_ends(tokenizer, NULL, 0), 0);
    assert_false(umbra_tokenizer_adds_bos(tokenizer));
    EXPECT_IDS("a", false, 'a');
}

static void merges_that_cannot_happen(void **state)
{
    (void)state;
    static const struct {
        const char *merge, *words;
    } cases[] = {
        {"", "not two texts"},      {" ", "not two texts"},   {"a", "not two texts"},
        {"ab", "not two texts"},    {" ab", "not two texts"}, {"ab ", "not two texts"},
        {"a zz", "is no token"},    {"zz a", "is no token"},  {"a c", "makes a text"},
        {"a b c", "is no token"},   {"a b", "listed twice"},  {"a x", "makes a control token"},
        {"zq\xff xq", "\"zq\\xff"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        spec s = usual();
        s.tokens[0].text = "ab", s.tokens[0].type = 1;
        s.tokens[1].text = "ax", s.tokens[1].type = 3;
        s.tokens[2].text = "axa", s.tokens[2].type = 4;
        s.tokens[3].text = "abb", s.tokens[3].type = 4;
        s.merges[0] = "a b";
        s.merges[1] = cases[i].merge;
        s.merges[2] = "ab b"; /* into what the user defined */
        must_open(&s);
        expect_note(cases[i].words);
        expect_note("cannot happen are left out: 1 (the first: merge 1 ");
        EXPECT_IDS("abxab", false, 256, 'x', 256);
        EXPECT_IDS("ab b", false, 256, ' ', 'b');
    }
    spec s = usual();
    s.no_merges = true;
    expect_refusal(&s, UMBRA_E_FORMAT, "merges is missing");
    s = usual();
    must_open(&s); /* a list without merges leaves bytes */
    EXPECT_IDS("ab", true, 'a', 'b');
}

static void opening_without_memory(void **state)
{
    (void)state;
    spec s = usual();
    s.tokens[0].text = "ab", s.tokens[0].type = 1;
    s.merges[0] = "a b";
    must_open(&s);
    long n = 1;
    for (int successes = 0; successes < 3; n++) {
        umbra_tokenizer_close(&tokenizer);
        umbra_memory_fail_after(n);
        int rc = umbra_tokenizer_open(&tokenizer, gguf, &err);
        umbra_memory_fail_after(0);
        /* Machine code for the regex is a wish: without memory for it, it is interpreted. */
        successes = rc == UMBRA_OK ? successes + 1 : 0;
        assert_true(rc == UMBRA_OK || (rc == UMBRA_E_NOMEM && !tokenizer));
    }
    assert_true(n > 8);
    EXPECT_IDS("abb", true, 256, 'b');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merging_is_as_defined),
        cmocka_unit_test(special_tokens),
        cmocka_unit_test(pairs_of_characters),
        cmocka_unit_test(ends_of_generation),
        cmocka_unit_test(pre_tokenisation),
        cmocka_unit_test(refusals_of_kinds),
        cmocka_unit_test(words_of_no_named_kind),
        cmocka_unit_test(types_for_some_tokens),
        cmocka_unit_test(what_is_not_done_to_a_text_is_told),
        cmocka_unit_test(refusals_of_tokens),
        cmocka_unit_test(bytes_without_tokens),
        cmocka_unit_test(types_of_all_kinds),
        cmocka_unit_test(equal_texts),
        cmocka_unit_test(ids_of_no_token),
        cmocka_unit_test(merges_that_cannot_happen),
        cmocka_unit_test(names_of_ends_that_are_words),
        cmocka_unit_test(long_runs_are_merged_as_a_whole),
        cmocka_unit_test(a_run_costs_no_memory_of_its_own),
        cmocka_unit_test(opening_without_memory),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
