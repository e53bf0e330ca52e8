/* One parsing, tree of values or rendering: its arena, its limits and its errors. */
#ifndef UMBRA_TEMPLATE_CONTEXT_H
#define UMBRA_TEMPLATE_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <umbra/status.h>

typedef struct umbra_tpl_block umbra_tpl_block;
typedef struct umbra_tpl_scope umbra_tpl_scope;
typedef struct umbra_tpl_builder umbra_tpl_builder;
typedef struct umbra_tpl_words umbra_tpl_words;

typedef struct umbra_tpl_context {
    umbra_tpl_block *blocks; /* the arena, newest first */
    size_t memory_bytes, memory_limit;
    uint64_t steps, step_limit;
    uint32_t depth, depth_limit;
    size_t output_limit; /* bytes of any one string */
    uint32_t line;       /* of the template, for errors; 0: none */
    umbra_error *err;
    /* Rendering alone. */
    const struct tm *now;
    const umbra_tpl_words *words;
    umbra_tpl_scope *scope;
    umbra_tpl_builder *out;
} umbra_tpl_context;

/* Zeroed, aligned for any type; NULL after an error was reported. */
void *umbra_tpl_alloc(umbra_tpl_context *c, size_t n, size_t size);
/* Old contents kept, the new part not zeroed. In place where it was the last allocation. */
void *umbra_tpl_grow(umbra_tpl_context *c, void *old, size_t old_bytes, size_t bytes);
/* Frees the arena. */
void umbra_tpl_drop(umbra_tpl_context *c);

/* Counts work; an error beyond the limit. */
int umbra_tpl_step(umbra_tpl_context *c, uint64_t steps);
/* The same for bytes looked at. */
int umbra_tpl_scan(umbra_tpl_context *c, size_t bytes);
/* Around whatever recurs. */
int umbra_tpl_enter(umbra_tpl_context *c);
void umbra_tpl_leave(umbra_tpl_context *c);

/* "line 12: MESSAGE" with UMBRA_E_FORMAT, control characters made spaces; returns the status. */
__attribute__((format(printf, 2, 3))) int umbra_tpl_fail(umbra_tpl_context *c, const char *format,
                                                         ...);
__attribute__((format(printf, 3, 4))) int umbra_tpl_fail_as(umbra_tpl_context *c, int status,
                                                            const char *format, ...);

#endif
