/* Any bytes as a JSON schema: it is refused with words, or texts can be written by it. Built with
 * libFuzzer this is the fuzz target; with fuzz_driver.c it runs the corpus as an ordinary test. */
#include <stdlib.h>
#include <string.h>

#include <umbra/grammar.h>

#include "fuzz_target.h"

enum { MOST_TOKENS = 24 };

static umbra_model *model;
static umbra_spellings *spellings;
static uint64_t *allowed;
static int vocabulary;

static void open_model(void)
{
    if (model)
        return;
    if (umbra_model_open(&model, "models/tiny-q8_0.gguf", NULL) != UMBRA_OK ||
        umbra_spellings_open(&spellings, model, NULL) != UMBRA_OK)
        abort();
    vocabulary = umbra_model_get_info(model)->vocabulary;
    allowed = calloc((size_t)vocabulary / 64 + 1, sizeof *allowed);
    if (!allowed)
        abort();
}

/* Goes on with the token that comes first from a place that the bytes choose. */
static void write_text(umbra_grammar *g, const uint8_t *data, size_t size)
{
    int32_t tokens[MOST_TOKENS];
    for (int n = 0; n < MOST_TOKENS; n++) {
        if (umbra_grammar_allow(g, tokens, n, allowed) != 1)
            abort();
        int32_t id = (int32_t)((unsigned)data[(size_t)n % size] * 61u % (unsigned)vocabulary);
        int tried = 0;
        while (tried++ < vocabulary && !(allowed[id / 64] >> id % 64 & 1))
            id = (id + 1) % vocabulary;
        if (tried > vocabulary)
            abort();
        if (id == 0)
            return;
        tokens[n] = id;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    umbra_grammar *g;
    umbra_error err = {0};
    open_model();
    int rc = umbra_grammar_open(&g, spellings, (const char *)data, size, NULL, &err);
    if (rc == UMBRA_OK)
        write_text(g, data, size);
    else if (g || err.message[0] == '\0' || err.status != rc)
        abort();
    umbra_grammar_close(&g);
    return 0;
}
