#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const cli_command commands[] = {
    {"inspect", "show what a model file holds and what memory it needs", cli_inspect},
    {"run", "continue a prompt", cli_run},
    {"collect", "record traces for training and judging shadow models", cli_collect},
    {"train", "train a shadow model on traces", cli_train},
    {"quantize-shadow", "round the weights of a shadow model", cli_quantize_shadow},
    {"eval", "judge predictors on traces that no shadow was trained on", cli_eval},
    {"bench", "time predictions on this machine", cli_bench},
    {"score", "log-probabilities, best tokens and experts for given texts", cli_score},
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_usage(FILE *out)
{
    fputs("usage: umbra COMMAND [ARGUMENTS]\n\n"
          "Runs Mixture-of-Experts language models that are bigger than memory.\n\n"
          "commands:\n",
          out);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-16s %s\n", commands[i].name, commands[i].summary);
    fputs("  help             show this, or the help of a command\n"
          "  version          show the version and the kernels this processor runs\n\n"
          "exit codes: 0 done, 1 failed, 2 misuse, 130 interrupted\n",
          out);
}

static int print_version(void)
{
    printf("umbra %s\nkernels:", umbra_version());
    for (int i = 0; umbra_kernel_name(i); i++)
        printf(" %s", umbra_kernel_name(i));
    putchar('\n');
    return EXIT_DONE;
}

static const cli_command *find(const char *name)
{
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int help(int argc, char **argv)
{
    const cli_command *command = argc > 2 ? find(argv[2]) : NULL;
    if (argc > 2 && !command) {
        fprintf(stderr, "umbra: there is no command \"%s\"\n", argv[2]);
        return EXIT_MISUSE;
    }
    if (!command) {
        print_usage(stdout);
        return EXIT_DONE;
    }
    char flag[] = "--help";
    char *arguments[] = {argv[2], flag, NULL};
    return command->run(2, arguments);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_MISUSE;
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return help(argc, argv);
    if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0)
        return print_version();
    const cli_command *command = find(name);
    if (!command) {
        fprintf(stderr, "umbra: there is no command \"%s\"; \"umbra help\" lists them\n", name);
        return EXIT_MISUSE;
    }
    int code = command->run(argc - 1, argv + 1);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("umbra: cannot write the output\n", stderr);
        return code == EXIT_DONE ? EXIT_FAILED : code;
    }
    return code;
}
