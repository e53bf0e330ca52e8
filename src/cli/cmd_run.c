/* umbra run: writes text, and says what it took. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json_writer.h"
#include "cli/cli.h"

enum { DEFAULT_TOKENS = 128, TOKEN_BYTES = 256 };

typedef struct run_options {
    umbra_engine_options engine;
    umbra_prefetch_options prefetch;
    umbra_sampling sampling;
    const char *prompt, *file;
    const char *usage;
    float pin;  /* percent of the slots */
    int tokens; /* negative: not given */
    bool ignore_end, stats, json;
} run_options;

/* What was written, as it grows. */
typedef struct output {
    const umbra_model *model;
    bool stream; /* print as it comes */
    char *text;  /* kept for --json */
    size_t bytes, room;
    int32_t *tokens;
    int count;
    bool failed;
} output;

static int take_token(void *user, int32_t id)
{
    output *o = user;
    char small[TOKEN_BYTES];
    char *piece = small;
    size_t n = umbra_detokenize(o->model, id, false, small, sizeof small);
    if (n > sizeof small) {
        piece = malloc(n);
        if (!piece)
            return 1;
        umbra_detokenize(o->model, id, false, piece, n);
    }
    o->tokens[o->count++] = id;
    if (o->stream) {
        cli_progress_end();
        fwrite(piece, 1, n, stdout);
        o->failed = fflush(stdout) != 0;
    }
    if (!o->stream && o->bytes + n > o->room) {
        o->room = (o->bytes + n) * 2;
        char *larger = realloc(o->text, o->room);
        o->failed = larger == NULL;
        o->text = larger ? larger : o->text;
    }
    if (!o->stream && !o->failed) {
        memcpy(o->text + o->bytes, piece, n);
        o->bytes += n;
    }
    if (piece != small)
        free(piece);
    return o->failed;
}

static double per_second(int n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

typedef struct ahead {
    uint64_t read, useful, late, wasted; /* bytes */
} ahead;

static ahead sum_ahead(const umbra_store_stats *s)
{
    ahead a = {0};
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++) {
        a.read += s->ahead[d].bytes;
        a.useful += s->ahead[d].useful_bytes;
        a.late += s->ahead[d].late_bytes;
        a.wasted += s->ahead[d].wasted_bytes;
    }
    return a;
}

/* One sentence on what limited decoding, and what would help most. */
static void print_verdict(const umbra_memory_plan *p, const umbra_generation *g,
                          const umbra_prefetch_stats *f)
{
    double share = g->decode_seconds > 0 ? g->decode_wait_seconds / g->decode_seconds : 0;
    if (g->decode_steps == 0)
        return;
    fprintf(stderr, "verdict    ");
    if (share < 0.1)
        fprintf(
            stderr,
            "the processor limits: reads were waited for in %.0f %% of the time; more or faster "
            "cores would help most\n",
            share * 100);
    else if (p->residency >= 1)
        fprintf(stderr,
                "the disk limited the beginning: %.0f %% of the time went into reading experts for "
                "the first time; a longer text will not wait\n",
                share * 100);
    else
        fprintf(stderr,
                "%s: %.0f %% of the time went into waiting for reads; more memory would help most "
                "(everything fits in --ram %s), then a faster disk%s\n",
                share > 0.5 ? "the disk limits" : "disk and processor limit alike", share * 100,
                cli_size(p->all_bytes),
                f->policy == UMBRA_POLICY_SHADOW ? "" : ", then a shadow model (umbra train)");
}

static void print_ahead(const umbra_store_stats *s, const umbra_prefetch_stats *f)
{
    ahead a = sum_ahead(s);
    if (f->policy == UMBRA_POLICY_OFF)
        return;
    fprintf(stderr, "disk       a read takes about %.0f us, and 1 s more per %s\n",
            s->disk_latency_ns * 1e-3, cli_size((uint64_t)s->disk_bytes_per_s));
    fprintf(stderr,
            "ahead      %s by %s, in %.0f %% of the tokens: %s useful, %s late, %s wasted\n",
            cli_size(a.read), umbra_policy_name(f->policy),
            f->tokens > 0 ? 100.0 * (double)f->tokens_on / (double)f->tokens : 0.0,
            cli_size(a.useful), cli_size(a.late), cli_size(a.wasted));
}

static void print_stats(const umbra_engine *engine, const umbra_prefetch *prefetch,
                        const umbra_generation *g)
{
    umbra_store_stats s;
    umbra_prefetch_stats f;
    umbra_engine_get_store_stats(engine, &s);
    umbra_prefetch_get_stats(prefetch, &f);
    const umbra_memory_plan *p = umbra_engine_get_plan(engine);
    uint64_t asked = s.hits + s.late + s.misses;
    fprintf(stderr, "prefill    %d tokens, %.1f tokens/s\n", g->prompt_tokens,
            per_second(g->prompt_tokens, g->prefill_seconds));
    fprintf(stderr, "decode     %d tokens, %.1f tokens/s\n", g->new_tokens,
            per_second(g->decode_steps, g->decode_seconds));
    fprintf(stderr, "experts    %llu hits, %llu misses (%.1f %% hits), waited %.3f s for reads\n",
            (unsigned long long)s.hits, (unsigned long long)(s.late + s.misses),
            asked ? 100.0 * (double)s.hits / (double)asked : 0.0, (double)s.wait_ns * 1e-9);
    fprintf(stderr, "read       %s in %llu reads (%s%s)\n", cli_size(s.bytes_read),
            (unsigned long long)s.reads, s.io, s.direct ? ", O_DIRECT" : ", buffered");
    print_ahead(&s, &f);
    fprintf(stderr, "resident   at most %s of experts of %s, %.1f %% fit\n",
            cli_size(s.resident_bytes_max), cli_size(s.budget_bytes), p->residency * 100);
    fprintf(stderr, "memory     peak %s of a budget of %s (%d threads, %s kernels)\n",
            cli_size(umbra_process_rss_max()), cli_size(p->ram_bytes), p->threads, p->kernels);
    if (p->threads_note[0] != '\0')
        fprintf(stderr, "threads    %d: %s\n", p->threads, p->threads_note);
    print_verdict(p, g, &f);
}

static void print_json(const umbra_engine *engine, const umbra_prefetch *prefetch,
                       const umbra_generation *g, const output *o)
{
    umbra_store_stats s;
    umbra_prefetch_stats f;
    umbra_engine_get_store_stats(engine, &s);
    umbra_prefetch_get_stats(prefetch, &f);
    ahead a = sum_ahead(&s);
    const umbra_memory_plan *p = umbra_engine_get_plan(engine);
    umbra_json j;
    umbra_json_begin(&j, stdout);
    umbra_json_open(&j, '{');
    umbra_json_key(&j, "text");
    umbra_json_string(&j, o->text ? o->text : "", o->bytes);
    umbra_json_key(&j, "tokens");
    umbra_json_open(&j, '[');
    for (int i = 0; i < o->count; i++)
        umbra_json_int(&j, o->tokens[i]);
    umbra_json_close(&j, ']');
    umbra_json_put_uint(&j, "prompt_tokens", (uint64_t)g->prompt_tokens);
    umbra_json_put_bool(&j, "ended", g->ended);
    umbra_json_put_double(&j, "prefill_tok_s", per_second(g->prompt_tokens, g->prefill_seconds), 6);
    umbra_json_put_double(&j, "decode_tok_s", per_second(g->decode_steps, g->decode_seconds), 6);
    umbra_json_put_uint(&j, "expert_hits", s.hits);
    umbra_json_put_uint(&j, "expert_misses", s.late + s.misses);
    umbra_json_put_uint(&j, "bytes_read", s.bytes_read);
    umbra_json_put_uint(&j, "reads", s.reads);
    umbra_json_put_double(&j, "wait_s", (double)s.wait_ns * 1e-9, 6);
    umbra_json_put_double(&j, "decode_wait_s", g->decode_wait_seconds, 6);
    umbra_json_put_text(&j, "prefetch", umbra_policy_name(f.policy));
    umbra_json_put_uint(&j, "prefetch_tokens", f.tokens_on);
    umbra_json_put_uint(&j, "ahead_bytes", a.read);
    umbra_json_put_uint(&j, "useful_bytes", a.useful);
    umbra_json_put_uint(&j, "late_bytes", a.late);
    umbra_json_put_uint(&j, "wasted_bytes", a.wasted);
    umbra_json_put_uint(&j, "resident_bytes_max", s.resident_bytes_max);
    umbra_json_put_uint(&j, "cache_bytes", s.budget_bytes);
    umbra_json_put_uint(&j, "ram_bytes", p->ram_bytes);
    umbra_json_put_uint(&j, "rss_bytes_max", umbra_process_rss_max());
    umbra_json_put_uint(&j, "threads", (uint64_t)p->threads);
    umbra_json_put_text(&j, "kernels", p->kernels);
    umbra_json_put_text(&j, "io", s.io);
    umbra_json_close(&j, '}');
    putchar('\n');
}

/* One more token than can be used, so that what is longer is seen to be. */
static size_t most_tokens(const umbra_model *model, const run_options *r)
{
    int context = umbra_model_get_info(model)->context;
    return (size_t)(r->engine.context > 0 ? r->engine.context : context) + 1;
}

/* Sets the number of new tokens and, unless given, the context, so that both fit the model. */
static int fit_context(const umbra_model *model, run_options *r, int prompt_tokens)
{
    int most = umbra_model_get_info(model)->context;
    int limit = r->engine.context ? r->engine.context : most;
    int room = limit - prompt_tokens + 1; /* the last token is not fed back */
    if (r->tokens < 0)
        r->tokens = room < DEFAULT_TOKENS ? room : DEFAULT_TOKENS;
    if (prompt_tokens > limit || r->tokens > room) {
        fprintf(stderr, "umbra: a prompt of %s%d tokens and %d new ones do not fit into %s %d\n",
                prompt_tokens > limit ? "at least " : "", prompt_tokens,
                r->tokens > 0 ? r->tokens : 1,
                r->engine.context ? "--ctx" : "the model's context of", limit);
        return EXIT_FAILED;
    }
    int needed = prompt_tokens + (r->tokens > 0 ? r->tokens - 1 : 0);
    if (r->engine.context == 0 && needed > 512)
        r->engine.context = needed;
    return -1;
}

static int generate(const umbra_model *model, run_options *r, const int32_t *prompt, int count)
{
    umbra_error err = {0};
    umbra_engine *engine = NULL;
    umbra_prefetch *prefetch = NULL;
    r->engine.progress = cli_progress();
    r->prefetch.warn = cli_warn_without;
    int rc = umbra_prefetch_fit(model, &r->engine, &r->prefetch, &err);
    if (rc == UMBRA_OK) {
        cli_warn_budget(model, &r->engine);
        rc = umbra_engine_open(&engine, model, &r->engine, &err);
    }
    /* Also without a share to pin: a file that is none is refused before the text is written. */
    if (rc == UMBRA_OK && r->usage && (r->pin > 0 || access(r->usage, F_OK) == 0))
        rc = umbra_usage_pin(engine, r->usage, r->pin / 100, NULL, &err);
    if (rc == UMBRA_OK)
        rc = umbra_prefetch_open(&prefetch, engine, &r->prefetch, &err);
    cli_progress_end();
    if (rc != UMBRA_OK) {
        umbra_engine_close(&engine);
        return cli_fail(&err);
    }
    output out = {.model = model, .stream = !r->json};
    out.tokens = calloc((size_t)r->tokens + 1, sizeof *out.tokens);
    const umbra_generate_options options = {
        .sampling = r->sampling,
        .max_tokens = cli_count(r->tokens),
        .ignore_end = r->ignore_end,
        .progress = cli_progress(),
        .on_token = take_token,
        .user = &out,
    };
    umbra_generation result = {0};
    rc = UMBRA_E_NOMEM;
    if (out.tokens)
        rc = umbra_generate(engine, model, prompt, count, &options, &result, &err);
    if (out.stream && result.new_tokens > 0)
        putchar('\n');
    bool report = rc == UMBRA_OK || rc == UMBRA_E_INTERRUPTED;
    if (report && r->json)
        print_json(engine, prefetch, &result, &out);
    fflush(stdout);
    if (rc == UMBRA_OK && r->usage)
        rc = umbra_usage_add(engine, r->usage, &err);
    int code = out.failed ? EXIT_FAILED : rc == UMBRA_OK ? EXIT_DONE : cli_fail(&err);
    if (report && r->stats)
        print_stats(engine, prefetch, &result);
    if (report && r->engine.profile)
        cli_profile_engine(engine);
    free(out.text);
    free(out.tokens);
    umbra_prefetch_close(&prefetch);
    umbra_engine_close(&engine);
    return code;
}

/* The prompt's text: --prompt, or the file, of which no more is read than a context of tokens of
 * any length holds. Returns 0 or an exit code. Free *owned. */
static int read_prompt(const umbra_model *model, const run_options *r, const char **text,
                       size_t *bytes, char **owned)
{
    enum { TOKEN_BYTES_MOST = 1024 }; /* more than that of any published vocabulary */
    *text = r->prompt ? r->prompt : "";
    *bytes = strlen(*text);
    *owned = NULL;
    if (!r->file)
        return 0;
    size_t most = cli_most_text(r->engine.ram_bytes, most_tokens(model, r) * TOKEN_BYTES_MOST);
    int code = cli_read_file(r->file, most, owned, bytes);
    *text = *owned;
    return code;
}

/* The prompt's tokens; free them. Returns 0 or an exit code. */
static int tokenize_prompt(const umbra_model *model, const run_options *r, int32_t **prompt,
                           size_t *count)
{
    const char *text;
    char *owned;
    size_t bytes;
    umbra_error err = {0};
    int code = read_prompt(model, r, &text, &bytes, &owned);
    if (code == 0 && umbra_tokenize_first(model, text, bytes, true, true, most_tokens(model, r),
                                          prompt, count, &err) != UMBRA_OK)
        code = cli_fail(&err);
    free(owned);
    if (code == 0 && *count == 0) {
        fputs("umbra run: the prompt is empty and the model has no BOS token to begin with\n",
              stderr);
        code = EXIT_MISUSE;
    }
    return code;
}

static int run(const char *path, run_options *r)
{
    if (r->pin > 0 && !r->usage) {
        fputs("umbra run: --pin needs --usage FILE to know which experts are used most\n", stderr);
        return EXIT_MISUSE;
    }
    if (r->prompt && r->file) {
        fputs("umbra run: give --prompt or --file, not both\n", stderr);
        return EXIT_MISUSE;
    }
    umbra_error err = {0};
    umbra_model *model;
    int32_t *prompt = NULL;
    size_t count = 0;
    if (umbra_model_open(&model, path, &err) != UMBRA_OK)
        return cli_fail(&err);
    cli_print_notes(model);
    int code = tokenize_prompt(model, r, &prompt, &count);
    if (code == 0) {
        code = fit_context(model, r, count > 1 << 30 ? 1 << 30 : (int)count);
        if (code < 0)
            code = generate(model, r, prompt, (int)count);
    }
    umbra_free_tokens(prompt);
    umbra_model_close(&model);
    return code;
}

int cli_run(int argc, char **argv)
{
    run_options r = {.tokens = -1, .sampling.top_p = cli_not_given};
    const char *policy = NULL;
    umbra_error err = {0};
    const cli_option options[] = {
        {"--prompt", 'p', CLI_TEXT, "TEXT", "text to continue (default: none, the model begins)",
         &r.prompt},
        {"--file", 'f', CLI_TEXT, "FILE", "read the prompt from a file; - is stdin", &r.file},
        {"--tokens", 'n', CLI_INT, "N",
         "new tokens at most; 0 only reads the prompt (default: 128, or what fits)", &r.tokens},
        {"--temp", 0, CLI_FLOAT, "T", "temperature; 0 takes the best token (default: 0)",
         &r.sampling.temperature, 0, 100},
        {"--top-p", 0, CLI_FLOAT, "P",
         "keep the most probable tokens up to this sum; 0 keeps the best alone (default: 1)",
         &r.sampling.top_p, 0, 1},
        {"--seed", 0, CLI_U64, "S", "seed for --temp (default: 0)", &r.sampling.seed},
        {"--ignore-eos", 0, CLI_FLAG, NULL, "go on after an end token", &r.ignore_end},
        {"--prefetch", 0, CLI_TEXT, "auto|off|previous|gate|shadow|runahead",
         "read experts ahead by this predictor; auto takes the shadow model, or runs the model "
         "itself ahead without one, while that saves time",
         &policy},
        {"--shadow", 0, CLI_TEXT, "FILE",
         "shadow model (default: MODEL.shadow.safetensors beside the model, if it is there)",
         &r.prefetch.shadow},
        {"--usage", 0, CLI_TEXT, "FILE", "keep count there of the experts used, over all runs",
         &r.usage},
        {"--pin", 0, CLI_FLOAT, "PERCENT",
         "keep the experts that the usage file names most in so much of the cache, at most 50 "
         "(default: 0)",
         &r.pin, 0, 50},
        {"--verify", 0, CLI_FLAG, NULL, "hold every expert that is read against a checksum; slow",
         &r.engine.verify},
        {"--stats", 0, CLI_FLAG, NULL, "print speed, cache and memory figures on stderr", &r.stats},
        {"--json", 0, CLI_FLAG, NULL, "print one JSON object instead of the text", &r.json},
        CLI_PROFILE_OPTION(r.engine),
        CLI_ENGINE_OPTIONS(r.engine),
        {0},
    };
    const cli_syntax syntax = {
        "run",
        "MODEL",
        "Continues a prompt and writes the new text to stdout, the same text at every budget and "
        "number of threads. Special tokens in the prompt, as <|endoftext|>, are recognised.",
        options,
        1,
        "umbra run MODEL.gguf --ram 8G -p \"Once\" --stats\n"
        "umbra run MODEL.gguf -f prompt.txt -n 200 --temp 0.8 --top-p 0.95 --seed 7\n"
        "umbra run MODEL.gguf -p \"Once\" --json | jq .decode_tok_s\n"};
    const char *path;
    int code = cli_parse(&syntax, argc, argv, &path);
    cli_settle_top_p(&r.sampling.top_p, &r.sampling.temperature);
    if (code < 0 && umbra_policy_parse(policy, &r.prefetch.policy, &err) != UMBRA_OK)
        code = cli_fail(&err);
    return code >= 0 ? code : run(path, &r);
}
