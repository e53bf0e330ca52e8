/* The plan before, the figures and the verdict after. */
#include "under/report.h"

#include <inttypes.h>
#include <string.h>

static double mega(uint64_t bytes)
{
    return (double)bytes / 1e6;
}

static double percent(double part, double whole)
{
    return whole > 0 ? 100 * part / whole : 0;
}

const char *umbra_report_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void umbra_report_plan(FILE *out, const char *path, const umbra_under_stats *s)
{
    const umbra_store_stats *t = &s->store;
    double kept = (double)t->slots_bytes;
    if (s->complete) {
        fprintf(out,
                "umbra: %s: all %" PRIu64
                " experts, %.1f MB, are in memory; llama.cpp goes on as if it were alone\n",
                umbra_report_name(path), t->slots, mega(s->expert_bytes));
        return;
    }
    fprintf(out,
            "umbra: %s: %d layers of %d experts, %.1f MB; room for %" PRIu64
            " experts in %.1f MB; reads by %s%s, foretold by %s; other weights, %.1f MB, are "
            "llama.cpp's as ever\n",
            umbra_report_name(path), s->layers, s->experts, mega(s->expert_bytes), t->slots,
            kept / 1e6, t->io, t->direct ? " past the page cache" : "",
            umbra_policy_name(s->policy), mega(s->other_bytes));
}

static void report_ahead(FILE *out, const umbra_store_stats *t)
{
    umbra_ahead_stats a;
    umbra_store_sum_ahead(t, &a);
    double bytes = (double)a.bytes;
    if (a.bytes > 0)
        fprintf(out,
                "umbra:   read ahead %.1f MB: %.0f %% in time, %.0f %% late, %.0f %% in vain\n",
                mega(a.bytes), percent((double)a.useful_bytes, bytes),
                percent((double)a.late_bytes, bytes), percent((double)a.wasted_bytes, bytes));
}

void umbra_report_stats(FILE *out, const char *path, const umbra_under_stats *s)
{
    const umbra_store_stats *t = &s->store;
    double used = (double)(t->hits + t->late + t->misses);
    if (s->complete)
        return; /* nothing was looked at */
    fprintf(out, "umbra: %s: %" PRIu64 " tokens decoded, %" PRIu64 " of prompts\n",
            umbra_report_name(path), s->tokens, s->prompt_tokens);
    fprintf(out,
            "umbra:   experts used: %.0f, of them %.1f %% in memory, %.1f %% on their way, "
            "%.1f %% missing\n",
            used, percent((double)t->hits, used), percent((double)t->late, used),
            percent((double)t->misses, used));
    fprintf(out,
            "umbra:   read %.1f MB in %" PRIu64 " reads, waited %.2f s of %.2f s; experts took at "
            "most %.1f MB\n",
            mega(t->bytes_read), t->reads, (double)t->wait_ns / 1e9, (double)s->inside_ns / 1e9,
            mega(t->resident_bytes_max));
    report_ahead(out, t);
    if (s->whole_layers > 0)
        fprintf(out,
                "umbra:   %" PRIu64 " times a whole layer was read, because what it uses was not "
                "known in time\n",
                s->whole_layers);
}

void umbra_report_verdict(FILE *out, const umbra_under_stats *s)
{
    double waited = percent((double)s->store.wait_ns, (double)s->inside_ns);
    if (s->complete)
        fputs("umbra: verdict: everything is in memory\n", out);
    else if (s->inside_ns == 0)
        fputs("umbra: verdict: nothing was computed with experts\n", out);
    else if (waited < 5)
        fprintf(out, "umbra: verdict: experts come in time (%.0f %% waiting)\n", waited);
    else if (waited < 40)
        fprintf(out,
                "umbra: verdict: the disk costs %.0f %% of the time; more memory would win some of "
                "it back\n",
                waited);
    else
        fprintf(out,
                "umbra: verdict: the disk sets the pace (%.0f %% waiting): more memory or a faster "
                "disk is what helps\n",
                waited);
}
