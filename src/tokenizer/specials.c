/* Special tokens in a text: control tokens and those that the vocabulary's user defined. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/internal.h"

/* By bytes, what is a beginning of another before it, equal texts by id. */
static int in_order(const void *a, const void *b, void *vocabulary)
{
    const umbra_vocabulary *v = vocabulary;
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    umbra_string s = umbra_vocabulary_text(v, x), t = umbra_vocabulary_text(v, y);
    int order = memcmp(s.data, t.data, s.bytes < t.bytes ? s.bytes : t.bytes);
    if (order != 0)
        return order;
    if (s.bytes != t.bytes)
        return s.bytes < t.bytes ? -1 : 1;
    return x < y ? -1 : x > y;
}

int umbra_specials_list(umbra_vocabulary *v, umbra_error *err)
{
    for (int pass = 0; pass < 2; pass++) {
        uint32_t n = 0;
        for (uint32_t id = 0; id < v->n; id++) {
            const umbra_vocabulary_entry *t = &v->tokens[id];
            if (t->bytes == 0 ||
                (t->type != UMBRA_TOKEN_CONTROL && t->type != UMBRA_TOKEN_USER_DEFINED))
                continue;
            if (pass == 1) {
                v->specials[n] = (int32_t)id;
                v->special_start[(unsigned char)v->texts[t->offset]] = true;
            }
            n++;
        }
        if (pass == 0) {
            v->specials = umbra_calloc(n, sizeof *v->specials);
            if (!v->specials)
                return umbra_fail_nomem(err, "the special tokens", n * sizeof *v->specials);
        }
        v->n_specials = n;
    }
    qsort_r(v->specials, v->n_specials, sizeof *v->specials, in_order, v);
    return UMBRA_OK;
}

/* First of the specials [low, high) whose byte at `depth` is not below `byte`; all have one. */
static uint32_t lower_bound(const umbra_vocabulary *v, uint32_t low, uint32_t high, size_t depth,
                            int byte)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((unsigned char)umbra_vocabulary_text(v, v->specials[middle]).data[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* In brackets: "<think>", "[INST]", as markup is written. */
static bool is_markup(umbra_string s)
{
    char first = s.data[0], last = s.data[s.bytes - 1];
    return (first == '<' && last == '>') || (first == '[' && last == ']');
}

static bool may_be(const umbra_vocabulary *v, umbra_specials which, int32_t id)
{
    if (which == UMBRA_SPECIALS_ALL)
        return true;
    return v->tokens[id].type == UMBRA_TOKEN_USER_DEFINED &&
           (which == UMBRA_SPECIALS_DEFINED || !is_markup(umbra_vocabulary_text(v, id)));
}

int32_t umbra_specials_find(const umbra_vocabulary *v, umbra_specials which, const char *text,
                            size_t n)
{
    int32_t found = -1;
    uint32_t low = 0, high = v->n_specials;
    if (!v->special_start[(unsigned char)text[0]])
        return found;
    for (size_t depth = 0; depth < n && low < high; depth++) {
        int byte = (unsigned char)text[depth];
        low = lower_bound(v, low, high, depth, byte);
        high = lower_bound(v, low, high, depth, byte + 1);
        for (; low < high && v->tokens[v->specials[low]].bytes == depth + 1; low++)
            if (may_be(v, which, v->specials[low]))
                found = v->specials[low];
    }
    return found;
}
