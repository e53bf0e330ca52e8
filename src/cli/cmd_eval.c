/* umbra eval: judges predictors on traces. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

static int report(const umbra_evaluation *evaluation, const char *path, bool json)
{
    umbra_error err = {0};
    if (umbra_evaluation_report(evaluation, path, &err) != UMBRA_OK)
        return cli_fail(&err);
    if (!json)
        printf("report: %s\n", cli_plain(path));
    return EXIT_DONE;
}

enum { MOST_SHARES = 8 };

/* "0.3,0.5" to numbers. Returns how many, -1 with a message where the text is something else. */
static int parse_shares(const char *text, double *shares)
{
    int n = 0;
    for (const char *at = text; at && n < MOST_SHARES;) {
        char *end;
        shares[n] = strtod(at, &end);
        if (end == at || (*end && *end != ',') || !(shares[n] > 0 && shares[n] <= 1))
            break;
        n++;
        if (!*end)
            return n;
        at = end + 1;
    }
    fprintf(
        stderr,
        "umbra eval: --residency %s: shares of the experts above 0 and at most 1, up to %d, with "
        "commas between, such as 0.3,0.5\n",
        cli_plain(text), MOST_SHARES);
    return -1;
}

int cli_eval(int argc, char **argv)
{
    umbra_evaluate_options o = {0};
    double shares[MOST_SHARES];
    const char *model_path = NULL, *residency = NULL;
    cli_list shadows = {0};
    const char *report_path = NULL;
    bool json = false;
    const cli_option options[] = {
        {"--shadow", 0, CLI_LIST, "FILE...", "shadow files to judge", &shadows},
        {"--report", 0, CLI_TEXT, "FILE", "write an HTML report that needs nothing else",
         &report_path},
        {"--model", 'm', CLI_TEXT, "FILE",
         "the model of the traces: decode their documents with a part of it in memory, and judge "
         "running ahead",
         &model_path},
        {"--residency", 0, CLI_TEXT, "SHARE,...",
         "shares of the experts in memory, with --model (default: 0.3,0.5,0.7)", &residency},
        {"--walk-tokens", 0, CLI_U64, "N",
         "tokens to decode at each residency; the first 64 only fill the memory (default: 320)",
         &o.walk_tokens, 1},
        {"--tokens", 'n', CLI_U64, "N", "evaluate about so many tokens (default: all)",
         &o.max_tokens, 1},
        {"--no-ablations", 0, CLI_FLAG, NULL, "do not measure what each part of a shadow gives",
         &o.no_ablations},
        {"--threads", 't', CLI_INT, "N", "threads that compute (default: the processors at hand)",
         &o.threads, 1, CLI_MOST_WORKERS},
        {"--json", 0, CLI_FLAG, NULL, "print one JSON object", &json},
        {0},
    };
    const cli_syntax syntax = {
        "eval",
        "DIR...",
        "Judges predictors of experts on traces: the oracle, static frequency, the previous "
        "token's experts, the model's own routers, shadow files and, with the model, running ahead "
        "on what is in memory. A shadow that was trained on "
        "one of the documents is refused.",
        options,
        CLI_ANY,
        "umbra eval other-traces --shadow MODEL.shadow.safetensors --report report.html\n"
        "umbra eval other-traces --model MODEL.gguf --residency 0.3,0.5,0.7\n"
        "umbra eval other-traces --shadow a.safetensors b.safetensors --json\n"};
    const char *folders[CLI_MOST_OPERANDS + 1] = {0};
    int code = cli_parse(&syntax, argc, argv, folders);
    if (code >= 0)
        return code;
    o.traces = folders;
    while (o.n_traces < CLI_MOST_OPERANDS && folders[o.n_traces])
        o.n_traces++;
    o.shadows = (const char *const *)shadows.words;
    o.n_shadows = shadows.count;
    o.progress = cli_progress();
    if (residency) {
        o.residencies = shares;
        o.n_residencies = parse_shares(residency, shares);
        if (o.n_residencies < 0)
            return EXIT_MISUSE;
    }
    umbra_error err = {0};
    umbra_evaluation *evaluation;
    umbra_model *model = NULL;
    int rc = model_path ? umbra_model_open(&model, model_path, &err) : UMBRA_OK;
    o.model = model;
    if (rc == UMBRA_OK)
        rc = umbra_evaluate(&evaluation, &o, &err);
    cli_progress_end();
    umbra_model_close(&model);
    if (rc != UMBRA_OK)
        return cli_fail(&err);
    if (json)
        umbra_evaluation_json(evaluation, stdout);
    else
        umbra_evaluation_print(evaluation, stdout);
    code = report_path ? report(evaluation, report_path, json) : EXIT_DONE;
    umbra_evaluation_free(&evaluation);
    return code;
}
