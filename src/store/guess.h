/* When a guess is worth a read.
 *
 * A read ahead of an expert of B bytes saves, if the expert is used, the time its demand would have
 * cost: B at the disk's rate, and a share of the latency. If it is not used, it has cost the disk's
 * time, even where the disk would have idled: what is transferred takes memory bandwidth from those
 * who compute, who live on it; and a little of the processor's time. And where the transfer is
 * still going on when the next batch begins, that batch's demands wait for it. All in nanoseconds,
 * from measured figures. */
#ifndef UMBRA_STORE_GUESS_H
#define UMBRA_STORE_GUESS_H

#include <stdint.h>

/* What reads take: ns = latency + ns_per_byte * bytes asked for at once. Fitted by least squares to
 * reads with nothing beside them (umbra_store_probe). Reads in the course of things do not tell:
 * those that end while something is computed are not seen ending, so that what is seen are the slow
 * ones, and the disk looks slow and wide. */
typedef struct umbra_disk_model {
    double weight, x, y, xx, xy;
    double latency_ns, ns_per_byte;
} umbra_disk_model;

void umbra_disk_model_init(umbra_disk_model *m);
/* Forgets the reads, not what they came to. */
void umbra_disk_model_clear(umbra_disk_model *m);
void umbra_disk_model_add(umbra_disk_model *m, double bytes, double ns);

/* How batches follow each other; exponentially weighted means. */
typedef struct umbra_batch_timing {
    uint64_t begun_ns;  /* the last batch's begin */
    double interval_ns; /* from one begin to the next */
    double misses;      /* per batch: experts that were not there in time */
    double request_ns;  /* the processor's time for handing a request to the disk */
} umbra_batch_timing;

void umbra_batch_timing_begin(umbra_batch_timing *t, uint64_t now_ns);
void umbra_batch_timing_submit(umbra_batch_timing *t, int requests, uint64_t ns);
void umbra_batch_timing_misses(umbra_batch_timing *t, int misses);

/* What enters into the value of a read at one instant. */
typedef struct umbra_read_costs {
    double latency_ns, ns_per_byte;
    double queued_bytes; /* in flight */
    double next_ns;      /* until the next batch begins */
    double misses;       /* per batch */
    double effort_ns;    /* the processor's time for reading an expert */
} umbra_read_costs;

void umbra_read_costs_init(umbra_read_costs *c, const umbra_batch_timing *timing,
                           const umbra_disk_model *disk, uint64_t queued_bytes, uint64_t now_ns);

/* What reading ahead now is worth, in nanoseconds saved; read if above 0. due_ns: until the
 * expert's batch begins. */
double umbra_guess_value(const umbra_read_costs *c, double probability, double bytes,
                         double due_ns);

#endif
