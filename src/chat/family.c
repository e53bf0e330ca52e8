/* The table of families, and which of them a template is of. */
#include <string.h>

#include "chat/family.h"

#define DS_BAR       "\xef\xbd\x9c" /* U+FF5C */
#define DS_SPACE     "\xe2\x96\x81" /* U+2581 */
#define DS(a, b, c)  "<" DS_BAR a DS_SPACE b DS_SPACE c DS_BAR ">"
#define DS_SEP       "<" DS_BAR "tool" DS_SPACE "sep" DS_BAR ">"
#define DSML         "<" DS_BAR "DSML" DS_BAR
#define DSML_END     "</" DS_BAR "DSML" DS_BAR
#define HY(word)     "<" word ":opensource>"
#define HY_END(word) "</" word ":opensource>"
#define M3           "]<]minimax[>["

/* The first row counts whose signs a template has, so what is more special stands before. */
static const umbra_family families[] = {
    {
        .name = "harmony",
        .signs = {"<|channel|>", "<|message|>", "analysis"},
        .form = UMBRA_CALL_CHANNEL,
        .goes_on = "<|end|>",
    },
    {
        .name = "kimi-k3",
        .signs = {"<|open|>", "<|sep|>"},
        .form = UMBRA_CALL_PAIRS,
        .think = "<|open|>think<|sep|>",
        .think_end = "<|close|>think<|sep|>",
        .section = "<|open|>tools<|sep|>",
        .section_end = "<|close|>tools<|sep|>",
        .call = "<|open|>call tool=\"",
        .call_end = "<|close|>call<|sep|>",
        .name_end = "\" index=\"",
        .key = "<|open|>argument key=\"",
        .key_end = "\" type=\"",
        .value = "\"<|sep|>",
        .value_end = "<|close|>argument<|sep|>",
        .drops = {"<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>"},
        .number = "\" index=\"",
        .number_end = "\"<|sep|>",
        .text_type = "string",
        .any_type = "number|boolean|object|array|null",
    },
    {
        .name = "kimi-k2",
        .signs = {"<|tool_calls_section_begin|>"},
        .form = UMBRA_CALL_JSON,
        .section = "<|tool_calls_section_begin|>",
        .section_end = "<|tool_calls_section_end|>",
        .call = "<|tool_call_begin|>",
        .call_end = "<|tool_call_end|>",
        .name_end = "<|tool_call_argument_begin|>",
        .name_prefix = "functions.",
        .name_cut = ':',
        .number = ":",
        .number_end = "<|tool_call_argument_begin|>",
    },
    {
        .name = "deepseek-v4",
        .signs = {DS_BAR "DSML" DS_BAR},
        .form = UMBRA_CALL_PAIRS,
        .section = DSML "tool_calls>",
        .section_end = DSML_END "tool_calls>",
        .call = DSML "invoke name=\"",
        .call_end = DSML_END "invoke>",
        .name_end = "\">",
        .key = DSML "parameter name=\"",
        .key_end = "\" string=\"",
        .value = "\">",
        .value_end = DSML_END "parameter>",
        .text_type = "true",
        .any_type = "false",
    },
    {
        .name = "deepseek-v3",
        .signs = {"tool" DS_SPACE "sep", "```json"},
        .form = UMBRA_CALL_JSON,
        .section = DS("tool", "calls", "begin"),
        .section_end = DS("tool", "calls", "end"),
        .call = DS("tool", "call", "begin") "function" DS_SEP,
        .call_end = DS("tool", "call", "end"),
        .name_end = "\n```json",
        .json_end = "\n```",
    },
    {
        .name = "deepseek-v3.1",
        .signs = {"tool" DS_SPACE "sep"},
        .form = UMBRA_CALL_JSON,
        .section = DS("tool", "calls", "begin"),
        .section_end = DS("tool", "calls", "end"),
        .call = DS("tool", "call", "begin"),
        .call_end = DS("tool", "call", "end"),
        .name_end = DS_SEP,
    },
    {
        .name = "gemma-4",
        .signs = {"<|tool_call>call:"},
        .form = UMBRA_CALL_BRACED,
        .think = "<|channel>thought",
        .think_end = "<channel|>",
        .call = "<|tool_call>call:",
        .call_end = "<tool_call|>",
        .name_end = "{",
    },
    {
        .name = "mistral",
        .signs = {"[TOOL_CALLS]", "[ARGS]"},
        .form = UMBRA_CALL_JSON,
        .think = "[THINK]",
        .think_end = "[/THINK]",
        .call = "[TOOL_CALLS]",
        .name_end = "[ARGS]",
        .name_cut = '[',
    },
    {
        .name = "mistral-list",
        .signs = {"[TOOL_CALLS]"},
        .form = UMBRA_CALL_OBJECT,
        .call = "[TOOL_CALLS]",
        .list = true,
        .keys = {"name", "arguments"},
    },
    {
        .name = "minimax-m3",
        .signs = {M3, "<invoke name="},
        .form = UMBRA_CALL_PAIRS,
        .think = "<mm:think>",
        .think_end = "</mm:think>",
        .section = M3 "<tool_call>",
        .section_end = M3 "</tool_call>",
        .call = M3 "<invoke name=\"",
        .call_end = M3 "</invoke>",
        .name_end = "\">",
        .key = M3 "<",
        .key_end = ">",
        .value_end = M3 "</",
        .key_again = true,
    },
    {
        .name = "minimax-m2",
        .signs = {"<minimax:tool_call>"},
        .form = UMBRA_CALL_PAIRS,
        .section = "<minimax:tool_call>",
        .section_end = "</minimax:tool_call>",
        .call = "<invoke name=\"",
        .call_end = "</invoke>",
        .name_end = "\">",
        .key = "<parameter name=\"",
        .key_end = "\">",
        .value_end = "</parameter>",
    },
    {
        .name = "hunyuan",
        .signs = {"<tool_sep", "<arg_key"},
        .form = UMBRA_CALL_PAIRS,
        .think = HY("think"),
        .think_end = HY_END("think"),
        .section = HY("tool_calls"),
        .section_end = HY_END("tool_calls"),
        .call = HY("tool_call"),
        .call_end = HY_END("tool_call"),
        .name_end = HY("tool_sep"),
        .key = HY("arg_key"),
        .key_end = HY_END("arg_key"),
        .value = HY("arg_value"),
        .value_end = HY_END("arg_value"),
    },
    {
        .name = "glm",
        .signs = {"<arg_key>", "<arg_value>"},
        .form = UMBRA_CALL_PAIRS,
        .call = "<tool_call>",
        .call_end = "</tool_call>",
        .key = "<arg_key>",
        .key_end = "</arg_key>",
        .value = "<arg_value>",
        .value_end = "</arg_value>",
    },
    {
        .name = "qwen3-coder",
        .signs = {"<function=", "<parameter="},
        .form = UMBRA_CALL_PAIRS,
        .section = "<tool_call>",
        .section_end = "</tool_call>",
        .call = "<function=",
        .call_end = "</function>",
        .name_end = ">",
        .key = "<parameter=",
        .key_end = ">",
        .value_end = "</parameter>",
        .lines = true,
    },
    {
        .name = "minicpm",
        .signs = {"<function name=", "<param name="},
        .form = UMBRA_CALL_PAIRS,
        .call = "<function name=\"",
        .call_end = "</function>",
        .name_end = "\">",
        .key = "<param name=\"",
        .key_end = "\">",
        .value_end = "</param>",
    },
    {
        .name = "functionary",
        .signs = {"<function="},
        .form = UMBRA_CALL_JSON,
        .call = "<function=",
        .call_end = "</function>",
        .name_end = ">",
    },
    {
        .name = "solar",
        .signs = {"<|tool_call:name|>"},
        .form = UMBRA_CALL_JSON,
        .think = "<|think|>",
        .think_end = "<|end|>",
        .section = "<|tool_calls|>",
        .section_end = "<|calls|>",
        .call = "<|tool_call:name|>",
        .call_end = "<|tool_call:end|>",
        .name_end = "<|tool_call:args|>",
        .drops = {"<|begin|>assistant", "<|content|>"},
        .goes_on = "<|end|>",
        .ids = "<|tool_call:begin|>",
    },
    {
        .name = "cohere",
        .signs = {"<|START_ACTION|>"},
        .form = UMBRA_CALL_OBJECT,
        .think = "<|START_THINKING|>",
        .think_end = "<|END_THINKING|>",
        .call = "<|START_ACTION|>",
        .call_end = "<|END_ACTION|>",
        .drops = {"<|START_TEXT|>", "<|END_TEXT|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"},
        .list = true,
        .keys = {"tool_name", "parameters", "tool_call_id"},
    },
    {
        .name = "apertus",
        .signs = {"<|tools_prefix|>"},
        .form = UMBRA_CALL_KEYED,
        .think = "<|inner_prefix|>",
        .think_end = "<|inner_suffix|>",
        .call = "<|tools_prefix|>",
        .call_end = "<|tools_suffix|>",
        .list = true,
    },
    {
        .name = "nemotron",
        .signs = {"<TOOLCALL>"},
        .form = UMBRA_CALL_OBJECT,
        .call = "<TOOLCALL>",
        .call_end = "</TOOLCALL>",
        .list = true,
        .keys = {"name", "arguments"},
    },
    {
        .name = "gigachat",
        .signs = {"<|function_call|>"},
        .form = UMBRA_CALL_OBJECT,
        .call = "<|function_call|>",
        .keys = {"name", "arguments"},
    },
    {
        .name = "gigachat-3",
        .signs = {"'role': 'function call'"},
        .form = UMBRA_CALL_OBJECT,
        .call = "function call<|role_sep|>",
        .drops = {"<|message_sep|>"},
        .keys = {"name", "arguments"},
    },
    {
        .name = "granite-3",
        .signs = {"<|tool_call|>"},
        .form = UMBRA_CALL_OBJECT,
        .call = "<|tool_call|>",
        .list = true,
        .keys = {"name", "arguments"},
    },
    {
        .name = "hermes",
        .signs = {"<tool_call>"},
        .form = UMBRA_CALL_OBJECT,
        .call = "<tool_call>",
        .call_end = "</tool_call>",
        .keys = {"name", "arguments"},
    },
    {
        .name = "llama-3",
        .signs = {"\"parameters\": dictionary of argument name"},
        .form = UMBRA_CALL_OBJECT,
        .bare = true,
        .drops = {"<|python_tag|>"},
        .keys = {"name", "parameters"},
    },
    {.name = "think", .signs = {"<think>"}},
    {.name = "gemma", .signs = {"<start_of_turn>"}},
};

static bool has_signs(const umbra_family *f, const char *source, size_t bytes)
{
    for (int i = 0; i < UMBRA_FAMILY_SIGNS && f->signs[i]; i++)
        if (!memmem(source, bytes, f->signs[i], strlen(f->signs[i])))
            return false;
    return true;
}

const umbra_family *umbra_family_find(const char *source, size_t bytes)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (has_signs(&families[i], source, bytes))
            return &families[i];
    return NULL;
}

umbra_family umbra_family_fit(const umbra_family *known, bool tools)
{
    umbra_family f = known ? *known : (umbra_family){.name = NULL};
    if (!tools && f.form != UMBRA_CALL_CHANNEL) {
        f.form = UMBRA_CALL_NONE;
        f.bare = false;
        f.section = f.section_end = f.call = f.call_end = f.name_end = NULL;
        f.key = f.key_end = f.value = f.value_end = NULL;
    }
    if (!f.think && f.form != UMBRA_CALL_CHANNEL) {
        f.think = "<think>";
        f.think_end = "</think>";
    }
    return f;
}

static bool ends_with(const char *text, size_t n, const char *end)
{
    size_t m = end ? strlen(end) : 0;
    return m > 0 && n >= m && memcmp(text + n - m, end, m) == 0;
}

umbra_thought umbra_family_thought(const umbra_family *f, const umbra_template_output *prompt)
{
    size_t n = prompt->bytes;
    while (n > 0 && strchr(" \n\r\t", prompt->text[n - 1]))
        n--;
    if (ends_with(prompt->text, n, f->think))
        return UMBRA_THOUGHT_OPEN;
    return ends_with(prompt->text, n, f->think_end) ? UMBRA_THOUGHT_DONE : UMBRA_THOUGHT_NONE;
}
