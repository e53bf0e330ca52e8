/* Chats: messages in, the tokens of a prompt out, in the form that a model was trained with.
 *
 * The values of a request are trees (template.h) in the shape of the chat APIs; JSON text becomes
 * such by umbra_template_json. Where templates differ in what they take (texts or lists of parts,
 * arguments of tool calls as objects or as JSON text), a chat finds out when it is opened and
 * hands over what its template takes.
 *
 * Everything in a request counts as a user's, except the names of roles that are known: its bytes
 * never become control tokens, nor the markers that a vocabulary has as tokens of its own. */
#ifndef UMBRA_CHAT_H
#define UMBRA_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <umbra/model.h>
#include <umbra/status.h>
#include <umbra/template.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a model talks: its template, and what is known of it. Immutable; any thread. */
typedef struct umbra_chat umbra_chat;

/* Parses a template (bytes, copied; see umbra_model_read_template) and tries it out. The model must
 * outlive the chat; NULL: prompts are texts without tokens. UMBRA_E_FORMAT, UMBRA_E_UNSUPPORTED: as
 * umbra_template_open. On failure *out is NULL. */
UMBRA_API int umbra_chat_open(umbra_chat **out, const umbra_model *model, const char *source,
                              size_t bytes, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
UMBRA_API void umbra_chat_close(umbra_chat **chat);

/* The family by which its answers are taken apart (answer.h): "hermes". NULL: none that is known.
 */
UMBRA_API const char *umbra_chat_family(const umbra_chat *chat);
/* The token ends an answer: as umbra_is_end_token, but for those between an answer's messages in
 * families that have several. The chat must have a model. */
UMBRA_API bool umbra_chat_is_end(const umbra_chat *chat, int32_t id);

/* What a prompt is made of. */
typedef struct umbra_chat_request {
    umbra_template_tree *tree; /* that the values lie in; rendering adds to it */
    /* A list of dicts: "role", "content" (a text, a list of {"type": "text", "text": ...}, or
     * none), and what else the template asks for: "reasoning_content", "tool_calls" (a list of
     * {"id", "type", "function": {"name", "arguments"}}, arguments as a dict or as JSON text),
     * "tool_call_id", "name". */
    const umbra_template_value *messages;
    const umbra_template_value *tools;     /* a list of {"type": "function", "function": {...}};
                                              NULL: none */
    const umbra_template_value *variables; /* a dict of further variables of the template, as
                                              enable_thinking; NULL: none */
    bool no_answer;                        /* leave out what begins an answer */
    bool continues;       /* the last message is an assistant's and goes on: nothing follows it */
    const struct tm *now; /* what the template takes for the time; NULL: the local time */
    uint64_t reserved[4]; /* room for options to come: zeros */
} umbra_chat_request;

/* A prompt. */
typedef struct umbra_chat_prompt {
    umbra_template_output rendering; /* the text, and which bytes of it are the request's */
    int32_t *tokens;                 /* (count) the prompt, BOS included where it belongs;
                                        NULL without a model */
    size_t count;                    /* of tokens */
} umbra_chat_prompt;

/* Renders and tokenises. UMBRA_E_ARGUMENT: the template refuses the messages, in its own words, or
 * they are not as they must be; UMBRA_E_FORMAT: the template fails. On success *out is to be freed
 * with umbra_chat_prompt_free; on failure it is empty. Any thread, with a tree of its own. */
UMBRA_API int umbra_chat_render(const umbra_chat *chat, const umbra_chat_request *request,
                                umbra_chat_prompt *out, umbra_error *err);
/* Leaves it empty. */
UMBRA_API void umbra_chat_prompt_free(umbra_chat_prompt *prompt);

#ifdef __cplusplus
}
#endif
#endif
