/* umbra bench predictor: the time of a prediction by shape. */
#include <stdio.h>

#include "base/json_writer.h"
#include "cli/cli.h"

/* A middle-sized model's shape, Kimi-K2's width, and Qwen3-30B-A3B's. */
static const char *const default_shapes[] = {"4096x1024x4x384", "7168x1024x4x384",
                                             "2048x512x4x128"};

static bool parse_shape(const char *text, umbra_bench_predictor_options *o)
{
    int distances, used = 0;
    return sscanf(text, "%dx%dx%dx%d%n", &o->hidden, &o->width, &distances, &o->experts, &used) ==
               4 &&
           distances == 4 && text[used] == '\0';
}

static void json_latency(umbra_json *j, const char *prefix, const umbra_latency *l)
{
    const struct {
        const char *name;
        double seconds;
    } values[] = {{"median", l->median_s}, {"p95", l->p95_s}, {"p99", l->p99_s}};
    for (int i = 0; i < 3; i++) {
        char key[64];
        snprintf(key, sizeof key, "%s_us_%s", prefix, values[i].name);
        umbra_json_put_double(j, key, values[i].seconds * 1e6, 6);
    }
}

static void print_json(umbra_json *j, const umbra_bench_predictor_result *r, int mode, int threads)
{
    char shape[64];
    snprintf(shape, sizeof shape, "%dx%dx4x%d", r->hidden, r->width, r->experts);
    umbra_json_open(j, '{');
    const struct {
        const char *key, *value;
    } texts[] = {{"shape", shape},
                 {"arch", r->arch},
                 {"weights", r->weights},
                 {"kernels", r->kernels},
                 {"from", mode == 0 ? "cache" : "memory"}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        umbra_json_put_text(j, texts[i].key, texts[i].value);
    }
    umbra_json_key(j, "threads");
    umbra_json_int(j, threads);
    umbra_json_key(j, "layers");
    umbra_json_int(j, r->layers);
    umbra_json_put_uint(j, "bytes", r->bytes);
    json_latency(j, "predict", &r->predict[mode]);
    json_latency(j, "read", &r->read[mode]);
    umbra_json_put_double(j, "ratio", r->ratio[mode], 4);
    umbra_json_close(j, '}');
}

static void print_text(const umbra_bench_predictor_result *r, int mode)
{
    char shape[64];
    snprintf(shape, sizeof shape, "%s %dx%dx4x%d", r->arch, r->hidden, r->width, r->experts);
    printf("%-26s %-5s %-7s %-7s %9s %9.1f %9.1f %9.1f %9.1f %6.2f\n", shape, r->weights,
           r->kernels, mode == 0 ? "cache" : "memory", cli_size(r->bytes),
           r->predict[mode].median_s * 1e6, r->predict[mode].p95_s * 1e6,
           r->predict[mode].p99_s * 1e6, r->read[mode].median_s * 1e6, r->ratio[mode]);
}

typedef struct bench_run {
    umbra_bench_predictor_options options;
    bool json;
    umbra_json writer;
} bench_run;

static int bench_one(bench_run *run, umbra_error *err)
{
    umbra_bench_predictor_result r;
    int rc = umbra_bench_predictor(&run->options, &r, err);
    for (int mode = 0; rc == UMBRA_OK && mode < 2; mode++) {
        if (run->json)
            print_json(&run->writer, &r, mode, run->options.threads ? run->options.threads : 1);
        else
            print_text(&r, mode);
    }
    fflush(stdout);
    return rc;
}

static int bench_shapes(bench_run *run, const char *shape)
{
    umbra_error err = {0};
    int rc = UMBRA_OK;
    if (run->json) {
        umbra_json_begin(&run->writer, stdout);
        umbra_json_open(&run->writer, '{');
        umbra_json_key(&run->writer, "rows");
        umbra_json_open(&run->writer, '[');
    } else {
        puts("times in microseconds; read: a plain read of the same bytes, in turn with it");
        printf("%-26s %-5s %-7s %-7s %9s %9s %9s %9s %9s %6s\n", "shape", "type", "kernels", "from",
               "bytes", "median", "p95", "p99", "read", "ratio");
    }
    if (run->options.shadow || shape) {
        rc = bench_one(run, &err);
    } else {
        for (size_t i = 0; rc == UMBRA_OK && i < 3; i++) {
            parse_shape(default_shapes[i], &run->options);
            rc = bench_one(run, &err);
        }
    }
    if (run->json) {
        umbra_json_close(&run->writer, ']');
        umbra_json_close(&run->writer, '}');
        putchar('\n');
    }
    return rc == UMBRA_OK ? EXIT_DONE : cli_fail(&err);
}

int cli_bench_predictor(int argc, char **argv)
{
    bench_run run = {0};
    const char *shape = NULL, *weights = NULL;
    umbra_error err = {0};
    const cli_option options[] = {
        {"--shape", 0, CLI_TEXT, "HxNx4xE",
         "a seed network of random weights: hidden, inner width, 4 distances, experts (default: "
         "three usual ones)",
         &shape},
        {"--shadow", 0, CLI_TEXT, "FILE", "time this shadow model", &run.options.shadow},
        {"--weights", 0, CLI_TEXT, "f32|bf16|i8", "form of the weights (default: i8)", &weights},
        {"--kernels", 0, CLI_TEXT, "auto|scalar|avx2|avxvnni|avx512|amx|neon",
         "instruction set to compute with (default: auto)", &run.options.kernels},
        {"--layers", 0, CLI_INT, "N", "copies to cycle through (default: 61)", &run.options.layers,
         5, 1024},
        {"--calls", 0, CLI_INT, "N", "predictions per thread and mode (default: 4000)",
         &run.options.calls, 1, 1000000},
        {"--threads", 't', CLI_INT, "N", "threads that predict at once (default: 1)",
         &run.options.threads, 1, CLI_MOST_THREADS},
        {"--json", 0, CLI_FLAG, NULL, "print one JSON object", &run.json},
        {0},
    };
    const cli_syntax syntax = {
        "bench predictor",
        "",
        "Times single predictions of a shadow model, top experts and calibrated probabilities "
        "included: with weights warm in cache, and cycling through the copies of all layers so "
        "that they come from memory. In turn with them it times a plain read of the same bytes, "
        "which no "
        "prediction can beat.",
        options,
        0,
        "umbra bench predictor\n"
        "umbra bench predictor --shadow MODEL.shadow.safetensors --weights i8 -t 2\n"};
    int code = cli_parse(&syntax, argc, argv, NULL);
    if (code >= 0)
        return code;
    if (shape && (run.options.shadow || !parse_shape(shape, &run.options))) {
        fprintf(stderr, "umbra bench predictor: %s\n",
                run.options.shadow ? "give --shape or --shadow, not both"
                                   : "a shape looks like 4096x1024x4x384");
        return EXIT_MISUSE;
    }
    if (umbra_weight_form_parse(weights, &run.options.weights, &err) != UMBRA_OK)
        return cli_fail(&err);
    run.options.progress = cli_progress();
    return bench_shapes(&run, shape);
}
