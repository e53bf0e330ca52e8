/* Cuts a template into text and tags and applies white space control. */
#include <stdio.h>
#include <string.h>

#include "base/quote.h"
#include "template/lexer_internal.h"

/* Copies the source with "\n" as the only line end and without one at the very end. */
static int normalize(umbra_tpl_lexer *l, const char *source, size_t bytes)
{
    char *text = umbra_tpl_alloc(l->c, bytes + 1, 1);
    if (!text)
        return UMBRA_E_NOMEM;
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        bool carriage = source[i] == '\r';
        if (carriage && i + 1 < bytes && source[i + 1] == '\n')
            i++;
        text[n++] = carriage ? '\n' : source[i];
    }
    if (n > 0 && text[n - 1] == '\n')
        n--;
    l->s = text;
    l->n = n;
    return UMBRA_OK;
}

int umbra_tpl_push_token(umbra_tpl_lexer *l, umbra_tpl_token token)
{
    if (l->count == l->room) {
        size_t room = l->room ? 2 * l->room : 256;
        umbra_tpl_token *more =
            umbra_tpl_grow(l->c, l->tokens, l->room * sizeof token, room * sizeof token);
        if (!more)
            return UMBRA_E_NOMEM;
        l->tokens = more;
        l->room = room;
    }
    token.line = l->c->line;
    l->tokens[l->count++] = token;
    return UMBRA_OK;
}

void umbra_tpl_advance(umbra_tpl_lexer *l, size_t to)
{
    for (; l->at < to; l->at++)
        l->c->line += l->s[l->at] == '\n';
    l->line_starts = to > 0 && l->s[to - 1] == '\n';
}

size_t umbra_tpl_skip_space(const umbra_tpl_lexer *l, size_t at)
{
    while (at < l->n && umbra_tpl_is_space(umbra_tpl_char_at(l->s + at)))
        at += umbra_tpl_char_bytes(l->s + at);
    return at;
}

bool umbra_tpl_at(const umbra_tpl_lexer *l, size_t at, const char *word)
{
    size_t n = strlen(word);
    return n <= l->n - at && memcmp(l->s + at, word, n) == 0;
}

/* The end of [begin, end) without trailing white space. */
static size_t strip_right(const umbra_tpl_lexer *l, size_t begin, size_t end)
{
    while (end > begin) {
        size_t at = end - 1;
        while (at > begin && ((unsigned char)l->s[at] & 0xc0) == 0x80)
            at--;
        if (!umbra_tpl_is_space(umbra_tpl_char_at(l->s + at)))
            break;
        end = at;
    }
    return end;
}

/* Text before a tag: "-" strips it; without "+", spaces between the line's start and a block or
 * comment go. */
static int push_data(umbra_tpl_lexer *l, size_t end, char sign, bool print)
{
    size_t begin = l->at, keep = end;
    if (sign == '-') {
        keep = strip_right(l, begin, end);
    } else if (sign != '+' && !print) {
        size_t line = end;
        while (line > begin && l->s[line - 1] != '\n')
            line--;
        if ((line > begin || l->line_starts) && strip_right(l, line, end) == line)
            keep = line;
    }
    int rc = UMBRA_OK;
    if (keep > begin) {
        umbra_tpl_token t = {.type = TPL_T_DATA};
        rc = umbra_tpl_text(l->c, l->s + begin, keep - begin, false, &t.value);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_push_token(l, t);
    }
    umbra_tpl_advance(l, end);
    return rc;
}

static char sign_at(const umbra_tpl_lexer *l, size_t at)
{
    return at < l->n && (l->s[at] == '-' || l->s[at] == '+') ? l->s[at] : '\0';
}

/* Where a tag's end leads: behind white space after "-", behind one newline unless "+". */
static size_t behind(const umbra_tpl_lexer *l, size_t at, char sign)
{
    if (sign == '-')
        return umbra_tpl_skip_space(l, at);
    return sign != '+' && at < l->n && l->s[at] == '\n' ? at + 1 : at;
}

static int skip_comment(umbra_tpl_lexer *l)
{
    size_t from = l->at;
    const char *end = memmem(l->s + from, l->n - from, "#}", 2);
    if (!end)
        return umbra_tpl_fail(l->c, "the comment that begins here has no end");
    size_t at = (size_t)(end - l->s);
    char sign = at > from ? sign_at(l, at - 1) : '\0';
    umbra_tpl_advance(l, behind(l, at + 2, sign));
    return UMBRA_OK;
}

/* Behind "{%", an optional sign, `word` and "%}" with its sign, or 0. */
static size_t match_raw_tag(const umbra_tpl_lexer *l, size_t at, const char *word, char *end_sign)
{
    at += 2;
    at += sign_at(l, at) != '\0';
    at = umbra_tpl_skip_space(l, at);
    if (!umbra_tpl_at(l, at, word))
        return 0;
    at = umbra_tpl_skip_space(l, at + strlen(word));
    *end_sign = sign_at(l, at);
    at += *end_sign != '\0';
    return umbra_tpl_at(l, at, "%}") ? at + 2 : 0;
}

/* The text of a raw block; the cursor is behind its opening tag. */
static int take_raw(umbra_tpl_lexer *l)
{
    for (size_t at = l->at; at < l->n; at++) {
        const char *tag = memmem(l->s + at, l->n - at, "{%", 2);
        if (!tag)
            break;
        at = (size_t)(tag - l->s);
        char end_sign;
        size_t end = match_raw_tag(l, at, "endraw", &end_sign);
        if (end == 0)
            continue;
        int rc = push_data(l, at, sign_at(l, at + 2), false);
        umbra_tpl_advance(l, behind(l, end, end_sign));
        return rc;
    }
    return umbra_tpl_fail(l->c, "the raw block that begins here has no end");
}

/* Tokens of a tag up to and with its end. */
static int take_tag(umbra_tpl_lexer *l, bool print)
{
    const char *close = print ? "}}" : "%}";
    l->open = 0;
    for (;;) {
        size_t at = l->at;
        char sign = sign_at(l, at);
        if (print && sign == '+')
            sign = '\0';
        if (l->open == 0 && umbra_tpl_at(l, at + (sign != '\0'), close)) {
            int rc = umbra_tpl_push_token(
                l, (umbra_tpl_token){.type = print ? TPL_T_PRINT_END : TPL_T_BLOCK_END});
            at += 2 + (sign != '\0');
            umbra_tpl_advance(l, print && !sign ? at : behind(l, at, sign));
            return rc;
        }
        if (at >= l->n)
            return umbra_tpl_fail(l->c, "the template ends inside a tag");
        int rc = umbra_tpl_take_token(l);
        if (rc != UMBRA_OK)
            return rc;
    }
}

/* The first "{{", "{%" or "{#" at or after the cursor; the length if there is none. */
static size_t next_tag(const umbra_tpl_lexer *l)
{
    for (size_t at = l->at; at + 1 < l->n; at++) {
        const char *brace = memchr(l->s + at, '{', l->n - at - 1);
        if (!brace)
            break;
        at = (size_t)(brace - l->s);
        if (l->s[at + 1] == '{' || l->s[at + 1] == '%' || l->s[at + 1] == '#')
            return at;
    }
    return l->n;
}

static int take_next(umbra_tpl_lexer *l)
{
    size_t at = next_tag(l);
    if (at == l->n)
        return push_data(l, at, '+', true);
    char kind = l->s[at + 1], sign = sign_at(l, at + 2), end_sign;
    size_t raw = kind == '%' ? match_raw_tag(l, at, "raw", &end_sign) : 0;
    if (raw && end_sign == '+')
        raw = 0;
    int rc = push_data(l, at, sign, kind == '{');
    if (rc != UMBRA_OK)
        return rc;
    if (raw) {
        umbra_tpl_advance(l, end_sign == '-' ? umbra_tpl_skip_space(l, raw) : raw);
        return take_raw(l);
    }
    umbra_tpl_advance(l, at + 2 + (sign != '\0'));
    if (kind == '#')
        return skip_comment(l);
    rc = umbra_tpl_push_token(
        l, (umbra_tpl_token){.type = kind == '{' ? TPL_T_PRINT_BEGIN : TPL_T_BLOCK_BEGIN});
    return rc == UMBRA_OK ? take_tag(l, kind == '{') : rc;
}

static int check_utf8(umbra_tpl_context *c, const char *source, size_t bytes)
{
    for (size_t i = 0, n; i < bytes; i += n) {
        n = umbra_utf8_length(source + i, bytes - i);
        if (n == 0)
            return umbra_tpl_fail(c, "the template is not UTF-8");
        c->line += source[i] == '\n';
    }
    return UMBRA_OK;
}

int umbra_tpl_tokenize(umbra_tpl_context *c, const char *source, size_t bytes,
                       umbra_tpl_token **tokens)
{
    umbra_tpl_lexer l = {.c = c, .line_starts = true};
    c->line = 1;
    int rc = check_utf8(c, source, bytes);
    c->line = 1;
    if (rc == UMBRA_OK)
        rc = normalize(&l, source, bytes);
    while (rc == UMBRA_OK && l.at < l.n)
        rc = take_next(&l);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_push_token(&l, (umbra_tpl_token){.type = TPL_T_END});
    *tokens = l.tokens;
    return rc;
}

const char *umbra_tpl_describe_token(const umbra_tpl_token *t, char *buffer, size_t size)
{
    static const char *const names[] = {
        [TPL_T_END] = "the end of the template",
        [TPL_T_DATA] = "text",
        [TPL_T_PRINT_BEGIN] = "'{{'",
        [TPL_T_PRINT_END] = "'}}'",
        [TPL_T_BLOCK_BEGIN] = "'{%'",
        [TPL_T_BLOCK_END] = "'%}'",
        [TPL_T_CONSTANT] = "a constant",
    };
    if (t->type == TPL_T_NAME)
        snprintf(buffer, size, "'%s'",
                 umbra_quote(t->value.u.string->data, t->value.u.string->bytes).text);
    else if (t->type == TPL_T_OPERATOR && t->op >> 8)
        snprintf(buffer, size, "'%c%c'", t->op >> 8, t->op & 0xff);
    else if (t->type == TPL_T_OPERATOR)
        snprintf(buffer, size, "'%c'", t->op);
    else
        snprintf(buffer, size, "%s", names[t->type]);
    return buffer;
}
