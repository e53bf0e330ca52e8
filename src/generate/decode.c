/* Decodes: steps that check drafts, and what is taken back of them. */
#include "generate/decode.h"

#include <string.h>

#include "base/error.h"
#include "engine/engine.h"

int umbra_fail_draw(int status, int position, umbra_error *err)
{
    if (status == UMBRA_E_UNSUPPORTED)
        return umbra_fail(err, status, "no token of the vocabulary may come at position %d",
                          position);
    return umbra_fail(err, status, "what may come at position %d could not be told: %s", position,
                      umbra_status_text(status));
}

static int length_of(const umbra_decoder *d)
{
    return umbra_engine_length(d->engine, d->options->sequence);
}

/* Logits of a row: where all drafts before it agree with the text, they give its next token. Rows
 * behind the first that does not agree mean nothing, and draw no random number. */
static int take_logits(void *user, int index, const float *logits)
{
    umbra_decoder *d = user;
    if (index > d->drafts)
        return 0;
    int n = d->held + 1 + index;
    int32_t token = umbra_sampler_next(d->sampler, logits, d->text, n);
    d->refused = token < 0 ? token : 0;
    if (token < 0)
        return token;
    if (index < d->drafts && token != d->part.token[index])
        d->drafts = index;
    d->part.token[d->part.n++] = token;
    return 0;
}

static int take_rows(void *user, const umbra_rows *rows)
{
    umbra_decoder *d = user;
    if (d->options->drafts)
        umbra_drafts_rows(d->options->drafts, rows);
    return 0;
}

/* Computes n tokens of the text, the first of them at position `first`. */
static int compute(umbra_decoder *d, int first, int n, const umbra_tap *tap, umbra_error *err)
{
    int rc = UMBRA_OK;
    umbra_token rows[UMBRA_DRAFT_MOST + 1];
    while (rc == UMBRA_OK && n > 0) {
        int count = n < UMBRA_DRAFT_MOST + 1 ? n : UMBRA_DRAFT_MOST + 1;
        for (int i = 0; i < count; i++)
            rows[i] = (umbra_token){d->text[first + i], d->options->sequence, true};
        rc = umbra_engine_eval(d->engine, rows, count, tap, err);
        first += count;
        n -= count;
    }
    return rc;
}

/* The sequence holds `length` tokens of the text. A layer may have forgotten what it takes to go
 * back so far; then what it forgot too much is computed again. */
static int go_back(umbra_decoder *d, int length, umbra_error *err)
{
    const umbra_tap tap = {.progress = d->options->progress};
    int held = umbra_engine_truncate(d->engine, d->options->sequence, length);
    if (held >= length)
        return UMBRA_OK;
    if (held < d->known_from)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "drafts cannot be taken back in a text whose first %d tokens are not "
                          "known; name the tokens before the prompt, or go on without drafts",
                          d->known_from);
    return compute(d, held, length - held, &tap, err);
}

/* One evaluation of the next token and d->drafts drafts. Afterwards the sequence holds the next
 * token and those drafts that agree, which are the tokens given but for the last; on failure no
 * draft. */
static int check(umbra_decoder *d, umbra_error *err)
{
    const umbra_tap tap = {.user = d,
                           .logits = take_logits,
                           .at = {[UMBRA_TAP_LEAVE] = take_rows},
                           .progress = d->options->progress};
    int rows = 1 + d->drafts;
    d->held = length_of(d);
    d->text[d->held] = d->next;
    memcpy(d->text + d->held + 1, d->part.token, (size_t)d->drafts * sizeof *d->text);
    d->part.n = d->refused = 0;
    umbra_engine_set_checking(d->engine, d->options->sequence, rows > 1);
    int rc = compute(d, d->held, rows, &tap, err);
    umbra_engine_set_checking(d->engine, d->options->sequence, false);
    d->out->decode_steps++;
    /* What came before a failure counts. A row that nobody asked for may have been the one that is
     * not finite; what cannot be drawn is tried again as the next token. */
    if ((rc == UMBRA_E_NONFINITE || d->refused < 0) && d->part.n > 0)
        rc = UMBRA_OK;
    else if (d->refused < 0)
        rc = umbra_fail_draw(d->refused, d->held + 1, err);
    int kept = d->held + (rc == UMBRA_OK ? d->part.n : 1);
    if (length_of(d) > kept) {
        int back = go_back(d, kept, rc == UMBRA_OK ? err : NULL);
        rc = rc == UMBRA_OK ? back : rc;
    }
    return rc;
}

/* `wanted`: tokens that are still to come. */
static int step(umbra_decoder *d, int wanted, umbra_error *err)
{
    umbra_drafts *drafts = d->options->drafts;
    int chunk = umbra_engine_get_plan(d->engine)->chunk; /* what can be taken back for sure */
    int most = wanted < chunk ? wanted : chunk;
    d->part = (umbra_drafted){.sequence = d->options->sequence, .most = most - 1};
    d->drafts = drafts ? umbra_drafts_make(drafts, &d->part, 1, most - 1, false) : 0;
    bool alone = d->drafts == 0;
    int rc = check(d, err);
    if (rc == UMBRA_E_NONFINITE && !alone && length_of(d) == d->held) {
        d->drafts = 0;
        rc = check(d, err);
    }
    if (rc == UMBRA_OK && drafts)
        umbra_drafts_end(drafts, &d->part, 1);
    return rc;
}

/* A token of the text is known. Returns whether to go on behind it. */
static bool hand_out(umbra_decoder *d, int32_t token)
{
    const umbra_generate_options *o = d->options;
    if (d->out->new_tokens == d->most)
        return false;
    if (!o->ignore_end && umbra_is_end_token(d->model, token)) {
        d->out->ended = true;
        return false;
    }
    d->out->new_tokens++;
    return (!o->on_token || o->on_token(o->user, token) == 0) && d->out->new_tokens < d->most;
}

int umbra_decode(umbra_decoder *d, umbra_error *err)
{
    int rc = UMBRA_OK;
    bool goes_on = hand_out(d, d->next);
    while (goes_on) {
        rc = step(d, d->most - d->out->new_tokens, err);
        if (rc != UMBRA_OK)
            return rc;
        int i = 0;
        for (; i < d->part.n && goes_on; i++)
            goes_on = hand_out(d, d->part.token[i]);
        d->out->decode_tokens += i;
        d->next = d->part.token[i - 1];
        /* Single steps would hold nothing of what comes behind the last token handed out. */
        if (i < d->part.n)
            rc = go_back(d, d->held + i, err);
    }
    return rc;
}
