/* Checkpoints: what a prompt has computed up to a place, kept in a slot that is idle, of models
 * that cannot go back there later, since their layers forget. */
#include "schedule/checkpoints.h"

#include <string.h>

#include "schedule/internal.h"

enum {
    LEAST_TOKENS = 32, /* less is as soon computed */
    BEHIND = 16        /* tokens at a prompt's end that may be written otherwise in the next turn */
};

bool umbra_scheduler_forgets(const umbra_scheduler *s)
{
    const umbra_model_info *info = umbra_model_get_info(s->o.model);
    return info->windowed_layers > 0 || info->recurrent_layers > 0;
}

void umbra_checkpoint_add(umbra_text_slot *slot, int at)
{
    int least = 0;
    if (at < slot->held + LEAST_TOKENS || at >= slot->job->prompt_tokens)
        return;
    for (int i = 0; i < SLOT_MARKS; i++) {
        if (slot->marks[i] == at)
            return;
        if (slot->marks[i] < slot->marks[least])
            least = i;
    }
    slot->marks[least] = at; /* those that were passed are the least */
}

void umbra_checkpoint_plan(const umbra_scheduler *s, umbra_text_slot *slot, int shared)
{
    memset(slot->marks, 0, sizeof slot->marks);
    if (!umbra_scheduler_forgets(s))
        return;
    umbra_checkpoint_add(slot, slot->job->prompt_tokens - BEHIND);
    umbra_checkpoint_add(slot, shared);
}

int umbra_checkpoint_next(const umbra_text_slot *slot)
{
    int next = 0;
    for (int i = 0; i < SLOT_MARKS; i++)
        if (slot->marks[i] > slot->held && (next == 0 || slot->marks[i] < next))
            next = slot->marks[i];
    return next;
}

/* A slot for one more: an empty one; else the checkpoint that was of no use for longest or, where
 * there are fewer than there is room for beside all texts, whatever was. -1: none. */
static int find_room(const umbra_scheduler *s)
{
    int spare = s->o.texts > 0 ? s->o.sequences - s->o.texts : 0, have = 0, best = -1;
    for (int i = 0; i < s->o.sequences; i++)
        have += s->slots[i].checkpoint;
    for (int i = 0; i < s->o.sequences; i++) {
        const umbra_text_slot *slot = &s->slots[i];
        if (slot->job)
            continue;
        if (slot->held == 0)
            return i;
        bool may_go = slot->checkpoint || have < spare;
        if (may_go && (best < 0 || slot->used < s->slots[best].used))
            best = i;
    }
    return best;
}

bool umbra_checkpoint_can(const umbra_scheduler *s)
{
    return find_room(s) >= 0;
}

void umbra_checkpoint_take(umbra_scheduler *s, int from)
{
    umbra_text_slot *source = &s->slots[from];
    bool due = false;
    for (int i = 0; i < SLOT_MARKS; i++)
        due = due || (source->marks[i] > 0 && source->marks[i] == source->held);
    int to = due ? find_room(s) : -1;
    if (to < 0)
        return;
    umbra_scheduler_keep(s, to, false);
    umbra_text_slot *slot = &s->slots[to];
    slot->held = slot->count = 0;
    slot->written = false;
    if (umbra_scheduler_fork(s, from, to) != UMBRA_OK)
        return;
    memcpy(slot->tokens, source->tokens, (size_t)source->held * sizeof *slot->tokens);
    slot->held = slot->count = source->held;
    slot->used = s->steps;
    slot->checkpoint = true;
}
