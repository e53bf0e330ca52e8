/* What a read ahead is worth, by a model of the disk. */
#include "store/guess.h"

#include <umbra/store.h>

#include <math.h>

/* Before anything is measured: a plain solid-state disk. */
static const double first_latency_ns = 100e3, first_ns_per_byte = 1.0, first_bytes = 256e3,
                    first_weight = 8;
static const double keep_read = 0.998, keep_batch = 0.95;
/* Of the lengths' squares: where reads are less different, what they take says nothing of the rate,
 * and the rate known before stays. */
static const double least_spread = 0.01;

void umbra_disk_model_init(umbra_disk_model *m)
{
    *m = (umbra_disk_model){0};
    umbra_disk_model_add(m, 0, first_latency_ns);
    umbra_disk_model_add(m, first_bytes, first_latency_ns + first_ns_per_byte * first_bytes);
    m->weight *= first_weight;
    m->x *= first_weight;
    m->y *= first_weight;
    m->xx *= first_weight;
    m->xy *= first_weight;
}

void umbra_disk_model_clear(umbra_disk_model *m)
{
    *m = (umbra_disk_model){.latency_ns = m->latency_ns, .ns_per_byte = m->ns_per_byte};
}

void umbra_disk_model_add(umbra_disk_model *m, double bytes, double ns)
{
    m->weight = m->weight * keep_read + 1;
    m->x = m->x * keep_read + bytes;
    m->y = m->y * keep_read + ns;
    m->xx = m->xx * keep_read + bytes * bytes;
    m->xy = m->xy * keep_read + bytes * ns;
    if (m->x <= 0)
        return;
    double spread = m->weight * m->xx - m->x * m->x;
    double slope = spread > least_spread * m->weight * m->xx
                       ? (m->weight * m->xy - m->x * m->y) / spread
                       : m->ns_per_byte;
    double most = m->y / m->x; /* no latency at all */
    m->ns_per_byte = fmax(most / 100, fmin(slope, most));
    m->latency_ns = fmax(0, (m->y - m->ns_per_byte * m->x) / m->weight);
}

static void move_to(double *mean, double value)
{
    *mean = keep_batch * *mean + (1 - keep_batch) * value;
}

void umbra_batch_timing_begin(umbra_batch_timing *t, uint64_t now_ns)
{
    if (t->begun_ns != 0 && now_ns > t->begun_ns) {
        double interval_ns = (double)(now_ns - t->begun_ns);
        /* A pause between two texts is not the course of batches. */
        if (t->interval_ns > 0 && interval_ns > 8 * t->interval_ns)
            interval_ns = 8 * t->interval_ns;
        if (t->interval_ns == 0)
            t->interval_ns = interval_ns;
        move_to(&t->interval_ns, interval_ns);
    }
    t->begun_ns = now_ns;
}

void umbra_batch_timing_submit(umbra_batch_timing *t, int requests, uint64_t ns)
{
    move_to(&t->request_ns, (double)ns / requests);
}

void umbra_batch_timing_misses(umbra_batch_timing *t, int misses)
{
    move_to(&t->misses, misses);
}

void umbra_read_costs_init(umbra_read_costs *c, const umbra_batch_timing *timing,
                           const umbra_disk_model *disk, uint64_t queued_bytes, uint64_t now_ns)
{
    double next_ns = timing->interval_ns - (double)(now_ns - timing->begun_ns);
    *c = (umbra_read_costs){
        .latency_ns = disk->latency_ns,
        .ns_per_byte = disk->ns_per_byte,
        .queued_bytes = (double)queued_bytes,
        .next_ns = next_ns > 0 ? next_ns : 0,
        .misses = timing->misses,
        /* An expert's parts, each submitted and taken back. */
        .effort_ns = 2 * UMBRA_STORE_SLICES * timing->request_ns,
    };
}

double umbra_guess_value(const umbra_read_costs *c, double probability, double bytes, double due_ns)
{
    double transfer_ns = bytes * c->ns_per_byte;
    double moved_ns = (c->queued_bytes + bytes) * c->ns_per_byte; /* its transfer ends */
    double landed_ns = moved_ns + c->latency_ns;
    /* Where a batch misses several, they share the latency. */
    double saved_ns = transfer_ns + c->latency_ns / (c->misses > 1 ? c->misses : 1);
    if (landed_ns > due_ns)
        saved_ns -= landed_ns - due_ns;
    if (saved_ns <= 0)
        return saved_ns;
    double over_ns = moved_ns - c->next_ns;
    over_ns = over_ns < 0 ? 0 : over_ns > transfer_ns ? transfer_ns : over_ns;
    double delayed = due_ns <= c->next_ns ? 1 - probability : 1;
    double wasted_ns = transfer_ns + c->effort_ns;
    return probability * saved_ns - (1 - probability) * wasted_ns - delayed * over_ns;
}
