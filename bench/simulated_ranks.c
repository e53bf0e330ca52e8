/* Simulates the ranks of a model; see the header. */
#include "simulated_ranks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "numbers.h"
#include "simulated_clock.h"

enum { PIECES = 8 /* of a layer's attention, between which stores are polled */ };

int simulated_owner(const simulation *s, int layer, int expert)
{
    return (expert + s->ranks - layer % s->ranks) % s->ranks;
}

static void open_machine(simulation *s, int rank)
{
    umbra_error err = {0};
    const model_shape *h = s->shape;
    machine *m = &s->machine[rank];
    size_t pairs = (size_t)h->layers * (size_t)h->experts;
    uint64_t bytes = umbra_align_up((uint64_t)(h->expert_bytes * s->scale), 512);
    umbra_slice *slices = need(umbra_calloc(pairs * UMBRA_STORE_SLICES, sizeof *slices));
    for (size_t i = 0; i < pairs; i++) {
        int layer = (int)(i / (size_t)h->experts), expert = (int)(i % (size_t)h->experts);
        if (simulated_owner(s, layer, expert) == rank)
            slices[i * UMBRA_STORE_SLICES] = (umbra_slice){0, bytes, 0};
    }
    const char *path = s->file;
    char disk[64];
    snprintf(disk, sizeof disk, "sim:%.0f,100us", s->disk * s->scale);
    m->clock = simulated_clock(&m->now_ns);
    m->now_ns = 1;
    umbra_store_options o = {.paths = &path,
                             .n_paths = 1,
                             .n_layers = h->layers,
                             .n_experts = h->experts,
                             .slices = slices,
                             .budget_bytes = s->cache_bytes,
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
    int experts[SIMULATED_USED];
    const model_shape *h = s->shape;
    memset(s->forecast, 0, (size_t)h->experts * sizeof *s->forecast);
    s->route(s->user, to, token, experts);
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
    int own[SIMULATED_USED], n = 0;
    for (int j = 0; j < s->shape->used; j++)
        if (simulated_owner(s, layer, experts[j]) == rank)
            own[n++] = experts[j];
    const umbra_batch batch = {.layer = layer, .experts = own, .n = n};
    must(umbra_store_begin(m->store, &batch, &err), &err);
    umbra_lease leases[SIMULATED_USED];
    for (;;) {
        uint64_t before = m->now_ns;
        n = umbra_store_next(m->store, leases, SIMULATED_USED, &err);
        m->wait_ns += (double)(m->now_ns - before);
        must(n < 0 ? n : UMBRA_OK, &err);
        if (n == 0)
            return;
        compute(m, n * s->shape->expert_bytes / s->memory * 1e9, 2);
        for (int i = 0; i < n; i++)
            umbra_store_release(m->store, &leases[i]);
    }
}

double simulation_exchange_ns(const simulation *s, double bytes_per_s, double latency_ns)
{
    double bytes = (double)s->shape->used * s->shape->hidden * sizeof(float);
    double rounds = 0;
    if (s->ranks == 1)
        return 0;
    for (int n = 1; n < s->ranks; n *= 2)
        rounds++;
    return rounds * latency_ns + bytes * (s->ranks - 1) / s->ranks / bytes_per_s * 1e9;
}

void simulation_token(simulation *s, int token, double network_ns)
{
    const model_shape *h = s->shape;
    double dense_ns = h->dense_bytes / s->memory * 1e9 / h->layers;
    int experts[SIMULATED_USED];
    for (int l = 0; l < h->layers; l++) {
        uint64_t latest = 0;
        s->route(s->user, l, token, experts);
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

void simulation_fill(simulation *s)
{
    umbra_error err = {0};
    for (int r = 0; r < s->ranks; r++) {
        machine *m = &s->machine[r];
        for (int l = 0; l < s->shape->layers; l++)
            for (int e = 0; e < s->shape->experts; e++) {
                if (simulated_owner(s, l, e) != r)
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

static void make_file(simulation *s)
{
    snprintf(s->file, sizeof s->file, "/tmp/umbra-machines-XXXXXX");
    int fd = mkstemp(s->file);
    if (fd < 0 || ftruncate(fd, 64 << 20) != 0) {
        perror(s->file);
        exit(1);
    }
    close(fd);
}

void simulation_open(simulation *s)
{
    s->machine = need(umbra_calloc((size_t)s->ranks, sizeof *s->machine));
    s->forecast = need(umbra_calloc((size_t)s->shape->experts, sizeof *s->forecast));
    s->exchange_ns = 0;
    umbra_random_seed(&s->random, 1);
    make_file(s);
    for (int r = 0; r < s->ranks; r++)
        open_machine(s, r);
}

void simulation_close(simulation *s)
{
    for (int r = 0; r < s->ranks; r++)
        umbra_store_close(&s->machine[r].store);
    unlink(s->file);
    umbra_free(s->machine);
    umbra_free(s->forecast);
}
