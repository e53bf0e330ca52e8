/* umbra serve in a build without it: says how to get it. */
#include "cli/cli.h"

int cli_serve(int argc, char **argv)
{
    const cli_option options[] = {{0}};
    const cli_syntax syntax = {
        "serve",
        "MODEL",
        "Serves the model over HTTP. This build cannot: install libmicrohttpd-dev and build again "
        "with -DUMBRA_SERVE=ON.",
        options,
        CLI_OPTIONAL,
        ""};
    const char *operands[CLI_MOST_OPERANDS];
    int code = cli_parse(&syntax, argc, argv, operands);
    if (code >= 0)
        return code;
    fputs("umbra serve: this build has no server; install libmicrohttpd-dev (Debian) and build "
          "again with -DUMBRA_SERVE=ON\n",
          stderr);
    return EXIT_FAILED;
}
