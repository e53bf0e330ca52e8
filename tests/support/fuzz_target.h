/* The entry point by which libFuzzer, or fuzz_driver.c in its place, calls a fuzz target. */
#ifndef UMBRA_TESTS_FUZZ_TARGET_H
#define UMBRA_TESTS_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
