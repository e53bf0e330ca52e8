/* Which tools an answer may call, which it must, and how their calls are held to their schemas. */
#include <string.h>

#include "serve/internal.h"

static bool refuse(serve_exchange *x, const char *field, const char *what, enum MHD_Result *result)
{
    *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, field, "%s: %s", field, what);
    return false;
}

/* The function of a tool: {"function": {...}}, or the tool itself. */
static json_t *function_of(const json_t *tool)
{
    json_t *inner = json_object_get(tool, "function");
    return inner ? inner : (json_t *)(uintptr_t)tool;
}

static bool has_tool(const json_t *tools, const char *name)
{
    size_t i;
    json_t *t;
    json_array_foreach((json_t *)(uintptr_t)tools, i, t)
    {
        const char *own = json_string_value(json_object_get(function_of(t), "name"));
        if (own && strcmp(own, name) == 0)
            return true;
    }
    return false;
}

static bool is_word(const char *word, const char *a, const char *b)
{
    return word && (strcmp(word, a) == 0 || strcmp(word, b) == 0);
}

bool serve_read_choice(serve_exchange *x, const json_t *choice, serve_chat *chat,
                       enum MHD_Result *result)
{
    const char *word = json_string_value(choice);
    bool anthropic = x->route->dialect == SERVE_ANTHROPIC;
    if (chat->tools && (!json_is_array(chat->tools) || json_array_size(chat->tools) == 0))
        chat->tools = NULL;
    if (!word)
        word = json_string_value(json_object_get(choice, "type"));
    if (!choice || is_word(word, "auto", "auto"))
        return true;
    if (is_word(word, "none", "none")) {
        chat->tools = NULL;
        return true;
    }
    if (is_word(word, "function", "tool"))
        chat->only = json_string_value(json_object_get(function_of(choice), "name"));
    else if (!is_word(word, "required", "any"))
        return refuse(x, "tool_choice",
                      anthropic ? "must be of type auto, any, tool or none"
                                : "must be auto, none, required, or name a function",
                      result);
    chat->must = true;
    if (!chat->tools)
        return refuse(x, "tool_choice", "a call is asked for, but there are no tools", result);
    if (is_word(word, "function", "tool") && !(chat->only && has_tool(chat->tools, chat->only)))
        return refuse(x, "tool_choice", "it names none of the tools", result);
    return true;
}

bool serve_has_strict(const json_t *tools)
{
    size_t i;
    json_t *t;
    json_array_foreach((json_t *)(uintptr_t)tools, i, t)
    {
        if (json_is_true(json_object_get(function_of(t), "strict")))
            return true;
    }
    return false;
}

json_t *serve_plain_tools(const json_t *tools)
{
    json_t *copy = json_deep_copy(tools), *t;
    size_t i;
    json_array_foreach(copy, i, t)
    {
        json_object_del(function_of(t), "strict");
    }
    return copy;
}

int serve_open_calls(serve_text *t, const serve_prompt *p, umbra_error *err)
{
    const umbra_call_options o = {
        .chat = t->server->chat,
        .prompt = &p->prompt,
        .tools = p->held.data,
        .bytes = p->held.bytes,
        .must = p->must,
        .only = p->only.data,
    };
    int rc = serve_need_spellings(t->server, err);
    return rc == UMBRA_OK ? umbra_grammar_open_calls(&t->grammar, t->server->spellings, &o, err)
                          : rc;
}
