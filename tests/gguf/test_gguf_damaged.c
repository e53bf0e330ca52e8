/* Sound GGUF files with flipped bits, and sound ones opened without memory: nothing may crash, read
 * outside its bounds or leak, whether the file is still sound or not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "hostile.h"

#define TINY "models/tiny-q8_0.gguf"

enum { FLIPS_SMALL = 4000, FLIPS_TINY = 600 };

static umbra_memory_file file;

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Flips 1 to 8 bits of the first `count` bytes, tries, and restores them; `rounds` times. */
static unsigned flip_bits(const unsigned char *bytes, size_t count, unsigned rounds, uint64_t seed)
{
    unsigned failed = 0;
    for (unsigned i = 0; i < rounds; i++) {
        size_t at[8];
        unsigned flips = 1 + (unsigned)(next_random(&seed) % 8);
        for (unsigned k = 0; k < flips; k++) {
            at[k] = next_random(&seed) % count;
            unsigned char byte = bytes[at[k]] ^ (unsigned char)(1u << next_random(&seed) % 8);
            assert_int_equal(pwrite(file.fd, &byte, 1, (off_t)at[k]), 1);
        }
        char name[32];
        snprintf(name, sizeof name, "flip round %u", i);
        umbra_error err;
        failed += umbra_hostile_open(name, file.path, &err) != UMBRA_OK;
        for (unsigned k = 0; k < flips; k++)
            assert_int_equal(pwrite(file.fd, &bytes[at[k]], 1, (off_t)at[k]), 1);
    }
    return failed;
}

static void test_flips(void **state)
{
    (void)state;
    umbra_builder b;
    umbra_hostile_sample(&b);
    umbra_memory_file_set(&file, b.bytes, b.count, 0);
    size_t header = umbra_builder_field(&b, UMBRA_FIELD_DATA, "token_embd.weight", 0)->at;
    assert_true(flip_bits(b.bytes, header, FLIPS_SMALL, 0x9e3779b97f4a7c15u) > FLIPS_SMALL / 2);
    umbra_builder_release(&b);
}

static void test_flips_tiny(void **state)
{
    (void)state;
    umbra_gguf *gguf;
    umbra_error err;
    if (umbra_gguf_open(&gguf, TINY, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    size_t header = umbra_gguf_tensor_at(gguf, 0)->offset;
    unsigned char *bytes = malloc(header);
    assert_non_null(bytes);
    assert_int_equal(pread(umbra_gguf_fd(gguf), bytes, header, 0), header);
    umbra_memory_file_set(&file, bytes, header, umbra_gguf_file_bytes(gguf));
    umbra_gguf_close(&gguf);
    assert_int_equal(umbra_hostile_open("tiny with empty data", file.path, &err), UMBRA_OK);
    flip_bits(bytes, header, FLIPS_TINY / 2, 1);
    flip_bits(bytes, 1000, FLIPS_TINY / 4, 2); /* the keys */
    size_t tensors = 8000;                     /* 98 headers of about 80 bytes end the header */
    unsigned char *end = bytes + header - tensors;
    uint64_t seed = 3;
    for (unsigned i = 0; i < FLIPS_TINY / 4; i++) {
        size_t at = next_random(&seed) % tensors;
        unsigned char byte = end[at] ^ (unsigned char)(1u << i % 8);
        off_t place = (off_t)(header - tensors + at);
        assert_int_equal(pwrite(file.fd, &byte, 1, place), 1);
        umbra_hostile_open("flip in the tensors", file.path, &err);
        assert_int_equal(pwrite(file.fd, &end[at], 1, place), 1);
    }
    free(bytes);
}

/* Every allocation of a good opening fails once. */
static void test_no_memory(void **state)
{
    (void)state;
    umbra_builder b;
    umbra_hostile_sample(&b);
    umbra_memory_file_set(&file, b.bytes, b.count, 0);
    umbra_builder_release(&b);
    static const char *const others[] = {NULL, TINY};
    for (size_t i = 0; i < 2; i++) {
        const char *path = others[i] ? others[i] : file.path;
        int before = umbra_hostile_next_descriptor();
        long n = 1;
        for (;; n++) {
            umbra_gguf *gguf = (umbra_gguf *)&file;
            umbra_error err = {0};
            umbra_memory_fail_after(n);
            int rc = umbra_gguf_open(&gguf, path, &err);
            umbra_memory_fail_after(0);
            if (rc == UMBRA_OK) {
                umbra_gguf_close(&gguf);
                break;
            }
            assert_int_equal(rc, UMBRA_E_NOMEM);
            assert_int_equal(err.status, UMBRA_E_NOMEM);
            assert_true(err.message[0] != '\0');
            assert_null(gguf);
            assert_int_equal(umbra_hostile_next_descriptor(), before);
        }
        assert_true(n > 8); /* handle, path, buffer, two tables, two indexes, order, settling */
    }
}

static int set_up(void **state)
{
    (void)state;
    umbra_memory_file_init(&file);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    umbra_memory_file_release(&file);
    return 0;
}

int main(void)
{
    umbra_hostile_limit_memory();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flips),
        cmocka_unit_test(test_flips_tiny),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
