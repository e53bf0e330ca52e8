/* Waits in what is written freely for texts at which a grammar begins. */
#ifndef UMBRA_GRAMMAR_WATCH_H
#define UMBRA_GRAMMAR_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WATCH_TEXTS = 4 };

/* What follows a text that has come: a rule of the net, which is none of these, or other texts to
 * wait for. */
enum { WATCH_OUTSIDE = -1, WATCH_REASONING = -2 };

/* Texts (n of them) of at most 254 bytes, static or the grammar's own, and what follows each. */
typedef struct watch_list {
    const char *texts[WATCH_TEXTS];
    int to[WATCH_TEXTS];
    int n;
} watch_list;

typedef struct umbra_watch {
    watch_list outside, reasoning; /* what is waited for in either */
} umbra_watch;

/* How much of each text was seen last. Without padding: compared byte by byte. */
typedef struct watch_seen {
    uint8_t bytes[WATCH_TEXTS];
} watch_seen;

/* A text that is NULL is left out. */
void umbra_watch_add(watch_list *list, const char *text, int to);
/* The next byte; returns what follows, or 0: no text is whole. */
int umbra_watch_see(const watch_list *list, watch_seen *seen, unsigned char byte);

/* How much of a text (n bytes) was seen once a byte has come, where `seen` of it had (less than n):
 * the longest beginning of it with which the bytes so far end. */
size_t umbra_text_seen(const char *text, size_t seen, unsigned char byte);

#endif
