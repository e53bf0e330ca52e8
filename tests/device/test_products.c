/* Products of few and of many tokens: the same bits as the kernel gives in one call, with any
 * number of threads, of rows that follow each other and of gathered ones. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "device/device.h"

enum { ROWS = 70, SHORT_ROWS = 33, COLUMNS = 96, TOKENS = 1000 };

static umbra_activations x;
static uint8_t *weights; /* (ROWS, COLUMNS) F32, or as many bytes of another type */
static int32_t gather[TOKENS];
static float *out, *expected; /* (2, TOKENS, ROWS) */

static int make_operands(void **state)
{
    (void)state;
    const umbra_kernels *k = umbra_kernels_find(NULL);
    size_t n = (size_t)TOKENS * COLUMNS, blocks = n / UMBRA_Q16_BLOCK;
    x = (umbra_activations){
        .rows = TOKENS,
        .columns = COLUMNS,
        .f32 = umbra_calloc(n, sizeof(float)),
        .q = umbra_calloc(n, sizeof(int16_t)),
        .scale = umbra_calloc(blocks, sizeof(float)),
        .sum = umbra_calloc(blocks, sizeof(float)),
    };
    weights = umbra_calloc((size_t)ROWS * COLUMNS, sizeof(float));
    out = umbra_calloc(2 * TOKENS * ROWS, sizeof(float));
    expected = umbra_calloc(2 * TOKENS * ROWS, sizeof(float));
    assert_true(x.f32 && x.q && x.scale && x.sum && weights && out && expected);
    srand(5);
    for (size_t i = 0; i < n; i++)
        x.f32[i] = (float)(rand() % 2001 - 1000) / 300;
    umbra_round_rows(k, &x, 0, TOKENS);
    for (int i = 0; i < TOKENS; i++)
        gather[i] = rand() % TOKENS;
    return 0;
}

static int free_operands(void **state)
{
    (void)state;
    umbra_free(x.f32);
    umbra_free(x.q);
    umbra_free(x.scale);
    umbra_free(x.sum);
    umbra_free(weights);
    umbra_free(out);
    umbra_free(expected);
    return 0;
}

/* Values near 1 for both types: scales of 2^-6 for Q8_0. */
static void draw_weights(uint32_t type)
{
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        float value = (float)(rand() % 255 - 127) / 64;
        if (type == UMBRA_F32)
            memcpy(weights + i * sizeof value, &value, sizeof value);
        else
            weights[i] = (uint8_t)rand();
    }
    size_t block = umbra_dtype_get(UMBRA_Q8_0).block_bytes;
    for (size_t i = 0; type == UMBRA_Q8_0 && i + block <= ROWS * COLUMNS * sizeof(float);
         i += block)
        memcpy(weights + i, &(uint16_t){0x2400}, sizeof(uint16_t));
}

/* Two products, of which the second gathers its tokens, as the kernel and as the device has them.
 */
static void compare(const umbra_device *d, uint32_t type, int tokens)
{
    umbra_matrix w = {.data = weights,
                      .row_bytes = umbra_dtype_row_bytes(umbra_dtype_get(type), COLUMNS),
                      .dtype = type,
                      .rows = ROWS,
                      .columns = COLUMNS};
    umbra_matrix small = w;
    small.rows = SHORT_ROWS;
    umbra_product products[] = {umbra_product_make(d, &w, &x, tokens, out),
                                umbra_product_make(d, &small, &x, tokens, out + TOKENS * ROWS)};
    products[1].matmul.gather = gather;
    memset(out, 0, 2 * TOKENS * ROWS * sizeof *out);
    memset(expected, 0, 2 * TOKENS * ROWS * sizeof *expected);
    umbra_device_products(d, products, 2);
    for (int i = 0; i < 2; i++) {
        umbra_matmul m = products[i].matmul;
        m.out = expected + i * TOKENS * ROWS;
        products[i].fn(&m, 0, products[i].rows);
    }
    assert_memory_equal(out, expected, 2 * TOKENS * ROWS * sizeof *out);
}

static void blocks_of_tokens_leave_no_trace(void **state)
{
    (void)state;
    const uint32_t types[] = {UMBRA_F32, UMBRA_Q8_0};
    const int tokens[] = {1, 15, 16, 256, 257, 272, 512, 513, 777, TOKENS};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        draw_weights(types[i]);
        for (int threads = 1; threads <= 5; threads++) {
            umbra_error err = {0};
            umbra_device d = {.kernels = umbra_kernels_find(NULL), .threads = threads};
            assert_int_equal(umbra_pool_open(&d.pool, threads, &err), UMBRA_OK);
            for (size_t j = 0; j < sizeof tokens / sizeof *tokens; j++)
                compare(&d, types[i], tokens[j]);
            umbra_pool_close(&d.pool);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(blocks_of_tokens_leave_no_trace)};
    return cmocka_run_group_tests(tests, make_operands, free_operands);
}
