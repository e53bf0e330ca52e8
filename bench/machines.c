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
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "routing.h"
#include "store/store_internal.h"

enum { MOST = 16, STREAMS = 3, USED = 64, PIECES = 8 };

/* Bytes are a thousandth of the true ones, rates too: times stay, memory does not. */
static const double scale = 1e-3;

typedef struct model_shape {
    const char *name;
    int layers, experts, used, hidden;
    double expert_bytes, dense_bytes; /* of an expert; of all that every token reads */
    double resident_bytes;            /* that must be in memory beside the experts */
} model_shape;

static model_shape shapes[] = {
    /* 8 bits: 61 layers, the first dense; attention, shared experts, embedding and output */
    {"kimi-k2", 60, 384, 8, 7168, 44.0e6, 16.0e9, 17.5e9},
    /* 4.85 bits, as Q4_K_M has it */
    {"qwen3-235b", 94, 128, 8, 4096, 11.4e6, 4.6e9, 5.2e9},
    {"traces", 0, 0, 0, 0, 0, 0, 0},
};

/* One rank. */
typedef struct machine {
    umbra_store *store;
    umbra_clock clock;
    uint64_t now_ns;
    double compute_ns, wait_ns;
} machine;

typedef struct simulation {
    const model_shape *shape;
    umbra_trace *trace;
    uint16_t *routing; /* (T, L, k) recorded, of so many tokens */
    int recorded, trace_layers, trace_used;
    double ram, memory, disk, recall; /* bytes, bytes/s */
    int ranks, tokens;
    machine *machine; /* (ranks) */
    double exchange_ns;
    umbra_random random;
    float *forecast; /* (experts) */
    char file[64];
} simulation;

static uint64_t now_of(void *user)
{
    return ((machine *)user)->now_ns;
}

static void wait_until(void *user, uint64_t ns)
{
    machine *m = user;
    if (ns > m->now_ns)
        m->now_ns = ns;
}

/* ---- routing ---- */

/* The experts of a token in a layer of the shape. A layer with more experts than the recorded model
 * is put together from the best experts of several recorded layers, each of which names experts of
 * its own; layers beyond the recorded ones repeat them at other places of the text, under other
 * names. So how often an expert comes again is as recorded. */
static void route(const simulation *s, int layer, int token, int *out)
{
    const model_shape *h = s->shape;
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

/* Rank of an expert: as engine/division.c has it without a usage file. */
static int owner_of(const simulation *s, int layer, int expert)
{
    return (expert + s->ranks - layer % s->ranks) % s->ranks;
}

/* ---- machines ---- */

static void open_machine(simulation *s, int rank)
{
    umbra_error err = {0};
    const model_shape *h = s->shape;
    machine *m = &s->machine[rank];
    size_t pairs = (size_t)h->layers * (size_t)h->experts;
    uint64_t bytes = umbra_align_up((uint64_t)(h->expert_bytes * scale), 512);
    umbra_slice *slices = need(umbra_calloc(pairs * UMBRA_STORE_SLICES, sizeof *slices));
    for (size_t i = 0; i < pairs; i++) {
        int layer = (int)(i / (size_t)h->experts), expert = (int)(i % (size_t)h->experts);
        if (owner_of(s, layer, expert) == rank)
            slices[i * UMBRA_STORE_SLICES] = (umbra_slice){0, bytes, 0};
    }
    const char *path = s->file;
    char disk[64];
    double budget = (s->ram - h->resident_bytes - 1e9) * scale;
    snprintf(disk, sizeof disk, "sim:%.0f,100us", s->disk * scale);
    m->clock = (umbra_clock){now_of, wait_until, m};
    m->now_ns = 1;
    umbra_store_options o = {.paths = &path,
                             .n_paths = 1,
                             .n_layers = h->layers,
                             .n_experts = h->experts,
                             .slices = slices,
                             .budget_bytes = budget > (double)bytes * 2 * USED ? (uint64_t)budget
                                                                               : bytes * 2 * USED,
                             .io = disk};
    must(umbra_store_open_with(&m->store, &o, &umbra_io_sim, &m->clock, &err), &err);
    umbra_free(slices);
    if (s->recall > 0) {
        must(umbra_store_probe(m->store, &err), &err);
        umbra_store_set_guessing(m->store, true);
    }
}

static void compute(machine *m, double ns, int pieces)
{
    umbra_error err = {0};
    m->compute_ns += ns;
    for (int i = 0; i < pieces; i++) {
        m->now_ns += (uint64_t)(ns / pieces);
        must(umbra_store_poll(m->store, &err), &err);
    }
}

/* What a walk in layer `from` names of layer `to`: of the true experts a share, of others as many
 * as it misses. */
static void foretell(simulation *s, int from, int to, int token)
{
    int experts[USED];
    const model_shape *h = s->shape;
    memset(s->forecast, 0, (size_t)h->experts * sizeof *s->forecast);
    route(s, to, token, experts);
    for (int j = 0; j < h->used; j++) {
        bool right = umbra_random_unit(&s->random) < s->recall;
        int e = right ? experts[j] : (int)umbra_random_below(&s->random, (uint64_t)h->experts);
        s->forecast[e % h->experts] = (float)s->recall;
    }
    for (int r = 0; r < s->ranks; r++)
        umbra_store_foretell(s->machine[r].store, 0, to, to - from,
                             umbra_store_clock(s->machine[r].store) + (uint64_t)(to - from),
                             s->forecast);
}

/* The rank's experts of a layer. */
static void run_experts(simulation *s, int rank, int layer, const int *experts)
{
    umbra_error err = {0};
    machine *m = &s->machine[rank];
    int own[USED], n = 0;
    for (int j = 0; j < s->shape->used; j++)
        if (owner_of(s, layer, experts[j]) == rank)
            own[n++] = experts[j];
    const umbra_batch batch = {.layer = layer, .experts = own, .n = n};
    must(umbra_store_begin(m->store, &batch, &err), &err);
    umbra_lease leases[USED];
    for (;;) {
        uint64_t before = m->now_ns;
        n = umbra_store_next(m->store, leases, USED, &err);
        m->wait_ns += (double)(m->now_ns - before);
        must(n < 0 ? n : UMBRA_OK, &err);
        if (n == 0)
            return;
        compute(m, n * s->shape->expert_bytes / s->memory * 1e9, 2);
        for (int i = 0; i < n; i++)
            umbra_store_release(m->store, &leases[i]);
    }
}

/* Every rank gets the others' outputs, in rounds that double what each has (recursive doubling). */
static double exchange_ns(const simulation *s, double bytes_per_s, double latency_ns)
{
    double bytes = (double)s->shape->used * s->shape->hidden * sizeof(float);
    double rounds = 0;
    if (s->ranks == 1)
        return 0;
    for (int n = 1; n < s->ranks; n *= 2)
        rounds++;
    return rounds * latency_ns + bytes * (s->ranks - 1) / s->ranks / bytes_per_s * 1e9;
}

static void run_token(simulation *s, int token, double network_ns)
{
    const model_shape *h = s->shape;
    double dense_ns = h->dense_bytes / s->memory * 1e9 / h->layers;
    int experts[USED];
    for (int l = 0; l < h->layers; l++) {
        uint64_t latest = 0;
        route(s, l, token, experts);
        for (int r = 0; r < s->ranks; r++)
            compute(&s->machine[r], dense_ns, PIECES);
        for (int d = 1; s->recall > 0 && d <= UMBRA_MAX_DISTANCE && l + d < h->layers; d++)
            foretell(s, l, l + d, token);
        for (int r = 0; r < s->ranks; r++) {
            run_experts(s, r, l, experts);
            if (s->machine[r].now_ns > latest)
                latest = s->machine[r].now_ns;
        }
        s->exchange_ns += network_ns;
        for (int r = 0; r < s->ranks; r++)
            s->machine[r].now_ns = latest + (uint64_t)network_ns;
    }
}

/* Experts into the caches as far as they go, so that those are not cold after a few tokens. */
static void fill(simulation *s)
{
    umbra_error err = {0};
    for (int r = 0; r < s->ranks; r++) {
        machine *m = &s->machine[r];
        for (int l = 0; l < s->shape->layers; l++)
            for (int e = 0; e < s->shape->experts; e++) {
                if (owner_of(s, l, e) != r)
                    continue;
                umbra_lease lease;
                const umbra_batch batch = {
                    .kind = UMBRA_BATCH_PROBE, .layer = l, .experts = &e, .n = 1};
                must(umbra_store_begin(m->store, &batch, &err), &err);
                while (umbra_store_next(m->store, &lease, 1, &err) > 0)
                    umbra_store_release(m->store, &lease);
            }
    }
}

static void run(simulation *s, double gbit, double latency_ns)
{
    double network_ns = exchange_ns(s, gbit * 1e9 / 8, latency_ns);
    s->machine = need(umbra_calloc((size_t)s->ranks, sizeof *s->machine));
    s->random = (umbra_random){0};
    umbra_random_seed(&s->random, 1);
    for (int r = 0; r < s->ranks; r++)
        open_machine(s, r);
    fill(s);
    uint64_t latest = 0;
    for (int r = 0; r < s->ranks; r++)
        latest = s->machine[r].now_ns > latest ? s->machine[r].now_ns : latest;
    for (int r = 0; r < s->ranks; r++)
        s->machine[r].now_ns = latest;
    for (int t = 0; t < 3 * s->tokens; t++)
        run_token(s, t, network_ns);
    double hits = 0, asked = 0, bytes = 0, wait = 0, busy = 0;
    uint64_t begin = s->machine[0].now_ns;
    s->exchange_ns = 0;
    for (int r = 0; r < s->ranks; r++) {
        s->machine[r].wait_ns = s->machine[r].compute_ns = 0;
        umbra_store_reset_stats(s->machine[r].store);
    }
    for (int t = 3 * s->tokens; t < 4 * s->tokens; t++)
        run_token(s, t, network_ns);
    double total = (double)(s->machine[0].now_ns - begin);
    for (int r = 0; r < s->ranks; r++) {
        umbra_store_stats stats;
        umbra_store_get_stats(s->machine[r].store, &stats);
        hits += (double)stats.hits;
        asked += (double)(stats.hits + stats.late + stats.misses);
        bytes += (double)stats.bytes_read / scale;
        wait += s->machine[r].wait_ns / s->ranks;
        busy += s->machine[r].compute_ns / s->ranks;
        umbra_store_close(&s->machine[r].store);
    }
    printf("%5d %8.0f %8.2f %7.1f %9.1f %8.0f %8.0f %9.0f %7.0f\n", s->ranks, gbit,
           s->tokens / total * 1e9, asked > 0 ? 100 * hits / asked : 0,
           bytes / s->tokens / s->ranks * 1e-6, 100 * busy / total, 100 * wait / total,
           100 * s->exchange_ns / total, 100 * (total - busy - wait - s->exchange_ns) / total);
    fflush(stdout);
    umbra_free(s->machine);
}

static double latency_of(double gbit)
{
    return gbit <= 1 ? 50e3 : gbit <= 10 ? 20e3 : gbit <= 25 ? 10e3 : 5e3;
}

int main(int argc, char **argv)
{
    double ranks[MOST] = {1, 2, 4, 8, 16, 32, 64}, networks[MOST] = {1, 10, 25, 100};
    int n_ranks = 7, n_networks = 4;
    simulation s = {.ram = 64e9, .memory = 80e9, .disk = 6e9, .recall = 0.92, .tokens = 100};
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
                s.memory = value * 1e9;
            else if (strcmp(option, "--disk") == 0)
                s.disk = value * 1e9;
            else if (strcmp(option, "--recall") == 0)
                s.recall = value;
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
    s.shape = of;
    s.forecast = need(umbra_calloc((size_t)of->experts, sizeof *s.forecast));
    make_disk(s.file, 64 << 20);
    printf("%s: %d layers of %d experts of %.1f MB, %.1f GB for every token; each machine %.0f GB, "
           "memory %.0f GB/s, disk %.1f GB/s, recall %.2f\n",
           of->name, of->layers, of->experts, of->expert_bytes * 1e-6, of->dense_bytes * 1e-9,
           s.ram * 1e-9, s.memory * 1e-9, s.disk * 1e-9, s.recall);
    printf("ranks  Gbit/s    tok/s  hits %%  MB/token  compute     wait  exchange  others\n");
    for (int r = 0; r < n_ranks; r++)
        for (int n = 0; n < (ranks[r] > 1 ? n_networks : 1); n++) {
            s.ranks = (int)ranks[r];
            run(&s, networks[n], latency_of(networks[n]));
        }
    unlink(s.file);
    umbra_free(s.forecast);
    umbra_free(s.routing);
    umbra_trace_close(&s.trace);
    return 0;
}
