/* Running a parsed template. */
#ifndef UMBRA_TEMPLATE_RENDER_H
#define UMBRA_TEMPLATE_RENDER_H

#include "template/functions.h"
#include "template/node.h"

typedef struct umbra_tpl_binding {
    const umbra_tpl_string *name; /* interned */
    umbra_tpl_value value;
} umbra_tpl_binding;

/* Variables; what is not here is looked up in the parent. */
struct umbra_tpl_scope {
    umbra_tpl_scope *parent;
    umbra_tpl_binding *bindings;
    size_t count, room;
    const umbra_tpl_dict *given; /* of the outermost scope: the caller's variables */
};

struct umbra_tpl_macro {
    const umbra_tpl_node *node;
    umbra_tpl_scope *scope; /* where it was defined */
};

struct umbra_tpl_loop {
    const umbra_tpl_node *node;
    umbra_tpl_scope *scope; /* around the loop */
    const umbra_tpl_value *items;
    size_t count, index;
    uint32_t depth;
    umbra_tpl_value changed; /* what loop.changed() saw last */
};

/* Beside error codes: how a body ended. */
enum { TPL_BROKE = 1, TPL_CONTINUED = 2 };

int umbra_tpl_evaluate(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value *out);
int umbra_tpl_evaluate_arguments(umbra_tpl_context *c, const umbra_tpl_node *list,
                                 umbra_tpl_args *out);
int umbra_tpl_execute(umbra_tpl_context *c, const umbra_tpl_node *body);
/* Runs a body with what it prints going to *out. */
int umbra_tpl_capture(umbra_tpl_context *c, const umbra_tpl_node *body, umbra_tpl_value *out);
int umbra_tpl_run_loop(umbra_tpl_context *c, const umbra_tpl_node *node, umbra_tpl_value iterable,
                       uint32_t depth);

int umbra_tpl_open_scope(umbra_tpl_context *c, umbra_tpl_scope *parent, umbra_tpl_scope **out);
int umbra_tpl_bind(umbra_tpl_context *c, umbra_tpl_scope *scope, const umbra_tpl_string *name,
                   umbra_tpl_value value);
int umbra_tpl_look_up(umbra_tpl_context *c, const umbra_tpl_string *name, umbra_tpl_value *out);
/* Names, tuples of them and attributes of namespaces. */
int umbra_tpl_assign(umbra_tpl_context *c, const umbra_tpl_node *target, umbra_tpl_value value);

#endif
