/* Grammars: JSON, and calls of tools, that a model cannot but write right, since only tokens that
 * go on with them may be drawn (umbra_sampling.allow).
 *
 * A grammar is made of a JSON schema, or of tools with one each. What of JSON Schema it knows:
 *
 *     type          one or a list of: object array string number integer boolean null
 *     properties, required          in the order of `properties`; others are not written
 *     additionalProperties          the values of an object without properties; false; else passed
 *                                   over
 *     items, minItems, maxItems     at most UMBRA_GRAMMAR_ITEMS
 *     minLength, maxLength          characters, at most UMBRA_GRAMMAR_ITEMS
 *     minimum                       0; of an integer 1 too
 *     enum, const   beside a type that fits, or alone; anyOf alone
 *     $ref          "#", "#/$defs/NAME", "#/definitions/NAME"; may go round
 *
 * title, description, default, examples, format, $schema, $id, $comment, deprecated, readOnly,
 * writeOnly and strict change nothing. Everything else is refused by name. Between the parts stand
 * no spaces, one, or a new line with indentation. Whatever is written from beginning to end is
 * valid JSON, of the schema. */
#ifndef UMBRA_GRAMMAR_H
#define UMBRA_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umbra/chat.h>
#include <umbra/model.h>
#include <umbra/status.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { UMBRA_GRAMMAR_ITEMS = 4096 /* the largest count in a schema */ };

/* The bytes of all tokens of a model, as a tree: made once, for any number of grammars and threads
 * at once. */
typedef struct umbra_spellings umbra_spellings;

/* Of the model, which must outlive it. Takes some 12 bytes of memory per byte of the vocabulary. On
 * failure *out is NULL. */
UMBRA_API int umbra_spellings_open(umbra_spellings **out, const umbra_model *model,
                                   umbra_error *err);
/* Accepts NULL and nulls the pointer. */
UMBRA_API void umbra_spellings_close(umbra_spellings **spellings);

/* How a grammar is applied. */
typedef struct umbra_grammar_options {
    int begin;            /* where it begins in the tokens of the text: the length of the prompt */
    const char *after;    /* anything may come until this text has (at most 254 bytes),
                             "</think>"; NULL: it begins at once */
    uint64_t reserved[4]; /* room for options to come: zeros */
} umbra_grammar_options;

/* What may be written. One thread at a time. */
typedef struct umbra_grammar umbra_grammar;

/* Of a schema (bytes of JSON text; NULL: any JSON object). The spellings must outlive it; options
 * may be NULL. UMBRA_E_FORMAT: it is no JSON; UMBRA_E_UNSUPPORTED: a keyword or value is not known
 * (it is named, with its place), or nothing can be written by it. On failure *out is NULL. */
UMBRA_API int umbra_grammar_open(umbra_grammar **out, const umbra_spellings *spellings,
                                 const char *schema, size_t bytes,
                                 const umbra_grammar_options *options, umbra_error *err);

/* Which calls of tools may be written, and which must. */
typedef struct umbra_call_options {
    const umbra_chat *chat;          /* whose family writes them */
    const umbra_chat_prompt *prompt; /* what is answered: the grammar begins behind its tokens */
    const char *tools;    /* (bytes) JSON text: a list of {"type": "function", "function":
                             {"name", "parameters", "strict"}} */
    size_t bytes;         /* of tools */
    bool must;            /* the answer is calls, with reasoning before them at most */
    const char *only;     /* the name of the tool that may be called; NULL: any */
    uint64_t reserved[4]; /* room for options to come: zeros */
} umbra_call_options;

/* Calls of tools as the chat's family writes them: a name of a tool, and arguments that follow its
 * schema where it is strict, and else, where the schema is not known, are any. Where no call must
 * come, anything may, until a marker of calls has. chat, prompt and tools need not outlive the
 * call. UMBRA_E_FORMAT: tools is no JSON; UMBRA_E_UNSUPPORTED: a strict tool's schema is not known,
 * or how the family writes calls; UMBRA_E_ARGUMENT: there is no such tool. On failure *out is NULL.
 */
UMBRA_API int umbra_grammar_open_calls(umbra_grammar **out, const umbra_spellings *spellings,
                                       const umbra_call_options *options, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
UMBRA_API void umbra_grammar_close(umbra_grammar **grammar);
/* An `allow` for umbra_sampling, its user being the grammar: the tokens that may come after tokens
 * (n), end tokens where the text may end. UMBRA_E_ARGUMENT: the tokens do not follow the grammar. A
 * mask is computed once for each place in the text's structure. */
UMBRA_API int umbra_grammar_allow(void *grammar, const int32_t *tokens, int n, uint64_t *allowed);

#ifdef __cplusplus
}
#endif
#endif
