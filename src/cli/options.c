/* Reads a command's arguments by its table of options. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/quote.h"
#include "cli/cli.h"

static int misuse(const cli_syntax *syntax, const char *what, const char *word)
{
    fprintf(stderr, "umbra %s: %s%s%s\n", syntax->command, what, word ? ": " : "",
            word ? umbra_quote(word, strlen(word)).text : "");
    fprintf(stderr, "\"umbra help %s\" shows how to call it\n", syntax->command);
    return EXIT_MISUSE;
}

static bool is_number(const cli_option *o)
{
    return o->kind == CLI_INT || o->kind == CLI_U64 || o->kind == CLI_FLOAT;
}

static int bad_value(const cli_syntax *syntax, const cli_option *o, const char *text)
{
    fprintf(stderr, "umbra %s: \"%s\" is not a valid value for %s %s", syntax->command,
            umbra_quote(text, strlen(text)).text, o->name, o->argument);
    if (o->kind == CLI_SIZE)
        fputs(": at least 1 byte, as 8G or 512MiB", stderr);
    else if (is_number(o) && o->most > 0)
        fprintf(stderr, ": %.9g to %.9g", o->least, o->most);
    else if (is_number(o))
        fprintf(stderr, ": %.9g or more", o->least);
    fputc('\n', stderr);
    fprintf(stderr, "\"umbra help %s\" shows how to call it\n", syntax->command);
    return EXIT_MISUSE;
}

const char *cli_next_choice(const char **at, int *n)
{
    const char *choice = *at;
    int all = (int)strcspn(choice, "|");
    *at += all + (choice[all] == '|');
    *n = (int)strcspn(choice, ":|");
    *n += choice[*n] == ':';
    return *n > 0 ? choice : NULL;
}

static bool is_choice(const char *argument, const char *text)
{
    int n;
    for (const char *choice; (choice = cli_next_choice(&argument, &n)) != NULL;)
        if (strncmp(choice, text, (size_t)n) == 0 && (choice[n - 1] == ':' || text[n] == '\0'))
            return true;
    return false;
}

bool cli_parse_size(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    double number = strtod(text, &end);
    if (end == text || errno != 0 || !isfinite(number) || number < 0 || text[0] == '-')
        return false;
    while (*end == ' ')
        end++;
    static const char letters[] = "KMGTP";
    const char *letter = *end ? strchr(letters, toupper((unsigned char)*end)) : NULL;
    if (letter) {
        end++;
        bool binary = *end == 'i' || *end == 'I';
        end += binary;
        for (const char *l = letters; l <= letter; l++)
            number *= binary ? 1024 : 1000;
    }
    end += *end == 'B' || *end == 'b';
    if (*end != '\0' || number < 1 || number >= 0x1p63)
        return false;
    *out = (uint64_t)number;
    return true;
}

void cli_settle_top_p(float *top_p, float *temperature)
{
    if (*top_p == 0)
        *temperature = 0;
    if (*top_p < 0)
        *top_p = 0;
}

float cli_amount(float given)
{
    return given < 0 ? 0 : given == 0 ? -1 : given;
}

int cli_count(int given)
{
    return given < 0 ? 0 : given == 0 ? -1 : given;
}

static bool parse_u64(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || strchr(text, '-'))
        return false;
    *out = value;
    return true;
}

static bool parse_int(const char *text, int *out)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < 0 || value > INT_MAX)
        return false;
    *out = (int)value;
    return true;
}

static bool parse_float(const char *text, float *out)
{
    char *end;
    float value = strtof(text, &end);
    if (end == text || *end != '\0' || !isfinite(value))
        return false;
    *out = value;
    return true;
}

static bool in_range(const cli_option *o, double value)
{
    return value >= o->least && (o->most == 0 || value <= o->most);
}

static bool set_value(const cli_option *o, const char *text)
{
    switch (o->kind) {
    case CLI_INT:
        return parse_int(text, o->value) && in_range(o, *(const int *)o->value);
    case CLI_U64:
        return parse_u64(text, o->value) && in_range(o, (double)*(const uint64_t *)o->value);
    case CLI_SIZE:
        return cli_parse_size(text, o->value);
    case CLI_FLOAT:
        return parse_float(text, o->value) && in_range(o, (double)*(const float *)o->value);
    case CLI_TEXT:
        *(const char **)o->value = text;
        if (strchr(o->argument, '|'))
            return is_choice(o->argument, text);
        return text[0] != '\0' || strcmp(o->argument, "TEXT") == 0;
    case CLI_FLAG:
    case CLI_LIST:
        break;
    }
    return false;
}

/* The option that argument names ("--ram", "--ram=80M", "-t"), its inline value in *value. */
static const cli_option *find_option(const cli_syntax *syntax, const char *argument,
                                     const char **value)
{
    *value = NULL;
    for (const cli_option *o = syntax->options; o->name; o++) {
        size_t n = strlen(o->name);
        if (argument[1] == o->letter && o->letter && argument[2] == '\0')
            return o;
        if (strncmp(argument, o->name, n) == 0 && (argument[n] == '\0' || argument[n] == '=')) {
            *value = argument[n] == '=' ? argument + n + 1 : NULL;
            return o;
        }
    }
    return NULL;
}

static bool has_empty(const cli_list *list)
{
    for (int i = 0; i < list->count; i++)
        if (list->words[i][0] == '\0')
            return true;
    return false;
}

/* Appends the words from argv[i] up to the next option; the list's words lie side by side in argv,
 * so a second use of the option is refused unless it follows directly. Returns words taken. */
static int take_list(cli_list *list, int argc, char **argv, int i)
{
    int n = 0;
    while (i + n < argc && !(argv[i + n][0] == '-' && argv[i + n][1] != '\0'))
        n++;
    if (list->count == 0)
        list->words = &argv[i];
    else /* close the gap to the words taken before */
        memmove(list->words + list->count, &argv[i], (size_t)n * sizeof *argv);
    list->count += n;
    return n;
}

/* Who wants to see the table, if not the user: see cli_describe. */
static struct {
    const cli_command *command;
    cli_visitor *visit;
} visitor;

void cli_describe(const cli_command *command, cli_visitor *visit)
{
    char name[] = "", flag[] = "--help";
    char *arguments[] = {name, flag, NULL};
    visitor.command = command;
    visitor.visit = visit;
    command->run(2, arguments);
    visitor.visit = NULL;
}

static int show(const cli_syntax *syntax)
{
    if (visitor.visit)
        visitor.visit(visitor.command, syntax);
    else
        cli_print_help(syntax);
    return EXIT_DONE;
}

int cli_parse(const cli_syntax *syntax, int argc, char **argv, const char **operands)
{
    int count = 0, most = syntax->operands < 0 ? CLI_MOST_OPERANDS : syntax->operands;
    bool only_operands = false;
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        if (!only_operands && strcmp(word, "--") == 0) {
            only_operands = true;
            continue;
        }
        if (only_operands || word[0] != '-' || word[1] == '\0') {
            if (count == most)
                return misuse(syntax, "one word too many", word);
            if (word[0] == '\0') /* a variable of the shell that is not set */
                return misuse(syntax, "a name is empty, wanted", syntax->arguments);
            operands[count++] = word;
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
            return show(syntax);
        const char *value;
        const cli_option *o = find_option(syntax, word, &value);
        if (!o)
            return misuse(syntax, "unknown option", word);
        if (o->kind == CLI_FLAG) {
            if (value)
                return misuse(syntax, "the option takes no value", word);
            *(bool *)o->value = true;
        } else if (o->kind == CLI_LIST) {
            int n = take_list(o->value, argc, argv, i + 1);
            if (value || n == 0)
                return misuse(syntax, "the option needs words after it", word);
            if (has_empty(o->value))
                return misuse(syntax, "a word is empty after the option", word);
            i += n;
        } else {
            if (!value && ++i == argc)
                return misuse(syntax, "the option needs a value", word);
            if (!set_value(o, value ? value : argv[i]))
                return bad_value(syntax, o, value ? value : argv[i]);
        }
    }
    if (count < syntax->operands || (syntax->operands == CLI_ANY && count == 0))
        return misuse(syntax, "something is missing, wanted", syntax->arguments);
    return -1;
}
