/* Drives the engine: a step for all texts that are being written and a piece of a prompt. */
#include "schedule/scheduler.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "schedule/checkpoints.h"
#include "schedule/internal.h"
#include "store/refill.h"

enum { KEEP_SECONDS = 60 };

/* ---- opening ---- */

static bool allocate(umbra_scheduler *s)
{
    size_t sequences = (size_t)s->o.sequences, rows = (size_t)s->chunk + sequences;
    s->slots = umbra_calloc(sequences, sizeof *s->slots);
    s->slot_stats = umbra_calloc(sequences, sizeof *s->slot_stats);
    s->tokens = umbra_calloc(rows, sizeof *s->tokens);
    s->slot_of = umbra_calloc(rows, sizeof *s->slot_of);
    s->parts = umbra_calloc(sequences, sizeof *s->parts);
    if (!s->slots || !s->slot_stats || !s->tokens || !s->slot_of || !s->parts)
        return false;
    for (size_t i = 0; i < sequences; i++) {
        s->slots[i].tokens = umbra_calloc((size_t)s->context + 1, sizeof(int32_t));
        if (!s->slots[i].tokens)
            return false;
    }
    return true;
}

int umbra_scheduler_open(umbra_scheduler **out, const umbra_scheduler_options *options,
                         umbra_error *err)
{
    *out = NULL;
    int rc = UMBRA_OK;
    umbra_scheduler *s = umbra_calloc(1, sizeof *s);
    if (!s)
        return umbra_fail_nomem(err, "the scheduler", sizeof *s);
    s->o = *options;
    s->context = umbra_engine_get_plan(options->engine)->context;
    s->chunk = umbra_engine_get_plan(options->engine)->chunk;
    s->last_arrived = &s->arrived;
    s->stats.drafts.source = UMBRA_DRAFT_OFF;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
    if (!allocate(s)) {
        umbra_scheduler_close(&s);
        return umbra_fail_nomem(err, "the scheduler", (uint64_t)options->sequences * 4096);
    }
    if (options->states)
        s->stats.refill_bytes = umbra_states_refill(options->states, options->engine);
    if (options->states)
        rc = umbra_engine_identify(options->engine, err);
    if (rc != UMBRA_OK) {
        umbra_scheduler_close(&s);
        return rc;
    }
    umbra_engine_get_store_stats(options->engine, &s->stats.store);
    *out = s;
    return UMBRA_OK;
}

void umbra_scheduler_close(umbra_scheduler **scheduler)
{
    umbra_scheduler *s = *scheduler;
    if (!s)
        return;
    for (int i = 0; s->slots && i < s->o.sequences; i++)
        umbra_free(s->slots[i].tokens);
    pthread_mutex_destroy(&s->mutex);
    pthread_cond_destroy(&s->changed);
    umbra_free(s->slots);
    umbra_free(s->slot_stats);
    umbra_free(s->tokens);
    umbra_free(s->slot_of);
    umbra_free(s->parts);
    umbra_free(s);
    *scheduler = NULL;
}

/* ---- any thread ---- */

bool umbra_scheduler_submit(umbra_scheduler *s, umbra_job *job)
{
    job->next = NULL;
    job->end = UMBRA_JOB_UNDER_WAY;
    job->submitted_ns = umbra_clock_ns();
    pthread_mutex_lock(&s->mutex);
    bool taken = !s->finishing;
    if (taken) {
        *s->last_arrived = job;
        s->last_arrived = &job->next;
        s->stats.waiting++;
        pthread_cond_signal(&s->changed);
    }
    pthread_mutex_unlock(&s->mutex);
    return taken;
}

void umbra_scheduler_cancel(umbra_scheduler *s, umbra_job *job)
{
    atomic_store(&job->cancelled, true);
    pthread_mutex_lock(&s->mutex);
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

void umbra_scheduler_finish(umbra_scheduler *s, bool now)
{
    pthread_mutex_lock(&s->mutex);
    s->finishing = true;
    s->finish_now = s->finish_now || now;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

void umbra_scheduler_get_stats(umbra_scheduler *s, umbra_scheduler_stats *out)
{
    pthread_mutex_lock(&s->mutex);
    *out = s->stats;
    pthread_mutex_unlock(&s->mutex);
}

void umbra_scheduler_get_slots(umbra_scheduler *s, umbra_text_stats *out)
{
    pthread_mutex_lock(&s->mutex);
    memcpy(out, s->slot_stats, (size_t)s->o.sequences * sizeof *out);
    pthread_mutex_unlock(&s->mutex);
}

/* ---- jobs come and go ---- */

bool umbra_scheduler_reads(const umbra_text_slot *slot)
{
    return slot->job && (slot->held < slot->job->prompt_tokens || slot->count - slot->held > 1);
}

static void end_job(umbra_scheduler *s, umbra_job *job, umbra_job_end end)
{
    job->end = end;
    job->ended_ns = umbra_clock_ns();
    pthread_mutex_lock(&s->mutex);
    s->stats.jobs[end]++;
    pthread_mutex_unlock(&s->mutex);
    job->ended(job->user); /* the job may be gone from here on */
}

/* The slot keeps what it holds. */
static void end_slot(umbra_scheduler *s, umbra_text_slot *slot, umbra_job_end end)
{
    umbra_job *job = slot->job;
    slot->job = NULL;
    slot->told = NULL;
    slot->count = slot->held;
    slot->used = s->steps;
    end_job(s, job, end);
}

/* Takes what has arrived behind what waits. Returns whether all that waits is to be cancelled;
 * *now: all that is under way, too. */
static bool take_arrived(umbra_scheduler *s, bool *now)
{
    umbra_job **last = &s->waiting;
    while (*last)
        last = &(*last)->next;
    pthread_mutex_lock(&s->mutex);
    *last = s->arrived;
    s->arrived = NULL;
    s->last_arrived = &s->arrived;
    bool finishing = s->finishing;
    *now = s->finish_now;
    pthread_mutex_unlock(&s->mutex);
    return finishing;
}

static void drop_cancelled(umbra_scheduler *s)
{
    bool now, finishing = take_arrived(s, &now);
    for (umbra_job **at = &s->waiting; *at;) {
        umbra_job *job = *at;
        if (!finishing && !atomic_load(&job->cancelled)) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        end_job(s, job, UMBRA_JOB_CANCELLED);
    }
    for (int i = 0; i < s->o.sequences; i++) {
        umbra_text_slot *slot = &s->slots[i];
        if (slot->job && (now || atomic_load(&slot->job->cancelled)))
            end_slot(s, slot, UMBRA_JOB_CANCELLED);
    }
}

static void admit_waiting(umbra_scheduler *s)
{
    for (umbra_job **at = &s->waiting; *at;) {
        umbra_job *job = *at;
        if (!umbra_scheduler_admit(s, job)) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        pthread_mutex_lock(&s->mutex);
        s->stats.prompt_tokens += (uint64_t)job->prompt_tokens;
        s->stats.reused_tokens += (uint64_t)(job->reused_tokens - job->restored_tokens);
        s->stats.restored_tokens += (uint64_t)job->restored_tokens;
        pthread_mutex_unlock(&s->mutex);
    }
}

/* ---- a step ---- */

int umbra_scheduler_add(umbra_scheduler *s, int n, int i, int rows)
{
    umbra_text_slot *slot = &s->slots[i];
    slot->first = n;
    for (int r = 0; r < rows; r++, n++) {
        int at = slot->held + r;
        s->tokens[n] = (umbra_token){slot->tokens[at], i, at == slot->count - 1};
        s->slot_of[n] = i;
    }
    for (int r = 0; r < slot->drafts; r++, n++) {
        s->tokens[n] = (umbra_token){slot->part->token[r], i, true};
        s->slot_of[n] = i;
    }
    slot->rows = n - slot->first;
    return n;
}

/* Whose prompt is read next: the one that has waited for longest. -1: none. */
static int next_prompt(const umbra_scheduler *s)
{
    int best = -1;
    for (int i = 0; i < s->o.sequences; i++) {
        const umbra_text_slot *slot = &s->slots[i];
        if (umbra_scheduler_reads(slot) &&
            (best < 0 || slot->turn < s->slots[best].turn ||
             (slot->turn == s->slots[best].turn &&
              slot->job->submitted_ns < s->slots[best].job->submitted_ns)))
            best = i;
    }
    return best;
}

/* Nothing of the last step is left. Returns how many texts are being written. */
static int clear(umbra_scheduler *s)
{
    int writing = 0;
    for (int i = 0; i < s->o.sequences; i++) {
        umbra_text_slot *slot = &s->slots[i];
        slot->rows = slot->chosen = slot->drafts = 0;
        slot->part = NULL;
        slot->ending = UMBRA_JOB_UNDER_WAY;
        writing += slot->job && !umbra_scheduler_reads(slot);
    }
    return writing;
}

/* The step's tokens; *prompt: those of a prompt. */
static int gather(umbra_scheduler *s, int *prompt)
{
    int n = 0, reader = next_prompt(s), writing = clear(s);
    umbra_scheduler_draft(s, s->chunk - writing - (reader >= 0), reader >= 0);
    for (int i = 0; i < s->o.sequences; i++)
        if (s->slots[i].job && !umbra_scheduler_reads(&s->slots[i]))
            n = umbra_scheduler_add(s, n, i, 1);
    *prompt = 0;
    if (reader >= 0) {
        umbra_text_slot *slot = &s->slots[reader];
        int room = n < s->chunk ? s->chunk - n : 1, rest = slot->count - slot->held;
        int stop = umbra_checkpoint_next(slot); /* what is held there, a checkpoint keeps */
        if (stop > 0 && stop - slot->held < rest)
            rest = stop - slot->held;
        *prompt = rest < room ? rest : room;
        slot->turn = ++s->pieces;
        n = umbra_scheduler_add(s, n, reader, *prompt);
    }
    return n;
}

static int take_logits(void *user, int index, const float *logits)
{
    umbra_scheduler *s = user;
    umbra_text_slot *slot = &s->slots[s->slot_of[index]];
    if (!umbra_scheduler_agrees(s, slot, index - slot->first))
        return 0;
    slot->next = slot->job->choose(slot->job->user, logits, slot->tokens, slot->count);
    slot->chosen++;
    return 0;
}

static bool is_end(const umbra_scheduler *s, const umbra_job *job, int32_t id)
{
    if (job->ignore_end)
        return false;
    return job->is_end ? job->is_end(job->user, id) : umbra_is_end_token(s->o.model, id);
}

/* A prompt without anything to be written ends when it is read. */
umbra_job_end umbra_scheduler_take(umbra_scheduler *s, umbra_text_slot *slot)
{
    umbra_job *job = slot->job;
    if (job->first_token_ns == 0)
        job->first_token_ns = umbra_clock_ns();
    if (slot->next < 0) {
        umbra_fail(&job->error, slot->next, "no token can follow: %s",
                   umbra_status_text(slot->next));
        return UMBRA_JOB_FAILED;
    }
    if (job->max_tokens == 0)
        return UMBRA_JOB_LENGTH;
    job->end_token = is_end(s, job, slot->next);
    if (job->end_token)
        return UMBRA_JOB_STOPPED;
    job->new_tokens++;
    slot->tokens[slot->count++] = slot->next;
    if (job->token(job->user, slot->next) != 0)
        return UMBRA_JOB_STOPPED;
    bool full = job->new_tokens >= job->max_tokens || slot->count > s->context;
    return full ? UMBRA_JOB_LENGTH : UMBRA_JOB_UNDER_WAY;
}

static void hand_out(umbra_scheduler *s)
{
    for (int i = 0; i < s->o.sequences; i++) {
        umbra_text_slot *slot = &s->slots[i];
        if (slot->rows == 0)
            continue;
        slot->held = umbra_engine_length(s->o.engine, i);
        slot->written = false;
        slot->used = s->steps;
        umbra_checkpoint_take(s, i);
        umbra_job *job = slot->job;
        if (job->progress && slot->held <= job->prompt_tokens)
            job->progress(job->user, slot->held, job->prompt_tokens);
        if (slot->chosen > 0 && slot->ending == UMBRA_JOB_UNDER_WAY)
            slot->ending = umbra_scheduler_take(s, slot);
        if (slot->ending != UMBRA_JOB_UNDER_WAY)
            end_slot(s, slot, slot->ending);
    }
}

/* A step that failed says nothing of whose fault it was, and has left sequences of unknown
 * lengths: all that took part end, and nothing of them is held. */
static void fail_step(umbra_scheduler *s, const umbra_error *err)
{
    for (int i = 0; i < s->o.sequences; i++) {
        umbra_text_slot *slot = &s->slots[i];
        if (slot->rows == 0)
            continue;
        umbra_scheduler_cut(s, i, 0);
        slot->held = 0;
        slot->job->error = *err;
        end_slot(s, slot, UMBRA_JOB_FAILED);
    }
}

/* Pieces of prompts beside nothing else say how fast prompts are read. */
static void learn_speed(umbra_scheduler *s, int rows, int prompt, double seconds)
{
    if (prompt < rows || prompt < 8 || seconds <= 0)
        return;
    double speed = prompt / seconds;
    s->prompt_per_second =
        s->prompt_per_second > 0 ? 0.75 * s->prompt_per_second + 0.25 * speed : speed;
}

static void publish(umbra_scheduler *s, int rows, int prompt, uint64_t ns)
{
    umbra_scheduler_stats *t = &s->stats;
    pthread_mutex_lock(&s->mutex);
    t->waiting = t->reading = t->writing = 0;
    for (const umbra_job *job = s->waiting; job; job = job->next)
        t->waiting++;
    for (const umbra_job *job = s->arrived; job; job = job->next)
        t->waiting++;
    for (int i = 0; i < s->o.sequences; i++) {
        const umbra_text_slot *slot = &s->slots[i];
        bool reads = umbra_scheduler_reads(slot);
        t->reading += reads;
        t->writing += slot->job && !reads;
        s->slot_stats[i] = (umbra_text_stats){
            .state = !slot->job ? UMBRA_TEXT_IDLE
                     : reads    ? UMBRA_TEXT_READING
                                : UMBRA_TEXT_WRITING,
            .held = slot->held,
            .prompt_tokens = slot->job ? slot->job->prompt_tokens : 0,
            .new_tokens = slot->job ? slot->job->new_tokens : 0,
        };
    }
    t->steps = s->steps;
    t->busy_ns += ns;
    t->computed_tokens += (uint64_t)prompt;
    for (int i = 0; rows > 0 && i < s->o.sequences; i++)
        t->new_tokens += (uint64_t)s->slots[i].chosen;
    t->prompt_per_second = s->prompt_per_second;
    umbra_engine_get_store_stats(s->o.engine, &t->store);
    if (s->o.drafts)
        umbra_drafts_get_stats(s->o.drafts, &t->drafts);
    pthread_mutex_unlock(&s->mutex);
}

bool umbra_scheduler_step(umbra_scheduler *s)
{
    drop_cancelled(s);
    s->steps++;
    admit_waiting(s);
    publish(s, 0, 0, 0);
    uint64_t start = umbra_clock_ns();
    int prompt, n = gather(s, &prompt);
    if (n == 0)
        return false;
    umbra_error err = {0};
    umbra_tap tap = {
        .user = s, .logits = take_logits, .at = {[UMBRA_TAP_LEAVE] = umbra_scheduler_show}};
    int rc = umbra_scheduler_eval(s, n, &tap, &err);
    uint64_t ns = umbra_clock_ns() - start;
    learn_speed(s, n, prompt, (double)ns * 1e-9);
    if (rc == UMBRA_OK)
        hand_out(s);
    else
        fail_step(s, &err);
    publish(s, n, prompt, ns);
    return true;
}

/* ---- the thread ---- */

/* One slot's states, as long as nobody waits. */
static bool keep_one(umbra_scheduler *s)
{
    for (int i = 0; s->o.states && i < s->o.sequences; i++) {
        if (s->slots[i].job || s->slots[i].written || s->slots[i].held == 0)
            continue;
        umbra_scheduler_keep(s, i, true);
        return true;
    }
    return false;
}

/* Experts that were in the cache before a restart are read back, while nobody asks by waiting for
 * them. Returns whether there may be more. */
static bool refill(umbra_scheduler *s)
{
    umbra_error err = {0};
    pthread_mutex_lock(&s->mutex);
    bool ends = s->finishing;
    pthread_mutex_unlock(&s->mutex);
    /* Reads that fail are told by the step that needs them. */
    return s->o.states && !ends && umbra_store_refill(umbra_engine_store(s->o.engine), &err) > 0;
}

/* Has the experts of the cache written, if something was computed since that was done: at the end,
 * and now and then, so that a process that is killed leaves something as well. */
static void keep_experts(umbra_scheduler *s, bool at_end)
{
    if (!s->o.states || s->stats.busy_ns == s->kept_busy_ns ||
        (!at_end && umbra_seconds_since(s->kept_ns) < KEEP_SECONDS) ||
        !umbra_states_save_experts(s->o.states, s->o.engine, at_end))
        return;
    s->kept_busy_ns = s->stats.busy_ns;
    s->kept_ns = umbra_clock_ns();
}

/* Returns false when all has ended. */
static bool wait_for_jobs(umbra_scheduler *s)
{
    pthread_mutex_lock(&s->mutex);
    while (!s->arrived && !s->finishing)
        pthread_cond_wait(&s->changed, &s->mutex);
    bool more = s->arrived != NULL;
    pthread_mutex_unlock(&s->mutex);
    return more;
}

void umbra_scheduler_run(umbra_scheduler *s)
{
    for (;;) {
        if (umbra_scheduler_step(s) || keep_one(s) || refill(s))
            continue;
        keep_experts(s, false);
        if (!wait_for_jobs(s))
            break;
    }
    keep_experts(s, true);
}
