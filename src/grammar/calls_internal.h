/* The parts of the compiler of calls. */
#ifndef UMBRA_GRAMMAR_CALLS_INTERNAL_H
#define UMBRA_GRAMMAR_CALLS_INTERNAL_H

#include "chat/family.h"
#include "grammar/calls.h"
#include "grammar/schema_internal.h"

typedef struct calls_compiler {
    umbra_net *net;
    const umbra_model *model;
    umbra_family f; /* the chat's, as far as it counts */
    umbra_tpl_value tools;
    const char *only; /* the name of the tool that is called; NULL: any */
    int text;         /* rule: a text up to the marker behind a value, and that; 0: none yet */
    umbra_error *err;
} calls_compiler;

/* A tool of the list. */
typedef struct call_tool {
    const umbra_tpl_string *name;
    const umbra_tpl_value *parameters; /* a schema, or NULL */
    bool strict;
} call_tool;

/* Each takes the node that follows and returns the one to enter by. */
int umbra_calls_marker(calls_compiler *c, const char *text, int next); /* NULL: nothing */
int umbra_calls_until(calls_compiler *c, const char *text, int next);
int umbra_calls_word(calls_compiler *c, const char *text, int next);
int umbra_calls_space(calls_compiler *c, int next);

/* One of the tools' calls, each made by a function: from its name to what is behind its arguments,
 * then `next`. */
typedef int calls_one(calls_compiler *c, const call_tool *tool, int next, int *node);
int umbra_calls_any(calls_compiler *c, calls_one *one, int next, int *node);
/* The rule of a tool's arguments as one value. */
int umbra_calls_arguments(calls_compiler *c, const call_tool *tool, int *rule);
/* "the tool "NAME": WHAT" with a status. */
int umbra_calls_wrong(const calls_compiler *c, const call_tool *tool, int status, const char *what);
/* Whether a text has no sign that could be taken for a marker. */
bool umbra_calls_is_plain(const umbra_tpl_string *s);

/* calls_pairs.c: keys and values between markers. */
int umbra_calls_pairs(calls_compiler *c, const call_tool *tool, int next, int *node);
/* calls_channel.c: messages with headers. */
int umbra_calls_channel(calls_compiler *c, const umbra_call_options *o, compiled_calls *out);

#endif
