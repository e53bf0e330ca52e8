/* Any lines as a vocabulary and texts that are taken apart by it. A line's first sign says what it
 * is: t, a token with a digit for its type; s, its score; m, a merge; k, a key and its number; p,
 * the pre-tokeniser; l, a sentence piece vocabulary; b, the 256 bytes' tokens; x, a text. With
 * libFuzzer this is the fuzz target; with fuzz_driver.c it runs the corpus as an ordinary test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../gguf/builder.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "fuzz_target.h"
#include "tokenizer/internal.h"

enum { MOST = 1200, KEYS = 8 };

typedef struct vocabulary {
    char *tokens[MOST], *merges[MOST], *texts[8];
    int32_t types[MOST];
    float scores[MOST];
    int n_tokens, n_merges, n_texts, n_keys;
    char *keys[KEYS];
    uint32_t values[KEYS];
    const char *model, *pre;
} vocabulary;

static char byte_texts[256][8];

static void add_token(vocabulary *v, char *text, int32_t type)
{
    if (v->n_tokens == MOST)
        return;
    v->tokens[v->n_tokens] = text;
    v->types[v->n_tokens++] = type;
}

static void add_bytes(vocabulary *v)
{
    for (int byte = 0; byte < 256; byte++) {
        bool pieces = strcmp(v->model, "llama") == 0;
        memset(byte_texts[byte], 0, sizeof byte_texts[byte]);
        if (pieces)
            snprintf(byte_texts[byte], sizeof byte_texts[byte], "<0x%02X>", (unsigned)byte);
        else
            umbra_utf8_encode(umbra_alphabet_code((unsigned char)byte), byte_texts[byte]);
        add_token(v, byte_texts[byte], pieces ? 6 : 1);
    }
}

static void add_key(vocabulary *v, char *line)
{
    char *value = strchr(line, ' ');
    if (!value || v->n_keys == KEYS)
        return;
    *value++ = '\0';
    v->keys[v->n_keys] = line;
    v->values[v->n_keys++] = (uint32_t)strtoul(value, NULL, 10);
}

static void take_line(vocabulary *v, char *line)
{
    char *rest = line + 1;
    if (*line == 't' && *rest)
        add_token(v, rest + 1, *rest - '0');
    else if (*line == 's' && v->n_tokens > 0)
        v->scores[v->n_tokens - 1] = strtof(rest, NULL);
    else if (*line == 'm' && v->n_merges < MOST)
        v->merges[v->n_merges++] = rest;
    else if (*line == 'k')
        add_key(v, rest);
    else if (*line == 'p')
        v->pre = rest;
    else if (*line == 'l')
        v->model = "llama";
    else if (*line == 'b')
        add_bytes(v);
    else if (*line == 'x' && v->n_texts < 8)
        v->texts[v->n_texts++] = rest;
}

static void build(const vocabulary *v, umbra_builder *b)
{
    umbra_builder_init(b, 3);
    umbra_builder_string(b, "tokenizer.ggml.model", v->model);
    if (v->pre)
        umbra_builder_string(b, "tokenizer.ggml.pre", v->pre);
    umbra_builder_strings(b, "tokenizer.ggml.tokens", (const char *const *)v->tokens,
                          (uint64_t)v->n_tokens);
    umbra_builder_array(b, "tokenizer.ggml.token_type", UMBRA_GGUF_I32, v->types,
                        (uint64_t)v->n_tokens);
    if (v->n_merges > 0)
        umbra_builder_strings(b, "tokenizer.ggml.merges", (const char *const *)v->merges,
                              (uint64_t)v->n_merges);
    if (strcmp(v->model, "llama") == 0)
        umbra_builder_array(b, "tokenizer.ggml.scores", UMBRA_GGUF_F32, v->scores,
                            (uint64_t)v->n_tokens);
    for (int i = 0; i < v->n_keys; i++) {
        char key[80];
        snprintf(key, sizeof key, "tokenizer.ggml.%.60s", v->keys[i]);
        if (strncmp(v->keys[i], "add_", 4) == 0)
            umbra_builder_bool(b, key, v->values[i] & 1);
        else
            umbra_builder_u32(b, key, v->values[i]);
    }
    umbra_builder_finish(b);
}

static void check_first(const umbra_tokenizer *t, const char *text, const int32_t *ids, size_t n,
                        bool special)
{
    size_t limit = n / 2 + 1, count;
    int32_t *first;
    if (umbra_tokenizer_encode_first(t, text, strlen(text), true, special, limit, &first, &count,
                                     NULL) != UMBRA_OK)
        abort();
    if (count != (n < limit ? n : limit) || memcmp(ids, first, count * sizeof *ids) != 0)
        abort();
    umbra_free(first);
}

static void check_text(const umbra_tokenizer *t, const char *text)
{
    for (int special = 0; special < 2; special++) {
        int32_t *ids;
        size_t n;
        umbra_error err = {0};
        char out[16];
        if (umbra_tokenizer_encode(t, text, strlen(text), true, special, &ids, &n, &err) !=
            UMBRA_OK) {
            fprintf(stderr, "not encoded: %s\n", err.message);
            abort();
        }
        for (size_t i = 0; i < n; i++) {
            if (ids[i] < 0 || (uint32_t)ids[i] >= umbra_tokenizer_size(t))
                abort();
            (void)umbra_tokenizer_decode(t, ids[i], special, out, sizeof out);
        }
        check_first(t, text, ids, n, special);
        umbra_free(ids);
    }
}

static void check_spans(const umbra_tokenizer *t, const char *text)
{
    size_t bytes = strlen(text), n;
    umbra_template_span spans[2] = {{.begin = 0, .end = bytes / 2, .input = false},
                                    {.begin = bytes / 2, .end = bytes, .input = true}};
    int32_t *ids;
    if (bytes < 2)
        return;
    if (umbra_tokenizer_encode_spans(t, text, bytes, spans, 2, &ids, &n, NULL) != UMBRA_OK)
        abort();
    umbra_free(ids);
}

static void take_apart(const vocabulary *v, const char *path)
{
    umbra_gguf *gguf;
    umbra_tokenizer *t;
    umbra_error err = {0};
    if (umbra_gguf_open(&gguf, path, &err) != UMBRA_OK)
        return; /* a key twice */
    int rc = umbra_tokenizer_open(&t, gguf, &err);
    if (rc != UMBRA_OK && (t || err.status != rc || !strstr(err.message, path))) {
        fprintf(stderr, "refused in bad order: \"%s\"\n", err.message);
        abort();
    }
    for (int i = 0; rc == UMBRA_OK && i < v->n_texts; i++) {
        check_text(t, v->texts[i]);
        check_spans(t, v->texts[i]);
    }
    umbra_tokenizer_close(&t);
    umbra_gguf_close(&gguf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static umbra_memory_file file = {.fd = -1};
    static vocabulary v;
    umbra_builder b;
    if (file.fd < 0)
        umbra_memory_file_init(&file);
    char *lines = malloc(size + 1), *rest = lines;
    if (!lines)
        abort();
    memcpy(lines, data, size);
    lines[size] = '\0';
    memset(&v, 0, sizeof v);
    v.model = "gpt2";
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        take_line(&v, line);
    build(&v, &b);
    umbra_memory_file_set(&file, b.bytes, b.count, 0);
    umbra_builder_release(&b);
    take_apart(&v, file.path);
    free(lines);
    return 0;
}
