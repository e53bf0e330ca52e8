/* The lexer's cursor, shared by its two files. */
#ifndef UMBRA_TEMPLATE_LEXER_INTERNAL_H
#define UMBRA_TEMPLATE_LEXER_INTERNAL_H

#include "base/utf8.h"
#include "template/lexer.h"
#include "template/text.h"

enum { TPL_MOST_BRACKETS = 200 };

typedef struct umbra_tpl_lexer {
    umbra_tpl_context *c; /* its line is the cursor's */
    const char *s;
    size_t n, at;
    bool line_starts; /* what was taken last ended a line */
    char closers[TPL_MOST_BRACKETS];
    uint32_t open; /* brackets of this tag that are not closed */
    umbra_tpl_token *tokens;
    size_t count, room;
} umbra_tpl_lexer;

int umbra_tpl_push_token(umbra_tpl_lexer *l, umbra_tpl_token token);
void umbra_tpl_advance(umbra_tpl_lexer *l, size_t to);
size_t umbra_tpl_skip_space(const umbra_tpl_lexer *l, size_t at);
bool umbra_tpl_at(const umbra_tpl_lexer *l, size_t at, const char *word);
/* One token inside a tag, or white space. */
int umbra_tpl_take_token(umbra_tpl_lexer *l);

#endif
