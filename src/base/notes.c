/* Keeps what opening a model found worth telling. */
#include <stdarg.h>
#include <stdio.h>

#include "base/notes.h"

void umbra_note(umbra_notes *notes, const char *format, ...)
{
    if (notes->n == UMBRA_NOTES_MAX)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(notes->text[notes->n++], UMBRA_NOTES_BYTES, format, args);
    va_end(args);
}
