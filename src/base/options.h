/* Structs of options that a caller may have compiled with other headers. */
#ifndef UMBRA_BASE_OPTIONS_H
#define UMBRA_BASE_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include <umbra/status.h>

/* UMBRA_E_ARGUMENT unless all n values are 0: later versions keep options there, whose callers this
 * one must not pass over. */
int umbra_check_reserved(const uint64_t *reserved, size_t n, umbra_error *err);

/* An option of which 0 is an amount of its own: what was given, `usual` for 0, 0 for what is
 * negative. */
static inline double umbra_option_or(double given, double usual)
{
    return given < 0 ? 0 : given == 0 ? usual : given;
}

/* umbra_check_reserved for the struct that o points to. */
#define UMBRA_CHECK_RESERVED(o, err)                                                               \
    umbra_check_reserved((o)->reserved, sizeof(o)->reserved / sizeof *(o)->reserved, err)

#endif
