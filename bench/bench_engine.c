/* bench_engine MODEL... : tokens per second with all experts in memory, at 1 and 2 threads, prefill
 * of 128 tokens and decode of 64, beside what memory bandwidth allows and beside llama.cpp's
 * llama-bench where that is on the PATH. All are measured in turn (A B A B ...) so that a drift of
 * the machine's speed hits them alike; medians are printed. */
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <umbra/umbra.h>

enum {
    ROUNDS = 5,
    PREFILL = 128,
    DECODE = 64,
    MOST_THREADS = 2,
    READ_BYTES = 256 << 20, /* read per measurement of the bandwidth */
};

typedef struct figures {
    double prefill[ROUNDS], decode[ROUNDS];           /* tokens/s */
    double peer_prefill[ROUNDS], peer_decode[ROUNDS]; /* 0: no peer */
    double bandwidth[ROUNDS];                         /* bytes/s of a plain read */
} figures;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(const double *values)
{
    double sorted[ROUNDS];
    memcpy(sorted, values, sizeof sorted);
    qsort(sorted, ROUNDS, sizeof *sorted, compare);
    return sorted[ROUNDS / 2];
}

/* ---- plain reads ---- */

typedef struct reading {
    const uint64_t *data;
    size_t words;
    int times;
    uint64_t sum;
} reading;

static void *read_all(void *argument)
{
    reading *r = argument;
    uint64_t sum[8] = {0};
    for (int pass = 0; pass < r->times; pass++)
        for (size_t i = 0; i + 8 <= r->words; i += 8)
            for (size_t j = 0; j < 8; j++)
                sum[j] += r->data[i + j];
    r->sum = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
    return NULL;
}

/* Reads as many bytes as the model has, again and again: what caches hold of them helps here as it
 * helps the engine. */
static double read_bandwidth(const uint64_t *data, uint64_t model_bytes, int threads)
{
    pthread_t thread[MOST_THREADS];
    reading part[MOST_THREADS];
    uint64_t bytes = model_bytes < READ_BYTES ? model_bytes : READ_BYTES;
    size_t words = bytes / sizeof *data / (size_t)threads;
    int times = (int)(READ_BYTES / bytes);
    double start = now();
    for (int t = 0; t < threads; t++) {
        part[t] = (reading){data + (size_t)t * words, words, times, 0};
        pthread_create(&thread[t], NULL, read_all, &part[t]);
    }
    uint64_t sum = 0;
    for (int t = 0; t < threads; t++) {
        pthread_join(thread[t], NULL);
        sum += part[t].sum;
    }
    double seconds = now() - start;
    return sum == 1
               ? 0
               : (double)bytes * times / seconds; /* the sum must be used, or nothing is read */
}

/* ---- the engine ---- */

typedef struct run {
    umbra_model *model;
    umbra_engine *engine;
    int32_t prompt[PREFILL];
    int count;
} run;

static int keep_token(void *user, int32_t id)
{
    run *r = user;
    if (r->count < PREFILL)
        r->prompt[r->count++] = id;
    return 0;
}

static void must(int rc, const umbra_error *err)
{
    if (rc == UMBRA_OK)
        return;
    fprintf(stderr, "bench_engine: %s\n", err->message);
    exit(1);
}

static umbra_generation generate(run *r, const int32_t *prompt, int n, int tokens,
                                 float temperature, bool keep)
{
    umbra_error err = {0};
    umbra_generate_options options = {
        .sampling = {.temperature = temperature, .seed = 1},
        .max_tokens = tokens > 0 ? tokens : -1, /* 0: only the prompt */
        .ignore_end = true,
        .on_token = keep ? keep_token : NULL,
        .user = r,
    };
    umbra_generation result;
    umbra_engine_truncate(r->engine, 0, 0);
    must(umbra_generate(r->engine, r->model, prompt, n, &options, &result, &err), &err);
    return result;
}

/* Opens, lets the model write the prompt that is measured, and warms up: every expert that the
 * measured runs ask for is then resident. */
static void open_run(run *r, const char *path, int threads)
{
    umbra_error err = {0};
    *r = (run){0};
    must(umbra_model_open(&r->model, path, &err), &err);
    umbra_engine_options options = {.threads = threads};
    must(umbra_engine_open(&r->engine, r->model, &options, &err), &err);
    r->prompt[0] = umbra_bos_token(r->model) < 0 ? 0 : umbra_bos_token(r->model);
    r->count = 1;
    generate(r, r->prompt, 1, PREFILL - 1, 1.0f, true);
    generate(r, r->prompt, PREFILL, DECODE, 0.0f, false);
}

/* ---- the peer ---- */

static double peer(const char *path, int threads, const char *what, int n)
{
    char command[1024];
    snprintf(command, sizeof command,
             "llama-bench -m '%s' -t %d -p %d -n %d -r 1 -o json 2>/dev/null", path, threads,
             strcmp(what, "-p") == 0 ? n : 0, strcmp(what, "-n") == 0 ? n : 0);
    FILE *f = popen(command, "r");
    if (!f)
        return 0;
    json_t *result = json_loadf(f, 0, NULL);
    pclose(f);
    double speed = json_number_value(json_object_get(json_array_get(result, 0), "avg_ts"));
    json_decref(result);
    return speed;
}

static bool has_peer(void)
{
    return system("command -v llama-bench >/dev/null 2>&1") == 0;
}

/* Weight bytes that one token reads: everything dense but the embedding's other rows, and k experts
 * per layer. */
static double bytes_per_token(const umbra_model *model)
{
    const umbra_model_info *m = umbra_model_get_info(model);
    return (double)m->dense_bytes + (double)m->bytes_per_expert * m->experts_used * m->moe_layers;
}

static void measure(const char *path, int threads, bool with_peer, const uint64_t *data)
{
    run r;
    figures f = {0};
    open_run(&r, path, threads);
    const umbra_model_info *m = umbra_model_get_info(r.model);
    for (int i = 0; i < ROUNDS; i++) {
        umbra_generation prefill = generate(&r, r.prompt, PREFILL, 0, 0.0f, false);
        umbra_generation decode = generate(&r, r.prompt, 1, DECODE, 0.0f, false);
        f.prefill[i] = PREFILL / prefill.prefill_seconds;
        f.decode[i] = decode.decode_steps / decode.decode_seconds;
        f.bandwidth[i] = read_bandwidth(data, m->dense_bytes + m->expert_bytes, threads);
        if (with_peer) {
            f.peer_prefill[i] = peer(path, threads, "-p", PREFILL);
            f.peer_decode[i] = peer(path, threads, "-n", DECODE);
        }
    }
    double bytes = bytes_per_token(r.model);
    printf("%-12s %d  prefill %7.1f  decode %7.1f tok/s  %5.2f GB/s of %5.2f (%2.0f %%)", m->name,
           threads, median(f.prefill), median(f.decode), median(f.decode) * bytes * 1e-9,
           median(f.bandwidth) * 1e-9, 100 * median(f.decode) * bytes / median(f.bandwidth));
    if (with_peer)
        printf("  llama.cpp %7.1f %7.1f  ratio %.2f %.2f", median(f.peer_prefill),
               median(f.peer_decode), median(f.prefill) / median(f.peer_prefill),
               median(f.decode) / median(f.peer_decode));
    putchar('\n');
    fflush(stdout);
    umbra_engine_close(&r.engine);
    umbra_model_close(&r.model);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: bench_engine MODEL...\n", stderr);
        return 2;
    }
    uint64_t *data = malloc(READ_BYTES);
    if (!data)
        return 1;
    memset(data, 1, READ_BYTES);
    bool with_peer = has_peer();
    printf("all in memory; prefill of %d tokens, decode of %d; medians of %d interleaved rounds\n",
           PREFILL, DECODE, ROUNDS);
    if (!with_peer)
        puts("llama-bench is not on the PATH: no peer");
    for (int i = 1; i < argc; i++)
        for (int threads = 1; threads <= MOST_THREADS; threads++)
            measure(argv[i], threads, with_peer, data);
    free(data);
    return 0;
}
