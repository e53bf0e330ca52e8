/* umbra run, in parts: its options, what it writes, and what it tells about itself. */
#ifndef UMBRA_CLI_RUN_H
#define UMBRA_CLI_RUN_H

#include "cli/cli.h"

typedef struct run_options {
    umbra_engine_options engine;
    umbra_prefetch_options prefetch;
    umbra_draft_options draft;
    umbra_ranks ranks; /* of mpirun; engine points to it */
    umbra_sampling sampling;
    const char *prompt, *file;
    const char *system, *template; /* with chat */
    cli_list stop;
    const char *usage;
    float pin;  /* percent of the slots */
    int tokens; /* negative: not given */
    bool chat, ignore_end, stats, json;
} run_options;

/* What was written, as it grows. */
typedef struct run_output {
    const umbra_model *model;
    umbra_stops *stops;
    bool stream; /* print as it comes */
    char *text;  /* kept for --json */
    size_t bytes, room;
    int32_t *tokens;
    int count;
    bool stopped; /* by a stop string */
    bool failed;
} run_output;

/* Room for so many tokens; false after an error was printed, with what code in *code. Release it
 * either way. */
bool run_output_open(run_output *o, const umbra_model *model, const run_options *r, int *code);
void run_output_release(run_output *o);
/* An on_token. */
int run_output_take(void *user, int32_t id);
/* Writes what was held back. */
void run_output_end(run_output *o);

/* What writes texts. */
typedef struct run_machine {
    umbra_engine *engine;
    umbra_prefetch *prefetch;
    umbra_drafts *drafts;
} run_machine;

/* Returns 0 or an exit code; on failure all is NULL. */
int run_open(const umbra_model *model, run_options *r, run_machine *m);
void run_close(run_machine *m);

/* Talks in the terminal until the input ends; returns an exit code. */
int run_chat(const umbra_model *model, const char *path, run_options *r);

void run_print_stats(const run_machine *m, const umbra_generation *g);
void run_print_json(const run_machine *m, const umbra_generation *g, const run_output *o);

#endif
