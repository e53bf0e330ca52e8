/* What templates can call: filters, tests, methods and global functions, as rows of tables. */
#ifndef UMBRA_TEMPLATE_FUNCTIONS_H
#define UMBRA_TEMPLATE_FUNCTIONS_H

#include "template/text.h"
#include "template/value.h"

/* Arguments as they were written, those of * and ** among them. */
typedef struct umbra_tpl_args {
    const umbra_tpl_value *items;
    size_t count;
    const umbra_tpl_dict *named; /* NULL: none */
} umbra_tpl_args;

enum { TPL_MOST_PARAMETERS = 6 };

typedef struct umbra_tpl_call {
    const char *name;
    umbra_tpl_value self;                     /* what is filtered, tested or has the method */
    umbra_tpl_value arg[TPL_MOST_PARAMETERS]; /* by parameter; TPL_ABSENT where none was given */
    const umbra_tpl_args *all;
} umbra_tpl_call;

typedef int umbra_tpl_native(umbra_tpl_context *c, const umbra_tpl_call *call,
                             umbra_tpl_value *out);

struct umbra_tpl_function {
    const char *name;
    umbra_tpl_native *call;
    uint8_t required;       /* of the parameters */
    const char *parameters; /* names with a space between them; NULL: `all` is looked at instead */
};

struct umbra_tpl_method {
    umbra_tpl_value self;
    const umbra_tpl_function *function;
};

/* Tables end with a NULL name. */
const umbra_tpl_function *umbra_tpl_find_row(const umbra_tpl_function *table,
                                             const umbra_tpl_string *name);
const umbra_tpl_function *umbra_tpl_find_filter(const umbra_tpl_string *name);
const umbra_tpl_function *umbra_tpl_find_test(const umbra_tpl_string *name);
const umbra_tpl_function *umbra_tpl_find_global(const umbra_tpl_string *name);
/* Of a value's type. */
const umbra_tpl_function *umbra_tpl_find_method(umbra_tpl_value self, const umbra_tpl_string *name);

extern const umbra_tpl_function umbra_tpl_filters_text[], umbra_tpl_filters_list[],
    umbra_tpl_filters_order[], umbra_tpl_filters_value[], umbra_tpl_tests[], umbra_tpl_globals[],
    umbra_tpl_methods_string[], umbra_tpl_methods_find[], umbra_tpl_methods_list[],
    umbra_tpl_methods_dict[], umbra_tpl_methods_loop[], umbra_tpl_methods_cycler[];

/* Binds the arguments to the row's parameters and calls it. */
int umbra_tpl_invoke(umbra_tpl_context *c, const umbra_tpl_function *f, umbra_tpl_value self,
                     const umbra_tpl_args *args, umbra_tpl_value *out);
/* Any callable value. */
int umbra_tpl_call_value(umbra_tpl_context *c, umbra_tpl_value callee, const umbra_tpl_args *args,
                         umbra_tpl_value *out);
int umbra_tpl_call_macro(umbra_tpl_context *c, const umbra_tpl_macro *macro,
                         const umbra_tpl_args *args, umbra_tpl_value *out);
int umbra_tpl_call_loop(umbra_tpl_context *c, umbra_tpl_loop *loop, const umbra_tpl_args *args,
                        umbra_tpl_value *out);
/* A member of the running loop; *found is false where it has none of that name. */
int umbra_tpl_loop_member(umbra_tpl_context *c, umbra_tpl_value loop, const umbra_tpl_string *name,
                          umbra_tpl_value *out, bool *found);

/* ---- arguments ---- */

bool umbra_tpl_given(umbra_tpl_value v); /* not absent */
/* The argument, or the fallback where it is absent; an error where it is no such thing. */
int umbra_tpl_int_argument(umbra_tpl_context *c, const umbra_tpl_call *call, int at,
                           int64_t fallback, int64_t *out);
int umbra_tpl_text_argument(umbra_tpl_context *c, const umbra_tpl_call *call, int at,
                            const char *fallback, const umbra_tpl_string **out);
bool umbra_tpl_flag_argument(const umbra_tpl_call *call, int at, bool fallback);
/* The text that is filtered or has the method (undefined: the empty one). */
int umbra_tpl_self_text(umbra_tpl_context *c, const umbra_tpl_call *call,
                        const umbra_tpl_string **out);

/* ---- shared with the operators ---- */

int umbra_tpl_binary(umbra_tpl_context *c, uint16_t op, umbra_tpl_value a, umbra_tpl_value b,
                     umbra_tpl_value *out);
int umbra_tpl_compare(umbra_tpl_context *c, uint16_t op, umbra_tpl_value a, umbra_tpl_value b,
                      bool *out);
/* value.name and value[key], undefined where there is none. */
int umbra_tpl_member(umbra_tpl_context *c, umbra_tpl_value v, const umbra_tpl_string *name,
                     umbra_tpl_value *out);
int umbra_tpl_item(umbra_tpl_context *c, umbra_tpl_value v, umbra_tpl_value key,
                   umbra_tpl_value *out);
/* "a.b.0" from member to member, as filters take it. */
int umbra_tpl_path(umbra_tpl_context *c, umbra_tpl_value v, umbra_tpl_value path,
                   umbra_tpl_value *out);
/* ABSENT bounds are open. */
int umbra_tpl_slice(umbra_tpl_context *c, umbra_tpl_value v, const umbra_tpl_value bounds[3],
                    umbra_tpl_value *out);
/* text % value and text.format(...). */
int umbra_tpl_format_percent(umbra_tpl_context *c, const umbra_tpl_string *format,
                             umbra_tpl_value arguments, umbra_tpl_value *out);
int umbra_tpl_format_braces(umbra_tpl_context *c, const umbra_tpl_string *format,
                            const umbra_tpl_args *args, umbra_tpl_value *out);
int umbra_tpl_to_json(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out);
/* Sorts in place, stably; keys[i] is what items[i] is ordered by. */
int umbra_tpl_sort(umbra_tpl_context *c, umbra_tpl_value *items, umbra_tpl_value *keys, size_t n,
                   bool reverse);
/* What a value is ordered by: lower case unless `cased`. */
int umbra_tpl_sort_key(umbra_tpl_context *c, umbra_tpl_value v, bool cased, umbra_tpl_value *out);

#endif
