/* The parts of the compiler of schemas. */
#ifndef UMBRA_GRAMMAR_SCHEMA_INTERNAL_H
#define UMBRA_GRAMMAR_SCHEMA_INTERNAL_H

#include "chat/values.h"
#include "grammar/schema.h"

enum { SCHEMA_PATH_BYTES = 200 };

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* A schema that is a rule already, or becomes one: references may go round. */
typedef struct schema_known {
    const umbra_tpl_dict *schema;
    int rule;
} schema_known;

typedef struct schema_compiler {
    umbra_net *net;
    umbra_tpl_value root;
    schema_known *known; /* (n_known) */
    int n_known, room;
    int depth;
    char path[SCHEMA_PATH_BYTES]; /* of the schema in work: "#/properties/a" */
    umbra_error *err;
} schema_compiler;

/* "the schema at #/a: "KEYWORD" WHAT" with UMBRA_E_UNSUPPORTED. */
int umbra_schema_wrong(const schema_compiler *c, const char *keyword, const char *what);
/* Beside a keyword stand only annotations, definitions, and another that may (NULL: none). */
int umbra_schema_alone(const schema_compiler *c, umbra_tpl_value schema, const char *keyword,
                       const char *other);

/* The rule of a schema: the one that it has, or a new one. */
int umbra_schema_rule(schema_compiler *c, umbra_tpl_value schema, int *rule);
/* Frees what the compiler holds. */
void umbra_schema_forget(schema_compiler *c);
/* Of a part of the schema in work, whose place is named by two steps (name may be NULL). */
int umbra_schema_part(schema_compiler *c, umbra_tpl_value part, const char *keyword,
                      const umbra_tpl_string *name, int *rule);

/* ---- schema_listed.c ---- */

/* A key as JSON has it, or bare, then `next`. */
int umbra_schema_key(schema_compiler *c, umbra_tpl_value key, int next);
/* The value as JSON, then `next`. */
int umbra_schema_literal(schema_compiler *c, umbra_tpl_value v, int next);
/* Values that are listed under "enum" or "const": only their type may stand beside them. */
int umbra_schema_listed(schema_compiler *c, umbra_tpl_value schema, const char *keyword, int *rule);

/* ---- schema_object.c ---- */

/* Whether `required` names a property. */
bool umbra_schema_requires(umbra_tpl_value schema, const umbra_tpl_string *name);
int umbra_schema_object(schema_compiler *c, umbra_tpl_value schema, int *rule);

#endif
