/* The parts of the HTML report of a benchmark: report.c puts them together, report_words.c says
 * what was found, report_table.c, report_charts.c and report_timeline.c show it. */
#ifndef UMBRA_LAB_BENCH_REPORT_H
#define UMBRA_LAB_BENCH_REPORT_H

#include <stdio.h>

#include <umbra/lab/bench.h>

/* The rows of one backend and budget. */
typedef struct umbra_bench_group {
    const umbra_bench_row *rows; /* (n) */
    int n;
    const umbra_bench_row *off, *oracle; /* or NULL */
    const umbra_bench_row *ahead;        /* the fastest that is neither; or NULL */
    bool opens;                          /* the first of its backend */
} umbra_bench_group;

typedef struct umbra_bench_page {
    const umbra_bench *bench;
    const umbra_bench_row *resident; /* or NULL */
    umbra_bench_group *groups;       /* (n_groups) */
    int n_groups;
    int open; /* the group whose charts and timelines are shown, the others' open on request */
    /* Scratch: */
    double *x, *y;                    /* (n_rows) */
    const umbra_store_event **events; /* (the most events of a row) */
    double fastest;                   /* tokens/s of the fastest round of all */
} umbra_bench_page;

extern const char *const umbra_bench_report_style[];

/* Class of a policy's lines. */
const char *umbra_bench_line_style(const char *policy);
/* max(C, I) in tokens per second; 0 if there is none. */
double umbra_bench_bound(const umbra_bench_row *row);
/* The fastest row that does not know the future; NULL if there is none but the oracle. */
const umbra_bench_row *umbra_bench_fastest(const umbra_bench_group *group);
/* A decimal unit that gives the largest value one to three digits, and its name. */
double umbra_bench_unit(double most, const char **name);
/* "threads, budget 24 MB" */
void umbra_bench_group_name(const umbra_bench_group *group, char *out, size_t room);
/* The same, escaped. */
void umbra_bench_put_group(FILE *f, const umbra_bench_group *group);
/* Opens a part of the page for a group, closed to begin with unless it is the open one. */
void umbra_bench_begin_details(const umbra_bench_page *p, FILE *f, int group);
void umbra_bench_end_details(FILE *f);

void umbra_bench_report_head(const umbra_bench_page *p, FILE *f);
void umbra_bench_report_verdicts(const umbra_bench_page *p, FILE *f);
void umbra_bench_report_peer(const umbra_bench_page *p, FILE *f);
void umbra_bench_report_words(FILE *f);
void umbra_bench_report_tables(const umbra_bench_page *p, FILE *f);
void umbra_bench_report_speed(const umbra_bench_page *p, FILE *f);
void umbra_bench_report_waste(const umbra_bench_page *p, FILE *f);
void umbra_bench_report_stall(const umbra_bench_page *p, FILE *f);
void umbra_bench_report_timelines(const umbra_bench_page *p, FILE *f);

#endif
