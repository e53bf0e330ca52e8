/* Strings: parts of them, and building new ones that remember where each byte stems from. */
#ifndef UMBRA_TEMPLATE_TEXT_H
#define UMBRA_TEMPLATE_TEXT_H

#include "template/value.h"

/* Strings are valid UTF-8, so that the first byte tells the length. */
static inline size_t umbra_tpl_char_bytes(const char *s)
{
    unsigned char c = (unsigned char)*s;
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

size_t umbra_tpl_count_chars(const char *data, size_t bytes);
uint32_t umbra_tpl_char_at(const char *s); /* the code point */
/* Byte offset of a character; the length in bytes for chars and beyond. */
size_t umbra_tpl_char_offset(const umbra_tpl_string *s, size_t index);

/* Bytes [begin, end) of s, without copying. */
int umbra_tpl_part(umbra_tpl_context *c, const umbra_tpl_string *s, size_t begin, size_t end,
                   umbra_tpl_value *out);
/* Offset of the first (last) occurrence in bytes [begin, end), or -1. */
int64_t umbra_tpl_find(const umbra_tpl_string *s, const umbra_tpl_string *part, size_t begin,
                       size_t end);
int umbra_tpl_find_last(umbra_tpl_context *c, const umbra_tpl_string *s,
                        const umbra_tpl_string *part, size_t begin, size_t end, int64_t *out);
bool umbra_tpl_starts(const umbra_tpl_string *s, const umbra_tpl_string *prefix);
bool umbra_tpl_ends(const umbra_tpl_string *s, const umbra_tpl_string *suffix);
/* White space as Python has it. */
bool umbra_tpl_is_space(uint32_t code);
enum { TPL_STRIP_LEFT = 1, TPL_STRIP_RIGHT = 2, TPL_STRIP_BOTH = 3 };
/* chars NULL: white space. */
int umbra_tpl_strip(umbra_tpl_context *c, const umbra_tpl_string *s, const umbra_tpl_string *chars,
                    int sides, umbra_tpl_value *out);

/* ---- letters ---- */

uint32_t umbra_tpl_upper(uint32_t code);
uint32_t umbra_tpl_lower(uint32_t code);
bool umbra_tpl_is_letter(uint32_t code); /* has a case, or is a letter of ASCII or beyond U+00AA */
bool umbra_tpl_is_printable(uint32_t code);

/* ---- building ---- */

struct umbra_tpl_builder {
    umbra_tpl_context *c;
    char *data;
    uint8_t *marks; /* NULL while all bytes have one origin */
    size_t bytes, room, marks_room;
    bool input; /* the origin of all bytes so far */
};

void umbra_tpl_builder_init(umbra_tpl_builder *b, umbra_tpl_context *c);
int umbra_tpl_put(umbra_tpl_builder *b, const char *data, size_t bytes, bool input);
int umbra_tpl_put_word(umbra_tpl_builder *b, const char *text, bool input); /* NUL-terminated */
int umbra_tpl_put_part(umbra_tpl_builder *b, const umbra_tpl_string *s, size_t begin, size_t end);
int umbra_tpl_put_string(umbra_tpl_builder *b, const umbra_tpl_string *s);
int umbra_tpl_put_code(umbra_tpl_builder *b, uint32_t code, bool input);
int umbra_tpl_put_repeated(umbra_tpl_builder *b, char ascii, int64_t times, bool input);
/* str(v) and repr(v). */
int umbra_tpl_put_value(umbra_tpl_builder *b, umbra_tpl_value v);
int umbra_tpl_put_repr(umbra_tpl_builder *b, umbra_tpl_value v);
/* The string that was built; the builder is not used any more. */
int umbra_tpl_built(umbra_tpl_builder *b, umbra_tpl_value *out);

/* str(v) as a string; a string as it is. */
int umbra_tpl_to_text(umbra_tpl_context *c, umbra_tpl_value v, umbra_tpl_value *out);
/* "0.1", "1e+16", "inf"; as Python's repr. */
enum { TPL_FLOAT_BYTES = 40 };
void umbra_tpl_print_float(char out[TPL_FLOAT_BYTES], double f);
/* int(text, base) and float(text): false where it is none. */
bool umbra_tpl_parse_int(const umbra_tpl_string *s, int base, int64_t *out);
bool umbra_tpl_parse_float(const umbra_tpl_string *s, double *out);
/* & < > " ' become entities; a string that is declared safe stays. */
int umbra_tpl_escape(umbra_tpl_context *c, umbra_tpl_value v, umbra_tpl_value *out);

#endif
