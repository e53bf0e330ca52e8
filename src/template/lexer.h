/* A template as tokens: text between tags, and what stands in the tags. */
#ifndef UMBRA_TEMPLATE_LEXER_H
#define UMBRA_TEMPLATE_LEXER_H

#include "template/value.h"

typedef enum umbra_tpl_token_type {
    TPL_T_END,
    TPL_T_DATA, /* text between tags */
    TPL_T_PRINT_BEGIN,
    TPL_T_PRINT_END,
    TPL_T_BLOCK_BEGIN,
    TPL_T_BLOCK_END,
    TPL_T_NAME,
    TPL_T_CONSTANT, /* a string or a number */
    TPL_T_OPERATOR
} umbra_tpl_token_type;

typedef struct umbra_tpl_token {
    uint8_t type;
    uint16_t op;
    uint32_t line;
    umbra_tpl_value value; /* data, names and constants */
} umbra_tpl_token;

/* The tokens of a source, which must outlive the arena; the last one is TPL_T_END. White space
 * around tags and the newline at the end are already gone. */
int umbra_tpl_tokenize(umbra_tpl_context *c, const char *source, size_t bytes,
                       umbra_tpl_token **tokens);

/* For messages: "'endif'", "end of print statement". */
const char *umbra_tpl_describe_token(const umbra_tpl_token *t, char *buffer, size_t size);

#endif
