/* What the lab was built against. */
#include <umbra/lab/lab.h>

void umbra_lab_get_build(umbra_lab_build *out)
{
    *out = (umbra_lab_build){.jansson = UMBRA_JANSSON_VERSION};
}
