/* Inside of a chat. */
#ifndef UMBRA_CHAT_INTERNAL_H
#define UMBRA_CHAT_INTERNAL_H

#include <umbra/chat.h>

#include "chat/family.h"
#include "chat/values.h"

/* What a template takes. */
typedef struct umbra_chat_ways {
    bool parts;          /* contents that are lists of parts */
    bool only_parts;     /* no others */
    bool text_arguments; /* arguments of calls as JSON text, not as objects */
} umbra_chat_ways;

struct umbra_chat {
    const umbra_model *model; /* may be NULL */
    umbra_template *template;
    umbra_chat_ways ways;
    const umbra_family *family; /* NULL: not known */
};

/* The messages as the template takes them. UMBRA_E_ARGUMENT: they are none. */
int umbra_messages_adapt(const umbra_chat_ways *ways, umbra_template_tree *tree,
                         umbra_tpl_value messages, umbra_tpl_value *out, umbra_error *err);

#endif
