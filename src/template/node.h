/* A parsed template. */
#ifndef UMBRA_TEMPLATE_NODE_H
#define UMBRA_TEMPLATE_NODE_H

#include "template/value.h"

/* What a node's fields hold, by type. Lists are chained by `next`. */
typedef enum umbra_tpl_node_type {
    /* expressions */
    TPL_N_CONSTANT, /* value */
    TPL_N_NAME,     /* name */
    TPL_N_LIST,     /* a: elements */
    TPL_N_TUPLE,    /* a: elements */
    TPL_N_DICT,     /* a: keys and values in turns */
    TPL_N_CHOICE,   /* a if b else c (or NULL) */
    TPL_N_OR,       /* a, b */
    TPL_N_AND,      /* a, b */
    TPL_N_NOT,      /* a */
    TPL_N_COMPARE,  /* a, then b: the other operands, each with its op */
    TPL_N_BINARY,   /* a op b */
    TPL_N_NEGATIVE, /* a */
    TPL_N_POSITIVE, /* a */
    TPL_N_CONCAT,   /* a: operands */
    TPL_N_MEMBER,   /* a.name */
    TPL_N_ITEM,     /* a[b] */
    TPL_N_SLICE,    /* a[b:c:d], each of b, c, d may be NULL */
    TPL_N_CALL,     /* a(b: arguments) */
    TPL_N_FILTER,   /* a (NULL: what the block printed) | name(b: arguments); function or NULL */
    TPL_N_TEST,     /* a is name(b: arguments); function or NULL */
    /* an argument: a, and its name, or op '*' for a list of them, TPL_OP('*', '*') for a dict */
    TPL_N_ARGUMENT,
    TPL_N_ATTRIBUTE, /* name.member as a target; a: a NAME with the member's name */
    /* statements */
    TPL_N_TEXT,       /* value */
    TPL_N_PRINT,      /* a */
    TPL_N_DO,         /* a */
    TPL_N_IF,         /* a: condition, b: body, c: else; flag: this is an elif */
    TPL_N_FOR,        /* a: target, b: iterable, c: body, d: else; filter; flag: recursive */
    TPL_N_SET,        /* a: target, b: value */
    TPL_N_CAPTURE,    /* a: target, b: body, c: FILTERs on it (innermost a is NULL) or NULL */
    TPL_N_MACRO,      /* name, a: parameters (NAMEs, a: default or NULL), b: body; op: TPL_USES_* */
    TPL_N_CALL_BLOCK, /* a: the CALL, b: an unnamed MACRO */
    TPL_N_FILTER_BLOCK, /* a: FILTERs, b: body */
    TPL_N_SCOPE,        /* a: SETs of its own, b: body; flag: its variables are those around it */
    TPL_N_BREAK,
    TPL_N_CONTINUE
} umbra_tpl_node_type;

enum { TPL_USES_VARARGS = 1, TPL_USES_KWARGS = 2, TPL_USES_CALLER = 4 };

/* Operands of COMPARE besides the characters of the operator. */
#define TPL_OP_IN     TPL_OP('i', 'n')
#define TPL_OP_NOT_IN TPL_OP('n', 'i')

typedef struct umbra_tpl_node umbra_tpl_node;
struct umbra_tpl_node {
    uint8_t type;
    bool flag;
    uint16_t op;
    uint32_t line;
    umbra_tpl_node *a, *b, *c, *d, *next;
    union {
        const umbra_tpl_string *name; /* interned: equal names have equal pointers */
        umbra_tpl_node *filter;
    } u;
    const umbra_tpl_function *function;
    umbra_tpl_value value;
};

/* Names that rendering itself binds, interned. */
struct umbra_tpl_words {
    const umbra_tpl_string *loop, *caller, *varargs, *kwargs;
};

/* Parses into the context's arena. */
int umbra_tpl_parse(umbra_tpl_context *c, const char *source, size_t bytes, umbra_tpl_words *words,
                    umbra_tpl_node **body);

#endif
