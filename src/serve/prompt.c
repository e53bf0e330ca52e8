/* Messages as the tokens of a prompt. */
#include <stdlib.h>
#include <string.h>

#include "serve/internal.h"

/* The value in the tree; NULL: a refusal was queued. */
static const umbra_template_value *to_value(serve_exchange *x, umbra_template_tree *tree,
                                            const json_t *j, const char *field,
                                            enum MHD_Result *result)
{
    umbra_error err = {0};
    serve_buffer text = {0};
    serve_buffer_json(&text, j);
    const umbra_template_value *v = NULL;
    if (!text.failed)
        v = umbra_template_json(tree, text.data, text.bytes, &err);
    serve_buffer_free(&text);
    if (!v)
        *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, field, "%s: %s", field, err.message);
    return v;
}

static bool fill(serve_exchange *x, umbra_chat_request *r, const json_t *messages,
                 const json_t *tools, const json_t *variables, enum MHD_Result *result)
{
    r->messages = to_value(x, r->tree, messages, "messages", result);
    if (r->messages && tools)
        r->tools = to_value(x, r->tree, tools, "tools", result);
    if (r->messages && (!tools || r->tools) && variables)
        r->variables = to_value(x, r->tree, variables, "chat_template_kwargs", result);
    return r->messages && (!tools || r->tools) && (!variables || r->variables);
}

bool serve_render(serve_exchange *x, const json_t *messages, const json_t *tools,
                  const json_t *variables, umbra_chat_prompt *out, enum MHD_Result *result)
{
    umbra_error err = {0};
    umbra_chat_request r = {0};
    bool good = false;
    *out = (umbra_chat_prompt){0};
    if (!x->server->chat) {
        *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, NULL,
                               "the model has no chat template; umbra serve --template gives one");
    } else if (!json_is_array(messages) || json_array_size(messages) == 0) {
        *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, "messages",
                               "messages: must be a list of at least one message");
    } else if (umbra_template_tree_open(&r.tree, &err) != UMBRA_OK) {
        *result = serve_refuse(x, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, "%s", err.message);
    } else if (fill(x, &r, messages, tools, variables, result)) {
        int rc = umbra_chat_render(x->server->chat, &r, out, &err);
        good = rc == UMBRA_OK;
        if (!good)
            *result = serve_refuse(
                x, rc == UMBRA_E_NOMEM ? MHD_HTTP_INTERNAL_SERVER_ERROR : MHD_HTTP_BAD_REQUEST,
                "messages", "messages: %s", err.message);
    }
    umbra_template_tree_close(&r.tree);
    return good;
}

static enum MHD_Result apply(serve_exchange *x, const json_t *body)
{
    const json_t *messages = NULL, *tools = NULL, *variables = NULL;
    enum MHD_Result result;
    umbra_chat_prompt prompt;
    const serve_field fields[] = {
        {"messages", SERVE_JSON, &messages},
        {"tools", SERVE_JSON, &tools},
        {"chat_template_kwargs", SERVE_JSON, &variables},
        {"model", SERVE_IGNORED},
        {0},
    };
    if (!serve_read_fields(x, body, fields, &result) ||
        !serve_render(x, messages, tools, variables, &prompt, &result))
        return result;
    json_t *text = serve_json_text(prompt.rendering.text, prompt.rendering.bytes);
    umbra_chat_prompt_free(&prompt);
    return serve_reply_json(x, MHD_HTTP_OK, json_pack("{s:o}", "prompt", text));
}

enum MHD_Result serve_apply_template(serve_exchange *x)
{
    enum MHD_Result result = MHD_NO;
    json_t *body = serve_read_body(x, &result);
    if (body)
        result = apply(x, body);
    json_decref(body);
    return result;
}
