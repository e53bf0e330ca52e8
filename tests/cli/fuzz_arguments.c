/* Any lines as the words of a command line: the command is found and its options are read, but
 * nothing is run. With libFuzzer this is the fuzz target; with fuzz_driver.c it runs the corpus as
 * an ordinary test. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "fuzz_target.h"

enum { WORDS = 96 };

static char *words[WORDS + 1];
static int n_words;
static bool inside;

static bool in_range(const cli_option *o)
{
    double value = o->kind == CLI_INT   ? *(const int *)o->value
                   : o->kind == CLI_U64 ? (double)*(const uint64_t *)o->value
                                        : (double)*(const float *)o->value;
    return isfinite(value) && value >= o->least && (o->most == 0 || value <= o->most);
}

static bool is_number(const cli_option *o)
{
    return o->kind == CLI_INT || o->kind == CLI_U64 || o->kind == CLI_FLOAT;
}

/* A number that was in its range, as far as it was set, is still. */
static void parse(const cli_command *command, const cli_syntax *syntax)
{
    const char *operands[CLI_MOST_OPERANDS];
    bool was[CLI_MOST_OPERANDS] = {0};
    (void)command;
    if (inside) /* the words ask for help themselves */
        return;
    inside = true;
    int i = 0;
    for (const cli_option *o = syntax->options; o->name && i < CLI_MOST_OPERANDS; o++, i++)
        was[i] = is_number(o) && in_range(o);
    int code = cli_parse(syntax, n_words, words, operands);
    i = 0;
    for (const cli_option *o = syntax->options; code < 0 && o->name && i < CLI_MOST_OPERANDS;
         o++, i++)
        if (was[i] && !in_range(o))
            abort();
    if (code > EXIT_MISUSE)
        abort();
    inside = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *rest = text;
    int used;
    uint64_t bytes;
    if (!text)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    n_words = 0;
    for (char *word; n_words < WORDS && (word = strsep(&rest, "\n")) != NULL;)
        words[n_words++] = word;
    words[n_words] = NULL;
    if (cli_parse_size(text, &bytes) && bytes < 1)
        abort();
    const cli_command *command = cli_find_command(n_words, words, &used);
    if (command) {
        n_words -= used - 1;
        memmove(words, words + used - 1, (size_t)(n_words + 1) * sizeof *words);
        cli_describe(command, parse);
    }
    free(text);
    return 0;
}
