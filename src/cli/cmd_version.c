/* umbra version: what the build is made of and can use here. */
#include <string.h>

#include "base/json_writer.h"
#include "cli/cli.h"
#include "cli/ranks.h"

static bool cpu_runs(const char *kernels)
{
    const char *name;
    for (int i = 0; (name = umbra_kernel_name(i)) != NULL; i++)
        if (strcmp(name, kernels) == 0)
            return true;
    return false;
}

typedef struct library {
    const char *name, *version;
} library;

static void print_text(const umbra_build *b, const library *libraries, int n)
{
    printf("umbra %s\n", b->version);
    printf("compiler   %s\n", b->compiler);
    fputs("kernels   ", stdout);
    for (int i = 0; b->kernels[i]; i++)
        printf(" %s%s", b->kernels[i], cpu_runs(b->kernels[i]) ? "" : " (not on this processor)");
    printf("\nio_uring   %s\n",
           b->io_uring ? "can be used here" : "cannot be used here; experts are read by threads");
    fputs("libraries ", stdout);
    for (int i = 0; i < n; i++)
        if (libraries[i].version)
            printf("%s %s %s", i > 0 ? "," : "", libraries[i].name, libraries[i].version);
    putchar('\n');
}

/* Those of the build, or those of them that this processor runs. */
static void json_kernels(umbra_json *j, const char *key, const umbra_build *b, bool all)
{
    umbra_json_key(j, key);
    umbra_json_open(j, '[');
    for (int i = 0; b->kernels[i]; i++)
        if (all || cpu_runs(b->kernels[i]))
            umbra_json_text(j, b->kernels[i]);
    umbra_json_close(j, ']');
}

static void print_json(const umbra_build *b, const library *libraries, int n)
{
    umbra_json j;
    umbra_json_begin(&j, stdout);
    umbra_json_open(&j, '{');
    umbra_json_put_text(&j, "version", b->version);
    umbra_json_put_text(&j, "compiler", b->compiler);
    json_kernels(&j, "kernels_built", b, true);
    json_kernels(&j, "kernels", b, false);
    umbra_json_put_bool(&j, "io_uring", b->io_uring);
    umbra_json_key(&j, "libraries");
    umbra_json_open(&j, '{');
    for (int i = 0; i < n; i++)
        umbra_json_put_text(&j, libraries[i].name, libraries[i].version);
    umbra_json_close(&j, '}');
    umbra_json_close(&j, '}');
    putchar('\n');
}

int cli_version(int argc, char **argv)
{
    bool json = false;
    const cli_option options[] = {
        {"--json", 0, CLI_FLAG, NULL, "print one JSON object", &json},
        {0},
    };
    const cli_syntax syntax = {
        "version",
        "",
        "Shows the version, the compiler, the kernels of this build and which of them this "
        "processor runs, whether io_uring can be used here, and the libraries built against.",
        options,
        0,
        "umbra version\numbra --version --json\n",
    };
    int code = cli_parse(&syntax, argc, argv, NULL);
    if (code >= 0)
        return code;
    umbra_build b;
    umbra_get_build(&b);
    umbra_lab_build lab;
    umbra_lab_get_build(&lab);
    const library libraries[] = {{"pcre2", b.pcre2},       {"jansson", lab.jansson},
                                 {"liburing", b.liburing}, {"xxhash", b.xxhash},
                                 {"utf8proc", b.utf8proc}, {"mpi", cli_ranks_library()}};
    (json ? print_json : print_text)(&b, libraries, sizeof libraries / sizeof libraries[0]);
    return EXIT_DONE;
}
