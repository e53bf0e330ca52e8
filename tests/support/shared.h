/* Where tests find data that does not lie in the repository. */
#ifndef UMBRA_TESTS_SHARED_H
#define UMBRA_TESTS_SHARED_H

#include <stdbool.h>
#include <stddef.h>

/* Path of a shared file in out: below $UMBRA_SHARED, or ../shared. False if it is not there. */
bool shared_path(char *out, size_t size, const char *name);

/* Says on stderr that a test is skipped, and why. Use with cmocka's skip(). */
void say_skipped(const char *what, const char *missing);

#endif
