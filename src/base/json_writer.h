/* Streaming JSON output: results of any length without building a tree in memory.
 *
 * Values follow each other; commas, and colons after keys, are put by the writer. Strings that
 * are not UTF-8 get U+FFFD for each bad byte, so that the output is always valid. Numbers that
 * JSON cannot hold (infinite, not a number) are written as null. */
#ifndef UMBRA_BASE_JSON_WRITER_H
#define UMBRA_BASE_JSON_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct umbra_json {
    FILE *file; /* not owned */
    bool need_comma;
    bool after_key;
} umbra_json;

void umbra_json_begin(umbra_json *j, FILE *file);
void umbra_json_open(umbra_json *j, char bracket);  /* '{' or '[' */
void umbra_json_close(umbra_json *j, char bracket); /* '}' or ']' */
void umbra_json_key(umbra_json *j, const char *key);
void umbra_json_string(umbra_json *j, const char *text, size_t bytes);
void umbra_json_text(umbra_json *j, const char *text); /* NUL-terminated; NULL writes null */
void umbra_json_uint(umbra_json *j, uint64_t value);
void umbra_json_int(umbra_json *j, int64_t value);
void umbra_json_double(umbra_json *j, double value, int significant_digits);
void umbra_json_bool(umbra_json *j, bool value);

/* A key and its value. */
void umbra_json_put_text(umbra_json *j, const char *key, const char *text);
void umbra_json_put_uint(umbra_json *j, const char *key, uint64_t value);
void umbra_json_put_double(umbra_json *j, const char *key, double value, int significant_digits);
void umbra_json_put_bool(umbra_json *j, const char *key, bool value);

#endif
