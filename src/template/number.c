/* Reading numbers as Python's int() and float() do. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "template/text.h"

enum { LONGEST = 400 };

/* The text without white space around it and single underscores between digits, NUL-terminated. */
static bool tidy(const umbra_tpl_string *s, char out[LONGEST])
{
    size_t begin = 0, end = s->bytes, n = 0;
    while (begin < end && (unsigned char)s->data[begin] < 0x80 &&
           umbra_tpl_is_space((unsigned char)s->data[begin]))
        begin++;
    while (end > begin && (unsigned char)s->data[end - 1] < 0x80 &&
           umbra_tpl_is_space((unsigned char)s->data[end - 1]))
        end--;
    if (begin == end || end - begin >= LONGEST)
        return false;
    for (size_t i = begin; i < end; i++) {
        bool between = i > begin && i + 1 < end && s->data[i - 1] >= '0' && s->data[i - 1] <= '9' &&
                       s->data[i + 1] >= '0' && s->data[i + 1] <= '9';
        if (s->data[i] == '\0' || (unsigned char)s->data[i] >= 0x80 ||
            (s->data[i] == '_' && !between))
            return false;
        if (s->data[i] != '_')
            out[n++] = s->data[i];
    }
    out[n] = '\0';
    return true;
}

bool umbra_tpl_parse_int(const umbra_tpl_string *s, int base, int64_t *out)
{
    static const struct {
        char letter;
        int base;
    } prefixes[] = {{'x', 16}, {'o', 8}, {'b', 2}};
    char text[LONGEST], *end;
    if (!tidy(s, text) || (base != 0 && (base < 2 || base > 36)))
        return false;
    bool negative = text[0] == '-';
    char *digits = text + (text[0] == '-' || text[0] == '+');
    for (int i = 0; i < 3; i++) {
        bool there = digits[0] == '0' && (digits[1] | 0x20) == prefixes[i].letter;
        if (there && (base == 0 || base == prefixes[i].base)) {
            base = prefixes[i].base;
            digits += 2;
            break;
        }
    }
    if (digits[0] == '-' || digits[0] == '+' || digits[0] == '\0' ||
        umbra_tpl_is_space((unsigned char)digits[0]))
        return false;
    errno = 0;
    unsigned long long value = strtoull(digits, &end, base == 0 ? 10 : base);
    if (*end != '\0' || errno != 0 || value > (unsigned long long)INT64_MAX + negative)
        return false;
    *out = (int64_t)(negative ? 0 - value : value);
    return true;
}

bool umbra_tpl_parse_float(const umbra_tpl_string *s, double *out)
{
    char text[LONGEST], *end;
    if (!tidy(s, text))
        return false;
    const char *digits = text + (text[0] == '-' || text[0] == '+');
    bool word = strcasecmp(digits, "inf") == 0 || strcasecmp(digits, "infinity") == 0 ||
                strcasecmp(digits, "nan") == 0;
    if (!word && (strspn(digits, "0123456789.eE+-") != strlen(digits) || digits[0] == '+' ||
                  digits[0] == '-'))
        return false;
    *out = strtod(text, &end);
    return end != text && *end == '\0';
}
