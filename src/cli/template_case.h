/* The case that a chat template is rendered with, from JSON. */
#ifndef UMBRA_CLI_TEMPLATE_CASE_H
#define UMBRA_CLI_TEMPLATE_CASE_H

#include <umbra/umbra.h>

/* Reads a case (docs/formats.md) into a tree: *tree is to be closed, *variables lies in it. `name`
 * stands in messages. On failure *tree is NULL. */
int cli_template_case(umbra_template_tree **tree, umbra_template_value **variables,
                      const char *json, size_t bytes, const char *name, umbra_error *err);

#endif
