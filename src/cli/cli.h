/* The command line: one static table of commands, one file each.
 *
 * Results go to stdout; progress, statistics and errors to stderr. Exit codes: 0 done, 1 failed,
 * 2 misuse, 130 interrupted. */
#ifndef UMBRA_CLI_CLI_H
#define UMBRA_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umbra/umbra.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_MISUSE = 2, EXIT_INTERRUPTED = 130 };

typedef struct cli_command {
    const char *name;
    const char *summary;               /* one line, lower case, no full stop */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns an exit code */
} cli_command;

int cli_bench(int argc, char **argv);
int cli_bench_model(int argc, char **argv);
int cli_collect(int argc, char **argv);
int cli_eval(int argc, char **argv);
int cli_inspect(int argc, char **argv);
int cli_quantize_shadow(int argc, char **argv);
int cli_run(int argc, char **argv);
int cli_score(int argc, char **argv);
int cli_train(int argc, char **argv);

/* ---- options ---- */

typedef enum cli_kind {
    CLI_FLAG,  /* bool, no argument */
    CLI_INT,   /* int */
    CLI_U64,   /* uint64_t */
    CLI_SIZE,  /* uint64_t, bytes: 65M = 65,000,000, 65MiB = 68,157,440 */
    CLI_FLOAT, /* float */
    CLI_TEXT,  /* const char * */
    CLI_LIST,  /* cli_list: every following word up to the next option */
} cli_kind;

typedef struct cli_list {
    char **words; /* into argv */
    int count;
} cli_list;

typedef struct cli_option {
    const char *name; /* "--ram"; NULL ends a table */
    char letter;      /* 'p' for -p, or 0 */
    cli_kind kind;
    const char *argument; /* "SIZE", NULL for a flag */
    const char *help;     /* one sentence with the default */
    void *value;
} cli_option;

typedef struct cli_syntax {
    const char *command;     /* "run" */
    const char *arguments;   /* "MODEL" */
    const char *description; /* one paragraph */
    const cli_option *options;
    int operands; /* how many words without a dash are wanted; CLI_ANY: 1 or more */
} cli_syntax;

enum { CLI_ANY = -1, CLI_MOST_OPERANDS = 64 };

/* Parses argv into the options' values and operands[] (room for those wanted, or for
 * CLI_MOST_OPERANDS). Returns -1 to go on, or an exit code: help
 * was printed (0), or an error was (2). */
int cli_parse(const cli_syntax *syntax, int argc, char **argv, const char **operands);

/* "80", "80K", "80MB" (powers of 1000), "80MiB" (powers of 1024); a fraction is allowed. */
bool cli_parse_size(const char *text, uint64_t *out);

/* The options that every command with an engine takes, to put into its table. */
#define CLI_ENGINE_OPTIONS(o)                                                                      \
    {"--ram",                                                                                      \
     0,                                                                                            \
     CLI_SIZE,                                                                                     \
     "SIZE",                                                                                       \
     "hard budget for the whole process, as 80M or 2GiB (default: all in memory if it fits, else " \
     "as much as is free)",                                                                        \
     &(o).ram_bytes},                                                                              \
        {"--threads", 't', CLI_INT, "N", "threads that compute (default: the processors at hand)", \
         &(o).threads},                                                                            \
        {"--kernels",                                                                              \
         0,                                                                                        \
         CLI_TEXT,                                                                                 \
         "NAME",                                                                                   \
         "auto, reference, scalar, avx2, avx512 or neon (default: auto, the best for this "        \
         "processor)",                                                                             \
         &(o).kernels},                                                                            \
        {"--ctx",                                                                                  \
         0,                                                                                        \
         CLI_INT,                                                                                  \
         "N",                                                                                      \
         "positions to keep keys and values for (default: 512, or what the "                       \
         "text needs)",                                                                            \
         &(o).context},                                                                            \
        {"--io", 0, CLI_TEXT, "NAME", "auto, uring or threads (default: auto)", &(o).io},          \
    {                                                                                              \
        "--buffered", 0, CLI_FLAG, NULL, "read experts through the page cache, not with O_DIRECT", \
            &(o).buffered                                                                          \
    }

/* ---- terminal ---- */

/* "umbra: message"; returns the exit code that belongs to the error. */
int cli_fail(const umbra_error *err);

/* Progress for a long call: on stderr, if it is a terminal, once a second has passed. Ctrl-C and
 * SIGTERM make the call return UMBRA_E_INTERRUPTED; a second one ends the process. */
const umbra_progress *cli_progress(void);
/* Bytes that one unit of progress stands for, to be shown beside the count; 0: none. */
void cli_progress_scale(double bytes_per_unit);
/* Wipes a progress line, before other output. */
void cli_progress_end(void);

/* "65000000" -> "65.0 MB" in a static ring of buffers. */
const char *cli_size(uint64_t bytes);

/* Reads a whole file, or stdin for "-". *text is NUL-terminated; free() it. Returns 0 or an exit
 * code after printing the error. */
int cli_read_file(const char *path, char **text, size_t *bytes);

#endif
