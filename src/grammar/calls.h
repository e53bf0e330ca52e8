/* Calls of tools, compiled: how each family writes them. */
#ifndef UMBRA_GRAMMAR_CALLS_H
#define UMBRA_GRAMMAR_CALLS_H

#include <umbra/grammar.h>

#include "grammar/net.h"
#include "grammar/watch.h"
#include "template/tree.h"

/* What calls became in the net. */
typedef struct compiled_calls {
    int rule;          /* of an answer that begins with them, reasoning before; 0: they may come */
    umbra_watch watch; /* where not: what they begin with */
    bool reasons;      /* the answer goes on in reasoning */
    watch_seen seen;   /* what the prompt's end has of what is waited for */
} compiled_calls;

/* Makes the net, which is new. tools: a list. */
int umbra_calls_compile(umbra_net *net, const umbra_model *model, const umbra_call_options *o,
                        umbra_tpl_value tools, compiled_calls *out, umbra_error *err);

#endif
