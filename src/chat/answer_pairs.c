/* Calls of tools that are written as keys and values: what of them is text, and what JSON. */
#include <string.h>

#include "chat/answer.h"

/* ---- schemas ---- */

static bool held_is(const umbra_held *h, const umbra_tpl_string *s)
{
    return s && s->bytes == h->bytes && (h->bytes == 0 || memcmp(s->data, h->text, s->bytes) == 0);
}

/* The dict of a tool: {"function": {...}}, or the function itself. */
static umbra_tpl_value function_of(umbra_tpl_value tool)
{
    const umbra_tpl_value *inner = umbra_value_member(tool, "function");
    return inner ? *inner : tool;
}

/* The schemas of the parameters of the tool that is called, or none. */
static umbra_tpl_value parameters_of(const umbra_answer *a)
{
    umbra_tpl_value none = umbra_tpl_none();
    for (size_t i = 0; a->tools.kind == TPL_LIST && i < a->tools.u.list->count; i++) {
        umbra_tpl_value f = function_of(a->tools.u.list->items[i]);
        if (!held_is(&a->name, umbra_value_text(f, "name")))
            continue;
        const umbra_tpl_value *schema = umbra_value_member(f, "parameters");
        const umbra_tpl_value *all = schema ? umbra_value_member(*schema, "properties") : NULL;
        return all ? *all : none;
    }
    return none;
}

/* The type that the schema of the key gives, "": none. */
static const umbra_tpl_string *type_of_key(const umbra_answer *a)
{
    umbra_tpl_value all = parameters_of(a);
    size_t at = 0;
    if (all.kind != TPL_DICT)
        return NULL;
    UMBRA_EACH_MEMBER(e, at, all)
    if (e->key.kind == TPL_STRING && held_is(&a->key, e->key.u.string))
        return umbra_value_text(e->value, "type");
    return NULL;
}

/* ---- values ---- */

static bool between_is(const umbra_answer *a, const char *word)
{
    size_t n = strlen(word);
    return a->between.bytes == n && memcmp(a->between.text, word, n) == 0;
}

/* Whether the value is a text, by what stands beside its key, or by the schema. */
static bool is_text(const umbra_answer *a)
{
    const umbra_tpl_string *type = type_of_key(a);
    if (a->between.bytes > 0)
        return between_is(a, "true") || between_is(a, "string");
    return type && umbra_tpl_text_is(type, "string");
}

static void trim(umbra_held *h)
{
    size_t skip = 0;
    while (skip < h->bytes && strchr(" \n\t\r", h->text[skip]))
        skip++;
    h->bytes -= skip;
    if (h->bytes > 0)
        memmove(h->text, h->text + skip, h->bytes);
    while (h->bytes > 0 && strchr(" \n\t\r", h->text[h->bytes - 1]))
        h->bytes--;
}

void umbra_answer_begin_value(umbra_answer *a)
{
    trim(&a->key);
    if (a->pairs++ == 0)
        umbra_answer_argue(a, "{", 1);
    else
        umbra_answer_argue(a, ", ", 2);
    umbra_answer_argue(a, "\"", 1);
    umbra_answer_argue_escaped(a, a->key.text, a->key.bytes);
    umbra_answer_argue(a, "\": ", 3);
    a->streams = is_text(a);
    a->opened = false;
    a->value.bytes = 0;
    if (a->streams)
        umbra_answer_argue(a, "\"", 1);
}

/* Texts are told as they come, but for a line's end that may be the last. */
void umbra_answer_value(umbra_answer *a, const char *text, size_t n)
{
    umbra_answer_add(a, &a->value, text, n);
    if (!a->streams || a->value.bytes == 0)
        return;
    if (a->family->lines && !a->opened && a->value.text[0] == '\n') {
        a->value.bytes--;
        memmove(a->value.text, a->value.text + 1, a->value.bytes);
    }
    a->opened = true;
    size_t keep =
        a->family->lines && a->value.bytes > 0 && a->value.text[a->value.bytes - 1] == '\n';
    umbra_answer_argue_escaped(a, a->value.text, a->value.bytes - keep);
    if (keep)
        a->value.text[0] = '\n';
    a->value.bytes = keep;
}

void umbra_answer_end_value(umbra_answer *a)
{
    if (a->streams) {
        umbra_answer_argue(a, "\"", 1);
        return;
    }
    if (a->family->lines || !type_of_key(a))
        trim(&a->value);
    if (umbra_is_json(a->value.text, a->value.bytes, false)) {
        trim(&a->value);
        umbra_answer_argue(a, a->value.text, a->value.bytes);
        return;
    }
    umbra_answer_argue(a, "\"", 1);
    umbra_answer_argue_escaped(a, a->value.text, a->value.bytes);
    umbra_answer_argue(a, "\"", 1);
}

/* ---- braces ---- */

static bool is_word(char c)
{
    return !strchr("{}[],: \n\t\r", c);
}

void umbra_answer_end_word(umbra_answer *a, bool key)
{
    bool bare = a->word.bytes > 0 && !key && umbra_is_json(a->word.text, a->word.bytes, false);
    if (a->word.bytes == 0)
        return;
    if (!bare)
        umbra_answer_argue(a, "\"", 1);
    umbra_answer_argue(a, a->word.text, a->word.bytes);
    if (!bare)
        umbra_answer_argue(a, "\"", 1);
    a->word.bytes = 0;
}

void umbra_answer_braces(umbra_answer *a, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '\0' && is_word(text[i])) {
            if (text[i] != '"' && text[i] != '\\')
                umbra_answer_add(a, &a->word, &text[i], 1);
            continue;
        }
        umbra_answer_end_word(a, text[i] == ':');
        umbra_answer_argue(a, &text[i], 1);
    }
}
