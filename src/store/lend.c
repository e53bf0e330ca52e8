/* Leases of slots beside the driver. */
#include "store/lend.h"

#include <sched.h>

#include "store/store_internal.h"

int umbra_store_lend(umbra_store *s, int layer, const int *experts, int n, umbra_lease *leases)
{
    int found = 0;
    umbra_store_lock(s);
    if (!s->guarded.lacks_slot)
        found = umbra_store_lease_resident(s, layer, experts, n, umbra_slots_lend, leases);
    s->guarded.lent += found;
    umbra_store_unlock(s);
    return found;
}

void umbra_store_take_back(umbra_store *s, const umbra_lease *lease)
{
    umbra_store_lock(s);
    umbra_slots_take_back(&s->guarded.slots, lease->slot);
    s->guarded.lent--;
    umbra_store_unlock(s);
}

void umbra_store_lock_unlent(umbra_store *s)
{
    umbra_store_lock(s);
    s->guarded.lacks_slot = true;
    while (s->guarded.lent > 0) {
        umbra_store_unlock(s);
        sched_yield();
        umbra_store_lock(s);
    }
    s->guarded.lacks_slot = false;
}
