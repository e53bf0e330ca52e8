/* Test support: asks an open file everything there is to ask. */
#ifndef UMBRA_TESTS_GGUF_READ_ALL_H
#define UMBRA_TESTS_GGUF_READ_ALL_H

#include "gguf/gguf.h"

/* Reads every key, value, array element and tensor entry through the public functions and checks
 * what must hold of any file that was opened: every name is found again, every tensor lies inside
 * the file. Ends the program if something does not hold. */
void umbra_gguf_read_all(const umbra_gguf *gguf);

#endif
