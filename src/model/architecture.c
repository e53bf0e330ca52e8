#include <string.h>

#include "model/model.h"

static const umbra_architecture *const table[] = {
    &umbra_architecture_qwen3moe,
};

const umbra_architecture *umbra_architecture_find(umbra_string name)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strlen(table[i]->name) == name.bytes &&
            memcmp(table[i]->name, name.data, name.bytes) == 0)
            return table[i];
    return NULL;
}

const char *umbra_architecture_names(void)
{
    return "qwen3moe";
}
