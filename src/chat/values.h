/* Looking into the values of a request. */
#ifndef UMBRA_CHAT_VALUES_H
#define UMBRA_CHAT_VALUES_H

#include "template/tree.h"

/* The member of a dict, or NULL: it has none, or v is no dict. */
umbra_tpl_value *umbra_value_member(umbra_tpl_value v, const char *key);
/* The same where it is a text. */
const umbra_tpl_string *umbra_value_text(umbra_tpl_value v, const char *key);

/* The text of a key. */
bool umbra_value_is(const umbra_tpl_entry *e, const char *key);
/* Sets a member; the key counts as the template's. */
int umbra_value_set(umbra_tpl_context *c, umbra_tpl_value dict, const char *key,
                    umbra_tpl_value item);

/* Calls for every entry of a dict, in order. */
#define UMBRA_EACH_MEMBER(e, at, v)                                                                \
    for (umbra_tpl_entry * e; ((e) = umbra_tpl_dict_next((v).u.dict, &(at))) != NULL; (at)++)

#endif
