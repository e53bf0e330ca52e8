/* Test support: commands of the program on a small model, in a folder of the test's own. */
#ifndef UMBRA_TESTS_FAULTS_H
#define UMBRA_TESTS_FAULTS_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "inject.h"

#define WORK  UMBRA_TEST_DIR
#define MODEL WORK "/model.gguf"
#define OUT   WORK "/out"
#define SAID  WORK "/stdout.txt"
#define TOLD  WORK "/stderr.txt"

/* For a group: makes the folder with the model, a trace (WORK/trace, WORK/held) and a shadow
 * (WORK/shadow.st); and removes it. */
int faults_set_up(void **state);
int faults_tear_down(void **state);

/* A command; words of the line between spaces. */
typedef struct command {
    const char *line;
    const char *output; /* what it makes, a file or folder; NULL: nothing */
    const char *resume; /* how it is gone on with after it was cut off; NULL: in the same way */
} command;

/* All that read or write files: n of them. */
extern const command commands[];
extern const int n_commands;
const command *command_of(const char *first_words);

/* Runs a line. stdout and stderr are in SAID and TOLD. */
inject_result run_line(const char *line, const inject *what);
/* The same, without meddling: must succeed. */
void run_good(const char *line);

/* The run ended with 0, 1 or 2, in time, and said why if it was not 0; n 0: with 0. */
void expect_order(const command *c, const char *what, int n, inject_result r);
/* Removes what a command makes. */
void remove_output(const command *c);
/* One number for a file, or for all files of a folder with their names; 0: there is none. */
uint64_t hash_of(const char *path);
bool file_says(const char *path, const char *words);
/* n to try of `most`: all, or where these are too many so many, spread evenly; i from 0. 0: no
 * more. With UMBRA_ALL_FAULTS in the environment: all, or of N parts the K-th where it says K/N. */
int sample(int i, int most, int room);
void shell(const char *line);

#endif
