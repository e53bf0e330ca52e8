/* A build without MPI: says so to those whom mpirun starts. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/ranks.h"

int cli_ranks_begin(const cli_command *command)
{
    static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    (void)command;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const char *size = getenv(sizes[i]);
        if (size && atoi(size) > 1) {
            fprintf(stderr,
                    "umbra: started as one of %s processes, but this build has no MPI; configure "
                    "with -DUMBRA_MPI=ON (on Debian: apt-get install libopenmpi-dev)\n",
                    size);
            return EXIT_MISUSE;
        }
    }
    return -1;
}

int cli_ranks_end(int code)
{
    return code;
}

const umbra_ranks *cli_ranks(void)
{
    return NULL;
}

bool cli_ranks_follows(void)
{
    return false;
}

int cli_ranks_follow(umbra_engine *engine)
{
    (void)engine;
    return EXIT_FAILED;
}

int cli_ranks_read_file(const char *path, size_t most, char **text, size_t *bytes)
{
    return cli_read_file(path, most, text, bytes);
}

int cli_ranks_read_usage(const umbra_model *model, const char *path, uint64_t **uses)
{
    (void)model;
    (void)path;
    *uses = NULL;
    return 0;
}

const char *cli_ranks_library(void)
{
    return NULL;
}
