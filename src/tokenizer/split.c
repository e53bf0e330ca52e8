/* Pre-tokenisation: cuts text into the words that byte pairs are merged in. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/quote.h"
#include "tokenizer/internal.h"

/* White space by Unicode's property of that name; \s of PCRE2 has U+180E besides. */
#define WHITE "\\p{Z}\\x{9}-\\x{d}\\x{85}"

/* White space before a word keeps its last character for that word; then what is left. */
#define SPACES "[" WHITE "]+(?![^" WHITE "])|[" WHITE "]+"

#define LINE_ENDS "[" WHITE "]*[\\r\\n]+|" SPACES

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"

/* A character before a word that belongs to it: a space, an opening bracket. */
#define BEFORE "[^\\r\\n\\p{L}\\p{N}]?"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WHITE "\\p{L}\\p{N}]+|" SPACES

/* The families that differ in how many digits make a word. */
#define DIGITS_BEFORE(digits)                                                                      \
    CONTRACTIONS "|" BEFORE "\\p{L}+|" digits "| ?[^" WHITE "\\p{L}\\p{N}]+[\\r\\n]*|[" WHITE      \
                 "]*[\\r\\n]+|"
#define DIGITS_OR_LINES(digits) DIGITS_BEFORE(digits) SPACES

/* The same where marks (accents, vowel signs) belong to letters. */
#define DIGITS_AND_MARKS(digits)                                                                   \
    CONTRACTIONS "|" BEFORE "[\\p{L}\\p{M}]+|" digits "| ?[^" WHITE                                \
                 "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" LINE_ENDS

/* Lines are cut behind punctuation. */
#define DIGITS_THEN_LINES                                                                          \
    CONTRACTIONS "|" BEFORE "\\p{L}+|\\p{N}| ?[^" WHITE "\\p{L}\\p{N}]+|" LINE_ENDS

/* The script of that name by its ranges: what \p{Han} means differs between versions of PCRE2
 * (10.40 and later add punctuation that is shared with other scripts). */
#define HAN_RANGES                                                                                 \
    "\\x{2e80}-\\x{2e99}\\x{2e9b}-\\x{2ef3}\\x{2f00}-\\x{2fd5}\\x{3005}\\x{3007}"                  \
    "\\x{3021}-\\x{3029}\\x{3038}-\\x{303b}\\x{3400}-\\x{4dbf}\\x{4e00}-\\x{9fff}"                 \
    "\\x{f900}-\\x{fa6d}\\x{fa70}-\\x{fad9}\\x{16fe2}\\x{16fe3}\\x{16ff0}\\x{16ff1}"               \
    "\\x{20000}-\\x{2fa1d}\\x{30000}-\\x{323af}"
#define HAN "[" HAN_RANGES "]"

/* Words end where small letters are followed by a capital one. `but`: ranges that count as none of
 * either. A class is what it is not, so that `but` can be taken from it: a single class is
 * repeated in no memory, a group with a look-ahead in memory for each character. */
#define CAPITALS(but) "[^" but "\\p{Ll}\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}]"
#define SMALL(but)    "[^" but "\\p{Lu}\\p{Lt}\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}]"
#define CASED_WORD(but, capitals, small, end)                                                      \
    BEFORE CAPITALS(but)                                                                           \
    capitals SMALL(but)                                                                            \
    small end "|"
#define CASED_WORDS(but, end) CASED_WORD(but, "*", "+", end) CASED_WORD(but, "+", "*", end)
#define CASED(but, marks_end)                                                                      \
    CASED_WORDS(but, CONTRACTIONS "?")                                                             \
    "\\p{N}{1,3}| ?[^" WHITE "\\p{L}\\p{N}]+" marks_end "|" LINE_ENDS
#define CASED_DIGIT(end)                                                                           \
    CASED_WORDS("", end) "\\p{N}| ?[^" WHITE "\\p{L}\\p{N}]+[\\r\\n/]*|" LINE_ENDS
#define CASED_PLAIN CASED_DIGIT("")

#define HAN_KANA   "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{30ff}]+"
#define HAN_HANGUL "[\\x{800}-\\x{9fa5}\\x{ac00}-\\x{d7ff}]+"

/* Letters that have a case, in the Unicode version and with the gaps that this family was trained
 * with: no property of PCRE2's gives the same set. */
#define CASED_LETTERS                                                                              \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}"                 \
    "\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}"         \
    "\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}"                  \
    "\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}"                       \
    "\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}"                 \
    "\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}"                 \
    "\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}"        \
    "\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}"         \
    "\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}"                 \
    "\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}"                  \
    "\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}"                   \
    "\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}"        \
    "\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}"         \
    "\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}"                  \
    "\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}"                 \
    "\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}"               \
    "\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}"         \
    "\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"

/* Punctuation of ASCII, of its wide forms, quotation marks, and the CJK space, comma, full stop. */
#define MARKS "[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]"

/* Words that lines are cut into afterwards, and ends of lines. */
#define LINES "[^\\n]+|\\n+"

/* Runs of numbers are cut into threes from their ends: first the run, then what is too much at its
 * front, then the threes. */
#define THREES_FROM_END(run) run, "\\A\\d{1,2}(?=(?:\\d{3})+\\z)", "\\d{3}"

/* The same of runs that no letter follows. */
#define ENDING_DIGITS THREES_FROM_END("(?<!\\d)\\d++\\b")

/* Hangul, wide marks, Bopomofo, and Han with kana, each by itself. */
#define EAST_ASIAN                                                                                 \
    "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+"                                                    \
    "|[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}\\x{2019}\\x{2014}\\x{ff1a}\\x{ff1b}"          \
    "\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+|[\\x{3105}-\\x{312f}]+|" HAN_KANA

/* White space that no word takes, in lengths that are powers of two. */
#define HALVED(n) "[" WHITE "]{" n "}(?![^" WHITE "])|"
#define HALVED_SPACES                                                                              \
    HALVED("512")                                                                                  \
    HALVED("256")                                                                                  \
    HALVED("128")                                                                                  \
    HALVED("64") HALVED("32") HALVED("16") HALVED("8") HALVED("4") HALVED("1,2") "[" WHITE "]"

#define ASCII_MARKS "[!-/:-@\\x{5b}-\\x{60}{-~]"

/* Words, each with a mark of ASCII before it or one character that is none; marks by themselves. */
#define MARKED_WORDS                                                                               \
    ASCII_MARKS "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+"

#define DEEPSEEK3 "\\p{N}{1,3}", HAN_KANA, MARKED_WORDS "[\\r\\n]*|" LINE_ENDS

/* Pre-tokenisers by the name in tokenizer.ggml.pre. "default" is for files that were made before
 * that key was: runs of punctuation, words, then digits in threes. */
static const struct pre_tokenizer {
    const char *name;
    bool whole_words, adds_bos, composes;     /* see umbra_splitter */
    const char *patterns[UMBRA_PATTERNS_MAX]; /* applied one after the other, NULL ends them */
} pre_tokenizers[] = {
    {"default", false, false, false, {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9]{3}"}},
    {"gpt-2", false, false, false, {GPT2}},
    {"exaone4", false, false, false, {GPT2}},
    {"gigachat", false, false, false, {GPT2}},
    {"a.x-4.0", false, false, false, {GPT2}},
    {"mellum", false, false, false, {GPT2}},
    {"trillion", false, false, false, {GPT2}},
    {"granite-docling", false, false, false, {GPT2}},
    {"mellum2", false, false, false, {"\\p{N}", GPT2}},
    {"refact", false, false, false, {"\\p{N}", GPT2}},
    {"starcoder", false, false, false, {"\\p{N}", GPT2}},
    {"command-r", false, false, true, {"\\p{N}", GPT2}},
    {"smollm", false, false, false, {"\\p{N}", GPT2}},
    {"exaone", false, false, false, {"\\p{N}", GPT2}},
    {"olmo", false, false, true, {GPT2}},
    {"qwen2", false, false, true, {DIGITS_OR_LINES("\\p{N}")}},
    {"deepseek-r1-qwen", false, false, false, {DIGITS_OR_LINES("\\p{N}")}},
    {"megrez", false, false, false, {DIGITS_OR_LINES("\\p{N}")}},
    {"laguna", false, false, false, {LINES, DIGITS_OR_LINES("\\p{N}")}},
    {"minicpm5", true, false, false, {"\\p{N}{1,3}", DIGITS_OR_LINES("\\p{N}+")}},
    {"jais-2", false, false, false, {DIGITS_BEFORE("\\p{N}{1,3}") HALVED_SPACES}},
    {"qwen35", false, false, true, {DIGITS_AND_MARKS("\\p{N}")}},
    {"solar-open", false, false, false, {DIGITS_OR_LINES("\\p{N}")}},
    {"grok-2", false, false, false, {DIGITS_OR_LINES("\\p{N}")}},
    {"bailingmoe", false, false, false, {DIGITS_OR_LINES("\\p{N}")}},
    {"bailingmoe2", false, false, false, {DIGITS_OR_LINES("\\p{N}")}},
    {"llada-moe", false, false, false, {DIGITS_OR_LINES("\\p{N}")}},
    {"hunyuan", false, false, true, {DIGITS_OR_LINES("\\p{N}")}},
    {"seed-coder", false, false, false, {DIGITS_THEN_LINES}},
    {"glm4", true, false, false, {DIGITS_OR_LINES("\\p{N}{1,3}")}},
    {"glm5", true, false, false, {DIGITS_OR_LINES("\\p{N}{1,3}")}},
    {"chatglm-bpe", false, false, false, {DIGITS_OR_LINES("\\p{N}{1,3}")}},
    {"falcon3", true, true, false, {DIGITS_OR_LINES("\\p{N}{1,3}")}},
    {"falcon-h1", true, true, false, {DIGITS_OR_LINES("\\p{N}{1,3}")}},
    {"lfm2", true, true, false, {DIGITS_OR_LINES("\\p{N}{1,3}")}},
    {"pixtral", true, true, false, {DIGITS_OR_LINES("\\p{N}{1,3}")}},
    {"midm-2.0", true, true, false, {DIGITS_OR_LINES("\\p{N}{1,3}")}},
    {"llama-bpe", true, true, false, {DIGITS_OR_LINES("\\p{N}{1,3}")}},
    {"llama3", true, true, false, {DIGITS_OR_LINES("\\p{N}{1,3}")}},
    {"llama-v3", true, true, false, {DIGITS_OR_LINES("\\p{N}{1,3}")}},
    {"dbrx", false, false, false, {DIGITS_OR_LINES("\\p{N}{1,3}")}},
    {"gpt-4o", false, false, false, {CASED("", "[\\r\\n/]*")}},
    {"llama4", false, false, false, {CASED("", "[\\r\\n/]*")}},
    {"minimax-m2", false, false, false, {CASED("", "[\\r\\n/]*")}},
    {"kanana2", false, false, false, {CASED("", "[\\r\\n/]*")}},
    {"talkie", false, false, false, {CASED("", "[\\r\\n/]*")}},
    {"tiny_aya", false, false, false, {ENDING_DIGITS, CASED("", "[\\r\\n/]*")}},
    {"cohere2moe", false, false, false, {ENDING_DIGITS, CASED("", "[\\r\\n/]*")}},
    {"youtu", true, false, false, {EAST_ASIAN, CASED_DIGIT(CONTRACTIONS "?")}},
    {"superbpe", false, false, false, {THREES_FROM_END("\\p{N}+")}},
    {"tekken", true, true, false, {CASED_PLAIN}},
    {"kimi-k2", false, false, false, {HAN "+|" CASED(HAN_RANGES, "[\\r\\n]*")}},
    {"deepseek-llm",
     false,
     false,
     false,
     {"[\\r\\n]|[" WHITE "]?[" CASED_LETTERS "]+", "[" WHITE "]?" MARKS "+",
      "(?<![" WHITE "])[" WHITE "]++\\z", HAN_HANGUL, "\\p{N}"}},
    {"deepseek-coder",
     false,
     false,
     false,
     {"[\\r\\n]", "[" WHITE "]?\\p{L}+", "[" WHITE "]?\\p{P}+", HAN_HANGUL, "\\p{N}"}},
    {"deepseek-v3", false, false, false, {DEEPSEEK3}},
    {"spark2_5",
     false,
     false,
     false,
     {"\\p{N}{1,3}", HAN_KANA, MARKED_WORDS "|[\\r\\n]|" SPACES, "\\p{N}"}},
    {"hunyuan-dense", false, false, false, {DEEPSEEK3}},
    {"hy_v4", false, false, false, {DEEPSEEK3}},
    {"joyai-llm", false, false, false, {DEEPSEEK3}},
};

enum { N_PRE_TOKENIZERS = sizeof pre_tokenizers / sizeof *pre_tokenizers };

/* What PCRE2 may take for a match, in KiB: no pattern needs more, however long the text. */
enum { HEAP_KIB_MAX = 1024 };

static const struct pre_tokenizer *find_pre_tokenizer(umbra_string name)
{
    for (int i = 0; i < N_PRE_TOKENIZERS; i++)
        if (strlen(pre_tokenizers[i].name) == name.bytes &&
            memcmp(pre_tokenizers[i].name, name.data, name.bytes) == 0)
            return &pre_tokenizers[i];
    return NULL;
}

static int refuse_pre_tokenizer(const umbra_gguf *gguf, umbra_string name, umbra_error *err)
{
    return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                      "%s: the pre-tokeniser \"%s\" (tokenizer.ggml.pre) is none of the %d that "
                      "are supported; docs/formats.md lists them",
                      umbra_gguf_path(gguf), umbra_quote(name.data, name.bytes).text,
                      (int)N_PRE_TOKENIZERS);
}

static void *pcre_alloc(size_t bytes, void *user)
{
    (void)user;
    return umbra_aligned_alloc(_Alignof(max_align_t), bytes);
}

static void pcre_free(void *p, void *user)
{
    (void)user;
    umbra_free(p);
}

static int compile(umbra_splitter *s, const char *pattern, const char *path, umbra_error *err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(s->memory);
    if (!context)
        return umbra_fail_nomem(err, "the pre-tokeniser", 0);
    int code;
    PCRE2_SIZE at;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &code, &at, context);
    pcre2_compile_context_free(context);
    if (!compiled) {
        char text[120] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
        return umbra_fail(err, code == PCRE2_ERROR_HEAP_FAILED ? UMBRA_E_NOMEM : UMBRA_E_SYSTEM,
                          "%s: the pre-tokeniser does not compile: %s", path, text);
    }
    s->patterns[s->n_patterns++] = compiled;
#ifndef UMBRA_NO_JIT
    /* Without machine code (a PCRE2 or a system that does not allow it) matching is slower. */
    (void)pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
#endif
    return UMBRA_OK;
}

int umbra_splitter_init(umbra_splitter *s, const umbra_gguf *gguf, umbra_notes *notes,
                        umbra_error *err)
{
    umbra_string name = {"", 0};
    int rc = umbra_gguf_get_string(gguf, "tokenizer.ggml.pre", &name, err);
    if (rc < 0)
        return rc;
    if (name.bytes == 0) {
        umbra_note(notes, "tokenizer.ggml.pre is missing: text is cut into words by \"default\", "
                          "which few models were trained with; a newer conversion has the key");
        name = (umbra_string){"default", 7};
    }
    const struct pre_tokenizer *pre = find_pre_tokenizer(name);
    if (!pre)
        return refuse_pre_tokenizer(gguf, name, err);
    s->whole_words = pre->whole_words;
    s->adds_bos = pre->adds_bos;
    s->composes = pre->composes;
    s->memory = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    s->limits = s->memory ? pcre2_match_context_create(s->memory) : NULL;
    if (!s->limits)
        return umbra_fail_nomem(err, "the pre-tokeniser", 0);
    /* The patterns are ours and take linear time and little memory; only the text decides how long
     * a match is. */
    pcre2_set_match_limit(s->limits, UINT32_MAX);
    pcre2_set_depth_limit(s->limits, UINT32_MAX);
    pcre2_set_heap_limit(s->limits, HEAP_KIB_MAX);
    for (int i = 0; i < UMBRA_PATTERNS_MAX && pre->patterns[i]; i++) {
        rc = compile(s, pre->patterns[i], umbra_gguf_path(gguf), err);
        if (rc != UMBRA_OK)
            return rc;
    }
    return UMBRA_OK;
}

void umbra_splitter_release(umbra_splitter *s)
{
    for (int i = 0; i < s->n_patterns; i++)
        pcre2_code_free(s->patterns[i]);
    pcre2_match_context_free(s->limits);
    pcre2_general_context_free(s->memory);
    *s = (umbra_splitter){0};
}

uint64_t umbra_splitter_bytes(const umbra_splitter *s)
{
    uint64_t bytes = 0;
    for (int i = 0; i < s->n_patterns; i++) {
        size_t size = 0, jit = 0;
        (void)pcre2_pattern_info(s->patterns[i], PCRE2_INFO_SIZE, &size);
        (void)pcre2_pattern_info(s->patterns[i], PCRE2_INFO_JITSIZE, &jit);
        bytes += size + jit;
    }
    return bytes;
}

int umbra_splitter_next(const umbra_splitter *s, int pattern, pcre2_match_data *match,
                        const char *text, size_t n, size_t at, size_t *start, size_t *end,
                        umbra_error *err)
{
    const pcre2_code *code = s->patterns[pattern];
    uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    int rc = pcre2_match(code, (PCRE2_SPTR)text, n, at, options, match, s->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter takes its stack from the heap */
        rc = pcre2_match(code, (PCRE2_SPTR)text, n, at, options | PCRE2_NO_JIT, match, s->limits);
    *start = *end = n;
    if (rc >= 0) {
        const PCRE2_SIZE *range = pcre2_get_ovector_pointer(match);
        *start = range[0];
        *end = range[1];
        return UMBRA_OK;
    }
    if (rc == PCRE2_ERROR_NOMATCH)
        return UMBRA_OK;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return umbra_fail_nomem(err, "cutting text into words", n);
    char reason[120] = "";
    pcre2_get_error_message(rc, (PCRE2_UCHAR *)reason, sizeof reason);
    return umbra_fail(err, UMBRA_E_SYSTEM, "cannot cut text into words: %s", reason);
}
