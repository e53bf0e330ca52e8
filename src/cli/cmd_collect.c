/* umbra collect: records what a model routes on texts. */
#include <stdio.h>
#include <string.h>

#include "base/json_writer.h"
#include "cli/cli.h"
#include "cli/ranks.h"

static void planned(void *user, const umbra_collect_plan *p)
{
    (void)user;
    fprintf(stderr, "%llu tokens", (unsigned long long)p->tokens);
    if (p->done_tokens)
        fprintf(stderr, ", %llu of them already there", (unsigned long long)p->done_tokens);
    fprintf(stderr, "; will write at most %s (%s per token), the disk has %s free\n",
            cli_size(p->bytes), cli_size(p->bytes_per_token), cli_size(p->free_bytes));
    cli_progress_scale((double)p->bytes_per_token);
}

static void print_json(const char *folder, const umbra_collection *c, bool complete)
{
    umbra_json j;
    umbra_json_begin(&j, stdout);
    umbra_json_open(&j, '{');
    umbra_json_put_text(&j, "folder", folder);
    umbra_json_put_text(&j, "model_hash", c->model_hash);
    const struct {
        const char *key;
        uint64_t value;
    } counts[] = {{"tokens", c->tokens},
                  {"documents", c->documents},
                  {"shards", c->shards},
                  {"new_tokens", c->new_tokens},
                  {"expert_bytes_read", c->bytes_read}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        umbra_json_put_uint(&j, counts[i].key, counts[i].value);
    }
    umbra_json_put_double(&j, "seconds", c->seconds, 6);
    umbra_json_put_double(&j, "write_seconds", c->write_seconds, 6);
    umbra_json_put_bool(&j, "complete", complete);
    umbra_json_close(&j, '}');
    putchar('\n');
}

static int collect(const char *path, const char *folder, umbra_collect_options *o, bool json)
{
    umbra_error err = {0};
    umbra_model *model;
    if (umbra_model_open(&model, path, &err) != UMBRA_OK)
        return cli_fail(&err);
    o->engine.progress = cli_progress();
    o->planned = planned;
    o->ranks = cli_ranks();
    cli_warn_budget(model, &o->engine);
    umbra_collection result;
    int rc = umbra_collect(model, folder, o, &result, &err);
    cli_progress_end();
    if (json)
        print_json(folder, &result, rc == UMBRA_OK);
    else if (result.tokens > 0)
        printf("%s: %llu tokens in %llu documents, %llu shards; %llu new ones at %.1f tokens/s\n",
               cli_plain(folder), (unsigned long long)result.tokens,
               (unsigned long long)result.documents, (unsigned long long)result.shards,
               (unsigned long long)result.new_tokens,
               result.seconds > 0 ? (double)result.new_tokens / result.seconds : 0);
    umbra_model_close(&model);
    return rc == UMBRA_OK ? EXIT_DONE : cli_fail(&err);
}

int cli_collect(int argc, char **argv)
{
    umbra_collect_options o = {.temperature = 1.0f, .top_p = cli_not_given};
    cli_list texts = {0};
    const char *folder = NULL, *dtype = "bf16";
    bool json = false, write = false;
    const cli_option options[] = {
        {"--output", 'o', CLI_TEXT, "DIR", "folder for the trace; it is made if need be", &folder},
        {"--tokens", 'n', CLI_U64, "N",
         "stop at so many tokens (default: 100000 when the model writes, all when it reads)",
         &o.tokens, 1},
        {"--text", 0, CLI_LIST, "PATH...", "files, or folders of files, to read", &texts},
        {"--write", 0, CLI_FLAG, NULL,
         "with --text: the model writes, every other time from the head of one of the texts",
         &write},
        {"--temp", 0, CLI_FLOAT, "T", "temperature for writing (default: 1)", &o.temperature, 0,
         100},
        {"--top-p", 0, CLI_FLOAT, "P",
         "most probable tokens kept for writing; 0: the best alone (default: 1)", &o.top_p, 0, 1},
        {"--seed", 0, CLI_U64, "S", "seed for writing and for the order of texts (default: 0)",
         &o.seed},
        {"--dtype", 0, CLI_TEXT, "bf16|i8", "form of the states (default: bf16)", &dtype},
        {"--stride", 0, CLI_INT, "N", "keep the states of every N-th position (default: 1)",
         &o.stride, 1, 1024},
        {"--resume", 0, CLI_FLAG, NULL, "go on with a folder that was cut off", &o.resume},
        {"--json", 0, CLI_FLAG, NULL, "print one JSON object at the end", &json},
        CLI_ENGINE_OPTIONS(o.engine),
        {0},
    };
    const cli_syntax syntax = {
        "collect",
        "MODEL -o DIR",
        "Records what the layers of a model see and which experts they use, for training and "
        "judging a shadow model. By default the model writes its own text; with --text it reads "
        "documents. "
        "Killed at any moment it loses at most the shard it was writing.",
        options,
        1,
        "umbra collect MODEL.gguf -o traces --tokens 300000\n"
        "umbra collect MODEL.gguf -o other-traces --text docs notes.txt\n"
        "umbra collect MODEL.gguf -o traces --tokens 300000 --resume\n"};
    const char *path;
    int code = cli_parse(&syntax, argc, argv, &path);
    if (code >= 0)
        return code;
    if (!folder) {
        fputs("umbra collect: name the folder for the trace with -o DIR\n", stderr);
        return EXIT_MISUSE;
    }
    cli_settle_top_p(&o.top_p, &o.temperature);
    o.int8 = strcmp(dtype, "i8") == 0;
    o.texts = (const char *const *)texts.words;
    o.n_texts = texts.count;
    o.generate = write || texts.count == 0;
    return collect(path, folder, &o, json);
}
