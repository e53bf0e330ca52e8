/* How each family writes calls, for tests of the grammar of calls. */
#ifndef UMBRA_TESTS_GRAMMAR_CALL_FAMILIES_H
#define UMBRA_TESTS_GRAMMAR_CALL_FAMILIES_H

#define D(word) "<\xef\xbd\x9c" word "\xef\xbd\x9c>"
#define U       "\xe2\x96\x81"
#define DSML                                                                                       \
    "\xef\xbd\x9c"                                                                                 \
    "DSML"                                                                                         \
    "\xef\xbd\x9c"
#define M3 "]<]minimax[>["

/* A family: its signs, how a prompt ends, what makes for an end, and a text with a call as a model
 * writes one. */
enum { ENDS = 4 };

typedef struct family_case {
    const char *signs, *prompt;
    const char *ends[ENDS];
    const char *natural;
} family_case;

static const family_case families[] = {
    {"<tool_call>",
     "",
     {"</tool_call>"},
     "<tool_call>\n{\"name\": \"stop-it\", \"arguments\": {}}\n</tool_call>"},
    {"<tool_call>",
     "<think>\n",
     {"</think>", "</tool_call>"},
     "so</think>\n\n<tool_call>\n{\"name\": \"stop-it\", \"arguments\": {}}\n</tool_call>"},
    {"<function=<parameter=",
     "<think></think>\n",
     {"</parameter>", "</function>", "</tool_call>"},
     "\n<tool_call>\n<function=find>\n<parameter=text>\nx\ny\n</parameter>\n<parameter=deep>\n"
     "{\"a\": []}\n</parameter>\n</function>\n</tool_call>"},
    {"<arg_key><arg_value>",
     "<think></think>",
     {"</arg_value>", "</tool_call>"},
     "<tool_call>find\n<arg_key>text</arg_key>\n<arg_value>x</arg_value>\n<arg_key>n</arg_key>\n"
     "<arg_value>2</arg_value>\n<arg_key>deep</arg_key>\n<arg_value>{\"a\": []}</arg_value>\n"
     "</tool_call>"},
    {"<minimax:tool_call>",
     "",
     {"</parameter>", "</invoke>", "</minimax:tool_call>"},
     "<minimax:tool_call>\n<invoke name=\"stop-it\">\n</invoke>\n</minimax:tool_call>"},
    {M3 "<invoke name=",
     "</mm:think>",
     {M3 "</", M3 "</invoke>", M3 "</tool_call>"},
     M3 "<tool_call>\n" M3 "<invoke name=\"find\">" M3 "<text>x" M3 "</text>" M3
        "<deep>{\"a\": []}" M3 "</deep>" M3 "</invoke>\n" M3 "</tool_call>"},
    {"<tool_sep<arg_key",
     "<think:opensource></think:opensource>",
     {"</arg_value:opensource>", "</tool_call:opensource>", "</tool_calls:opensource>"},
     "<tool_calls:opensource>\n<tool_call:opensource>stop-it<tool_sep:opensource>\n"
     "</tool_call:opensource>\n</tool_calls:opensource>"},
    {"<function name=<param name=",
     "",
     {"</param>", "</function>"},
     "<function name=\"find\"><param name=\"text\">x</param><param name=\"deep\">{\"a\": []}"
     "</param></function>"},
    {"<|open|><|sep|>",
     "<|open|>think<|sep|>",
     {"<|close|>argument<|sep|>", "<|close|>call<|sep|>", "<|close|>tools<|sep|>",
      "<|close|>think<|sep|>"},
     "x<|close|>think<|sep|><|open|>tools<|sep|><|open|>call tool=\"find\" index=\"1\"<|sep|>"
     "<|open|>argument key=\"text\" type=\"string\"<|sep|>x<|close|>argument<|sep|><|open|>"
     "argument key=\"deep\" type=\"object\"<|sep|>{\"a\":[]}<|close|>argument<|sep|><|close|>call"
     "<|sep|><|close|>tools<|sep|>"},
    {"<|tool_calls_section_begin|>",
     "<think></think>",
     {"<|tool_call_end|>", "<|tool_calls_section_end|>"},
     "<|tool_calls_section_begin|><|tool_call_begin|>functions.stop-it:0"
     "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>"},
    {DSML,
     "</think>",
     {"</" DSML "parameter>", "</" DSML "invoke>", "</" DSML "tool_calls>"},
     "\n\n<" DSML "tool_calls>\n<" DSML "invoke name=\"find\">\n<" DSML
     "parameter name=\"text\" string=\"true\">x</" DSML "parameter>\n<" DSML
     "parameter name=\"deep\" string=\"false\">{\"a\": []}</" DSML "parameter>\n</" DSML
     "invoke>\n</" DSML "tool_calls>"},
    {D("tool" U "sep") "```json",
     "",
     {D("tool" U "call" U "end"), D("tool" U "calls" U "end")},
     D("tool" U "calls" U "begin") D("tool" U "call" U "begin") "function" D(
         "tool" U "sep") "stop-it\n```json\n{}\n```" D("tool" U "call" U "end")
         D("tool" U "calls" U "end")},
    {D("tool" U "sep"),
     "",
     {D("tool" U "call" U "end"), D("tool" U "calls" U "end")},
     D("tool" U "calls" U "begin") D("tool" U "call" U "begin") "stop-it" D("tool" U "sep") "{}" D(
         "tool" U "call" U "end") D("tool" U "calls" U "end")},
    {"<|tool_call>call:",
     "",
     {"<|\"|>", "<channel|>", "<tool_call|>"},
     "<|tool_call>call:find{text:<|\"|>x<|\"|>,n:3,deep:{a:[<|\"|>y<|\"|>]}}<tool_call|>"},
    {"[TOOL_CALLS][ARGS]", "", {"[/THINK]"}, "[TOOL_CALLS]stop-it[ARGS]{}"},
    {"[TOOL_CALLS]", "", {NULL}, "[TOOL_CALLS][{\"name\": \"stop-it\", \"arguments\": {}}]"},
    {"<function=", "", {"</function>"}, "<function=stop-it>{}</function>"},
    {"<|tool_call:name|>",
     "<|think|>",
     {"<|end|>", "<|tool_call:end|>", "<|calls|>"},
     "x<|end|><|tool_calls|><|tool_call:begin|>call_1<|tool_call:name|>stop-it<|tool_call:args|>{}"
     "<|tool_call:end|><|calls|>"},
    {"<|START_ACTION|>",
     "<|END_THINKING|>",
     {"<|END_ACTION|>"},
     "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"stop-it\", \"parameters\": "
     "{}}\n]<|END_ACTION|>"},
    {"<|tools_prefix|>",
     "",
     {"<|inner_suffix|>", "<|tools_suffix|>"},
     "<|tools_prefix|>[{\"stop-it\": {}}]<|tools_suffix|>"},
    {"<TOOLCALL>",
     "",
     {"</TOOLCALL>"},
     "<TOOLCALL>[{\"name\": \"stop-it\", \"arguments\": {}}]</TOOLCALL>"},
    {"<|function_call|>",
     "",
     {NULL},
     "<|function_call|>{\"name\": \"stop-it\", \"arguments\": {}}"},
    {"'role': 'function call'",
     "",
     {NULL},
     "function call<|role_sep|>\n{\"name\": \"stop-it\", \"arguments\": {}}"},
    {"<|tool_call|>", "", {NULL}, "<|tool_call|>[{\"name\": \"stop-it\", \"arguments\": {}}]"},
    {"\"parameters\": dictionary of argument name",
     "",
     {NULL},
     "{\"name\": \"stop-it\", \"parameters\": {}}"},
    {"<|channel|><|message|>analysis",
     "<|start|>assistant",
     {"<|end|>"},
     "<|channel|>analysis<|message|>so<|end|><|start|>assistant<|channel|>commentary "
     "to=functions.stop-it <|constrain|>json<|message|>{}"},
    {"<|channel|><|message|>analysis",
     "<|start|>assistant",
     {"<|end|>"},
     " to=functions.stop-it<|channel|>commentary json<|message|>{}"},
};

enum { FAMILIES = sizeof families / sizeof *families };

#endif
