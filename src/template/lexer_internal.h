/* The lexer's cursor, shared by its two files. */
#ifndef UMBRA_TEMPLATE_LEXER_INTERNAL_H
#define UMBRA_TEMPLATE_LEXER_INTERNAL_H

#include "base/utf8.h"
#include "template/lexer.h"
#include "template/text.h"

enum { TPL_MOST_BRACKETS = 200 };

typedef struct tpl_lexer {
    tpl_context *c; /* its line is the cursor's */
    const char *s;
    size_t n, at;
    bool line_starts; /* what was taken last ended a line */
    char closers[TPL_MOST_BRACKETS];
    uint32_t open; /* brackets of this tag that are not closed */
    tpl_token *tokens;
    size_t count, room;
} tpl_lexer;

int tpl_push_token(tpl_lexer *l, tpl_token token);
void tpl_advance(tpl_lexer *l, size_t to);
size_t tpl_skip_space(const tpl_lexer *l, size_t at);
bool tpl_at(const tpl_lexer *l, size_t at, const char *word);
/* One token inside a tag, or white space. */
int tpl_take_token(tpl_lexer *l);

#endif
