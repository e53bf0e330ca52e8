/* Experts for a thread that does not drive the store: it computes with what is in the cache, beside
 * the driver. */
#ifndef UMBRA_STORE_LEND_H
#define UMBRA_STORE_LEND_H

#include <umbra/store.h>

/* Any thread. Lends those of n experts of a layer that are in the cache, as umbra_store_borrow
 * does: nothing is read, evicted or counted as used for them. None while the driver lacks a slot
 * for what it needs. leases (n); each is to be given to umbra_store_take_back before long: until
 * then its slot is not to be had. Returns their number. */
int umbra_store_lend(umbra_store *store, int layer, const int *experts, int n, umbra_lease *leases);
/* Any thread: the lease's data is not to be read any more. */
void umbra_store_take_back(umbra_store *store, const umbra_lease *lease);
/* The driver. Takes the store's lock once nothing is lent; until then nothing more is. */
void umbra_store_lock_unlent(umbra_store *store);

#endif
