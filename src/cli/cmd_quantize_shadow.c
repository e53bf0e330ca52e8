/* umbra quantize-shadow: a shadow model in fewer bits. */
#include <math.h>
#include <stdio.h>

#include "base/json_writer.h"
#include "cli/cli.h"

static void json_series(umbra_json *j, const char *key, const double *values, bool measured)
{
    umbra_json_key(j, key);
    umbra_json_open(j, '[');
    for (int d = 0; d < 4; d++)
        umbra_json_double(j, measured ? values[d] : NAN, 6);
    umbra_json_close(j, ']');
}

static void print_json(const char *output, const umbra_quantization *q)
{
    umbra_json j;
    umbra_json_begin(&j, stdout);
    umbra_json_open(&j, '{');
    umbra_json_put_text(&j, "file", output);
    umbra_json_put_uint(&j, "bytes_before", q->bytes_before);
    umbra_json_put_uint(&j, "bytes_after", q->bytes_after);
    umbra_json_put_bool(&j, "measured", q->measured);
    json_series(&j, "recall", q->recall, q->measured);
    json_series(&j, "lost", q->lost, q->measured);
    umbra_json_close(&j, '}');
    putchar('\n');
}

static void print_text(const char *output, const umbra_quantization *q)
{
    printf("%s: %s, from %s\n", cli_plain(output), cli_size(q->bytes_after),
           cli_size(q->bytes_before));
    if (!q->measured) {
        puts("what that costs in recall was not measured: name traces with --on DIR...");
        return;
    }
    printf("slot recall at m = %d was", q->m);
    for (int d = 0; d < 4; d++)
        printf(" %.4f", q->recall[d]);
    fputs(", lost", stdout);
    for (int d = 0; d < 4; d++)
        printf(" %.4f", q->lost[d]);
    putchar('\n');
}

int cli_quantize_shadow(int argc, char **argv)
{
    umbra_quantize_options o = {0};
    cli_list traces = {0};
    const char *weights = NULL;
    bool json = false;
    const cli_option options[] = {
        {"--weights", 0, CLI_TEXT, "i8|bf16|f32", "form of the weights (default: i8)", &weights},
        {"--on", 0, CLI_LIST, "DIR...", "traces to measure the lost recall on", &traces},
        {"--tokens", 'n', CLI_U64, "N", "measure on about so many tokens (default: 20000)",
         &o.max_tokens, 1},
        {"--force", 0, CLI_FLAG, NULL, "write it even if it costs more than 0.2 points of recall",
         &o.force},
        {"--threads", 't', CLI_INT, "N", "threads that compute (default: the processors at hand)",
         &o.threads, 1, CLI_MOST_WORKERS},
        {"--json", 0, CLI_FLAG, NULL, "print one JSON object", &json},
        {0},
    };
    const cli_syntax syntax = {
        "quantize-shadow",
        "IN OUT",
        "Rounds the weights of a shadow file to 8 bits, with one scale per row. With --on, the "
        "recall lost is measured on traces that it was not trained on, written into the file, and "
        "more than 0.2 points at any distance is refused.",
        options,
        2,
        "umbra quantize-shadow MODEL.shadow.safetensors small.safetensors --on other-traces\n"};
    const char *files[2];
    int code = cli_parse(&syntax, argc, argv, files);
    if (code >= 0)
        return code;
    o.input = files[0];
    o.output = files[1];
    o.traces = (const char *const *)traces.words;
    o.n_traces = traces.count;
    o.progress = cli_progress();
    umbra_error err = {0};
    umbra_quantization result = {0};
    int rc = umbra_weight_form_parse(weights, &o.weights, &err);
    if (rc == UMBRA_OK)
        rc = umbra_quantize_shadow(&o, &result, &err);
    cli_progress_end();
    if (rc != UMBRA_OK) {
        code = cli_fail(&err);
        return result.measured ? EXIT_FAILED : code;
    }
    if (json)
        print_json(o.output, &result);
    else
        print_text(o.output, &result);
    return EXIT_DONE;
}
