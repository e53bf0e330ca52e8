/* How fast several machines together would run a model, before anybody buys them: one store as it
 * is per rank, with a simulated disk and a clock, and the exchange after each layer by latency and
 * bandwidth. Routing is recorded, widened to a published shape. Nothing depends on the machine that
 * runs it.
 *
 *   machines TRACES [--shape kimi-k2|qwen3-235b|traces] [--ram GB] [--memory GB/s] [--disk GB/s]
 *            [--ranks N...] [--network GBIT/S...] [--tokens N] [--recall R]
 *
 * --ram: of each machine (64); --memory: what it reads from memory (80), which is what computing a
 * token takes; --disk: (6); --tokens: measured, after three times as many that warm the caches
 * (100); --recall: of what is foretold one to four layers ahead (0.92, as walks ahead have it; 0:
 * off). The shape "traces" is the recorded model's, with --expert MB and --dense GB.
 * Prints tokens per second, and where a token's time goes. */
#include <string.h>

#include "base/memory.h"
#include "routing.h"
#include "simulated_ranks.h"

enum { MOST = 16 };

/* Bytes are a thousandth of the true ones, rates too: times stay, memory does not. */
static const double scale = 1e-3;

static model_shape shapes[] = {
    /* 8 bits: 61 layers, the first dense; attention, shared experts, embedding and output */
    {"kimi-k2", 60, 384, 8, 7168, 44.0e6, 16.0e9, 17.5e9},
    /* 4.85 bits, as Q4_K_M has it */
    {"qwen3-235b", 94, 128, 8, 4096, 11.4e6, 4.6e9, 5.2e9},
    {"traces", 0, 0, 0, 0, 0, 0, 0},
};

/* What is recorded, and how it is run. */
typedef struct experiment {
    umbra_trace *trace;
    uint16_t *routing; /* (T, L, k) recorded, of so many tokens */
    int recorded, trace_layers, trace_used;
    double ram; /* bytes */
    int tokens;
    simulation simulated;
} experiment;

/* ---- routing ---- */

/* The experts of a token in a layer of the shape. A layer with more experts than the recorded model
 * is put together from the best experts of several recorded layers, each of which names experts of
 * its own; layers beyond the recorded ones repeat them at other places of the text, under other
 * names. So how often an expert comes again is as recorded. */
static void route(void *user, int layer, int token, int *out)
{
    const experiment *s = user;
    const model_shape *h = s->simulated.shape;
    const umbra_trace_info *info = umbra_trace_get_info(s->trace);
    int streams = (h->experts + info->experts - 1) / info->experts;
    for (int j = 0; j < h->used; j++) {
        int stream = j % streams, rank = j / streams;
        int from = (layer + stream * 5) % s->trace_layers, round = layer / s->trace_layers;
        size_t t = (size_t)(token + round * 331 + stream * 97) % (size_t)s->recorded;
        int e = s->routing[(t * (size_t)s->trace_layers + (size_t)from) * (size_t)s->trace_used +
                           (size_t)rank];
        out[j] = (stream * info->experts + e) % h->experts;
    }
}

/* Bytes that a rank has for experts: room for two layers of a token at least. */
static uint64_t cache_of(const experiment *x)
{
    const model_shape *h = x->simulated.shape;
    double least = 2 * SIMULATED_USED * (h->expert_bytes * scale + 512);
    double budget = (x->ram - h->resident_bytes - 1e9) * scale;
    return (uint64_t)(budget > least ? budget : least);
}

static void start_together(simulation *s)
{
    uint64_t latest = 0;
    for (int r = 0; r < s->ranks; r++)
        latest = s->machine[r].now_ns > latest ? s->machine[r].now_ns : latest;
    for (int r = 0; r < s->ranks; r++)
        s->machine[r].now_ns = latest;
}

static void run(experiment *x, double gbit, double latency_ns)
{
    simulation *s = &x->simulated;
    double network_ns = simulation_exchange_ns(s, gbit * 1e9 / 8, latency_ns);
    s->cache_bytes = cache_of(x);
    simulation_open(s);
    simulation_fill(s);
    start_together(s);
    for (int t = 0; t < 3 * x->tokens; t++)
        simulation_token(s, t, network_ns);
    double hits = 0, asked = 0, bytes = 0, wait = 0, busy = 0;
    uint64_t begin = s->machine[0].now_ns;
    s->exchange_ns = 0;
    for (int r = 0; r < s->ranks; r++) {
        s->machine[r].wait_ns = s->machine[r].compute_ns = 0;
        umbra_store_reset_stats(s->machine[r].store);
    }
    for (int t = 3 * x->tokens; t < 4 * x->tokens; t++)
        simulation_token(s, t, network_ns);
    double total = (double)(s->machine[0].now_ns - begin);
    for (int r = 0; r < s->ranks; r++) {
        umbra_store_stats stats;
        umbra_store_get_stats(s->machine[r].store, &stats);
        hits += (double)stats.hits;
        asked += (double)(stats.hits + stats.late + stats.misses);
        bytes += (double)stats.bytes_read / scale;
        wait += s->machine[r].wait_ns / s->ranks;
        busy += s->machine[r].compute_ns / s->ranks;
    }
    printf("%5d %8.0f %8.2f %7.1f %9.1f %8.0f %8.0f %9.0f %7.0f\n", s->ranks, gbit,
           x->tokens / total * 1e9, asked > 0 ? 100 * hits / asked : 0,
           bytes / x->tokens / s->ranks * 1e-6, 100 * busy / total, 100 * wait / total,
           100 * s->exchange_ns / total, 100 * (total - busy - wait - s->exchange_ns) / total);
    fflush(stdout);
    simulation_close(s);
}

static double latency_of(double gbit)
{
    return gbit <= 1 ? 50e3 : gbit <= 10 ? 20e3 : gbit <= 25 ? 10e3 : 5e3;
}

int main(int argc, char **argv)
{
    double ranks[MOST] = {1, 2, 4, 8, 16, 32, 64}, networks[MOST] = {1, 10, 25, 100};
    int n_ranks = 7, n_networks = 4;
    experiment s = {.ram = 64e9, .tokens = 100};
    s.simulated = (simulation){
        .scale = scale, .memory = 80e9, .disk = 6e9, .recall = 0.92, .route = route, .user = &s};
    model_shape *of = &shapes[0];
    umbra_error err = {0};
    if (argc < 2) {
        fputs("usage: machines TRACES [OPTIONS]; the source's head explains them\n", stderr);
        return 2;
    }
    for (int i = 2; i + 1 < argc; i++) {
        const char *option = argv[i];
        for (int n = 0; i + 1 < argc && argv[i + 1][0] != '-' && n < MOST; n++) {
            const char *word = argv[++i];
            double value = atof(word);
            if (strcmp(option, "--ranks") == 0)
                ranks[n] = value, n_ranks = n + 1;
            else if (strcmp(option, "--network") == 0)
                networks[n] = value, n_networks = n + 1;
            else if (strcmp(option, "--shape") == 0)
                for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++)
                    of = strcmp(shapes[k].name, word) == 0 ? &shapes[k] : of;
            else if (strcmp(option, "--ram") == 0)
                s.ram = value * 1e9;
            else if (strcmp(option, "--memory") == 0)
                s.simulated.memory = value * 1e9;
            else if (strcmp(option, "--disk") == 0)
                s.simulated.disk = value * 1e9;
            else if (strcmp(option, "--recall") == 0)
                s.simulated.recall = value;
            else if (strcmp(option, "--tokens") == 0)
                s.tokens = (int)value;
            else if (strcmp(option, "--expert") == 0)
                of->expert_bytes = value * 1e6;
            else if (strcmp(option, "--dense") == 0)
                of->dense_bytes = of->resident_bytes = value * 1e9;
        }
    }
    must(umbra_trace_open(&s.trace, argv[1], &err), &err);
    s.routing = read_routing(s.trace, &s.recorded);
    const umbra_trace_info *info = umbra_trace_get_info(s.trace);
    s.trace_layers = info->layers;
    s.trace_used = info->used;
    if (of->layers == 0)
        of->layers = info->layers, of->experts = info->experts, of->used = info->used,
        of->hidden = info->hidden;
    s.simulated.shape = of;
    printf("%s: %d layers of %d experts of %.1f MB, %.1f GB for every token; each machine %.0f GB, "
           "memory %.0f GB/s, disk %.1f GB/s, recall %.2f\n",
           of->name, of->layers, of->experts, of->expert_bytes * 1e-6, of->dense_bytes * 1e-9,
           s.ram * 1e-9, s.simulated.memory * 1e-9, s.simulated.disk * 1e-9, s.simulated.recall);
    printf("ranks  Gbit/s    tok/s  hits %%  MB/token  compute     wait  exchange  others\n");
    for (int r = 0; r < n_ranks; r++)
        for (int n = 0; n < (ranks[r] > 1 ? n_networks : 1); n++) {
            s.simulated.ranks = (int)ranks[r];
            run(&s, networks[n], latency_of(networks[n]));
        }
    umbra_free(s.routing);
    umbra_trace_close(&s.trace);
    return 0;
}
