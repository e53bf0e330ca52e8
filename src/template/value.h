/* What a template computes with. Values are small and passed by value; what they point to lies in
 * the arena of the context and lives as long as it does. */
#ifndef UMBRA_TEMPLATE_VALUE_H
#define UMBRA_TEMPLATE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "template/context.h"

typedef enum tpl_kind {
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
} tpl_kind;

/* Valid UTF-8, never changed. Each byte stems from the template or from the caller's input. */
typedef struct tpl_string {
    const char *data; /* not NUL-terminated, never NULL */
    size_t bytes;
    size_t chars;
    const uint8_t *marks; /* [bytes] 1: input, 0: template; NULL: all as `input` says */
    bool input;
    bool safe; /* declared HTML-safe: what is added to it is escaped, as the language has it */
} tpl_string;

typedef struct tpl_value tpl_value;
typedef struct tpl_list tpl_list;
typedef struct tpl_dict tpl_dict;
typedef struct tpl_macro tpl_macro;
typedef struct tpl_loop tpl_loop;
typedef struct tpl_method tpl_method;
typedef struct tpl_function tpl_function;

/* Why there is no value: a variable (owner NULL) or a member of an object. */
typedef struct tpl_missing {
    const char *owner;
    const tpl_string *name;
} tpl_missing;

struct tpl_value {
    uint8_t kind; /* tpl_kind */
    bool input;   /* of numbers and booleans: given by the caller, or computed from such */
    union {
        bool boolean;
        int64_t integer;
        double real;
        const tpl_string *string;
        tpl_list *list; /* lists, tuples, ranges, views, iterators, cyclers */
        tpl_dict *dict; /* dicts and namespaces */
        const tpl_missing *missing;
        const tpl_macro *macro;
        const tpl_function *function;
        const tpl_method *method;
        tpl_loop *loop;
    } u;
};

struct tpl_list {
    tpl_value *items;
    size_t count, room;
    size_t taken;     /* iterators: already given; cyclers: the position */
    const char *name; /* ranges and views: how they print; set for pairs that groupby made */
};

typedef struct tpl_entry {
    tpl_value key, value;
    uint64_t hash;
} tpl_entry;

struct tpl_dict {
    tpl_entry *entries; /* in the order of insertion; a removed one has an absent key */
    size_t used, room, count;
    uint32_t *index; /* [index_room] entry + 1, open addressing; NULL while there are few */
    size_t index_room;
};

/* An operator of one or two characters as a number; a single one has 0 before it. */
#define TPL_OP(first, second) ((uint16_t)((first) << 8 | (second)))

/* ---- making ---- */

tpl_value tpl_none(void);
tpl_value tpl_bool(bool b);
tpl_value tpl_int(int64_t i);
tpl_value tpl_float(double f);
/* Data that outlives the context's arena or lies in it. */
int tpl_text(tpl_context *c, const char *data, size_t bytes, bool input, tpl_value *out);
int tpl_word(tpl_context *c, const char *text, tpl_value *out); /* NUL-terminated, of the program */
int tpl_copy_text(tpl_context *c, const char *data, size_t bytes, bool input, tpl_value *out);
int tpl_new_list(tpl_context *c, tpl_kind kind, size_t room, tpl_value *out);
int tpl_append(tpl_context *c, tpl_value list, tpl_value item);
void tpl_turn_around(tpl_list *l);
int tpl_pair(tpl_context *c, tpl_value first, tpl_value second, tpl_value *out);
int tpl_new_dict(tpl_context *c, tpl_kind kind, tpl_value *out);
int tpl_undefined(tpl_context *c, const char *owner, const tpl_string *name, tpl_value *out);

/* ---- dicts ---- */

/* NULL: not there. The key must be hashable (tpl_hash tells). */
int tpl_dict_find(tpl_context *c, const tpl_dict *d, tpl_value key, tpl_entry **out);
tpl_value *tpl_dict_text(tpl_context *c, const tpl_dict *d, const char *key, size_t bytes);
int tpl_dict_set(tpl_context *c, tpl_dict *d, tpl_value key, tpl_value value);
void tpl_dict_remove(tpl_dict *d, tpl_entry *entry);
/* The next entry at or after *at; NULL at the end. */
tpl_entry *tpl_dict_next(const tpl_dict *d, size_t *at);

/* ---- asking ---- */

bool tpl_is_sequence(tpl_value v);          /* list, tuple, range, view */
bool tpl_is_number(tpl_value v);            /* int, float or boolean */
double tpl_as_float(tpl_value v);           /* of a number */
bool tpl_as_int(tpl_value v, int64_t *out); /* of an int or boolean */
bool tpl_truth(tpl_value v);
const char *tpl_type_name(tpl_value v); /* "str" */
bool tpl_text_is(const tpl_string *s, const char *text);
int tpl_equal(tpl_context *c, tpl_value a, tpl_value b, bool *out);
/* < 0, 0, > 0 in *out; an error where the two have no order, named with `op`. */
int tpl_order(tpl_context *c, tpl_value a, tpl_value b, const char *op, int *out);
int tpl_hash(tpl_context *c, tpl_value v, uint64_t *out);
int tpl_contains(tpl_context *c, tpl_value whole, tpl_value part, bool *out);
/* The elements; iterators are used up. Not to be changed. */
int tpl_elements(tpl_context *c, tpl_value v, const tpl_value **items, size_t *count);
int tpl_length(tpl_context *c, tpl_value v, int64_t *out);
/* "'x' is undefined" as an error. */
int tpl_fail_undefined(tpl_context *c, tpl_value v);

#endif
