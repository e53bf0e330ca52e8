/* Chats with published templates render what the reference renders, where ../shared has them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer_record.h"
#include "chat/values.h"
#include "shared.h"

/* A whole file, NUL-terminated, or NULL; free() it. */
static char *read_whole(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rbe");
    char *text = NULL;
    size_t room = 0;
    ssize_t n = f ? getdelim(&text, &room, '\0', f) : -1;
    *bytes = n > 0 ? (size_t)n : 0;
    if (f)
        fclose(f);
    return text;
}

/* "a/NAME.CASE.json" with its last `parts` parts behind dots replaced by the suffix. */
static char *beside(const char *path, int parts, const char *suffix, size_t *bytes)
{
    char other[512];
    snprintf(other, sizeof other - 16, "%s", path);
    for (int i = 0; i < parts; i++)
        *strrchr(other, '.') = '\0';
    strcat(other, suffix);
    return read_whole(other, bytes);
}

static umbra_template_value *part(umbra_template_tree *tree, umbra_tpl_value of, const char *key)
{
    umbra_tpl_value *v = umbra_value_member(of, key);
    return v && v->kind != TPL_NONE ? umbra_tpl_to_tree(tree, *v) : NULL;
}

/* The case's request; its variables are `extra` and the tokens. */
static void read_case(umbra_chat_request *r, const char *json, size_t bytes)
{
    static const struct tm now = {.tm_year = 126,
                                  .tm_mon = 10,
                                  .tm_mday = 26,
                                  .tm_hour = 9,
                                  .tm_min = 30,
                                  .tm_wday = 4,
                                  .tm_yday = 329};
    umbra_tpl_value all = umbra_tpl_of_tree(umbra_template_json(r->tree, json, bytes, NULL));
    umbra_template_value *more = part(r->tree, all, "extra");
    more = more ? more : umbra_template_dict(r->tree);
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "eos_token" : "bos_token";
        umbra_template_value *token = part(r->tree, all, name);
        if (token)
            umbra_template_set(r->tree, more, name, strlen(name), token);
    }
    r->messages = part(r->tree, all, "messages");
    r->tools = part(r->tree, all, "tools");
    r->variables = more;
    r->no_answer = !umbra_tpl_truth(*umbra_value_member(all, "add_generation_prompt"));
    r->now = &now;
}

/* The reference loses parts, or shows them as its language's values, where a template does not take
 * them; a chat hands their text over. */
static bool has_parts(const umbra_chat_prompt *p)
{
    return p->rendering.text && strstr(p->rendering.text, "First part. \nSecond.") &&
           !strstr(p->rendering.text, "'text'");
}

/* As the reference has it, or better. */
static bool as_wanted(const char *path)
{
    size_t source_bytes, json_bytes, bytes = 0;
    char *source = beside(path, 2, ".jinja", &source_bytes), *j = read_whole(path, &json_bytes);
    char *text = beside(path, 1, ".txt", &bytes);
    umbra_chat *chat = NULL;
    umbra_chat_request r = {0};
    umbra_chat_prompt p = {0};
    umbra_error err = {0};
    assert_int_equal(umbra_template_tree_open(&r.tree, &err), UMBRA_OK);
    assert_int_equal(umbra_chat_open(&chat, NULL, source, source_bytes, &err), UMBRA_OK);
    read_case(&r, j, json_bytes);
    int rc = umbra_chat_render(chat, &r, &p, &err);
    bool good = !text || (rc == UMBRA_OK && p.rendering.bytes == bytes &&
                          memcmp(p.rendering.text, text, bytes) == 0);
    good = good || (strstr(path, ".parts.") && rc == UMBRA_OK && has_parts(&p));
    if (!good)
        print_error("%s: %s\n", path, rc == UMBRA_OK ? "other bytes than wanted" : err.message);
    umbra_chat_prompt_free(&p);
    umbra_chat_close(&chat);
    umbra_template_tree_close(&r.tree);
    free(source);
    free(j);
    free(text);
    return good;
}

static void published_templates_render_as_they_should(void **state)
{
    (void)state;
    char folder[256], pattern[300];
    glob_t found;
    if (!shared_path(folder, sizeof folder, "templates")) {
        say_skipped("chats with published templates", folder);
        skip();
    }
    snprintf(pattern, sizeof pattern, "%s/*.json", folder);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    size_t failures = 0;
    for (size_t i = 0; i < found.gl_pathc; i++)
        failures += !as_wanted(found.gl_pathv[i]);
    assert_true(found.gl_pathc > 400);
    globfree(&found);
    assert_int_equal(failures, 0);
}

/* ---- answers ---- */

#define USER "{\"role\":\"user\",\"content\":\"Weather?\"}"
static const char question[] = "[" USER "]";
static const char answered[] =
    "[" USER ",{\"role\":\"assistant\",\"content\":\"Let me see.\",\"tool_calls\":[{\"id\":"
    "\"call00001\",\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"arguments\":"
    "{\"place\":\"A \\\"b\\\"\",\"days\":2}}}]}]";
static const char tool_list[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"description\":\"d\","
    "\"parameters\":{\"type\":\"object\",\"properties\":{\"place\":{\"type\":\"string\","
    "\"description\":\"d\"},\"days\":{\"type\":\"integer\",\"description\":\"d\"}},"
    "\"required\":[\"place\"]}}}]";

/* Of which the table has no row, or whose history shows calls otherwise than models write them. */
static const char *const without_calls[] = {
    "command-r-plus", "SmolLM3", "LFM2.5", "firefunction", "granite-3.3", "rwkv", "muse-glimmer",
};

static bool has_calls(const char *path)
{
    for (size_t i = 0; i < sizeof without_calls / sizeof *without_calls; i++)
        if (strstr(path, without_calls[i]))
            return false;
    return true;
}

static int render(const umbra_chat *chat, umbra_template_tree *tree, const char *messages,
                  const umbra_template_value *tools, umbra_chat_prompt *out)
{
    umbra_template_value *more = umbra_template_dict(tree);
    umbra_chat_request r = {.tree = tree, .tools = tools, .variables = more};
    umbra_template_set(tree, more, "bos_token", 9,
                       umbra_template_text(tree, "<s>", 3, UMBRA_TEMPLATE_MARKUP));
    umbra_template_set(tree, more, "eos_token", 9,
                       umbra_template_text(tree, "</s>", 4, UMBRA_TEMPLATE_MARKUP));
    r.messages = umbra_template_json(tree, messages, strlen(messages), NULL);
    r.no_answer = messages == answered;
    return umbra_chat_render(chat, &r, out, NULL);
}

/* What the model would have written: behind what both have in common, from a border of markup. */
static const char *find_answer(const umbra_chat_prompt *asked, const umbra_chat_prompt *all)
{
    const char *a = asked->rendering.text, *b = all->rendering.text;
    size_t at = 0;
    while (a[at] && a[at] == b[at])
        at++;
    while (at > 0 && !strchr(">]\n", b[at - 1]))
        at--;
    return b + at;
}

static bool reads_its_own_calls(const char *path)
{
    size_t source_bytes, bytes;
    char *source = read_whole(path, &source_bytes), *text;
    umbra_chat *chat;
    umbra_template_tree *tree;
    umbra_answer *answer;
    umbra_chat_prompt asked, all;
    record r = {.out = open_memstream(&text, &bytes), .part = -1};
    assert_int_equal(umbra_template_tree_open(&tree, NULL), UMBRA_OK);
    assert_int_equal(umbra_chat_open(&chat, NULL, source, source_bytes, NULL), UMBRA_OK);
    umbra_template_value *tools = umbra_template_json(tree, tool_list, strlen(tool_list), NULL);
    bool good = render(chat, tree, question, tools, &asked) == UMBRA_OK;
    good = render(chat, tree, answered, tools, &all) == UMBRA_OK && good;
    if (good) {
        const char *start = find_answer(&asked, &all);
        umbra_answer_open(&answer, chat, NULL, tools, record_event, &r, NULL);
        umbra_answer_take_text(answer, start, strlen(start), false);
        umbra_answer_end(answer);
        umbra_answer_close(&answer);
    }
    record_end(&r);
    good = good && strstr(text, "call0{get_weather") &&
           (strstr(text, "args{{\"place\": \"A \\\"b\\\"\", \"days\": 2}}end!") ||
            strstr(text, "args{{\"days\":2,\"place\":\"A \\\"b\\\"\"}}end!"));
    if (!good)
        print_error("%s: %s\n", path, text);
    umbra_chat_prompt_free(&asked);
    umbra_chat_prompt_free(&all);
    umbra_chat_close(&chat);
    umbra_template_tree_close(&tree);
    free(text);
    free(source);
    return good;
}

static void published_templates_show_calls_that_are_read(void **state)
{
    (void)state;
    char folder[256], pattern[300];
    glob_t found;
    if (!shared_path(folder, sizeof folder, "templates")) {
        say_skipped("answers in the form of published templates", folder);
        skip();
    }
    snprintf(pattern, sizeof pattern, "%s/*.jinja", folder);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    size_t failures = 0;
    for (size_t i = 0; i < found.gl_pathc; i++)
        failures += has_calls(found.gl_pathv[i]) && !reads_its_own_calls(found.gl_pathv[i]);
    globfree(&found);
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_templates_render_as_they_should),
        cmocka_unit_test(published_templates_show_calls_that_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
