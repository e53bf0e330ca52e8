/* What a template computes with. Values are small and passed by value; what they point to lies in
 * the arena of the context and lives as long as it does. */
#ifndef UMBRA_TEMPLATE_VALUE_H
#define UMBRA_TEMPLATE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "template/context.h"

typedef enum umbra_tpl_kind {
    TPL_ABSENT, /* an argument that was not given; no template sees it */
    TPL_UNDEFINED,
    TPL_NONE,
    TPL_BOOL,
    TPL_INT,
    TPL_FLOAT,
    TPL_STRING,
    TPL_LIST,
    TPL_TUPLE,
    TPL_RANGE,
    TPL_VIEW,     /* of a dict: its keys, values or items */
    TPL_ITERATOR, /* gives each element once */
    TPL_DICT,
    TPL_NAMESPACE,
    TPL_MACRO,
    TPL_FUNCTION,
    TPL_METHOD,
    TPL_LOOP,
    TPL_CYCLER,
    TPL_JOINER
} umbra_tpl_kind;

/* Valid UTF-8, never changed. Each byte stems from the template or from the caller's input. */
typedef struct umbra_tpl_string {
    const char *data; /* not NUL-terminated, never NULL */
    size_t bytes;
    size_t chars;
    const uint8_t *marks; /* [bytes] 1: input, 0: template; NULL: all as `input` says */
    bool input;
    bool safe; /* declared HTML-safe: what is added to it is escaped, as the language has it */
} umbra_tpl_string;

typedef struct umbra_tpl_value umbra_tpl_value;
typedef struct umbra_tpl_list umbra_tpl_list;
typedef struct umbra_tpl_dict umbra_tpl_dict;
typedef struct umbra_tpl_macro umbra_tpl_macro;
typedef struct umbra_tpl_loop umbra_tpl_loop;
typedef struct umbra_tpl_method umbra_tpl_method;
typedef struct umbra_tpl_function umbra_tpl_function;

/* Why there is no value: a variable (owner NULL) or a member of an object. */
typedef struct umbra_tpl_missing {
    const char *owner;
    const umbra_tpl_string *name;
} umbra_tpl_missing;

struct umbra_tpl_value {
    uint8_t kind; /* umbra_tpl_kind */
    bool input;   /* of numbers and booleans: given by the caller, or computed from such */
    union {
        bool boolean;
        int64_t integer;
        double real;
        const umbra_tpl_string *string;
        umbra_tpl_list *list; /* lists, tuples, ranges, views, iterators, cyclers */
        umbra_tpl_dict *dict; /* dicts and namespaces */
        const umbra_tpl_missing *missing;
        const umbra_tpl_macro *macro;
        const umbra_tpl_function *function;
        const umbra_tpl_method *method;
        umbra_tpl_loop *loop;
    } u;
};

struct umbra_tpl_list {
    umbra_tpl_value *items;
    size_t count, room;
    size_t taken;     /* iterators: already given; cyclers: the position */
    const char *name; /* ranges and views: how they print; set for pairs that groupby made */
};

typedef struct umbra_tpl_entry {
    umbra_tpl_value key, value;
    uint64_t hash;
} umbra_tpl_entry;

struct umbra_tpl_dict {
    umbra_tpl_entry *entries; /* in the order of insertion; a removed one has an absent key */
    size_t used, room, count;
    uint32_t *index; /* [index_room] entry + 1, open addressing; NULL while there are few */
    size_t index_room;
};

/* An operator of one or two characters as a number; a single one has 0 before it. */
#define TPL_OP(first, second) ((uint16_t)((first) << 8 | (second)))

/* ---- making ---- */

umbra_tpl_value umbra_tpl_none(void);
umbra_tpl_value umbra_tpl_bool(bool b);
umbra_tpl_value umbra_tpl_int(int64_t i);
umbra_tpl_value umbra_tpl_float(double f);
/* Data that outlives the context's arena or lies in it. */
int umbra_tpl_text(umbra_tpl_context *c, const char *data, size_t bytes, bool input,
                   umbra_tpl_value *out);
int umbra_tpl_word(umbra_tpl_context *c, const char *text,
                   umbra_tpl_value *out); /* NUL-terminated, of the program */
int umbra_tpl_copy_text(umbra_tpl_context *c, const char *data, size_t bytes, bool input,
                        umbra_tpl_value *out);
int umbra_tpl_new_list(umbra_tpl_context *c, umbra_tpl_kind kind, size_t room,
                       umbra_tpl_value *out);
int umbra_tpl_append(umbra_tpl_context *c, umbra_tpl_value list, umbra_tpl_value item);
void umbra_tpl_turn_around(umbra_tpl_list *l);
int umbra_tpl_pair(umbra_tpl_context *c, umbra_tpl_value first, umbra_tpl_value second,
                   umbra_tpl_value *out);
int umbra_tpl_new_dict(umbra_tpl_context *c, umbra_tpl_kind kind, umbra_tpl_value *out);
int umbra_tpl_undefined(umbra_tpl_context *c, const char *owner, const umbra_tpl_string *name,
                        umbra_tpl_value *out);

/* ---- dicts ---- */

/* NULL: not there. The key must be hashable (umbra_tpl_hash tells). */
int umbra_tpl_dict_find(umbra_tpl_context *c, const umbra_tpl_dict *d, umbra_tpl_value key,
                        umbra_tpl_entry **out);
umbra_tpl_value *umbra_tpl_dict_text(umbra_tpl_context *c, const umbra_tpl_dict *d, const char *key,
                                     size_t bytes);
int umbra_tpl_dict_set(umbra_tpl_context *c, umbra_tpl_dict *d, umbra_tpl_value key,
                       umbra_tpl_value value);
void umbra_tpl_dict_remove(umbra_tpl_dict *d, umbra_tpl_entry *entry);
/* The next entry at or after *at; NULL at the end. */
umbra_tpl_entry *umbra_tpl_dict_next(const umbra_tpl_dict *d, size_t *at);

/* ---- asking ---- */

bool umbra_tpl_is_sequence(umbra_tpl_value v);          /* list, tuple, range, view */
bool umbra_tpl_is_number(umbra_tpl_value v);            /* int, float or boolean */
double umbra_tpl_as_float(umbra_tpl_value v);           /* of a number */
bool umbra_tpl_as_int(umbra_tpl_value v, int64_t *out); /* of an int or boolean */
bool umbra_tpl_truth(umbra_tpl_value v);
const char *umbra_tpl_type_name(umbra_tpl_value v); /* "str" */
bool umbra_tpl_text_is(const umbra_tpl_string *s, const char *text);
int umbra_tpl_equal(umbra_tpl_context *c, umbra_tpl_value a, umbra_tpl_value b, bool *out);
/* < 0, 0, > 0 in *out; an error where the two have no order, named with `op`. */
int umbra_tpl_order(umbra_tpl_context *c, umbra_tpl_value a, umbra_tpl_value b, const char *op,
                    int *out);
int umbra_tpl_hash(umbra_tpl_context *c, umbra_tpl_value v, uint64_t *out);
int umbra_tpl_contains(umbra_tpl_context *c, umbra_tpl_value whole, umbra_tpl_value part,
                       bool *out);
/* The elements; iterators are used up. Not to be changed. */
int umbra_tpl_elements(umbra_tpl_context *c, umbra_tpl_value v, const umbra_tpl_value **items,
                       size_t *count);
int umbra_tpl_length(umbra_tpl_context *c, umbra_tpl_value v, int64_t *out);
/* "'x' is undefined" as an error. */
int umbra_tpl_fail_undefined(umbra_tpl_context *c, umbra_tpl_value v);

#endif
