/* Answers of every family are taken apart the same in whatever pieces they come. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "answer_record.h"

static const char tools_text[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"find\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"text\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\"}}}}}]";

typedef struct answer_case {
    const char *signs;  /* a template of the family */
    const char *prompt; /* its end */
    const char *answer, *parts;
} answer_case;

#define HERMES   "<tool_call>"
#define CODER    "<function=<parameter="
#define GLM      "<arg_key><arg_value>"
#define MINIMAX  "<minimax:tool_call>"
#define HARMONY  "<|channel|><|message|>analysis"
#define KIMI     "<|tool_calls_section_begin|>"
#define DEEPSEEK "<\xef\xbd\x9ctool\xe2\x96\x81sep\xef\xbd\x9c>"
#define D(word)  "<\xef\xbd\x9c" word "\xef\xbd\x9c>"
#define U        "\xe2\x96\x81"
#define LLAMA    "\"parameters\": dictionary of argument name"
#define GEMMA    "<|tool_call>call:"
#define MISTRAL  "[TOOL_CALLS][ARGS]"

static const answer_case cases[] = {
    /* text and reasoning */
    {"", "", "plain text <b> \n", "text{plain text <b> \n}"},
    {"", "", "<think>\nwhy \xc3\xa5\n</think>\n\nso", "think{why \xc3\xa5}text{so}"},
    {"", "<think>\n", "why</think>so", "think{why}text{so}"},
    {"", "<think></think>\n", "\n so", "text{so}"},
    {"", "", " so", "text{ so}"},
    {"", "", "a <thin", "text{a <thin}"},
    {"", "<think>", "cut o", "think{cut o}"},
    {"", "", "a<tool_call>b", "text{a<tool_call>b}"},
    /* JSON objects */
    {HERMES, "",
     "Look.\n<tool_call>\n{\"name\": \"find\", \"arguments\": {\"n\": 1}}\n</tool_call>",
     "text{Look.}call0{find}args{{\"n\": 1}}end!"},
    {HERMES, "",
     "<tool_call>{\"name\":\"find\",\"arguments\":{\"text\":\"</tool_call> {\\\"\"}}</tool_call>\n"
     "<tool_call>{\"arguments\":{},\"name\":\"g\"}</tool_call>",
     "call0{find}args{{\"text\":\"</tool_call> {\\\"\"}}end!call1{g}args{{}}end!"},
    {HERMES, "", "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": \\\"b\\\"}\"}</tool_call>",
     "call0{f}args{{\"a\": \"b\"}}end!"},
    {HERMES, "", "<tool_call>{\"name\":\"f\"}</tool_call>", "call0{f}args{{}}end!"},
    {HERMES, "", "<tool_call>{\"a\":1}</tool_call> more",
     "text{<tool_call>{\"a\":1}</tool_call> more}"},
    {HERMES, "", "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":", "call0{f}args{{\"a\":}end?"},
    {HERMES, "", "<tool_call>{\"name\":\"f", "text{<tool_call>{\"name\":\"f}"},
    /* what begins like a call and becomes none */
    {HERMES, "", "I write\n <tool_call> around calls.",
     "text{I write\n <tool_call> around calls.}"},
    {HERMES, "", "<tool_call>", "text{<tool_call>}"},
    {HERMES, "<think></think>", "\n<tool_call>none</tool_call>\n<tool_call>{\"name\":\"f\"}",
     "text{<tool_call>none</tool_call>}call0{f}args{{}}end!"},
    {CODER, "", "The tag <tool_call>\nis one, <function= another",
     "text{The tag <tool_call>\nis one, <function= another}"},
    {GLM, "", "a <tool_call>fi", "text{a <tool_call>fi}"},
    {KIMI, "", "<|tool_calls_section_begin|>what<|tool_calls_section_end|> so",
     "text{<|tool_calls_section_begin|>what<|tool_calls_section_end|> so}"},
    {"[TOOL_CALLS]", "", "[TOOL_CALLS] is a marker", "text{[TOOL_CALLS] is a marker}"},
    {"[TOOL_CALLS]", "", "[TOOL_CALLS][{\"name\": \"f\"}, {\"a\": 1}]",
     "call0{f}args{{}}end!text{{\"a\": 1}]}"},
    {"[TOOL_CALLS]", "",
     "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": []}, \"id\": \"abc\"}, "
     "{\"id\": \"d\", \"name\": \"g\", \"arguments\": {}}] then",
     "call0{f}args{{\"a\": []}}end!call1{g#d}args{{}}end!text{then}"},
    {"<|START_ACTION|>", "<|START_THINKING|>",
     "hm<|END_THINKING|><|START_ACTION|>[\n {\"tool_call_id\": \"0\", \"tool_name\": \"f\", "
     "\"parameters\": {\"a\": 1}}\n]<|END_ACTION|>",
     "think{hm}call0{f#0}args{{\"a\": 1}}end!"},
    {"<|tools_prefix|>", "", "<|tools_prefix|>[{\"f\": {\"a\": 1}}, {\"g\": {}}]<|tools_suffix|>",
     "call0{f}args{{\"a\": 1}}end!call1{g}args{{}}end!"},
    {"<|tools_prefix|>", "", "<|tools_prefix|>[{\"f\": \"{\\\"a\\\": 1}\"}]<|tools_suffix|>",
     "call0{f}args{{\"a\": 1}}end!"},
    /* pairs */
    {CODER, "",
     "Look.\n\n<tool_call>\n<function=find>\n<parameter=text>\n12\n \"x\"\n</parameter>\n"
     "<parameter=n>\n3\n</parameter>\n</function>\n</tool_call>",
     "text{Look.}call0{find}args{{\"text\": \"12\\n \\\"x\\\"\", \"n\": 3}}end!"},
    {CODER, "",
     "<function=other>\n<parameter=a>\n[1]\n</parameter>\n<parameter=b>\nx y\n</parameter>\n"
     "</function>\n<tool_call><function=h>\n</function></tool_call>",
     "call0{other}args{{\"a\": [1], \"b\": \"x y\"}}end!call1{h}args{{}}end!"},
    {GLM, "<think>",
     "why</think>Look.<tool_call>find<arg_key>text</arg_key><arg_value>1</arg_value>"
     "<arg_key>n</arg_key>\n<arg_value>2</arg_value></tool_call><tool_call>g\n</tool_call>",
     "think{why}text{Look.}call0{find}args{{\"text\": \"1\", \"n\": 2}}end!call1{g}args{{}}end!"},
    {MINIMAX, "",
     "<minimax:tool_call>\n<invoke name=\"find\">\n<parameter name=\"text\">a\nb</parameter>\n"
     "<parameter name=\"n\">7</parameter>\n</invoke>\n</minimax:tool_call> so",
     "call0{find}args{{\"text\": \"a\\nb\", \"n\": 7}}end!text{so}"},
    /* names, then JSON */
    {KIMI, "",
     "Look.<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"
     "{\"a\": 1}<|tool_call_end|><|tool_call_begin|>functions.g:1<|tool_call_argument_begin|>{}"
     "<|tool_call_end|><|tool_calls_section_end|>",
     "text{Look.}call0{f#functions.f:0}args{{\"a\": 1}}end!call1{g#functions.g:1}args{{}}end!"},
    {DEEPSEEK, "<think></think>",
     "Look." D("tool" U "calls" U "begin") D("tool" U "call" U "begin") "f" DEEPSEEK "{\"a\": 1}" D(
         "tool" U "call" U "end") D("tool" U "calls" U "end"),
     "text{Look.}call0{f}args{{\"a\": 1}}end!"},
    {DEEPSEEK "```json", "",
     D("tool" U "calls" U "begin")
         D("tool" U "call" U "begin") "function" DEEPSEEK "f\n```json\n{\"a\": 1}\n```" D(
             "tool" U "call" U "end") D("tool" U "calls" U "end"),
     "call0{f}args{{\"a\": 1}}end!"},
    {MISTRAL, "", "Look.[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]g[CALL_ID]x1[ARGS]{}",
     "text{Look.}call0{f}args{{\"a\": 1}}end!call1{g}args{{}}end!"},
    {MISTRAL, "", "[THINK]why[/THINK]so", "think{why}text{so}"},
    {"<function=", "", "<function=f>{\"a\": \"</function>\"}</function><function=g>{}</function>",
     "call0{f}args{{\"a\": \"</function>\"}}end!call1{g}args{{}}end!"},
    /* bare objects */
    {LLAMA, "", " \n{\"name\": \"f\", \"parameters\": {\"a\": 1}}", "call0{f}args{{\"a\": 1}}end!"},
    {LLAMA, "", "<think>why</think>\n{\"name\": \"f\"}", "think{why}call0{f}args{{}}end!"},
    {LLAMA, "", "{\"a\": {}} more", "text{{\"a\": {}} more}"},
    {LLAMA, "", "so {\"name\": \"f\"}", "text{so {\"name\": \"f\"}}"},
    /* braces */
    {GEMMA, "",
     "<|channel>thought\nwhy\n<channel|><|tool_call>call:f{a:1,b:<|\"|>x, \"y\":{<|\"|>,c:[true,"
     "<|\"|>z<|\"|>],d:{e:null}}<tool_call|>",
     "think{why}call0{f}args{{\"a\":1,\"b\":\"x, \\\"y\\\":{\",\"c\":[true,\"z\"],"
     "\"d\":{\"e\":null}}}end!"},
    /* channels */
    {HARMONY, "<|start|>assistant",
     "<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>so"
     "<|return|>",
     "think{why}text{so}"},
    {HARMONY, "<|start|>assistant",
     "<|channel|>commentary<|message|>Look.<|end|><|start|>assistant<|channel|>commentary "
     "to=functions.f <|constrain|>json<|message|>{\"a\": 1}<|call|>",
     "text{Look.}call0{f}args{{\"a\": 1}}end!"},
    {HARMONY, "<|start|>assistant<|channel|>final<|message|>", "so", "text{so}"},
};

static char *take_apart(const answer_case *c, size_t piece, bool with_tools)
{
    umbra_chat *chat;
    umbra_answer *a;
    umbra_template_tree *tree;
    char *text, prompt_text[128];
    size_t bytes;
    umbra_error err = {0};
    record r = {.out = open_memstream(&text, &bytes), .part = -1};
    snprintf(prompt_text, sizeof prompt_text, "%s", c->prompt);
    umbra_chat_prompt prompt = {.rendering = {.text = prompt_text, .bytes = strlen(prompt_text)}};
    assert_int_equal(umbra_chat_open(&chat, NULL, c->signs, strlen(c->signs), &err), UMBRA_OK);
    assert_int_equal(umbra_template_tree_open(&tree, &err), UMBRA_OK);
    umbra_template_value *tools = umbra_template_json(tree, tools_text, strlen(tools_text), &err);
    assert_int_equal(
        umbra_answer_open(&a, chat, &prompt, with_tools ? tools : NULL, record_event, &r, &err),
        UMBRA_OK);
    for (size_t at = 0, n = strlen(c->answer); at < n; at += piece)
        assert_int_equal(
            umbra_answer_take_text(a, c->answer + at, at + piece < n ? piece : n - at, false), 0);
    assert_int_equal(umbra_answer_end(a), 0);
    record_end(&r);
    umbra_answer_close(&a);
    umbra_template_tree_close(&tree);
    umbra_chat_close(&chat);
    return text;
}

static void pieces_do_not_matter(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t piece = 1; piece <= strlen(cases[i].answer); piece += piece < 8 ? 1 : 13) {
            char *parts = take_apart(&cases[i], piece, true);
            if (strcmp(parts, cases[i].parts) != 0)
                fail_msg("case %zu in pieces of %zu: %s\nnot %s", i, piece, parts, cases[i].parts);
            free(parts);
        }
}

static void without_tools_there_are_no_calls(void **state)
{
    (void)state;
    static const answer_case c = {HERMES, "", "<tool_call>{\"name\":\"f\"}</tool_call>", NULL};
    char *parts = take_apart(&c, 5, false);
    assert_string_equal(parts, "text{<tool_call>{\"name\":\"f\"}</tool_call>}");
    free(parts);
}

/* Control tokens that are no markers are left out, and nothing else. */
static void control_tokens_are_left_out(void **state)
{
    (void)state;
    umbra_chat *chat;
    umbra_answer *a;
    char *text;
    size_t bytes;
    record r = {.out = open_memstream(&text, &bytes), .part = -1};
    assert_int_equal(umbra_chat_open(&chat, NULL, HERMES, strlen(HERMES), NULL), UMBRA_OK);
    assert_int_equal(umbra_answer_open(&a, chat, NULL, NULL, record_event, &r, NULL), UMBRA_OK);
    umbra_answer_take_text(a, "<think>", 7, true);
    umbra_answer_take_text(a, "why", 3, false);
    umbra_answer_take_text(a, "<|im_end|>", 10, true);
    umbra_answer_take_text(a, "</think>", 8, true);
    umbra_answer_take_text(a, "so<|im_end|>", 12, false);
    umbra_answer_end(a);
    record_end(&r);
    assert_string_equal(text, "think{why}text{so<|im_end|>}");
    free(text);
    umbra_answer_close(&a);
    umbra_chat_close(&chat);
}

static int stop(void *user, const umbra_answer_event *e)
{
    (void)user;
    (void)e;
    return 7;
}

static void a_listener_can_stop(void **state)
{
    (void)state;
    umbra_chat *chat;
    umbra_answer *a;
    assert_int_equal(umbra_chat_open(&chat, NULL, "x", 1, NULL), UMBRA_OK);
    assert_null(umbra_chat_family(chat));
    assert_int_equal(umbra_answer_open(&a, chat, NULL, NULL, stop, NULL, NULL), UMBRA_OK);
    assert_int_equal(umbra_answer_take_text(a, "text", 4, false), 7);
    assert_int_equal(umbra_answer_take_text(a, "more", 4, false), 7);
    assert_int_equal(umbra_answer_end(a), 7);
    umbra_answer_close(&a);
    umbra_chat_close(&chat);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_do_not_matter),
        cmocka_unit_test(without_tools_there_are_no_calls),
        cmocka_unit_test(control_tokens_are_left_out),
        cmocka_unit_test(a_listener_can_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
