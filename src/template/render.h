/* Running a parsed template. */
#ifndef UMBRA_TEMPLATE_RENDER_H
#define UMBRA_TEMPLATE_RENDER_H

#include "template/functions.h"
#include "template/node.h"

typedef struct tpl_binding {
    const tpl_string *name; /* interned */
    tpl_value value;
} tpl_binding;

/* Variables; what is not here is looked up in the parent. */
struct tpl_scope {
    tpl_scope *parent;
    tpl_binding *bindings;
    size_t count, room;
    const tpl_dict *given; /* of the outermost scope: the caller's variables */
};

struct tpl_macro {
    const tpl_node *node;
    tpl_scope *scope; /* where it was defined */
};

struct tpl_loop {
    const tpl_node *node;
    tpl_scope *scope; /* around the loop */
    const tpl_value *items;
    size_t count, index;
    uint32_t depth;
    tpl_value changed; /* what loop.changed() saw last */
};

/* Beside error codes: how a body ended. */
enum { TPL_BROKE = 1, TPL_CONTINUED = 2 };

int tpl_evaluate(tpl_context *c, const tpl_node *node, tpl_value *out);
int tpl_evaluate_arguments(tpl_context *c, const tpl_node *list, tpl_args *out);
int tpl_execute(tpl_context *c, const tpl_node *body);
/* Runs a body with what it prints going to *out. */
int tpl_capture(tpl_context *c, const tpl_node *body, tpl_value *out);
int tpl_run_loop(tpl_context *c, const tpl_node *node, tpl_value iterable, uint32_t depth);

int tpl_open_scope(tpl_context *c, tpl_scope *parent, tpl_scope **out);
int tpl_bind(tpl_context *c, tpl_scope *scope, const tpl_string *name, tpl_value value);
int tpl_look_up(tpl_context *c, const tpl_string *name, tpl_value *out);
/* Names, tuples of them and attributes of namespaces. */
int tpl_assign(tpl_context *c, const tpl_node *target, tpl_value value);

#endif
