/* Makes the ranks' engines do what rank 0's does. */
#include "engine/follow.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/internal.h"

static int share(const umbra_engine *e, void *data, uint64_t bytes, umbra_error *err)
{
    const umbra_ranks *r = &e->division.ranks;
    return bytes > 0 ? r->share(r->user, data, bytes, err) : UMBRA_OK;
}

int umbra_follow_open(umbra_engine *e, umbra_error *err)
{
    size_t chunk = (size_t)e->plan.chunk;
    if (!e->division.owner)
        return UMBRA_OK;
    e->follow = umbra_calloc(1, sizeof *e->follow);
    if (!e->follow)
        return umbra_fail_nomem(err, "ranks", sizeof *e->follow);
    e->follow->led = umbra_calloc(chunk, sizeof *e->follow->led);
    e->follow->tokens = umbra_calloc(chunk, sizeof *e->follow->tokens);
    if (!e->follow->led || !e->follow->tokens)
        return umbra_fail_nomem(err, "ranks", chunk * sizeof *e->follow->tokens);
    return UMBRA_OK;
}

/* Rank 0's next call, and its data. */
static int receive(const umbra_engine *e, umbra_call *call, umbra_error *err)
{
    umbra_follow *f = e->follow;
    int rc = share(e, call, sizeof *call, err);
    if (rc == UMBRA_OK && call->bytes > f->room) {
        char *larger = umbra_reallocarray(f->data, call->bytes, 1);
        if (!larger)
            return umbra_fail_nomem(err, "what rank 0 computes", call->bytes);
        f->data = larger;
        f->room = call->bytes;
    }
    if (rc == UMBRA_OK)
        rc = share(e, f->data, call->bytes, err);
    f->ended = rc == UMBRA_OK && call->kind == UMBRA_CALL_CLOSE;
    return rc;
}

int umbra_lead(const umbra_engine *e, const umbra_call *call, const void *data, umbra_error *err)
{
    umbra_call told = *call;
    if (!e->division.owner || e->follow->following)
        return UMBRA_OK;
    if (e->division.ranks.rank == 0) {
        int rc = share(e, &told, sizeof told, err);
        return rc == UMBRA_OK ? share(e, (void *)(uintptr_t)data, call->bytes, err) : rc;
    }
    int rc = receive(e, &told, err);
    if (rc != UMBRA_OK)
        return rc;
    if (memcmp(&told, call, sizeof told) != 0 ||
        (call->bytes > 0 && memcmp(e->follow->data, data, call->bytes) != 0))
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "rank %d does not call its engine as rank 0 does; let it follow",
                          e->division.ranks.rank);
    return UMBRA_OK;
}

int umbra_lead_chunk(const umbra_engine *e, const umbra_token *tokens, int n, umbra_error *err)
{
    if (!e->division.owner || e->follow->following)
        return UMBRA_OK;
    umbra_led_token *led = e->follow->led;
    for (int t = 0; t < n; t++)
        led[t] = (umbra_led_token){tokens[t].id, tokens[t].sequence, e->checks[tokens[t].sequence]};
    const umbra_call call = {.kind = UMBRA_CALL_CHUNK, .n = n, .bytes = (size_t)n * sizeof *led};
    return umbra_lead(e, &call, led, err);
}

static int compute_led(umbra_engine *e, int n, const umbra_tap *tap, umbra_error *err)
{
    const umbra_led_token *led = (const umbra_led_token *)(const void *)e->follow->data;
    umbra_token *tokens = e->follow->tokens;
    for (int t = 0; t < n; t++) {
        tokens[t] = (umbra_token){led[t].id, led[t].sequence, false};
        e->checks[led[t].sequence] = led[t].checked != 0;
    }
    return umbra_engine_eval(e, tokens, n, tap, err);
}

/* Takes part in adding up; what comes of it is rank 0's. */
static int add_uses(const umbra_engine *e, umbra_error *err)
{
    const umbra_division *d = &e->division;
    uint64_t *counts = umbra_calloc((size_t)d->layers * (size_t)d->experts, sizeof *counts);
    int rc = counts ? umbra_engine_uses(e, counts, err)
                    : umbra_fail_nomem(err, "the uses of experts", 0);
    umbra_free(counts);
    return rc;
}

static int do_call(umbra_engine *e, const umbra_call *call, const umbra_tap *tap, umbra_error *err)
{
    const char *data = e->follow->data;
    switch (call->kind) {
    case UMBRA_CALL_CHUNK:
        return compute_led(e, (int)call->n, tap, err);
    case UMBRA_CALL_TRUNCATE:
        (void)umbra_engine_truncate(e, call->sequence, (int)call->n);
        return UMBRA_OK;
    case UMBRA_CALL_FORK:
        return umbra_engine_fork(e, call->sequence, (int)call->n, err);
    case UMBRA_CALL_RESTORE:
        umbra_snapshot_load(e, call->sequence, data);
        return UMBRA_OK;
    case UMBRA_CALL_USES:
        return add_uses(e, err);
    default:
        return UMBRA_OK;
    }
}

int umbra_engine_follow(umbra_engine *e, const umbra_progress *progress, umbra_error *err)
{
    const umbra_tap tap = {.progress = progress};
    umbra_call call;
    int rc = UMBRA_OK;
    if (!e->division.owner || e->division.ranks.rank == 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "only a rank behind the first can follow");
    while (rc == UMBRA_OK && !e->follow->ended) {
        rc = receive(e, &call, err);
        if (rc != UMBRA_OK || call.kind == UMBRA_CALL_CLOSE)
            break;
        e->follow->following = true;
        /* What fails, fails at rank 0 too, which may well go on with something else. */
        (void)do_call(e, &call, &tap, NULL);
        e->follow->following = false;
    }
    return rc;
}

void umbra_follow_close(umbra_engine *e)
{
    const umbra_call close = {.kind = UMBRA_CALL_CLOSE};
    umbra_follow *f = e->follow;
    if (!f)
        return;
    if (e->opened && e->division.ranks.rank == 0)
        (void)umbra_lead(e, &close, NULL, NULL);
    if (e->opened && e->division.ranks.rank > 0 && !f->ended)
        (void)umbra_engine_follow(e, NULL, NULL);
    umbra_free(f->data);
    umbra_free(f->led);
    umbra_free(f->tokens);
    umbra_free(f);
    e->follow = NULL;
}
