/* umbra serve: the model at a port. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/ranks.h"
#include "serve/serve.h"

enum { PARALLEL = 4, LEAST_CONTEXT = 2048, MOST_CONTEXT = 32768, PROBE_TOKENS = 64 };

typedef struct serve_command {
    umbra_engine_options engine;
    umbra_prefetch_options prefetch;
    umbra_draft_options draft;
    serve_options server;
    const char *key_file, *template_file;
    int grace;
    bool no_probe;
    /* What was opened. */
    umbra_model *model;
    umbra_engine *running;
    umbra_prefetch *ahead;
    umbra_drafts *drafts;
    char *keys, *template_text;
} serve_command;

static void show(void *user, const char *message)
{
    (void)user;
    fprintf(stderr, "umbra serve: %s\n", message);
}

/* ---- what was not given ---- */

static bool fits(const serve_command *c, const umbra_engine_options *o, uint64_t share)
{
    umbra_memory_plan p;
    return umbra_engine_plan(c->model, o, &p, NULL) == UMBRA_OK &&
           p.kv_bytes <= p.ram_bytes / share;
}

/* Texts at once and their length: as much as a quarter of the memory holds, first fewer texts, then
 * shorter ones. */
static void choose_size(serve_command *c)
{
    umbra_engine_options *o = &c->engine;
    int context = o->context, texts = o->sequences;
    int most = umbra_model_get_info(c->model)->context;
    most = most < MOST_CONTEXT ? most : MOST_CONTEXT;
    for (int length = most;; length /= 2) {
        o->context = context ? context : length;
        for (int n = PARALLEL; n >= 1; n /= 2) {
            o->sequences = texts ? texts : n;
            if (fits(c, o, 4) || (n == 1 && (context || length < 2 * LEAST_CONTEXT)))
                return;
            if (texts)
                break;
        }
        if (context || length < 2 * LEAST_CONTEXT)
            return;
    }
}

/* Of a model whose layers forget, sequences beside those of the texts, for what prompts may share:
 * as many again, or one, where they take no more than a quarter of the memory either. */
static void add_checkpoints(serve_command *c)
{
    const umbra_model_info *info = umbra_model_get_info(c->model);
    umbra_engine_options more = c->engine;
    c->server.texts = c->engine.sequences;
    if (info->windowed_layers == 0 && info->recurrent_layers == 0)
        return;
    more.sequences = 2 * c->engine.sequences;
    if (!fits(c, &more, 4))
        more.sequences = c->engine.sequences + 1;
    if (fits(c, &more, 4))
        c->engine.sequences = more.sequences;
}

/* States on their way to disk need room for the largest. */
static void reserve(serve_command *c)
{
    umbra_memory_plan p;
    c->engine.reserved_bytes = serve_memory_bytes(&c->server);
    if (!c->server.state_folder)
        return;
    umbra_engine_plan(c->model, &c->engine, &p, NULL);
    c->server.state_buffer_bytes =
        p.kv_bytes / (uint64_t)c->engine.sequences + (uint64_t)p.context * 4 + 4096;
    c->engine.reserved_bytes += c->server.state_buffer_bytes;
}

static int read_files(serve_command *c, const char *path)
{
    size_t n;
    umbra_error err = {0};
    int code = 0;
    if (c->key_file)
        code = cli_read_file(c->key_file, 1 << 20, &c->keys, &n);
    c->server.keys = c->keys;
    if (code == 0 && c->template_file)
        code = cli_read_file(c->template_file, CLI_MOST_TEMPLATE_BYTES, &c->template_text,
                             &c->server.template_bytes);
    else if (code == 0 && umbra_model_read_template(path, &c->template_text,
                                                    &c->server.template_bytes, &err) != UMBRA_OK)
        show(NULL, "the model has no chat template: chats are refused; --template gives one");
    c->server.template_text = c->template_text;
    return code;
}

/* ---- what it will be like ---- */

static void print_plan(const serve_command *c)
{
    const umbra_memory_plan *p = umbra_engine_get_plan(c->running);
    const struct {
        const char *name;
        uint64_t bytes;
    } rows[] = {
        {"program, libraries", p->process_bytes}, {"metadata, tokenizer", p->metadata_bytes},
        {"dense weights", p->dense_bytes},        {"keys and values", p->kv_bytes},
        {"activations", p->scratch_bytes},        {"server, reading ahead", p->reserved_bytes},
        {"expert cache", p->cache_bytes},
    };
    fprintf(stderr, "budget %s; the smallest that works is %s, everything fits in %s\n",
            cli_size(p->ram_bytes), cli_size(p->min_bytes), cli_size(p->all_bytes));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        fprintf(stderr, "  %-22s %10s\n", rows[i].name, cli_size(rows[i].bytes));
    fprintf(stderr, "  %-22s %9.1f%%\n", "experts resident", p->residency * 100);
    fprintf(stderr, "%d texts at once of %d tokens, %d threads, %s kernels\n", c->server.texts,
            p->context, p->threads, p->kernels);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

typedef struct probe {
    double end;
    int tokens;
} probe;

static int count_token(void *user, int32_t id)
{
    probe *p = user;
    (void)id;
    p->tokens++;
    return now() >= p->end;
}

/* Writes for two seconds at most, as a text would be written, and forgets it. */
static int try_speed(const serve_command *c, umbra_error *err)
{
    probe p = {.end = now() + 2};
    int32_t first = umbra_bos_token(c->model);
    umbra_generation did;
    int room = umbra_engine_get_plan(c->running)->context;
    const umbra_generate_options o = {.max_tokens = room < PROBE_TOKENS ? room : PROBE_TOKENS,
                                      .ignore_end = true,
                                      .on_token = count_token,
                                      .user = &p,
                                      .progress = cli_progress()};
    first = first >= 0 ? first : 0;
    int rc = umbra_generate(c->running, c->model, &first, 1, &o, &did, err);
    umbra_engine_truncate(c->running, 0, 0);
    if (rc == UMBRA_OK && did.decode_steps > 0 && did.decode_seconds > 0)
        fprintf(stderr,
                "about %.3g tokens/s for one text, %.0f %% of it waiting for the disk, while "
                "the cache is cold\n",
                did.decode_steps / did.decode_seconds,
                100 * did.decode_wait_seconds / did.decode_seconds);
    return rc;
}

/* ---- serving ---- */

/* Until somebody asks the program to end. */
static void wait_for_signal(void)
{
    sigset_t set;
    int number;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigwait(&set, &number);
    signal(SIGTERM, SIG_DFL); /* a second one ends the process */
    signal(SIGINT, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* threads of the server inherit it */
}

static int serve_until_told(serve_command *c)
{
    umbra_error err = {0};
    serve *server;
    block_signals();
    c->server.prefetch = c->ahead;
    c->server.drafts = c->drafts;
    c->server.sequences = c->engine.sequences;
    if (serve_open(&server, &c->server, &err) != UMBRA_OK)
        return cli_fail(&err);
    const char *host = c->server.host ? c->server.host : "127.0.0.1";
    bool v6 = strchr(host, ':') != NULL;
    printf("http://%s%s%s:%d/\n", v6 ? "[" : "", host, v6 ? "]" : "", serve_port(server));
    fflush(stdout);
    wait_for_signal();
    fprintf(stderr,
            "umbra serve: closing; answers under way have %d s, a second signal ends at once\n",
            c->grace);
    int cut = serve_finish(server, c->grace);
    if (cut > 0)
        fprintf(stderr, "umbra serve: %d answers were cut\n", cut);
    serve_close(&server);
    return EXIT_DONE;
}

static int open_engine(serve_command *c, umbra_error *err)
{
    c->engine.progress = cli_progress();
    c->engine.ranks = cli_ranks();
    c->prefetch.warn = cli_warn_without;
    choose_size(c);
    add_checkpoints(c);
    reserve(c);
    umbra_engine_options fitted = c->engine;
    int rc = umbra_prefetch_fit(c->model, &fitted, &c->prefetch, err);
    if (rc == UMBRA_OK) {
        fitted.reserved_bytes += c->engine.reserved_bytes; /* it says what reading ahead takes */
        rc = umbra_drafts_fit(c->model, &fitted, &c->draft, err);
    }
    if (rc == UMBRA_OK) {
        cli_warn_budget(c->model, &fitted);
        /* One rank alone serves. */
        rc = cli_ranks_follows() ? umbra_engine_open(&c->server.engine, c->model, &fitted, err)
                                 : serve_open_engine(&c->server, &fitted, err);
        c->running = c->server.engine;
    }
    if (rc == UMBRA_OK)
        rc = umbra_prefetch_open(&c->ahead, c->running, &c->prefetch, err);
    c->draft.ahead = c->ahead;
    if (rc == UMBRA_OK)
        rc = umbra_drafts_open(&c->drafts, c->running, &c->draft, err);
    cli_progress_end();
    return rc;
}

static int run(const char *path, serve_command *c)
{
    umbra_error err = {0};
    if (umbra_model_open(&c->model, path, &err) != UMBRA_OK)
        return cli_fail(&err);
    cli_print_notes(c->model);
    c->server.model = c->model;
    c->server.log = show;
    if (!c->server.name) {
        const char *slash = strrchr(path, '/');
        c->server.name = slash ? slash + 1 : path;
    }
    int code = read_files(c, path);
    if (code == 0) {
        int rc = open_engine(c, &err);
        if (rc == UMBRA_OK)
            print_plan(c);
        bool leads = !cli_ranks_follows();
        if (rc == UMBRA_OK && leads && !c->no_probe)
            rc = try_speed(c, &err);
        if (rc != UMBRA_OK)
            code = cli_fail(&err);
        else
            code = leads ? serve_until_told(c) : cli_ranks_follow(c->running);
    }
    serve_close_states(&c->server);
    umbra_drafts_close(&c->drafts);
    umbra_prefetch_close(&c->ahead);
    umbra_engine_close(&c->running);
    umbra_model_close(&c->model);
    free(c->keys);
    free(c->template_text);
    return code;
}

int cli_serve(int argc, char **argv)
{
    serve_command c = {.server = {.port = 8080, .state_bytes = 10000000000}, .grace = 30};
    const char *policy = NULL, *draft = NULL;
    umbra_error err = {0};
    const cli_option options[] = {
        {"--host", 0, CLI_TEXT, "ADDRESS", "address to listen at (default: 127.0.0.1)",
         &c.server.host},
        {"--port", 'p', CLI_INT, "N", "port; 0 takes any that is free (default: 8080)",
         &c.server.port, 0, 65535},
        {"--parallel", 0, CLI_INT, "N",
         "texts that are written at once (default: 4, or what a quarter of the memory holds)",
         &c.engine.sequences, 1, 256},
        {"--api-key-file", 0, CLI_TEXT, "FILE",
         "keys that clients must have, one a line; demanded unless only this machine can connect",
         &c.key_file},
        {"--origin", 0, CLI_TEXT, "ORIGIN",
         "pages of this origin may ask as well, as https://example.org (default: none)",
         &c.server.origin},
        {"--state", 0, CLI_TEXT, "DIR",
         "keep the states of texts there, to go on with them after they left memory, or a restart",
         &c.server.state_folder},
        {"--state-size", 0, CLI_SIZE, "SIZE", "of all files there (default: 10G)",
         &c.server.state_bytes},
        {"--template", 0, CLI_TEXT, "FILE", "chat template (default: the model's)",
         &c.template_file},
        {"--name", 0, CLI_TEXT, "NAME", "of the model, for clients (default: the file's)",
         &c.server.name},
        {"--grace", 0, CLI_INT, "SECONDS",
         "time for answers under way when the program is asked to end (default: 30)", &c.grace, 0,
         86400},
        {"--no-probe", 0, CLI_FLAG, NULL, "do not try the speed before serving", &c.no_probe},
        {"--prefetch", 0, CLI_TEXT, "auto|off|previous|gate|shadow|runahead",
         "read experts ahead by this predictor (default: auto)", &policy},
        {"--shadow", 0, CLI_TEXT, "FILE",
         "shadow model (default: MODEL.shadow.safetensors beside the model, if it is there)",
         &c.prefetch.shadow},
        {"--draft", 0, CLI_TEXT, "auto|off|lookup|runahead|mtp",
         "guess tokens ahead and check several a step, of each text, as umbra run does (default: "
         "auto)",
         &draft},
        {"--draft-max", 0, CLI_INT, "N", "tokens guessed at once, at most (default: 16, by name 8)",
         &c.draft.most, 1, 16},
        {"--verify", 0, CLI_FLAG, NULL, "hold every expert that is read against a checksum; slow",
         &c.engine.verify},
        CLI_ENGINE_OPTIONS(c.engine),
        {0},
    };
    const cli_syntax syntax = {
        "serve",
        "MODEL",
        "Serves the model over HTTP with the APIs of OpenAI (/v1/chat/completions, ...) and "
        "Anthropic (/v1/messages). Without options it takes what memory is free, prints where it "
        "goes, and listens where only this machine can connect. SIGTERM and Ctrl-C let answers "
        "end.",
        options,
        1,
        "umbra serve MODEL.gguf\n"
        "umbra serve MODEL.gguf --ram 8G --parallel 2 --state ~/.cache/umbra\n"
        "umbra serve MODEL.gguf --host 0.0.0.0 --api-key-file keys\n"};
    const char *path;
    int code = cli_parse(&syntax, argc, argv, &path);
    if (code < 0 && (umbra_policy_parse(policy, &c.prefetch.policy, &err) != UMBRA_OK ||
                     umbra_draft_parse(draft, &c.draft.source, &err) != UMBRA_OK))
        code = cli_fail(&err);
    return code >= 0 ? code : run(path, &c);
}
