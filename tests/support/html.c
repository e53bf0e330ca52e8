/* Files and checks for tests of the HTML reports. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"
#include "support/html.h"

char *whole_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    rewind(f);
    char *text = calloc(n + 1, 1);
    assert_int_equal(fread(text, 1, n, f), n);
    fclose(f);
    return text;
}

const char *temporary(const char *name)
{
    static char path[256];
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/umbra-%ld-%s", folder ? folder : "/tmp", (long)getpid(), name);
    return path;
}

static bool is_void(const char *name)
{
    static const char *const names[] = {"meta", "br", "hr", "img", "!DOCTYPE"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* A quote-aware scan of a tag from behind its '<'; returns the character behind its '>'. */
static const char *skip_tag(const char *c, bool *empty)
{
    char quote = 0;
    for (; *c && (quote || *c != '>'); c++) {
        if (quote)
            quote = *c == quote ? 0 : quote;
        else if (*c == '"' || *c == '\'')
            quote = *c;
        assert_true(*c != '<');
    }
    assert_true(*c == '>');
    *empty = c[-1] == '/';
    return c + 1;
}

static void assert_utf8(const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        size_t n = umbra_utf8_length(text, left);
        assert_true(n > 0);
        text += n;
        left -= n;
    }
}

void assert_well_formed(const char *html)
{
    assert_utf8(html);
    static char open[64][16];
    int depth = 0;
    for (const char *c = strchr(html, '<'); c; c = strchr(c, '<')) {
        bool closes = c[1] == '/', empty;
        char name[16] = "";
        c += closes ? 2 : 1;
        size_t n = strcspn(c, " \n/>");
        assert_true(n > 0 && n < sizeof name);
        memcpy(name, c, n);
        c = skip_tag(c, &empty);
        if (closes) {
            if (depth == 0 || strcmp(open[depth - 1], name) != 0)
                fail_msg("</%s> closes <%s>", name, depth > 0 ? open[depth - 1] : "nothing");
            depth--;
        } else if (!empty && !is_void(name)) {
            assert_true(depth < 64);
            strcpy(open[depth++], name);
        }
    }
    assert_int_equal(depth, 0);
}

void assert_escaped(const char *html)
{
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;", "&#160;"};
    for (const char *c = strchr(html, '&'); c; c = strchr(c + 1, '&')) {
        bool known = false;
        for (size_t i = 0; i < sizeof entities / sizeof entities[0]; i++)
            known = known || strncmp(c, entities[i], strlen(entities[i])) == 0;
        assert_true(known);
    }
    assert_null(strstr(html, "<script"));
    assert_null(strstr(html, "http:"));
    assert_null(strstr(html, "https:"));
    assert_null(strstr(html, "url("));
    assert_null(strstr(html, "nan"));
    assert_null(strstr(html, "\x1b"));
}
