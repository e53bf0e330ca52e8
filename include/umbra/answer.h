/* Answers: what a model has written, taken apart while it is written: text, reasoning, and calls of
 * tools with their arguments as JSON.
 *
 * How a model writes these is known by families (Hermes and Qwen, Qwen3-Coder, GLM, MiniMax,
 * Harmony of gpt-oss, Kimi, DeepSeek, Gemma, Mistral and others; src/chat/family.c); which one it
 * is follows from the text of its template. Of a model of no known family all is text. */
#ifndef UMBRA_ANSWER_H
#define UMBRA_ANSWER_H

#include <umbra/chat.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a piece of an answer is. */
typedef enum umbra_answer_part {
    UMBRA_ANSWER_TEXT,      /* what the user is to see */
    UMBRA_ANSWER_REASONING, /* what the model thinks */
    UMBRA_ANSWER_CALL,      /* a call of a tool begins; text is the tool's name */
    UMBRA_ANSWER_ARGUMENTS, /* the next piece of its arguments, a JSON text */
    UMBRA_ANSWER_CALL_END   /* it has ended; text is all of its arguments */
} umbra_answer_part;

/* A piece of an answer; its texts are valid during the call. */
typedef struct umbra_answer_event {
    umbra_answer_part part; /* what it is */
    int call;               /* the number of the call, from 0; -1 where it is none */
    const char *text;       /* (bytes), not NUL-terminated; whole UTF-8 characters */
    size_t bytes;           /* of text */
    const char *id;  /* UMBRA_ANSWER_CALL: (id_bytes) the name that the model gave the call */
    size_t id_bytes; /* of id; 0: it gave none */
    bool whole;      /* UMBRA_ANSWER_CALL_END: the arguments are a JSON object */
} umbra_answer_event;

/* Is told of the pieces, in order. Non-zero stops the call, which returns that value. */
typedef int umbra_answer_listener(void *user, const umbra_answer_event *event);

/* Takes one answer apart. One thread at a time. */
typedef struct umbra_answer umbra_answer;

/* For an answer to a prompt (NULL: nothing of an answer stands in it yet), which tells whether the
 * model begins inside its reasoning. tools: the request's, whose schemas tell texts from numbers
 * where a family writes arguments bare; NULL: what looks like a call is text. chat, tools and the
 * tree that they lie in must stay as they are while the answer is open. On failure *out is NULL. */
UMBRA_API int umbra_answer_open(umbra_answer **out, const umbra_chat *chat,
                                const umbra_chat_prompt *prompt, const umbra_template_value *tools,
                                umbra_answer_listener *listener, void *user, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
UMBRA_API void umbra_answer_close(umbra_answer **answer);
/* The next token of the answer (the chat must have a model). Returns UMBRA_OK, UMBRA_E_NOMEM, or
 * what the listener did. */
UMBRA_API int umbra_answer_take(umbra_answer *answer, int32_t id);
/* The same for bytes. control: the text of a control token, which is left out unless it is one of
 * the family's markers. */
UMBRA_API int umbra_answer_take_text(umbra_answer *answer, const char *bytes, size_t n,
                                     bool control);
/* The answer has ended: hands out what was held back, and ends a call that was cut off. */
UMBRA_API int umbra_answer_end(umbra_answer *answer);
/* How many calls have begun. */
UMBRA_API int umbra_answer_calls(const umbra_answer *answer);

#ifdef __cplusplus
}
#endif
#endif
