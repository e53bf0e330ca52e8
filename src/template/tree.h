/* Values that callers build, as the engine sees them. */
#ifndef UMBRA_TEMPLATE_TREE_H
#define UMBRA_TEMPLATE_TREE_H

#include <umbra/template.h>

#include "template/value.h"

umbra_tpl_value umbra_tpl_of_tree(const umbra_template_value *v);
/* Lists and dicts are copied, since a template may change them; texts are shared. */
int umbra_tpl_copy_tree(umbra_tpl_context *c, umbra_tpl_value v, umbra_tpl_value *out);

#endif
