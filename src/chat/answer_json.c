/* Calls of tools that are written as JSON. */
#include <string.h>

#include "chat/answer.h"

/* ---- following JSON ---- */

/* What a byte is to the outermost value. */
typedef enum json_step {
    STEP_INSIDE,  /* of one of its members, or of a string in it */
    STEP_OUTSIDE, /* brackets, commas, colons and spaces of its own */
    STEP_KEY,     /* of a key, quotes included */
    STEP_MEMBER,  /* the comma or bracket that ends a member */
    STEP_END      /* the bracket that ends it */
} json_step;

static json_step follow_string(json_follower *j, char c)
{
    bool key = j->key;
    if (j->escaped)
        j->escaped = false;
    else if (c == '\\')
        j->escaped = true;
    else if (c == '"')
        j->string = j->key = false;
    return key ? STEP_KEY : STEP_INSIDE;
}

static json_step follow(json_follower *j, char c)
{
    if (j->string)
        return follow_string(j, c);
    switch (c) {
    case '"':
        j->string = true;
        j->key = j->depth == 1 && j->keys;
        return j->key ? STEP_KEY : STEP_INSIDE;
    case '{':
    case '[':
        if (++j->depth > 1)
            return STEP_INSIDE;
        j->keys = true;
        return STEP_OUTSIDE;
    case '}':
    case ']':
        return --j->depth > 0 ? STEP_INSIDE : STEP_END;
    case ':':
        if (j->depth > 1)
            return STEP_INSIDE;
        j->keys = false;
        return STEP_OUTSIDE;
    case ',':
        if (j->depth > 1)
            return STEP_INSIDE;
        j->keys = true;
        return STEP_MEMBER;
    default:
        return j->depth > 1 || !strchr(" \t\r\n", c) ? STEP_INSIDE : STEP_OUTSIDE;
    }
}

size_t umbra_answer_json(umbra_answer *a, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (follow(&a->json, text[i]) == STEP_END) {
            umbra_answer_argue(a, text, i + 1);
            return i + 1;
        }
    umbra_answer_argue(a, text, n);
    return n;
}

/* ---- objects that name the call ---- */

static bool key_is(const umbra_answer *a, const char *key)
{
    size_t n = strlen(key);
    return a->key.bytes == n && memcmp(a->key.text, key, n) == 0;
}

/* A key has been read, quotes included. */
static void end_key(umbra_answer *a)
{
    if (a->key.bytes < 2)
        return;
    a->key.bytes -= 2;
    memmove(a->key.text, a->key.text + 1, a->key.bytes);
    if (a->family->form == UMBRA_CALL_KEYED) {
        a->name.bytes = 0;
        umbra_answer_add(a, &a->name, a->key.text, a->key.bytes);
        umbra_answer_name_call(a);
        a->member = MEMBER_ARGUMENTS;
    } else if (key_is(a, "name") || key_is(a, "tool_name"))
        a->member = MEMBER_NAME;
    else if (key_is(a, "id") || key_is(a, "tool_call_id"))
        a->member = MEMBER_ID;
    else if (key_is(a, "arguments") || key_is(a, "parameters"))
        a->member = MEMBER_ARGUMENTS;
    else
        a->member = MEMBER_OTHER;
    a->key.bytes = 0;
}

/* Drops the quotes of a JSON string; what is none stays. */
static void drop_quotes(umbra_held *h)
{
    if (h->bytes < 2 || h->text[0] != '"')
        return;
    h->bytes -= 2;
    memmove(h->text, h->text + 1, h->bytes);
}

static void end_member(umbra_answer *a)
{
    if (a->member == MEMBER_NAME)
        drop_quotes(&a->name);
    if (a->member == MEMBER_ID)
        drop_quotes(&a->id);
    if (a->member == MEMBER_ARGUMENTS)
        a->quoted = a->arguments.bytes > 0 && a->arguments.text[0] == '"';
    a->member = MEMBER_OTHER;
}

static void take_inside(umbra_answer *a, char c)
{
    if (a->member == MEMBER_NAME && !a->named)
        umbra_answer_add(a, &a->name, &c, 1);
    else if (a->member == MEMBER_ID)
        umbra_answer_add(a, &a->id, &c, 1);
    else if (a->member == MEMBER_ARGUMENTS) {
        /* The name stands before the arguments, or behind all. */
        if (a->arguments.bytes == 0 && a->name.bytes > 0 && c != '"')
            umbra_answer_name_call(a);
        umbra_answer_argue(a, &c, 1);
    }
}

size_t umbra_answer_object(umbra_answer *a, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool key = a->json.key;
        json_step step = follow(&a->json, text[i]);
        umbra_answer_add(a, &a->word, &text[i], 1);
        if (step == STEP_KEY) {
            umbra_answer_add(a, &a->key, &text[i], 1);
            if (key && !a->json.key)
                end_key(a);
        } else if (step == STEP_INSIDE)
            take_inside(a, text[i]);
        else if (step == STEP_MEMBER || step == STEP_END) {
            end_member(a);
            if (a->family->form == UMBRA_CALL_KEYED && step == STEP_MEMBER) {
                json_follower here = a->json;
                umbra_answer_end_call(a);
                umbra_answer_begin_call(a);
                a->json = here;
            }
        }
        if (step == STEP_END)
            return i + 1;
    }
    return n;
}
