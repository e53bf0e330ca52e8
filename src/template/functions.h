/* What templates can call: filters, tests, methods and global functions, as rows of tables. */
#ifndef UMBRA_TEMPLATE_FUNCTIONS_H
#define UMBRA_TEMPLATE_FUNCTIONS_H

#include "template/text.h"
#include "template/value.h"

/* Arguments as they were written, those of * and ** among them. */
typedef struct tpl_args {
    const tpl_value *items;
    size_t count;
    const tpl_dict *named; /* NULL: none */
} tpl_args;

enum { TPL_MOST_PARAMETERS = 6 };

typedef struct tpl_call {
    const char *name;
    tpl_value self;                     /* what is filtered, tested or has the method */
    tpl_value arg[TPL_MOST_PARAMETERS]; /* by parameter; TPL_ABSENT where none was given */
    const tpl_args *all;
} tpl_call;

typedef int tpl_native(tpl_context *c, const tpl_call *call, tpl_value *out);

struct tpl_function {
    const char *name;
    tpl_native *call;
    uint8_t required;       /* of the parameters */
    const char *parameters; /* names with a space between them; NULL: `all` is looked at instead */
};

struct tpl_method {
    tpl_value self;
    const tpl_function *function;
};

/* Tables end with a NULL name. */
const tpl_function *tpl_find_row(const tpl_function *table, const tpl_string *name);
const tpl_function *tpl_find_filter(const tpl_string *name);
const tpl_function *tpl_find_test(const tpl_string *name);
const tpl_function *tpl_find_global(const tpl_string *name);
/* Of a value's type. */
const tpl_function *tpl_find_method(tpl_value self, const tpl_string *name);

extern const tpl_function tpl_filters_text[], tpl_filters_list[], tpl_filters_order[],
    tpl_filters_value[], tpl_tests[], tpl_globals[], tpl_methods_string[], tpl_methods_find[],
    tpl_methods_list[], tpl_methods_dict[], tpl_methods_loop[], tpl_methods_cycler[];

/* Binds the arguments to the row's parameters and calls it. */
int tpl_invoke(tpl_context *c, const tpl_function *f, tpl_value self, const tpl_args *args,
               tpl_value *out);
/* Any callable value. */
int tpl_call_value(tpl_context *c, tpl_value callee, const tpl_args *args, tpl_value *out);
int tpl_call_macro(tpl_context *c, const tpl_macro *macro, const tpl_args *args, tpl_value *out);
int tpl_call_loop(tpl_context *c, tpl_loop *loop, const tpl_args *args, tpl_value *out);
/* A member of the running loop; *found is false where it has none of that name. */
int tpl_loop_member(tpl_context *c, tpl_value loop, const tpl_string *name, tpl_value *out,
                    bool *found);

/* ---- arguments ---- */

bool tpl_given(tpl_value v); /* not absent */
/* The argument, or the fallback where it is absent; an error where it is no such thing. */
int tpl_int_argument(tpl_context *c, const tpl_call *call, int at, int64_t fallback, int64_t *out);
int tpl_text_argument(tpl_context *c, const tpl_call *call, int at, const char *fallback,
                      const tpl_string **out);
bool tpl_flag_argument(const tpl_call *call, int at, bool fallback);
/* The text that is filtered or has the method (undefined: the empty one). */
int tpl_self_text(tpl_context *c, const tpl_call *call, const tpl_string **out);

/* ---- shared with the operators ---- */

int tpl_binary(tpl_context *c, uint16_t op, tpl_value a, tpl_value b, tpl_value *out);
int tpl_compare(tpl_context *c, uint16_t op, tpl_value a, tpl_value b, bool *out);
/* value.name and value[key], undefined where there is none. */
int tpl_member(tpl_context *c, tpl_value v, const tpl_string *name, tpl_value *out);
int tpl_item(tpl_context *c, tpl_value v, tpl_value key, tpl_value *out);
/* "a.b.0" from member to member, as filters take it. */
int tpl_path(tpl_context *c, tpl_value v, tpl_value path, tpl_value *out);
/* ABSENT bounds are open. */
int tpl_slice(tpl_context *c, tpl_value v, const tpl_value bounds[3], tpl_value *out);
/* text % value and text.format(...). */
int tpl_format_percent(tpl_context *c, const tpl_string *format, tpl_value arguments,
                       tpl_value *out);
int tpl_format_braces(tpl_context *c, const tpl_string *format, const tpl_args *args,
                      tpl_value *out);
int tpl_to_json(tpl_context *c, const tpl_call *call, tpl_value *out);
/* Sorts in place, stably; keys[i] is what items[i] is ordered by. */
int tpl_sort(tpl_context *c, tpl_value *items, tpl_value *keys, size_t n, bool reverse);
/* What a value is ordered by: lower case unless `cased`. */
int tpl_sort_key(tpl_context *c, tpl_value v, bool cased, tpl_value *out);

#endif
