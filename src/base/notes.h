/* What opening a model took otherwise than its file says it, or left out: a few sentences for
 * whoever uses the file, none of which stops it from being used. */
#ifndef UMBRA_BASE_NOTES_H
#define UMBRA_BASE_NOTES_H

enum { UMBRA_NOTES_MAX = 24, UMBRA_NOTES_BYTES = 320 };

typedef struct umbra_notes {
    char text[UMBRA_NOTES_MAX][UMBRA_NOTES_BYTES];
    int n;
} umbra_notes;

/* Adds a sentence, cut where it is longer than the room; those beyond UMBRA_NOTES_MAX are lost.
 * Text of the file goes in by umbra_quote. */
__attribute__((format(printf, 2, 3))) void umbra_note(umbra_notes *notes, const char *format, ...);

#endif
