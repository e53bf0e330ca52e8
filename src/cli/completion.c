/* Completion scripts for bash, zsh and fish, from the tables of the commands. */
#include <string.h>

#include "cli/cli.h"

cli_values cli_values_of(const char *argument)
{
    static const struct {
        const char *word;
        cli_values values;
    } words[] = {{"FILE", CLI_FILES},      {"MODEL", CLI_FILES}, {"IN", CLI_FILES},
                 {"OUT", CLI_FILES},       {"PATH", CLI_FILES},  {"DIR", CLI_FOLDERS},
                 {"COMMAND", CLI_COMMANDS}};
    if (!argument)
        return CLI_NOTHING;
    if (strchr(argument, '|'))
        return CLI_CHOICES;
    argument += argument[0] == '[';
    size_t n = strcspn(argument, " .]");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strlen(words[i].word) == n && strncmp(words[i].word, argument, n) == 0)
            return words[i].values;
    return CLI_NOTHING;
}

/* What can stand where the command wants words. */
static cli_values operands_of(const cli_syntax *syntax)
{
    return syntax->operands == 0 ? CLI_NOTHING : cli_values_of(syntax->arguments);
}

/* Text inside '...' of a shell, with a backslash before each character of `special`. */
static void put_quoted(const char *text, const char *quote, const char *special)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs(quote, stdout);
        else
            printf(strchr(special, *text) ? "\\%c" : "%c", *text);
    }
}

/* colon: how the shell wants that of "sim:" written. */
static void put_choices(const char *argument, const char *colon)
{
    int n;
    const char *space = "";
    for (const char *c; (c = cli_next_choice(&argument, &n)) != NULL; space = " ") {
        bool open = c[n - 1] == ':';
        printf("%s%.*s%s", space, n - open, c, open ? colon : "");
    }
}

/* Whether the command's first word is that of an earlier one. */
static bool repeats_word(const cli_command *command)
{
    size_t n = strcspn(command->name, " ");
    for (const cli_command *c = cli_commands; c < command; c++)
        if (strncmp(c->name, command->name, n) == 0 && (c->name[n] == ' ' || c->name[n] == '\0'))
            return true;
    return false;
}

/* The first words of all commands, or the second ones behind `group`. */
static void put_words(const char *group)
{
    size_t n = group ? strlen(group) : 0;
    const char *space = "";
    for (const cli_command *c = cli_commands; c->name; c++) {
        if (group ? strncmp(c->name, group, n) != 0 || c->name[n] != ' ' : repeats_word(c))
            continue;
        const char *word = group ? c->name + n + 1 : c->name;
        printf("%s%.*s", space, (int)strcspn(word, " "), word);
        space = " ";
    }
}

/* Calls visit for the commands of two words first: their names begin like those of one word. */
static void describe_all(cli_visitor *visit)
{
    for (int two = 1; two >= 0; two--)
        for (const cli_command *c = cli_commands; c->name; c++)
            if ((strchr(c->name, ' ') != NULL) == two)
                cli_describe(c, visit);
}

/* Calls visit for the first words of commands of two words that are no commands themselves. */
static void each_group(void (*visit)(const char *group))
{
    for (const cli_command *c = cli_commands; c->name; c++) {
        char group[64], *words[] = {group};
        int n = (int)strcspn(c->name, " "), used;
        snprintf(group, sizeof group, "%.*s", n, c->name);
        if (c->name[n] == ' ' && !repeats_word(c) && !cli_find_command(1, words, &used))
            visit(group);
    }
}

/* ---- bash ---- */

static const char *const bash_values[] = {"", "@files", "@folders", "@commands"};

static void visit_bash(const cli_command *command, const cli_syntax *syntax)
{
    const cli_command *first;
    printf("    '%s '*)\n        options='", command->name);
    for (const cli_option *o = syntax->options; o->name; o++) {
        printf("%s%s", o == syntax->options ? "" : " ", o->name);
        if (o->letter)
            printf(" -%c", o->letter);
    }
    fputs(" --help'\n", stdout);
    printf("        values='%s'\n", bash_values[operands_of(syntax)]);
    if (cli_is_group(command->name, &first)) {
        fputs("        below='", stdout);
        put_words(command->name);
        puts("'");
    }
    puts("        case $previous in");
    for (const cli_option *o = syntax->options; o->name; o++) {
        if (!o->argument)
            continue;
        cli_values values = cli_values_of(o->argument);
        printf("        %s", o->name);
        if (o->letter)
            printf(" | -%c", o->letter);
        fputs(") values='", stdout);
        if (values == CLI_CHOICES)
            put_choices(o->argument, ":");
        else
            fputs(bash_values[values], stdout);
        puts("' ;;");
    }
    puts("        esac\n        ;;");
}

static void group_bash(const char *group)
{
    printf("    '%s '*)\n        below='", group);
    put_words(group);
    puts("'\n        ;;");
}

void cli_print_bash(void)
{
    puts("# bash completion for umbra, printed by: umbra help --completion bash\n"
         "_umbra()\n{\n"
         "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
         "    local options= values= commands= below= # words that go on with a command\n"
         "    [[ $previous == = ]] && previous=${COMP_WORDS[COMP_CWORD - 2]} # --io=NAME\n"
         "    [[ $current == = ]] && current=\n"
         "    COMPREPLY=()");
    fputs("    commands='", stdout);
    put_words(NULL);
    puts("'\n"
         "    if ((COMP_CWORD == 1)); then\n"
         "        mapfile -t COMPREPLY < <(compgen -W \"$commands\" -- \"$current\")\n"
         "        return\n"
         "    fi\n"
         "    case \"${COMP_WORDS[1]} ${COMP_WORDS[2]} \" in");
    describe_all(visit_bash);
    each_group(group_bash);
    puts("    esac\n"
         "    [[ $current == -* ]] && values=$options\n"
         "    case $values in\n"
         "    @files) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -f -- \"$current\") "
         ";;\n"
         "    @folders) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -d -- "
         "\"$current\") ;;\n"
         "    @commands) mapfile -t COMPREPLY < <(compgen -W \"$commands\" -- \"$current\") ;;\n"
         "    *) mapfile -t COMPREPLY < <(compgen -W \"$values\" -- \"$current\") ;;\n"
         "    esac\n"
         "    ((COMP_CWORD == 2)) && COMPREPLY+=($(compgen -W \"$below\" -- \"$current\"))\n"
         "}\n"
         "complete -F _umbra umbra");
}

/* ---- zsh ---- */

static void put_zsh_values(cli_values values, const char *argument)
{
    static const char *const actions[] = {" ", "_files", "_files -/", "($commands)"};
    if (values == CLI_CHOICES) {
        putchar('(');
        put_choices(argument, "\\:");
        putchar(')');
    } else {
        fputs(actions[values], stdout);
    }
}

/* One way to write an option, excluding the other. */
static void put_zsh_option(const cli_option *o, bool letter)
{
    fputs(" \\\n            '", stdout);
    if (o->kind == CLI_LIST)
        putchar('*');
    else if (o->letter && letter)
        printf("(%s)", o->name);
    else if (o->letter)
        printf("(-%c)", o->letter);
    if (letter)
        printf("-%c[", o->letter);
    else
        printf("%s%s[", o->name, o->argument && o->kind != CLI_LIST ? "=" : "");
    put_quoted(o->help, "'\\''", "[]:\\");
    putchar(']');
    if (o->argument) {
        putchar(':');
        put_quoted(strchr(o->argument, '|') ? "NAME" : o->argument, "'\\''", ":");
        putchar(':');
        put_zsh_values(cli_values_of(o->argument), o->argument);
    }
    putchar('\'');
}

static void visit_zsh(const cli_command *command, const cli_syntax *syntax)
{
    const cli_command *first;
    bool two = strchr(command->name, ' ') != NULL;
    printf("    '%s '*)\n", command->name);
    if (cli_is_group(command->name, &first)) {
        fputs("        ((CURRENT == 3)) && compadd -- ", stdout);
        put_words(command->name);
        putchar('\n');
    }
    printf("        shift %d words\n        ((CURRENT -= %d))\n", two ? 2 : 1, two ? 2 : 1);
    fputs("        _arguments", stdout);
    for (const cli_option *o = syntax->options; o->name; o++) {
        put_zsh_option(o, false);
        if (o->letter)
            put_zsh_option(o, true);
    }
    fputs(" \\\n            '--help[show how to call it]'", stdout);
    cli_values values = operands_of(syntax);
    if (values == CLI_COMMANDS)
        fputs(" \\\n            \"*:COMMAND:($names)\"", stdout);
    else if (values != CLI_NOTHING) {
        fputs(" \\\n            '*:", stdout);
        put_quoted(syntax->arguments, "'\\''", ":");
        putchar(':');
        put_zsh_values(values, NULL);
        putchar('\'');
    }
    puts("\n        ;;");
}

static void group_zsh(const char *group)
{
    printf("    '%s '*)\n        ((CURRENT == 3)) && compadd -- ", group);
    put_words(group);
    puts("\n        ;;");
}

void cli_print_zsh(void)
{
    puts("#compdef umbra\n"
         "# zsh completion for umbra, printed by: umbra help --completion zsh\n"
         "_umbra()\n{\n    local -a commands\n    commands=(");
    for (const cli_command *c = cli_commands; c->name; c++) {
        if (repeats_word(c))
            continue;
        printf("        '%.*s:", (int)strcspn(c->name, " "), c->name);
        put_quoted(c->summary, "'\\''", ":\\");
        puts("'");
    }
    fputs("    )\n    local names='", stdout);
    put_words(NULL);
    puts("'\n"
         "    if ((CURRENT == 2)); then\n"
         "        _describe command commands\n"
         "        return\n"
         "    fi\n"
         "    case \"$words[2] $words[3] \" in");
    describe_all(visit_zsh);
    each_group(group_zsh);
    puts("    esac\n}\n"
         "# Works when autoloaded from a folder of fpath and when sourced.\n"
         "if [ \"$funcstack[1]\" = _umbra ]; then\n    _umbra \"$@\"\nelse\n"
         "    compdef _umbra umbra\nfi");
}

/* ---- fish ---- */

/* The head of a rule for what follows the command. */
static void put_fish_rule(const cli_command *command)
{
    const cli_command *first;
    printf("complete -c umbra -n '__umbra_at %s", command->name);
    if (cli_is_group(command->name, &first))
        printf("; and not __umbra_at %s", first->name);
    putchar('\'');
}

static void put_fish_values(cli_values values, const char *argument)
{
    static const char *const flags[] = {"", " -F", " -a '(__fish_complete_directories)'"};
    if (values == CLI_CHOICES || values == CLI_COMMANDS) {
        fputs(" -a '", stdout);
        if (values == CLI_CHOICES)
            put_choices(argument, ":");
        else
            put_words(NULL);
        putchar('\'');
    } else {
        fputs(flags[values], stdout);
    }
}

static void visit_fish(const cli_command *command, const cli_syntax *syntax)
{
    for (const cli_option *o = syntax->options; o->name; o++) {
        cli_values values = cli_values_of(o->argument);
        put_fish_rule(command);
        printf(" -l %s", o->name + 2);
        if (o->letter)
            printf(" -s %c", o->letter);
        if (o->argument)
            fputs(values == CLI_FILES ? " -r" : " -x", stdout);
        put_fish_values(values, o->argument);
        fputs(" -d '", stdout);
        put_quoted(o->help, "\\'", "\\");
        puts("'");
    }
    put_fish_rule(command);
    puts(" -l help -d 'show how to call it'");
    if (operands_of(syntax) == CLI_NOTHING)
        return;
    put_fish_rule(command);
    put_fish_values(operands_of(syntax), NULL);
    putchar('\n');
}

void cli_print_fish(void)
{
    puts("# fish completion for umbra, printed by: umbra help --completion fish\n"
         "# Whether the words after umbra are exactly these.\n"
         "function __umbra_only\n"
         "    set -l words (commandline -opc)\n"
         "    set -e words[1]\n"
         "    test \"$words\" = \"$argv\"\n"
         "end\n"
         "# Whether the words after umbra begin with these.\n"
         "function __umbra_at\n"
         "    set -l words (commandline -opc)\n"
         "    set -e words[1]\n"
         "    set -l n (count $argv)\n"
         "    test (count $words) -ge $n; and test \"$words[1..$n]\" = \"$argv\"\n"
         "end\n"
         "complete -c umbra -f");
    for (const cli_command *c = cli_commands; c->name; c++) {
        const char *space = strchr(c->name, ' ');
        int n = (int)strcspn(c->name, " ");
        if (!repeats_word(c)) {
            printf("complete -c umbra -n '__umbra_only' -a %.*s -d '", n, c->name);
            put_quoted(c->summary, "\\'", "\\");
            puts("'");
        }
        if (space) {
            printf("complete -c umbra -n '__umbra_only %.*s' -a %s -d '", n, c->name, space + 1);
            put_quoted(c->summary, "\\'", "\\");
            puts("'");
        }
    }
    describe_all(visit_fish);
}
