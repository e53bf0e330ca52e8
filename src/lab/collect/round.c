/* Finds the texts of the next shards, and brings what the ranks recorded into the folder. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/collect/collector.h"

static int add_document(umbra_shard_texts *s, const umbra_document_text *text, umbra_error *err)
{
    if (s->n_list == s->list_room) {
        int room = s->list_room ? s->list_room * 2 : 64;
        umbra_trace_document *larger = umbra_reallocarray(s->list, (size_t)room, sizeof *larger);
        if (!larger)
            return umbra_fail_nomem(err, "the documents", (uint64_t)room * sizeof *larger);
        s->list = larger;
        s->list_room = room;
    }
    if (s->n_tokens + (size_t)text->count > s->tokens_room) {
        size_t room = (s->n_tokens + (size_t)text->count) * 2;
        int32_t *larger = umbra_reallocarray(s->tokens, room, sizeof *larger);
        if (!larger)
            return umbra_fail_nomem(err, "the documents", room * sizeof *larger);
        s->tokens = larger;
        s->tokens_room = room;
    }
    umbra_trace_document *d = &s->list[s->n_list++];
    *d = (umbra_trace_document){
        .generated = text->generated,
        .first = (int)s->n_tokens,
        .tokens = text->count,
    };
    memcpy(d->id, text->id, sizeof d->id);
    memcpy(s->tokens + s->n_tokens, text->tokens, (size_t)text->count * sizeof *s->tokens);
    s->n_tokens += (size_t)text->count;
    return UMBRA_OK;
}

/* Gathers the documents of one shard, which follows so many tokens. 1, 0 when there are no more, or
 * negative. */
static int gather_shard(umbra_collector *c, umbra_shard_texts *s, uint64_t before)
{
    s->n_list = 0;
    s->n_tokens = 0;
    while (s->n_tokens < c->shard_tokens &&
           (!c->state.wanted || before + s->n_tokens < c->state.wanted)) {
        umbra_document_text text;
        int rc = umbra_documents_next(c->documents, &text, c->err);
        if (rc < 0)
            return rc;
        if (rc == 0)
            break;
        rc = add_document(s, &text, c->err);
        if (rc != UMBRA_OK)
            return rc;
        if (c->options->generate)
            umbra_progress_report(c->progress, "writing", "tokens", before + s->n_tokens,
                                  c->state.wanted);
    }
    return s->n_list > 0;
}

int umbra_collect_gather(umbra_collector *c)
{
    c->round_tokens = 0;
    c->in_round = 0;
    int count = umbra_ranks_count(c->ranks);
    if (!c->round)
        c->round = umbra_calloc((size_t)count, sizeof *c->round);
    if (!c->round)
        return umbra_fail_nomem(c->err, "the documents", (uint64_t)count * sizeof *c->round);
    while (c->in_round < count) {
        umbra_shard_texts *s = &c->round[c->in_round];
        int rc = gather_shard(c, s, c->state.tokens + c->round_tokens);
        if (rc < 0)
            return rc;
        if (rc == 0)
            break;
        c->in_round++;
        c->round_tokens += s->n_tokens;
    }
    return c->in_round > 0;
}

/* ---- keeping ---- */

/* One end of the way from a rank to rank 0. */
typedef struct way {
    const umbra_ranks *ranks;
    int from;
} way;

static int move(void *user, void *data, uint64_t bytes, umbra_error *err)
{
    const way *w = user;
    return umbra_ranks_bring(w->ranks, w->from, data, bytes, err);
}

/* Shard i of the round is in the folder. */
static void count_shard(umbra_collector *c, int i)
{
    c->state.tokens += c->round[i].n_tokens;
    c->state.documents += (uint64_t)c->round[i].n_list;
    c->state.shards++;
}

/* Brings the shards [1, end) to rank 0, in their order: one that cannot be kept is the last. *kept:
 * how many there are in the end, with rank 0's; told by rank 0. */
static int bring_shards(umbra_collector *c, int end, int *kept)
{
    int rc = UMBRA_OK, own = umbra_ranks_own(c->ranks);
    *kept = end > 0;
    for (int i = 1; i < end; i++) {
        way w = {c->ranks, i};
        const umbra_shard_texts *s = &c->round[i];
        if (own == i)
            rc = umbra_trace_shard_give(c->trace, move, &w, c->err);
        else if (own == 0 && rc == UMBRA_OK)
            rc = umbra_trace_shard_take(c->trace, s->list, s->n_list, s->tokens, move, &w, c->err);
        else if (own == 0)
            umbra_trace_shard_drop(c->trace, move, &w);
        *kept += own == 0 && rc == UMBRA_OK;
    }
    return rc;
}

/* How many shards of the round, from the first on, were recorded. */
static int count_recorded(umbra_collector *c, int status, int *end)
{
    int count = umbra_ranks_count(c->ranks);
    int32_t *all = umbra_calloc((size_t)count, sizeof *all);
    int rc = all ? UMBRA_OK : umbra_fail_nomem(c->err, "the ranks' status", 0);
    if (rc == UMBRA_OK) {
        all[umbra_ranks_own(c->ranks)] = status;
        rc = umbra_ranks_gather(c->ranks, all, sizeof *all, c->err);
    }
    for (*end = 0; rc == UMBRA_OK && *end < c->in_round && all[*end] == UMBRA_OK;)
        ++*end;
    umbra_free(all);
    return rc;
}

int umbra_collect_keep(umbra_collector *c, int status)
{
    int kept = status == UMBRA_OK, end;
    if (umbra_ranks_divide(c->ranks)) {
        int rc = count_recorded(c, status, &end);
        if (rc != UMBRA_OK)
            return rc;
        rc = bring_shards(c, end, &kept);
        status = status == UMBRA_OK ? rc : status;
        rc = umbra_ranks_share(c->ranks, &kept, sizeof kept, status == UMBRA_OK ? c->err : NULL);
        if (rc != UMBRA_OK)
            return rc;
    }
    for (int i = 0; i < kept; i++)
        count_shard(c, i);
    return umbra_ranks_agree(c->ranks, status, c->err);
}

void umbra_collect_release_round(umbra_collector *c)
{
    for (int i = 0; c->round && i < umbra_ranks_count(c->ranks); i++) {
        umbra_free(c->round[i].list);
        umbra_free(c->round[i].tokens);
    }
    umbra_free(c->round);
}
