/* Drafts from the text: what is found is what a plain search finds. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/random.h"
#include "generate/lookup.h"

enum { ROOM = 400, MOST = 8, COUNTED = 32 };

/* The longest earlier occurrence of the last tokens, by trying every place; of equal ones any. */
static int longest(const int32_t *text, int n)
{
    int best = 0;
    for (int at = UMBRA_LOOKUP_LEAST; at < n; at++) {
        int m = 0;
        while (m < at && m < COUNTED && text[at - 1 - m] == text[n - 1 - m])
            m++;
        best = m > best ? m : best;
    }
    return best >= UMBRA_LOOKUP_LEAST ? best : 0;
}

/* The drafts must stand behind an occurrence of the length that is claimed. */
static void check(umbra_lookup *l, const int32_t *text, int n)
{
    int32_t drafts[MOST], whole[ROOM + MOST];
    int matched, made = umbra_lookup_draft(l, MOST, drafts, &matched);
    assert_int_equal(matched, longest(text, n));
    assert_int_equal(made, matched > 0 ? MOST : 0);
    if (made == 0)
        return;
    memcpy(whole, text, (size_t)n * sizeof *text);
    memcpy(whole + n, drafts, sizeof drafts);
    bool found = false;
    for (int at = matched; at < n && !found; at++)
        found =
            memcmp(text + at - matched, text + n - matched, (size_t)matched * sizeof *text) == 0 &&
            memcmp(whole + at, drafts, sizeof drafts) == 0;
    assert_true(found);
}

static void the_longest_occurrence_is_found(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        umbra_random r;
        umbra_lookup l;
        int32_t text[ROOM];
        umbra_random_seed(&r, seed);
        assert_int_equal(umbra_lookup_open(&l, ROOM, NULL), 0);
        for (int n = 0; n < ROOM; n++) {
            int32_t token = (int32_t)umbra_random_below(&r, 8 + 10 * seed);
            if (n > 40 && n % 60 > 20) /* pieces that were there before */
                token = text[n - 37];
            text[n] = token;
            umbra_lookup_add(&l, token);
            check(&l, text, n + 1);
        }
        umbra_lookup_close(&l);
    }
}

/* What is cut and written again is found as if it had been written once; beyond the context nothing
 * is kept. */
static void a_cut_text_is_as_new(void **state)
{
    (void)state;
    umbra_lookup cut, once;
    int32_t a[MOST], b[MOST];
    int matched_a, matched_b;
    assert_int_equal(umbra_lookup_open(&cut, ROOM, NULL), 0);
    assert_int_equal(umbra_lookup_open(&once, ROOM, NULL), 0);
    for (int n = 0; n < 200; n++)
        umbra_lookup_add(&cut, n < 100 ? n % 23 : n % 19);
    umbra_lookup_cut(&cut, 100);
    for (int n = 0; n < ROOM + 10; n++) {
        if (n >= 100)
            umbra_lookup_add(&cut, n % 17);
        umbra_lookup_add(&once, n < 100 ? n % 23 : n % 17);
        if (n < 100)
            continue;
        int made = umbra_lookup_draft(&once, MOST, b, &matched_b);
        assert_int_equal(umbra_lookup_draft(&cut, MOST, a, &matched_a), made);
        assert_int_equal(matched_a, matched_b);
        assert_memory_equal(a, b, (size_t)made * sizeof *a);
    }
    umbra_lookup_cut(&cut, 0);
    assert_int_equal(umbra_lookup_draft(&cut, MOST, a, &matched_a), 0);
    umbra_lookup_close(&cut);
    umbra_lookup_close(&once);
    umbra_lookup_close(&once); /* zeros */
}

/* One token again and again: the drafts go round in what they themselves draft. */
static void a_match_may_overlap_its_drafts(void **state)
{
    (void)state;
    umbra_lookup l;
    int32_t out[MOST];
    int matched;
    assert_int_equal(umbra_lookup_open(&l, ROOM, NULL), 0);
    for (int i = 0; i < 6; i++)
        umbra_lookup_add(&l, i % 2);
    assert_int_equal(umbra_lookup_draft(&l, MOST, out, &matched), MOST);
    for (int i = 0; i < MOST; i++)
        assert_int_equal(out[i], i % 2);
    assert_int_equal(matched, 4);
    umbra_lookup_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_occurrence_is_found),
        cmocka_unit_test(a_cut_text_is_as_new),
        cmocka_unit_test(a_match_may_overlap_its_drafts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
