#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/quote.h"
#include "model/tokenizer_internal.h"

/* White space by Unicode's property of that name; \s of PCRE2 has U+180E besides. */
#define WHITE "\\p{Z}\\x{9}-\\x{d}\\x{85}"

/* Pre-tokenisers by the name in tokenizer.ggml.pre. */
static const struct pre_tokenizer {
    const char *name;
    const char *patterns[UMBRA_PATTERNS_MAX]; /* applied one after the other, NULL ends them */
} pre_tokenizers[] = {
    {"gpt-2",
     {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WHITE "\\p{L}\\p{N}]+"
      "|[" WHITE "]+(?![^" WHITE "])|[" WHITE "]+"}},
};

enum { N_PRE_TOKENIZERS = sizeof pre_tokenizers / sizeof *pre_tokenizers };

static const struct pre_tokenizer *find_pre_tokenizer(umbra_string name)
{
    for (int i = 0; i < N_PRE_TOKENIZERS; i++)
        if (strlen(pre_tokenizers[i].name) == name.bytes &&
            memcmp(pre_tokenizers[i].name, name.data, name.bytes) == 0)
            return &pre_tokenizers[i];
    return NULL;
}

static int refuse_pre_tokenizer(const umbra_gguf *gguf, const char *name, umbra_error *err)
{
    char list[256];
    size_t used = 0;
    for (int i = 0; i < N_PRE_TOKENIZERS && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                                 pre_tokenizers[i].name);
    return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                      "%s: the pre-tokeniser %s (tokenizer.ggml.pre) is not supported; supported: "
                      "%s",
                      umbra_gguf_path(gguf), name, list);
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
    /* Without machine code (a PCRE2 or a system that does not allow it) matching is slower. */
    (void)pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
    return UMBRA_OK;
}

int umbra_splitter_init(umbra_splitter *s, const umbra_gguf *gguf, umbra_error *err)
{
    umbra_string name = {0};
    int rc = umbra_gguf_get_string(gguf, "tokenizer.ggml.pre", &name, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return refuse_pre_tokenizer(gguf, "that stands for no name (\"default\")", err);
    const struct pre_tokenizer *pre = find_pre_tokenizer(name);
    if (!pre) {
        char quoted[sizeof(umbra_quoted) + 2];
        snprintf(quoted, sizeof quoted, "\"%s\"", umbra_quote(name.data, name.bytes).text);
        return refuse_pre_tokenizer(gguf, quoted, err);
    }
    s->memory = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    s->limits = s->memory ? pcre2_match_context_create(s->memory) : NULL;
    if (!s->limits)
        return umbra_fail_nomem(err, "the pre-tokeniser", 0);
    /* The patterns are ours and take linear time; only the text decides how long a match is. */
    pcre2_set_match_limit(s->limits, UINT32_MAX);
    pcre2_set_depth_limit(s->limits, UINT32_MAX);
    pcre2_set_heap_limit(s->limits, UINT32_MAX);
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
