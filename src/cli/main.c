/* Finds the command that was named and starts it. */
#include <stdio.h>
#include <string.h>

#include "base/quote.h"
#include "cli/cli.h"
#include "cli/ranks.h"

const cli_command cli_commands[] = {
    {"demo", "go the whole way on the embedded model and show each command", cli_demo},
    {"inspect", "show what a model file holds and what memory it needs", cli_inspect},
    {"run", "continue a prompt", cli_run, .ranks = true},
    {"serve", "answer people and programs over HTTP", cli_serve, .ranks = true},
    {"collect", "record traces for training and judging shadow models", cli_collect, .ranks = true},
    {"train", "train a shadow model on traces", cli_train, .ranks = true},
    {"quantize-shadow", "round the weights of a shadow model", cli_quantize_shadow},
    {"eval", "judge predictors on traces that no shadow was trained on", cli_eval},
    {"bench", "time reading ahead on a model, policy by policy", cli_bench_model, .ranks = true},
    {"bench predictor", "time predictions on this machine", cli_bench_predictor},
    {"score", "print log-probabilities, best tokens and experts for given texts", cli_score,
     .ranks = true},
    {"split", "write the part of a model that one rank of mpirun needs", cli_split},
    {"template", "render a chat template with a case", cli_template},
    {"under", "run a program of llama.cpp's with its experts in Umbra's store", cli_under},
    {"help", "show this, or the help of a command", cli_help},
    {"version", "show the version and what this build can use here", cli_version},
    {0},
};

const cli_command *cli_find_command(int count, char **argv, int *words)
{
    char two[64] = "";
    if (count > 1)
        snprintf(two, sizeof two, "%s %s", argv[0], argv[1]);
    for (*words = 2; *words > 0; (*words)--) {
        const char *name = *words == 2 ? two : argv[0];
        for (const cli_command *c = cli_commands; count >= *words && c->name; c++)
            if (strcmp(c->name, name) == 0)
                return c;
    }
    return NULL;
}

bool cli_is_group(const char *word, const cli_command **first)
{
    size_t n = strlen(word);
    for (*first = cli_commands; (*first)->name; (*first)++)
        if (strncmp((*first)->name, word, n) == 0 && (*first)->name[n] == ' ')
            return true;
    return false;
}

/* --version and --help stand for the commands of that name. */
static char *plain_name(char *word)
{
    static char help[] = "help", version[] = "version";
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return help;
    return strcmp(word, "--version") == 0 ? version : word;
}

static int no_command(char *word)
{
    const cli_command *first;
    if (cli_is_group(word, &first))
        fprintf(stderr, "umbra: say what to %s, as in \"umbra %s\"\n", word, first->name);
    else
        fprintf(stderr, "umbra: there is no command \"%s\"; \"umbra help\" lists them\n",
                umbra_quote(word, strlen(word)).text);
    return EXIT_MISUSE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        cli_print_usage(stderr);
        return EXIT_MISUSE;
    }
    int words;
    argv[1] = plain_name(argv[1]);
    const cli_command *command = cli_find_command(argc - 1, argv + 1, &words);
    if (!command)
        return no_command(argv[1]);
    int code = cli_ranks_begin(command);
    if (code >= 0)
        return code;
    code = cli_ranks_end(command->run(argc - words, argv + words));
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("umbra: cannot write the output\n", stderr);
        return code == EXIT_DONE ? EXIT_FAILED : code;
    }
    return code;
}
