/* A judge of values and schemas. */
#ifndef UMBRA_TESTS_GRAMMAR_JUDGE_H
#define UMBRA_TESTS_GRAMMAR_JUDGE_H

#include <stdbool.h>

#include <jansson.h>

/* root: the schema that references look into. */
bool judge_is_of(const json_t *v, const json_t *schema, const json_t *root);

#endif
