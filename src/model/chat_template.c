/* The chat template that a model file carries. */
#include <string.h>

#include <umbra/model.h>

#include "base/error.h"
#include "base/memory.h"
#include "gguf/gguf.h"

int umbra_model_read_template(const char *path, char **text, size_t *bytes, umbra_error *err)
{
    umbra_gguf *gguf;
    umbra_string s;
    *text = NULL;
    *bytes = 0;
    int rc = umbra_gguf_open(&gguf, path, err);
    if (rc != UMBRA_OK)
        return rc;
    rc = umbra_gguf_get_string(gguf, "tokenizer.chat_template", &s, err);
    if (rc == 0)
        rc = umbra_fail(err, UMBRA_E_UNSUPPORTED,
                        "%s: the file has no chat template (tokenizer.chat_template)", path);
    if (rc > 0) {
        char *copy = umbra_calloc(s.bytes + 1, 1);
        rc = copy ? UMBRA_OK : umbra_fail_nomem(err, "the chat template", s.bytes + 1);
        if (copy && s.bytes)
            memcpy(copy, s.data, s.bytes);
        *text = copy;
        *bytes = copy ? s.bytes : 0;
    }
    umbra_gguf_close(&gguf);
    return rc;
}
