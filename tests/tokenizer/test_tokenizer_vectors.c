/* The tokenizers of the model families against the packages `tokenizers` and `sentencepiece`, with
 * small vocabularies trained on a few texts (see make_tokenizer_vectors.py). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../gguf/builder.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/internal.h"
#include "tokenizer_vectors.h"

enum {
    N_TEXTS = sizeof vector_texts / sizeof *vector_texts,
    N_MERGES = sizeof vector_merges / sizeof *vector_merges,
    N_WORDS = sizeof vector_whole_words / sizeof *vector_whole_words,
    N_FAMILIES = sizeof vector_families / sizeof *vector_families,
    N_PIECES = sizeof vector_pieces / sizeof *vector_pieces,
    N_TOKENS = 256 + N_MERGES + N_WORDS,
    TEXT_BYTES = 24,
};

typedef struct fixture {
    umbra_memory_file file;
    umbra_gguf *gguf;
    umbra_tokenizer *tokenizer;
    umbra_error err;
} fixture;

/* Opens what the builder holds; the status of the tokenizer. */
static int open_built(fixture *f, umbra_builder *b)
{
    f->err = (umbra_error){0};
    umbra_builder_finish(b);
    umbra_memory_file_init(&f->file);
    umbra_memory_file_set(&f->file, b->bytes, b->count, b->count);
    umbra_builder_release(b);
    if (umbra_gguf_open(&f->gguf, f->file.path, &f->err) != UMBRA_OK)
        fail_msg("%s", f->err.message);
    return umbra_tokenizer_open(&f->tokenizer, f->gguf, &f->err);
}

static void close_built(fixture *f)
{
    umbra_tokenizer_close(&f->tokenizer);
    umbra_gguf_close(&f->gguf);
    umbra_memory_file_release(&f->file);
}

/* ---- byte pairs ---- */

static void open_byte_pairs(fixture *f, const char *pre)
{
    static char texts[N_TOKENS][TEXT_BYTES];
    const char *tokens[N_TOKENS];
    for (int i = 0; i < 256; i++)
        texts[i][umbra_utf8_encode(umbra_alphabet_code((unsigned char)i), texts[i])] = '\0';
    for (int i = 0; i < N_MERGES; i++) {
        const char *space = strchr(vector_merges[i], ' ');
        assert_true(snprintf(texts[256 + i], TEXT_BYTES, "%.*s%s", (int)(space - vector_merges[i]),
                             vector_merges[i], space + 1) < TEXT_BYTES);
    }
    for (int i = 0; i < N_WORDS; i++)
        snprintf(texts[256 + N_MERGES + i], TEXT_BYTES, "%s", vector_whole_words[i]);
    for (int i = 0; i < N_TOKENS; i++)
        tokens[i] = texts[i];
    umbra_builder b;
    umbra_builder_init(&b, 3);
    umbra_builder_string(&b, "tokenizer.ggml.model", "gpt2");
    umbra_builder_string(&b, "tokenizer.ggml.pre", pre);
    umbra_builder_strings(&b, "tokenizer.ggml.tokens", tokens, N_TOKENS);
    umbra_builder_strings(&b, "tokenizer.ggml.merges", vector_merges, N_MERGES);
    umbra_builder_u32(&b, "tokenizer.ggml.bos_token_id", 7);
    if (open_built(f, &b) != UMBRA_OK)
        fail_msg("%s", f->err.message);
}

/* What comes back is the text, in normal form C where the family wants that. */
static void check_back(const umbra_tokenizer *t, const char *back, const char *text)
{
    char *composed = NULL;
    size_t n = strlen(text);
    umbra_error err;
    if (t->splitter.composes)
        assert_int_equal(umbra_normalise(text, n, &composed, &n, &err), UMBRA_OK);
    assert_int_equal(strlen(back), n);
    assert_memory_equal(back, composed ? composed : text, n);
    umbra_free(composed);
}

/* Encodes every text, compares with ids, and decodes again: `prefix` and the text. */
static void check_texts(fixture *f, const char *name, const int16_t *ids, const char *prefix)
{
    for (int i = 0; i < N_TEXTS; i++) {
        int32_t *got;
        size_t n, wanted = 0, bytes = 0;
        assert_int_equal(umbra_tokenizer_encode(f->tokenizer, vector_texts[i],
                                                strlen(vector_texts[i]), false, false, &got, &n,
                                                &f->err),
                         UMBRA_OK);
        while (ids[wanted] >= 0)
            wanted++;
        for (size_t k = 0; k < n && k < wanted; k++)
            if (got[k] != ids[k])
                fail_msg("%s, text %d: token %zu is %d, not %d", name, i, k, got[k], ids[k]);
        assert_int_equal(n, wanted);
        ids += wanted + 1;
        char back[1024];
        for (size_t k = 0; k < n; k++)
            bytes += umbra_tokenizer_decode(f->tokenizer, got[k], false, back + bytes,
                                            sizeof back - 1 - bytes);
        back[bytes] = '\0';
        assert_memory_equal(back, prefix, strlen(prefix));
        check_back(f->tokenizer, back + strlen(prefix), vector_texts[i]);
        umbra_free(got);
    }
}

static const int16_t *family_ids(const char *pre)
{
    for (int i = 0; i < N_FAMILIES; i++)
        if (strcmp(vector_families[i].pre, pre) == 0)
            return vector_families[i].ids;
    fail_msg("no vectors of %s", pre);
    return NULL;
}

static void families_cut_as_published(void **state)
{
    (void)state;
    fixture f;
    for (int i = 0; i < N_FAMILIES; i++) {
        open_byte_pairs(&f, vector_families[i].pre);
        check_texts(&f, vector_families[i].pre, vector_families[i].ids, "");
        bool adds_bos = strcmp(vector_families[i].pre, "llama-bpe") == 0 ||
                        strcmp(vector_families[i].pre, "tekken") == 0;
        assert_int_equal(umbra_tokenizer_adds_bos(f.tokenizer), adds_bos);
        close_built(&f);
    }
    static const char *const same[][2] = {
        {"llama3", "llama-bpe"},       {"llama-v3", "llama-bpe"},
        {"falcon3", "llama-bpe"},      {"falcon-h1", "llama-bpe"},
        {"lfm2", "llama-bpe"},         {"pixtral", "llama-bpe"},
        {"midm-2.0", "llama-bpe"},     {"glm5", "glm4"},
        {"chatglm-bpe", "dbrx"},       {"llama4", "gpt-4o"},
        {"minimax-m2", "gpt-4o"},      {"kanana2", "gpt-4o"},
        {"hunyuan", "qwen2"},          {"bailingmoe", "bailingmoe2"},
        {"llada-moe", "bailingmoe2"},  {"grok-2", "bailingmoe2"},
        {"solar-open", "bailingmoe2"}, {"hy_v4", "deepseek-v3"},
        {"joyai-llm", "deepseek-v3"},  {"hunyuan-dense", "deepseek-v3"},
        {"starcoder", "refact"},       {"smollm", "refact"},
        {"exaone", "refact"},          {"exaone4", "gpt-2"},
        {"gigachat", "gpt-2"},         {"a.x-4.0", "gpt-2"},
        {"mellum", "gpt-2"},           {"trillion", "gpt-2"},
        {"granite-docling", "gpt-2"},  {"mellum2", "refact"},
        {"talkie", "gpt-4o"},          {"cohere2moe", "tiny_aya"},
    };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        open_byte_pairs(&f, same[i][0]);
        check_texts(&f, same[i][0], family_ids(same[i][1]), "");
        close_built(&f);
    }
}

/* ---- sentence pieces ---- */

typedef struct pieces {
    const char *tokens[N_PIECES];
    float scores[N_PIECES];
    int32_t types[N_PIECES];
    size_t n_scores;
    int space_prefix, add_bos; /* -1: no key */
} pieces;

static pieces usual_pieces(void)
{
    pieces p = {.n_scores = N_PIECES, .space_prefix = -1, .add_bos = -1};
    for (int i = 0; i < N_PIECES; i++) {
        p.tokens[i] = vector_pieces[i].text;
        p.scores[i] = vector_pieces[i].score;
        p.types[i] = vector_pieces[i].type;
    }
    return p;
}

static int open_pieces(fixture *f, const pieces *p)
{
    umbra_builder b;
    umbra_builder_init(&b, 3);
    umbra_builder_string(&b, "tokenizer.ggml.model", "llama");
    umbra_builder_string(&b, "tokenizer.ggml.pre", "default");
    umbra_builder_strings(&b, "tokenizer.ggml.tokens", p->tokens, N_PIECES);
    if (p->n_scores > 0)
        umbra_builder_array(&b, "tokenizer.ggml.scores", UMBRA_GGUF_F32, p->scores, p->n_scores);
    umbra_builder_array(&b, "tokenizer.ggml.token_type", UMBRA_GGUF_I32, p->types, N_PIECES);
    if (p->space_prefix >= 0)
        umbra_builder_bool(&b, "tokenizer.ggml.add_space_prefix", p->space_prefix);
    if (p->add_bos >= 0)
        umbra_builder_bool(&b, "tokenizer.ggml.add_bos_token", p->add_bos);
    return open_built(f, &b);
}

static void sentence_pieces(void **state)
{
    (void)state;
    fixture f;
    pieces p = usual_pieces();
    assert_int_equal(open_pieces(&f, &p), UMBRA_OK);
    check_texts(&f, "sentence pieces", vector_piece_ids, " ");
    assert_int_equal(umbra_tokenizer_bos(f.tokenizer), 1);
    assert_int_equal(umbra_tokenizer_eos(f.tokenizer), 2);
    assert_true(umbra_tokenizer_adds_bos(f.tokenizer));
    assert_true(umbra_tokenizer_is_end(f.tokenizer, 2));
    close_built(&f);
}

/* The texts of the tokens that text becomes, with | after each. */
static void assert_pieces(fixture *f, const char *text, bool special, const char *expected)
{
    int32_t *ids;
    size_t n, used = 0;
    char joined[512] = "";
    assert_int_equal(
        umbra_tokenizer_encode(f->tokenizer, text, strlen(text), true, special, &ids, &n, &f->err),
        UMBRA_OK);
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(joined + used, sizeof joined - used, "%s|",
                                 vector_pieces[ids[i]].text);
    assert_string_equal(joined, expected);
    umbra_free(ids);
}

#define S "\342\226\201" /* the space of sentence pieces */

static void spaces_and_special_tokens(void **state)
{
    (void)state;
    fixture f;
    pieces p = usual_pieces();
    assert_int_equal(open_pieces(&f, &p), UMBRA_OK);
    assert_pieces(&f, "", true, "<s>|");
    assert_pieces(&f, " ", true, "<s>|" S "|" S "|");
    assert_pieces(&f, "b", true, "<s>|" S "|b|");
    assert_pieces(&f, "<tool>b<tool>", false, "<s>|<tool>|" S "|b|<tool>|");
    assert_pieces(&f, "b</s>b", true, "<s>|" S "|b|</s>|" S "|b|");
    assert_pieces(&f, "</s>", false, "<s>|" S "|<|/|s|>|");
    assert_pieces(&f,
                  "\xff"
                  "b\n",
                  true, "<s>|" S "|<0xFF>|b|<0x0A>|"); /* not UTF-8; no token of its own */
    char out[16];
    assert_int_equal(umbra_tokenizer_decode(f.tokenizer, 1, false, out, sizeof out), 0);
    assert_int_equal(umbra_tokenizer_decode(f.tokenizer, 1, true, out, sizeof out), 3);
    close_built(&f);
    p.space_prefix = 0;
    p.add_bos = 0;
    assert_int_equal(open_pieces(&f, &p), UMBRA_OK);
    assert_pieces(&f, "b", true, "b|");
    assert_pieces(&f, "<tool> b", true, "<tool>|" S "|b|");
    close_built(&f);
}

static void expect_refusal(const pieces *p, int status, const char *words)
{
    fixture f;
    int rc = open_pieces(&f, p);
    if (rc != status || !strstr(f.err.message, words))
        fail_msg("wanted \"%s\", got %s: %s", words, umbra_status_name(rc), f.err.message);
    close_built(&f);
}

static void wrong_pieces_are_refused(void **state)
{
    (void)state;
    pieces p = usual_pieces();
    p.scores[17] = NAN;
    expect_refusal(&p, UMBRA_E_FORMAT, "score of token 17 is not finite");
}

static void expect_note(const fixture *f, const char *words)
{
    const umbra_notes *notes = umbra_tokenizer_notes(f->tokenizer);
    for (int i = 0; i < notes->n; i++)
        if (strstr(notes->text[i], words))
            return;
    fail_msg("no note says \"%s\" (the first of %d: %s)", words, notes->n, notes->text[0]);
}

static int find_piece(const pieces *p, const char *text)
{
    for (int i = 0; i < N_PIECES; i++)
        if (strcmp(p->tokens[i], text) == 0)
            return i;
    fail_msg("no piece %s", text);
    return -1;
}

static void vocabularies_of_pieces_with_gaps(void **state)
{
    (void)state;
    fixture f;
    char out[4];
    pieces p = usual_pieces();
    assert_int_equal(open_pieces(&f, &p), UMBRA_OK);
    assert_int_equal(umbra_tokenizer_notes(f.tokenizer)->n, 0);
    close_built(&f);

    int newline = find_piece(&p, "<0x0A>"); /* the byte itself in its place, as text */
    p.tokens[newline] = "\n";
    p.types[newline] = UMBRA_TOKEN_NORMAL;
    assert_int_equal(open_pieces(&f, &p), UMBRA_OK);
    assert_int_equal(umbra_tokenizer_notes(f.tokenizer)->n, 0);
    assert_pieces(&f, "b\n", true, "<s>|" S "|b|<0x0A>|");
    close_built(&f);

    p = usual_pieces(); /* a byte token with the type of text */
    newline = find_piece(&p, "<0x0A>");
    p.types[newline] = UMBRA_TOKEN_NORMAL;
    assert_int_equal(open_pieces(&f, &p), UMBRA_OK);
    assert_pieces(&f, "\n", true, "<s>|" S "|<0x0A>|");
    assert_int_equal(umbra_tokenizer_decode(f.tokenizer, newline, false, out, sizeof out), 1);
    assert_int_equal(out[0], '\n');
    close_built(&f);

    p = usual_pieces(); /* none for two bytes: one unknown token for what is in a row */
    p.tokens[find_piece(&p, "<0x0A>")] = "no byte";
    p.tokens[find_piece(&p, "<0xFF>")] = "nor this";
    assert_int_equal(open_pieces(&f, &p), UMBRA_OK);
    expect_note(&f, "bytes without a token: 2 (the first: 0x0a)");
    assert_pieces(&f, "b\n\xff\n\xfe\n", true, "<s>|" S "|b|<unk>|<0xFE>|<unk>|");
    close_built(&f);

    p = usual_pieces(); /* all scores alike: from the left */
    p.n_scores = 0;
    assert_int_equal(open_pieces(&f, &p), UMBRA_OK);
    expect_note(&f, "scores is missing");
    close_built(&f);

    p = usual_pieces();
    p.n_scores = 5;
    assert_int_equal(open_pieces(&f, &p), UMBRA_OK);
    expect_note(&f, "scores has 5 entries for");
    expect_note(&f, "the rest count as 0");
    close_built(&f);
}

static void without_memory(void **state)
{
    (void)state;
    fixture f;
    pieces p = usual_pieces();
    assert_int_equal(open_pieces(&f, &p), UMBRA_OK);
    umbra_tokenizer_close(&f.tokenizer);
    for (long n = 1; !f.tokenizer; n++) {
        umbra_memory_fail_after(n);
        int rc = umbra_tokenizer_open(&f.tokenizer, f.gguf, &f.err);
        umbra_memory_fail_after(0);
        assert_int_equal(rc, f.tokenizer ? UMBRA_OK : UMBRA_E_NOMEM);
    }
    int32_t *ids = NULL;
    for (long n = 1; !ids; n++) {
        size_t count;
        umbra_memory_fail_after(n);
        int rc = umbra_tokenizer_encode(f.tokenizer, vector_texts[1], strlen(vector_texts[1]), true,
                                        true, &ids, &count, &f.err);
        umbra_memory_fail_after(0);
        assert_int_equal(rc, ids ? UMBRA_OK : UMBRA_E_NOMEM);
    }
    umbra_free(ids);
    close_built(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_cut_as_published),
        cmocka_unit_test(sentence_pieces),
        cmocka_unit_test(spaces_and_special_tokens),
        cmocka_unit_test(wrong_pieces_are_refused),
        cmocka_unit_test(vocabularies_of_pieces_with_gaps),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
