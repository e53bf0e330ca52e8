/* Bytes that grow, texts as JSON, and whether there was memory for both. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "serve/internal.h"

/* Jansson says of a text for which it has no memory that it is no JSON, and of a value that it is
 * not there; of a list it leaves out what it could not add. So what allocates for it, and for
 * buffers, remembers that there was none. A request has one thread from its first byte on. */
static _Thread_local bool lacked;

static void *allocate(size_t bytes)
{
    void *p = malloc(bytes);
    lacked = lacked || !p;
    return p;
}

void serve_watch_memory(void)
{
    json_set_alloc_funcs(allocate, free);
}

void serve_forget_lack(void)
{
    lacked = false;
}

bool serve_memory_lacked(void)
{
    return lacked;
}

static bool fail(serve_buffer *b)
{
    b->failed = lacked = true;
    return false;
}

/* Room for so many more bytes and a NUL. */
static bool make_room(serve_buffer *b, size_t bytes)
{
    if (b->failed || bytes > SIZE_MAX / 4 - b->bytes)
        return fail(b);
    if (b->bytes + bytes < b->room)
        return true;
    size_t room = (b->bytes + bytes + 64) * 2;
    char *larger = umbra_reallocarray(b->data, room, 1);
    if (!larger)
        return fail(b);
    b->data = larger;
    b->room = room;
    return true;
}

void serve_buffer_add(serve_buffer *b, const char *data, size_t bytes)
{
    if (!make_room(b, bytes))
        return;
    if (bytes > 0)
        memcpy(b->data + b->bytes, data, bytes);
    b->bytes += bytes;
    b->data[b->bytes] = '\0';
}

void serve_buffer_print(serve_buffer *b, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = vsnprintf(NULL, 0, format, list);
    va_end(list);
    if (n < 0 || !make_room(b, (size_t)n))
        return;
    va_start(list, format);
    vsnprintf(b->data + b->bytes, (size_t)n + 1, format, list);
    va_end(list);
    b->bytes += (size_t)n;
}

void serve_buffer_drop(serve_buffer *b, size_t bytes)
{
    if (bytes == 0)
        return;
    memmove(b->data, b->data + bytes, b->bytes - bytes);
    b->bytes -= bytes;
    b->data[b->bytes] = '\0';
}

void serve_buffer_free(serve_buffer *b)
{
    umbra_free(b->data);
    *b = (serve_buffer){0};
}

static int add_json(const char *data, size_t bytes, void *buffer)
{
    serve_buffer_add(buffer, data, bytes);
    return 0;
}

void serve_buffer_json(serve_buffer *b, const json_t *value)
{
    if (!value || json_dump_callback(value, add_json, b, JSON_COMPACT | JSON_ENCODE_ANY) != 0)
        b->failed = true;
}

json_t *serve_json_text(const char *data, size_t n)
{
    serve_buffer clean = {0};
    for (size_t i = 0; i < n;) {
        size_t length = umbra_utf8_length(data + i, n - i);
        if (length > 0)
            serve_buffer_add(&clean, data + i, length);
        else
            serve_buffer_add(&clean, "\xef\xbf\xbd", 3);
        i += length > 0 ? length : 1;
    }
    json_t *text = clean.failed ? NULL : json_stringn(clean.data ? clean.data : "", clean.bytes);
    serve_buffer_free(&clean);
    return text;
}
