/* Waits for texts. */
#include <string.h>

#include "grammar/watch.h"

size_t umbra_text_seen(const char *text, size_t seen, unsigned char byte)
{
    size_t n = seen;
    while (n > 0 && (unsigned char)text[n] != byte) {
        size_t k = n - 1; /* the longest end of what was seen that begins it too */
        while (k > 0 && memcmp(text, text + n - k, k) != 0)
            k--;
        n = k;
    }
    return (unsigned char)text[n] == byte ? n + 1 : 0;
}

void umbra_watch_add(watch_list *list, const char *text, int to)
{
    if (!text || list->n == WATCH_TEXTS)
        return;
    list->texts[list->n] = text;
    list->to[list->n++] = to;
}

int umbra_watch_see(const watch_list *list, watch_seen *seen, unsigned char byte)
{
    for (int i = 0; i < list->n; i++) {
        seen->bytes[i] = (uint8_t)umbra_text_seen(list->texts[i], seen->bytes[i], byte);
        if (list->texts[i][seen->bytes[i]] == '\0') {
            *seen = (watch_seen){{0}};
            return list->to[i];
        }
    }
    return 0;
}
