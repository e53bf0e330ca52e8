/* Any bytes as an answer of any family. The first byte chooses the family, the second the pieces;
 * pieces must not matter. Built with libFuzzer this is the fuzz target; with fuzz_driver.c it runs
 * the corpus as an ordinary test. */
#include <stdlib.h>
#include <string.h>

#include "answer_record.h"
#include "fuzz_target.h"

static const char *const signs[] = {
    "",
    "<tool_call>",
    "<function=<parameter=",
    "<arg_key><arg_value>",
    "<minimax:tool_call>",
    "<|channel|><|message|>analysis",
    "<|tool_calls_section_begin|>",
    "[TOOL_CALLS][ARGS]",
    "[TOOL_CALLS]",
    "<|tool_call>call:",
    "<|tools_prefix|>",
    "\"parameters\": dictionary of argument name",
    "<\xef\xbd\x9ctool\xe2\x96\x81sep\xef\xbd\x9c>",
    ("\xef\xbd\x9c"
     "DSML\xef\xbd\x9c"),
};

enum { FAMILIES = sizeof signs / sizeof *signs };

static char *take_apart(const char *sign, const char *text, size_t n, size_t piece)
{
    static const char tools_text[] =
        "[{\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"a\":{\"type\":"
        "\"string\"}}}}}]";
    umbra_chat *chat;
    umbra_answer *a;
    umbra_template_tree *tree;
    char *out;
    size_t bytes;
    record r = {.out = open_memstream(&out, &bytes), .part = -1};
    if (umbra_template_tree_open(&tree, NULL) != UMBRA_OK ||
        umbra_chat_open(&chat, NULL, sign, strlen(sign), NULL) != UMBRA_OK ||
        umbra_answer_open(&a, chat, NULL,
                          umbra_template_json(tree, tools_text, strlen(tools_text), NULL),
                          record_event, &r, NULL) != UMBRA_OK)
        abort();
    for (size_t at = 0; at < n; at += piece)
        if (umbra_answer_take_text(a, text + at, at + piece < n ? piece : n - at, false) != 0)
            abort();
    if (umbra_answer_end(a) != 0)
        abort();
    record_end(&r);
    umbra_answer_close(&a);
    umbra_chat_close(&chat);
    umbra_template_tree_close(&tree);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const char *sign = signs[data[0] % FAMILIES], *text = (const char *)data + 2;
    char *whole = take_apart(sign, text, size - 2, size);
    char *pieces = take_apart(sign, text, size - 2, 1 + data[1] % 16);
    if (strcmp(whole, pieces) != 0)
        abort();
    free(whole);
    free(pieces);
    return 0;
}
