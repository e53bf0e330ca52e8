/* Takes an answer apart: follows the markers of its family through the text. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "chat/answer.h"

enum { TOKEN_BYTES = 256 };

/* ---- what stands between markers ---- */

static void take_plain(umbra_answer *a, const char *text, size_t n)
{
    switch (a->state) {
    case IN_TEXT:
        umbra_answer_write(a, UMBRA_ANSWER_TEXT, text, n);
        break;
    case IN_REASONING:
        umbra_answer_write(a, UMBRA_ANSWER_REASONING, text, n);
        break;
    case IN_NAME:
        umbra_answer_add(a, &a->name, text, n);
        break;
    case IN_KEY:
        umbra_answer_add(a, &a->key, text, n);
        break;
    case IN_BETWEEN:
        umbra_answer_add(a, &a->between, text, n);
        break;
    case IN_VALUE:
        umbra_answer_value(a, text, n);
        break;
    case IN_BRACES:
        umbra_answer_braces(a, text, n);
        break;
    case IN_QUOTES:
        umbra_answer_argue_escaped(a, text, n);
        break;
    case IN_HEADER:
        umbra_answer_add(a, &a->header, text, n);
        break;
    case IN_MESSAGE:
        umbra_answer_argue(a, text, n);
        break;
    default:
        break;
    }
}

static void end_object(umbra_answer *a)
{
    bool named = a->name.bytes > 0 || a->named;
    umbra_answer_end_call(a);
    a->state = named || a->family->call_end ? IN_SECTION : IN_TEXT;
}

/* Whether an object here is a call, though no marker stands before it. */
static bool begins_bare(const umbra_answer *a)
{
    bool text = a->begun && a->part == UMBRA_ANSWER_TEXT;
    return a->state == IN_TEXT && a->family->bare && !text && a->n_calls == 0;
}

/* What begins here may be calls: it is kept, with the spaces before it, in case that it is none. */
static void begin_pending(umbra_answer *a)
{
    a->pending = true;
    a->raw.bytes = a->raw.given = 0;
    if (a->part == UMBRA_ANSWER_TEXT)
        umbra_answer_add(a, &a->raw, a->spaces.text, a->spaces.bytes);
}

static void note(umbra_answer *a, const char *text, size_t n)
{
    if (a->pending)
        umbra_answer_add(a, &a->raw, text, n);
}

/* What began like calls and became none is text after all. */
static void give_back(umbra_answer *a)
{
    if (!a->pending)
        return;
    a->pending = a->open = false;
    a->spaces.bytes = 0;
    a->begun = a->part == UMBRA_ANSWER_TEXT; /* so that its spaces stay */
    umbra_answer_write(a, UMBRA_ANSWER_TEXT, a->raw.text, a->raw.bytes);
}

/* JSON is read byte by byte, so that what looks like a marker inside a text of it is none. Returns
 * how much was taken; 0: it does not begin here. */
static size_t take_json(umbra_answer *a, const char *text, size_t n)
{
    size_t taken = 0;
    if (*text == '{' && ((a->state == IN_SECTION && a->list) || begins_bare(a))) {
        if (!a->pending)
            begin_pending(a);
        a->list = true;
        umbra_answer_begin_call(a);
        a->state = IN_OBJECT;
    }
    if (a->state == IN_OBJECT) {
        taken = umbra_answer_object(a, text, n);
        if (a->json.depth == 0)
            end_object(a);
    } else if (a->state == IN_JSON && (a->json.depth > 0 || *text == '{')) {
        taken = umbra_answer_json(a, text, n);
        if (a->json.depth == 0) {
            umbra_answer_close_call(a);
            a->state = a->family->call_end ? IN_SECTION : a->state;
        }
    }
    return taken;
}

static bool begins_json(const umbra_answer *a, char c)
{
    return c == '{' &&
           (a->state == IN_JSON || (a->state == IN_SECTION && a->list) || begins_bare(a));
}

static bool is_blank(const char *text, size_t n)
{
    return n == 0 || (strchr(" \n\r\t", *text) && is_blank(text + 1, n - 1));
}

/* Behind calls without an end marker, text goes on as text. */
static bool is_adrift(const umbra_answer *a, char c)
{
    const umbra_family *f = a->family;
    return a->state == IN_SECTION && !f->section && !f->call_end && !strchr(" \n\t\r,[]{", c);
}

typedef enum reached { REACHED_END, REACHED_MARKER, REACHED_PARTIAL, REACHED_OTHER } reached;

/* Goes on to where something other than plain bytes begins; *plain: how many they are. *found: the
 * marker, where one was reached. */
static reached reach(const umbra_answer *a, const char *text, size_t n, bool ended, size_t *plain,
                     answer_marker *found)
{
    answer_markers m = umbra_answer_expected(a);
    for (*plain = 0; *plain < n; ++*plain) {
        bool partial;
        const answer_marker *here = umbra_answer_find(&m, text + *plain, n - *plain, &partial);
        if (partial && !ended)
            return REACHED_PARTIAL;
        if (here) {
            *found = *here;
            return REACHED_MARKER;
        }
        if ((begins_json(a, text[*plain]) && (!begins_bare(a) || is_blank(text, *plain))) ||
            is_adrift(a, text[*plain]))
            return REACHED_OTHER;
    }
    if (ended)
        return REACHED_END;
    *plain = umbra_whole_characters(text, n);
    return *plain < n ? REACHED_PARTIAL : REACHED_END;
}

/* Does what a marker says. */
static void pass(umbra_answer *a, const answer_marker *m)
{
    bool calls = m->action == BEGIN_SECTION || m->action == BEGIN_CALL;
    if (calls && !a->pending)
        begin_pending(a);
    note(a, m->text, strlen(m->text));
    umbra_answer_act(a, m->action);
}

/* Reads what can be read of a->in; `ended`: nothing more comes. */
static void scan(umbra_answer *a, bool ended)
{
    size_t at = 0, plain;
    answer_marker found = {0};
    reached what = REACHED_END;
    while (at < a->in.bytes && what != REACHED_PARTIAL && a->rc == UMBRA_OK) {
        const char *text = a->in.text + at;
        size_t n = a->in.bytes - at, taken = take_json(a, text, n);
        at += taken;
        note(a, text, taken);
        if (taken == 0) {
            what = reach(a, text, n, ended, &plain, &found);
            note(a, text, plain);
            take_plain(a, text, plain);
            at += plain;
        }
        if (taken == 0 && what == REACHED_MARKER) {
            at += strlen(found.text);
            pass(a, &found);
        } else if (taken == 0 && what == REACHED_OTHER && is_adrift(a, text[plain]))
            a->state = IN_TEXT;
        if (a->state == IN_TEXT)
            give_back(a);
    }
    umbra_held_give(&a->in, at);
    umbra_held_drop(&a->in);
}

/* ---- the public calls ---- */

/* Arguments that come as a text inside a JSON string are told when it is whole. */
static bool is_quoted(const umbra_answer *a)
{
    return (a->family->form == UMBRA_CALL_OBJECT || a->family->form == UMBRA_CALL_KEYED) &&
           a->arguments.bytes > 0 && a->arguments.text[0] == '"';
}

int umbra_answer_take_text(umbra_answer *a, const char *bytes, size_t n, bool control)
{
    if (a->rc != UMBRA_OK || n == 0 || (control && !umbra_answer_is_marker(a->family, bytes, n)))
        return a->rc;
    if (umbra_answer_add(a, &a->in, bytes, n))
        scan(a, false);
    if (!is_quoted(a))
        umbra_answer_flush(a);
    return a->rc;
}

int umbra_answer_take(umbra_answer *a, int32_t id)
{
    char small[TOKEN_BYTES], *text = small;
    const umbra_model *model = a->chat->model;
    size_t n = umbra_detokenize(model, id, false, small, sizeof small);
    bool control = n == 0;
    if (control)
        n = umbra_detokenize(model, id, true, small, sizeof small);
    if (n > sizeof small) {
        text = umbra_calloc(n, 1);
        if (!text)
            return UMBRA_E_NOMEM;
        umbra_detokenize(model, id, control, text, n);
    }
    int rc = umbra_answer_take_text(a, text, n, control);
    if (text != small)
        umbra_free(text);
    return rc;
}

int umbra_answer_end(umbra_answer *a)
{
    scan(a, true);
    give_back(a);
    umbra_answer_end_call(a);
    umbra_answer_write_rest(a);
    return a->rc;
}

int umbra_answer_calls(const umbra_answer *a)
{
    return a->n_calls;
}

static int hear_nothing(void *user, const umbra_answer_event *event)
{
    (void)user;
    (void)event;
    return 0;
}

static const char *last_of(const char *text, size_t n, const char *word)
{
    const char *last = NULL;
    for (const char *at = text; (at = memmem(at, (size_t)(text + n - at), word, strlen(word)));
         at++)
        last = at;
    return last;
}

/* Where the prompt has left the answer. */
static void begin_behind(umbra_answer *a, const umbra_template_output *prompt)
{
    const char *text = prompt->text;
    size_t n = prompt->bytes;
    if (a->family->form == UMBRA_CALL_CHANNEL) {
        const char *start = last_of(text, n, UMBRA_MARK_START);
        size_t skip = sizeof UMBRA_MARK_START - 1;
        if (start)
            umbra_answer_take_text(a, start + skip, (size_t)(text + n - start) - skip, false);
        a->spaces.bytes = 0;
        return;
    }
    umbra_thought thought = umbra_family_thought(a->family, prompt);
    if (thought == UMBRA_THOUGHT_OPEN)
        a->state = IN_REASONING;
    a->stripped = thought != UMBRA_THOUGHT_NONE;
}

int umbra_answer_open(umbra_answer **out, const umbra_chat *chat, const umbra_chat_prompt *prompt,
                      const umbra_template_value *tools, umbra_answer_listener *listener,
                      void *user, umbra_error *err)
{
    umbra_answer *a = umbra_calloc(1, sizeof *a);
    *out = NULL;
    if (!a)
        return umbra_fail_nomem(err, "an answer", sizeof *a);
    a->chat = chat;
    a->calls_count = tools != NULL;
    a->tools = tools ? umbra_tpl_of_tree(tools) : umbra_tpl_none();
    a->own = umbra_family_fit(chat->family, a->calls_count);
    a->family = &a->own;
    a->state = a->own.form == UMBRA_CALL_CHANNEL ? IN_HEADER : IN_TEXT;
    a->listener = hear_nothing;
    if (prompt)
        begin_behind(a, &prompt->rendering);
    a->listener = listener;
    a->user = user;
    if (a->rc != UMBRA_OK) {
        umbra_answer_close(&a);
        return umbra_fail_nomem(err, "an answer", 0);
    }
    *out = a;
    return UMBRA_OK;
}

void umbra_answer_close(umbra_answer **p)
{
    umbra_answer *a = *p;
    if (!a)
        return;
    umbra_held *const all[] = {&a->in,    &a->spaces, &a->name,      &a->id,   &a->key, &a->between,
                               &a->value, &a->header, &a->arguments, &a->word, &a->raw};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        umbra_held_release(all[i]);
    umbra_free(a);
    *p = NULL;
}
