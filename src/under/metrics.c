/* What Prometheus is told. */
#include "under/metrics.h"

enum {
    TOKENS,
    PROMPT_TOKENS,
    HITS,
    LATE,
    MISSES,
    READ,
    WAIT,
    COMPUTE,
    AHEAD,
    AHEAD_USEFUL,
    AHEAD_LATE,
    AHEAD_WASTED,
    WHOLE_LAYERS,
    BUDGET,
    RESIDENT,
    FIGURES
};

static const struct {
    const char *name, *type, *help;
} figures[FIGURES] = {
    [TOKENS] = {"tokens_total", "counter", "Tokens decoded"},
    [PROMPT_TOKENS] = {"prompt_tokens_total", "counter", "Tokens of prompts"},
    [HITS] = {"expert_hits_total", "counter", "Experts used that were in memory"},
    [LATE] = {"expert_late_total", "counter", "Experts used that were on their way"},
    [MISSES] = {"expert_misses_total", "counter", "Experts used that were missing"},
    [READ] = {"read_bytes_total", "counter", "Bytes of experts read"},
    [WAIT] = {"wait_seconds_total", "counter", "Time that computing waited for reads"},
    [COMPUTE] = {"compute_seconds_total", "counter", "Time in layers with experts, waits included"},
    [AHEAD] = {"ahead_bytes_total", "counter", "Bytes read ahead"},
    [AHEAD_USEFUL] = {"ahead_useful_bytes_total", "counter", "Of these, in time"},
    [AHEAD_LATE] = {"ahead_late_bytes_total", "counter", "Of these, late"},
    [AHEAD_WASTED] = {"ahead_wasted_bytes_total", "counter", "Of these, in vain"},
    [WHOLE_LAYERS] = {"whole_layers_total", "counter",
                      "Layers read whole, their use not known in time"},
    [BUDGET] = {"budget_bytes", "gauge", "What experts may take"},
    [RESIDENT] = {"resident_bytes", "gauge", "What experts take"},
};

static double value_of(int figure, const umbra_under_stats *s)
{
    umbra_ahead_stats ahead;
    umbra_store_sum_ahead(&s->store, &ahead);
    const double values[FIGURES] = {
        [TOKENS] = (double)s->tokens,
        [PROMPT_TOKENS] = (double)s->prompt_tokens,
        [HITS] = (double)s->store.hits,
        [LATE] = (double)s->store.late,
        [MISSES] = (double)s->store.misses,
        [READ] = (double)s->store.bytes_read,
        [WAIT] = (double)s->store.wait_ns * 1e-9,
        [COMPUTE] = (double)s->inside_ns * 1e-9,
        [AHEAD] = (double)ahead.bytes,
        [AHEAD_USEFUL] = (double)ahead.useful_bytes,
        [AHEAD_LATE] = (double)ahead.late_bytes,
        [AHEAD_WASTED] = (double)ahead.wasted_bytes,
        [WHOLE_LAYERS] = (double)s->whole_layers,
        [BUDGET] = (double)s->store.budget_bytes,
        [RESIDENT] = (double)s->store.resident_bytes,
    };
    return values[figure];
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
    for (int i = 0; i < FIGURES; i++) {
        fprintf(out, "# HELP umbra_under_%s %s\n# TYPE umbra_under_%s %s\n", figures[i].name,
                figures[i].help, figures[i].name, figures[i].type);
        for (int m = 0; m < n; m++) {
            fprintf(out, "umbra_under_%s{model=\"", figures[i].name);
            print_quoted(out, models[m].name);
            fprintf(out, "\"} %.17g\n", value_of(i, &models[m].stats));
        }
    }
}
