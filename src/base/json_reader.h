/* JSON input, read in place: a cursor over a text, without a tree of values, so that a hostile text
 * costs no memory and every refusal can name its byte.
 *
 * The functions that read return false when the text is not what they read; then `problem` says
 * what was wrong and `at` where. They skip white space before what they read. */
#ifndef UMBRA_BASE_JSON_READER_H
#define UMBRA_BASE_JSON_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Begins as {.text = text, .n = bytes}. */
typedef struct umbra_json_reader {
    char *text;          /* (n), not owned; strings that are read change in it */
    size_t n, at;        /* its bytes; where the cursor is */
    const char *problem; /* static text */
} umbra_json_reader;

/* The next byte that is not white space, or 0 at the end (a NUL in the text is no token either). */
char umbra_json_peek(umbra_json_reader *r);
/* Steps over the token if it is the next one. */
bool umbra_json_take(umbra_json_reader *r, char token);
/* After a member of an object or an array: 1 there is another, 0 it was closed, -1 neither. */
int umbra_json_more(umbra_json_reader *r, char close);
/* A string, unescaped in place (that never makes it longer) and NUL-terminated; it lives as long as
 * the text. U+0000 is refused. */
bool umbra_json_read_string(umbra_json_reader *r, const char **out);
/* A member's name and the colon behind it. */
bool umbra_json_read_key(umbra_json_reader *r, const char **out);
bool umbra_json_read_uint(umbra_json_reader *r, uint64_t *out);
/* Any value, checked and left as it is; at most 64 values deep. */
bool umbra_json_skip(umbra_json_reader *r);

#endif
