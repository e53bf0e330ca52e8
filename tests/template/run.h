/* Rendering in tests. */
#ifndef UMBRA_TESTS_TEMPLATE_RUN_H
#define UMBRA_TESTS_TEMPLATE_RUN_H

#include <stdbool.h>
#include <stddef.h>

#include <umbra/template.h>

/* The time at which tests render: 2026-11-26 09:30, a Thursday. */
extern const struct tm test_time;

/* Opens, renders with the JSON object `variables` (NULL: none) and closes. */
int render_text(const char *source, size_t bytes, const char *variables,
                const umbra_template_options *options, umbra_template_output *out,
                umbra_error *err);

/* A whole file, NUL-terminated, or NULL; free() it. */
char *read_whole(const char *path, size_t *bytes);

#endif
