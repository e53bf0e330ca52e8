/* Writes tokens one by one: the prompt in chunks, then decoding. */
#include <string.h>

#include <umbra/generate.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "engine/engine.h"
#include "generate/decode.h"

/* The prompt being read. */
typedef struct reading {
    umbra_decoder *decoder;
    int count; /* tokens of the text, with what the sequence held before */
    const umbra_progress *progress;
    int prompt_tokens;
} reading;

/* Called for each chunk of the prompt that is done. */
static int report_prompt(void *user, const umbra_rows *rows)
{
    const reading *r = user;
    umbra_progress_report(r->progress, "reading the prompt", "tokens",
                          (uint64_t)(rows->first + rows->n), (uint64_t)r->prompt_tokens);
    return 0;
}

static int take_logits(void *user, int index, const float *logits)
{
    (void)index;
    reading *r = user;
    umbra_decoder *d = r->decoder;
    d->next = umbra_sampler_next(d->sampler, logits, d->text, r->count);
    return d->next < 0 ? d->next : 0;
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

/* Opens what draws, and lays out the text so far. */
static int begin(umbra_decoder *d, const int32_t *prompt, int prompt_tokens, umbra_error *err)
{
    const umbra_generate_options *o = d->options;
    int held = umbra_engine_length(d->engine, o->sequence);
    size_t n = (size_t)held + (size_t)prompt_tokens + (size_t)d->most;
    d->text = umbra_calloc(n, sizeof *d->text);
    if (!d->text)
        return umbra_fail_nomem(err, "the text", (uint64_t)n * sizeof *d->text);
    for (int i = 0; i < held; i++)
        d->text[i] = o->before ? o->before[i] : -1; /* no token: nothing looks at it */
    d->known_from = o->before ? 0 : held;
    memcpy(d->text + held, prompt, (size_t)prompt_tokens * sizeof *prompt);
    return umbra_sampler_open(&d->sampler, &o->sampling, umbra_model_get_info(d->model)->vocabulary,
                              err);
}

/* The decode loop, with its drafts. */
static int decode(umbra_decoder *d, int held, int prompt_tokens, umbra_error *err)
{
    const umbra_store *store = umbra_engine_store(d->engine);
    uint64_t start = umbra_clock_ns(), waited_ns = umbra_store_waited_ns(store);
    if (d->options->drafts)
        umbra_drafts_begin(d->options->drafts, d->options->sequence, held, d->text + held,
                           prompt_tokens, d->next);
    int rc = umbra_decode(d, err);
    d->out->decode_seconds = umbra_seconds_since(start);
    d->out->decode_wait_seconds = (double)(umbra_store_waited_ns(store) - waited_ns) * 1e-9;
    return rc;
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
    int held = umbra_engine_length(engine, o->sequence);
    umbra_decoder d = {.engine = engine, .model = model, .options = o, .most = most, .out = out};
    reading r = {&d, held + prompt_tokens, o->progress, prompt_tokens};
    umbra_tap tap = {.user = &r,
                     .logits = take_logits,
                     .at = {[UMBRA_TAP_LEAVE] = report_prompt},
                     .progress = o->progress};
    rc = begin(&d, prompt, prompt_tokens, err);
    uint64_t start = umbra_clock_ns();
    if (rc == UMBRA_OK)
        rc = prefill(engine, prompt, prompt_tokens, o->sequence, &tap, err);
    out->prefill_seconds = umbra_seconds_since(start);
    if (d.next < 0)
        rc = umbra_fail_draw(d.next, r.count, err);
    if (rc == UMBRA_OK)
        rc = decode(&d, held, prompt_tokens, err);
    umbra_sampler_close(&d.sampler);
    umbra_free(d.text);
    return rc;
}
