/* Work on strings that filters and methods share. */
#ifndef UMBRA_TEMPLATE_STRINGS_H
#define UMBRA_TEMPLATE_STRINGS_H

#include "template/text.h"

typedef enum tpl_case {
    TPL_CASE_UPPER,
    TPL_CASE_LOWER,
    TPL_CASE_CAPITALIZE, /* the first character upper, the others lower */
    TPL_CASE_TITLE,      /* the first letter of each run of letters upper */
    TPL_CASE_WORDS,      /* the first character behind white space, "-" and opening brackets */
    TPL_CASE_SWAP
} tpl_case;

int tpl_change_case(tpl_context *c, const tpl_string *s, tpl_case to, tpl_value *out);
bool tpl_is_word_char(uint32_t code); /* letter, digit or underscore */
/* most < 0: all of them. */
int tpl_replace(tpl_context *c, const tpl_string *s, const tpl_string *from, const tpl_string *to,
                int64_t most, tpl_value *out);
/* To `width` characters; side says where the text stands: '<', '>', '^' as in formats, '|' as
 * center() has it. */
int tpl_pad(tpl_context *c, const tpl_string *s, int64_t width, uint32_t fill, char side,
            tpl_value *out);
int tpl_split_lines(tpl_context *c, const tpl_string *s, bool keep_ends, tpl_value *out);
bool tpl_ends_line(const tpl_string *s); /* its last character ends a line */
int tpl_join(tpl_context *c, const tpl_string *between, const tpl_value *items, size_t n,
             tpl_value *out);

#endif
