/* umbra help: a command's page on the terminal, and the other forms of it. */
#include <string.h>

#include "base/quote.h"
#include "cli/cli.h"

enum { HELP_COLUMN = 26, HELP_WIDTH = 92 };

const cli_exit_code cli_exit_codes[] = {
    {EXIT_DONE, "done"},
    {EXIT_FAILED, "failed; a message on stderr says what, where and what to do"},
    {EXIT_MISUSE, "misuse: a command, option or value that there is not or that does not fit"},
    {EXIT_INTERRUPTED, "interrupted by Ctrl-C or SIGTERM; what was finished is kept"},
    {0},
};

/* Prints text wrapped at words, continuation lines indented. */
static void print_wrapped(const char *text, int column, int indent)
{
    while (*text) {
        int word = (int)strcspn(text, " ");
        if (column + word > HELP_WIDTH && column > indent) {
            printf("\n%*s", indent, "");
            column = indent;
        }
        printf("%.*s", word, text);
        column += word + 1;
        text += word;
        if (*text == ' ') {
            text++;
            if (column + (int)strcspn(text, " ") <= HELP_WIDTH)
                putchar(' ');
        }
    }
    putchar('\n');
}

static void print_option(const cli_option *o)
{
    int column = o->letter ? printf("  -%c, ", o->letter) : printf("  ");
    column += printf("%s%s%s", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
    if (column + 2 > HELP_COLUMN) {
        putchar('\n');
        column = 0;
    }
    printf("%*s", HELP_COLUMN - column, "");
    print_wrapped(o->help, HELP_COLUMN, HELP_COLUMN);
}

/* The commands whose first word this is. */
static void print_group(const char *word)
{
    size_t n = strlen(word);
    for (const cli_command *c = cli_commands; c->name; c++)
        if (strncmp(c->name, word, n) == 0 && c->name[n] == ' ')
            printf("  %-16s %s\n", c->name, c->summary);
}

void cli_print_help(const cli_syntax *syntax)
{
    const char *arguments = syntax->arguments;
    bool last = strncmp(arguments, "--", 2) == 0; /* what follows is another program's */
    printf("usage: umbra %s%s%s%s%s\n\n", syntax->command, last ? " [OPTIONS]" : "",
           arguments[0] ? " " : "", arguments, last ? "" : " [OPTIONS]");
    print_wrapped(syntax->description, 0, 0);
    fputs("\noptions:\n", stdout);
    for (const cli_option *o = syntax->options; o->name; o++)
        print_option(o);
    const cli_command *first;
    if (cli_is_group(syntax->command, &first)) {
        fputs("\nmore commands:\n", stdout);
        print_group(syntax->command);
    }
    fputs("\nexamples:\n", stdout);
    for (const char *line = syntax->examples; *line;) {
        int n = (int)strcspn(line, "\n");
        printf("  %.*s\n", n, line);
        line += n + (line[n] == '\n');
    }
    fputs("\nexit codes:\n", stdout);
    for (const cli_exit_code *e = cli_exit_codes; e->meaning; e++)
        printf("  %-4d %s\n", e->code, e->meaning);
}

void cli_print_usage(FILE *out)
{
    fputs("usage: umbra COMMAND [ARGUMENTS]\n\n"
          "Runs Mixture-of-Experts language models that are bigger than memory.\n\n"
          "commands:\n",
          out);
    for (const cli_command *c = cli_commands; c->name; c++)
        fprintf(out, "  %-16s %s\n", c->name, c->summary);
    fputs("\n\"umbra help COMMAND\" tells more.\n\nexit codes:\n", out);
    for (const cli_exit_code *e = cli_exit_codes; e->meaning; e++)
        fprintf(out, "  %-4d %s\n", e->code, e->meaning);
}

static void visit_help(const cli_command *command, const cli_syntax *syntax)
{
    (void)command;
    cli_print_help(syntax);
}

/* The words name a command, or the first word of several, or nothing. */
static int help_of(char **words, int count, bool man)
{
    int used = 0;
    const cli_command *command = NULL, *first;
    if (count > 0)
        command = cli_find_command(count, words, &used);
    if (used != count && count > 0 && !(count == 1 && !man && cli_is_group(words[0], &first))) {
        const char *second = count > 1 ? words[1] : "";
        fprintf(stderr, "umbra: there is no command \"%s%s%s\"; \"umbra help\" lists them\n",
                umbra_quote(words[0], strlen(words[0])).text, count > 1 ? " " : "",
                umbra_quote(second, strlen(second)).text);
        return EXIT_MISUSE;
    }
    if (man)
        cli_print_man(command);
    else if (command)
        cli_describe(command, visit_help);
    else if (count == 1)
        print_group(words[0]);
    else
        cli_print_usage(stdout);
    return EXIT_DONE;
}

static int print_completion(const char *shell)
{
    if (strcmp(shell, "bash") == 0)
        cli_print_bash();
    else if (strcmp(shell, "zsh") == 0)
        cli_print_zsh();
    else
        cli_print_fish();
    return EXIT_DONE;
}

int cli_help(int argc, char **argv)
{
    bool man = false, commands = false;
    const char *shell = NULL;
    const cli_option options[] = {
        {"--man", 0, CLI_FLAG, NULL, "print it as a man page; without a command, that of umbra",
         &man},
        {"--completion", 0, CLI_TEXT, "bash|zsh|fish", "print a completion script for this shell",
         &shell},
        {"--commands", 0, CLI_FLAG, NULL, "print the names of the commands, one a line", &commands},
        {0},
    };
    const cli_syntax syntax = {
        "help",
        "[COMMAND]",
        "Shows how to call a command, or lists the commands. Help, man pages and completions are "
        "all printed from the same tables that the commands parse their options by.",
        options,
        CLI_OPTIONAL,
        "umbra help run\n"
        "umbra help --man bench predictor | man -l -\n"
        "source <(umbra help --completion bash)\n",
    };
    const char *words[CLI_MOST_OPERANDS] = {0};
    int code = cli_parse(&syntax, argc, argv, words);
    if (code >= 0)
        return code;
    if (shell)
        return print_completion(shell);
    for (const cli_command *c = cli_commands; commands && c->name; c++)
        puts(c->name);
    int count = 0;
    while (count < CLI_MOST_OPERANDS && words[count])
        count++;
    return commands ? EXIT_DONE : help_of((char **)words, count, man);
}
