/* UTF-8, checked. */
#ifndef UMBRA_BASE_UTF8_H
#define UMBRA_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes (1 to 4) of the character at s, or 0 if the n bytes do not begin with a whole valid one
 * (overlong forms, surrogates and values above U+10FFFF are not valid). */
size_t umbra_utf8_length(const char *s, size_t n);

/* The code point of a character that umbra_utf8_length found valid. */
uint32_t umbra_utf8_decode(const char *s, size_t length);

/* Writes the code point (at most U+10FFFF) to out[4]; returns its bytes. */
size_t umbra_utf8_encode(uint32_t code, char *out);

#endif
