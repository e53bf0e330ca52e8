/* Inside of umbra_bench_model: bench_model.c does the runs, bench_rows.c makes the table,
 * bench_probe.c looks at the disk and at one token, bench_peer.c runs somebody else's program
 * between them. */
#ifndef UMBRA_LAB_BENCH_BENCH_H
#define UMBRA_LAB_BENCH_BENCH_H

#include <umbra/lab/bench.h>
#include <umbra/prefetch.h>

#include "base/random.h"
#include "generate/drafts.h"

/* A way to draft, from its word. */
typedef struct umbra_bench_draft {
    const char *word;
    umbra_draft source;
    int most;     /* drafts of a step; 0: as usual */
    bool told;    /* drafts are the true text's, */
    double agree; /* with this probability each; a number of drafts is then that of every step */
} umbra_bench_draft;

typedef struct umbra_bench_setup {
    umbra_policy policy;
    const char *io;
    uint64_t ram;
    bool resident; /* everything in memory, if that fits */
    umbra_bench_draft draft;
    char name[48]; /* of the policy and, behind a +, of the way to draft */
} umbra_bench_setup;

typedef struct umbra_bench_sample {
    double seconds; /* of the timed tokens */
    umbra_store_stats store;
    umbra_prefetch_stats prefetch;
    umbra_recall_stats recall;
    umbra_draft_stats drafts;
    umbra_memory_plan plan;
} umbra_bench_sample;

typedef struct umbra_bench_run {
    const umbra_model *model;
    const umbra_model_info *info;
    const umbra_bench_options *o;
    int prompt, tokens, total; /* tokens: the timed ones, at the end of total */
    int32_t *text;             /* (total + 1) the last is only drawn */
    uint64_t *hashes;          /* (total) of the logits, from prompt - 1 on */
    uint16_t *routing;         /* (total, layers, k) */
    uint64_t *token_begin_ns;  /* (tokens + 1) of the last run; the last is the end */
    umbra_store_event *events; /* of the last run that was recorded */
    int n_events;
} umbra_bench_run;

/* Writes the text with this setup. */
int umbra_bench_write_text(umbra_bench_run *b, const umbra_bench_setup *setup, umbra_error *err);
int umbra_bench_run_once(umbra_bench_run *b, const umbra_bench_setup *setup, bool record,
                         umbra_bench_sample *sample, umbra_error *err);
void umbra_bench_run_release(umbra_bench_run *b);

/* drafts.c: a word as umbra_bench_options.drafts has them; */
int umbra_bench_parse_draft(const char *word, umbra_bench_draft *out, umbra_error *err);
/* umbra_drafts_fit and umbra_drafts_open for it: *out is NULL where there are none; */
int umbra_bench_fit_drafts(const umbra_bench_run *b, const umbra_bench_draft *draft,
                           umbra_engine_options *engine, umbra_error *err);
int umbra_bench_open_drafts(umbra_drafts **out, const umbra_bench_run *b,
                            const umbra_bench_draft *draft, umbra_engine *engine,
                            umbra_prefetch *prefetch, umbra_error *err);
/* what they did, since `before` unless that is NULL. */
void umbra_bench_draft_stats(const umbra_drafts *drafts, const umbra_draft_stats *before,
                             umbra_draft_stats *out);

/* What the backend reads experts at, bytes per second, by reading for a while. */
int umbra_bench_disk(const umbra_bench_run *b, const char *io, double *out, umbra_error *err);

/* The events of a token of median time, and what each layer waited, from the run before. */
int umbra_bench_timeline(umbra_bench_row *row, const umbra_bench_run *b, umbra_error *err);

/* Runs the command; *tok_s: the last speed its output names, 0 if none. */
int umbra_bench_peer(const char *command, double *tok_s, umbra_error *err);

#endif
