/* The arena, the limits and the errors of a parsing or rendering. */
#include <inttypes.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "template/context.h"

enum { FIRST_BLOCK = 16 << 10, LARGEST_STEP = 4 << 20, SCAN_BYTES_PER_STEP = 64 };

struct umbra_tpl_block {
    umbra_tpl_block *older;
    size_t used, room;
    alignas(max_align_t) char data[];
};

static size_t rounded(size_t bytes)
{
    return (bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
}

/* A block for at least so many bytes, each twice as large as the one before. */
static int add_block(umbra_tpl_context *c, size_t bytes)
{
    size_t room = c->blocks ? 2 * c->blocks->room : FIRST_BLOCK;
    room = room > LARGEST_STEP ? LARGEST_STEP : room;
    room = room < bytes ? bytes : room;
    if (room > c->memory_limit - c->memory_bytes)
        room = bytes;
    if (room > c->memory_limit - c->memory_bytes)
        return umbra_tpl_fail_as(c, UMBRA_E_UNSUPPORTED,
                                 "the template needs more than %zu bytes of memory",
                                 c->memory_limit);
    umbra_tpl_block *b = umbra_calloc(1, sizeof *b + room);
    if (!b)
        return umbra_fail_nomem(c->err, "a chat template", sizeof *b + room);
    b->room = room;
    b->older = c->blocks;
    c->blocks = b;
    c->memory_bytes += room;
    return UMBRA_OK;
}

void *umbra_tpl_alloc(umbra_tpl_context *c, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 4) {
        umbra_fail_nomem(c->err, "a chat template", SIZE_MAX);
        return NULL;
    }
    bytes = rounded(bytes ? bytes : 1);
    umbra_tpl_block *b = c->blocks;
    if (!b || b->room - b->used < bytes) {
        if (add_block(c, bytes) != UMBRA_OK)
            return NULL;
        b = c->blocks;
    }
    void *p = b->data + b->used;
    b->used += bytes;
    return p;
}

void *umbra_tpl_grow(umbra_tpl_context *c, void *old, size_t old_bytes, size_t bytes)
{
    umbra_tpl_block *b = c->blocks;
    size_t had = rounded(old_bytes ? old_bytes : 1), more = rounded(bytes) - had;
    bool last = old && (char *)old + had == b->data + b->used;
    if (last && bytes < SIZE_MAX / 4 && more <= b->room - b->used) {
        b->used += more;
        return old;
    }
    void *p = umbra_tpl_alloc(c, 1, bytes);
    if (p && old)
        memcpy(p, old, old_bytes);
    return p;
}

void umbra_tpl_drop(umbra_tpl_context *c)
{
    while (c->blocks) {
        umbra_tpl_block *older = c->blocks->older;
        umbra_free(c->blocks);
        c->blocks = older;
    }
    c->memory_bytes = 0;
}

int umbra_tpl_step(umbra_tpl_context *c, uint64_t steps)
{
    c->steps += steps;
    if (c->steps > c->step_limit)
        return umbra_tpl_fail_as(c, UMBRA_E_UNSUPPORTED,
                                 "the template takes more than %" PRIu64 " steps", c->step_limit);
    return UMBRA_OK;
}

int umbra_tpl_scan(umbra_tpl_context *c, size_t bytes)
{
    return umbra_tpl_step(c, bytes / SCAN_BYTES_PER_STEP);
}

int umbra_tpl_enter(umbra_tpl_context *c)
{
    if (c->depth >= c->depth_limit)
        return umbra_tpl_fail_as(c, UMBRA_E_UNSUPPORTED,
                                 "nested or called deeper than %" PRIu32 " levels", c->depth_limit);
    c->depth++;
    return UMBRA_OK;
}

void umbra_tpl_leave(umbra_tpl_context *c)
{
    c->depth--;
}

static int report(umbra_tpl_context *c, int status, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static int report(umbra_tpl_context *c, int status, const char *format, va_list args)
{
    char text[sizeof c->err->message];
    vsnprintf(text, sizeof text, format, args);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    return c->line ? umbra_fail(c->err, status, "line %" PRIu32 ": %s", c->line, text)
                   : umbra_fail(c->err, status, "%s", text);
}

int umbra_tpl_fail(umbra_tpl_context *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(c, UMBRA_E_FORMAT, format, args);
    va_end(args);
    return UMBRA_E_FORMAT;
}

int umbra_tpl_fail_as(umbra_tpl_context *c, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(c, status, format, args);
    va_end(args);
    return status;
}
