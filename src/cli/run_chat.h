/* A talk in the terminal, in parts. */
#ifndef UMBRA_CLI_RUN_CHAT_H
#define UMBRA_CLI_RUN_CHAT_H

#include "cli/run.h"

typedef enum talk_input {
    TALK_END,     /* of the input */
    TALK_MESSAGE, /* text (bytes) holds one */
    TALK_RESET,   /* the talk begins anew */
    TALK_STOPPED  /* a signal came that ends the program */
} talk_input;

/* Reads a message: a line; lines, where each but the last ends with a backslash; or all between two
 * lines of three quotes. Lines that begin with a slash are commands. free() *text. */
talk_input talk_read(bool terminal, char **text, size_t *bytes);

#endif
