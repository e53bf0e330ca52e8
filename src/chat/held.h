/* Bytes that have come and are not handed out yet. */
#ifndef UMBRA_CHAT_HELD_H
#define UMBRA_CHAT_HELD_H

#include <stdbool.h>
#include <stddef.h>

/* Begins as {0}. */
typedef struct umbra_held {
    char *text; /* (bytes) */
    size_t bytes, room;
    size_t given; /* of the first of them: handed out, dropped by the next call */
} umbra_held;

void umbra_held_release(umbra_held *h);
/* Drops what was handed out and adds n bytes. false: memory is out, and nothing was added. */
bool umbra_held_add(umbra_held *h, const char *bytes, size_t n);
/* Drops what was handed out. */
void umbra_held_drop(umbra_held *h);
/* Hands out the first n bytes, valid until the next call. */
const char *umbra_held_give(umbra_held *h, size_t n);

/* The most of the first n bytes that do not end inside a UTF-8 character; bytes that cannot be part
 * of one are as they are. */
size_t umbra_whole_characters(const char *text, size_t n);

#endif
