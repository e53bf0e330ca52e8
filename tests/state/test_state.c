/* What sequences remember: pages that are shared, forgotten, saved, and read from another thread.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "state/state.h"

enum { LAYERS = 4, CONTEXT = 400, STEP = 50, WINDOW = 70, WINDOWED = 2 };

/* Heads, a latent, a window, and a row for each block of positions. */
static const umbra_kv_form forms[LAYERS] = {
    {.heads = 2, .key = 8, .value = 8, .unit = 2},
    {.heads = 1, .key = 24, .value = 0, .unit = 2},
    {.heads = 2, .key = 8, .value = 8, .unit = 2, .window = WINDOW},
    {.heads = 1, .key = 8, .value = 0, .unit = 2, .every = 3},
};

static umbra_state_shape shape(int sequences)
{
    return (umbra_state_shape){
        .forms = forms, .layers = LAYERS, .sequences = sequences, .context = CONTEXT, .step = STEP};
}

static umbra_state *open_state(int sequences)
{
    umbra_state *s;
    umbra_state_shape wanted = shape(sequences);
    assert_int_equal(umbra_state_open(&s, &wanted, NULL), 0);
    return s;
}

/* What text `text` has at a place, as one byte. */
static unsigned char value_at(int text, int layer, int head, int position)
{
    return (unsigned char)(text * 101 + layer * 31 + head * 7 + position * 3 + 1);
}

static void write_row(umbra_state *s, int text, int layer, int sequence, int position)
{
    const umbra_kv_form *f = umbra_state_form(s, layer);
    umbra_kv_view v = umbra_state_view(s, layer, sequence, position);
    int row, place = v.kept - 1;
    if (f->every > 1 && (position + 1) % f->every != 0)
        return; /* no block ends here */
    char *page = umbra_kv_own(&v, &row);
    for (int h = 0; h < f->heads; h++) {
        unsigned char value = value_at(text, layer, h, place);
        memset(page + umbra_kv_key_at(f, h, row), value, (size_t)f->key * f->unit);
        memset(page + umbra_kv_value_at(f, h, row), value ^ 0xff, (size_t)f->value * f->unit);
    }
}

/* Adds n positions of a text. */
static void grow(umbra_state *s, int text, int sequence, int n)
{
    umbra_state_begin(s, sequence);
    for (int i = 0; i < n; i++) {
        int position = umbra_state_reserve(s, sequence);
        for (int l = 0; l < LAYERS; l++)
            write_row(s, text, l, sequence, position);
    }
    umbra_state_advance(s, sequence, n);
}

static void grow_to(umbra_state *s, int text, int sequence, int length)
{
    while (umbra_state_length(s, sequence) < length) {
        int left = length - umbra_state_length(s, sequence);
        grow(s, text, sequence, left < STEP ? left : STEP);
    }
}

/* The keys and values that a view shows of a head are those of the text. */
static void check_view(const umbra_kv_form *f, const umbra_kv_view *v, int text, int layer)
{
    umbra_kv_run runs[CONTEXT];
    for (int h = 0; h < f->heads; h++) {
        int n = umbra_kv_runs(f, v, h, runs), position = v->first;
        assert_in_range(n, umbra_kv_positions(v) > 0, umbra_kv_most_runs(umbra_kv_positions(v)));
        for (int i = 0; i < n; i++) {
            const unsigned char *k = runs[i].k, *val = runs[i].v;
            for (int j = 0; j < runs[i].positions; j++, position++) {
                unsigned char want = value_at(text, layer, h, position);
                assert_int_equal(k[(size_t)j * (size_t)f->key * f->unit], want);
                if (f->value)
                    assert_int_equal(val[(size_t)j * (size_t)f->value * f->unit], want ^ 0xff);
            }
        }
        assert_int_equal(position, v->kept);
    }
}

/* Everything that the last position of a sequence sees. */
static void check(const umbra_state *s, int text, int sequence)
{
    int last = umbra_state_length(s, sequence) - 1;
    for (int l = 0; l < LAYERS && last >= 0; l++) {
        umbra_kv_view v = umbra_state_view(s, l, sequence, last);
        int window = umbra_state_form(s, l)->window;
        int rows = umbra_kv_rows(umbra_state_form(s, l), last + 1);
        assert_int_equal(v.kept - v.first, window && last >= window ? window : rows);
        check_view(umbra_state_form(s, l), &v, text, l);
    }
}

static void sequences_fill_their_context(void **state)
{
    (void)state;
    umbra_state *s = open_state(3);
    for (int round = 0; round < 2; round++) {
        for (int q = 0; q < 3; q++)
            grow_to(s, q, q, CONTEXT);
        for (int q = 0; q < 3; q++)
            check(s, q, q);
        for (int q = 0; q < 3; q++)
            assert_int_equal(umbra_state_truncate(s, q, 0), 0);
    }
    umbra_state_close(&s);
    assert_null(s);
}

static void what_was_reserved_and_not_written_is_given_up(void **state)
{
    (void)state;
    umbra_state *s = open_state(1);
    grow_to(s, 1, 0, 60);
    umbra_state_begin(s, 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(umbra_state_reserve(s, 0), 60 + i);
    grow_to(s, 1, 0, 130);
    check(s, 1, 0);
    umbra_state_close(&s);
}

static void forgetting_goes_back_as_far_as_windows_reach(void **state)
{
    (void)state;
    umbra_state *s = open_state(1);
    grow_to(s, 1, 0, 300);
    assert_int_equal(umbra_state_truncate(s, 0, 299), 299);
    assert_int_equal(umbra_state_truncate(s, 0, 500), 299); /* not there */
    check(s, 1, 0);
    grow_to(s, 1, 0, 310);
    check(s, 1, 0);
    assert_int_equal(umbra_state_truncate(s, 0, 100), 0); /* the window is gone */
    assert_int_equal(umbra_state_length(s, 0), 0);
    grow_to(s, 2, 0, 60);
    assert_int_equal(umbra_state_truncate(s, 0, 20), 20); /* nothing was dropped yet */
    check(s, 2, 0);
    umbra_state_close(&s);
}

/* A windowed layer takes pages for its window, a step, and those who still look. */
static void windows_keep_their_window_alone(void **state)
{
    (void)state;
    umbra_state_shape windowed = {
        .forms = &forms[WINDOWED], .layers = 1, .sequences = 1, .context = 100000, .step = STEP};
    umbra_state_shape whole = windowed;
    whole.forms = &forms[0];
    uint64_t page = umbra_kv_page_bytes(&forms[0]);
    assert_true(umbra_state_bytes(&windowed) < 6 * page + 100000);
    assert_true(umbra_state_bytes(&whole) > 1562 * page);
    umbra_state *s;
    assert_int_equal(umbra_state_open(&s, &windowed, NULL), 0);
    for (int i = 0; i < 1000; i++) {
        umbra_state_begin(s, 0);
        for (int j = 0; j < STEP; j++)
            write_row(s, 1, 0, 0, umbra_state_reserve(s, 0));
        umbra_state_advance(s, 0, STEP);
        umbra_kv_view v = umbra_state_view(s, 0, 0, umbra_state_length(s, 0) - 1);
        check_view(umbra_state_form(s, 0), &v, 1, 0);
    }
    umbra_state_close(&s);
}

static void forks_share_until_they_write(void **state)
{
    (void)state;
    umbra_state *s = open_state(3);
    grow_to(s, 1, 0, 200);
    umbra_state_fork(s, 0, 1);
    umbra_state_fork(s, 1, 2);
    umbra_state_fork(s, 2, 2);
    for (int l = 0; l < LAYERS; l++) { /* whole pages are the same memory, the last is not */
        int last = umbra_kv_rows(umbra_state_form(s, l), 200) / UMBRA_KV_PAGE;
        umbra_kv_view a = umbra_state_view(s, l, 0, 199), b = umbra_state_view(s, l, 1, 199);
        assert_ptr_equal(a.page[last - 1], b.page[last - 1]);
        assert_ptr_not_equal(a.page[last], b.page[last]);
    }
    grow_to(s, 1, 0, CONTEXT);
    umbra_state_truncate(s, 0, 0);
    check(s, 1, 1);
    check(s, 1, 2);
    assert_int_equal(umbra_state_truncate(s, 1, 190), 190); /* into a page of its own */
    assert_int_equal(umbra_state_truncate(s, 2, 180), 180); /* into a shared one */
    grow_to(s, 1, 1, CONTEXT);
    grow_to(s, 1, 2, CONTEXT);
    grow_to(s, 2, 0, CONTEXT);
    check(s, 1, 1);
    check(s, 1, 2);
    check(s, 2, 0);
    umbra_state_close(&s);
}

static void sequences_come_back_from_bytes(void **state)
{
    (void)state;
    umbra_state *s = open_state(2);
    static const int lengths[] = {0, 1, 64, 130, CONTEXT};
    for (int i = 0; i < 5; i++) {
        umbra_state_truncate(s, 0, 0);
        grow_to(s, 1, 0, lengths[i]);
        uint64_t bytes = umbra_state_save_bytes(s, lengths[i]);
        char *saved = calloc(bytes + 1, 1);
        saved[bytes] = 42;
        umbra_state_save(s, 0, saved);
        assert_int_equal(saved[bytes], 42);
        umbra_state_load(s, 1, lengths[i], saved);
        assert_int_equal(umbra_state_length(s, 1), lengths[i]);
        check(s, 1, 1);
        free(saved);
        int back = lengths[i] > 0 ? lengths[i] - 1 : 0;
        assert_int_equal(umbra_state_truncate(s, 1, back), back);
        char *again = calloc(umbra_state_save_bytes(s, back), 1);
        umbra_state_save(s, 1, again); /* the first row of its windows is gone */
        umbra_state_load(s, 0, back, again);
        if (back > WINDOW)
            assert_int_equal(umbra_state_truncate(s, 0, back - 1), 0);
        grow_to(s, 1, 0, CONTEXT);
        check(s, 1, 0);
        free(again);
        if (back > WINDOW)
            assert_int_equal(umbra_state_truncate(s, 1, back - 1), 0);
        grow_to(s, 1, 1, CONTEXT);
        check(s, 1, 1);
    }
    umbra_state_close(&s);
}

/* ---- a reader beside the driver ---- */

typedef struct reader {
    const umbra_state *s;
    atomic_int length; /* at which a view may be taken; -1: end */
    atomic_int seen;   /* looked at so far */
} reader;

static void *read_along(void *context)
{
    reader *r = context;
    for (int length; (length = atomic_load(&r->length)) >= 0;) {
        for (int l = 0; l < LAYERS && length > 0; l++) {
            umbra_kv_view v = umbra_state_view(r->s, l, 0, length - 1);
            check_view(umbra_state_form(r->s, l), &v, 1, l);
        }
        atomic_store(&r->seen, length);
    }
    return NULL;
}

/* The driver goes on while the reader looks; it waits where a windowed view would end. */
static void another_thread_may_read(void **state)
{
    (void)state;
    umbra_state *s = open_state(1);
    reader r = {.s = s};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_along, &r), 0);
    for (int i = 0; i < CONTEXT; i++) {
        grow(s, 1, 0, 1);
        atomic_store(&r.length, i + 1);
        while (atomic_load(&r.seen) + UMBRA_KV_PAGE / 2 < i)
            ;
    }
    atomic_store(&r.length, -1);
    pthread_join(thread, NULL);
    umbra_state_close(&s);
}

static void failing_allocations_leave_nothing(void **state)
{
    (void)state;
    umbra_state *s;
    umbra_error err;
    umbra_state_shape wanted = shape(2);
    long n = 0;
    int rc = UMBRA_E_NOMEM;
    while (rc != UMBRA_OK && n < 100) {
        umbra_memory_fail_after(++n);
        rc = umbra_state_open(&s, &wanted, &err);
        umbra_memory_fail_after(0);
        assert_true(rc == UMBRA_OK || (rc == UMBRA_E_NOMEM && s == NULL));
    }
    assert_in_range(n, 6, 99);
    umbra_state_close(&s);
    umbra_state_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_fill_their_context),
        cmocka_unit_test(what_was_reserved_and_not_written_is_given_up),
        cmocka_unit_test(forgetting_goes_back_as_far_as_windows_reach),
        cmocka_unit_test(windows_keep_their_window_alone),
        cmocka_unit_test(forks_share_until_they_write),
        cmocka_unit_test(sequences_come_back_from_bytes),
        cmocka_unit_test(another_thread_may_read),
        cmocka_unit_test(failing_allocations_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
