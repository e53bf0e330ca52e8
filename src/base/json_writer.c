/* Writes JSON as it comes, with commas and escapes. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/json_writer.h"
#include "base/utf8.h"

void umbra_json_begin(umbra_json *j, FILE *file)
{
    *j = (umbra_json){.file = file};
}

static void separate(umbra_json *j)
{
    if (j->need_comma && !j->after_key)
        fputc(',', j->file);
    j->need_comma = true;
    j->after_key = false;
}

void umbra_json_open(umbra_json *j, char bracket)
{
    separate(j);
    fputc(bracket, j->file);
    j->need_comma = false;
}

void umbra_json_close(umbra_json *j, char bracket)
{
    fputc(bracket, j->file);
    j->need_comma = true;
    j->after_key = false;
}

void umbra_json_key(umbra_json *j, const char *key)
{
    umbra_json_text(j, key);
    fputc(':', j->file);
    j->after_key = true;
}

static void put_escaped(FILE *file, unsigned char c)
{
    switch (c) {
    case '"':
        fputs("\\\"", file);
        break;
    case '\\':
        fputs("\\\\", file);
        break;
    case '\n':
        fputs("\\n", file);
        break;
    case '\t':
        fputs("\\t", file);
        break;
    default:
        if (c < 0x20 || c == 0x7f)
            fprintf(file, "\\u%04x", c);
        else
            fputc(c, file);
    }
}

void umbra_json_string(umbra_json *j, const char *text, size_t bytes)
{
    separate(j);
    fputc('"', j->file);
    for (size_t i = 0; i < bytes;) {
        size_t n = umbra_utf8_length(text + i, bytes - i);
        if (n == 0) {
            fputs("\xef\xbf\xbd", j->file);
            i++;
        } else if (n == 1) {
            put_escaped(j->file, (unsigned char)text[i++]);
        } else {
            fwrite(text + i, 1, n, j->file);
            i += n;
        }
    }
    fputc('"', j->file);
}

void umbra_json_text(umbra_json *j, const char *text)
{
    if (text) {
        umbra_json_string(j, text, strlen(text));
        return;
    }
    separate(j);
    fputs("null", j->file);
}

void umbra_json_uint(umbra_json *j, uint64_t value)
{
    separate(j);
    fprintf(j->file, "%" PRIu64, value);
}

void umbra_json_int(umbra_json *j, int64_t value)
{
    separate(j);
    fprintf(j->file, "%" PRId64, value);
}

void umbra_json_double(umbra_json *j, double value, int significant_digits)
{
    separate(j);
    if (isfinite(value))
        fprintf(j->file, "%.*g", significant_digits, value);
    else
        fputs("null", j->file);
}

void umbra_json_bool(umbra_json *j, bool value)
{
    separate(j);
    fputs(value ? "true" : "false", j->file);
}

void umbra_json_put_text(umbra_json *j, const char *key, const char *text)
{
    umbra_json_key(j, key);
    umbra_json_text(j, text);
}

void umbra_json_put_uint(umbra_json *j, const char *key, uint64_t value)
{
    umbra_json_key(j, key);
    umbra_json_uint(j, value);
}

void umbra_json_put_double(umbra_json *j, const char *key, double value, int significant_digits)
{
    umbra_json_key(j, key);
    umbra_json_double(j, value, significant_digits);
}

void umbra_json_put_bool(umbra_json *j, const char *key, bool value)
{
    umbra_json_key(j, key);
    umbra_json_bool(j, value);
}
