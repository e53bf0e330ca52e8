/* One parsing, tree of values or rendering: its arena, its limits and its errors. */
#ifndef UMBRA_TEMPLATE_CONTEXT_H
#define UMBRA_TEMPLATE_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <umbra/status.h>

typedef struct tpl_block tpl_block;
typedef struct tpl_scope tpl_scope;
typedef struct tpl_builder tpl_builder;
typedef struct tpl_words tpl_words;

typedef struct tpl_context {
    tpl_block *blocks; /* the arena, newest first */
    size_t memory_bytes, memory_limit;
    uint64_t steps, step_limit;
    uint32_t depth, depth_limit;
    size_t output_limit; /* bytes of any one string */
    uint32_t line;       /* of the template, for errors; 0: none */
    umbra_error *err;
    /* Rendering alone. */
    const struct tm *now;
    const tpl_words *words;
    tpl_scope *scope;
    tpl_builder *out;
} tpl_context;

/* Zeroed, aligned for any type; NULL after an error was reported. */
void *tpl_alloc(tpl_context *c, size_t n, size_t size);
/* Old contents kept, the new part not zeroed. In place where it was the last allocation. */
void *tpl_grow(tpl_context *c, void *old, size_t old_bytes, size_t bytes);
/* Frees the arena. */
void tpl_drop(tpl_context *c);

/* Counts work; an error beyond the limit. */
int tpl_step(tpl_context *c, uint64_t steps);
/* The same for bytes looked at. */
int tpl_scan(tpl_context *c, size_t bytes);
/* Around whatever recurs. */
int tpl_enter(tpl_context *c);
void tpl_leave(tpl_context *c);

/* "line 12: MESSAGE" with UMBRA_E_FORMAT, control characters made spaces; returns the status. */
__attribute__((format(printf, 2, 3))) int tpl_fail(tpl_context *c, const char *format, ...);
__attribute__((format(printf, 3, 4))) int tpl_fail_as(tpl_context *c, int status,
                                                      const char *format, ...);

#endif
