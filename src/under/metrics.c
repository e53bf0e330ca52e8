/* What Prometheus is told. */
#include "under/metrics.h"

#include <inttypes.h>
#include <string.h>

typedef double value_of(const umbra_under_stats *s);

static double tokens(const umbra_under_stats *s)
{
    return (double)s->tokens;
}

static double prompt_tokens(const umbra_under_stats *s)
{
    return (double)s->prompt_tokens;
}

static double hits(const umbra_under_stats *s)
{
    return (double)s->store.hits;
}

static double late(const umbra_under_stats *s)
{
    return (double)s->store.late;
}

static double misses(const umbra_under_stats *s)
{
    return (double)s->store.misses;
}

static double bytes_read(const umbra_under_stats *s)
{
    return (double)s->store.bytes_read;
}

static double waited(const umbra_under_stats *s)
{
    return (double)s->store.wait_ns * 1e-9;
}

static double inside(const umbra_under_stats *s)
{
    return (double)s->inside_ns * 1e-9;
}

static double budget(const umbra_under_stats *s)
{
    return (double)s->store.budget_bytes;
}

static double resident(const umbra_under_stats *s)
{
    return (double)s->store.resident_bytes;
}

static double ahead(const umbra_under_stats *s)
{
    double sum = 0;
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++)
        sum += (double)s->store.ahead[d].bytes;
    return sum;
}

static double ahead_useful(const umbra_under_stats *s)
{
    double sum = 0;
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++)
        sum += (double)s->store.ahead[d].useful_bytes;
    return sum;
}

static double ahead_late(const umbra_under_stats *s)
{
    double sum = 0;
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++)
        sum += (double)s->store.ahead[d].late_bytes;
    return sum;
}

static double ahead_wasted(const umbra_under_stats *s)
{
    double sum = 0;
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++)
        sum += (double)s->store.ahead[d].wasted_bytes;
    return sum;
}

static double whole_layers(const umbra_under_stats *s)
{
    return (double)s->whole_layers;
}

static const struct {
    const char *name, *type, *help;
    value_of *value;
} figures[] = {
    {"tokens_total", "counter", "Tokens decoded", tokens},
    {"prompt_tokens_total", "counter", "Tokens of prompts", prompt_tokens},
    {"expert_hits_total", "counter", "Experts used that were in memory", hits},
    {"expert_late_total", "counter", "Experts used that were on their way", late},
    {"expert_misses_total", "counter", "Experts used that were missing", misses},
    {"read_bytes_total", "counter", "Bytes of experts read", bytes_read},
    {"wait_seconds_total", "counter", "Time that computing waited for reads", waited},
    {"compute_seconds_total", "counter", "Time in layers with experts, waits included", inside},
    {"ahead_bytes_total", "counter", "Bytes read ahead", ahead},
    {"ahead_useful_bytes_total", "counter", "Of these, in time", ahead_useful},
    {"ahead_late_bytes_total", "counter", "Of these, late", ahead_late},
    {"ahead_wasted_bytes_total", "counter", "Of these, in vain", ahead_wasted},
    {"whole_layers_total", "counter", "Layers read whole, their use not known in time",
     whole_layers},
    {"budget_bytes", "gauge", "What experts may take", budget},
    {"resident_bytes", "gauge", "What experts take", resident},
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* As the value of a label. */
static void print_quoted(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            fputs("\\n", out);
        else if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else
            fputc(*text, out);
    }
}

void umbra_metrics_print(FILE *out, const umbra_metrics_model *models, int n)
{
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        fprintf(out, "# HELP umbra_under_%s %s\n# TYPE umbra_under_%s %s\n", figures[i].name,
                figures[i].help, figures[i].name, figures[i].type);
        for (int m = 0; m < n; m++) {
            fprintf(out, "umbra_under_%s{model=\"", figures[i].name);
            print_quoted(out, base_name(models[m].path));
            fprintf(out, "\"} %.17g\n", figures[i].value(&models[m].stats));
        }
    }
}
