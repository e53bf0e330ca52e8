/* Writes the seeds of the fuzz target into a folder: make_corpus FOLDER. The files are committed;
 * this program is run only when the builder or the list changes. */
#include <stdio.h>

#include "builder.h"

static void add_all_kinds(umbra_builder *b)
{
    umbra_builder_string(b, "general.architecture", "qwen3moe");
    umbra_builder_number(b, "u8", UMBRA_GGUF_U8, &(uint8_t){200});
    umbra_builder_number(b, "i16", UMBRA_GGUF_I16, &(int16_t){-3});
    umbra_builder_number(b, "i64", UMBRA_GGUF_I64, &(int64_t){INT64_MIN});
    umbra_builder_number(b, "u64", UMBRA_GGUF_U64, &(uint64_t){UINT64_MAX});
    umbra_builder_number(b, "f64", UMBRA_GGUF_F64, &(double){1e300});
    umbra_builder_f32(b, "f32", 1e-6f);
    umbra_builder_bool(b, "bool", true);
    umbra_builder_strings(b, "tokens",
                          (const char *const[]){"<s>", "",
                                                "\xc4\xa0"
                                                "a"},
                          3);
    umbra_builder_array(b, "types", UMBRA_GGUF_I32, (int32_t[]){3, 1, 1}, 3);
    umbra_builder_array(b, "floats", UMBRA_GGUF_F64, (double[]){0.5, -1}, 2);
    umbra_builder_array(b, "bools", UMBRA_GGUF_BOOL, (uint8_t[]){0, 1}, 2);
}

static void add_tensors(umbra_builder *b)
{
    umbra_builder_tensor(b, "token_embd.weight", UMBRA_Q8_0, 2, (uint64_t[]){32, 3}, NULL);
    umbra_builder_tensor(b, "blk.0.ffn_up_exps.weight", UMBRA_Q4_0, 3, (uint64_t[]){32, 2, 4},
                         NULL);
    umbra_builder_tensor(b, "four", UMBRA_F16, 4, (uint64_t[]){4, 1, 2, 2}, NULL);
    umbra_builder_tensor(b, "output_norm.weight", UMBRA_F32, 1, (uint64_t[]){8}, NULL);
}

static void sound(umbra_builder *b)
{
    add_all_kinds(b);
    add_tensors(b);
    umbra_builder_finish(b);
}

static void version_2(umbra_builder *b)
{
    umbra_builder_patch_u32(b, UMBRA_FIELD_VERSION, "", 0, 2);
    add_tensors(b);
    umbra_builder_finish(b);
}

static void alignment(umbra_builder *b)
{
    umbra_builder_u32(b, "general.alignment", 64);
    add_tensors(b);
    umbra_builder_finish(b);
}

static void nested(umbra_builder *b)
{
    umbra_builder_begin(b, "nested", UMBRA_GGUF_ARRAY);
    umbra_builder_put_array(b, UMBRA_GGUF_ARRAY, 2);
    umbra_builder_put_array(b, UMBRA_GGUF_ARRAY, 1);
    umbra_builder_put_array(b, UMBRA_GGUF_ARRAY, 1);
    umbra_builder_put_array(b, UMBRA_GGUF_U16, 1);
    umbra_builder_put(b, UMBRA_FIELD_VALUE, "\1\2", 2);
    umbra_builder_put_array(b, UMBRA_GGUF_STRING, 0);
    umbra_builder_finish(b);
}

static void too_deep(umbra_builder *b)
{
    umbra_builder_begin(b, "deep", UMBRA_GGUF_ARRAY);
    for (unsigned d = 0; d < 5; d++)
        umbra_builder_put_array(b, UMBRA_GGUF_ARRAY, 1);
    umbra_builder_finish(b);
}

static void overlap(umbra_builder *b)
{
    add_tensors(b);
    umbra_builder_finish(b);
    umbra_builder_patch_u64(b, UMBRA_FIELD_OFFSET, "four", 0, 32);
}

static void truncated(umbra_builder *b)
{
    sound(b);
    b->count = umbra_builder_field(b, UMBRA_FIELD_DATA, "four", 0)->at;
}

static void big_endian(umbra_builder *b)
{
    sound(b);
    umbra_builder_patch_u32(b, UMBRA_FIELD_VERSION, "", 0, 3u << 24);
}

static void hostile_names(umbra_builder *b)
{
    umbra_builder_u32(b, "\x1b[2J\xff", 1);
    umbra_builder_u32(b, "\x1b[2J\xff", 1);
    umbra_builder_finish(b);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*make)(umbra_builder *b);
    } seeds[] = {
        {"sound", sound},         {"version-2", version_2},   {"alignment-64", alignment},
        {"nested", nested},       {"too-deep", too_deep},     {"overlap", overlap},
        {"truncated", truncated}, {"big-endian", big_endian}, {"hostile-names", hostile_names},
    };
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        char path[512];
        umbra_builder b;
        umbra_builder_init(&b, 3);
        seeds[i].make(&b);
        snprintf(path, sizeof path, "%s/%s.gguf", argv[1], seeds[i].name);
        umbra_builder_write(&b, path);
        umbra_builder_release(&b);
    }
    return 0;
}
