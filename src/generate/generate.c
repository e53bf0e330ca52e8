/* Writes tokens one by one: the prompt in chunks, then decoding. */
#include <string.h>

#include <umbra/generate.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "engine/engine.h"

typedef struct step {
    umbra_sampler *sampler;
    int32_t *tokens; /* (count) of the text so far, with what the sequence held before */
    int count;
    int32_t next; /* negative: none could be drawn */
    const umbra_progress *progress;
    int prompt_tokens;
} step;

/* Called for each chunk of the prompt that is done. */
static int report_prompt(void *user, const umbra_rows *rows)
{
    const step *s = user;
    umbra_progress_report(s->progress, "reading the prompt", "tokens",
                          (uint64_t)(rows->first + rows->n), (uint64_t)s->prompt_tokens);
    return 0;
}

static int take_logits(void *user, int index, const float *logits)
{
    (void)index;
    step *s = user;
    s->next = umbra_sampler_next(s->sampler, logits, s->tokens, s->count);
    return s->next < 0 ? s->next : 0;
}

static int prefill(umbra_engine *engine, const int32_t *prompt, int n, int sequence,
                   const umbra_tap *tap, umbra_error *err)
{
    umbra_token *tokens = umbra_calloc((size_t)n, sizeof *tokens);
    if (!tokens)
        return umbra_fail_nomem(err, "the prompt", (uint64_t)n * sizeof *tokens);
    for (int i = 0; i < n; i++)
        tokens[i] = (umbra_token){prompt[i], sequence, i == n - 1};
    int rc = umbra_engine_eval(engine, tokens, n, tap, err);
    umbra_free(tokens);
    return rc;
}

/* Checks the options; *most: new tokens, at most. */
static int check(umbra_engine *engine, int prompt_tokens, const umbra_generate_options *o,
                 int *most, umbra_error *err)
{
    int context = umbra_engine_get_plan(engine)->context;
    int rc = UMBRA_CHECK_RESERVED(o, err);
    if (rc != UMBRA_OK)
        return rc;
    if (prompt_tokens < 1)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "there is nothing to continue: the prompt is empty");
    int64_t held = (int64_t)umbra_engine_length(engine, o->sequence) + prompt_tokens;
    int64_t room = context - held + 1; /* the last token is not fed back */
    *most = o->max_tokens > 0 || room < 0 ? o->max_tokens : (int)room;
    if (o->max_tokens < 0)
        *most = 0;
    if (held > context || *most > room)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "%d prompt and %d new tokens do not fit into a context of %d; give a "
                          "larger one, or ask for fewer tokens",
                          prompt_tokens, *most, context);
    return UMBRA_OK;
}

/* The decode loop: s->next is the token that follows what the engine holds. */
static int decode(umbra_engine *engine, const umbra_model *model, const umbra_generate_options *o,
                  int most, step *s, const umbra_tap *tap, umbra_generation *out, umbra_error *err)
{
    while (out->new_tokens < most) {
        if (!o->ignore_end && umbra_is_end_token(model, s->next)) {
            out->ended = true;
            return UMBRA_OK;
        }
        s->tokens[s->count++] = s->next;
        out->new_tokens++;
        if (o->on_token && o->on_token(o->user, s->next) != 0)
            return UMBRA_OK;
        if (out->new_tokens == most)
            return UMBRA_OK;
        umbra_token token = {s->next, o->sequence, true};
        int rc = umbra_engine_eval(engine, &token, 1, tap, err);
        if (rc != UMBRA_OK)
            return rc;
        out->decode_steps++;
    }
    return UMBRA_OK;
}

/* Opens what draws, and lays out the text so far. */
static int begin(step *s, const umbra_generate_options *o, const int32_t *prompt, int held,
                 int most, int vocabulary, umbra_error *err)
{
    size_t n = (size_t)held + (size_t)s->prompt_tokens + (size_t)most;
    s->tokens = umbra_calloc(n, sizeof *s->tokens);
    if (!s->tokens)
        return umbra_fail_nomem(err, "the text", (uint64_t)n * sizeof *s->tokens);
    for (int i = 0; i < held; i++)
        s->tokens[i] = o->before ? o->before[i] : -1; /* no token: nothing looks at it */
    memcpy(s->tokens + held, prompt, (size_t)s->prompt_tokens * sizeof *prompt);
    s->count = held + s->prompt_tokens;
    return umbra_sampler_open(&s->sampler, &o->sampling, vocabulary, err);
}

/* Why no token could be drawn. */
static int fail_draw(const step *s, umbra_error *err)
{
    return s->next == UMBRA_E_UNSUPPORTED
               ? umbra_fail(err, s->next, "no token of the vocabulary may come at position %d",
                            s->count)
               : umbra_fail(err, s->next, "what may come at position %d could not be told: %s",
                            s->count, umbra_status_text(s->next));
}

int umbra_generate(umbra_engine *engine, const umbra_model *model, const int32_t *prompt,
                   int prompt_tokens, const umbra_generate_options *o, umbra_generation *out,
                   umbra_error *err)
{
    *out = (umbra_generation){.prompt_tokens = prompt_tokens};
    static const umbra_generate_options defaults = {0};
    o = o ? o : &defaults;
    int most = 0;
    int rc = check(engine, prompt_tokens, o, &most, err);
    if (rc != UMBRA_OK)
        return rc;
    step s = {.progress = o->progress, .prompt_tokens = prompt_tokens};
    rc = begin(&s, o, prompt, umbra_engine_length(engine, o->sequence), most,
               umbra_model_get_info(model)->vocabulary, err);
    umbra_tap tap = {.user = &s,
                     .logits = take_logits,
                     .at = {[UMBRA_TAP_LEAVE] = report_prompt},
                     .progress = o->progress};
    uint64_t start = umbra_clock_ns();
    if (rc == UMBRA_OK)
        rc = prefill(engine, prompt, prompt_tokens, o->sequence, &tap, err);
    out->prefill_seconds = umbra_seconds_since(start);
    tap.at[UMBRA_TAP_LEAVE] = NULL;
    if (rc == UMBRA_OK) {
        start = umbra_clock_ns();
        uint64_t waited_ns = umbra_store_waited_ns(umbra_engine_store(engine));
        rc = decode(engine, model, o, most, &s, &tap, out, err);
        out->decode_seconds = umbra_seconds_since(start);
        out->decode_wait_seconds =
            (double)(umbra_store_waited_ns(umbra_engine_store(engine)) - waited_ns) * 1e-9;
    }
    if (s.next < 0)
        rc = fail_draw(&s, err);
    umbra_sampler_close(&s.sampler);
    umbra_free(s.tokens);
    return rc;
}
