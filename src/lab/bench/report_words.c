/* What a benchmark found, in sentences. */
#include <math.h>
#include <string.h>

#include "lab/report/html.h"
#include "lab/bench/report.h"

/* ---- what was measured ---- */

static void put_speed(FILE *f, const umbra_spread *s)
{
    fprintf(f, "%.1f&#160;tokens/s", s->median);
}

static void put_spread(FILE *f, const umbra_spread *s)
{
    put_speed(f, s);
    fprintf(f, " (%.1f to %.1f)", s->min, s->max);
}

/* Whether the rounds overlap: the order may be chance. */
static bool overlap(const umbra_spread *a, const umbra_spread *b)
{
    return a->min <= b->max && b->min <= a->max;
}

/* The largest gain or loss against off of what runs ahead, without the oracle; NULL: none. */
static const umbra_bench_row *extreme(const umbra_bench_page *p, int sign, double *change,
                                      const umbra_bench_group **group)
{
    const umbra_bench_row *found = NULL;
    *change = 0;
    for (int i = 0; i < p->n_groups; i++) {
        const umbra_bench_group *g = &p->groups[i];
        for (int r = 0; r < g->n && g->off && g->off->tok_s.median > 0; r++) {
            double c = g->rows[r].tok_s.median / g->off->tok_s.median - 1;
            if (&g->rows[r] != g->oracle && c * sign > *change * sign) {
                *change = c;
                *group = g;
                found = &g->rows[r];
            }
        }
    }
    return found;
}

static void put_extreme(const umbra_bench_page *p, FILE *f, const char *what, int sign)
{
    const umbra_bench_group *g = NULL;
    double change;
    const umbra_bench_row *row = extreme(p, sign, &change, &g);
    if (!row)
        return;
    fprintf(f, "<div><dt>%s against off</dt><dd><b>%s%.1f&#160;%%</b><span class=\"soft\">", what,
            sign > 0 ? "+" : "−", 100 * fabs(change));
    umbra_html_text(f, row->policy);
    fputs(": ", f);
    umbra_bench_put_group(f, g);
    fputs(overlap(&row->tok_s, &g->off->tok_s) ? "; the rounds overlap" : "", f);
    fputs("</span></dd></div>\n", f);
}

static void put_facts(const umbra_bench_page *p, FILE *f)
{
    const umbra_bench *b = p->bench;
    fputs("<dl class=\"facts\">\n", f);
    if (p->resident)
        fprintf(f,
                "<div><dt>All in memory</dt><dd><b>%.1f</b><span class=\"soft\">tokens/s (%.1f to "
                "%.1f)</span></dd></div>\n",
                p->resident->tok_s.median, p->resident->tok_s.min, p->resident->tok_s.max);
    put_extreme(p, f, "Largest gain", 1);
    put_extreme(p, f, "Largest loss", -1);
    if (b->against && b->against_tok_s.median > 0)
        fprintf(f,
                "<div><dt>Peer</dt><dd><b>%.1f</b><span class=\"soft\">tokens/s (%.1f to "
                "%.1f)</span></dd></div>\n",
                b->against_tok_s.median, b->against_tok_s.min, b->against_tok_s.max);
    fputs("</dl>\n", f);
}

void umbra_bench_report_head(const umbra_bench_page *p, FILE *f)
{
    const umbra_bench *b = p->bench;
    fputs("<h1>How fast is ", f);
    umbra_html_text(f, b->model[0] ? b->model : "the model");
    fputs(" with its experts on disk?</h1>\n<p>", f);
    umbra_html_text(f, b->model[0] ? b->model : "The model");
    fputs(" has ", f);
    umbra_html_bytes(f, (double)b->expert_bytes);
    fprintf(f, " of experts in %d layers. It wrote the same text under every policy, budget and ",
            b->layers);
    fprintf(f,
            "backend, in turns, on %d thread%s with the %s kernels: %d token%s were timed after "
            "%d that were not, in %d round%s. ",
            b->threads, b->threads == 1 ? "" : "s", b->kernels ? b->kernels : "default", b->tokens,
            b->tokens == 1 ? "" : "s", b->warm_tokens, b->rounds, b->rounds == 1 ? "" : "s");
    fputs("Speeds are medians of the rounds; bytes and waits are those of the median round. The "
          "logits of all runs were the same, bit for bit.</p>\n",
          f);
    if (p->n_groups == 0) {
        fputs("<p class=\"warning\">No policy was measured.</p>\n", f);
        return;
    }
    if (!p->resident)
        fputs("<p>Everything in memory was not measured, so C is an estimate: the time of policy "
              "off without its waits.</p>\n",
              f);
    put_facts(p, f);
}

/* ---- verdicts ---- */

/* As far as one decimal of a per cent tells. */
static bool is_even(double speed, double off)
{
    return fabs(speed / off - 1) < 0.0005;
}

/* "3.1 % faster" */
static void put_change(FILE *f, double speed, double off)
{
    double change = speed / off - 1;
    if (is_even(speed, off))
        fputs("as fast", f);
    else
        fprintf(f, "%.1f&#160;%% %s", 100 * fabs(change), change < 0 ? "slower" : "faster");
}

static void put_winner(FILE *f, const umbra_bench_group *g, const umbra_bench_row *best)
{
    fputs("<strong>", f);
    umbra_html_text(f, best->policy);
    fprintf(f, "</strong>%s ", g->n - (g->oracle ? 1 : 0) > 1 ? " was fastest with" : " ran");
    fputs(g->n - (g->oracle ? 1 : 0) > 1 ? "" : "at ", f);
    put_speed(f, &best->tok_s);
    if (!g->off) {
        fputs(" (off was not measured, so there is nothing to hold it against)", f);
    } else if (g->off->tok_s.median <= 0) {
        fputs(" (off reached no speed that it could be held against)", f);
    } else if (best != g->off) {
        fputs(", ", f);
        put_change(f, best->tok_s.median, g->off->tok_s.median);
        fprintf(f, "%s off (%.1f)",
                is_even(best->tok_s.median, g->off->tok_s.median) ? " as" : " than",
                g->off->tok_s.median);
        if (overlap(&best->tok_s, &g->off->tok_s))
            fprintf(f, ", though their rounds overlap (%.1f to %.1f, %.1f to %.1f)",
                    best->tok_s.min, best->tok_s.max, g->off->tok_s.min, g->off->tok_s.max);
    }
}

static void put_rest(FILE *f, const umbra_bench_group *g, const umbra_bench_row *best)
{
    if (!g->off || g->off->tok_s.median <= 0)
        return;
    const char *before =
        best == g->off ? "; reading ahead did not pay: against off, " : "; against off, ";
    for (int i = 0; i < g->n; i++) {
        const umbra_bench_row *row = &g->rows[i];
        if (row == best || row == g->off || row == g->oracle)
            continue;
        fputs(before, f);
        umbra_html_text(f, row->policy);
        fputs(" was ", f);
        put_change(f, row->tok_s.median, g->off->tok_s.median);
        before = ", ";
    }
    if (g->oracle) {
        fputs("; oracle, which knows what comes, was ", f);
        put_change(f, g->oracle->tok_s.median, g->off->tok_s.median);
    }
}

static void put_limit(FILE *f, const umbra_bench_row *row)
{
    double c = row->compute_s, i = row->io_s;
    double most = c > i ? c : i;
    fputs("; ", f);
    if (row->token_s <= 0 || most <= 0)
        fputs("what limits it cannot be told from these figures", f);
    else if (most < row->token_s / 2)
        fprintf(f,
                "<strong>neither disk nor processor</strong> limits: reads (I %.2f&#160;ms) and "
                "work (C %.2f&#160;ms) are each less than half of a token’s %.2f&#160;ms",
                1e3 * i, 1e3 * c, 1e3 * row->token_s);
    else if (i > c)
        fprintf(f,
                "the <strong>disk</strong> limits: I is %.2f&#160;ms per token, C only "
                "%.2f&#160;ms",
                1e3 * i, 1e3 * c);
    else
        fprintf(f,
                "the <strong>processor</strong> limits: C is %.2f&#160;ms per token, I only "
                "%.2f&#160;ms",
                1e3 * c, 1e3 * i);
}

static void put_verdict(FILE *f, const umbra_bench_group *g)
{
    const umbra_bench_row *best = umbra_bench_fastest(g);
    fputs("<li>At ", f);
    umbra_html_bytes(f, (double)g->rows[0].ram_bytes);
    fprintf(f, " (%.0f&#160;%% of the experts fit), ", 100 * g->rows[0].residency);
    if (best) {
        put_winner(f, g, best);
        put_rest(f, g, best);
    } else {
        fputs("only the oracle was measured, at ", f);
        put_speed(f, &g->oracle->tok_s);
    }
    put_limit(f, best ? best : g->oracle);
    fputs(".</li>\n", f);
}

void umbra_bench_report_verdicts(const umbra_bench_page *p, FILE *f)
{
    fputs("<h2>What was found</h2>\n", f);
    for (int i = 0; i < p->n_groups; i++) {
        const umbra_bench_row *first = &p->groups[i].rows[0];
        if (p->groups[i].opens) {
            fputs("<h3>", f);
            umbra_html_text(f, first->io);
            if (first->disk_bytes_per_s > 0) {
                fputs(", reads experts at ", f);
                umbra_html_bytes(f, first->disk_bytes_per_s);
                fputs("/s", f);
            }
            fputs("</h3>\n<ul class=\"verdicts\">\n", f);
        }
        put_verdict(f, &p->groups[i]);
        if (i + 1 == p->n_groups || p->groups[i + 1].opens)
            fputs("</ul>\n", f);
    }
}

/* ---- peer ---- */

static void put_ratio(const umbra_bench_page *p, FILE *f, const umbra_bench_group *g)
{
    const umbra_bench_row *best = umbra_bench_fastest(g);
    if (!best)
        return;
    fputs("<tr><th scope=\"row\">", f);
    umbra_bench_put_group(f, g);
    fputs("</th><td class=\"words\">", f);
    umbra_html_text(f, best->policy);
    fprintf(f, "</td><td>%.1f</td><td>%.2f</td></tr>\n", best->tok_s.median,
            best->tok_s.median / p->bench->against_tok_s.median);
}

void umbra_bench_report_peer(const umbra_bench_page *p, FILE *f)
{
    const umbra_bench *b = p->bench;
    if (!b->against)
        return;
    fputs("<h2>Against the peer</h2>\n<p>Between the rounds ran this command, ", f);
    if (b->against_tok_s.median <= 0) {
        fputs("but its output named no speed or it was killed:</p>\n<pre>", f);
        umbra_html_text(f, b->against);
        fputs("</pre>\n", f);
        return;
    }
    fputs("which reached ", f);
    put_spread(f, &b->against_tok_s);
    fputs(":</p>\n<pre>", f);
    umbra_html_text(f, b->against);
    fputs("</pre>\n<div class=\"scroll narrow\"><table><caption>Speed as a multiple of the "
          "peer’s</caption>\n<thead><tr><th scope=\"col\">backend and budget</th><th "
          "scope=\"col\" class=\"words\">fastest policy</th><th scope=\"col\">tokens/s</th><th "
          "scope=\"col\">× peer</th></tr></thead>\n<tbody>\n",
          f);
    for (int i = 0; i < p->n_groups; i++)
        put_ratio(p, f, &p->groups[i]);
    fputs("</tbody></table></div>\n", f);
}

/* ---- words ---- */

void umbra_bench_report_words(FILE *f)
{
    static const char *const words[][2] = {
        {"budget", "bytes for the whole process: dense weights, KV cache, buffers and experts"},
        {"C", "time of a token with everything in memory, or of policy off without its waits"},
        {"I", "time that the bytes which off reads per token take at the backend’s rate"},
        {"bound", "max(C, I): reading and computing fully side by side. A share above 100 % says "
                  "that reading ahead spared bytes, or that C was measured in a slower moment"},
        {"hits", "share of the experts that were in memory when they were asked for"},
        {"on demand", "read because it was needed at that moment"},
        {"useful", "read ahead and used in time"},
        {"late", "read ahead and used, but waited for"},
        {"wasted", "read ahead and not used before it had to go"},
        {"stall", "time per token in which the computing thread waits for reads"},
        {"off", "nothing is read ahead"},
        {"previous", "predicts the experts of the previous token"},
        {"gate", "predicts by the model’s own routers, applied to earlier layers’ states"},
        {"shadow", "predicts by the shadow model"},
        {"runahead", "the model itself, run ahead on what is in memory while it waits for a read"},
        {"auto", "chooses, and stops where reading ahead does not pay"},
        {"oracle", "knows the routing from a run before: the most that reading ahead could give"},
    };
    fputs("<h2>Words</h2>\n<dl class=\"words\">\n", f);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        fprintf(f, "<dt>%s</dt><dd>%s.</dd>\n", words[i][0], words[i][1]);
    fputs("</dl>\n", f);
}
