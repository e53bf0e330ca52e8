/* Forms of weights as the public headers name them. */
#ifndef UMBRA_PREDICT_FORM_H
#define UMBRA_PREDICT_FORM_H

#include <umbra/shadow.h>

#include "predict/shadow.h"

/* What a form stands for, `usual` by default. UMBRA_E_ARGUMENT: there is no such form. */
int umbra_weight_form_find(umbra_weight_form form, umbra_shadow_weights usual,
                           umbra_shadow_weights *out, umbra_error *err);

#endif
