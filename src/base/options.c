/* Checks the room that structs of options keep for later versions. */
#include "base/options.h"

#include "base/error.h"

int umbra_check_reserved(const uint64_t *reserved, size_t n, umbra_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (reserved[i] != 0)
            return umbra_fail(err, UMBRA_E_ARGUMENT,
                              "the options hold values that this version of Umbra does not know; "
                              "set all that are not used to 0, or link a newer library");
    return UMBRA_OK;
}
