/* Checkpoints of prompts, for models that forget: layers with a window, and recurrent ones, cannot
 * be cut back to what a next turn or another branch shares. Where that will be is known in two
 * cases: a little before a prompt's end, behind which a next turn may be written otherwise, and
 * where another prompt was seen to part. */
#ifndef UMBRA_SCHEDULE_CHECKPOINTS_H
#define UMBRA_SCHEDULE_CHECKPOINTS_H

#include "schedule/internal.h"

/* Whether the model has layers that forget. */
bool umbra_scheduler_forgets(const umbra_scheduler *s);
/* Marks where checkpoints of the slot's new prompt are to be, of which `shared` tokens were the
 * beginning of another. */
void umbra_checkpoint_plan(const umbra_scheduler *s, umbra_text_slot *slot, int shared);
/* One more place, unless it is too near to what is held, or passed. */
void umbra_checkpoint_add(umbra_text_slot *slot, int at);
/* The next place behind what is held, where a step must end; 0: none. */
int umbra_checkpoint_next(const umbra_text_slot *slot);
/* Whether there is room for one. */
bool umbra_checkpoint_can(const umbra_scheduler *s);
/* Keeps what the slot holds, if it has come to one of its places and there is room. */
void umbra_checkpoint_take(umbra_scheduler *s, int from);

#endif
