/* JSON schemas, compiled. */
#ifndef UMBRA_GRAMMAR_SCHEMA_H
#define UMBRA_GRAMMAR_SCHEMA_H

#include <umbra/status.h>

#include "grammar/net.h"
#include "template/tree.h"

/* Compiles a schema into a net that has its shared rules; *rule: the rule that reads a value.
 * UMBRA_E_UNSUPPORTED: something in it is not known. */
int umbra_schema_compile(umbra_net *net, umbra_tpl_value schema, int *rule, umbra_error *err);

#endif
