/* Any bytes as tools whose calls are held to their schemas, in any family: they are refused with
 * words, or calls can be written by them. The first byte chooses the family, the second whether a
 * call must come and how the prompt ends. Built with libFuzzer this is the fuzz target; with
 * fuzz_driver.c it runs the corpus as an ordinary test. */
#include <stdlib.h>
#include <string.h>

#include <umbra/grammar.h>

#include "fuzz_target.h"

enum { MOST_TOKENS = 24 };

static const char *const signs[] = {
    "<tool_call>",
    "<function=<parameter=",
    "<arg_key><arg_value>",
    "<minimax:tool_call>",
    "]<]minimax[>[<invoke name=",
    "<|open|><|sep|>",
    "<|tool_calls_section_begin|>",
    "<|tool_call>call:",
    "[TOOL_CALLS][ARGS]",
    "[TOOL_CALLS]",
    "<|tool_call:name|>",
    "<|START_ACTION|>",
    "<|tools_prefix|>",
    "\"parameters\": dictionary of argument name",
    "<|channel|><|message|>analysis",
    "<think>",
};
static const char *const ends[] = {"", "<think>", "</think>", "<|start|>assistant"};

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
        int rc = umbra_grammar_allow(g, tokens, n, allowed);
        if (rc < 0)
            abort();
        int32_t id = (int32_t)((unsigned)data[(size_t)n % size] * 61u % (unsigned)vocabulary);
        int tried = 0;
        while (rc > 0 && tried++ < vocabulary && !(allowed[id / 64] >> id % 64 & 1))
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
    umbra_chat *chat;
    umbra_error err = {0};
    open_model();
    if (size < 3)
        return 0;
    const char *sign = signs[data[0] % (sizeof signs / sizeof *signs)];
    char end[32];
    strcpy(end, ends[data[1] / 2 % 4]);
    if (umbra_chat_open(&chat, model, sign, strlen(sign), &err) != UMBRA_OK)
        abort();
    const umbra_chat_prompt prompt = {.rendering = {.text = end, .bytes = strlen(end)}};
    const umbra_call_options o = {.chat = chat,
                                  .prompt = &prompt,
                                  .tools = (const char *)data + 2,
                                  .bytes = size - 2,
                                  .must = data[1] % 2};
    int rc = umbra_grammar_open_calls(&g, spellings, &o, &err);
    if (rc == UMBRA_OK)
        write_text(g, data, size);
    else if (g || err.message[0] == '\0' || err.status != rc)
        abort();
    umbra_grammar_close(&g);
    umbra_chat_close(&chat);
    return 0;
}
