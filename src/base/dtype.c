/* The table of number formats. */
#include "base/dtype.h"

static const umbra_dtype_info table[UMBRA_DTYPE_COUNT] = {
#define UMBRA_DTYPE_ROW(id, name, values, bytes) [id] = {#name, values, bytes},
    UMBRA_DTYPE_MAP(UMBRA_DTYPE_ROW)
#undef UMBRA_DTYPE_ROW
};

umbra_dtype_info umbra_dtype_get(uint32_t id)
{
    return id < UMBRA_DTYPE_COUNT ? table[id] : (umbra_dtype_info){0};
}
