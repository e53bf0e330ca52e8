/* Chooses a slot for a prompt, and what is held of its beginning. */
#include <string.h>

#include "base/clock.h"
#include "device/kv.h"
#include "schedule/checkpoints.h"
#include "schedule/internal.h"

static int common(const int32_t *a, int n, const int32_t *b, int m)
{
    int most = n < m ? n : m, i = 0;
    while (i < most && a[i] == b[i])
        i++;
    return i;
}

/* Whether a text that holds so many tokens can be cut to `to`: layers with a window forget, and
 * recurrent ones know what is held alone. */
static bool can_cut(const umbra_scheduler *s, int held, int to)
{
    const umbra_model_info *info = umbra_model_get_info(s->o.model);
    if (info->recurrent_layers > 0 && held != to)
        return false;
    return info->windowed_layers == 0 || held <= info->window || held - to <= UMBRA_KV_PAGE;
}

/* The slot that holds most of the prompt's beginning, or -1; *shared how much; *parted: and how
 * much of it some slot has held that cannot be cut there. The last token is computed in any case:
 * its logits are wanted. */
static int find_source(const umbra_scheduler *s, const umbra_job *job, int *shared, int *parted)
{
    int best = -1;
    *shared = *parted = 0;
    for (int i = 0; i < s->o.sequences; i++) {
        const umbra_text_slot *slot = &s->slots[i];
        int n = common(slot->tokens, slot->held, job->prompt, job->prompt_tokens - 1);
        *parted = n > *parted ? n : *parted;
        if (!can_cut(s, slot->held, n))
            continue;
        if (n > *shared || (n == *shared && n > 0 && s->slots[best].job && !slot->job)) {
            *shared = n;
            best = i;
        }
    }
    return best;
}

/* Whether a prompt that is being read will soon hold a step's worth more of this one: where it can
 * be cut later, or will leave a checkpoint there. */
static bool worth_waiting(const umbra_scheduler *s, const umbra_job *job, int shared)
{
    bool forgets = umbra_scheduler_forgets(s);
    for (int i = 0; i < s->o.sequences; i++) {
        umbra_text_slot *slot = &s->slots[i];
        if (!slot->job || slot->held >= slot->job->prompt_tokens)
            continue;
        int n = common(slot->tokens, slot->count, job->prompt, job->prompt_tokens - 1);
        if (n <= slot->held || n < shared + s->chunk || (forgets && !umbra_checkpoint_can(s)))
            continue;
        if (forgets)
            umbra_checkpoint_add(slot, n);
        if (!forgets || umbra_checkpoint_next(slot) > 0)
            return true;
    }
    return false;
}

/* An idle slot to write over: an empty one, else the one that was of no use for longest; -1: all
 * are busy. */
static int find_victim(const umbra_scheduler *s)
{
    int best = -1;
    for (int i = 0; i < s->o.sequences; i++) {
        const umbra_text_slot *slot = &s->slots[i];
        if (slot->job)
            continue;
        if (best < 0 || (slot->held == 0 && s->slots[best].held > 0) ||
            ((slot->held == 0) == (s->slots[best].held == 0) && slot->used < s->slots[best].used))
            best = i;
    }
    return best;
}

void umbra_scheduler_keep(umbra_scheduler *s, int i, bool wait)
{
    umbra_text_slot *slot = &s->slots[i];
    if (s->o.states && !slot->written && slot->held > 0)
        slot->written = umbra_states_save(s->o.states, s->o.engine, i, slot->tokens, slot->held,
                                          s->prompt_per_second, wait);
}

/* Makes the slot hold the first `shared` tokens of what `source` holds, or less if that cannot be
 * had. */
static void take_over(umbra_scheduler *s, int source, int to, int shared)
{
    umbra_text_slot *slot = &s->slots[to];
    if (source != to) {
        umbra_scheduler_keep(s, to, false);
        umbra_scheduler_fork(s, source, to);
        memcpy(slot->tokens, s->slots[source].tokens, (size_t)shared * sizeof *slot->tokens);
    } else if (shared < slot->held) {
        umbra_scheduler_keep(s, to, false);
    }
    slot->held = umbra_scheduler_cut(s, to, shared);
    slot->written = false;
}

/* What is on disk of the prompt's beginning, where that is more than `shared` and quicker to read
 * than to compute. */
static void restore(umbra_scheduler *s, int to, umbra_job *job, int shared)
{
    umbra_text_slot *slot = &s->slots[to];
    if (!s->o.states || !umbra_states_restore(s->o.states, s->o.engine, to, job->prompt,
                                              job->prompt_tokens - 1, shared, s->prompt_per_second))
        return;
    slot->held = umbra_engine_length(s->o.engine, to);
    slot->written = false;
    if (s->o.drafts) /* what they come from is not on disk: it begins anew */
        umbra_drafts_cut(s->o.drafts, to, 0);
    job->restored_tokens = slot->held;
}

/* A continuation of all that a slot holds goes on there. Else the source keeps what it has, for
 * others that begin alike, as checkpoints do, and the slot that was of least use becomes its
 * branch. */
static int place(umbra_scheduler *s, int source, int shared)
{
    if (source < 0)
        return find_victim(s);
    umbra_text_slot *slot = &s->slots[source];
    slot->used = s->steps;
    return !slot->job && slot->held == shared && !slot->checkpoint ? source : find_victim(s);
}

/* Whether as many texts are under way as may be. */
static bool is_full(const umbra_scheduler *s)
{
    int busy = 0;
    for (int i = 0; i < s->o.sequences; i++)
        busy += s->slots[i].job != NULL;
    return s->o.texts > 0 && busy >= s->o.texts;
}

bool umbra_scheduler_admit(umbra_scheduler *s, umbra_job *job)
{
    int shared, parted;
    int source = find_source(s, job, &shared, &parted);
    int to = is_full(s) ? -1 : place(s, source, shared);
    if (to < 0 || worth_waiting(s, job, shared))
        return false;
    umbra_text_slot *slot = &s->slots[to];
    if (source >= 0) {
        take_over(s, source, to, shared);
    } else {
        umbra_scheduler_keep(s, to, false);
        slot->held = umbra_scheduler_cut(s, to, 0);
        slot->written = false;
    }
    restore(s, to, job, slot->held);
    memcpy(slot->tokens, job->prompt, (size_t)job->prompt_tokens * sizeof *slot->tokens);
    slot->count = job->prompt_tokens;
    slot->job = job;
    slot->checkpoint = false;
    umbra_checkpoint_plan(s, slot, parted);
    slot->used = s->steps;
    slot->turn = s->pieces;
    job->reused_tokens = slot->held;
    job->admitted_ns = umbra_clock_ns();
    return true;
}
