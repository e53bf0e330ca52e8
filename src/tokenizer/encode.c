/* Text to tokens. All kinds of tokenizer merge neighbours, best pair first, leftmost first among
 * equals: byte pairs inside words, in the order of the merge list; pairs of characters inside
 * lines, in that order too; sentence pieces across all text between special tokens, by the score of
 * the token that the merge makes.
 *
 * A run that is merged, which may be all of a text, is merged in windows, so that its length costs
 * no memory. Tokens follow each other in the same way in the whole run and in every part of it that
 * begins and ends where tokens do: if no merge crosses the border of two tokens when they are
 * alone, none does in the run, since what lies around them changes nothing about their order. So
 * the tokens of a window are those of the run up to a token near its end, if the next window, which
 * begins with that token, has it as its first one too. If not, all is done again with windows twice
 * as large. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/window.h"

enum {
    WINDOW_BYTES = 1 << 14,
    OVERLAP = 16, /* this part of a window is merged again in the next one */
    FULL = 1      /* returned where no more tokens are wanted */
};

/* One call of umbra_tokenizer_encode. */
typedef struct encoder {
    const umbra_tokenizer *tokenizer;
    pcre2_match_data *match;
    umbra_window window;
    char *escaped; /* (escaped_room) of characters: the window with U+2581 for its spaces */
    size_t escaped_room;
    bool begins;      /* sentence pieces: nothing or a special token stands before the text */
    bool was_unknown; /* the token before stands for what cannot be spelled */
    int32_t *ids;
    size_t count, capacity, limit;
    umbra_error *err;
} encoder;

static int emit(encoder *e, int32_t id)
{
    if (e->count == e->limit)
        return FULL;
    if (e->count == e->capacity) {
        size_t capacity = 2 * e->capacity + 16;
        int32_t *ids = umbra_reallocarray(e->ids, capacity, sizeof *ids);
        if (!ids)
            return umbra_fail_nomem(e->err, "the tokens of a text", capacity * sizeof *ids);
        e->ids = ids;
        e->capacity = capacity;
    }
    e->ids[e->count++] = id;
    e->was_unknown = false;
    return UMBRA_OK;
}

/* What the vocabulary cannot spell; sentence pieces have one token for all of it in a row. */
static int emit_unknown(encoder *e)
{
    const umbra_vocabulary *v = &e->tokenizer->vocabulary;
    bool again = e->was_unknown && v->kind == UMBRA_SENTENCE_PIECES;
    int rc = v->unknown >= 0 && !again ? emit(e, v->unknown) : UMBRA_OK;
    e->was_unknown = true;
    return rc;
}

static int emit_byte(encoder *e, char byte)
{
    int32_t id = e->tokenizer->vocabulary.byte_token[(unsigned char)byte];
    return id >= 0 ? emit(e, id) : emit_unknown(e);
}

/* ---- runs ---- */

/* Merges begin with characters, and spaces are U+2581. */
static bool of_characters(const encoder *e)
{
    return e->tokenizer->vocabulary.kind != UMBRA_BYTE_PAIRS;
}

static void load_bytes(umbra_window *w, const char *text, uint32_t n)
{
    const int32_t *byte_token = w->tokenizer->vocabulary.byte_token;
    w->n = n;
    for (uint32_t i = 0; i < n; i++)
        w->symbols[i] = (umbra_symbol){
            .id = (uint32_t)byte_token[(unsigned char)text[i]], .previous = i - 1, .next = i + 1};
}

/* Ranked merges go by what symbols are, others by their text alone. */
static void load_characters(umbra_window *w, const char *piece, uint32_t n)
{
    bool ranked = w->tokenizer->vocabulary.kind == UMBRA_CHARACTER_PAIRS;
    w->piece = piece;
    w->n = n;
    for (uint32_t i = 0, previous = UINT32_MAX, next; i < n; previous = i, i = next) {
        size_t length = umbra_utf8_length(piece + i, n - i);
        next = i + (uint32_t)(length ? length : 1);
        w->symbols[i] = (umbra_symbol){.id = UMBRA_NO_TOKEN, .previous = previous, .next = next};
        if (ranked)
            w->symbols[i].id = umbra_window_find(w->tokenizer, piece + i, next - i);
    }
}

/* Puts the text with its spaces as U+2581 into e->escaped, one more before it if `prefix`; *out:
 * its bytes. */
static int escape(encoder *e, const char *text, size_t n, bool prefix, size_t *out)
{
    size_t spaces = prefix, used = 0;
    for (size_t i = 0; i < n; i++)
        spaces += text[i] == ' ';
    size_t bytes = n + spaces * UMBRA_PIECE_SPACE_BYTES;
    if (bytes > e->escaped_room) {
        umbra_free(e->escaped);
        e->escaped = umbra_calloc(bytes, 1);
        e->escaped_room = e->escaped ? bytes : 0;
        if (!e->escaped)
            return umbra_fail_nomem(e->err, "encoding a text", bytes);
    }
    for (size_t i = 0; i < n + prefix; i++) {
        char c = prefix && i == 0 ? ' ' : text[i - prefix];
        if (c != ' ')
            e->escaped[used++] = c;
        else {
            memcpy(e->escaped + used, UMBRA_PIECE_SPACE, UMBRA_PIECE_SPACE_BYTES);
            used += UMBRA_PIECE_SPACE_BYTES;
        }
    }
    *out = used;
    return UMBRA_OK;
}

/* Makes the symbols of a stretch of a run. */
static int load(encoder *e, const char *text, size_t n, bool prefix)
{
    umbra_window *w = &e->window;
    bool pieces = of_characters(e);
    int rc = pieces ? escape(e, text, n, prefix, &n) : UMBRA_OK;
    if (rc == UMBRA_OK && n > INT32_MAX)
        rc = umbra_fail(e->err, UMBRA_E_ARGUMENT, "a word of %zu bytes is too long", n);
    if (rc == UMBRA_OK)
        rc = umbra_window_reserve(w, n, e->err);
    if (rc != UMBRA_OK)
        return rc;
    if (pieces)
        load_characters(w, e->escaped, (uint32_t)n);
    else
        load_bytes(w, text, (uint32_t)n);
    return UMBRA_OK;
}

/* At most `most` of n bytes, so that no character that must be whole is cut. */
static size_t take_whole(const encoder *e, const char *text, size_t n, size_t most)
{
    if (n <= most)
        return n;
    for (size_t back = 1; back <= 3 && of_characters(e); back++)
        if (umbra_utf8_length(text + most - back, n - most + back) > back)
            return most - back;
    return most;
}

/* Bytes of the text that `escaped` bytes of the window come from. */
static size_t unescaped(const encoder *e, const char *text, size_t escaped, bool prefix)
{
    if (!of_characters(e))
        return escaped;
    size_t n = 0;
    for (size_t i = prefix ? UMBRA_PIECE_SPACE_BYTES : 0; i < escaped; n++)
        i += text[n] == ' ' ? UMBRA_PIECE_SPACE_BYTES : 1;
    return n;
}

/* The token of a symbol, or those of its bytes where it is none and all of them have one. */
static int emit_character(encoder *e, const char *text, size_t n)
{
    const umbra_vocabulary *v = &e->tokenizer->vocabulary;
    uint32_t id = umbra_window_find(e->tokenizer, text, n);
    if (id != UMBRA_NO_TOKEN)
        return emit(e, (int32_t)id);
    for (size_t i = 0; i < n; i++)
        if (v->byte_token[(unsigned char)text[i]] < 0)
            return emit_unknown(e);
    int rc = UMBRA_OK;
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++)
        rc = emit_byte(e, text[i]);
    return rc;
}

/* The tokens of the window up to `end`. */
static int emit_symbols(encoder *e, uint32_t end)
{
    const umbra_window *w = &e->window;
    int rc = UMBRA_OK;
    for (uint32_t i = 0; rc == UMBRA_OK && i < end; i = w->symbols[i].next) {
        const umbra_symbol *s = &w->symbols[i];
        if (s->id != UMBRA_NO_TOKEN)
            rc = emit(e, (int32_t)s->id);
        else if (of_characters(e))
            rc = emit_character(e, w->piece + i, s->next - i);
        else
            rc = emit_unknown(e);
    }
    return rc;
}

/* Encodes a run in windows of that many bytes. *sure: the tokens are right. */
static int encode_windows(encoder *e, const char *text, size_t n, size_t bytes, bool *sure)
{
    const umbra_window *w = &e->window;
    bool prefix = e->begins && e->tokenizer->vocabulary.space_prefix;
    uint32_t id = 0, length = 0; /* the token that the next window must begin with */
    for (*sure = true; *sure; prefix = false) {
        size_t taken = take_whole(e, text, n, bytes);
        int rc = load(e, text, taken, prefix);
        if (rc != UMBRA_OK)
            return rc;
        umbra_window_merge(&e->window);
        *sure = length == 0 || (w->symbols[0].next == length && w->symbols[0].id == id);
        uint32_t cut = taken == n ? w->n : 0;
        while (taken < n && cut < w->n - (uint32_t)(bytes / OVERLAP))
            cut = w->symbols[cut].next;
        *sure = *sure && (taken == n || cut < w->n);
        if (*sure)
            rc = emit_symbols(e, cut);
        if (rc != UMBRA_OK || !*sure || taken == n)
            return rc;
        id = w->symbols[cut].id;
        length = w->symbols[cut].next - cut;
        size_t done = unescaped(e, text, cut, prefix);
        text += done;
        n -= done;
    }
    return UMBRA_OK;
}

static int encode_run(encoder *e, const char *text, size_t n)
{
    size_t start = e->count;
    bool sure = false;
    int rc = UMBRA_OK;
    for (size_t bytes = WINDOW_BYTES; rc == UMBRA_OK && !sure; bytes *= 2) {
        e->count = start;
        rc = encode_windows(e, text, n, bytes, &sure);
    }
    e->begins = false;
    return rc;
}

/* ---- byte pairs ---- */

/* Id of the token that a whole word is, or UMBRA_NO_TOKEN. */
static uint32_t find_word(const encoder *e, const char *text, size_t bytes)
{
    char spelled[256];
    size_t used = 0;
    if (bytes > sizeof spelled / 2)
        return UMBRA_NO_TOKEN;
    for (size_t i = 0; i < bytes; i++)
        used += umbra_utf8_encode(umbra_alphabet_code((unsigned char)text[i]), spelled + used);
    return umbra_window_find(e->tokenizer, spelled, used);
}

static int encode_word(encoder *e, const char *text, size_t bytes)
{
    uint32_t id = UMBRA_NO_TOKEN;
    if (e->tokenizer->splitter.whole_words)
        id = find_word(e, text, bytes);
    return id != UMBRA_NO_TOKEN ? emit(e, (int32_t)id) : encode_run(e, text, bytes);
}

/* Cuts text (valid UTF-8) by the pattern and hands matches and what lies between them to the
 * next pattern, after the last one to encode_word. */
static int encode_words(encoder *e, int pattern, const char *text, size_t n)
{
    const umbra_splitter *s = &e->tokenizer->splitter;
    if (pattern == s->n_patterns)
        return encode_word(e, text, n);
    int rc = UMBRA_OK;
    for (size_t at = 0, start, end; at < n && rc == UMBRA_OK; at = end) {
        rc = umbra_splitter_next(s, pattern, e->match, text, n, at, &start, &end, e->err);
        if (rc == UMBRA_OK && start > at)
            rc = encode_words(e, pattern + 1, text + at, start - at);
        if (rc == UMBRA_OK && end > start)
            rc = encode_words(e, pattern + 1, text + start, end - start);
    }
    return rc;
}

/* Valid UTF-8, in normal form C where the family wants that. */
static int encode_valid(encoder *e, const char *text, size_t n)
{
    char *composed = NULL;
    int rc = UMBRA_OK;
    if (e->tokenizer->splitter.composes)
        rc = umbra_normalise(text, n, &composed, &n, e->err);
    if (rc == UMBRA_OK)
        rc = encode_words(e, 0, composed ? composed : text, n);
    umbra_free(composed);
    return rc;
}

/* The valid parts word by word, other bytes one by one. */
static int encode_byte_pairs(encoder *e, const char *text, size_t n)
{
    int rc = UMBRA_OK;
    for (size_t at = 0; rc == UMBRA_OK && at < n;) {
        size_t end = at;
        for (size_t length; end < n && (length = umbra_utf8_length(text + end, n - end)) > 0;)
            end += length;
        rc = encode_valid(e, text + at, end - at);
        for (; rc == UMBRA_OK && end < n && umbra_utf8_length(text + end, n - end) == 0; end++)
            rc = emit_byte(e, text[end]);
        at = end;
    }
    return rc;
}

/* ---- lines ---- */

/* The text's lines one by one; line ends in a row are one token if there is one for them. */
static int encode_lines(encoder *e, const char *text, size_t n)
{
    int rc = UMBRA_OK;
    for (size_t at = 0, end; rc == UMBRA_OK && at < n; at = end) {
        bool ends = text[at] == '\n';
        for (end = at; end < n && (text[end] == '\n') == ends;)
            end++;
        uint32_t id = ends ? umbra_window_find(e->tokenizer, text + at, end - at) : UMBRA_NO_TOKEN;
        rc = id != UMBRA_NO_TOKEN ? emit(e, (int32_t)id) : encode_run(e, text + at, end - at);
    }
    return rc;
}

/* ---- special tokens ---- */

/* Text without special tokens. */
static int encode_text(encoder *e, const char *text, size_t n)
{
    if (n == 0)
        return UMBRA_OK;
    switch (e->tokenizer->vocabulary.kind) {
    case UMBRA_BYTE_PAIRS:
        return encode_byte_pairs(e, text, n);
    case UMBRA_CHARACTER_PAIRS:
        return encode_lines(e, text, n);
    default:
        return encode_run(e, text, n);
    }
}

/* Text of which special tokens of one sort become those; *plain: where the text not yet encoded
 * begins, which ends at text + n at the latest. */
static int encode_specials(encoder *e, umbra_specials which, const char **plain, const char *text,
                           size_t n)
{
    const umbra_vocabulary *v = &e->tokenizer->vocabulary;
    for (size_t at = 0; at < n;) {
        int32_t id = umbra_specials_find(v, which, text + at, n - at);
        if (id < 0) {
            at++;
            continue;
        }
        int rc = encode_text(e, *plain, (size_t)(text + at - *plain));
        if (rc == UMBRA_OK)
            rc = emit(e, id);
        if (rc != UMBRA_OK)
            return rc;
        e->begins = true;
        at += v->tokens[id].bytes;
        *plain = text + at;
    }
    return UMBRA_OK;
}

static int encode_all(encoder *e, const umbra_template_span *spans, size_t n_spans,
                      umbra_specials which, const char *text, size_t n)
{
    const umbra_template_span whole = {.end = n};
    const char *plain = text;
    int rc = UMBRA_OK;
    if (!spans)
        spans = &whole;
    for (size_t i = 0; rc == UMBRA_OK && i < n_spans; i++)
        rc = encode_specials(e, spans[i].input ? UMBRA_SPECIALS_INPUT : which, &plain,
                             text + spans[i].begin, spans[i].end - spans[i].begin);
    return rc == UMBRA_OK ? encode_text(e, plain, (size_t)(text + n - plain)) : rc;
}

static int encode(const umbra_tokenizer *tokenizer, const char *text, size_t bytes,
                  const umbra_template_span *spans, size_t n_spans, bool add_bos,
                  umbra_specials which, size_t limit, int32_t **ids, size_t *count,
                  umbra_error *err)
{
    const umbra_vocabulary *v = &tokenizer->vocabulary;
    *ids = NULL;
    *count = 0;
    if (bytes == 0)
        text = ""; /* NULL is allowed, but no pointer to count from */
    if (bytes > INT32_MAX)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "a text of %zu bytes is too long to encode at once", bytes);
    encoder e = {.tokenizer = tokenizer, .begins = true, .limit = limit, .err = err};
    e.window.tokenizer = tokenizer;
    e.capacity = (bytes / 3 < limit ? bytes / 3 : limit) + 16;
    e.ids = umbra_calloc(e.capacity, sizeof *e.ids);
    if (v->kind == UMBRA_BYTE_PAIRS)
        e.match = pcre2_match_data_create(1, tokenizer->splitter.memory);
    int rc = e.ids && (e.match || v->kind != UMBRA_BYTE_PAIRS)
                 ? UMBRA_OK
                 : umbra_fail_nomem(err, "the tokens of a text", e.capacity * sizeof *e.ids);
    if (rc == UMBRA_OK && add_bos && v->add_bos)
        rc = emit(&e, v->bos);
    if (rc == UMBRA_OK)
        rc = encode_all(&e, spans, n_spans, which, text, bytes);
    pcre2_match_data_free(e.match);
    umbra_window_release(&e.window);
    umbra_free(e.escaped);
    if (rc != UMBRA_OK && rc != FULL) {
        umbra_free(e.ids);
        return rc;
    }
    int32_t *trimmed = umbra_reallocarray(e.ids, e.count, sizeof *e.ids);
    *ids = trimmed ? trimmed : e.ids;
    *count = e.count;
    return UMBRA_OK;
}

int umbra_tokenizer_encode_first(const umbra_tokenizer *tokenizer, const char *text, size_t bytes,
                                 bool add_bos, bool special, size_t limit, int32_t **ids,
                                 size_t *count, umbra_error *err)
{
    return encode(tokenizer, text, bytes, NULL, 1, add_bos,
                  special ? UMBRA_SPECIALS_ALL : UMBRA_SPECIALS_DEFINED, limit, ids, count, err);
}

int umbra_tokenizer_encode_spans(const umbra_tokenizer *tokenizer, const char *text, size_t bytes,
                                 const umbra_template_span *spans, size_t n_spans, int32_t **ids,
                                 size_t *count, umbra_error *err)
{
    static const umbra_template_span none = {0};
    return encode(tokenizer, text, bytes, spans ? spans : &none, n_spans, false, UMBRA_SPECIALS_ALL,
                  SIZE_MAX, ids, count, err);
}

int umbra_tokenizer_encode(const umbra_tokenizer *tokenizer, const char *text, size_t bytes,
                           bool add_bos, bool special, int32_t **ids, size_t *count,
                           umbra_error *err)
{
    return umbra_tokenizer_encode_first(tokenizer, text, bytes, add_bos, special, SIZE_MAX, ids,
                                        count, err);
}
