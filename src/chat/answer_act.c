/* What comes to pass at the markers of an answer. */
#include <string.h>

#include "chat/answer.h"

static bool has(const umbra_held *h, const char *text, const char **behind)
{
    const char *at = h->bytes ? memmem(h->text, h->bytes, text, strlen(text)) : NULL;
    *behind = at ? at + strlen(text) : NULL;
    return at != NULL;
}

/* "assistant to=functions.NAME<|channel|>commentary json": whom a message is for. */
static void begin_message(umbra_answer *a)
{
    const char *to, *channel;
    bool called = has(&a->header, "to=functions.", &to) && a->calls_count;
    has(&a->header, "<|channel|>", &channel);
    size_t left = channel ? (size_t)(a->header.text + a->header.bytes - channel) : 0;
    a->stripped = true;
    if (called) {
        size_t n = 0, most = (size_t)(a->header.text + a->header.bytes - to);
        while (n < most && !strchr(" <\n\t", to[n]))
            n++;
        umbra_answer_begin_call(a);
        umbra_answer_add(a, &a->name, to, n);
        umbra_answer_name_call(a);
        a->state = IN_MESSAGE;
    } else
        a->state = left >= 8 && memcmp(channel, "analysis", 8) == 0 ? IN_REASONING : IN_TEXT;
    a->header.bytes = 0;
}

static void begin_call(umbra_answer *a)
{
    umbra_answer_end_call(a);
    umbra_answer_begin_call(a);
    switch (a->family->form) {
    case UMBRA_CALL_OBJECT:
    case UMBRA_CALL_KEYED:
        a->state = IN_SECTION;
        a->list = true;
        a->open = false;
        break;
    default:
        a->state = IN_NAME;
    }
}

static void end_name(umbra_answer *a)
{
    umbra_answer_name_call(a);
    if (a->family->form == UMBRA_CALL_BRACED) {
        umbra_answer_argue(a, "{", 1);
        a->state = IN_BRACES;
    } else
        a->state = a->family->form == UMBRA_CALL_JSON ? IN_JSON : IN_PAIRS;
}

void umbra_answer_close_call(umbra_answer *a)
{
    if (a->family->form == UMBRA_CALL_PAIRS && a->pairs > 0)
        umbra_answer_argue(a, "}", 1);
    if (a->family->form == UMBRA_CALL_BRACED)
        umbra_answer_end_word(a, false);
    umbra_answer_end_call(a);
    a->stripped = true;
    a->list = false;
    a->state = a->family->section ? IN_SECTION : IN_TEXT;
}

static void begin_key(umbra_answer *a)
{
    umbra_answer_name_call(a);
    a->key.bytes = a->between.bytes = 0;
    a->state = IN_KEY;
}

static void end_key(umbra_answer *a)
{
    a->state = a->family->value ? IN_BETWEEN : IN_VALUE;
    if (a->state == IN_VALUE)
        umbra_answer_begin_value(a);
}

static void begin_value(umbra_answer *a)
{
    while (a->between.bytes > 0 && strchr(" \n\t\r", a->between.text[a->between.bytes - 1]))
        a->between.bytes--;
    umbra_answer_begin_value(a);
    a->state = IN_VALUE;
}

void umbra_answer_act(umbra_answer *a, answer_action action)
{
    switch (action) {
    case DROP:
        a->stripped = true;
        break;
    case BEGIN_REASONING:
        a->stripped = true;
        a->state = IN_REASONING;
        break;
    case END_REASONING:
        a->stripped = true;
        a->state = IN_TEXT;
        break;
    case BEGIN_SECTION:
        a->state = IN_SECTION;
        break;
    case END_SECTION:
        a->list = false;
        a->stripped = true;
        a->state = IN_TEXT;
        break;
    case BEGIN_CALL:
        begin_call(a);
        break;
    case END_CALL:
        umbra_answer_close_call(a);
        break;
    case END_NAME:
        end_name(a);
        break;
    case BEGIN_KEY:
        begin_key(a);
        break;
    case END_KEY:
        end_key(a);
        break;
    case BEGIN_VALUE:
        begin_value(a);
        break;
    case END_VALUE:
        umbra_answer_end_value(a);
        a->state = IN_PAIRS;
        break;
    case BEGIN_QUOTES:
        umbra_answer_argue(a, "\"", 1);
        a->state = IN_QUOTES;
        break;
    case END_QUOTES:
        umbra_answer_argue(a, "\"", 1);
        a->state = IN_BRACES;
        break;
    case BEGIN_HEADER:
        umbra_answer_end_call(a);
        a->state = IN_HEADER;
        break;
    case BEGIN_MESSAGE:
        begin_message(a);
        break;
    }
}
