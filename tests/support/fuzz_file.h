/* Test support: model files of which a fuzz target's input is the beginning. */
#ifndef UMBRA_TESTS_FUZZ_FILE_H
#define UMBRA_TESTS_FUZZ_FILE_H

#include <stddef.h>
#include <stdint.h>

enum { FUZZ_FILE_BYTES = 4 << 20 };

/* The path of a file of FUZZ_FILE_BYTES that begins with the input, of which more than half a file
 * is cut, and goes on with floats near zero, so that a header alone is a model. The file is the
 * same one at every call. */
const char *fuzz_file(const uint8_t *data, size_t size);

#endif
