/* Compiles calls of tools as a model's family writes them, and what may stand around them. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/quote.h"
#include "grammar/calls_internal.h"
#include "grammar/spellings.h"

enum { ID_BYTES = 16 };

/* ---- texts ---- */

/* The text spelled as the model writes it, and a function that makes nodes of it. */
static int spelled(calls_compiler *c, const char *text, int next,
                   int (*make)(umbra_net *net, const char *text, int next))
{
    char *bytes = umbra_spell_text(c->model, text);
    int at = bytes ? make(c->net, bytes, next) : next;
    c->net->failed = c->net->failed || !bytes;
    umbra_free(bytes);
    return at;
}

static int literal(umbra_net *net, const char *text, int next)
{
    return umbra_net_literal(net, text, strlen(text), next);
}

int umbra_calls_marker(calls_compiler *c, const char *text, int next)
{
    return text ? spelled(c, text, next, literal) : next;
}

int umbra_calls_until(calls_compiler *c, const char *text, int next)
{
    return spelled(c, text, next, umbra_net_until);
}

int umbra_calls_word(calls_compiler *c, const char *text, int next)
{
    return literal(c->net, text, next);
}

int umbra_calls_space(calls_compiler *c, int next)
{
    return umbra_net_call(c->net, c->net->space, next);
}

bool umbra_calls_is_plain(const umbra_tpl_string *s)
{
    size_t n = 0;
    while (n < s->bytes && s->data[n] != '\0' && strchr(NET_LETTERS, s->data[n]))
        n++;
    return n > 0 && n == s->bytes;
}

/* ---- tools ---- */

int umbra_calls_wrong(const calls_compiler *c, const call_tool *tool, int status, const char *what)
{
    return umbra_fail(c->err, status, "the tool \"%s\": %s",
                      umbra_quote(tool->name->data, tool->name->bytes).text, what);
}

/* {"function": {...}}, or the function itself. */
static bool read_tool(umbra_tpl_value entry, call_tool *tool)
{
    const umbra_tpl_value *inner = umbra_value_member(entry, "function");
    umbra_tpl_value f = inner ? *inner : entry;
    const umbra_tpl_value *strict = umbra_value_member(f, "strict");
    const umbra_tpl_value *parameters = umbra_value_member(f, "parameters");
    tool->name = umbra_value_text(f, "name");
    tool->parameters = parameters && parameters->kind == TPL_DICT ? parameters : NULL;
    tool->strict = strict && strict->kind == TPL_BOOL && strict->u.boolean;
    return tool->name != NULL;
}

int umbra_calls_any(calls_compiler *c, calls_one *one, int next, int *node)
{
    bool some = false;
    for (size_t i = 0; i < c->tools.u.list->count; i++) {
        call_tool tool;
        int at = 0;
        if (!read_tool(c->tools.u.list->items[i], &tool))
            return umbra_fail(c->err, UMBRA_E_ARGUMENT, "tool %zu has no name", i + 1);
        if (c->only && !umbra_tpl_text_is(tool.name, c->only))
            continue;
        int rc = one(c, &tool, next, &at);
        if (rc != UMBRA_OK)
            return rc;
        *node = some ? umbra_net_split(c->net, at, *node) : at;
        some = true;
    }
    if (some)
        return UMBRA_OK;
    return umbra_fail(c->err, UMBRA_E_ARGUMENT, "there is no tool \"%s\"",
                      c->only ? umbra_quote(c->only, strlen(c->only)).text : "");
}

static bool is_of_objects(umbra_tpl_value schema)
{
    const umbra_tpl_value *type = umbra_value_member(schema, "type");
    return type ? type->kind == TPL_STRING && umbra_tpl_text_is(type->u.string, "object")
                : umbra_value_member(schema, "properties") != NULL;
}

int umbra_calls_arguments(calls_compiler *c, const call_tool *tool, int *rule)
{
    umbra_error problem = {0};
    *rule = c->net->object;
    if (!tool->parameters)
        return UMBRA_OK;
    if (!is_of_objects(*tool->parameters))
        return tool->strict && tool->parameters->u.dict->count > 0
                   ? umbra_calls_wrong(c, tool, UMBRA_E_UNSUPPORTED,
                                       "its parameters are no schema of objects")
                   : UMBRA_OK;
    int rc = umbra_schema_compile(c->net, *tool->parameters, rule, &problem);
    if (rc == UMBRA_OK || rc == UMBRA_E_NOMEM)
        return rc == UMBRA_OK ? rc : umbra_fail_nomem(c->err, "a grammar", 0);
    *rule = c->net->object;
    return tool->strict ? umbra_calls_wrong(c, tool, rc, problem.message) : UMBRA_OK;
}

/* ---- from the marker of a call to its end ---- */

static int closing(calls_compiler *c, int next)
{
    return c->f.call_end ? umbra_calls_space(c, umbra_calls_marker(c, c->f.call_end, next)) : next;
}

/* "KEY": in an object. */
static int member(calls_compiler *c, const char *key, int next)
{
    next = umbra_calls_word(c, "\":", umbra_calls_space(c, next));
    return umbra_calls_word(c, "\"", umbra_calls_word(c, key, next));
}

static int name_literal(calls_compiler *c, const call_tool *tool, int next)
{
    schema_compiler s = {.net = c->net, .path = "#", .err = c->err};
    umbra_tpl_value v = {.kind = TPL_STRING, .u.string = (umbra_tpl_string *)(uintptr_t)tool->name};
    return umbra_schema_literal(&s, v, next);
}

/* An object that names the call; or {NAME: ARGUMENTS}. */
static int one_object(calls_compiler *c, const call_tool *tool, int next, int *node)
{
    const umbra_family *f = &c->f;
    int rule, rc = umbra_calls_arguments(c, tool, &rule);
    if (rc != UMBRA_OK)
        return rc;
    int at = umbra_calls_space(c, umbra_calls_word(c, "}", next));
    at = umbra_net_call(c->net, rule, at);
    if (f->form == UMBRA_CALL_KEYED)
        at = name_literal(c, tool, umbra_calls_word(c, ":", umbra_calls_space(c, at)));
    else {
        at = umbra_calls_word(c, ",", umbra_calls_space(c, member(c, f->keys[1], at)));
        at = member(c, f->keys[0], name_literal(c, tool, at));
    }
    if (f->keys[2]) {
        at = umbra_calls_word(c, "\",", umbra_calls_space(c, at));
        at = umbra_net_call(c->net, c->net->natural, at);
        at = member(c, f->keys[2], umbra_calls_word(c, "\"", at));
    }
    *node = umbra_calls_word(c, "{", umbra_calls_space(c, at));
    return UMBRA_OK;
}

static int objects(calls_compiler *c, int *node)
{
    int object = 0, end = closing(c, 0);
    int rc = umbra_calls_any(c, one_object, c->f.list ? 0 : end, &object);
    *node = umbra_calls_space(c, object);
    if (rc != UMBRA_OK || !c->f.list)
        return rc;
    end = umbra_calls_space(c, umbra_calls_word(c, "]", end));
    end = umbra_net_repeat(c->net, object, 1, -1, true, end);
    *node = umbra_calls_space(c, umbra_calls_word(c, "[", umbra_calls_space(c, end)));
    return UMBRA_OK;
}

/* The name, and what the family writes behind it. */
static int name(calls_compiler *c, const call_tool *tool, int next)
{
    const umbra_family *f = &c->f;
    if (f->number) {
        next = umbra_calls_marker(c, f->number_end, next);
        next = umbra_net_call(c->net, c->net->natural, next);
        next = umbra_calls_marker(c, f->number, next);
    } else if (f->form != UMBRA_CALL_BRACED) /* where it is the first of the arguments */
        next = umbra_calls_marker(c, f->name_end, next);
    next = umbra_net_literal(c->net, tool->name->data, tool->name->bytes, next);
    return f->name_prefix ? umbra_calls_word(c, f->name_prefix, next) : next;
}

static int one_named(calls_compiler *c, const call_tool *tool, int next, int *node)
{
    const umbra_family *f = &c->f;
    int rule, rc = UMBRA_OK;
    if (!umbra_calls_is_plain(tool->name))
        return umbra_calls_wrong(c, tool, UMBRA_E_UNSUPPORTED,
                                 "its name may have letters, digits, '_', '-' and '.' alone");
    if (f->form == UMBRA_CALL_PAIRS) {
        rc = umbra_calls_pairs(c, tool, next, node);
        if (rc == UMBRA_OK)
            *node = name(c, tool, *node);
        return rc;
    }
    rc = umbra_calls_arguments(c, tool, &rule);
    next = f->json_end ? umbra_calls_word(c, f->json_end, umbra_calls_marker(c, f->call_end, next))
                       : closing(c, next);
    next = umbra_net_call(c->net, rule, next);
    *node = name(c, tool, f->form == UMBRA_CALL_BRACED ? next : umbra_calls_space(c, next));
    return rc;
}

/* ---- around calls ---- */

/* What may stand before the calls that must come: reasoning. */
static int lead(calls_compiler *c, umbra_thought thought, int calls)
{
    int body = umbra_calls_space(c, umbra_calls_space(c, calls));
    if (thought == UMBRA_THOUGHT_DONE)
        return body;
    int reasoned = umbra_calls_until(c, c->f.think_end, body);
    if (thought == UMBRA_THOUGHT_OPEN)
        return reasoned;
    return umbra_net_split(c->net, body, umbra_calls_marker(c, c->f.think, reasoned));
}

/* A call from its marker on, and before that an id where the family has one. */
static int unit(calls_compiler *c, int call)
{
    int at = umbra_calls_marker(c, c->f.call, umbra_net_call(c->net, call, 0));
    if (!c->f.ids)
        return at;
    at = umbra_net_repeat(c->net, umbra_net_one_of(c->net, NET_LETTERS, 0), 1, ID_BYTES, false, at);
    return umbra_calls_marker(c, c->f.ids, at);
}

static int compile_marked(calls_compiler *c, const umbra_call_options *o, compiled_calls *out)
{
    const umbra_family *f = &c->f;
    umbra_net *net = c->net;
    bool objects_only = f->form == UMBRA_CALL_OBJECT || f->form == UMBRA_CALL_KEYED;
    umbra_thought thought = umbra_family_thought(f, &o->prompt->rendering);
    int call = 0, section = 0;
    int rc = objects_only ? objects(c, &call) : umbra_calls_any(c, one_named, 0, &call);
    if (rc != UMBRA_OK)
        return rc;
    int one = unit(c, call), all = one;
    if (f->section) {
        int spaced = umbra_net_call(net, one, umbra_calls_space(c, 0));
        section = umbra_calls_marker(c, f->section_end, 0);
        section = umbra_calls_space(c, umbra_net_repeat(net, spaced, 1, -1, false, section));
        all = umbra_calls_marker(c, f->section, section);
    } else if (f->call && !f->list) {
        int more = umbra_calls_space(c, umbra_net_call(net, one, 0));
        all = umbra_net_call(net, one, umbra_net_repeat(net, more, 0, -1, false, 0));
    }
    out->rule = o->must ? lead(c, thought, all) : 0;
    out->reasons = thought == UMBRA_THOUGHT_OPEN;
    umbra_watch_add(&out->watch.outside, f->section, section);
    umbra_watch_add(&out->watch.outside, f->call, call);
    umbra_watch_add(&out->watch.outside, f->think, WATCH_REASONING);
    umbra_watch_add(&out->watch.reasoning, f->think_end, WATCH_OUTSIDE);
    return UMBRA_OK;
}

/* Whether calls of the family can be held to anything. */
static int check_family(const calls_compiler *c, const umbra_call_options *o)
{
    const char *name = umbra_chat_family(o->chat);
    if (!name || c->f.form == UMBRA_CALL_NONE)
        return umbra_fail(c->err, UMBRA_E_UNSUPPORTED,
                          "calls cannot be forced or held to a schema: it is not known how the "
                          "model (family %s) writes them",
                          name ? name : "unknown");
    if (c->f.bare && !o->must)
        return umbra_fail(c->err, UMBRA_E_UNSUPPORTED,
                          "strict tools of a model of the family %s can be held to their schema "
                          "where a call is forced alone: no marker tells its calls from text",
                          name);
    return UMBRA_OK;
}

/* What strings must not have, since it would end what they stand in: the beginning in ASCII of the
 * marker behind values; of those between messages. "": nothing. */
static void find_shunned(const umbra_family *f, char out[SHUNNED_BYTES])
{
    const char *text = f->form == UMBRA_CALL_PAIRS     ? f->value_end
                       : f->form == UMBRA_CALL_CHANNEL ? "<|"
                                                       : "";
    size_t n = 0;
    while (n + 1 < SHUNNED_BYTES && text[n] != '\0' && (unsigned char)text[n] < 0x80)
        n++;
    memcpy(out, text, n);
    out[n] = '\0';
}

int umbra_calls_compile(umbra_net *net, const umbra_model *model, const umbra_call_options *o,
                        umbra_tpl_value tools, compiled_calls *out, umbra_error *err)
{
    calls_compiler c = {.net = net, .model = model, .tools = tools, .only = o->only, .err = err};
    c.f = umbra_family_fit(umbra_family_of(o->chat), true);
    *out = (compiled_calls){0};
    umbra_net_init(net);
    int rc = check_family(&c, o);
    if (rc != UMBRA_OK)
        return rc;
    bool braced = c.f.form == UMBRA_CALL_BRACED;
    char *quotes = braced ? umbra_spell_text(model, UMBRA_MARK_QUOTES) : NULL;
    char shunned[SHUNNED_BYTES];
    find_shunned(&c.f, shunned);
    net->failed = net->failed || (braced && !quotes);
    net->quotes = quotes;
    net->shunned = *shunned ? shunned : NULL;
    umbra_net_json(net);
    rc = c.f.form == UMBRA_CALL_CHANNEL ? umbra_calls_channel(&c, o, out)
                                        : compile_marked(&c, o, out);
    net->quotes = net->shunned = NULL;
    umbra_free(quotes);
    return rc == UMBRA_OK && net->failed ? umbra_fail_nomem(err, "a grammar", 0) : rc;
}
