/* Attention of many rows: the same bits in chunks of any size, with any number of threads, beside
 * other sequences, and with a page of rows that are not the sequence's yet. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "device/device.h"

enum { HEADS = 12, KEPT = 2, DIM = 40, POSITIONS = 700, PAGES = POSITIONS / UMBRA_KV_PAGE + 1 };

static umbra_kv_form form = {.heads = KEPT, .key = DIM, .value = DIM};
static char *page[2][PAGES]; /* of two sequences */
static float *q;             /* (2, POSITIONS, HEADS, DIM) */
static float sinks[HEADS];

static float draw(void)
{
    return (float)(rand() % 2001 - 1000) / 400;
}

static int make_sequences(void **state)
{
    (void)state;
    const umbra_kernels *k = umbra_kernels_find(NULL);
    form.unit = k->kv_bytes;
    size_t bytes = umbra_kv_page_bytes(&form);
    for (int i = 0; i < 2 * PAGES; i++) {
        float row[DIM];
        page[i / PAGES][i % PAGES] = umbra_calloc(1, bytes);
        for (size_t at = 0; at < bytes; at += DIM * form.unit) {
            for (int j = 0; j < DIM; j++)
                row[j] = draw();
            k->store_kv(page[i / PAGES][i % PAGES] + at, row, DIM);
        }
    }
    q = umbra_calloc(2 * POSITIONS * HEADS * DIM, sizeof *q);
    for (int i = 0; i < 2 * POSITIONS * HEADS * DIM; i++)
        q[i] = draw();
    for (int h = 0; h < HEADS; h++)
        sinks[h] = draw();
    return 0;
}

static int drop_sequences(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * PAGES; i++)
        umbra_free(page[i / PAGES][i % PAGES]);
    umbra_free(q);
    return 0;
}

static umbra_kv_view look(int sequence, int position, int window)
{
    int first = window && position >= window ? position - window + 1 : 0;
    return (umbra_kv_view){.page = page[sequence], .first = first, .kept = position + 1};
}

/* out (rows, HEADS, DIM) */
static void attend(int threads, const float *queries, const umbra_kv_view *views, int rows,
                   bool sunk, float *out)
{
    size_t stride = umbra_align_up(umbra_attend_scratch(DIM, DIM), 16);
    size_t n = (size_t)threads * UMBRA_ATTEND_ROWS, width = umbra_attend_width(DIM);
    umbra_pool *pool = NULL;
    assert_int_equal(umbra_pool_open(&pool, threads, NULL), 0);
    umbra_device d = {
        .kernels = umbra_kernels_find(NULL), .pool = pool, .threads = umbra_pool_threads(pool)};
    umbra_attend_room room = {
        .blocks = umbra_calloc((size_t)threads * stride, sizeof(float)),
        .block_stride = stride,
        .mixed = umbra_calloc(n * width, sizeof(float)),
        .width = width,
        .parts = umbra_calloc(n, sizeof(umbra_attend_row)),
        .totals = umbra_calloc(n, sizeof(umbra_attend_row)),
        .tiles = umbra_calloc((size_t)rows + 1, sizeof(int)),
    };
    umbra_activations mixed = {.rows = rows * HEADS, .columns = DIM, .f32 = out};
    umbra_attend_step step = {
        .q = queries,
        .sinks = sunk ? sinks : NULL,
        .form = &form,
        .view = views,
        .heads = HEADS,
        .together = HEADS / KEPT,
        .value_dim = DIM,
        .scale = 0.15f,
        .out = &mixed,
        .room = &room,
    };
    umbra_device_attend(&d, &step, rows);
    umbra_free(room.blocks);
    umbra_free(room.mixed);
    umbra_free(room.parts);
    umbra_free(room.totals);
    umbra_free(room.tiles);
    umbra_pool_close(&pool);
}

/* All positions of a sequence in chunks. */
static float *attend_chunks(int chunk, int threads, int window, bool sunk)
{
    size_t row = HEADS * DIM;
    float *out = umbra_calloc(POSITIONS * row, sizeof *out);
    umbra_kv_view *views = umbra_calloc(POSITIONS, sizeof *views);
    for (int t = 0; t < POSITIONS; t++)
        views[t] = look(0, t, window);
    for (int t = 0; t < POSITIONS; t += chunk) {
        int rows = POSITIONS - t < chunk ? POSITIONS - t : chunk;
        attend(threads, q + (size_t)t * row, views + t, rows, sunk, out + (size_t)t * row);
    }
    umbra_free(views);
    return out;
}

static void chunks_and_threads_leave_no_trace(void **state)
{
    (void)state;
    static const int chunks[][2] = {{1, 3}, {7, 2}, {64, 1}, {100, 4}, {256, 3}, {POSITIONS, 1}};
    static const int windows[] = {0, 1, 70, 300};
    for (int w = 0; w < 4; w++) {
        float *want = attend_chunks(1, 1, windows[w], w % 2);
        for (int i = 0; i < 6; i++) {
            float *got = attend_chunks(chunks[i][0], chunks[i][1], windows[w], w % 2);
            assert_memory_equal(got, want, sizeof(float) * POSITIONS * HEADS * DIM);
            umbra_free(got);
        }
        umbra_free(want);
    }
}

/* Rows of two sequences in turns, and as they are alone. */
static void sequences_leave_no_trace(void **state)
{
    (void)state;
    enum { ROWS = 6 };
    size_t row = HEADS * DIM;
    umbra_kv_view views[ROWS];
    float queries[ROWS * HEADS * DIM], together[ROWS * HEADS * DIM], alone[HEADS * DIM];
    for (int i = 0; i < ROWS; i++) {
        views[i] = look(i % 2, 500 + 20 * i, 0);
        memcpy(queries + (size_t)i * row, q + (size_t)(i * 50) * row, row * sizeof *q);
    }
    for (int threads = 1; threads < 4; threads++) {
        attend(threads, queries, views, ROWS, false, together);
        for (int i = 0; i < ROWS; i++) {
            attend(4 - threads, queries + (size_t)i * row, &views[i], 1, false, alone);
            assert_memory_equal(alone, together + (size_t)i * row, sizeof alone);
        }
    }
}

/* The last positions lie in a page of their own. */
static void extras_count_as_positions(void **state)
{
    (void)state;
    enum { AT = 300, EXTRAS = 5, EXTRA_AT = 9 };
    umbra_kv_view whole = look(0, AT, 0), cut = whole;
    float want[HEADS * DIM], got[HEADS * DIM];
    char *extra = umbra_calloc(1, umbra_kv_page_bytes(&form));
    size_t bytes = DIM * form.unit;
    cut.kept -= EXTRAS;
    cut.extra = extra;
    cut.extra_at = EXTRA_AT;
    cut.extras = EXTRAS;
    for (int i = 0; i < EXTRAS * KEPT; i++) {
        int h = i % KEPT, position = cut.kept + i / KEPT, to = EXTRA_AT + i / KEPT;
        const char *from = whole.page[position / UMBRA_KV_PAGE];
        int row = position % UMBRA_KV_PAGE;
        memcpy(extra + umbra_kv_key_at(&form, h, to), from + umbra_kv_key_at(&form, h, row), bytes);
        memcpy(extra + umbra_kv_value_at(&form, h, to), from + umbra_kv_value_at(&form, h, row),
               bytes);
    }
    attend(1, q, &whole, 1, false, want);
    attend(2, q, &cut, 1, false, got);
    assert_memory_equal(got, want, sizeof want);
    umbra_free(extra);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_and_threads_leave_no_trace),
        cmocka_unit_test(sequences_leave_no_trace),
        cmocka_unit_test(extras_count_as_positions),
    };
    return cmocka_run_group_tests(tests, make_sequences, drop_sequences);
}
