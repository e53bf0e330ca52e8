/* umbra run, in parts: its options, what it writes, and what it tells about itself. */
#ifndef UMBRA_CLI_RUN_H
#define UMBRA_CLI_RUN_H

#include "cli/cli.h"

typedef struct run_options {
    umbra_engine_options engine;
    umbra_prefetch_options prefetch;
    umbra_draft_options draft;
    umbra_sampling sampling;
    const char *prompt, *file;
    cli_list stop;
    const char *usage;
    float pin;  /* percent of the slots */
    int tokens; /* negative: not given */
    bool ignore_end, stats, json;
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

/* The bytes of a token: in small (room), or in memory that the caller frees; NULL: none is left. */
char *run_token_text(const umbra_model *model, int32_t id, bool special, char *small, size_t room,
                     size_t *n);

/* What wrote a text, and what came of it. */
typedef struct run_report {
    const umbra_engine *engine;
    const umbra_prefetch *prefetch;
    const umbra_drafts *drafts;
    umbra_generation generation;
} run_report;

void run_print_stats(const run_report *r);
void run_print_json(const run_report *r, const run_output *o);

#endif
