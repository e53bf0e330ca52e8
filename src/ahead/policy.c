/* Policies by name. */
#include <umbra/runner.h>

#include <string.h>

#include "base/error.h"

const char *umbra_policy_name(umbra_policy policy)
{
    static const char *const names[] = {
        [UMBRA_POLICY_AUTO] = "auto",         [UMBRA_POLICY_OFF] = "off",
        [UMBRA_POLICY_PREVIOUS] = "previous", [UMBRA_POLICY_GATE] = "gate",
        [UMBRA_POLICY_SHADOW] = "shadow",     [UMBRA_POLICY_ORACLE] = "oracle",
        [UMBRA_POLICY_RUNAHEAD] = "runahead",
    };
    return (size_t)policy < sizeof names / sizeof names[0] ? names[policy] : NULL;
}

int umbra_policy_parse(const char *name, umbra_policy *out, umbra_error *err)
{
    umbra_policy p = UMBRA_POLICY_AUTO;
    while (name && umbra_policy_name(p) && strcmp(name, umbra_policy_name(p)) != 0)
        p++;
    if (!umbra_policy_name(p))
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "no policy is called \"%s\"; there are auto, off, previous, gate, "
                          "shadow, oracle, runahead",
                          name);
    *out = p;
    return UMBRA_OK;
}
