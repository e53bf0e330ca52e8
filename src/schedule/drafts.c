/* A text that is written alone checks drafts: several tokens a step, the text of single steps. */
#include "engine/engine.h"
#include "schedule/internal.h"

static int slot_number(const umbra_scheduler *s, const umbra_text_slot *slot)
{
    return (int)(slot - s->slots);
}

/* What the drafts know goes on with the text, unless another was drafted for, or this one went on
 * without them. */
static void tell_text(umbra_scheduler *s, const umbra_text_slot *slot)
{
    if (s->drafted == slot->job && s->drafted_count == slot->count)
        return;
    umbra_drafts_begin(s->o.drafts, slot_number(s, slot), 0, slot->tokens, slot->count - 1,
                       slot->tokens[slot->count - 1]);
    s->drafted = slot->job;
    s->drafted_count = slot->count;
}

/* As many as the text, the context and a chunk, which can be taken back for sure, have room for. */
static int most_drafts(const umbra_scheduler *s, const umbra_text_slot *slot)
{
    int wanted = slot->job->max_tokens - slot->job->new_tokens - 1;
    int room = s->context - slot->count;
    int most = wanted < room ? wanted : room;
    return most < s->chunk - 1 ? most : s->chunk - 1;
}

int umbra_scheduler_draft(umbra_scheduler *s, int n)
{
    umbra_text_slot *slot = &s->slots[s->slot_of[0]];
    s->checking = NULL;
    if (!s->o.drafts || n != 1 || umbra_scheduler_reads(slot))
        return n;
    tell_text(s, slot);
    s->checking = slot;
    int drafts = umbra_drafts_make(s->o.drafts, most_drafts(s, slot), s->draft);
    for (int i = 0; i < drafts; i++, n++) {
        s->tokens[n] = (umbra_token){s->draft[i], slot_number(s, slot), true};
        s->slot_of[n] = slot_number(s, slot);
    }
    slot->rows = n;
    return n;
}

bool umbra_scheduler_agrees(umbra_scheduler *s, umbra_text_slot *slot, int row)
{
    if (row == 0)
        return true;
    if (slot->chosen != row || slot->next != s->draft[row - 1])
        return false;
    slot->ending = umbra_scheduler_take(s, slot);
    return slot->ending == UMBRA_JOB_UNDER_WAY;
}

/* The rows of a check. What came before one that is not finite counts: it may have been one that
 * nobody asked for; if nothing did, the next token is computed alone. */
static int check(umbra_scheduler *s, int n, const umbra_tap *tap, umbra_error *err)
{
    umbra_engine *engine = s->o.engine;
    const umbra_text_slot *slot = s->checking;
    int i = slot_number(s, slot);
    umbra_engine_set_checking(engine, i, n > 1);
    int rc = umbra_engine_eval(engine, s->tokens, n, tap, err);
    umbra_engine_set_checking(engine, i, false);
    if (rc != UMBRA_E_NONFINITE || n == 1)
        return rc;
    if (slot->chosen > 0)
        return UMBRA_OK;
    if (umbra_engine_truncate(engine, i, slot->held) != slot->held)
        return rc;
    return umbra_engine_eval(engine, s->tokens, 1, tap, err);
}

int umbra_scheduler_eval(umbra_scheduler *s, int n, const umbra_tap *tap, umbra_error *err)
{
    umbra_text_slot *slot = s->checking;
    if (!slot)
        return umbra_engine_eval(s->o.engine, s->tokens, n, tap, err);
    int rc = check(s, n, tap, err);
    if (rc != UMBRA_OK)
        return rc;
    /* A layer may go back further than asked: then the rest is computed as a prompt is. */
    umbra_engine_truncate(s->o.engine, slot_number(s, slot), slot->held + slot->chosen);
    if (slot->next >= 0) {
        s->draft[slot->chosen - 1] = slot->next;
        umbra_drafts_end(s->o.drafts, s->draft, slot->chosen);
        s->drafted_count += slot->chosen;
    }
    return UMBRA_OK;
}
