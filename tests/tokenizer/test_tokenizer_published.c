/* The tokenizers against published vocabularies, where there is a folder of them: llama.cpp's
 * sources have such files in their folder `models`, each with texts and the ids that these are
 * (ggml-vocab-NAME.gguf, .gguf.inp, .gguf.out). UMBRA_VOCABULARIES names the folder. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tokenizer/internal.h"

static const char separator[] = "\n__ggml_vocab_test__\n";

/* The whole file as a string, to be freed; NULL: there is none. */
static char *read_text(const char *folder, const char *name, const char *ending)
{
    char path[512];
    snprintf(path, sizeof path, "%s/ggml-vocab-%s.gguf%s", folder, name, ending);
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    char *text = calloc(1, 1 << 16);
    assert_non_null(text);
    size_t n = fread(text, 1, (1 << 16) - 1, f);
    assert_true(n > 0);
    fclose(f);
    return text;
}

/* Whether the ids are those of the text as it stands though it is to be composed first: the ids of
 * this file are llama.cpp's own, which does not compose. */
static bool is_left_alone(const umbra_tokenizer *t, const char *name, const char *text,
                          size_t bytes)
{
    char *composed = NULL;
    size_t n = bytes;
    umbra_error err;
    if (strcmp(name, "qwen35") != 0 || !t->splitter.composes)
        return false;
    assert_int_equal(umbra_normalise(text, bytes, &composed, &n, &err), UMBRA_OK);
    bool changed = composed && (n != bytes || memcmp(composed, text, n) != 0);
    umbra_free(composed);
    return changed;
}

/* The ids of a line against the text's; `line` moves on to the next. */
static void check_text(const umbra_tokenizer *t, const char *name, const char *text, size_t bytes,
                       const char **line)
{
    int32_t *ids;
    size_t n, i = 0;
    umbra_error err;
    const char *end = strchr(*line, '\n');
    if (is_left_alone(t, name, text, bytes)) {
        *line = end ? end + 1 : "";
        return;
    }
    if (umbra_tokenizer_encode(t, text, bytes, false, false, &ids, &n, &err) != UMBRA_OK)
        fail_msg("%s: %s", name, err.message);
    for (const char *at = *line; end && at < end; i++) {
        char *next;
        long id = strtol(at, &next, 10);
        if (next == at)
            break;
        if (i >= n || ids[i] != id)
            fail_msg("%s: token %zu of \"%.*s\" is %d, not %ld", name, i, (int)bytes, text,
                     i < n ? (int)ids[i] : -1, id);
        at = next;
    }
    assert_int_equal(i, n);
    umbra_free(ids);
    *line = end ? end + 1 : "";
}

static int check_vocabulary(const char *folder, const char *name)
{
    char path[512];
    char *texts = read_text(folder, name, ".inp"), *ids = read_text(folder, name, ".out");
    int n = 0;
    if (texts && ids) {
        umbra_gguf *gguf;
        umbra_tokenizer *tokenizer;
        umbra_error err;
        snprintf(path, sizeof path, "%s/ggml-vocab-%s.gguf", folder, name);
        if (umbra_gguf_open(&gguf, path, &err) != UMBRA_OK ||
            umbra_tokenizer_open(&tokenizer, gguf, &err) != UMBRA_OK)
            fail_msg("%s", err.message);
        const char *line = ids;
        for (const char *text = texts, *end; (end = strstr(text, separator)) != NULL; n++) {
            check_text(tokenizer, name, text, (size_t)(end - text), &line);
            text = end + strlen(separator);
        }
        umbra_tokenizer_close(&tokenizer);
        umbra_gguf_close(&gguf);
    }
    free(texts);
    free(ids);
    return n;
}

static void vocabularies_give_their_ids(void **state)
{
    (void)state;
    static const char *const names[] = {"command-r", "deepseek-coder", "deepseek-llm", "gemma-4",
                                        "gpt-2",     "llama-bpe",      "llama-spm",    "qwen2",
                                        "qwen35",    "refact",         "starcoder"};
    const char *folder = getenv("UMBRA_VOCABULARIES");
    if (!folder) {
        print_message("skipped: UMBRA_VOCABULARIES names no folder\n");
        skip();
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        print_message("%s: %d texts\n", names[i], check_vocabulary(folder, names[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vocabularies_give_their_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
