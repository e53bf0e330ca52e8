/* Looks into the values of a request. */
#include <string.h>

#include "chat/values.h"

bool umbra_value_is(const umbra_tpl_entry *e, const char *key)
{
    return e->key.kind == TPL_STRING && umbra_tpl_text_is(e->key.u.string, key);
}

umbra_tpl_value *umbra_value_member(umbra_tpl_value v, const char *key)
{
    size_t at = 0;
    if (v.kind != TPL_DICT)
        return NULL;
    UMBRA_EACH_MEMBER(e, at, v)
    if (umbra_value_is(e, key))
        return &e->value;
    return NULL;
}

const umbra_tpl_string *umbra_value_text(umbra_tpl_value v, const char *key)
{
    const umbra_tpl_value *member = umbra_value_member(v, key);
    return member && member->kind == TPL_STRING ? member->u.string : NULL;
}

int umbra_value_set(umbra_tpl_context *c, umbra_tpl_value dict, const char *key,
                    umbra_tpl_value item)
{
    umbra_tpl_value name;
    int rc = umbra_tpl_word(c, key, &name);
    return rc == UMBRA_OK ? umbra_tpl_dict_set(c, dict.u.dict, name, item) : rc;
}
