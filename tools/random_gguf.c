/* random_gguf SHAPE OUT.gguf [--layers N] [--rows N] [--seed S]: a file with the exact shapes and
 * types of a published model and random weights, to measure speed, bytes and memory at sizes that
 * the text a model writes has no part in. Routing is random there: figures that depend on which
 * experts are asked for (hits, guesses) say nothing about the real model.
 *
 * Weights are uniform codes under random scales, with a spread of 1 / sqrt(columns), so that
 * activations stay of order 1. The tokenizer is byte-level BPE: the 256 bytes, all pairs of small
 * letters, and made-up words that only output can use. The same seed gives the same file. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "kernels/half.h"
#include "random_shapes.h"
#include "tokenizer/internal.h"

enum { PIECE_BYTES = 1 << 20, SCALES = 16, LETTERS = 26, EXPONENT_ZERO = 127, LEAST_ROWS = 100 };

/* Token `id` as the file spells it: "Ġ" and the letters of the number. Returns its bytes. */
static size_t made_up_word(uint32_t id, char out[16])
{
    size_t n = umbra_utf8_encode(umbra_alphabet_code(' '), out);
    for (int i = 0; i < 4 || id > 0; i++, id /= LETTERS)
        out[n++] = (char)('a' + id % LETTERS);
    return n;
}

static void put_tokenizer(maker *m)
{
    static const char *const specials[] = {"<|begin|>", "<|endoftext|>"};
    const uint32_t n = m->s->vocabulary, pairs = LETTERS * LETTERS, n_specials = 2;
    gguf_put_string(&m->w, "tokenizer.ggml.model", "gpt2");
    gguf_put_string(&m->w, "tokenizer.ggml.pre", m->s->pre);
    gguf_put_array(&m->w, "tokenizer.ggml.tokens", UMBRA_GGUF_STRING, n);
    for (uint32_t id = 0; id < n; id++) {
        char text[16];
        size_t bytes;
        if (id < 256)
            bytes = umbra_utf8_encode(umbra_alphabet_code((unsigned char)id), text);
        else if (id < 256 + pairs) {
            text[0] = (char)('a' + (id - 256) / LETTERS);
            text[1] = (char)('a' + (id - 256) % LETTERS);
            bytes = 2;
        } else
            bytes = made_up_word(id, text);
        if (id >= n - n_specials) {
            const char *special = specials[id - (n - n_specials)];
            gguf_put_text(&m->w, special, strlen(special));
        } else
            gguf_put_text(&m->w, text, bytes);
    }
    gguf_put_array(&m->w, "tokenizer.ggml.token_type", UMBRA_GGUF_I32, n);
    for (uint32_t id = 0; id < n; id++) {
        int32_t type = id >= n - n_specials ? UMBRA_TOKEN_CONTROL : UMBRA_TOKEN_NORMAL;
        gguf_put_bytes(&m->w, &type, sizeof type);
    }
    gguf_put_array(&m->w, "tokenizer.ggml.merges", UMBRA_GGUF_STRING, pairs);
    for (uint32_t i = 0; i < pairs; i++) {
        char text[] = {(char)('a' + i / LETTERS), ' ', (char)('a' + i % LETTERS)};
        gguf_put_text(&m->w, text, sizeof text);
    }
    gguf_put_u32(&m->w, "tokenizer.ggml.bos_token_id", n - 2);
    gguf_put_u32(&m->w, "tokenizer.ggml.eos_token_id", n - 1);
    gguf_put_bool(&m->w, "tokenizer.ggml.add_bos_token", false);
}

/* ---- weights ---- */

/* How a block of random bytes becomes weights of a known spread: its 16-bit scales, and the spread
 * of the weights under a scale of 1 and uniformly random codes. */
static const struct format {
    uint32_t dtype;
    uint32_t scale_at; /* of the scale in the block */
    int32_t least_at;  /* of the scale of the least values, or -1 */
    float spread;
    float least; /* the second scale in terms of the first, so that the mean is 0 */
} formats[] = {
    {UMBRA_Q2_K, 80, 82, 13.9f, 1.5f}, {UMBRA_Q4_K, 0, 2, 257, 7.5f},
    {UMBRA_Q5_K, 0, 2, 526, 15.5f},    {UMBRA_Q6_K, 208, -1, 1365, 0},
    {UMBRA_Q5_0, 0, -1, 9.2f, 0},      {UMBRA_Q8_0, 0, -1, 73.9f, 0},
    {UMBRA_IQ4_NL, 0, -1, 67.2f, 0},   {UMBRA_IQ2_XXS, 0, -1, 53.3f, 0},
    {UMBRA_IQ3_XXS, 0, -1, 142.5f, 0}, {UMBRA_MXFP4, 0, -1, 2.92f, 0},
};

static void put_half(unsigned char *at, float value)
{
    uint16_t half = umbra_f16_from_f32(value);
    memcpy(at, &half, sizeof half);
}

static void fill_floats(maker *m, const tensor *t, float *out, size_t n)
{
    float reach = sqrtf(3.0f / (float)t->columns);
    for (size_t i = 0; i < n; i++) {
        float x = 2 * (float)umbra_random_unit(&m->random) - 1;
        out[i] = t->norm ? 1 + 0.1f * x : t->decay ? x - 1 : reach * x;
    }
}

/* Blocks whose scale is a power of two, as one byte. */
static void scale_by_exponents(unsigned char *out, size_t n, uint32_t block_bytes, float scale)
{
    int exponent = (int)lroundf(log2f(scale)) + EXPONENT_ZERO;
    for (unsigned char *block = out; block < out + n; block += block_bytes)
        block[0] = (unsigned char)(exponent - 1 + block[0] % 3);
}

static void scale_by_halves(const struct format *f, unsigned char *out, size_t n,
                            uint32_t block_bytes, float scale)
{
    unsigned char scales[SCALES][2], leasts[SCALES][2];
    for (int i = 0; i < SCALES; i++) {
        float vary = 0.5f + (float)i / (SCALES - 1);
        put_half(scales[i], vary * scale);
        put_half(leasts[i], vary * scale * f->least);
    }
    for (unsigned char *block = out; block < out + n; block += block_bytes) {
        int i = block[f->scale_at] % SCALES; /* as random as the codes */
        memcpy(block + f->scale_at, scales[i], 2);
        if (f->least_at >= 0)
            memcpy(block + f->least_at, leasts[i], 2);
    }
}

/* n bytes (whole blocks) of random codes with sane scales. */
static void fill_blocks(maker *m, const tensor *t, unsigned char *out, size_t n)
{
    const struct format *f = NULL;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (formats[i].dtype == t->dtype)
            f = &formats[i];
    umbra_dtype_info info = umbra_dtype_get(t->dtype);
    if (!f)
        gguf_die("no random blocks of %s are known", info.name);
    for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
        uint64_t bits = umbra_random_u64(&m->random);
        memcpy(out + i, &bits, n - i < sizeof bits ? n - i : sizeof bits);
    }
    float scale = 1 / (sqrtf((float)t->columns) * f->spread);
    if (t->dtype == UMBRA_MXFP4)
        scale_by_exponents(out, n, info.block_bytes, scale);
    else
        scale_by_halves(f, out, n, info.block_bytes, scale);
}

/* Rows of experts, each row `columns` different ones. */
static void fill_experts(maker *m, const tensor *t, int32_t *out, size_t n)
{
    uint32_t experts = m->s->experts, used = (uint32_t)t->columns, first = 0;
    for (size_t i = 0; i < n; i++) {
        if (i % used == 0)
            first = (uint32_t)(umbra_random_u64(&m->random) % experts);
        out[i] = (int32_t)((first + i % used * (experts / used)) % experts);
    }
}

static void write_tensor(maker *m, const tensor *t, void *piece)
{
    uint32_t block = umbra_dtype_get(t->dtype).block_bytes;
    uint64_t whole = t->dtype == UMBRA_I32 ? t->columns * block : block;
    size_t most = PIECE_BYTES - PIECE_BYTES % whole;
    for (uint64_t at = 0; at < t->bytes;) {
        size_t n = t->bytes - at < most ? (size_t)(t->bytes - at) : most;
        if (t->dtype == UMBRA_F32)
            fill_floats(m, t, piece, n / sizeof(float));
        else if (t->dtype == UMBRA_I32)
            fill_experts(m, t, piece, n / sizeof(int32_t));
        else
            fill_blocks(m, t, piece, n);
        gguf_write(&m->w, piece, n);
        at += n;
    }
    gguf_end_tensor(&m->w);
}

/* ---- the command line ---- */

static void usage(void)
{
    fprintf(stderr,
            "usage: random_gguf SHAPE OUT.gguf [--layers N] [--rows N] [--seed S]\n"
            "Writes a model file with the shapes and types of a published model and random "
            "weights.\n--layers N: the first N layers alone; --rows N: N rows for each head of "
            "a table of n-grams\nshapes:");
    for (size_t i = 0; i < n_shapes; i++)
        fprintf(stderr, " %s%s", shapes[i].name,
                shapes[i].name[strlen(shapes[i].name) - 1] == '-' ? "LAYERS" : "");
    fputc('\n', stderr);
    exit(2);
}

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno || text[0] < '0' || text[0] > '9' || *end != '\0' || n < least || n > most)
        gguf_die("\"%s\" must be a number from %" PRIu64 " to %" PRIu64, text, least, most);
    return n;
}

static void choose_shape(maker *m, const char *name)
{
    for (size_t i = 0; i < n_shapes; i++) {
        const shape *s = &shapes[i];
        size_t n = strlen(s->name);
        bool open = s->name[n - 1] == '-';
        if (open ? strncmp(name, s->name, n) != 0 : strcmp(name, s->name) != 0)
            continue;
        m->s = s;
        m->layers = open ? (uint32_t)number(name + n, 1, s->layers) : s->layers;
        m->ngram_rows = s->ngram_rows;
        return;
    }
    usage();
}

int main(int argc, char **argv)
{
    maker m = {0};
    uint64_t seed = 1;
    if (argc < 3 || argc % 2 == 0)
        usage();
    choose_shape(&m, argv[1]);
    for (int i = 3; i < argc; i += 2) {
        if (strcmp(argv[i], "--layers") == 0)
            m.layers = (uint32_t)number(argv[i + 1], 1, m.s->layers);
        else if (strcmp(argv[i], "--rows") == 0 && m.ngram_rows > 0)
            m.ngram_rows = (uint32_t)number(argv[i + 1], LEAST_ROWS, m.s->ngram_rows);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = number(argv[i + 1], 0, UINT64_MAX);
        else
            usage();
    }
    void *piece = malloc(PIECE_BYTES);
    if (!piece)
        gguf_die("no memory");
    umbra_random_seed(&m.random, seed);
    gguf_writer_begin(&m.w, argv[2], 3);
    put_keys(&m);
    put_tokenizer(&m);
    add_tensors(&m);
    gguf_writer_data(&m.w);
    for (size_t i = 0; i < m.n_tensors; i++)
        write_tensor(&m, &m.tensors[i], piece);
    gguf_writer_commit(&m.w);
    umbra_free(m.tensors);
    free(piece);
    return 0;
}
