/* Texts that are written check drafts: several tokens a step, each the text of single steps. */
#include "engine/engine.h"
#include "schedule/internal.h"

/* What the drafts know goes on with the text, unless it is another one, or went on without them. */
static void tell_text(umbra_scheduler *s, umbra_text_slot *slot, int number)
{
    if (slot->told == slot->job && slot->told_count == slot->count)
        return;
    umbra_drafts_begin(s->o.drafts, number, 0, slot->tokens, slot->count - 1,
                       slot->tokens[slot->count - 1]);
    slot->told = slot->job;
    slot->told_count = slot->count;
}

/* As many as the text and the context have room for. */
static int most_drafts(const umbra_scheduler *s, const umbra_text_slot *slot)
{
    int wanted = slot->job->max_tokens - slot->job->new_tokens - 1;
    int room = s->context - slot->count;
    return wanted < room ? wanted : room;
}

/* All rows lie in one chunk, which can be taken back for sure. */
void umbra_scheduler_draft(umbra_scheduler *s, int room, bool beside)
{
    s->n_parts = 0;
    for (int i = 0; s->o.drafts && i < s->o.sequences; i++) {
        umbra_text_slot *slot = &s->slots[i];
        if (!slot->job || umbra_scheduler_reads(slot))
            continue;
        tell_text(s, slot, i);
        slot->part = &s->parts[s->n_parts++];
        *slot->part = (umbra_drafted){.sequence = i, .most = most_drafts(s, slot)};
    }
    if (s->n_parts == 0)
        return;
    umbra_drafts_make(s->o.drafts, s->parts, s->n_parts, room, beside);
    for (int i = 0; i < s->n_parts; i++)
        s->slots[s->parts[i].sequence].drafts = s->parts[i].n;
}

bool umbra_scheduler_agrees(umbra_scheduler *s, umbra_text_slot *slot, int row)
{
    if (row == 0 || slot->drafts == 0)
        return true;
    if (slot->chosen != row || slot->next != slot->part->token[row - 1])
        return false;
    slot->ending = umbra_scheduler_take(s, slot);
    return slot->ending == UMBRA_JOB_UNDER_WAY;
}

int umbra_scheduler_show(void *user, const umbra_rows *rows)
{
    const umbra_scheduler *s = user;
    if (s->o.drafts)
        umbra_drafts_rows(s->o.drafts, rows);
    return UMBRA_OK;
}

int umbra_scheduler_cut(umbra_scheduler *s, int slot, int length)
{
    int held = umbra_engine_truncate(s->o.engine, slot, length);
    if (s->o.drafts)
        umbra_drafts_cut(s->o.drafts, slot, held);
    return held;
}

int umbra_scheduler_fork(umbra_scheduler *s, int from, int to)
{
    int rc = umbra_engine_fork(s->o.engine, from, to, NULL);
    if (rc != UMBRA_OK)
        umbra_scheduler_cut(s, to, 0);
    else if (s->o.drafts)
        umbra_drafts_fork(s->o.drafts, from, to);
    return rc;
}

static void set_checking(umbra_scheduler *s, bool on)
{
    for (int i = 0; i < s->n_parts; i++) {
        int slot = s->parts[i].sequence;
        umbra_engine_set_checking(s->o.engine, slot, on && s->slots[slot].drafts > 0);
    }
}

/* What no token was chosen of is computed once more, without drafts. Where a layer goes back
 * further than the step, as behind a long piece of a prompt, the steps to come read it anew from
 * there. */
static int compute_again(umbra_scheduler *s, const umbra_tap *tap, umbra_error *err)
{
    int n = 0;
    for (int i = 0; i < s->o.sequences; i++) {
        umbra_text_slot *slot = &s->slots[i];
        if (slot->rows == 0 || slot->chosen > 0)
            continue;
        int held = umbra_scheduler_cut(s, i, slot->held);
        int rows = held < slot->held ? 0 : slot->drafts > 0 ? 1 : slot->rows;
        slot->held = held;
        slot->drafts = 0;
        n = umbra_scheduler_add(s, n, i, rows);
    }
    return n > 0 ? umbra_engine_eval(s->o.engine, s->tokens, n, tap, err) : UMBRA_OK;
}

/* What came before a row that is not finite counts: it may have been one that nobody asked for. */
static int check(umbra_scheduler *s, int n, const umbra_tap *tap, umbra_error *err)
{
    bool drafts = false;
    for (int i = 0; i < s->n_parts; i++)
        drafts = drafts || s->parts[i].n > 0;
    set_checking(s, true);
    int rc = umbra_engine_eval(s->o.engine, s->tokens, n, tap, err);
    set_checking(s, false);
    return rc == UMBRA_E_NONFINITE && drafts ? compute_again(s, tap, err) : rc;
}

/* Takes back the drafts that did not agree; the part has what the step gave. A layer may go back
 * further than asked: then the rest is computed as a prompt is. */
static void settle(umbra_scheduler *s, umbra_drafted *part)
{
    umbra_text_slot *slot = &s->slots[part->sequence];
    if (part->n > 0)
        umbra_engine_truncate(s->o.engine, part->sequence, slot->held + slot->chosen);
    part->n = slot->next >= 0 ? slot->chosen : 0;
    if (part->n > 0)
        part->token[part->n - 1] = slot->next;
    slot->told_count += part->n;
}

int umbra_scheduler_eval(umbra_scheduler *s, int n, const umbra_tap *tap, umbra_error *err)
{
    int rc = check(s, n, tap, err);
    if (rc != UMBRA_OK || s->n_parts == 0)
        return rc;
    for (int i = 0; i < s->n_parts; i++)
        settle(s, &s->parts[i]);
    umbra_drafts_end(s->o.drafts, s->parts, s->n_parts);
    return UMBRA_OK;
}
