/* Any bytes as the beginning of a model file: opened whole, with the account of what it holds and
 * its tokenizer, and asked everything there is to ask. With libFuzzer this is the fuzz target; with
 * fuzz_driver.c it runs the corpus as an ordinary test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <umbra/model.h>

#include "fuzz_file.h"
#include "fuzz_target.h"

static const char text[] = "Sphinx of black quartz,\n  judge <s>my</s> vow! 1234 \xc3\xa9\xff";

static void require(bool holds, const char *what, const umbra_error *err)
{
    if (holds)
        return;
    fprintf(stderr, "%s: \"%s\"\n", what, err->message);
    abort();
}

static void check_tokens(const umbra_model *model, const int32_t *ids, size_t count)
{
    char bytes[64];
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= umbra_model_get_info(model)->vocabulary)
            abort();
        (void)umbra_detokenize(model, ids[i], i % 2 == 0, bytes, sizeof bytes);
        (void)umbra_is_end_token(model, ids[i]);
    }
}

static void tokenize(const umbra_model *model)
{
    for (int i = 0; i < 4; i++) {
        int32_t *ids;
        size_t count;
        umbra_error err = {0};
        int rc = umbra_tokenize(model, text, sizeof text - 1, i & 1, i & 2, &ids, &count, &err);
        require(rc == UMBRA_OK, "text is not tokenized", &err);
        check_tokens(model, ids, count);
        umbra_free_tokens(ids);
    }
}

static void ask(const umbra_model *model)
{
    const umbra_model_info *info = umbra_model_get_info(model);
    umbra_model_type types[4];
    int32_t ends[8];
    char hash[UMBRA_MODEL_HASH_CHARS];
    umbra_error err = {0};
    if (info->layers < 1 || info->hidden < 1 || info->experts_used > info->experts ||
        info->vocabulary < 1 || info->context < 1 || umbra_model_get_types(model, types, 4) < 1)
        abort();
    for (int i = 0; umbra_model_get_note(model, i); i++)
        if (strlen(umbra_model_get_note(model, i)) == 0)
            abort();
    int n = umbra_model_get_end_tokens(model, ends, 8);
    check_tokens(model, ends, n < 8 ? (size_t)n : 8);
    int rc = umbra_model_hash(model, hash, &err);
    require((rc == UMBRA_OK) == (err.message[0] == '\0'), "the hash", &err);
    tokenize(model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    umbra_model *model;
    umbra_error err = {0};
    char *template_text;
    size_t bytes;
    int rc = umbra_model_open(&model, path, &err);
    if (rc == UMBRA_OK)
        ask(model);
    else
        require(!model && err.status == rc && strstr(err.message, path), "bad order", &err);
    umbra_model_close(&model);
    rc = umbra_model_read_template(path, &template_text, &bytes, &err);
    require((rc == UMBRA_OK) == (template_text != NULL), "a template", &err);
    free(template_text);
    return 0;
}
