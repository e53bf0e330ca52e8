/* Shadow files: what is the same for all that read or write them. */
#ifndef UMBRA_SHADOW_H
#define UMBRA_SHADOW_H

#include <umbra/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Form of the weights in a shadow file, or of those that a prediction computes with. */
typedef enum umbra_weight_form {
    UMBRA_WEIGHT_FORM_DEFAULT, /* what the options that ask for it say */
    UMBRA_WEIGHT_FORM_F32,     /* 4 bytes each */
    UMBRA_WEIGHT_FORM_BF16,    /* 2 bytes each */
    UMBRA_WEIGHT_FORM_I8       /* 1 byte each, symmetric, with a scale per row */
} umbra_weight_form;

/* "default", "f32", "bf16", "i8"; NULL for a value not in the list, so that counting from 0 lists
 * them. Static storage. Any thread. */
UMBRA_API const char *umbra_weight_form_name(umbra_weight_form form);
/* The form of that name; NULL is the default. UMBRA_E_ARGUMENT: there is none, the message lists
 * all, *out is as before. Any thread. */
UMBRA_API int umbra_weight_form_parse(const char *name, umbra_weight_form *out, umbra_error *err);

#ifdef __cplusplus
}
#endif
#endif
