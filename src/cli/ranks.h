/* Commands that mpirun starts: one process per rank, of which rank 0 talks to people.
 *
 * Output of the others is kept back: what they say is what rank 0 says too, unless one fails alone;
 * then its last words are shown, with its rank and machine, and all are ended. */
#ifndef UMBRA_CLI_RANKS_H
#define UMBRA_CLI_RANKS_H

#include "cli/cli.h"

/* Joins the others if mpirun started this process, for a command that can divide its work. Returns
 * -1 to go on, or an exit code after printing the error. */
int cli_ranks_begin(const cli_command *command);
/* Waits for the others, unless this rank failed and they do not come: then all end. Returns the
 * exit code. */
int cli_ranks_end(int code);

/* How ranks exchange, for the engine's options; NULL without mpirun. */
const umbra_ranks *cli_ranks(void);
/* Whether this rank is to do nothing but follow, since another one leads. */
bool cli_ranks_follows(void);
/* Follows until the leader is done; returns an exit code. */
int cli_ranks_follow(umbra_engine *engine);
/* cli_read_file, by rank 0 for all. */
int cli_ranks_read_file(const char *path, size_t most, char **text, size_t *bytes);
/* How often each expert was used by the usage file (NULL, or one that is not there: nothing), for
 * the division of the experts; rank 0's file for all. free() *uses, which is NULL without mpirun.
 * Returns 0 or an exit code. */
int cli_ranks_read_usage(const umbra_model *model, const char *path, uint64_t **uses);

/* For `umbra version`: the MPI of this build, or NULL. */
const char *cli_ranks_library(void);

#endif
