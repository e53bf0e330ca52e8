#include <umbra/umbra.h>

const char *umbra_version(void)
{
    return UMBRA_VERSION;
}
