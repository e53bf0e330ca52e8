/* Opens a chat: parses the template and tries out what it takes. */
#include <string.h>

#include "base/memory.h"
#include "base/error.h"
#include "chat/internal.h"

/* ---- what the template takes ---- */

static const char probe[] = "umbra-probe";

#define PROBE_CALL(arguments)                                                                      \
    "[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"\","             \
    "\"tool_calls\":[{\"id\":\"call00001\",\"type\":\"function\",\"function\":{\"name\":\"f\","    \
    "\"arguments\":" arguments "}}]},{\"role\":\"tool\",\"tool_call_id\":\"call00001\","           \
    "\"name\":\"f\",\"content\":\"t\"}]"

static const char with_text[] = "[{\"role\":\"user\",\"content\":\"umbra-probe\"}]";
static const char with_parts[] =
    "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"umbra-probe\"}]}]";
static const char with_object[] = PROBE_CALL("{\"key\":\"umbra-probe\"}");
static const char with_json[] = PROBE_CALL("\"{\\\"key\\\":\\\"umbra-probe\\\"}\"");
static const char tools[] = "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":"
                            "\"d\",\"parameters\":{\"type\":\"object\",\"properties\":{\"key\":"
                            "{\"type\":\"string\",\"description\":\"d\"}}}}}]";

/* The variables of a trial; NULL: memory is out. */
static umbra_template_value *variables_of(umbra_template_tree *tree, const char *messages,
                                          bool with_tools)
{
    umbra_template_value *v = umbra_template_dict(tree);
    static const char *const tokens[] = {"bos_token", "eos_token"};
    int rc = umbra_template_set(tree, v, "messages", 8,
                                umbra_template_json(tree, messages, strlen(messages), NULL));
    if (rc == UMBRA_OK && with_tools)
        rc = umbra_template_set(tree, v, "tools", 5,
                                umbra_template_json(tree, tools, strlen(tools), NULL));
    for (int i = 0; i < 2 && rc == UMBRA_OK; i++)
        rc = umbra_template_set(tree, v, tokens[i], strlen(tokens[i]),
                                umbra_template_text(tree, "", 0, UMBRA_TEMPLATE_MARKUP));
    return rc == UMBRA_OK ? v : NULL;
}

/* In *yes: whether these messages are printed with the probe in them, and not as a language would
 * show its own values. UMBRA_E_NOMEM, or UMBRA_OK. */
static int try_messages(const umbra_template *t, const char *messages, bool with_tools, bool *yes)
{
    static const struct tm now = {.tm_year = 126, .tm_mday = 1};
    umbra_template_tree *tree;
    umbra_template_output out = {0};
    *yes = false;
    if (umbra_template_tree_open(&tree, NULL) != UMBRA_OK)
        return UMBRA_E_NOMEM;
    umbra_template_value *v = variables_of(tree, messages, with_tools);
    int rc = v ? umbra_template_render(t, v, &(umbra_template_options){.now = &now}, &out, NULL)
               : UMBRA_E_NOMEM;
    *yes = rc == UMBRA_OK && strstr(out.text, probe) && !strstr(out.text, "'text'") &&
           !strstr(out.text, "'key'");
    umbra_template_output_free(&out);
    umbra_template_tree_close(&tree);
    return rc == UMBRA_E_NOMEM ? rc : UMBRA_OK;
}

static int try_out(const umbra_template *t, umbra_chat_ways *w)
{
    bool text, object, json;
    int rc = try_messages(t, with_parts, false, &w->parts);
    if (rc == UMBRA_OK)
        rc = try_messages(t, with_text, false, &text);
    if (rc == UMBRA_OK)
        rc = try_messages(t, with_object, true, &object);
    if (rc == UMBRA_OK)
        rc = try_messages(t, with_json, true, &json);
    if (rc == UMBRA_OK) {
        w->only_parts = w->parts && !text;
        w->text_arguments = !object && json;
    }
    return rc;
}

int umbra_chat_open(umbra_chat **out, const umbra_model *model, const char *source, size_t bytes,
                    umbra_error *err)
{
    *out = NULL;
    umbra_chat *chat = umbra_calloc(1, sizeof *chat);
    if (!chat)
        return umbra_fail_nomem(err, "a chat", sizeof *chat);
    chat->model = model;
    int rc = umbra_template_open(&chat->template, source, bytes, err);
    if (rc == UMBRA_OK && try_out(chat->template, &chat->ways) != UMBRA_OK)
        rc = umbra_fail_nomem(err, "trying out a chat template", 0);
    if (rc != UMBRA_OK) {
        umbra_chat_close(&chat);
        return rc;
    }
    chat->family = umbra_family_find(source, bytes);
    *out = chat;
    return UMBRA_OK;
}

void umbra_chat_close(umbra_chat **chat)
{
    if (!*chat)
        return;
    umbra_template_close(&(*chat)->template);
    umbra_free(*chat);
    *chat = NULL;
}

const umbra_family *umbra_family_of(const umbra_chat *chat)
{
    return chat->family;
}

const char *umbra_chat_family(const umbra_chat *chat)
{
    return chat->family ? chat->family->name : NULL;
}

bool umbra_chat_is_end(const umbra_chat *chat, int32_t id)
{
    char text[64];
    const char *goes_on = chat->family ? chat->family->goes_on : NULL;
    if (!umbra_is_end_token(chat->model, id))
        return false;
    size_t n = umbra_detokenize(chat->model, id, true, text, sizeof text);
    return !goes_on || n != strlen(goes_on) || memcmp(text, goes_on, n) != 0;
}
