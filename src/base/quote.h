/* Text of a foreign file inside a message: control characters would let it write to the terminal
 * whatever it likes. */
#ifndef UMBRA_BASE_QUOTE_H
#define UMBRA_BASE_QUOTE_H

#include <stddef.h>

typedef struct umbra_quoted {
    char text[96]; /* NUL-terminated; longer text is cut and ends in "..." */
} umbra_quoted;

/* Control and text-direction characters, quotes, backslashes and bytes that are not UTF-8 become
 * \xNN. Use as umbra_quote(s, n).text inside the call that prints it. */
umbra_quoted umbra_quote(const char *s, size_t bytes);

/* The same for a text that is shown without quotes, which then keeps its quotes and backslashes:
 * what does not fit into out (size bytes, with the NUL) is left out, between two characters. */
void umbra_plain_text(char *out, size_t size, const char *s, size_t bytes);

#endif
