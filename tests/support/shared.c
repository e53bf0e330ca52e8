/* Finds data that does not lie in the repository. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "shared.h"

bool shared_path(char *out, size_t size, const char *name)
{
    const char *folder = getenv("UMBRA_SHARED");
    snprintf(out, size, "%s/%s", folder ? folder : "../shared", name);
    return access(out, R_OK) == 0;
}

void say_skipped(const char *what, const char *missing)
{
    fprintf(stderr, "SKIPPED: %s: %s is not here (set UMBRA_SHARED to the folder that has it)\n",
            what, missing);
}
