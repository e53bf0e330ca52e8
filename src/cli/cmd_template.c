/* umbra template: renders a chat template with a case. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/template_case.h"

/* "2026-11-26 09:30" as that time of day, or NULL: the local time now. */
static bool read_time(const char *text, struct tm *out)
{
    if (!text) {
        time_t now = time(NULL);
        return localtime_r(&now, out) != NULL;
    }
    *out = (struct tm){.tm_isdst = -1};
    const char *end = strptime(text, "%Y-%m-%d %H:%M", out);
    if (!end || *end != '\0')
        return false;
    struct tm filled = *out;
    time_t seconds = timegm(&filled); /* for the day of the week and of the year */
    return gmtime_r(&seconds, out) != NULL;
}

/* Models are not read whole. */
static bool is_model(const char *path)
{
    char magic[4] = "";
    FILE *f = strcmp(path, "-") == 0 ? NULL : fopen(path, "rbe");
    bool is = f && fread(magic, 1, sizeof magic, f) == sizeof magic &&
              memcmp(magic, "GGUF", sizeof magic) == 0;
    if (f)
        fclose(f);
    return is;
}

/* The text of FILE.jinja, or the template in MODEL.gguf; free() it. */
static int read_template(const char *path, char **text, size_t *bytes)
{
    umbra_error err = {0};
    if (!is_model(path))
        return cli_read_file(path, CLI_MOST_TEMPLATE_BYTES, text, bytes);
    return umbra_model_read_template(path, text, bytes, &err) == UMBRA_OK ? 0 : cli_fail(&err);
}

/* A refusal is an answer of the template, no misuse of the program. */
static int fail_in(const char *path, const umbra_error *err)
{
    fprintf(stderr, "umbra: %s: %s\n", cli_plain(path), err->message);
    return EXIT_FAILED;
}

static void print_spans(const umbra_template_output *out)
{
    for (size_t i = 0; i < out->n_spans; i++)
        printf("%zu %zu %s\n", out->spans[i].begin, out->spans[i].end,
               out->spans[i].input ? "input" : "template");
}

static int render(const umbra_template *t, const umbra_template_value *variables,
                  const struct tm *now, bool spans, const char *path)
{
    umbra_error err = {0};
    umbra_template_options options = {.now = now};
    umbra_template_output out;
    if (umbra_template_render(t, variables, &options, &out, &err) != UMBRA_OK)
        return fail_in(path, &err);
    if (spans)
        print_spans(&out);
    else
        fwrite(out.text, 1, out.bytes, stdout);
    umbra_template_output_free(&out);
    return EXIT_DONE;
}

static int run(const char *const paths[2], const struct tm *now, bool spans)
{
    umbra_error err = {0};
    umbra_template *t = NULL;
    umbra_template_tree *tree = NULL;
    umbra_template_value *variables;
    char *source = NULL, *json = NULL;
    size_t source_bytes, json_bytes;
    int code = read_template(paths[0], &source, &source_bytes);
    if (code == 0)
        code = cli_read_file(paths[1], CLI_MOST_TEMPLATE_BYTES, &json, &json_bytes);
    if (code == 0 && umbra_template_open(&t, source, source_bytes, &err) != UMBRA_OK)
        code = fail_in(paths[0], &err);
    if (code == 0 &&
        cli_template_case(&tree, &variables, json, json_bytes, paths[1], &err) != UMBRA_OK)
        code = cli_fail(&err);
    if (code == 0)
        code = render(t, variables, now, spans, paths[0]);
    umbra_template_tree_close(&tree);
    umbra_template_close(&t);
    free(json);
    free(source);
    return code;
}

int cli_template(int argc, char **argv)
{
    const char *when = NULL;
    bool spans = false;
    const cli_option options[] = {
        {"--now", 0, CLI_TEXT, "TIME",
         "time for templates that ask, as \"2026-11-26 09:30\" "
         "(default: the local time)",
         &when},
        {"--spans", 0, CLI_FLAG, NULL,
         "print which bytes stem from the template and which from the case, instead of the text",
         &spans},
        {0},
    };
    const cli_syntax syntax = {"template",
                               "FILE CASE",
                               "Renders a chat template, a Jinja file or the one in a GGUF model, "
                               "with the messages, tools "
                               "and variables of a JSON file, and prints the prompt as the model "
                               "would get it. A case that "
                               "the template refuses, in its own words, ends with exit code 1.",
                               options,
                               2,
                               "umbra template chat.jinja case.json\n"
                               "umbra template MODEL.gguf case.json --spans\n"};
    const char *paths[2];
    int code = cli_parse(&syntax, argc, argv, paths);
    if (code >= 0)
        return code;
    struct tm now;
    if (!read_time(when, &now)) {
        fputs("umbra template: --now wants a time as \"2026-11-26 09:30\"\n", stderr);
        return EXIT_MISUSE;
    }
    return run(paths, &now, spans);
}
