/* Reading ahead on a simulated disk and a clock of the test's own. */
#ifndef UMBRA_TESTS_STORE_AHEAD_H
#define UMBRA_TESTS_STORE_AHEAD_H

#include "fixture.h"

enum { US = 1000, MS = 1000000 };

extern uint64_t now_ns;
extern const umbra_clock test_clock; /* goes by now_ns, which waiting moves */

/* on_disk, buffered, behind test_faulty_sim, whose settings are reset, on a disk of 100 MB/s and
 * 100 us; guessing is on. */
umbra_store *open_ahead(int slots, int depth);

/* These fail the test if they cannot. batch: of one expert, every byte checked. */
void begin(umbra_store *s, int layer, const int *experts, int n);
void finish(umbra_store *s, int layer);
void batch(umbra_store *s, int layer, int expert);

/* A time passes, with polls as an engine makes them. */
void pass(umbra_store *s, uint64_t ns);
/* Batches of one expert of layer 0, 2 ms apart, so that the course of batches is known. Counters
 * are 0 then. */
void warm_up(umbra_store *s, int expert);
/* One expert of a batch that is so many steps ahead. */
bool foretell(umbra_store *s, int layer, int distance, uint64_t steps, int expert, float p);
uint64_t bytes_of(int layer, int expert);

#endif
