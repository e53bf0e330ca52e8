/* Renders a request and makes tokens of it. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "chat/internal.h"
#include "model/model.h"

/* ---- variables ---- */

/* The text of a token as the template's own, under a name. */
static int set_token(const umbra_model *model, umbra_tpl_context *c, umbra_tpl_value variables,
                     const char *name, int32_t id)
{
    char text[256];
    umbra_tpl_value v;
    size_t n = id < 0 ? 0 : umbra_tokenizer_decode(model->tokenizer, id, true, text, sizeof text);
    if (n == 0 || n > sizeof text)
        return UMBRA_OK;
    int rc = umbra_tpl_copy_text(c, text, n, false, &v);
    return rc == UMBRA_OK ? umbra_value_set(c, variables, name, v) : rc;
}

static int set_tokens(const umbra_chat *chat, umbra_tpl_context *c, umbra_tpl_value variables)
{
    if (!chat->model)
        return UMBRA_OK;
    const umbra_tokenizer *t = chat->model->tokenizer;
    int rc = set_token(chat->model, c, variables, "bos_token", umbra_tokenizer_bos(t));
    return rc == UMBRA_OK
               ? set_token(chat->model, c, variables, "eos_token", umbra_tokenizer_eos(t))
               : rc;
}

static int copy_members(umbra_tpl_context *c, umbra_tpl_value dict, umbra_tpl_value from)
{
    int rc = UMBRA_OK;
    size_t at = 0;
    UMBRA_EACH_MEMBER(e, at, from)
    if (rc == UMBRA_OK)
        rc = umbra_tpl_dict_set(c, dict.u.dict, e->key, e->value);
    return rc;
}

static int fill_variables(const umbra_chat *chat, const umbra_chat_request *r,
                          umbra_tpl_value messages, umbra_tpl_value *out, umbra_error *err)
{
    umbra_tpl_context *c = umbra_tpl_tree_context(r->tree);
    umbra_tpl_value more = r->variables ? umbra_tpl_of_tree(r->variables) : umbra_tpl_none();
    umbra_tpl_value tools = r->tools ? umbra_tpl_of_tree(r->tools) : umbra_tpl_none();
    umbra_tpl_value begins = umbra_tpl_bool(!r->no_answer && !r->continues);
    if (more.kind != TPL_NONE && more.kind != TPL_DICT)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "the template's variables are no object");
    if (tools.kind != TPL_NONE && tools.kind != TPL_LIST)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "the tools are no list");
    int rc = umbra_tpl_new_dict(c, TPL_DICT, out);
    if (rc == UMBRA_OK)
        rc = set_tokens(chat, c, *out);
    if (rc == UMBRA_OK && more.kind == TPL_DICT)
        rc = copy_members(c, *out, more);
    if (rc == UMBRA_OK)
        rc = umbra_value_set(c, *out, "messages", messages);
    if (rc == UMBRA_OK && tools.kind == TPL_LIST && tools.u.list->count > 0)
        rc = umbra_value_set(c, *out, "tools", tools);
    if (rc == UMBRA_OK)
        rc = umbra_value_set(c, *out, "add_generation_prompt", begins);
    return rc;
}

/* ---- going on with a message ---- */

/* Offset behind the last place where a text stands, 0: it does not. */
static size_t end_of_last(const umbra_template_output *o, const char *text, size_t n)
{
    for (size_t end = o->bytes; n > 0 && end >= n; end--)
        if (memcmp(o->text + end - n, text, n) == 0)
            return end;
    return 0;
}

static void cut(umbra_template_output *o, size_t bytes)
{
    o->bytes = bytes;
    o->text[bytes] = '\0';
    while (o->n_spans > 0 && o->spans[o->n_spans - 1].begin >= bytes)
        o->n_spans--;
    if (o->n_spans > 0)
        o->spans[o->n_spans - 1].end = bytes;
}

/* Leaves out what the template puts behind the last message. */
static int cut_end(umbra_tpl_value messages, umbra_template_output *o, umbra_error *err)
{
    umbra_tpl_value last = messages.u.list->items[messages.u.list->count - 1];
    const umbra_tpl_string *role = umbra_value_text(last, "role");
    const umbra_tpl_string *content = umbra_value_text(last, "content");
    size_t n = content ? content->bytes : 0;
    while (n > 0 && strchr(" \t\r\n", content->data[n - 1]))
        n--;
    size_t end = content ? end_of_last(o, content->data, n) : 0;
    if (!role || !umbra_tpl_text_is(role, "assistant") || end == 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "the last message cannot be continued: it must be an assistant's with a "
                          "text that the template prints as it is");
    cut(o, end);
    return UMBRA_OK;
}

/* ---- tokens ---- */

static int tokenise(const umbra_tokenizer *t, umbra_chat_prompt *p, umbra_error *err)
{
    const umbra_template_output *o = &p->rendering;
    int32_t bos = umbra_tokenizer_bos(t);
    int rc = umbra_tokenizer_encode_spans(t, o->text, o->bytes, o->spans, o->n_spans, &p->tokens,
                                          &p->count, err);
    if (rc != UMBRA_OK || bos < 0 || !umbra_tokenizer_adds_bos(t) ||
        (p->count > 0 && p->tokens[0] == bos))
        return rc;
    int32_t *longer = umbra_reallocarray(p->tokens, p->count + 1, sizeof *longer);
    if (!longer)
        return umbra_fail_nomem(err, "the tokens of a prompt", (p->count + 1) * sizeof *longer);
    memmove(longer + 1, longer, p->count * sizeof *longer);
    longer[0] = bos;
    p->tokens = longer;
    p->count++;
    return UMBRA_OK;
}

static int render(const umbra_chat *chat, const umbra_chat_request *r, umbra_chat_prompt *out,
                  umbra_error *err)
{
    umbra_tpl_value messages, variables;
    struct tm local;
    time_t seconds = time(NULL);
    umbra_template_options options = {.now = r->now ? r->now : localtime_r(&seconds, &local)};
    int rc =
        umbra_messages_adapt(&chat->ways, r->tree, umbra_tpl_of_tree(r->messages), &messages, err);
    if (rc != UMBRA_OK)
        return rc;
    rc = fill_variables(chat, r, messages, &variables, err);
    umbra_template_value *v = rc == UMBRA_OK ? umbra_tpl_to_tree(r->tree, variables) : NULL;
    if (rc == UMBRA_E_NOMEM || (rc == UMBRA_OK && !v))
        return umbra_fail_nomem(err, "the variables of a template", 0);
    if (rc == UMBRA_OK)
        rc = umbra_template_render(chat->template, v, &options, &out->rendering, err);
    if (rc == UMBRA_OK && r->continues)
        rc = cut_end(messages, &out->rendering, err);
    return rc;
}

int umbra_chat_render(const umbra_chat *chat, const umbra_chat_request *r, umbra_chat_prompt *out,
                      umbra_error *err)
{
    *out = (umbra_chat_prompt){0};
    int rc = UMBRA_CHECK_RESERVED(r, err);
    if (rc == UMBRA_OK && (!r->tree || !r->messages))
        rc =
            umbra_fail(err, UMBRA_E_ARGUMENT, "a request needs messages, and the tree they are in");
    if (rc == UMBRA_OK)
        rc = render(chat, r, out, err);
    if (rc == UMBRA_OK && chat->model)
        rc = tokenise(chat->model->tokenizer, out, err);
    if (rc != UMBRA_OK)
        umbra_chat_prompt_free(out);
    return rc;
}

void umbra_chat_prompt_free(umbra_chat_prompt *p)
{
    umbra_template_output_free(&p->rendering);
    umbra_free(p->tokens);
    *p = (umbra_chat_prompt){0};
}
