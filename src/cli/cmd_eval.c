/* umbra eval: judges predictors on traces. */
#include <stdio.h>

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

int cli_eval(int argc, char **argv)
{
    umbra_evaluate_options o = {0};
    cli_list shadows = {0};
    const char *report_path = NULL;
    bool json = false;
    const cli_option options[] = {
        {"--shadow", 0, CLI_LIST, "FILE...", "shadow files to judge", &shadows},
        {"--report", 0, CLI_TEXT, "FILE", "write an HTML report that needs nothing else",
         &report_path},
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
        "token's experts, the model's own routers, and shadow files. A shadow that was trained on "
        "one of the documents is refused.",
        options,
        CLI_ANY,
        "umbra eval other-traces --shadow MODEL.shadow.safetensors --report report.html\n"
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
    umbra_error err = {0};
    umbra_evaluation *evaluation;
    int rc = umbra_evaluate(&evaluation, &o, &err);
    cli_progress_end();
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
