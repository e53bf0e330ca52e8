/* Names of the forms of weights, and what they stand for. */
#include "predict/form.h"

#include <string.h>

#include "base/error.h"
#include "predict/internal.h"

/* The public forms are those of the file, behind the default. */
static umbra_shadow_weights inner(umbra_weight_form form)
{
    return (umbra_shadow_weights)((int)form - (int)UMBRA_WEIGHT_FORM_F32);
}

const char *umbra_weight_form_name(umbra_weight_form form)
{
    return form == UMBRA_WEIGHT_FORM_DEFAULT ? "default" : umbra_shadow_weights_name(inner(form));
}

int umbra_weight_form_parse(const char *name, umbra_weight_form *out, umbra_error *err)
{
    umbra_weight_form form = UMBRA_WEIGHT_FORM_DEFAULT;
    while (name && umbra_weight_form_name(form) && strcmp(name, umbra_weight_form_name(form)) != 0)
        form++;
    if (!umbra_weight_form_name(form))
        return umbra_fail(err, UMBRA_E_ARGUMENT, "weights \"%s\" are not f32, bf16 or i8", name);
    *out = form;
    return UMBRA_OK;
}

int umbra_weight_form_find(umbra_weight_form form, umbra_shadow_weights usual,
                           umbra_shadow_weights *out, umbra_error *err)
{
    if (!umbra_weight_form_name(form))
        return umbra_fail(err, UMBRA_E_ARGUMENT, "there is no form of weights %d", (int)form);
    *out = form == UMBRA_WEIGHT_FORM_DEFAULT ? usual : inner(form);
    return UMBRA_OK;
}
