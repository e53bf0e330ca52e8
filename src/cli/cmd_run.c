/* umbra run: writes text, and says what it took. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/ranks.h"
#include "cli/run.h"

enum { DEFAULT_TOKENS = 128 };

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

/* The ranks of mpirun, who divide the experts by the usage file if there is one. Returns 0 or an
 * exit code; free *uses when the engine is open. */
static int join_ranks(const umbra_model *model, run_options *r, uint64_t **uses)
{
    *uses = NULL;
    if (!cli_ranks())
        return 0;
    int code = cli_ranks_read_usage(model, r->usage, uses);
    r->ranks = *cli_ranks();
    r->ranks.uses = *uses;
    r->engine.ranks = &r->ranks;
    return code;
}

/* Continues the prompt with an engine that is open. */
static int write_text(const run_machine *m, const run_options *r, const int32_t *prompt, int count,
                      run_output *out)
{
    umbra_error err = {0};
    const umbra_generate_options options = {
        .sampling = r->sampling,
        .max_tokens = cli_count(r->tokens),
        .ignore_end = r->ignore_end,
        .progress = cli_progress(),
        .on_token = run_output_take,
        .user = out,
        .drafts = m->drafts,
    };
    umbra_generation did = {0};
    int rc = umbra_generate(m->engine, out->model, prompt, count, &options, &did, &err);
    run_output_end(out);
    if (out->stream && did.new_tokens > 0)
        putchar('\n');
    bool report = rc == UMBRA_OK || rc == UMBRA_E_INTERRUPTED;
    if (report && r->json)
        run_print_json(m, &did, out);
    fflush(stdout);
    if (rc == UMBRA_OK && r->usage)
        rc = umbra_usage_add(m->engine, r->usage, &err);
    int code = out->failed ? cli_fail_text() : rc == UMBRA_OK ? EXIT_DONE : cli_fail(&err);
    if (report && r->stats)
        run_print_stats(m, &did);
    if (report && r->engine.profile)
        cli_profile_engine(m->engine);
    return code;
}

int run_open(const umbra_model *model, run_options *r, run_machine *m)
{
    umbra_error err = {0};
    uint64_t *uses;
    *m = (run_machine){0};
    int code = join_ranks(model, r, &uses);
    if (code != 0)
        return code;
    r->engine.progress = cli_progress();
    r->prefetch.warn = cli_warn_without;
    int rc = umbra_prefetch_fit(model, &r->engine, &r->prefetch, &err);
    if (rc == UMBRA_OK)
        rc = umbra_drafts_fit(model, &r->engine, &r->draft, &err);
    if (rc == UMBRA_OK) {
        cli_warn_budget(model, &r->engine);
        rc = umbra_engine_open(&m->engine, model, &r->engine, &err);
    }
    /* Also without a share to pin: a file that is none is refused before the text is written. */
    if (rc == UMBRA_OK && r->usage && (r->pin > 0 || access(r->usage, F_OK) == 0))
        rc = umbra_usage_pin(m->engine, r->usage, r->pin / 100, NULL, &err);
    if (rc == UMBRA_OK)
        rc = umbra_prefetch_open(&m->prefetch, m->engine, &r->prefetch, &err);
    r->draft.ahead = m->prefetch;
    if (rc == UMBRA_OK)
        rc = umbra_drafts_open(&m->drafts, m->engine, &r->draft, &err);
    cli_progress_end();
    free(uses);
    if (rc == UMBRA_OK)
        return 0;
    run_close(m);
    return cli_fail(&err);
}

void run_close(run_machine *m)
{
    umbra_drafts_close(&m->drafts);
    umbra_prefetch_close(&m->prefetch);
    umbra_engine_close(&m->engine);
}

/* The rank that writes; alone, it is that too. */
static int lead(const run_machine *m, const umbra_model *model, const run_options *r,
                const int32_t *prompt, int count)
{
    run_output out;
    int code = EXIT_FAILED;
    if (run_output_open(&out, model, r, &code))
        code = write_text(m, r, prompt, count, &out);
    run_output_release(&out);
    return code;
}

static int generate(const umbra_model *model, run_options *r, const int32_t *prompt, int count)
{
    run_machine m;
    int code = run_open(model, r, &m);
    if (code != 0)
        return code;
    code = cli_ranks_follows() ? cli_ranks_follow(m.engine) : lead(&m, model, r, prompt, count);
    run_close(&m);
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
    int code = cli_ranks_read_file(r->file, most, owned, bytes);
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
    if (r->chat && (r->prompt || r->file || r->json || cli_ranks())) {
        fputs("umbra run: --chat reads messages from stdin and prints text, in one process: leave "
              "out --prompt, --file, --json and mpirun\n",
              stderr);
        return EXIT_MISUSE;
    }
    umbra_error err = {0};
    umbra_model *model;
    int32_t *prompt = NULL;
    size_t count = 0;
    if (umbra_model_open(&model, path, &err) != UMBRA_OK)
        return cli_fail(&err);
    cli_print_notes(model);
    if (r->chat) {
        int chat_code = run_chat(model, path, r);
        umbra_model_close(&model);
        return chat_code;
    }
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
    const char *policy = NULL, *draft = NULL;
    umbra_error err = {0};
    const cli_option options[] = {
        {"--prompt", 'p', CLI_TEXT, "TEXT", "text to continue (default: none, the model begins)",
         &r.prompt},
        {"--file", 'f', CLI_TEXT, "FILE", "read the prompt from a file; - is stdin", &r.file},
        {"--chat", 0, CLI_FLAG, NULL,
         "talk: every line is a message, answered by the model's chat template", &r.chat},
        {"--system", 0, CLI_TEXT, "TEXT", "with --chat: what the model is told first", &r.system},
        {"--template", 0, CLI_TEXT, "FILE",
         "with --chat: a Jinja template in place of the model's own", &r.template},
        {"--tokens", 'n', CLI_INT, "N",
         "new tokens at most, of each answer; 0 only reads the prompt (default: 128, or what fits; "
         "with --chat: what fits)",
         &r.tokens},
        {"--temp", 0, CLI_FLOAT, "T", "temperature; 0 takes the best token (default: 0)",
         &r.sampling.temperature, 0, 100},
        {"--top-p", 0, CLI_FLOAT, "P",
         "keep the most probable tokens up to this sum; 0 keeps the best alone (default: 1)",
         &r.sampling.top_p, 0, 1},
        {"--top-k", 0, CLI_INT, "K", "keep so many of the most probable tokens (default: all)",
         &r.sampling.top_k, 1},
        {"--min-p", 0, CLI_FLOAT, "P",
         "keep what is at least so many times as probable as the best token (default: 0, all)",
         &r.sampling.min_p, 0, 1},
        {"--typical-p", 0, CLI_FLOAT, "P",
         "keep the tokens of the most usual surprise up to this sum (default: 1, all)",
         &r.sampling.typical_p, 0.001, 1},
        {"--repetition-penalty", 0, CLI_FLOAT, "R",
         "divide logits of tokens that were there by this, or multiply negative ones (default: 1)",
         &r.sampling.repetition_penalty, 0.1, 10},
        {"--presence-penalty", 0, CLI_FLOAT, "P",
         "take this from the logits of tokens that were there (default: 0)",
         &r.sampling.presence_penalty, -2, 2},
        {"--frequency-penalty", 0, CLI_FLOAT, "P",
         "the same for every time that they were there (default: 0)", &r.sampling.frequency_penalty,
         -2, 2},
        {"--penalty-tokens", 0, CLI_INT, "N",
         "how many of the last tokens penalties look at (default: 64)", &r.sampling.penalty_tokens,
         1},
        {"--stop", 0, CLI_LIST, "TEXT", "end before any of these texts", &r.stop},
        {"--seed", 0, CLI_U64, "S", "seed for --temp (default: 0)", &r.sampling.seed},
        {"--ignore-eos", 0, CLI_FLAG, NULL, "go on after an end token", &r.ignore_end},
        {"--prefetch", 0, CLI_TEXT, "auto|off|previous|gate|shadow|runahead",
         "read experts ahead by this predictor; auto takes the shadow model, or runs the model "
         "itself ahead without one, while that saves time",
         &policy},
        {"--draft", 0, CLI_TEXT, "auto|off|lookup|runahead|mtp",
         "guess tokens by this source and check several at once, which changes the speed alone; "
         "auto takes whatever saves time, while it does (default: auto)",
         &draft},
        {"--draft-max", 0, CLI_INT, "N", "tokens guessed at once, at most (default: 16, by name 8)",
         &r.draft.most, 1, 16},
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
        "umbra run MODEL.gguf --chat --system \"Be brief.\" --temp 0.7 --min-p 0.05\n"
        "umbra run MODEL.gguf -p \"Once\" --json | jq .decode_tok_s\n"};
    const char *path;
    int code = cli_parse(&syntax, argc, argv, &path);
    cli_settle_top_p(&r.sampling.top_p, &r.sampling.temperature);
    if (code < 0 && umbra_policy_parse(policy, &r.prefetch.policy, &err) != UMBRA_OK)
        code = cli_fail(&err);
    if (code < 0 && umbra_draft_parse(draft, &r.draft.source, &err) != UMBRA_OK)
        code = cli_fail(&err);
    return code >= 0 ? code : run(path, &r);
}
