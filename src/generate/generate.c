/* Writes tokens one by one: the prompt in chunks, then decoding. */
#include <umbra/generate.h>

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "engine/engine.h"
#include "generate/decode.h"

typedef struct step {
    umbra_sampler *sampler;
    int32_t next;
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
    s->next = umbra_sampler_next(s->sampler, logits);
    return 0;
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

/* Room for prompt and answer, and for a draft behind it. */
static int open_text(umbra_decoder *d, const int32_t *prompt, int n, umbra_error *err)
{
    size_t room = (size_t)n + (size_t)d->most + 1;
    d->text = umbra_calloc(room, sizeof *d->text);
    if (!d->text)
        return umbra_fail_nomem(err, "the text", room * sizeof *d->text);
    memcpy(d->text, prompt, (size_t)n * sizeof *prompt);
    return UMBRA_OK;
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
    umbra_decoder d = {.engine = engine,
                       .model = model,
                       .options = o,
                       .most = most,
                       .base = umbra_engine_length(engine, o->sequence),
                       .out = out};
    rc = open_text(&d, prompt, prompt_tokens, err);
    if (rc == UMBRA_OK)
        rc = umbra_sampler_open(&s.sampler, &o->sampling, umbra_model_get_info(model)->vocabulary,
                                err);
    if (rc != UMBRA_OK) {
        umbra_free(d.text);
        return rc;
    }
    d.sampler = s.sampler;
    umbra_tap tap = {.user = &s,
                     .logits = take_logits,
                     .at = {[UMBRA_TAP_LEAVE] = report_prompt},
                     .progress = o->progress};
    uint64_t start = umbra_clock_ns();
    rc = prefill(engine, prompt, prompt_tokens, o->sequence, &tap, err);
    out->prefill_seconds = umbra_seconds_since(start);
    if (rc == UMBRA_OK) {
        start = umbra_clock_ns();
        d.next = d.text[prompt_tokens] = s.next;
        uint64_t waited_ns = umbra_store_waited_ns(umbra_engine_store(engine));
        if (o->drafts)
            umbra_drafts_begin(o->drafts, o->sequence, d.base, d.text, prompt_tokens + 1);
        rc = umbra_decode(&d, err);
        out->decode_seconds = umbra_seconds_since(start);
        out->decode_wait_seconds =
            (double)(umbra_store_waited_ns(umbra_engine_store(engine)) - waited_ns) * 1e-9;
    }
    umbra_sampler_close(&s.sampler);
    umbra_free(d.text);
    return rc;
}
