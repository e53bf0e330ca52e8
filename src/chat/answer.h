/* Inside of an answer: the machine that follows the markers, and what it writes into. */
#ifndef UMBRA_CHAT_ANSWER_H
#define UMBRA_CHAT_ANSWER_H

#include <umbra/answer.h>

#include "chat/family.h"
#include "chat/held.h"
#include "chat/internal.h"

enum { ANSWER_MARKERS = 12 };

/* Where the answer is. */
typedef enum answer_state {
    IN_TEXT,
    IN_REASONING,
    IN_SECTION, /* between calls, or behind the last */
    IN_NAME,
    IN_OBJECT, /* a JSON object that names the call */
    IN_JSON,   /* arguments as JSON */
    IN_PAIRS,  /* between pairs of key and value */
    IN_KEY,
    IN_BETWEEN, /* a key and its value */
    IN_VALUE,
    IN_BRACES,
    IN_QUOTES, /* a text inside braces */
    IN_HEADER, /* of a message in a channel */
    IN_MESSAGE /* one that is a call */
} answer_state;

/* What comes to pass at a marker. */
typedef enum answer_action {
    DROP,
    BEGIN_REASONING,
    END_REASONING,
    BEGIN_SECTION,
    END_SECTION,
    BEGIN_CALL,
    END_CALL,
    END_NAME,
    BEGIN_KEY,
    END_KEY,
    BEGIN_VALUE,
    END_VALUE,
    BEGIN_QUOTES,
    END_QUOTES,
    BEGIN_HEADER,
    BEGIN_MESSAGE
} answer_action;

typedef struct answer_marker {
    const char *text;
    answer_action action;
} answer_marker;

typedef struct answer_markers {
    answer_marker list[ANSWER_MARKERS];
    int n;
} answer_markers;

/* Follows a JSON value byte by byte. Begins as {0}. */
typedef struct json_follower {
    int depth;
    bool string, escaped;
    bool key;  /* the string is a key of the outermost object */
    bool keys; /* the next string there is one */
} json_follower;

/* Which member of the object that names a call is being read. */
typedef enum call_member { MEMBER_OTHER, MEMBER_NAME, MEMBER_ID, MEMBER_ARGUMENTS } call_member;

struct umbra_answer {
    const umbra_chat *chat;
    umbra_family own;           /* the chat's, as far as it counts here */
    const umbra_family *family; /* that one */
    bool calls_count;           /* there are tools */
    umbra_tpl_value tools;
    umbra_answer_listener *listener;
    void *user;
    answer_state state;
    umbra_held in; /* what is not read yet */
    int rc;        /* of the listener, or UMBRA_E_NOMEM */

    /* Text and reasoning: spaces at their ends belong to neither. */
    umbra_answer_part part; /* of what was written last */
    bool begun;             /* something was written of it */
    bool stripped;          /* text does not begin with spaces: something stood before */
    umbra_held spaces;      /* held back until something follows */

    /* What has come since a marker of calls, until one has its name: text, if none gets one. */
    umbra_held raw;
    bool pending;

    /* The call in work. */
    int n_calls;
    bool list;        /* objects that name calls are to come */
    bool open, named; /* one is in work; its name was told */
    umbra_held name, id, key, between, value, header;
    umbra_held arguments;
    size_t told;          /* of the arguments */
    int pairs;            /* written so far */
    bool streams, opened; /* the value is a text, told as it comes; its quote was */
    json_follower json;
    call_member member;
    bool quoted; /* the arguments are a JSON text inside a JSON string */
    umbra_held word;
};

/* ---- markers: answer_markers.c ---- */

/* Those that may come where the answer is. */
answer_markers umbra_answer_expected(const umbra_answer *a);
/* The longest of them at text (n bytes), or NULL; *partial: a longer one may be, once more has
 * come. */
const answer_marker *umbra_answer_find(const answer_markers *m, const char *text, size_t n,
                                       bool *partial);
/* Whether a control token's text is one of the family's markers, or a part of one. */
bool umbra_answer_is_marker(const umbra_family *f, const char *text, size_t n);

/* ---- what comes to pass at them: answer_act.c ---- */

void umbra_answer_act(umbra_answer *a, answer_action action);
void umbra_answer_close_call(umbra_answer *a);

/* ---- writing: answer_write.c ---- */

bool umbra_answer_add(umbra_answer *a, umbra_held *to, const char *text, size_t n);
void umbra_answer_tell(umbra_answer *a, umbra_answer_event *e);
/* Text or reasoning. */
void umbra_answer_write(umbra_answer *a, umbra_answer_part part, const char *text, size_t n);
/* What is held back of it, at the end of the answer. */
void umbra_answer_write_rest(umbra_answer *a);
void umbra_answer_begin_call(umbra_answer *a);
/* Tells the name, once it is known. */
void umbra_answer_name_call(umbra_answer *a);
void umbra_answer_argue(umbra_answer *a, const char *text, size_t n);
/* The same with what a JSON string needs for escapes. */
void umbra_answer_argue_escaped(umbra_answer *a, const char *text, size_t n);
/* Tells what has come of the arguments. */
void umbra_answer_flush(umbra_answer *a);
void umbra_answer_end_call(umbra_answer *a);

/* ---- forms of calls: answer_json.c, answer_pairs.c ---- */

/* Each takes bytes and returns how many of them belong to the call; fewer than n: it has ended. */
size_t umbra_answer_object(umbra_answer *a, const char *text, size_t n);
size_t umbra_answer_json(umbra_answer *a, const char *text, size_t n);
/* A key has been read, and its value follows; the value goes on; it has ended. */
void umbra_answer_begin_value(umbra_answer *a);
void umbra_answer_value(umbra_answer *a, const char *text, size_t n);
void umbra_answer_end_value(umbra_answer *a);
void umbra_answer_braces(umbra_answer *a, const char *text, size_t n);
/* The word before a place in braces: a key, or a value. */
void umbra_answer_end_word(umbra_answer *a, bool key);

/* Whether a text is one JSON value, and an object. */
bool umbra_is_json(const char *text, size_t n, bool object);

#endif
