/* Building strings, each byte with its origin. */
#include <string.h>

#include "base/utf8.h"
#include "template/text.h"

enum { FIRST_ROOM = 64 };

void umbra_tpl_builder_init(umbra_tpl_builder *b, umbra_tpl_context *c)
{
    *b = (umbra_tpl_builder){.c = c};
}

static int make_room(umbra_tpl_builder *b, size_t bytes)
{
    umbra_tpl_context *c = b->c;
    if (bytes > c->output_limit - b->bytes)
        return umbra_tpl_fail_as(c, UMBRA_E_UNSUPPORTED, "a text grows beyond %zu bytes",
                                 c->output_limit);
    size_t need = b->bytes + bytes;
    if (need <= b->room)
        return UMBRA_OK;
    size_t room = b->room ? 2 * b->room : FIRST_ROOM;
    room = room < need ? need : room;
    char *data = umbra_tpl_grow(c, b->data, b->room, room);
    if (!data)
        return UMBRA_E_NOMEM;
    b->data = data;
    b->room = room;
    return UMBRA_OK;
}

/* From here on the origins differ. */
static int make_marks(umbra_tpl_builder *b)
{
    if (b->marks && b->marks_room >= b->room)
        return UMBRA_OK;
    uint8_t *marks = umbra_tpl_grow(b->c, b->marks, b->marks_room, b->room);
    if (!marks)
        return UMBRA_E_NOMEM;
    if (!b->marks)
        memset(marks, b->input, b->bytes);
    b->marks = marks;
    b->marks_room = b->room;
    return UMBRA_OK;
}

/* Room for so many bytes, and their marks where they are kept. `mixed`: they have marks. */
static int prepare(umbra_tpl_builder *b, size_t bytes, bool input, bool mixed)
{
    int rc = make_room(b, bytes);
    if (b->bytes == 0 && !b->marks)
        b->input = input;
    if (rc == UMBRA_OK && (b->marks || mixed || input != b->input))
        rc = make_marks(b);
    return rc;
}

int umbra_tpl_put(umbra_tpl_builder *b, const char *data, size_t bytes, bool input)
{
    if (bytes == 0)
        return UMBRA_OK;
    int rc = prepare(b, bytes, input, false);
    if (rc != UMBRA_OK)
        return rc;
    memcpy(b->data + b->bytes, data, bytes);
    if (b->marks)
        memset(b->marks + b->bytes, input, bytes);
    b->bytes += bytes;
    return UMBRA_OK;
}

int umbra_tpl_put_word(umbra_tpl_builder *b, const char *text, bool input)
{
    return umbra_tpl_put(b, text, strlen(text), input);
}

int umbra_tpl_put_part(umbra_tpl_builder *b, const umbra_tpl_string *s, size_t begin, size_t end)
{
    size_t bytes = end - begin;
    if (!s->marks || bytes == 0)
        return umbra_tpl_put(b, s->data + begin, bytes, s->input);
    int rc = prepare(b, bytes, b->input, true);
    if (rc != UMBRA_OK)
        return rc;
    memcpy(b->data + b->bytes, s->data + begin, bytes);
    memcpy(b->marks + b->bytes, s->marks + begin, bytes);
    b->bytes += bytes;
    return UMBRA_OK;
}

int umbra_tpl_put_string(umbra_tpl_builder *b, const umbra_tpl_string *s)
{
    return umbra_tpl_put_part(b, s, 0, s->bytes);
}

int umbra_tpl_put_code(umbra_tpl_builder *b, uint32_t code, bool input)
{
    char text[4];
    return umbra_tpl_put(b, text, umbra_utf8_encode(code, text), input);
}

int umbra_tpl_put_repeated(umbra_tpl_builder *b, char ascii, int64_t times, bool input)
{
    if (times <= 0)
        return UMBRA_OK;
    int rc = prepare(b, (size_t)times, input, false);
    if (rc != UMBRA_OK)
        return rc;
    memset(b->data + b->bytes, ascii, (size_t)times);
    if (b->marks)
        memset(b->marks + b->bytes, input, (size_t)times);
    b->bytes += (size_t)times;
    return UMBRA_OK;
}

int umbra_tpl_built(umbra_tpl_builder *b, umbra_tpl_value *out)
{
    int rc = umbra_tpl_text(b->c, b->data, b->bytes, b->input, out);
    if (rc == UMBRA_OK && b->marks) {
        umbra_tpl_string *s = (umbra_tpl_string *)(uintptr_t)out->u.string;
        s->marks = b->marks;
        s->input = true;
    }
    return rc;
}
