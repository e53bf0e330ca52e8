/* What the preloaded library knows of the program that it is in: files that were mapped, models
 * that were taken over, schedulers of ggml's that compute. Set by the environment; does nothing
 * without. */
#ifndef UMBRA_UNDER_PROCESS_H
#define UMBRA_UNDER_PROCESS_H

#include <stdio.h>

#include "under/under.h"

/* Whether `umbra under` started the program. */
bool umbra_process_active(void);

/* This thread opens a model's file; remembered until the next one. */
void umbra_process_opens(const char *path);
/* Whether the experts of the file that this thread opened last are to be kept: it has some, and
 * more than was given for them. */
bool umbra_process_opened(void);

/* Whether a file that is about to be mapped for reading is such a model. */
bool umbra_process_is_to_keep(int fd);
/* Whether any such is mapped. */
bool umbra_process_keeps(void);
/* Whether any such may have to wait for reads: not all of its experts are there for good. */
bool umbra_process_waits(void);
/* That file was mapped there. */
void umbra_process_mapped(void *at, size_t bytes, int fd);
/* Whether any of these bytes are of such a mapping. */
bool umbra_process_knows(const void *at, size_t bytes);
/* These bytes are about to be unmapped: a model in them is given up. */
void umbra_process_unmaps(void *at, size_t bytes);

/* The callback that the host wants a scheduler to call. */
void umbra_process_set_host(void *scheduler, umbra_foreign_eval *host, void *user);
/* The context for a scheduler and the graph that it is about to compute, or will compute the like
 * of; takes the model over if need be. NULL: the graph has no experts of a file. Ends the process
 * with a message where it cannot keep what was promised. */
umbra_under_context *umbra_process_bind(void *scheduler, void *graph);
/* The scheduler is about to go away. */
void umbra_process_forget(void *scheduler);

/* Writes statistics of all models to stderr. */
void umbra_process_report(void);
/* The same for Prometheus. */
void umbra_process_print_metrics(FILE *out);

#endif
