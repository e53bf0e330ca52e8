/* umbra split: what one rank needs of a model. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cli/cli.h"

typedef struct split_options {
    int ranks, rank; /* rank -1: not given */
    const char *usage;
} split_options;

static int read_usage(const umbra_model *model, const char *path, uint64_t **uses)
{
    const umbra_model_info *info = umbra_model_get_info(model);
    umbra_error err = {0};
    *uses = NULL;
    if (!path)
        return 0;
    *uses = calloc((size_t)info->layers * (size_t)info->experts, sizeof **uses);
    if (*uses && umbra_usage_read(model, path, *uses, &err) == UMBRA_OK)
        return 0;
    free(*uses);
    return *uses ? cli_fail(&err) : EXIT_FAILED;
}

/* The disk that the folder's file takes, holes aside; 0: not known. */
static uint64_t bytes_on_disk(const char *folder, const char *model)
{
    char path[4096];
    struct stat st;
    const char *name = model;
    for (const char *p = model; *p; p++)
        if (*p == '/')
            name = p + 1;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static int split(const char *path, const char *folder, const split_options *o)
{
    umbra_error err = {0};
    umbra_model *model;
    uint64_t *uses;
    if (umbra_model_open(&model, path, &err) != UMBRA_OK)
        return cli_fail(&err);
    int code = read_usage(model, o->usage, &uses);
    if (code == 0) {
        const umbra_ranks ranks = {.rank = o->rank, .count = o->ranks, .uses = uses};
        int rc = umbra_write_part(model, &ranks, folder, cli_progress(), &err);
        cli_progress_end();
        code = rc == UMBRA_OK ? EXIT_DONE : cli_fail(&err);
        free(uses);
    }
    if (code == EXIT_DONE)
        printf("%s: the experts of rank %d of %d, %s on the disk\n", cli_plain(folder), o->rank,
               o->ranks, cli_size(bytes_on_disk(folder, path)));
    umbra_model_close(&model);
    return code;
}

int cli_split(int argc, char **argv)
{
    split_options o = {.rank = -1};
    const cli_option options[] = {
        {"--ranks", 0, CLI_INT, "N", "ranks that will run the model together", &o.ranks, 2, 1024},
        {"--experts-of", 0, CLI_INT, "RANK", "whose experts are written, 0 to N - 1", &o.rank, 0,
         1023},
        {"--usage", 0, CLI_TEXT, "FILE",
         "divide the experts by how often they were used; the same for all parts", &o.usage},
        {0},
    };
    const cli_syntax syntax = {
        "split",
        "MODEL DIR",
        "Copies the files of a model into a folder, without the experts that other ranks of mpirun "
        "have: the copies are as long, but with holes that take no room on the disk. Each "
        "machine needs only its rank's part, under the same path. Copy parts with a tool that "
        "keeps "
        "holes (rsync -S, tar -S).",
        options,
        2,
        "umbra split MODEL.gguf part2 --ranks 4 --experts-of 2\n"};
    const char *paths[2];
    int code = cli_parse(&syntax, argc, argv, paths);
    if (code >= 0)
        return code;
    if (o.ranks == 0 || o.rank < 0 || o.rank >= o.ranks) {
        fputs("umbra split: give --ranks N and --experts-of 0 to N - 1\n", stderr);
        return EXIT_MISUSE;
    }
    return split(paths[0], paths[1], &o);
}
