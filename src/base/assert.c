/* What a failed assertion says. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void umbra_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: assertion failed: %s\nThis is a defect of Umbra, please report it.\n",
            file, line, condition);
    abort();
}
