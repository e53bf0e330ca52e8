/* Anthropic's messages, tools and choices in OpenAI's form, which templates know. */
#include <string.h>

#include "serve/internal.h"

static bool refuse(serve_exchange *x, const char *field, const char *what, enum MHD_Result *result)
{
    *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, field, "%s: %s", field, what);
    return false;
}

static const char *text_of(const json_t *j, const char *key)
{
    const char *text = json_string_value(json_object_get(j, key));
    return text ? text : "";
}

static bool is_type(const json_t *block, const char *type)
{
    return strcmp(text_of(block, "type"), type) == 0;
}

/* Appends the text that a member of a block has, on a line of its own. */
static void add_text(serve_buffer *text, const json_t *block, const char *key)
{
    const json_t *t = json_object_get(block, key);
    if (text->bytes > 0 && json_string_length(t) > 0)
        serve_buffer_add(text, "\n", 1);
    serve_buffer_add(text, text_of(block, key), json_string_length(t));
}

/* A string, or a list of blocks of text alone, as one text; NULL: refused. */
static json_t *join_text(serve_exchange *x, const json_t *content, const char *field,
                         enum MHD_Result *result)
{
    serve_buffer text = {0};
    size_t i;
    json_t *block;
    bool good = !content || json_is_string(content) || json_is_array(content);
    if (!good)
        refuse(x, field, "must be a string or a list of blocks", result);
    if (json_is_string(content))
        serve_buffer_add(&text, json_string_value(content), json_string_length(content));
    json_array_foreach((json_t *)(uintptr_t)content, i, block)
    {
        if (good && !is_type(block, "text"))
            good = refuse(x, field, "only blocks of type text are supported there", result);
        add_text(&text, block, "text");
    }
    json_t *j = good ? serve_json_text(text.data, text.bytes) : NULL;
    serve_buffer_free(&text);
    return j;
}

/* What the blocks of a message are, apart. */
typedef struct parts {
    serve_buffer text, thinking;
    json_t *calls, *results; /* lists */
} parts;

static bool add_result(serve_exchange *x, parts *p, const json_t *block, enum MHD_Result *result)
{
    json_t *content = join_text(x, json_object_get(block, "content"), "messages", result);
    if (content)
        json_array_append_new(p->results,
                              json_pack("{s:s, s:s, s:o}", "role", "tool", "tool_call_id",
                                        text_of(block, "tool_use_id"), "content", content));
    return content != NULL;
}

static void add_call(parts *p, const json_t *block)
{
    json_t *input = json_object_get(block, "input");
    json_array_append_new(p->calls,
                          json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", text_of(block, "id"), "type",
                                    "function", "function", "name", text_of(block, "name"),
                                    "arguments", input ? json_incref(input) : json_object()));
}

static bool add_block(serve_exchange *x, parts *p, const json_t *block, bool user,
                      enum MHD_Result *result)
{
    if (is_type(block, "text"))
        add_text(&p->text, block, "text");
    else if (user && is_type(block, "tool_result"))
        return add_result(x, p, block, result);
    else if (!user && is_type(block, "tool_use"))
        add_call(p, block);
    else if (!user && is_type(block, "thinking"))
        add_text(&p->thinking, block, "thinking");
    else if (user || !is_type(block, "redacted_thinking"))
        return refuse(x, "messages", "a block is of a type that is not supported", result);
    return true;
}

static bool add_blocks(serve_exchange *x, parts *p, const json_t *content, bool user,
                       enum MHD_Result *result)
{
    size_t i;
    json_t *block;
    bool good = json_is_string(content) || json_is_array(content) ||
                refuse(x, "messages", "content must be a string or a list of blocks", result);
    if (json_is_string(content))
        serve_buffer_add(&p->text, json_string_value(content), json_string_length(content));
    json_array_foreach((json_t *)(uintptr_t)content, i, block)
    {
        good = good && add_block(x, p, block, user, result);
    }
    return good;
}

/* Results of tools come before what the user says to them. */
static void append(json_t *list, parts *p, const char *role)
{
    json_array_extend(list, p->results);
    bool calls = json_array_size(p->calls) > 0;
    if (p->text.bytes == 0 && !calls && json_array_size(p->results) > 0)
        return;
    json_t *m = json_pack("{s:s, s:o}", "role", role, "content",
                          serve_json_text(p->text.data, p->text.bytes));
    if (p->thinking.bytes > 0)
        json_object_set_new(m, "reasoning_content",
                            serve_json_text(p->thinking.data, p->thinking.bytes));
    if (calls)
        json_object_set(m, "tool_calls", p->calls);
    json_array_append_new(list, m);
}

static bool add_message(serve_exchange *x, json_t *list, const json_t *m, enum MHD_Result *result)
{
    const char *role = text_of(m, "role");
    bool user = strcmp(role, "user") == 0;
    if (!user && strcmp(role, "assistant") != 0)
        return refuse(x, "messages", "a role is neither user nor assistant", result);
    parts p = {.calls = json_array(), .results = json_array()};
    bool good = add_blocks(x, &p, json_object_get(m, "content"), user, result);
    if (good)
        append(list, &p, role);
    json_decref(p.calls);
    json_decref(p.results);
    serve_buffer_free(&p.text);
    serve_buffer_free(&p.thinking);
    return good;
}

json_t *serve_convert_messages(serve_exchange *x, const json_t *messages, const json_t *system,
                               enum MHD_Result *result)
{
    json_t *list = json_array(), *m;
    size_t i;
    bool good =
        json_is_array(messages) || refuse(x, "messages", "must be a list of messages", result);
    if (good && system) {
        json_t *text = join_text(x, system, "system", result);
        good = text != NULL;
        if (good)
            json_array_append_new(list, json_pack("{s:s, s:o}", "role", "system", "content", text));
    }
    json_array_foreach((json_t *)(uintptr_t)messages, i, m)
    {
        good = good && add_message(x, list, m, result);
    }
    if (good)
        return list;
    json_decref(list);
    return NULL;
}

json_t *serve_convert_tools(serve_exchange *x, const json_t *tools, enum MHD_Result *result)
{
    json_t *list = json_array(), *t;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)tools, i, t)
    {
        json_t *schema = json_object_get(t, "input_schema");
        const char *type = text_of(t, "type");
        if (!json_is_object(schema) || (*type && strcmp(type, "custom") != 0)) {
            refuse(x, "tools", "only tools with a name and an input_schema are supported", result);
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list,
                              json_pack("{s:s, s:{s:s, s:s, s:O, s:b}}", "type", "function",
                                        "function", "name", text_of(t, "name"), "description",
                                        text_of(t, "description"), "parameters", schema, "strict",
                                        json_is_true(json_object_get(t, "strict"))));
    }
    return list;
}

bool serve_convert_thinking(serve_exchange *x, const json_t *thinking, json_t **variables,
                            enum MHD_Result *result)
{
    bool on = is_type(thinking, "enabled") || is_type(thinking, "adaptive");
    if (!thinking)
        return true;
    if (!on && !is_type(thinking, "disabled"))
        return refuse(x, "thinking", "must be enabled, adaptive or disabled", result);
    *variables = json_pack("{s:b}", "enable_thinking", on);
    return true;
}
