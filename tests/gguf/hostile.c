/* What tests of malformed files share: a cap on memory, and the check of a refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "hostile.h"
#include "read_all.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER 1
#endif

void umbra_hostile_limit_memory(void)
{
#ifndef UNDER_SANITIZER
    const struct rlimit limit = {256 << 20, 256 << 20};
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        perror("setrlimit");
#endif
}

void umbra_hostile_sample(umbra_builder *b)
{
    umbra_builder_init(b, 3);
    umbra_builder_string(b, "general.architecture", "qwen3moe");
    umbra_builder_u32(b, "general.alignment", 64);
    umbra_builder_number(b, "i64", UMBRA_GGUF_I64, &(int64_t){-5});
    umbra_builder_f32(b, "f32", 1e-6f);
    umbra_builder_bool(b, "bool", true);
    umbra_builder_strings(b, "tokens", (const char *const[]){"<s>", "a", "bc"}, 3);
    umbra_builder_array(b, "types", UMBRA_GGUF_I32, (int32_t[]){3, 1, 1}, 3);
    umbra_builder_array(b, "bools", UMBRA_GGUF_BOOL, (uint8_t[]){0, 1, 1}, 3);
    umbra_builder_begin(b, "nested", UMBRA_GGUF_ARRAY);
    umbra_builder_put_array(b, UMBRA_GGUF_ARRAY, 2);
    umbra_builder_put_array(b, UMBRA_GGUF_U16, 1);
    umbra_builder_put(b, UMBRA_FIELD_VALUE, "\1\2", 2);
    umbra_builder_put_array(b, UMBRA_GGUF_U8, 1);
    umbra_builder_put(b, UMBRA_FIELD_VALUE, "\1", 1);
    umbra_builder_string(b, "last", "one");
    umbra_builder_tensor(b, "token_embd.weight", UMBRA_Q8_0, 2, (uint64_t[]){64, 3}, NULL);
    umbra_builder_tensor(b, "blk.0.ffn_gate_exps.weight", UMBRA_Q4_0, 3, (uint64_t[]){32, 2, 4},
                         NULL);
    umbra_builder_tensor(b, "rope", UMBRA_F16, 4, (uint64_t[]){8, 2, 2, 2}, NULL);
    umbra_builder_tensor(b, "output_norm.weight", UMBRA_F32, 1, (uint64_t[]){64}, NULL);
    umbra_builder_finish(b);
}

int umbra_hostile_next_descriptor(void)
{
    int fd = dup(STDERR_FILENO);
    assert_true(fd >= 0);
    close(fd);
    return fd;
}

int umbra_hostile_open(const char *name, const char *path, umbra_error *err)
{
    umbra_gguf *gguf = (umbra_gguf *)err; /* any value: it must be overwritten */
    int before = umbra_hostile_next_descriptor();
    memset(err, 0, sizeof *err);
    int rc = umbra_gguf_open(&gguf, path, err);
    if (rc == UMBRA_OK) {
        umbra_gguf_read_all(gguf);
        umbra_gguf_close(&gguf);
    } else if (gguf != NULL || err->status != rc || !strstr(err->message, path)) {
        fail_msg("%s: handle %p, status %d in the report for %d, message \"%s\"", name,
                 (void *)gguf, err->status, rc, err->message);
    }
    if (umbra_hostile_next_descriptor() != before)
        fail_msg("%s: a descriptor was leaked", name);
    return rc;
}
