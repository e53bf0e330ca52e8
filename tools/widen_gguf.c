/* widen_gguf IN.gguf N OUT.gguf: a copy whose experts are N times as wide. The added rows of gate
 * and up and the added columns of down are zero, so that every added inner value is
 * silu(0) * 0 = 0 and the output stays bit for bit what it was, for N times the bytes and the work.
 *
 * All keys but the width and all other tensors are copied as they are. Stacked experts
 * (ffn_gate_exps, ffn_up_exps, the fused ffn_gate_up_exps, ffn_down_exps), their biases, and the
 * older one-tensor-per-expert form are understood; shared experts are widened along where their
 * width follows from the same key. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gguf/internal.h"
#include "gguf_writer.h"

enum { PIECE_BYTES = 1 << 20, MOST_TIMES = 1024 };

/* Blocks that decode to zero, as runs of equal bytes. A format whose values have an offset
 * (Q4_0: value - 8) gets that offset, so that no sign is left on the zero. */
static const struct zero_block {
    uint32_t dtype;
    struct {
        uint8_t bytes, value;
    } runs[5];
} zero_blocks[] = {
    {UMBRA_F32, {{4, 0}}},
    {UMBRA_F16, {{2, 0}}},
    {UMBRA_BF16, {{2, 0}}},
    {UMBRA_Q8_0, {{34, 0}}},
    {UMBRA_Q4_0, {{2, 0}, {16, 0x88}}},                       /* scale; nibbles - 8 */
    {UMBRA_Q4_1, {{20, 0}}},                                  /* scale and least value */
    {UMBRA_Q5_0, {{2, 0}, {4, 0xff}, {16, 0}}},               /* scale; fifth bits; nibbles; - 16 */
    {UMBRA_Q5_1, {{24, 0}}},                                  /* scale and least value */
    {UMBRA_Q2_K, {{84, 0}}},                                  /* scales and least values */
    {UMBRA_Q4_K, {{144, 0}}},                                 /* the same */
    {UMBRA_Q5_K, {{176, 0}}},                                 /* the same */
    {UMBRA_Q3_K, {{32, 0xff}, {72, 0}, {4, 0xaa}, {2, 0}}},   /* third bits; pairs; scales - 32 */
    {UMBRA_Q6_K, {{128, 0}, {64, 0xaa}, {18, 0}}},            /* nibbles; fifth and sixth; - 32 */
    {UMBRA_IQ4_NL, {{2, 0}, {16, 0x88}}},                     /* scale; code 8 is positive */
    {UMBRA_IQ4_XS, {{2, 0}, {2, 0xaa}, {4, 0}, {128, 0x88}}}, /* scale; scales - 32; codes */
    {UMBRA_MXFP4, {{1, 127}, {16, 0}}},                       /* exponent; code 0 is zero */
    {UMBRA_NVFP4, {{36, 0}}},                                 /* scales, and so all below */
    {UMBRA_TQ1_0, {{54, 0}}},
    {UMBRA_TQ2_0, {{66, 0}}},
    {UMBRA_IQ1_S, {{50, 0}}},
    {UMBRA_IQ1_M, {{56, 0}}},
    {UMBRA_IQ2_XXS, {{66, 0}}},
    {UMBRA_IQ2_XS, {{74, 0}}},
    {UMBRA_IQ2_S, {{82, 0}}},
    {UMBRA_IQ3_XXS, {{98, 0}}},
    {UMBRA_IQ3_S, {{110, 0}}},
};

/* What happens to one tensor: after every `run` bytes come (times - 1) * run bytes of zeros. */
typedef struct change {
    bool widened;
    uint64_t shape[4];
    uint64_t run;
} change;

typedef struct widening {
    const umbra_gguf *gguf;
    uint32_t times, width;
    uint64_t width_at; /* of the key's value in the file */
    bool shared_too;   /* shared experts have the same key's width */
} widening;

static const umbra_gguf_pair *find_pair(const umbra_gguf *gguf, const char *key)
{
    uint64_t i;
    umbra_string wanted = {key, strlen(key)};
    return umbra_gguf_index_find(gguf, UMBRA_GGUF_PAIRS, wanted, &i) ? &gguf->pairs[i] : NULL;
}

/* The key that holds the experts' width, and that width. */
static void find_width(widening *p)
{
    const char *path = umbra_gguf_path(p->gguf);
    umbra_error err;
    umbra_string architecture;
    if (umbra_gguf_get_string(p->gguf, "general.architecture", &architecture, &err) != 1)
        gguf_die("%s: the key general.architecture is missing", path);
    int n = (int)(architecture.bytes < 64 ? architecture.bytes : 64);
    char key[GGUF_NAME_BYTES], shared[GGUF_NAME_BYTES];
    snprintf(key, sizeof key, "%.*s.expert_feed_forward_length", n, architecture.data);
    const umbra_gguf_pair *pair = find_pair(p->gguf, key);
    if (!pair) {
        for (uint64_t i = 0; i < umbra_gguf_tensor_count(p->gguf); i++) {
            char name[GGUF_NAME_BYTES];
            if (strstr(gguf_name(umbra_gguf_tensor_at(p->gguf, i), name), ".ffn_up.weight"))
                gguf_die("%s: no key %s, and %s is dense: nothing says the experts' width alone",
                         path, key, name);
        }
        snprintf(key, sizeof key, "%.*s.feed_forward_length", n, architecture.data);
        pair = find_pair(p->gguf, key);
    }
    if (!pair)
        gguf_die("%s: no key says how wide the experts are (looked for %s)", path, key);
    if (pair->type != UMBRA_GGUF_U32 && pair->type != UMBRA_GGUF_I32)
        gguf_die("%s: key %s is not a 32-bit integer", path, key);
    if (umbra_gguf_get_u32(p->gguf, key, &p->width, &err) != 1)
        gguf_die("%s", err.message);
    if (p->width == 0 || p->width > INT32_MAX / p->times)
        gguf_die("%s: key %s is %" PRIu32 ", which cannot be widened %" PRIu32 " times", path, key,
                 p->width, p->times);
    p->width_at = pair->value_at;
    snprintf(shared, sizeof shared, "%.*s.expert_shared_feed_forward_length", n, architecture.data);
    p->shared_too = find_pair(p->gguf, shared) == NULL;
}

/* The dimension of a tensor that is the inner width of experts, or -1. *multiple: the dimension
 * holds several widths (gate and up fused, shared experts), each widened alone if *split. */
static int width_dimension(const widening *p, const char *name, bool *multiple, bool *split)
{
    const char *role = strstr(name, ".ffn_");
    *multiple = *split = false;
    if (strncmp(name, "blk.", 4) != 0 || !role)
        return -1;
    role += strlen(".ffn_");
    size_t verb = strcspn(role, "._");
    bool fused = strncmp(role, "gate_up_", 8) == 0;
    verb = fused ? 7 : verb;
    bool down = verb == 4 && strncmp(role, "down", verb) == 0;
    if (!fused && !down && !(verb == 2 && strncmp(role, "up", verb) == 0) &&
        !(verb == 4 && strncmp(role, "gate", verb) == 0))
        return -1;
    const char *form = role + verb;
    bool old = form[0] == '.' && form[1] >= '0' && form[1] <= '9';
    bool stacked = strncmp(form, "_exps.", 6) == 0;
    bool shared = strncmp(form, "_shexp.", 7) == 0 && p->shared_too;
    if (!old && !stacked && !shared)
        return -1;
    *multiple = fused || shared;
    *split = fused;
    bool bias = strcmp(name + strlen(name) - 5, ".bias") == 0;
    if (bias)
        return down ? -1 : 0;
    if (strcmp(name + strlen(name) - 7, ".weight") != 0)
        return -1;
    return down ? 0 : 1;
}

static change change_of(const widening *p, const umbra_gguf_tensor *t, const char *name)
{
    change c = {false, {t->shape[0], t->shape[1], t->shape[2], t->shape[3]}, 0};
    bool multiple, split;
    int dimension = width_dimension(p, name, &multiple, &split);
    if (dimension < 0)
        return c;
    uint64_t *wide = &c.shape[dimension];
    if (multiple ? *wide % p->width != 0 : *wide != p->width)
        gguf_die("%s: tensor %s is %" PRIu64 " wide, but the key says %" PRIu32,
                 umbra_gguf_path(p->gguf), name, *wide, p->width);
    umbra_dtype_info info = umbra_dtype_get(t->dtype);
    uint64_t part = split ? p->width : *wide;
    if (dimension == 0 && part % info.block_values != 0)
        gguf_die("%s: tensor %s: %" PRIu64 " columns are not whole blocks of %s",
                 umbra_gguf_path(p->gguf), name, part, info.name);
    c.widened = true;
    c.run = dimension == 0 ? umbra_dtype_row_bytes(info, part)
                           : part * umbra_dtype_row_bytes(info, c.shape[0]);
    *wide *= p->times;
    return c;
}

/* PIECE_BYTES (or a little less) of zero blocks. Returns their bytes. */
static size_t fill_zeros(const widening *p, uint32_t dtype, char *zeros)
{
    const struct zero_block *block = NULL;
    for (size_t i = 0; i < sizeof zero_blocks / sizeof zero_blocks[0]; i++)
        if (zero_blocks[i].dtype == dtype)
            block = &zero_blocks[i];
    umbra_dtype_info info = umbra_dtype_get(dtype);
    if (!block)
        gguf_die("%s: experts of type %s: no block of zeros is known for it",
                 umbra_gguf_path(p->gguf), info.name);
    size_t n = PIECE_BYTES / info.block_bytes;
    for (size_t b = 0; b < n; b++)
        for (size_t r = 0; r < sizeof block->runs / sizeof block->runs[0]; r++) {
            memset(zeros, block->runs[r].value, block->runs[r].bytes);
            zeros += block->runs[r].bytes;
        }
    return n * info.block_bytes;
}

static void write_zeros(gguf_writer *w, const char *zeros, size_t have, uint64_t bytes)
{
    while (bytes > 0) {
        size_t n = bytes < have ? (size_t)bytes : have;
        gguf_write(w, zeros, n);
        bytes -= n;
    }
}

static void copy_tensor(gguf_writer *w, const widening *p, const umbra_gguf_tensor *t,
                        const change *c, char *piece, char *zeros)
{
    umbra_error err;
    size_t have = c->widened ? fill_zeros(p, t->dtype, zeros) : 0;
    uint64_t run = c->widened ? c->run : t->bytes;
    for (uint64_t at = 0; at < t->bytes;) {
        size_t n = t->bytes - at < PIECE_BYTES ? (size_t)(t->bytes - at) : PIECE_BYTES;
        if (umbra_gguf_read_tensor(p->gguf, t, at, piece, n, &err) != UMBRA_OK)
            gguf_die("%s", err.message);
        for (size_t done = 0; done < n;) {
            uint64_t left = run - at % run;
            size_t some = n - done < left ? n - done : (size_t)left;
            gguf_write(w, piece + done, some);
            done += some;
            at += some;
            if (c->widened && at % run == 0)
                write_zeros(w, zeros, have, (p->times - 1) * run);
        }
    }
    gguf_end_tensor(w);
}

static void put_header(gguf_writer *w, widening *p, change *changes)
{
    const umbra_gguf *gguf = p->gguf;
    uint32_t wide = p->width * p->times;
    gguf_copy_pairs(w, gguf);
    memcpy(w->head + p->width_at, &wide, sizeof wide);

    uint64_t widened = 0;
    for (uint64_t i = 0; i < gguf->tensor_count; i++) {
        const umbra_gguf_tensor *t = umbra_gguf_tensor_at(gguf, i);
        char name[GGUF_NAME_BYTES];
        gguf_name(t, name);
        changes[i] = change_of(p, t, name);
        widened += changes[i].widened;
        gguf_put_tensor(w, name, t->dtype, t->dimensions, changes[i].shape);
    }
    if (widened == 0)
        gguf_die("%s: no experts were found (tensors blk.N.ffn_up_exps.weight and the like)",
                 umbra_gguf_path(gguf));
}

int main(int argc, char **argv)
{
    char *end = NULL;
    long times = argc == 4 ? strtol(argv[2], &end, 10) : 0;
    if (argc != 4 || *end != '\0' || times < 1 || times > MOST_TIMES) {
        fprintf(
            stderr,
            "usage: widen_gguf IN.gguf N OUT.gguf\n"
            "Copies a Mixture-of-Experts file with experts N times (1 to %d) as wide: the same\n"
            "output, N times the bytes and the work.\n",
            MOST_TIMES);
        return 2;
    }
    umbra_error err;
    umbra_gguf *gguf;
    if (umbra_gguf_open(&gguf, argv[1], &err) != UMBRA_OK)
        gguf_die("%s", err.message);
    widening p = {.gguf = gguf, .times = (uint32_t)times};
    uint64_t count = umbra_gguf_tensor_count(gguf);
    find_width(&p);
    change *changes = calloc(count, sizeof *changes);
    char *buffers = malloc((size_t)2 * PIECE_BYTES);
    if (!changes || !buffers)
        gguf_die("no memory");
    gguf_writer w;
    gguf_writer_begin(&w, argv[3], umbra_gguf_version(gguf));
    put_header(&w, &p, changes);
    gguf_writer_data(&w);
    for (uint64_t i = 0; i < count; i++)
        copy_tensor(&w, &p, umbra_gguf_tensor_at(gguf, i), &changes[i], buffers,
                    buffers + PIECE_BYTES);
    gguf_writer_commit(&w);
    free(changes);
    free(buffers);
    umbra_gguf_close(&gguf);
    return 0;
}
