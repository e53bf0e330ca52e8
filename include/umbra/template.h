/* Chat templates: the Jinja texts in model files that turn messages into a prompt.
 *
 * A template is parsed once and rendered any number of times. Statements, expressions, filters and
 * tests are Jinja 2's, set up as the model hubs do it: trim_blocks and lstrip_blocks, loop
 * controls, a `generation` block that prints what stands in it, `tojson` that leaves non-ASCII
 * letters alone, `raise_exception(message)`, `strftime_now(format)`, no autoescape. There are no
 * includes, imports or inheritance. Integers have 64 bits; a result that does not fit is an error.
 *
 * Every byte of a rendering is known to stem from the template or from the caller's input, through
 * all slicing, joining, replacing and formatting (what `tojson` makes of input is input as a
 * whole). Text that a user wrote can so be kept from being read as control tokens.
 *
 * Work is bounded: a hostile template ends in an error. A template may be rendered by several
 * threads at once. */
#ifndef UMBRA_TEMPLATE_H
#define UMBRA_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <umbra/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A parsed template. */
typedef struct umbra_template umbra_template;

/* Parses the bytes, which may be freed afterwards. UMBRA_E_FORMAT: no template ("line 12: ...");
 * UMBRA_E_UNSUPPORTED: larger than UMBRA_TEMPLATE_SOURCE_BYTES, or nested too deep.
 * On failure *out is NULL. */
UMBRA_API int umbra_template_open(umbra_template **out, const char *source, size_t bytes,
                                  umbra_error *err);
/* Accepts NULL and nulls the pointer. */
UMBRA_API void umbra_template_close(umbra_template **t);

/* ---- values ---- */

/* A tree of values: memory that all its values lie in. One thread at a time may add to it; any
 * number may render with it. Rendering does not change it. */
typedef struct umbra_template_tree umbra_template_tree;
/* A value in a tree. */
typedef struct umbra_template_value umbra_template_value;

/* An empty tree. On failure *out is NULL. */
UMBRA_API int umbra_template_tree_open(umbra_template_tree **out, umbra_error *err);
/* With all its values. Accepts NULL and nulls the pointer. */
UMBRA_API void umbra_template_tree_close(umbra_template_tree **tree);

/* Where a text stems from. */
typedef enum umbra_template_origin {
    UMBRA_TEMPLATE_MARKUP, /* as if the template had it: bos_token */
    UMBRA_TEMPLATE_INPUT   /* given by a user */
} umbra_template_origin;

/* Constructors return NULL when memory is out; append and set take that as a value and fail, so
 * that a tree can be built without looking at each. Numbers and booleans count as input. */

/* none */
UMBRA_API umbra_template_value *umbra_template_none(umbra_template_tree *tree);
/* true or false */
UMBRA_API umbra_template_value *umbra_template_bool(umbra_template_tree *tree, bool value);
/* A whole number. */
UMBRA_API umbra_template_value *umbra_template_int(umbra_template_tree *tree, int64_t value);
/* A number with a fraction: 1.0 prints as "1.0". */
UMBRA_API umbra_template_value *umbra_template_float(umbra_template_tree *tree, double value);
/* A copy of the text. Bytes that are not UTF-8 become U+FFFD. */
UMBRA_API umbra_template_value *umbra_template_text(umbra_template_tree *tree, const char *text,
                                                    size_t bytes, umbra_template_origin origin);
/* An empty list. */
UMBRA_API umbra_template_value *umbra_template_list(umbra_template_tree *tree);
/* An empty dict; members keep the order in which they are set. */
UMBRA_API umbra_template_value *umbra_template_dict(umbra_template_tree *tree);
/* To the end of a list. The item must not contain the list. */
UMBRA_API int umbra_template_append(umbra_template_tree *tree, umbra_template_value *list,
                                    umbra_template_value *item);
/* Under a key (input), which is replaced where it is there. The item must not contain the dict. */
UMBRA_API int umbra_template_set(umbra_template_tree *tree, umbra_template_value *dict,
                                 const char *key, size_t key_bytes, umbra_template_value *item);

/* The value that a JSON text is, all of it input. Numbers without fraction and exponent that fit
 * are whole ones. NULL: the text is no JSON (UMBRA_E_FORMAT with its byte), holds U+0000 or values
 * more than 64 deep, or memory is out. */
UMBRA_API umbra_template_value *umbra_template_json(umbra_template_tree *tree, const char *text,
                                                    size_t bytes, umbra_error *err);

/* ---- rendering ---- */

enum {
    UMBRA_TEMPLATE_SOURCE_BYTES = 1 << 20,  /* of the longest template */
    UMBRA_TEMPLATE_STEPS = 20000000,        /* default */
    UMBRA_TEMPLATE_DEPTH = 1500,            /* default */
    UMBRA_TEMPLATE_OUTPUT_BYTES = 16 << 20, /* default */
    UMBRA_TEMPLATE_MEMORY_BYTES = 256 << 20 /* default */
};

/* Limits and the time. Zeros are the default (see umbra.h). Going beyond a limit is
 * UMBRA_E_UNSUPPORTED. */
typedef struct umbra_template_options {
    uint64_t steps;       /* nodes evaluated, elements visited, and 64 bytes searched each */
    uint32_t depth;       /* of nesting and calls; a level takes up to 1 KiB of stack */
    size_t output_bytes;  /* of the rendering, and of any text on the way to it */
    size_t memory_bytes;  /* of everything that the rendering allocates */
    const struct tm *now; /* for strftime_now, all fields filled in; NULL: calling it is an error */
    uint64_t reserved[4]; /* room for options to come: zeros */
} umbra_template_options;

/* A run of bytes of one origin. */
typedef struct umbra_template_span {
    size_t begin; /* byte of the text */
    size_t end;   /* byte behind the last one */
    bool input;   /* stems from the caller's input, else from the template */
} umbra_template_span;

/* A rendering. */
typedef struct umbra_template_output {
    char *text;                 /* UTF-8; a NUL, which does not count, follows the last byte */
    size_t bytes;               /* of the text */
    umbra_template_span *spans; /* without gaps, neighbours differ in their origin */
    size_t n_spans;             /* 0: the text is empty */
} umbra_template_output;

/* Renders with the members of the dict `variables` (NULL: none); options may be NULL.
 * UMBRA_E_ARGUMENT: the template itself refuses what it was given (raise_exception), in its own
 * words; UMBRA_E_FORMAT: an error in the template, or a value that it cannot work with. Both name
 * the line. On success *out is to be freed with umbra_template_output_free; on failure it is
 * empty. */
UMBRA_API int umbra_template_render(const umbra_template *t, const umbra_template_value *variables,
                                    const umbra_template_options *options,
                                    umbra_template_output *out, umbra_error *err);
/* Leaves it empty. */
UMBRA_API void umbra_template_output_free(umbra_template_output *out);

#ifdef __cplusplus
}
#endif
#endif
