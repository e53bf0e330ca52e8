/* What reading ahead is worth on a disk and a processor of any speed: the store and the shadow
 * runner as they are, on recorded states and routing, with a clock of their own. Nothing depends on
 * the machine that runs it.
 *
 *   simulate MODEL TRACES SHADOW [--compute MS] [--tokens N] [--every N] [--predict US]
 *            [--disk RATE,LATENCY...] [--residency SHARE...] [--policy NAME...]
 *
 * --compute: milliseconds of computing per token, everything in memory (4.8); --predict:
 * microseconds that a prediction takes from it (0). Prints tokens per second. */
#include <string.h>

#include "base/memory.h"
#include "numbers.h"
#include "simulated_clock.h"
#include "model/model.h"
#include "ahead/runner.h"
#include "store/store_internal.h"
#include "lab/trace/trace.h"

enum { MOST = 16, PIECES = 8 /* of a layer's attention, between which the store is polled */ };

/* How a layer's time divides: the rest are its experts. */
static const double attention_share = 0.35, output_share = 0.08;

typedef struct simulation {
    umbra_model *model;
    umbra_trace *trace;
    const char *shadow;
    double compute_ms, predict_us;
    int tokens, every;
    uint64_t now_ns;
    umbra_clock clock;
    /* Of one document: (L, T, H) states, (T, H) embeddings, (T, L, k) routing. */
    float *states, *embeddings;
    uint16_t *routing;
    int room; /* T */
} simulation;

static void compute(simulation *s, umbra_store *store, double ns, int pieces)
{
    umbra_error err = {0};
    for (int i = 0; i < pieces; i++) {
        s->now_ns += (uint64_t)(ns / pieces);
        must(umbra_store_poll(store, &err), &err);
    }
}

static void read_document(simulation *s, const umbra_trace_document *d, int tokens)
{
    umbra_error err = {0};
    const umbra_trace_info *info = umbra_trace_get_info(s->trace);
    size_t layers = (size_t)info->layers, hidden = (size_t)info->hidden, used = (size_t)info->used;
    size_t n = (size_t)tokens;
    s->states = need(umbra_reallocarray(s->states, layers * n * hidden, sizeof(float)));
    s->embeddings = need(umbra_reallocarray(s->embeddings, n * hidden, sizeof(float)));
    s->routing = need(umbra_reallocarray(s->routing, n * layers * used, sizeof(uint16_t)));
    uint16_t *column = need(umbra_calloc(n * used, sizeof *column));
    must(umbra_trace_read_states(s->trace, d->shard, UMBRA_TRACE_INPUT, 0, d->first_row, tokens,
                                 s->embeddings, &err),
         &err);
    for (size_t l = 0; l < layers; l++) {
        must(umbra_trace_read_states(s->trace, d->shard, UMBRA_TRACE_HIDDEN, (int)l, d->first_row,
                                     tokens, s->states + l * n * hidden, &err),
             &err);
        must(umbra_trace_read_experts(s->trace, d->shard, (int)l, d->first, tokens, column, &err),
             &err);
        for (size_t t = 0; t < n; t++)
            memcpy(s->routing + (t * layers + l) * used, column + t * used, used * sizeof *column);
    }
    umbra_free(column);
}

/* One layer of a token, from its attention to its experts' sum. */
static void layer(simulation *s, umbra_store *store, umbra_runner *runner, int l, int t, int tokens,
                  double layer_ns)
{
    umbra_error err = {0};
    const umbra_trace_info *info = umbra_trace_get_info(s->trace);
    const uint16_t *row =
        s->routing + ((size_t)t * (size_t)info->layers + (size_t)l) * (size_t)info->used;
    int experts[64];
    int32_t used[64];
    for (int i = 0; i < info->used; i++)
        used[i] = experts[i] = row[i];
    compute(s, store, layer_ns * attention_share, PIECES);
    const umbra_batch batch = {.layer = l, .experts = experts, .n = info->used};
    must(umbra_store_begin(store, &batch, &err), &err);
    if (runner) {
        umbra_runner_routed(
            runner, 0, l,
            s->states + ((size_t)l * (size_t)tokens + (size_t)t) * (size_t)info->hidden, used);
        s->now_ns += (uint64_t)(1e3 * s->predict_us * umbra_runner_work(runner));
    }
    umbra_lease leases[64];
    int n;
    while ((n = umbra_store_next(store, leases, 64, &err)) > 0) {
        compute(s, store, layer_ns * (1 - attention_share) * n / info->used, 3);
        for (int i = 0; i < n; i++)
            umbra_store_release(store, &leases[i]);
    }
    must(n, &err);
}

static void document(simulation *s, umbra_store *store, umbra_runner *runner, int tokens)
{
    const umbra_trace_info *info = umbra_trace_get_info(s->trace);
    double token_ns = s->compute_ms * 1e6;
    double layer_ns = token_ns * (1 - output_share) / info->layers;
    if (runner) {
        umbra_runner_restart(runner, 0);
        umbra_runner_set_oracle(runner, 0, s->routing, tokens);
    }
    for (int t = 0; t < tokens; t++) {
        if (runner) {
            umbra_runner_enter(runner, 0, s->embeddings + (size_t)t * (size_t)info->hidden);
            s->now_ns += (uint64_t)(1e3 * s->predict_us * umbra_runner_work(runner));
        }
        for (int l = 0; l < info->layers; l++)
            layer(s, store, runner, l, t, tokens, layer_ns);
        compute(s, store, token_ns * output_share, PIECES);
        if (runner)
            umbra_runner_leave(runner, 0);
    }
}

static void gate(void *user, int layer, float *out)
{
    umbra_error err = {0};
    must(umbra_trace_read_gate(((simulation *)user)->trace, layer, out, &err), &err);
}

static umbra_runner *open_runner(simulation *s, umbra_store *store, const char *policy)
{
    const umbra_trace_info *info = umbra_trace_get_info(s->trace);
    umbra_runner *runner;
    umbra_error err = {0};
    umbra_runner_options o = {.store = store,
                              .layers = info->layers,
                              .hidden = info->hidden,
                              .experts = info->experts,
                              .used = info->used,
                              .shadow = s->shadow,
                              .model_hash = info->model_hash,
                              .gate = gate,
                              .user = s,
                              .every = s->every};
    must(umbra_policy_parse(policy, &o.policy, &err), &err);
    if (o.policy == UMBRA_POLICY_OFF)
        return NULL;
    must(umbra_runner_open(&runner, &o, &err), &err);
    must(umbra_store_probe(store, &err), &err);
    umbra_store_set_guessing(store, true);
    return runner;
}

typedef struct outcome {
    double seconds, io_seconds;
    umbra_store_stats stats;
    int tokens;
} outcome;

static outcome simulate(simulation *s, const char *disk, double residency, const char *policy)
{
    umbra_error err = {0};
    const umbra_config *c = &s->model->config;
    const char *path = umbra_gguf_path(s->model->gguf);
    char name[64];
    snprintf(name, sizeof name, "sim:%s", disk);
    umbra_store *store;
    uint64_t slot = umbra_store_slot_bytes(s->model->slices, c->layers, c->experts, 512);
    umbra_store_options o = {.paths = &path,
                             .n_paths = 1,
                             .n_layers = c->layers,
                             .n_experts = c->experts,
                             .slices = s->model->slices,
                             .budget_bytes = slot * (uint64_t)(residency * c->layers * c->experts),
                             .io = name};
    must(umbra_store_open_with(&store, &o, &umbra_io_sim, &s->clock, &err), &err);
    umbra_runner *runner = open_runner(s, store, policy);
    outcome out = {0};
    int documents = umbra_trace_documents(s->trace), warm = s->tokens / 4;
    uint64_t begin_ns = s->now_ns;
    for (int i = 0; i < documents && out.tokens < s->tokens; i++) {
        const umbra_trace_document *d = umbra_trace_document_at(s->trace, i);
        int n = d->tokens < 512 ? d->tokens : 512;
        read_document(s, d, n);
        document(s, store, runner, n);
        out.tokens += n;
        if (warm > 0 && out.tokens >= warm) { /* what comes before fills the cache */
            warm = 0;
            out.tokens = 0;
            begin_ns = s->now_ns;
            umbra_store_reset_stats(store);
        }
    }
    out.seconds = (double)(s->now_ns - begin_ns) * 1e-9;
    umbra_store_get_stats(store, &out.stats);
    umbra_runner_close(&runner);
    umbra_store_close(&store);
    return out;
}

static void print_outcome(const outcome *o, const char *policy, double compute_ms, double rate)
{
    double tokens = o->tokens, useful = 0, late = 0, wasted = 0;
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++) {
        useful += (double)o->stats.ahead[d].useful_bytes / tokens;
        late += (double)o->stats.ahead[d].late_bytes / tokens;
        wasted += (double)o->stats.ahead[d].wasted_bytes / tokens;
    }
    double io_ms = (double)o->stats.bytes_read / rate / tokens * 1e3;
    double bound = compute_ms > io_ms ? compute_ms : io_ms;
    printf(
        "  %-9s %7.1f tok/s  disk %5.2f ms  read %6.2f MB  useful %6.2f  late %5.2f  wasted %5.2f",
        policy, tokens / o->seconds, io_ms, (double)o->stats.bytes_read / tokens * 1e-6,
        useful * 1e-6, late * 1e-6, wasted * 1e-6);
    if (strcmp(policy, "off") == 0)
        printf("  bound %.1f", 1e3 / bound);
    putchar('\n');
}

int main(int argc, char **argv)
{
    const char *disks[MOST] = {"150M,100us", "300M,100us", "600M,100us", "1200M,100us"};
    double residencies[MOST] = {0.3, 0.5};
    const char *policies[MOST] = {"off", "gate", "shadow", "oracle"};
    int n_disks = 4, n_residencies = 2, n_policies = 4;
    simulation s = {.compute_ms = 4.8, .tokens = 3000, .every = 1};
    umbra_error err = {0};
    if (argc < 4) {
        fputs("usage: simulate MODEL TRACES SHADOW [OPTIONS]; the source's head explains them\n",
              stderr);
        return 2;
    }
    for (int i = 4; i + 1 < argc; i++) {
        const char *option = argv[i];
        int n = 0;
        while (i + 1 < argc && argv[i + 1][0] != '-' && n < MOST) {
            const char *word = argv[++i];
            if (strcmp(option, "--disk") == 0)
                disks[n_disks = n] = word, n_disks++;
            else if (strcmp(option, "--residency") == 0)
                residencies[n_residencies = n] = atof(word), n_residencies++;
            else if (strcmp(option, "--policy") == 0)
                policies[n_policies = n] = word, n_policies++;
            else if (strcmp(option, "--compute") == 0)
                s.compute_ms = atof(word);
            else if (strcmp(option, "--predict") == 0)
                s.predict_us = atof(word);
            else if (strcmp(option, "--tokens") == 0)
                s.tokens = atoi(word);
            else if (strcmp(option, "--every") == 0)
                s.every = atoi(word);
            n++;
        }
    }
    s.shadow = argv[3];
    s.clock = simulated_clock(&s.now_ns);
    s.now_ns = 1;
    must(umbra_model_open(&s.model, argv[1], &err), &err);
    must(umbra_trace_open(&s.trace, argv[2], &err), &err);
    for (int d = 0; d < n_disks; d++) {
        double rate = atof(disks[d]) * (strchr(disks[d], 'G') ? 1e9 : 1e6);
        for (int r = 0; r < n_residencies; r++) {
            printf("disk %s, %.0f %% resident\n", disks[d], residencies[r] * 100);
            for (int p = 0; p < n_policies; p++) {
                outcome o = simulate(&s, disks[d], residencies[r], policies[p]);
                print_outcome(&o, policies[p], s.compute_ms, rate);
                fflush(stdout);
            }
        }
    }
    umbra_free(s.states);
    umbra_free(s.embeddings);
    umbra_free(s.routing);
    umbra_trace_close(&s.trace);
    umbra_model_close(&s.model);
    return 0;
}
