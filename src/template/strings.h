/* Work on strings that filters and methods share. */
#ifndef UMBRA_TEMPLATE_STRINGS_H
#define UMBRA_TEMPLATE_STRINGS_H

#include "template/text.h"

typedef enum umbra_tpl_case {
    TPL_CASE_UPPER,
    TPL_CASE_LOWER,
    TPL_CASE_CAPITALIZE, /* the first character upper, the others lower */
    TPL_CASE_TITLE,      /* the first letter of each run of letters upper */
    TPL_CASE_WORDS,      /* the first character behind white space, "-" and opening brackets */
    TPL_CASE_SWAP
} umbra_tpl_case;

int umbra_tpl_change_case(umbra_tpl_context *c, const umbra_tpl_string *s, umbra_tpl_case to,
                          umbra_tpl_value *out);
bool umbra_tpl_is_word_char(uint32_t code); /* letter, digit or underscore */
/* most < 0: all of them. */
int umbra_tpl_replace(umbra_tpl_context *c, const umbra_tpl_string *s, const umbra_tpl_string *from,
                      const umbra_tpl_string *to, int64_t most, umbra_tpl_value *out);
/* To `width` characters; side says where the text stands: '<', '>', '^' as in formats, '|' as
 * center() has it. */
int umbra_tpl_pad(umbra_tpl_context *c, const umbra_tpl_string *s, int64_t width, uint32_t fill,
                  char side, umbra_tpl_value *out);
int umbra_tpl_split_lines(umbra_tpl_context *c, const umbra_tpl_string *s, bool keep_ends,
                          umbra_tpl_value *out);
bool umbra_tpl_ends_line(const umbra_tpl_string *s); /* its last character ends a line */
int umbra_tpl_join(umbra_tpl_context *c, const umbra_tpl_string *between,
                   const umbra_tpl_value *items, size_t n, umbra_tpl_value *out);

#endif
