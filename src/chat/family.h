/* Families: how models write reasoning and calls of tools. One row per way. */
#ifndef UMBRA_CHAT_FAMILY_H
#define UMBRA_CHAT_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umbra/chat.h>

/* Markers that stand in no row: those of channels, and around texts in braces. */
#define UMBRA_MARK_START   "<|start|>"
#define UMBRA_MARK_MESSAGE "<|message|>"
#define UMBRA_MARK_QUOTES  "<|\"|>"

enum { UMBRA_FAMILY_SIGNS = 3, UMBRA_FAMILY_DROPS = 4 };

/* What stands between the markers of a call. */
typedef enum umbra_call_form {
    UMBRA_CALL_NONE,   /* the family has no calls */
    UMBRA_CALL_OBJECT, /* JSON objects with name and arguments, or a list of such */
    UMBRA_CALL_KEYED,  /* a list of JSON objects {NAME: ARGUMENTS} */
    UMBRA_CALL_JSON,   /* the name, then the arguments as a JSON object */
    UMBRA_CALL_PAIRS,  /* the name, then keys and values between markers */
    UMBRA_CALL_BRACED, /* the name, then {key:value}, texts between <|"|> */
    UMBRA_CALL_CHANNEL /* messages with headers: where they go stands before <|message|> */
} umbra_call_form;

/* Texts that are NULL are not written by the family. */
typedef struct umbra_family {
    const char *name;
    const char *signs[UMBRA_FAMILY_SIGNS]; /* a template with all of them is of the family */
    umbra_call_form form;
    const char *think, *think_end;         /* around reasoning */
    const char *section, *section_end;     /* around all calls */
    const char *call, *call_end;           /* around one */
    const char *name_end;                  /* between the name and what follows */
    const char *key, *key_end;             /* around a key */
    const char *value, *value_end;         /* around a value; value NULL: it follows key_end */
    bool bare;                             /* a call is an object with which the answer begins */
    bool lines;                            /* values stand on lines of their own */
    const char *name_prefix;               /* no part of the name; what stood there is the id */
    char name_cut;                         /* from here on it is none either; 0: all is */
    const char *drops[UMBRA_FAMILY_DROPS]; /* what stands in the text and is no part of it */
    const char *goes_on;                   /* an end token that ends no answer */
    /* What is written beyond what is looked for: */
    bool list;                        /* the objects of calls stand in a JSON list */
    const char *keys[3];              /* an object's: of the name, the arguments, an id */
    const char *ids;                  /* in front of a call: an id stands behind it */
    const char *number, *number_end;  /* around a number behind the name, in place of name_end */
    const char *json_end;             /* behind arguments as JSON */
    const char *text_type, *any_type; /* between key_end and value: of texts, of other values */
    bool key_again;                   /* the key and key_end stand behind value_end too */
} umbra_family;

/* The family of a template, NULL: none that is known. */
const umbra_family *umbra_family_find(const char *source, size_t bytes);
/* The row (NULL: no family) as far as it counts for an answer: without tools, no calls; reasoning
 * between the usual markers, where the row has no others. */
umbra_family umbra_family_fit(const umbra_family *known, bool tools);

/* What a prompt says of the reasoning at its end. */
typedef enum umbra_thought {
    UMBRA_THOUGHT_NONE, /* nothing: an answer may begin with it */
    UMBRA_THOUGHT_OPEN, /* the answer goes on in it */
    UMBRA_THOUGHT_DONE  /* it has ended, or is not to be */
} umbra_thought;

/* The row's markers tell. */
umbra_thought umbra_family_thought(const umbra_family *f, const umbra_template_output *prompt);
/* The chat's, or NULL. */
const umbra_family *umbra_family_of(const umbra_chat *chat);

#endif
