/* Man pages, from the tables of the commands. */
#include <ctype.h>
#include <string.h>

#include "cli/cli.h"

/* Text with what roff would take for itself escaped. */
static void put_text(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\\')
            fputs("\\e", stdout);
        else if (text[i] == '-')
            fputs("\\-", stdout);
        else if (i == 0 && (text[i] == '.' || text[i] == '\''))
            printf("\\&%c", text[i]);
        else
            putchar(text[i]);
    }
}

static void put_line(const char *text)
{
    put_text(text, strlen(text));
    putchar('\n');
}

static void put_font(char font, const char *text, size_t n)
{
    printf("\\f%c", font);
    put_text(text, n);
    fputs("\\fR", stdout);
}

/* "MODEL --text FILE...": words with a dash in bold, others in italics. */
static void put_arguments(const char *text)
{
    while (*text) {
        size_t n = strcspn(text, " ");
        putchar(' ');
        put_font(text[0] == '-' ? 'B' : 'I', text, n);
        text += n + (text[n] == ' ');
    }
}

/* "umbra", or "umbra-bench-predictor". */
static void page_name(const cli_command *command, char *out, size_t size)
{
    snprintf(out, size, "umbra%s%s", command ? "-" : "", command ? command->name : "");
    for (char *c = out; *c; c++)
        *c = *c == ' ' ? '-' : *c;
}

static void put_head(const cli_command *command, const char *summary)
{
    char name[64], title[64];
    page_name(command, name, sizeof name);
    for (size_t i = 0; i <= strlen(name); i++)
        title[i] = (char)toupper((unsigned char)name[i]);
    fputs(".TH ", stdout);
    put_text(title, strlen(title));
    printf(" 1 \"\" \"umbra %s\" \"Umbra\"\n.SH NAME\n", umbra_version());
    put_text(name, strlen(name));
    fputs(" \\- ", stdout);
    put_line(summary);
}

static void put_exit_codes(void)
{
    puts(".SH EXIT STATUS");
    for (const cli_exit_code *e = cli_exit_codes; e->meaning; e++) {
        printf(".TP\n.B %d\n", e->code);
        put_line(e->meaning);
    }
}

static void put_option(const cli_option *o)
{
    puts(".TP");
    if (o->letter) {
        put_font('B', (char[]){'-', o->letter}, 2);
        fputs(", ", stdout);
    }
    put_font('B', o->name, strlen(o->name));
    if (o->argument) {
        putchar(' ');
        put_font('I', o->argument, strlen(o->argument));
    }
    putchar('\n');
    put_line(o->help);
}

static void put_examples(const char *lines)
{
    puts(".SH EXAMPLES\n.nf");
    while (*lines) {
        size_t n = strcspn(lines, "\n");
        put_text(lines, n);
        putchar('\n');
        lines += n + (lines[n] == '\n');
    }
    puts(".fi");
}

static void visit(const cli_command *command, const cli_syntax *syntax)
{
    put_head(command, command->summary);
    fputs(".SH SYNOPSIS\n", stdout);
    put_font('B', "umbra ", 6);
    put_font('B', command->name, strlen(command->name));
    bool last = strncmp(syntax->arguments, "--", 2) == 0; /* what follows is another program's */
    fputs(last ? " [\\fIOPTIONS\\fR]" : "", stdout);
    put_arguments(syntax->arguments);
    fputs(last ? "\n.SH DESCRIPTION\n" : " [\\fIOPTIONS\\fR]\n.SH DESCRIPTION\n", stdout);
    put_line(syntax->description);
    puts(".SH OPTIONS");
    for (const cli_option *o = syntax->options; o->name; o++)
        put_option(o);
    put_exit_codes();
    put_examples(syntax->examples);
    puts(".SH SEE ALSO\n.BR umbra (1)");
}

static void put_overview(void)
{
    put_head(NULL, "run Mixture-of-Experts language models that are bigger than memory");
    puts(".SH SYNOPSIS\n\\fBumbra\\fR \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]\n.SH DESCRIPTION");
    put_line("Runs Mixture-of-Experts language models whose experts stay on disk and are read when "
             "a token needs them; a hard budget covers the whole process. The output is always "
             "what the model would have said with everything in memory.");
    puts(".SH COMMANDS");
    for (const cli_command *c = cli_commands; c->name; c++) {
        puts(".TP");
        put_font('B', c->name, strlen(c->name));
        putchar('\n');
        put_line(c->summary);
    }
    put_exit_codes();
    puts(".SH SEE ALSO");
    for (const cli_command *c = cli_commands; c->name; c++) {
        char name[64];
        page_name(c, name, sizeof name);
        fputs(".BR ", stdout);
        put_text(name, strlen(name));
        printf(" (1)%s\n", c[1].name ? "," : "");
    }
}

void cli_print_man(const cli_command *command)
{
    if (command)
        cli_describe(command, visit);
    else
        put_overview();
}
