/* Functions that every template has. */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "template/functions.h"

enum { LONGEST_RANGE = 100000, TIME_BYTES = 512, SHOWN = 400 };

static int global_range(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    int64_t from = 0, to, step, span;
    bool one = !umbra_tpl_given(call->arg[1]);
    int rc = umbra_tpl_int_argument(c, call, one ? 0 : 1, 0, &to);
    if (rc == UMBRA_OK && !one)
        rc = umbra_tpl_int_argument(c, call, 0, 0, &from);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_int_argument(c, call, 2, 1, &step);
    if (rc == UMBRA_OK && step == 0)
        return umbra_tpl_fail(c, "range() cannot step by zero");
    if (rc != UMBRA_OK)
        return rc;
    bool far = __builtin_sub_overflow(to, from, &span) || step == INT64_MIN;
    int64_t n = far        ? LONGEST_RANGE + 1
                : step > 0 ? span / step + (span % step > 0)
                           : span / step + (span % step < 0);
    if (n > LONGEST_RANGE)
        return umbra_tpl_fail_as(c, UMBRA_E_UNSUPPORTED, "a range of more than %d numbers",
                                 LONGEST_RANGE);
    char *name = umbra_tpl_alloc(c, 72, 1);
    rc = name ? umbra_tpl_new_list(c, TPL_RANGE, n > 0 ? (size_t)n : 0, out) : UMBRA_E_NOMEM;
    if (rc != UMBRA_OK)
        return rc;
    snprintf(name, 72, step == 1 ? "range(%lld, %lld)" : "range(%lld, %lld, %lld)", (long long)from,
             (long long)to, (long long)step);
    out->u.list->name = name;
    for (int64_t i = 0; rc == UMBRA_OK && i < n; i++)
        rc = umbra_tpl_append(c, *out, umbra_tpl_int(from + i * step));
    return rc;
}

/* dict(mapping or pairs, name=value...) and namespace(...). */
static int make_mapping(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_kind kind,
                        umbra_tpl_value *out)
{
    int rc = umbra_tpl_new_dict(c, kind, out);
    const umbra_tpl_value *items;
    size_t n, at = 0;
    if (rc == UMBRA_OK && call->all->count > 1)
        return umbra_tpl_fail(c, "%s() takes one mapping and named values", call->name);
    umbra_tpl_value from = call->all->count ? call->all->items[0] : umbra_tpl_none();
    if (rc == UMBRA_OK && from.kind == TPL_DICT) {
        for (umbra_tpl_entry *e; rc == UMBRA_OK && (e = umbra_tpl_dict_next(from.u.dict, &at));
             at++)
            rc = umbra_tpl_dict_set(c, out->u.dict, e->key, e->value);
    } else if (rc == UMBRA_OK && call->all->count) {
        rc = umbra_tpl_elements(c, from, &items, &n);
        for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
            bool pair = (items[i].kind == TPL_TUPLE || items[i].kind == TPL_LIST) &&
                        items[i].u.list->count == 2;
            rc = pair ? umbra_tpl_dict_set(c, out->u.dict, items[i].u.list->items[0],
                                           items[i].u.list->items[1])
                      : umbra_tpl_fail(c, "%s() wants pairs", call->name);
        }
    }
    at = 0;
    for (umbra_tpl_entry *e;
         rc == UMBRA_OK && call->all->named && (e = umbra_tpl_dict_next(call->all->named, &at));
         at++)
        rc = umbra_tpl_dict_set(c, out->u.dict, e->key, e->value);
    return rc;
}

static int global_dict(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return make_mapping(c, call, TPL_DICT, out);
}

static int global_namespace(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return make_mapping(c, call, TPL_NAMESPACE, out);
}

static int global_joiner(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    umbra_tpl_value between = call->arg[0];
    int rc = umbra_tpl_given(between) ? UMBRA_OK : umbra_tpl_word(c, ", ", &between);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_list(c, TPL_JOINER, 1, out);
    return rc == UMBRA_OK ? umbra_tpl_append(c, *out, between) : rc;
}

static int global_cycler(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    if (call->all->count == 0 || call->all->named)
        return umbra_tpl_fail(c, "cycler() wants at least one item");
    int rc = umbra_tpl_new_list(c, TPL_CYCLER, call->all->count, out);
    for (size_t i = 0; rc == UMBRA_OK && i < call->all->count; i++)
        rc = umbra_tpl_append(c, *out, call->all->items[i]);
    return rc;
}

static int cycler_next(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    (void)c;
    umbra_tpl_list *l = call->self.u.list;
    *out = l->items[l->taken];
    l->taken = (l->taken + 1) % l->count;
    return UMBRA_OK;
}

static int cycler_reset(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    (void)c;
    call->self.u.list->taken = 0;
    *out = umbra_tpl_none();
    return UMBRA_OK;
}

static int global_raise_exception(umbra_tpl_context *c, const umbra_tpl_call *call,
                                  umbra_tpl_value *out)
{
    umbra_tpl_value text;
    int rc = umbra_tpl_to_text(c, call->arg[0], &text);
    *out = umbra_tpl_none();
    if (rc != UMBRA_OK)
        return rc;
    size_t shown = text.u.string->bytes > SHOWN ? SHOWN : text.u.string->bytes;
    while (shown < text.u.string->bytes && shown > 0 &&
           ((unsigned char)text.u.string->data[shown] & 0xc0) == 0x80)
        shown--;
    return umbra_tpl_fail_as(c, UMBRA_E_ARGUMENT, "the template refuses: %.*s", (int)shown,
                             text.u.string->data);
}

/* The words of the C locale, whatever the program's is. */
static int global_strftime_now(umbra_tpl_context *c, const umbra_tpl_call *call,
                               umbra_tpl_value *out)
{
    const umbra_tpl_string *format;
    int rc = umbra_tpl_text_argument(c, call, 0, NULL, &format);
    if (rc != UMBRA_OK)
        return rc;
    if (!c->now)
        return umbra_tpl_fail(c, "strftime_now() is called, but no time was given");
    if (memchr(format->data, '\0', format->bytes))
        return umbra_tpl_fail(c, "strftime_now(): a NUL in the format");
    char *text = umbra_tpl_alloc(c, TIME_BYTES, 1),
         *nul_ended = umbra_tpl_alloc(c, format->bytes + 2, 1);
    if (!text || !nul_ended)
        return UMBRA_E_NOMEM;
    if (format->bytes)
        memcpy(nul_ended, format->data, format->bytes);
    nul_ended[format->bytes] = ' '; /* so that 0 bytes mean that it did not fit */
    locale_t words = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!words)
        return umbra_tpl_fail_as(c, UMBRA_E_SYSTEM, "strftime_now(): %s", strerror(errno));
    size_t n = strftime_l(text, TIME_BYTES, nul_ended, c->now, words);
    freelocale(words);
    if (n == 0)
        return umbra_tpl_fail(c, "strftime_now(): the time takes more than %d bytes", TIME_BYTES);
    for (size_t i = 0, bytes; i < n; i += bytes)
        if ((bytes = umbra_utf8_length(text + i, n - i)) == 0)
            return umbra_tpl_fail(c, "strftime_now(): the format cuts a character apart");
    return umbra_tpl_text(c, text, n - 1, format->input, out);
}

const umbra_tpl_function umbra_tpl_globals[] = {
    {"range", global_range, 1, "start stop step"},
    {"dict", global_dict, 0, NULL},
    {"namespace", global_namespace, 0, NULL},
    {"joiner", global_joiner, 0, "sep"},
    {"cycler", global_cycler, 0, NULL},
    {"raise_exception", global_raise_exception, 1, "message"},
    {"strftime_now", global_strftime_now, 1, "format"},
    {0},
};

const umbra_tpl_function umbra_tpl_methods_cycler[] = {
    {"next", cycler_next, 0, ""}, {"reset", cycler_reset, 0, ""}, {0}};
