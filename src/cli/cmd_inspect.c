/* umbra inspect: what a model file holds, and how a budget would be spent. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json_writer.h"
#include "cli/cli.h"

enum { TYPES = 40, END_TOKENS = 96, END_BYTES = 256 };

static const double residencies[] = {1.0, 0.75, 0.5, 0.25};

enum { RESIDENCIES = sizeof residencies / sizeof residencies[0] };

int cli_plan_residency(const umbra_model *model, const umbra_engine_options *options,
                       double residency, umbra_memory_plan *plan, umbra_error *err)
{
    umbra_engine_options o = *options;
    o.ram_bytes = 0;
    int rc = umbra_engine_plan(model, &o, plan, err);
    if (rc != UMBRA_OK && plan->all_bytes == 0)
        return rc;
    /* Chunks of prompts grow with the budget, so what is left for experts is found by halving. */
    uint64_t low = plan->min_bytes, high = plan->all_bytes;
    while (residency < 1 && high - low > plan->slot_bytes) {
        o.ram_bytes = low + (high - low) / 2;
        if (umbra_engine_plan(model, &o, plan, NULL) == UMBRA_OK && plan->residency >= residency)
            high = o.ram_bytes;
        else
            low = o.ram_bytes;
    }
    o.ram_bytes = high;
    return umbra_engine_plan(model, &o, plan, err);
}

static void print_plan(const umbra_memory_plan *p)
{
    printf("\nwith a budget of %s (context %d, chunks of %d, %d threads, %s kernels):\n",
           cli_size(p->ram_bytes), p->context, p->chunk, p->threads, p->kernels);
    const struct {
        const char *name;
        uint64_t bytes;
    } rows[] = {
        {"process and libraries", p->process_bytes}, {"metadata, tokenizer", p->metadata_bytes},
        {"dense weights", p->dense_bytes},           {"key/value cache", p->kv_bytes},
        {"activations", p->scratch_bytes},           {"expert cache", p->cache_bytes},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        printf("  %-22s %10s\n", rows[i].name, cli_size(rows[i].bytes));
    printf("  %-22s %9.1f%%  (%llu slots of %s", "experts resident", p->residency * 100,
           (unsigned long long)p->slots, cli_size(p->slot_bytes));
    if (p->slot_sizes > 1)
        printf(" at most, in %llu sizes; %.2f%% of their bytes unused",
               (unsigned long long)p->slot_sizes, p->slot_waste * 100);
    puts(")");
    if (p->threads_note[0] != '\0')
        printf("  threads: %s\n", p->threads_note);
    if (p->memory_note[0] != '\0')
        printf("  memory: %s\n", p->memory_note);
}

static void print_layers(const umbra_model_info *m)
{
    printf("  layers        %d, hidden %d, %d heads (%d for keys and values) of %d\n", m->layers,
           m->hidden, m->heads, m->kv_heads, m->head_dim);
    if (m->mtp_layers)
        printf("  for drafts    the last %d of the file's %d blocks, which foretell further tokens "
               "(MTP)\n",
               m->mtp_layers, m->layers + m->mtp_layers);
    printf("  cache         %d values per position and layer", m->cached_values);
    if (m->latent_width)
        printf(", compressed: a latent of %d", m->latent_width);
    if (m->window)
        printf("; %d layers see %d positions", m->windowed_layers, m->window);
    if (m->recurrent_layers)
        printf("; %d layers keep %s of state instead, twice", m->recurrent_layers,
               cli_size(m->state_bytes));
    printf("\n  experts       %d per layer, %d used per token, width %d, in %d layers\n",
           m->experts, m->experts_used, m->expert_width, m->moe_layers);
    printf("  router        %s\n", m->router);
    if (m->shared_width)
        printf("  shared        experts of width %d for every token, always in memory\n",
               m->shared_width);
}

/* In quotes; control characters as \xNN, since the text is a foreign file's. */
static void print_escaped(const char *text, size_t bytes)
{
    putchar('"');
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        printf(c < 0x20 || c == 0x7f ? "\\x%02x" : "%c", c);
    }
    putchar('"');
}

/* What ends a generation, by ids and texts. */
static void print_ends(const umbra_model *model)
{
    int32_t ids[END_TOKENS];
    int n = umbra_model_get_end_tokens(model, ids, END_TOKENS);
    fputs("  end tokens   ", stdout);
    for (int i = 0; i < n && i < END_TOKENS; i++) {
        char text[END_BYTES];
        size_t bytes = umbra_detokenize(model, ids[i], true, text, sizeof text);
        printf("%s %d ", i ? "," : "", ids[i]);
        print_escaped(text, bytes < sizeof text ? bytes : 0);
    }
    puts(n ? "" : " none: only -n ends a text");
}

static void print_notes(const umbra_model *model)
{
    const char *note;
    for (int i = 0; (note = umbra_model_get_note(model, i)) != NULL; i++)
        printf("  note          %s\n", note);
}

static void print_text(const umbra_model *model, const umbra_engine_options *options,
                       const umbra_memory_plan *plan)
{
    const umbra_model_info *m = umbra_model_get_info(model);
    printf("%s%s%s\n", m->name, m->name[0] ? ", " : "", m->architecture);
    print_layers(m);
    printf("  vocabulary    %d tokens, trained for a context of %d\n", m->vocabulary, m->context);
    print_ends(model);
    printf("  file          %s: %s of experts (%s each), %s dense\n", cli_size(m->file_bytes),
           cli_size(m->expert_bytes), cli_size(m->bytes_per_expert), cli_size(m->dense_bytes));
    if (m->table_bytes)
        printf("  n-grams       a table of %s stays in the file, read by rows of %s\n",
               cli_size(m->table_bytes), cli_size(m->table_row_bytes));
    umbra_model_type types[TYPES];
    int n = umbra_model_get_types(model, types, TYPES);
    for (int i = 0; i < n && i < TYPES; i++)
        printf("  %-13s %s in %llu tensors%s\n", types[i].name, cli_size(types[i].bytes),
               (unsigned long long)types[i].tensors,
               types[i].supported ? "" : " (NOT SUPPORTED: cannot be run)");
    print_notes(model);
    printf("\nsmallest budget %llu bytes (%s) with a context of %d\n",
           (unsigned long long)plan->min_bytes, cli_size(plan->min_bytes), plan->context);
    if (options->ram_bytes) {
        print_plan(plan);
        return;
    }
    printf("\n  --ram          experts resident\n");
    for (int i = 0; i < RESIDENCIES; i++) {
        umbra_memory_plan at;
        if (cli_plan_residency(model, options, residencies[i], &at, NULL) == UMBRA_OK)
            printf("  %-14llu %5.1f%%  (%s)\n", (unsigned long long)at.ram_bytes,
                   at.residency * 100, cli_size(at.ram_bytes));
    }
}

static void json_plan(umbra_json *j, const umbra_memory_plan *p)
{
    umbra_json_open(j, '{');
    umbra_json_put_uint(j, "ram_bytes", p->ram_bytes);
    umbra_json_put_double(j, "residency", p->residency, 6);
    umbra_json_put_uint(j, "process_bytes", p->process_bytes);
    umbra_json_put_uint(j, "metadata_bytes", p->metadata_bytes);
    umbra_json_put_uint(j, "dense_bytes", p->dense_bytes);
    umbra_json_put_uint(j, "kv_bytes", p->kv_bytes);
    umbra_json_put_uint(j, "scratch_bytes", p->scratch_bytes);
    umbra_json_put_uint(j, "cache_bytes", p->cache_bytes);
    umbra_json_put_uint(j, "slots", p->slots);
    umbra_json_put_uint(j, "slot_bytes", p->slot_bytes);
    umbra_json_put_uint(j, "slot_sizes", p->slot_sizes);
    umbra_json_put_double(j, "slot_waste", p->slot_waste, 6);
    umbra_json_put_uint(j, "context", (uint64_t)p->context);
    umbra_json_put_uint(j, "chunk", (uint64_t)p->chunk);
    umbra_json_close(j, '}');
}

static void json_types(umbra_json *j, const umbra_model_type *types, int n)
{
    umbra_json_key(j, "types");
    umbra_json_open(j, '[');
    for (int i = 0; i < n && i < TYPES; i++) {
        umbra_json_open(j, '{');
        umbra_json_put_text(j, "name", types[i].name);
        umbra_json_put_uint(j, "tensors", types[i].tensors);
        umbra_json_put_uint(j, "bytes", types[i].bytes);
        umbra_json_put_bool(j, "supported", types[i].supported);
        umbra_json_close(j, '}');
    }
    umbra_json_close(j, ']');
}

static void json_ends(umbra_json *j, const umbra_model *model)
{
    int32_t ids[END_TOKENS];
    int n = umbra_model_get_end_tokens(model, ids, END_TOKENS);
    umbra_json_key(j, "end_tokens");
    umbra_json_open(j, '[');
    for (int i = 0; i < n && i < END_TOKENS; i++) {
        char text[END_BYTES];
        size_t bytes = umbra_detokenize(model, ids[i], true, text, sizeof text);
        umbra_json_open(j, '{');
        umbra_json_put_uint(j, "id", (uint64_t)ids[i]);
        umbra_json_key(j, "text");
        umbra_json_string(j, text, bytes < sizeof text ? bytes : 0);
        umbra_json_close(j, '}');
    }
    umbra_json_close(j, ']');
}

static void json_notes(umbra_json *j, const umbra_model *model)
{
    const char *note;
    umbra_json_key(j, "notes");
    umbra_json_open(j, '[');
    for (int i = 0; (note = umbra_model_get_note(model, i)) != NULL; i++)
        umbra_json_text(j, note);
    umbra_json_close(j, ']');
}

typedef struct pair {
    const char *key;
    uint64_t value;
} pair;

static void json_pairs(umbra_json *j, const pair *pairs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        umbra_json_put_uint(j, pairs[i].key, pairs[i].value);
}

static void print_json(const umbra_model *model, const umbra_engine_options *options,
                       const umbra_memory_plan *plan)
{
    const umbra_model_info *m = umbra_model_get_info(model);
    umbra_json j;
    umbra_json_begin(&j, stdout);
    umbra_json_open(&j, '{');
    umbra_json_put_bool(&j, "runs", true);
    umbra_json_put_text(&j, "architecture", m->architecture);
    umbra_json_put_text(&j, "name", m->name);
    umbra_json_put_text(&j, "router", m->router);
    const pair pairs[] = {
        {"layers", (uint64_t)m->layers},
        {"mtp_layers", (uint64_t)m->mtp_layers},
        {"moe_layers", (uint64_t)m->moe_layers},
        {"hidden", (uint64_t)m->hidden},
        {"heads", (uint64_t)m->heads},
        {"kv_heads", (uint64_t)m->kv_heads},
        {"head_dim", (uint64_t)m->head_dim},
        {"latent_width", (uint64_t)m->latent_width},
        {"cached_values", (uint64_t)m->cached_values},
        {"window", (uint64_t)m->window},
        {"recurrent_layers", (uint64_t)m->recurrent_layers},
        {"state_bytes", m->state_bytes},
        {"experts", (uint64_t)m->experts},
        {"experts_used", (uint64_t)m->experts_used},
        {"expert_width", (uint64_t)m->expert_width},
        {"shared_width", (uint64_t)m->shared_width},
        {"vocabulary", (uint64_t)m->vocabulary},
        {"context", (uint64_t)m->context},
        {"file_bytes", m->file_bytes},
        {"bytes_per_expert", m->bytes_per_expert},
        {"expert_bytes", m->expert_bytes},
        {"dense_bytes", m->dense_bytes},
        {"table_bytes", m->table_bytes},
        {"table_row_bytes", m->table_row_bytes},
        {"min_budget_bytes", plan->min_bytes},
        {"all_budget_bytes", plan->all_bytes},
    };
    json_pairs(&j, pairs, sizeof pairs / sizeof pairs[0]);
    umbra_model_type types[TYPES];
    json_types(&j, types, umbra_model_get_types(model, types, TYPES));
    json_ends(&j, model);
    json_notes(&j, model);
    umbra_json_key(&j, "budgets");
    umbra_json_open(&j, '[');
    if (options->ram_bytes)
        json_plan(&j, plan);
    for (int i = 0; i < RESIDENCIES && !options->ram_bytes; i++) {
        umbra_memory_plan at;
        if (cli_plan_residency(model, options, residencies[i], &at, NULL) == UMBRA_OK)
            json_plan(&j, &at);
    }
    umbra_json_close(&j, ']');
    umbra_json_close(&j, '}');
    putchar('\n');
}

/* Of a file that cannot be run: the keys that such a file can have, with the same names. */
static void survey_json(const umbra_model_survey *s)
{
    umbra_json j;
    umbra_json_begin(&j, stdout);
    umbra_json_open(&j, '{');
    umbra_json_put_bool(&j, "runs", false);
    umbra_json_key(&j, "obstacles");
    umbra_json_open(&j, '[');
    for (int i = 0; i < s->n_obstacles; i++)
        umbra_json_text(&j, s->obstacle[i]);
    umbra_json_close(&j, ']');
    umbra_json_put_text(&j, "architecture", s->architecture);
    umbra_json_put_bool(&j, "architecture_known", s->architecture_known);
    umbra_json_put_text(&j, "name", s->name);
    umbra_json_put_text(&j, "tokenizer", s->tokenizer);
    umbra_json_put_text(&j, "roles", s->roles);
    const pair pairs[] = {
        {"layers", s->layers},
        {"hidden", s->hidden},
        {"context", s->context},
        {"experts", s->experts},
        {"experts_used", s->experts_used},
        {"files", s->files},
        {"file_bytes", s->file_bytes},
        {"expert_bytes", s->expert_bytes},
        {"other_bytes", s->other_bytes},
        {"tensors", s->tensors},
        {"keys", s->keys},
    };
    json_pairs(&j, pairs, sizeof pairs / sizeof pairs[0]);
    json_types(&j, s->type, s->n_types);
    umbra_json_close(&j, '}');
    putchar('\n');
}

/* What the weights alone take, for a file whose layout is not known: its cache of keys and values
 * and its activations come on top. */
static void survey_budgets(const umbra_model_survey *s)
{
    printf("\n  memory         experts resident (keys, values and activations not counted)\n");
    for (int i = 0; i < RESIDENCIES; i++) {
        uint64_t bytes = s->other_bytes + (uint64_t)(residencies[i] * (double)s->expert_bytes);
        printf("  %-14llu %5.1f%%  (%s)\n", (unsigned long long)bytes, residencies[i] * 100,
               cli_size(bytes));
    }
}

static void print_survey(const umbra_model_survey *s)
{
    printf("%s%s%s: Umbra cannot run this file\n", s->name, s->name[0] ? ", " : "",
           s->architecture[0] ? s->architecture : "no architecture");
    for (int i = 0; i < s->n_obstacles; i++)
        printf("  obstacle      %s\n", s->obstacle[i]);
    printf("  architecture  %s\n", s->architecture_known ? "known" : "not known");
    printf("  tokenizer     %s\n", s->tokenizer[0] ? s->tokenizer : "none");
    printf("  layers        %llu, hidden %llu, trained for a context of %llu\n",
           (unsigned long long)s->layers, (unsigned long long)s->hidden,
           (unsigned long long)s->context);
    printf("  experts       %llu per layer, %llu used per token\n", (unsigned long long)s->experts,
           (unsigned long long)s->experts_used);
    printf(
        "  file          %s in %llu file%s: %s of experts, %s of others; %llu tensors, %llu keys\n",
        cli_size(s->file_bytes), (unsigned long long)s->files, s->files == 1 ? "" : "s",
        cli_size(s->expert_bytes), cli_size(s->other_bytes), (unsigned long long)s->tensors,
        (unsigned long long)s->keys);
    for (int i = 0; i < s->n_types; i++)
        printf("  %-13s %s in %llu tensors%s\n", s->type[i].name, cli_size(s->type[i].bytes),
               (unsigned long long)s->type[i].tensors,
               s->type[i].supported ? "" : " (NOT SUPPORTED)");
    if (s->roles[0] != '\0')
        printf("  in layers     %s\n", s->roles);
    if (s->expert_bytes > 0)
        survey_budgets(s);
}

/* Of a file that cannot be run, what can be said; the reason goes where errors go. */
static int survey(const char *path, bool json, const umbra_error *why)
{
    umbra_model_survey *s = malloc(sizeof *s);
    if (s && umbra_model_survey_file(s, path, NULL) == UMBRA_OK)
        (json ? survey_json : print_survey)(s);
    free(s);
    fflush(stdout);
    return cli_fail(why);
}

int cli_inspect(int argc, char **argv)
{
    umbra_engine_options engine = {0};
    bool json = false;
    const cli_option options[] = {
        {"--json", 0, CLI_FLAG, NULL, "print one JSON object", &json},
        CLI_ENGINE_OPTIONS(engine),
        {0},
    };
    const cli_syntax syntax = {
        "inspect",
        "MODEL",
        "Shows what a GGUF file holds, the smallest budget it runs with, and how many of its "
        "experts stay in memory under a budget; of a file that cannot be run, what it is and what "
        "stands in the way. Reads only the file's header.",
        options,
        1,
        "umbra inspect MODEL.gguf\n"
        "umbra inspect MODEL.gguf --ram 8G --ctx 4096\n"};
    const char *path;
    int code = cli_parse(&syntax, argc, argv, &path);
    if (code >= 0)
        return code;

    umbra_error err = {0};
    umbra_model *model;
    if (umbra_model_open(&model, path, &err) != UMBRA_OK)
        return survey(path, json, &err);
    umbra_memory_plan plan;
    int rc = umbra_engine_plan(model, &engine, &plan, &err);
    bool planned = rc == UMBRA_OK || (rc == UMBRA_E_BUDGET && engine.ram_bytes == 0);
    code = planned ? EXIT_DONE : cli_fail(&err);
    if (planned && json)
        print_json(model, &engine, &plan);
    else if (planned)
        print_text(model, &engine, &plan);
    umbra_model_close(&model);
    return code;
}
