/* Whichever allocation fails, what is opened ends in an error that says so, and nothing is lost. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include <umbra/answer.h>
#include <umbra/stops.h>

#include "base/memory.h"

enum { MOST_ALLOCATIONS = 2000 };

static const char source[] =
    "{% for m in messages %}<tool_call>{{ m.role }}{{ m.content }}{% for c in m.tool_calls %}"
    "{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}";
static const char messages[] =
    "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"tool_calls\":[{\"function\":"
    "{\"name\":\"f\",\"arguments\":\"{\\\"k\\\":[1,2]}\"}}]}]";
static const char answer[] = "<think>why</think>Look. <tool_call>{\"name\": \"f\", \"arguments\": "
                             "{\"a\": \"b\"}}</tool_call> so";

static int count(void *user, const umbra_answer_event *e)
{
    *(int *)user += e->part == UMBRA_ANSWER_CALL_END;
    return 0;
}

static int render(const umbra_chat *chat, umbra_template_tree *tree)
{
    umbra_chat_prompt prompt;
    umbra_chat_request r = {.tree = tree};
    umbra_error err = {.status = UMBRA_E_NOMEM};
    r.messages = umbra_template_json(tree, messages, strlen(messages), &err);
    if (!r.messages)
        return err.status;
    int rc = umbra_chat_render(chat, &r, &prompt, &err);
    if (rc == UMBRA_OK)
        assert_true(strstr(prompt.rendering.text, "{\"k\": [1, 2]}") != NULL);
    else
        assert_int_equal(err.status, rc);
    umbra_chat_prompt_free(&prompt);
    return rc;
}

static int take_apart(const umbra_chat *chat, umbra_template_tree *tree)
{
    umbra_answer *a;
    int calls = 0;
    int rc = umbra_answer_open(&a, chat, NULL, umbra_template_list(tree), count, &calls, NULL);
    for (size_t i = 0; rc == UMBRA_OK && answer[i]; i++)
        rc = umbra_answer_take_text(a, &answer[i], 1, false);
    if (rc == UMBRA_OK)
        rc = umbra_answer_end(a);
    /* Where the list of tools could not be made, there are none. */
    if (rc == UMBRA_OK)
        assert_in_range(calls, 0, 1);
    umbra_answer_close(&a);
    return rc;
}

static int everything(void)
{
    umbra_chat *chat;
    umbra_template_tree *tree = NULL;
    umbra_error err = {0};
    int rc = umbra_chat_open(&chat, NULL, source, strlen(source), &err);
    assert_int_equal(err.status, rc);
    if (rc == UMBRA_OK)
        rc = umbra_template_tree_open(&tree, &err);
    if (rc == UMBRA_OK)
        rc = render(chat, tree);
    if (rc == UMBRA_OK)
        rc = take_apart(chat, tree);
    umbra_template_tree_close(&tree);
    umbra_chat_close(&chat);
    return rc;
}

static void chats_and_answers(void **state)
{
    (void)state;
    int rc = UMBRA_E_NOMEM;
    for (long n = 1; rc != UMBRA_OK; n++) {
        umbra_memory_fail_after(n);
        rc = everything();
        umbra_memory_fail_after(0);
        if (rc != UMBRA_OK && rc != UMBRA_E_NOMEM)
            fail_msg("allocation %ld: %d", n, rc);
        assert_true(n < MOST_ALLOCATIONS);
    }
}

static void stop_strings(void **state)
{
    (void)state;
    static const char *const texts[] = {"one", "two"};
    int rc = UMBRA_E_NOMEM;
    for (long n = 1; rc != 1; n++) {
        umbra_stops *s;
        const char *out;
        size_t bytes;
        umbra_memory_fail_after(n);
        rc = umbra_stops_open(&s, texts, 2, NULL);
        if (rc == UMBRA_OK)
            rc = umbra_stops_take(s, "a two b", 7, &out, &bytes);
        umbra_memory_fail_after(0);
        assert_true(rc == 1 || rc == UMBRA_E_NOMEM);
        assert_true(n < MOST_ALLOCATIONS);
        umbra_stops_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chats_and_answers),
        cmocka_unit_test(stop_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
