/* Strings: parts of them, and building new ones that remember where each byte stems from. */
#ifndef UMBRA_TEMPLATE_TEXT_H
#define UMBRA_TEMPLATE_TEXT_H

#include "template/value.h"

/* Strings are valid UTF-8, so that the first byte tells the length. */
static inline size_t tpl_char_bytes(const char *s)
{
    unsigned char c = (unsigned char)*s;
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

size_t tpl_count_chars(const char *data, size_t bytes);
uint32_t tpl_char_at(const char *s); /* the code point */
/* Byte offset of a character; the length in bytes for chars and beyond. */
size_t tpl_char_offset(const tpl_string *s, size_t index);

/* Bytes [begin, end) of s, without copying. */
int tpl_part(tpl_context *c, const tpl_string *s, size_t begin, size_t end, tpl_value *out);
/* Offset of the first (last) occurrence in bytes [begin, end), or -1. */
int64_t tpl_find(const tpl_string *s, const tpl_string *part, size_t begin, size_t end);
int tpl_find_last(tpl_context *c, const tpl_string *s, const tpl_string *part, size_t begin,
                  size_t end, int64_t *out);
bool tpl_starts(const tpl_string *s, const tpl_string *prefix);
bool tpl_ends(const tpl_string *s, const tpl_string *suffix);
/* White space as Python has it. */
bool tpl_is_space(uint32_t code);
enum { TPL_STRIP_LEFT = 1, TPL_STRIP_RIGHT = 2, TPL_STRIP_BOTH = 3 };
/* chars NULL: white space. */
int tpl_strip(tpl_context *c, const tpl_string *s, const tpl_string *chars, int sides,
              tpl_value *out);

/* ---- letters ---- */

uint32_t tpl_upper(uint32_t code);
uint32_t tpl_lower(uint32_t code);
bool tpl_is_letter(uint32_t code); /* has a case, or is a letter of ASCII or beyond U+00AA */
bool tpl_is_printable(uint32_t code);

/* ---- building ---- */

struct tpl_builder {
    tpl_context *c;
    char *data;
    uint8_t *marks; /* NULL while all bytes have one origin */
    size_t bytes, room, marks_room;
    bool input; /* the origin of all bytes so far */
};

void tpl_builder_init(tpl_builder *b, tpl_context *c);
int tpl_put(tpl_builder *b, const char *data, size_t bytes, bool input);
int tpl_put_word(tpl_builder *b, const char *text, bool input); /* NUL-terminated */
int tpl_put_part(tpl_builder *b, const tpl_string *s, size_t begin, size_t end);
int tpl_put_string(tpl_builder *b, const tpl_string *s);
int tpl_put_code(tpl_builder *b, uint32_t code, bool input);
int tpl_put_repeated(tpl_builder *b, char ascii, int64_t times, bool input);
/* str(v) and repr(v). */
int tpl_put_value(tpl_builder *b, tpl_value v);
int tpl_put_repr(tpl_builder *b, tpl_value v);
/* The string that was built; the builder is not used any more. */
int tpl_built(tpl_builder *b, tpl_value *out);

/* str(v) as a string; a string as it is. */
int tpl_to_text(tpl_context *c, tpl_value v, tpl_value *out);
/* "0.1", "1e+16", "inf"; as Python's repr. */
enum { TPL_FLOAT_BYTES = 40 };
void tpl_print_float(char out[TPL_FLOAT_BYTES], double f);
/* int(text, base) and float(text): false where it is none. */
bool tpl_parse_int(const tpl_string *s, int base, int64_t *out);
bool tpl_parse_float(const tpl_string *s, double *out);
/* & < > " ' become entities; a string that is declared safe stays. */
int tpl_escape(tpl_context *c, tpl_value v, tpl_value *out);

#endif
