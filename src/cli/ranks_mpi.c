/* Ranks by MPI. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/ranks.h"

enum { PATIENCE_MS = 3000, LAST_WORDS = 2048, PIECE = 1 << 30 /* bytes of a message */ };

static struct {
    bool active;
    umbra_ranks ranks;
    char machine[MPI_MAX_PROCESSOR_NAME];
    FILE *kept; /* what this rank would have said on stderr; NULL on rank 0 */
    FILE *loud; /* the true stderr */
} self;

static int lost(int code, umbra_error *err)
{
    if (code == MPI_SUCCESS)
        return UMBRA_OK;
    if (err) {
        char text[MPI_MAX_ERROR_STRING] = "";
        int n = 0;
        MPI_Error_string(code, text, &n);
        err->status = UMBRA_E_IO;
        snprintf(err->message, sizeof err->message, "rank %d (%s): MPI: %.180s", self.ranks.rank,
                 self.machine, text);
    }
    return UMBRA_E_IO;
}

/* ---- what an engine asks of ranks ---- */

static int gather(void *user, float *data, const int *first, const int *n, umbra_error *err)
{
    (void)user;
    return lost(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, data, n, first, MPI_FLOAT,
                               MPI_COMM_WORLD),
                err);
}

static int share(void *user, void *data, uint64_t bytes, umbra_error *err)
{
    (void)user;
    int rc = UMBRA_OK;
    for (uint64_t at = 0; rc == UMBRA_OK && at < bytes; at += PIECE) {
        uint64_t n = bytes - at < PIECE ? bytes - at : PIECE;
        rc = lost(MPI_Bcast((char *)data + at, (int)n, MPI_BYTE, 0, MPI_COMM_WORLD), err);
    }
    return rc;
}

static bool all_alike(const int *status, int count)
{
    for (int r = 1; r < count; r++)
        if (status[r] != status[0])
            return false;
    return true;
}

static int agree(void *user, int status, umbra_error *err)
{
    (void)user;
    int count = self.ranks.count;
    int *all = calloc((size_t)count, sizeof *all);
    if (!all)
        MPI_Abort(MPI_COMM_WORLD, EXIT_FAILED);
    int rc = lost(MPI_Allgather(&status, 1, MPI_INT, all, 1, MPI_INT, MPI_COMM_WORLD), err);
    int failed = rc == UMBRA_OK ? umbra_ranks_failure(all, count) : -1;
    if (failed >= 0) {
        umbra_error told = {.status = all[failed]};
        if (failed == self.ranks.rank && (all_alike(all, count) || status == UMBRA_E_INTERRUPTED))
            told = *err;
        else if (failed == self.ranks.rank)
            snprintf(told.message, sizeof told.message, "rank %d (%.60s): %.420s", failed,
                     self.machine, err->message);
        rc = lost(MPI_Bcast(&told, sizeof told, MPI_BYTE, failed, MPI_COMM_WORLD), err);
        if (rc == UMBRA_OK) {
            *err = told;
            rc = told.status;
        }
    }
    free(all);
    return rc;
}

static int bring(void *user, int from, void *data, uint64_t bytes, umbra_error *err)
{
    (void)user;
    int rc = UMBRA_OK;
    for (uint64_t at = 0; rc == UMBRA_OK && at < bytes; at += PIECE) {
        int n = (int)(bytes - at < PIECE ? bytes - at : PIECE);
        char *piece = (char *)data + at;
        rc = lost(self.ranks.rank == 0
                      ? MPI_Recv(piece, n, MPI_BYTE, from, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE)
                      : MPI_Send(piece, n, MPI_BYTE, 0, 0, MPI_COMM_WORLD),
                  err);
    }
    return rc;
}

/* ---- beginning and end ---- */

static bool started_by_mpi(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMI_SIZE") || getenv("PMIX_RANK");
}

/* Rank 0 alone speaks; the others' last words are kept, for when one fails alone. */
static void keep_quiet(void)
{
    self.loud = fdopen(dup(STDERR_FILENO), "w");
    self.kept = tmpfile();
    if (!freopen("/dev/null", "w", stdout))
        fclose(stdout);
    if (self.kept)
        dup2(fileno(self.kept), STDERR_FILENO);
}

int cli_ranks_begin(const cli_command *command)
{
    if (!started_by_mpi())
        return -1;
    int provided, length;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
        fputs("umbra: MPI does not start\n", stderr);
        return EXIT_FAILED;
    }
    self.active = true;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &self.ranks.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &self.ranks.count);
    MPI_Get_processor_name(self.machine, &length);
    self.ranks.gather = gather;
    self.ranks.share = share;
    self.ranks.agree = agree;
    self.ranks.bring = bring;
    if (self.ranks.rank > 0)
        keep_quiet();
    if (command->ranks || self.ranks.count == 1)
        return -1;
    fprintf(stderr, "umbra: %s does not divide its work; start it without mpirun\n", command->name);
    return cli_ranks_end(EXIT_MISUSE);
}

static void print_last_words(void)
{
    char text[LAST_WORDS];
    if (self.ranks.rank == 0) /* has said why, but not that it is alone */
        fprintf(stderr, "umbra: that was rank 0 (%s) alone; all ranks end\n", self.machine);
    if (!self.kept || !self.loud)
        return;
    fflush(stderr);
    rewind(self.kept);
    size_t n = fread(text, 1, sizeof text - 1, self.kept);
    text[n] = '\0';
    fprintf(self.loud, "umbra: rank %d (%s) failed: %s", self.ranks.rank, self.machine,
            n > 0 ? text : "nothing is known of why\n");
    fflush(self.loud);
}

/* Whether all came to the end. */
static bool all_came(MPI_Request *end, bool patient)
{
    int done = 0;
    for (int ms = 0; !done && (patient || ms < PATIENCE_MS); ms++) {
        if (MPI_Test(end, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = done ? 0 : 1000000}, NULL);
    }
    return done != 0;
}

int cli_ranks_end(int code)
{
    MPI_Request end;
    if (!self.active)
        return code;
    fflush(stdout);
    if (MPI_Ibarrier(MPI_COMM_WORLD, &end) != MPI_SUCCESS || !all_came(&end, code == EXIT_DONE)) {
        print_last_words();
        MPI_Abort(MPI_COMM_WORLD, code);
    }
    MPI_Finalize();
    self.active = false;
    return code;
}

const umbra_ranks *cli_ranks(void)
{
    return self.active ? &self.ranks : NULL;
}

bool cli_ranks_follows(void)
{
    return self.ranks.rank > 0;
}

int cli_ranks_follow(umbra_engine *engine)
{
    umbra_error err = {0};
    int rc = umbra_engine_follow(engine, cli_progress(), &err);
    return rc == UMBRA_OK ? EXIT_DONE : cli_fail(&err);
}

/* ---- what rank 0 reads for all ---- */

/* An exit code, and bytes of malloc if it is 0, of rank 0 for all. */
static int share_bytes(int code, char **data, size_t *bytes)
{
    struct {
        int64_t code;
        uint64_t bytes;
    } told = {code, *bytes};
    umbra_error err = {0};
    int rc = share(NULL, &told, sizeof told, &err);
    if (rc == UMBRA_OK && told.code != 0)
        return (int)told.code;
    if (rc == UMBRA_OK && cli_ranks_follows()) {
        *bytes = told.bytes;
        *data = calloc(told.bytes + 1, 1);
        if (!*data) {
            fputs("umbra: out of memory\n", stderr);
            print_last_words();
            MPI_Abort(MPI_COMM_WORLD, EXIT_FAILED);
        }
    }
    if (rc == UMBRA_OK)
        rc = share(NULL, *data, told.bytes, &err);
    return rc == UMBRA_OK ? 0 : cli_fail(&err);
}

int cli_ranks_read_file(const char *path, size_t most, char **text, size_t *bytes)
{
    *text = NULL;
    *bytes = 0;
    int code = cli_ranks_follows() ? 0 : cli_read_file(path, most, text, bytes);
    return self.active && self.ranks.count > 1 ? share_bytes(code, text, bytes) : code;
}

int cli_ranks_read_usage(const umbra_model *model, const char *path, uint64_t **uses)
{
    const umbra_model_info *info = umbra_model_get_info(model);
    size_t bytes = (size_t)info->layers * (size_t)info->experts * sizeof **uses;
    *uses = NULL;
    if (!self.active || !path)
        return 0;
    char *data = NULL;
    int code = 0;
    if (!cli_ranks_follows()) {
        umbra_error err = {0};
        data = calloc(1, bytes);
        if (data && access(path, F_OK) == 0 &&
            umbra_usage_read(model, path, (uint64_t *)(void *)data, &err) != UMBRA_OK)
            code = cli_fail(&err);
    }
    if (self.ranks.count > 1)
        code = share_bytes(code, &data, &bytes);
    if (code == 0)
        *uses = (uint64_t *)(void *)data;
    else
        free(data);
    return code;
}

const char *cli_ranks_library(void)
{
    static char version[MPI_MAX_LIBRARY_VERSION_STRING];
    int n = 0;
    if (version[0] == '\0' && MPI_Get_library_version(version, &n) == MPI_SUCCESS)
        version[strcspn(version, ",\n")] = '\0';
    return version;
}
