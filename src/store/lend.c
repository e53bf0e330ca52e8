/* Leases of slots beside the driver. */
#include "store/lend.h"

#include "store/store_internal.h"

int umbra_store_lend(umbra_store *s, int layer, const int *experts, int n, umbra_lease *leases)
{
    int found = 0;
    umbra_store_lock(s);
    for (int i = 0; i < n && !s->guarded.lacks_slot; i++) {
        int32_t slot = umbra_slots_find(&s->guarded.slots, layer, experts[i]);
        if (slot < 0 || s->guarded.slots.slot[slot].state != UMBRA_SLOT_RESIDENT)
            continue;
        umbra_slots_lend(&s->guarded.slots, slot);
        s->guarded.lent++;
        leases[found] = (umbra_lease){.expert = experts[i], .index = i, .slot = slot};
        umbra_store_fill_lease(s, layer, &leases[found++]);
    }
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
