/* The command line: one static table of commands, one file each.
 *
 * Results go to stdout; progress, statistics and errors to stderr. Exit codes: 0 done, 1 failed,
 * 2 misuse, 130 interrupted. */
#ifndef UMBRA_CLI_CLI_H
#define UMBRA_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <umbra/lab/lab.h>
#include <umbra/umbra.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_MISUSE = 2, EXIT_INTERRUPTED = 130 };

typedef struct cli_exit_code {
    int code;
    const char *meaning; /* NULL ends the table */
} cli_exit_code;

extern const cli_exit_code cli_exit_codes[];

typedef struct cli_command {
    const char *name;                  /* one word, or two: "bench predictor" */
    const char *summary;               /* one line, lower case, no full stop */
    int (*run)(int argc, char **argv); /* argv[0] is the name's last word; returns an exit code */
    bool ranks;                        /* divides its work among the ranks of mpirun */
} cli_command;

extern const cli_command cli_commands[]; /* a NULL name ends the table */

/* The command that the first words name, the longest name first; *words: how many of them it has.
 * NULL: there is none. */
const cli_command *cli_find_command(int count, char **argv, int *words);

/* Whether there are commands of two words that begin with this one ("bench"); one of them in
 * *first. */
bool cli_is_group(const char *word, const cli_command **first);

int cli_bench_predictor(int argc, char **argv);
int cli_bench_model(int argc, char **argv);
int cli_collect(int argc, char **argv);
int cli_demo(int argc, char **argv);
int cli_eval(int argc, char **argv);
int cli_help(int argc, char **argv);
int cli_inspect(int argc, char **argv);
int cli_quantize_shadow(int argc, char **argv);
int cli_run(int argc, char **argv);
int cli_serve(int argc, char **argv);
int cli_score(int argc, char **argv);
int cli_split(int argc, char **argv);
int cli_template(int argc, char **argv);
int cli_train(int argc, char **argv);
int cli_under(int argc, char **argv);
int cli_version(int argc, char **argv);

/* ---- options ---- */

typedef enum cli_kind {
    CLI_FLAG,  /* bool, no argument */
    CLI_INT,   /* int */
    CLI_U64,   /* uint64_t */
    CLI_SIZE,  /* uint64_t, bytes: 65M = 65,000,000, 65MiB = 68,157,440; at least 1 */
    CLI_FLOAT, /* float */
    CLI_TEXT,  /* const char * */
    CLI_LIST,  /* cli_list: every following word up to the next option */
} cli_kind;

typedef struct cli_list {
    char **words; /* into argv */
    int count;
} cli_list;

/* A row of a table leaves out the range where there is none. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

typedef struct cli_option {
    const char *name; /* "--ram"; NULL ends a table */
    char letter;      /* 'p' for -p, or 0 */
    cli_kind kind;
    const char *argument; /* "SIZE"; "auto|sim:RATE": one of these, or one that begins with
                             "sim:"; NULL for a flag */
    const char *help;     /* one sentence with the default */
    void *value;
    /* Of a number, both included. most 0: no limit. Options of the library take 0 as "not given",
     * so where 0 is no amount of its own, the least is 1. */
    double least, most;
} cli_option;

/* The one source of a command's help, man page and completions. In arguments, the words FILE,
 * MODEL, IN, OUT, PATH, DIR and COMMAND tell completion what can stand there. */
typedef struct cli_syntax {
    const char *command;     /* "run" */
    const char *arguments;   /* "MODEL" */
    const char *description; /* one paragraph */
    const cli_option *options;
    int operands;         /* how many words without a dash are wanted, CLI_ANY or CLI_OPTIONAL */
    const char *examples; /* command lines, a newline after each */
} cli_syntax;

enum {
    CLI_ANY = -1,      /* 1 or more words */
    CLI_OPTIONAL = -2, /* 0 or more words */
    CLI_MOST_OPERANDS = 64
};

/* Parses argv into the options' values and operands[] (room for those wanted, or for
 * CLI_MOST_OPERANDS). Returns -1 to go on, or an exit code: help
 * was printed (0), or an error was (2). */
int cli_parse(const cli_syntax *syntax, int argc, char **argv, const char **operands);

/* A command's table points to variables of its function, so it is shown from inside the command's
 * cli_parse: cli_describe runs it with --help, and the visitor is called in place of
 * cli_print_help.
 */
typedef void cli_visitor(const cli_command *command, const cli_syntax *syntax);
void cli_describe(const cli_command *command, cli_visitor *visit);

void cli_print_help(const cli_syntax *syntax);
/* The list of commands. */
void cli_print_usage(FILE *out);

/* The man page of a command, or of umbra itself (NULL), on stdout. */
void cli_print_man(const cli_command *command);

/* A completion script on stdout. */
void cli_print_bash(void);
void cli_print_zsh(void);
void cli_print_fish(void);

/* The choices of "auto|uring|sim:RATE", one at a time: *at moves on, the length in *n ("sim:" for
 * what goes on with a word of the user's own); NULL at the end. */
const char *cli_next_choice(const char **at, int *n);

typedef enum cli_values {
    CLI_NOTHING,
    CLI_FILES,
    CLI_FOLDERS,
    CLI_COMMANDS,
    CLI_CHOICES
} cli_values;

/* What can stand for an argument, or for the operands of a command. */
cli_values cli_values_of(const char *argument);

/* "80", "80K", "80 MB" (powers of 1000), "80Mi", "80MiB" (powers of 1024), in any case; a fraction
 * is allowed. At least 1 byte. */
bool cli_parse_size(const char *text, uint64_t *out);

enum { CLI_MOST_THREADS = 256 /* of an engine */, CLI_MOST_WORKERS = 1024 /* beside traces */ };

/* What stands for "not given" in a variable of a CLI_FLOAT that may be 0. */
static const float cli_not_given = -1;

/* --top-p as the library takes it, where 0 means all: not given is 0, and 0, which keeps the best
 * token alone, is the temperature 0. */
void cli_settle_top_p(float *top_p, float *temperature);

/* Amounts of which 0 is one, as the library takes them: not given is 0, and 0 is negative. */
float cli_amount(float given);
int cli_count(int given);

/* The options that every command with an engine takes, to put into its table. */
#define CLI_ENGINE_OPTIONS(o)                                                                      \
    {"--ram",                                                                                      \
     0,                                                                                            \
     CLI_SIZE,                                                                                     \
     "SIZE",                                                                                       \
     "hard budget for the whole process, as 80M or 2GiB (default: all in memory if it fits, else " \
     "as much as is free)",                                                                        \
     &(o).ram_bytes},                                                                              \
        {"--threads",                                                                              \
         't',                                                                                      \
         CLI_INT,                                                                                  \
         "N",                                                                                      \
         "threads that compute (default: the processors at hand)",                                 \
         &(o).threads,                                                                             \
         1,                                                                                        \
         CLI_MOST_THREADS},                                                                        \
        {"--kernels",                                                                              \
         0,                                                                                        \
         CLI_TEXT,                                                                                 \
         "auto|reference|scalar|avx2|avxvnni|avx512|amx|neon",                                     \
         "instruction set to compute with (default: auto, the best of this processor)",            \
         &(o).kernels},                                                                            \
        {"--ctx",                                                                                  \
         0,                                                                                        \
         CLI_INT,                                                                                  \
         "N",                                                                                      \
         "positions to keep keys and values for (default: 512, or what the text needs; for "       \
         "collect "                                                                                \
         "the model's, at most 1024)",                                                             \
         &(o).context,                                                                             \
         1},                                                                                       \
        {"--io",                                                                                   \
         0,                                                                                        \
         CLI_TEXT,                                                                                 \
         "auto|uring|threads|sim:RATE,LATENCY",                                                    \
         "how experts are read (default: auto, io_uring where it can be used)",                    \
         &(o).io},                                                                                 \
    {                                                                                              \
        "--buffered", 0, CLI_FLAG, NULL, "read experts through the page cache, not with O_DIRECT", \
            &(o).buffered                                                                          \
    }

/* Plans the budget that keeps about this share (0 to 1) of the experts in memory; what the options
 * say about ram_bytes does not matter. */
int cli_plan_residency(const umbra_model *model, const umbra_engine_options *options,
                       double residency, umbra_memory_plan *plan, umbra_error *err);

/* Says on stderr what stands against the budget of these options here, before anything is read for
 * it: limits that the kernel enforces by ending the process. */
void cli_warn_budget(const umbra_model *model, const umbra_engine_options *options);

/* ---- profile ---- */

/* The option that makes an engine keep its time by kind of step, */
#define CLI_PROFILE_OPTION(o)                                                                      \
    {                                                                                              \
        "--profile", 0, CLI_FLAG, NULL,                                                            \
            "print on stderr where the time went, by kind of step, beside what the machine could " \
            "do",                                                                                  \
            &(o).profile                                                                           \
    }
/* and what it prints: a table for prefill and one for decode. */
void cli_print_profile(const umbra_profile *profile, int threads, const char *kernels);
/* The same of an engine that kept one. */
void cli_profile_engine(umbra_engine *engine);

/* ---- terminal ---- */

/* "umbra: message"; returns the exit code that belongs to the error. */
int cli_fail(const umbra_error *err);
/* The same for a text that could not be kept or printed. */
int cli_fail_text(void);

/* "umbra: warning: message; going on without it": for a file that nobody named. */
void cli_warn_without(void *user, const char *message);
/* What opening the model left out, on stderr. */
void cli_print_notes(const umbra_model *model);

/* Progress for a long call: on stderr, if it is a terminal, once a second has passed. Ctrl-C and
 * SIGTERM make the call return UMBRA_E_INTERRUPTED; a second one ends the process. */
const umbra_progress *cli_progress(void);
/* The signal that has come since the last call, 0: none; the next one interrupts again. */
int cli_take_signal(void);
/* Bytes that one unit of progress stands for, to be shown beside the count; 0: none. */
void cli_progress_scale(double bytes_per_unit);
/* Wipes a progress line, before other output. */
void cli_progress_end(void);

/* "65000000" -> "65.0 MB" in a static ring of buffers. */
const char *cli_size(uint64_t bytes);
/* A name for the terminal, without what would act on it; valid until the next call. */
const char *cli_plain(const char *text);

/* Largest files that make sense as templates, cases, texts to score. */
enum { CLI_MOST_TEMPLATE_BYTES = 64 << 20, CLI_MOST_TEXT_BYTES = 1 << 30 };

/* Reads a whole file, or stdin for "-"; one of more than `most` bytes, or without an end, is
 * refused when so many have been read. *text is NUL-terminated; free() it. Returns 0 or an exit
 * code after printing the error. */
int cli_read_file(const char *path, size_t most, char **text, size_t *bytes);
/* The least of `most` and the share of a budget of ram bytes (0: none given) that a text and its
 * tokens may take beside the model. */
size_t cli_most_text(uint64_t ram, size_t most);

#endif
