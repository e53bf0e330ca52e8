/* Messages as the tokens of a prompt. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
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
    if (text.failed)
        umbra_fail(&err, UMBRA_E_NOMEM, "out of memory");
    else
        v = umbra_template_json(tree, text.data, text.bytes, &err);
    serve_buffer_free(&text);
    if (!v)
        *result = serve_refuse(x, serve_fault(&err), field, "%s: %s", field, err.message);
    return v;
}

/* Notes in the prompt what calls are held to; the tools as the template gets them, or NULL. */
static json_t *hold_calls(const serve_chat *chat, serve_prompt *out)
{
    if (chat->must || serve_has_strict(chat->tools)) {
        serve_buffer_json(&out->held, chat->tools);
        out->must = chat->must;
    }
    if (chat->only)
        serve_buffer_add(&out->only, chat->only, strlen(chat->only) + 1);
    return serve_plain_tools(chat->tools);
}

static bool check_effort(serve_exchange *x, const char *effort, enum MHD_Result *result)
{
    static const char *const known[] = {"none", "minimal", "low", "medium", "high", "xhigh"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(effort, known[i]) == 0)
            return true;
    *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, "reasoning_effort",
                           "reasoning_effort: must be none, minimal, low, medium, high or xhigh");
    return false;
}

/* How much to think is what templates take as variables, if they do; what the request names as
 * variables goes first. Owned; NULL: out of memory. */
static json_t *variables_of(const serve_chat *chat)
{
    json_t *all = json_pack("{s:s, s:b}", "reasoning_effort", chat->effort, "enable_thinking",
                            strcmp(chat->effort, "none") != 0);
    if (all && chat->variables &&
        json_object_update(all, (json_t *)(uintptr_t)chat->variables) != 0) {
        json_decref(all);
        all = NULL;
    }
    return all;
}

/* The variables of the template, if there are any. */
static bool fill_variables(serve_exchange *x, umbra_chat_request *r, const serve_chat *chat,
                           enum MHD_Result *result)
{
    static const char *const field = "chat_template_kwargs";
    bool merged = chat->effort && (!chat->variables || json_is_object(chat->variables));
    if (chat->effort && !check_effort(x, chat->effort, result))
        return false;
    if (merged) {
        json_t *all = variables_of(chat);
        if (all)
            r->variables = to_value(x, r->tree, all, field, result);
        else
            *result = serve_refuse_nomem(x);
        json_decref(all);
    } else if (chat->variables) {
        r->variables = to_value(x, r->tree, chat->variables, field, result);
    }
    return r->variables || (!merged && !chat->variables);
}

static bool fill(serve_exchange *x, umbra_chat_request *r, const serve_chat *chat,
                 serve_prompt *out, enum MHD_Result *result)
{
    r->messages = to_value(x, r->tree, chat->messages, "messages", result);
    if (r->messages && chat->tools) {
        json_t *plain = hold_calls(chat, out);
        r->tools = to_value(x, r->tree, plain, "tools", result);
        json_decref(plain);
    }
    return r->messages && (!chat->tools || r->tools) && fill_variables(x, r, chat, result);
}

bool serve_render(serve_exchange *x, const serve_chat *chat, serve_prompt *out,
                  enum MHD_Result *result)
{
    umbra_error err = {0};
    umbra_chat_request r = {0};
    bool good = false;
    *out = (serve_prompt){0};
    if (!x->server->chat) {
        *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, NULL,
                               "the model has no chat template; umbra serve --template gives one");
    } else if (!json_is_array(chat->messages) || json_array_size(chat->messages) == 0) {
        *result = serve_refuse(x, MHD_HTTP_BAD_REQUEST, "messages",
                               "messages: must be a list of at least one message");
    } else if (serve_memory_lacked()) { /* messages may be left out */
        *result = serve_refuse_nomem(x);
    } else if (umbra_template_tree_open(&out->tree, &err) != UMBRA_OK) {
        *result = serve_refuse(x, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, "%s", err.message);
    } else {
        r.tree = out->tree;
        if (fill(x, &r, chat, out, result)) {
            int rc = umbra_chat_render(x->server->chat, &r, &out->prompt, &err);
            good = rc == UMBRA_OK;
            out->tools = r.tools;
            if (!good)
                *result =
                    serve_refuse(x, serve_fault(&err), "messages", "messages: %s", err.message);
        }
    }
    if (!good)
        serve_prompt_free(out);
    return good;
}

void serve_prompt_free(serve_prompt *p)
{
    umbra_chat_prompt_free(&p->prompt);
    umbra_template_tree_close(&p->tree);
    serve_buffer_free(&p->held);
    serve_buffer_free(&p->only);
    p->tools = NULL;
}

/* Opens what the text is made by. */
static bool start_chat(serve_answer *a, serve_ask *ask, serve_prompt *prompt,
                       enum MHD_Result *result)
{
    umbra_error err = {0};
    int32_t *tokens = prompt->prompt.tokens;
    prompt->prompt.tokens = NULL; /* the text's now */
    if (prompt->held.failed || prompt->only.failed)
        umbra_fail(&err, UMBRA_E_NOMEM, "out of memory");
    ask->calls = prompt->held.bytes > 0 ? prompt : NULL;
    if (!serve_ask_text(a, ask, tokens, prompt->prompt.count, result))
        return false;
    if (err.status == UMBRA_OK)
        serve_text_parse(&a->text, &a->prompt, prompt->tools, &err);
    if (err.status != UMBRA_OK)
        *result = serve_refuse(a->x, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, "%s", err.message);
    return err.status == UMBRA_OK;
}

bool serve_ask_chat(serve_answer *a, serve_ask *ask, serve_prompt *prompt, enum MHD_Result *result)
{
    bool good;
    a->prompt = prompt->prompt;
    a->prompt.tokens = NULL;
    a->tree = prompt->tree;
    good = start_chat(a, ask, prompt, result);
    if (prompt->only.bytes > 0)
        a->text.one_call = true;
    serve_buffer_free(&prompt->held);
    serve_buffer_free(&prompt->only);
    return good;
}

static enum MHD_Result apply(serve_exchange *x, const json_t *body)
{
    serve_chat chat = {0};
    enum MHD_Result result;
    serve_prompt prompt;
    const serve_field fields[] = {
        {"messages", SERVE_JSON, &chat.messages},
        {"tools", SERVE_JSON, &chat.tools},
        {"chat_template_kwargs", SERVE_JSON, &chat.variables},
        {"reasoning_effort", SERVE_TEXT_FIELD, &chat.effort},
        {"model", SERVE_IGNORED},
        {0},
    };
    if (!serve_read_fields(x, body, fields, &result) || !serve_render(x, &chat, &prompt, &result))
        return result;
    json_t *text = serve_json_text(prompt.prompt.rendering.text, prompt.prompt.rendering.bytes);
    serve_prompt_free(&prompt);
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
