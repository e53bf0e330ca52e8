/* Which markers may come in an answer, and where one stands. */
#include <string.h>

#include "chat/answer.h"

static const char *const channel_ends[] = {"<|end|>", "<|return|>", "<|call|>", UMBRA_MARK_START};

static void add(answer_markers *m, const char *text, answer_action action)
{
    if (text && m->n < ANSWER_MARKERS)
        m->list[m->n++] = (answer_marker){text, action};
}

static void add_of_text(const umbra_answer *a, answer_markers *m)
{
    const umbra_family *f = a->family;
    add(m, f->think, BEGIN_REASONING);
    add(m, f->think_end, DROP);
    if (a->calls_count) {
        add(m, f->section, BEGIN_SECTION);
        add(m, f->call, BEGIN_CALL);
    }
    for (int i = 0; i < UMBRA_FAMILY_DROPS; i++)
        add(m, f->drops[i], DROP);
}

static void add_of_channel(answer_markers *m)
{
    for (size_t i = 0; i < sizeof channel_ends / sizeof *channel_ends; i++)
        add(m, channel_ends[i], BEGIN_HEADER);
}

answer_markers umbra_answer_expected(const umbra_answer *a)
{
    const umbra_family *f = a->family;
    answer_markers m = {.n = 0};
    switch (a->state) {
    case IN_TEXT:
        add_of_text(a, &m);
        if (f->form == UMBRA_CALL_CHANNEL)
            add_of_channel(&m);
        break;
    case IN_REASONING:
        add(&m, f->think_end, END_REASONING);
        if (f->form == UMBRA_CALL_CHANNEL)
            add_of_channel(&m);
        break;
    case IN_SECTION:
        add(&m, f->call, BEGIN_CALL);
        add(&m, f->section_end, END_SECTION);
        if (!f->section)
            add(&m, f->call_end, END_SECTION);
        break;
    case IN_NAME:
        add(&m, f->name_end, END_NAME);
        if (!f->name_end)
            add(&m, f->key, BEGIN_KEY);
        add(&m, f->call_end, END_CALL);
        break;
    case IN_OBJECT:
        break;
    case IN_JSON:
        add(&m, f->call_end, END_CALL);
        break;
    case IN_PAIRS:
        add(&m, f->key, BEGIN_KEY);
        add(&m, f->call_end, END_CALL);
        break;
    case IN_KEY:
        add(&m, f->key_end, END_KEY);
        break;
    case IN_BETWEEN:
        add(&m, f->value, BEGIN_VALUE);
        break;
    case IN_VALUE:
        add(&m, f->value_end, END_VALUE);
        break;
    case IN_BRACES:
        add(&m, UMBRA_MARK_QUOTES, BEGIN_QUOTES);
        add(&m, f->call_end, END_CALL);
        break;
    case IN_QUOTES:
        add(&m, UMBRA_MARK_QUOTES, END_QUOTES);
        break;
    case IN_HEADER:
        add(&m, UMBRA_MARK_MESSAGE, BEGIN_MESSAGE);
        break;
    case IN_MESSAGE:
        add_of_channel(&m);
        break;
    }
    return m;
}

const answer_marker *umbra_answer_find(const answer_markers *m, const char *text, size_t n,
                                       bool *partial)
{
    const answer_marker *found = NULL;
    *partial = false;
    for (int i = 0; i < m->n; i++) {
        size_t bytes = strlen(m->list[i].text), common = bytes < n ? bytes : n;
        if (memcmp(m->list[i].text, text, common) != 0)
            continue;
        if (common < bytes)
            *partial = true;
        else if (!found || bytes > strlen(found->text))
            found = &m->list[i];
    }
    return found;
}

static bool is_part(const char *whole, const char *text, size_t n)
{
    return whole && memmem(whole, strlen(whole), text, n);
}

bool umbra_answer_is_marker(const umbra_family *f, const char *text, size_t n)
{
    const char *const all[] = {f->think,    f->think_end, f->section,   f->section_end,
                               f->call,     f->call_end,  f->name_end,  f->key,
                               f->key_end,  f->value,     f->value_end, f->drops[0],
                               f->drops[1], f->drops[2],  f->drops[3]};
    static const char *const channel[] = {UMBRA_MARK_START, UMBRA_MARK_MESSAGE, "<|end|>",
                                          "<|call|>",       "<|return|>",       "<|channel|>",
                                          UMBRA_MARK_QUOTES};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (is_part(all[i], text, n))
            return true;
    for (size_t i = 0; i < sizeof channel / sizeof *channel; i++)
        if ((f->form == UMBRA_CALL_CHANNEL || f->form == UMBRA_CALL_BRACED) &&
            is_part(channel[i], text, n))
            return true;
    return false;
}
