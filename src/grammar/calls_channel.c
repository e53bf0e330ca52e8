/* Compiles calls that are messages in channels: whom they are for stands in their header. */
#include <string.h>

#include "grammar/calls_internal.h"

static const char *const triggers[] = {
    UMBRA_MARK_START "assistant to=functions.",
    "<|channel|>commentary to=functions.",
    "<|channel|>analysis to=functions.",
};

/* What may stand behind the rest of a header: how the arguments are written. */
static int kind(calls_compiler *c, int next)
{
    int said = umbra_calls_marker(c, "<|constrain|>", umbra_calls_word(c, "json", next));
    int spaced = umbra_net_split(c->net, umbra_calls_word(c, "json", next), next);
    spaced = umbra_calls_word(c, " ", umbra_net_split(c->net, said, spaced));
    return umbra_net_split(c->net, spaced, umbra_net_split(c->net, said, next));
}

static int arguments(calls_compiler *c, const call_tool *tool, int *node)
{
    int rule, rc = umbra_calls_arguments(c, tool, &rule);
    if (!umbra_calls_is_plain(tool->name))
        return umbra_calls_wrong(c, tool, UMBRA_E_UNSUPPORTED,
                                 "its name may have letters, digits, '_', '-' and '.' alone");
    *node = umbra_calls_marker(c, UMBRA_MARK_MESSAGE,
                               umbra_calls_space(c, umbra_net_call(c->net, rule, 0)));
    return rc;
}

/* The channel stands before the name. */
static int named_in_channel(calls_compiler *c, const call_tool *tool, int next, int *node)
{
    int rc = arguments(c, tool, node);
    (void)next;
    *node = umbra_net_literal(c->net, tool->name->data, tool->name->bytes, kind(c, *node));
    return rc;
}

/* Behind it. */
static int named_before_channel(calls_compiler *c, const call_tool *tool, int next, int *node)
{
    int rc = arguments(c, tool, node);
    (void)next;
    int at = umbra_calls_word(c, "commentary", kind(c, *node));
    at = umbra_calls_marker(c, "<|channel|>", at);
    at = umbra_net_split(c->net, umbra_calls_word(c, " ", at), at);
    *node = umbra_net_literal(c->net, tool->name->data, tool->name->bytes, at);
    return rc;
}

/* A message of reasoning, where one comes, then a call. */
static int compile_forced(calls_compiler *c, int before, int in_channel)
{
    umbra_net *net = c->net;
    int at = umbra_calls_word(c, "commentary to=functions.", umbra_net_call(net, in_channel, 0));
    at = umbra_calls_marker(c, "<|channel|>", at);
    int call = umbra_net_split(
        net, at, umbra_calls_word(c, " to=functions.", umbra_net_call(net, before, 0)));
    at = umbra_calls_marker(c, UMBRA_MARK_START, umbra_calls_word(c, "assistant", call));
    at = umbra_calls_marker(c, UMBRA_MARK_MESSAGE, umbra_calls_until(c, "<|end|>", at));
    at = umbra_calls_marker(c, "<|channel|>", umbra_calls_word(c, "analysis", at));
    return umbra_net_split(net, call, at);
}

int umbra_calls_channel(calls_compiler *c, const umbra_call_options *o, compiled_calls *out)
{
    const umbra_template_output *prompt = &o->prompt->rendering;
    int before = 0, in_channel = 0;
    int rc = umbra_calls_any(c, named_before_channel, 0, &before);
    if (rc == UMBRA_OK)
        rc = umbra_calls_any(c, named_in_channel, 0, &in_channel);
    if (rc != UMBRA_OK)
        return rc;
    for (size_t i = 0; i < COUNT(triggers); i++)
        umbra_watch_add(&out->watch.outside, triggers[i], i == 0 ? before : in_channel);
    /* The header may have begun in the prompt. */
    for (size_t i = 0; i < prompt->bytes; i++)
        umbra_watch_see(&out->watch.outside, &out->seen, (unsigned char)prompt->text[i]);
    out->rule = o->must ? compile_forced(c, before, in_channel) : 0;
    return UMBRA_OK;
}
