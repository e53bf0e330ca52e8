/* Values that callers build, as the engine sees them. */
#ifndef UMBRA_TEMPLATE_TREE_H
#define UMBRA_TEMPLATE_TREE_H

#include <umbra/template.h>

#include "template/value.h"

tpl_value tpl_of_tree(const umbra_template_value *v);
/* Lists and dicts are copied, since a template may change them; texts are shared. */
int tpl_copy_tree(tpl_context *c, tpl_value v, tpl_value *out);

#endif
