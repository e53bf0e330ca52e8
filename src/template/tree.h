/* Values that callers build, as the engine sees them. */
#ifndef UMBRA_TEMPLATE_TREE_H
#define UMBRA_TEMPLATE_TREE_H

#include <umbra/template.h>

#include "template/value.h"

/* Its arena, to make values in that live as long as it does. */
umbra_tpl_context *umbra_tpl_tree_context(umbra_template_tree *tree);
/* A handle of a value that lies in the tree; NULL: memory is out. */
umbra_template_value *umbra_tpl_to_tree(umbra_template_tree *tree, umbra_tpl_value v);
umbra_tpl_value umbra_tpl_of_tree(const umbra_template_value *v);
/* Lists and dicts are copied, since a template may change them; texts are shared. */
int umbra_tpl_copy_tree(umbra_tpl_context *c, umbra_tpl_value v, umbra_tpl_value *out);

#endif
