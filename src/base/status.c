/* Names and texts of status codes, and filling an umbra_error. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/quote.h"

const char *umbra_status_name(int status)
{
    switch (status) {
    case UMBRA_OK:
        return "UMBRA_OK";
#define UMBRA_STATUS_CASE(value, name, text)                                                       \
    case value:                                                                                    \
        return "UMBRA_E_" #name;
        UMBRA_STATUS_MAP(UMBRA_STATUS_CASE)
#undef UMBRA_STATUS_CASE
    default:
        return "UMBRA_E_?";
    }
}

const char *umbra_status_text(int status)
{
    switch (status) {
    case UMBRA_OK:
        return "ok";
#define UMBRA_STATUS_CASE(value, name, text)                                                       \
    case value:                                                                                    \
        return text;
        UMBRA_STATUS_MAP(UMBRA_STATUS_CASE)
#undef UMBRA_STATUS_CASE
    default:
        return "unknown status";
    }
}

/* Formats into err->message and drops a UTF-8 sequence that the end of the field cut apart. What a
 * message quotes (a path, a file's words) cannot act on a terminal: see umbra_plain_text. */
__attribute__((format(printf, 2, 0))) static void format_message(umbra_error *err,
                                                                 const char *format, va_list args)
{
    char text[sizeof err->message];
    int n = vsnprintf(text, sizeof text, format, args);
    size_t end = n < 0 ? 0 : strnlen(text, sizeof text);
    if (n >= (int)sizeof text) {
        while (end > 0 && ((unsigned char)text[end - 1] & 0xc0) == 0x80)
            end--;
        if (end > 0 && (unsigned char)text[end - 1] >= 0xc0)
            end--;
    }
    umbra_plain_text(err->message, sizeof err->message, text, end);
}

int umbra_fail(umbra_error *err, int status, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        format_message(err, format, args);
        va_end(args);
        err->status = status;
        err->has_offset = false;
        err->offset = 0;
    }
    return status;
}

int umbra_fail_at(umbra_error *err, int status, uint64_t offset, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        format_message(err, format, args);
        va_end(args);
        size_t used = strlen(err->message);
        snprintf(err->message + used, sizeof err->message - used, " (at byte %" PRIu64 ")", offset);
        err->status = status;
        err->has_offset = true;
        err->offset = offset;
    }
    return status;
}

int umbra_fail_as(const umbra_error *why, umbra_error *err)
{
    if (err)
        *err = *why;
    return why->status;
}

int umbra_fail_nomem(umbra_error *err, const char *what, uint64_t bytes)
{
    return umbra_fail(err, UMBRA_E_NOMEM, "no memory for %s (%" PRIu64 " bytes)", what, bytes);
}
