/* Test support for files that may be malformed. */
#ifndef UMBRA_TESTS_GGUF_HOSTILE_H
#define UMBRA_TESTS_GGUF_HOSTILE_H

#include "builder.h"

/* Caps the address space at 256 MiB, so that an allocation by an unchecked count fails. Does
 * nothing under a sanitizer, which reserves terabytes for itself. */
void umbra_hostile_limit_memory(void);

/* A finished, sound file that has every kind of field; release it. */
void umbra_hostile_sample(umbra_builder *b);

/* The number that the next descriptor will get: a leaked one moves it. */
int umbra_hostile_next_descriptor(void);

/* Opens the file at path. Either that fails in good order (no handle, a message with the path, no
 * descriptor lost) or all of the file can be read; anything else fails the test. Returns the
 * status. name: of the case, for messages. */
int umbra_hostile_open(const char *name, const char *path, umbra_error *err);

#endif
