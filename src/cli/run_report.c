/* What a run tells about itself: figures for people, and one JSON object for programs. */
#include <stdio.h>
#include <string.h>

#include "base/json_writer.h"
#include "cli/drafts.h"
#include "cli/run.h"

static double per_second(int n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

/* One sentence on what limited decoding, and what would help most. */
static void print_verdict(const umbra_memory_plan *p, const umbra_generation *g,
                          const umbra_prefetch_stats *f)
{
    double share = g->decode_seconds > 0 ? g->decode_wait_seconds / g->decode_seconds : 0;
    if (g->decode_steps == 0)
        return;
    fprintf(stderr, "verdict    ");
    if (share < 0.1)
        fprintf(
            stderr,
            "the processor limits: reads were waited for in %.0f %% of the time; more or faster "
            "cores would help most\n",
            share * 100);
    else if (p->residency >= 1)
        fprintf(stderr,
                "the disk limited the beginning: %.0f %% of the time went into reading experts for "
                "the first time; a longer text will not wait\n",
                share * 100);
    else
        fprintf(stderr,
                "%s: %.0f %% of the time went into waiting for reads; more memory would help most "
                "(everything fits in --ram %s), then a faster disk%s\n",
                share > 0.5 ? "the disk limits" : "disk and processor limit alike", share * 100,
                cli_size(p->all_bytes),
                f->policy == UMBRA_POLICY_SHADOW ? "" : ", then a shadow model (umbra train)");
}

static void print_ahead(const umbra_store_stats *s, const umbra_prefetch_stats *f)
{
    umbra_ahead_stats a;
    umbra_store_sum_ahead(s, &a);
    if (f->policy == UMBRA_POLICY_OFF)
        return;
    fprintf(stderr, "disk       a read takes about %.0f us, and 1 s more per %s\n",
            s->disk_latency_ns * 1e-3, cli_size((uint64_t)s->disk_bytes_per_s));
    fprintf(stderr,
            "ahead      %s by %s, in %.0f %% of the tokens: %s useful, %s late, %s wasted\n",
            cli_size(a.bytes), umbra_policy_name(f->policy),
            f->tokens > 0 ? 100.0 * (double)f->tokens_on / (double)f->tokens : 0.0,
            cli_size(a.useful_bytes), cli_size(a.late_bytes), cli_size(a.wasted_bytes));
}

static void print_drafts(const umbra_drafts *drafts)
{
    umbra_draft_stats s;
    umbra_drafts_get_stats(drafts, &s);
    if (s.source == UMBRA_DRAFT_OFF)
        return;
    uint64_t drafted = cli_sum_drafts(s.drafted), accepted = cli_sum_drafts(s.accepted);
    fprintf(stderr, "drafts     %llu", (unsigned long long)drafted);
    const char *lead = " (";
    for (int i = 0; i < UMBRA_DRAFT_SOURCES; i++)
        if (s.drafted[i] > 0) {
            fprintf(stderr, "%s%llu by %s", lead, (unsigned long long)s.drafted[i],
                    umbra_draft_name((umbra_draft)i));
            lead = ", ";
        }
    fprintf(stderr, "%s, %llu accepted (%.0f %%), in %llu of %llu steps: %.2f tokens a step",
            drafted > 0 ? ")" : "", (unsigned long long)accepted,
            100 * cli_share(accepted, drafted), (unsigned long long)s.checks,
            (unsigned long long)s.steps, cli_share(s.tokens, s.steps));
    if (s.checks > 0)
        fprintf(stderr, "; experts of a step %.0f, of one with drafts %.0f",
                cli_share(s.step_experts, s.steps - s.checks),
                cli_share(s.check_experts, s.checks));
    if (s.gain > 0)
        fprintf(stderr, "; gain x%.2f", s.gain);
    fputc('\n', stderr);
}

void run_print_stats(const run_machine *m, const umbra_generation *g)
{
    umbra_store_stats s;
    umbra_prefetch_stats f;
    umbra_engine_get_store_stats(m->engine, &s);
    umbra_prefetch_get_stats(m->prefetch, &f);
    const umbra_memory_plan *p = umbra_engine_get_plan(m->engine);
    uint64_t asked = s.hits + s.late + s.misses;
    fprintf(stderr, "prefill    %d tokens, %.1f tokens/s\n", g->prompt_tokens,
            per_second(g->prompt_tokens, g->prefill_seconds));
    fprintf(stderr, "decode     %d tokens, %.1f tokens/s\n", g->new_tokens,
            per_second(g->decode_tokens, g->decode_seconds));
    print_drafts(m->drafts);
    fprintf(stderr, "experts    %llu hits, %llu misses (%.1f %% hits), waited %.3f s for reads\n",
            (unsigned long long)s.hits, (unsigned long long)(s.late + s.misses),
            asked ? 100.0 * (double)s.hits / (double)asked : 0.0, (double)s.wait_ns * 1e-9);
    fprintf(stderr, "read       %s in %llu reads (%s%s)\n", cli_size(s.bytes_read),
            (unsigned long long)s.reads, s.io, s.direct ? ", O_DIRECT" : ", buffered");
    print_ahead(&s, &f);
    fprintf(stderr, "resident   at most %s of experts of %s, %.1f %% fit\n",
            cli_size(s.resident_bytes_max), cli_size(s.budget_bytes), p->residency * 100);
    /* A simulated disk is the file itself, mapped, and experts are computed from there. */
    bool simulated = strcmp(s.io, "sim") == 0;
    fprintf(stderr, "memory     peak %s%s of a budget of %s (%d threads, %s kernels)\n",
            cli_size(umbra_process_rss_max()),
            simulated ? ", what was used of the simulated disk's file included," : "",
            cli_size(p->ram_bytes), p->threads, p->kernels);
    if (p->threads_note[0] != '\0')
        fprintf(stderr, "threads    %d: %s\n", p->threads, p->threads_note);
    print_verdict(p, g, &f);
}

static void json_drafts(umbra_json *j, const umbra_drafts *drafts)
{
    umbra_draft_stats s;
    umbra_drafts_get_stats(drafts, &s);
    umbra_json_put_text(j, "draft", umbra_draft_name(s.source));
    umbra_json_put_uint(j, "drafted", cli_sum_drafts(s.drafted));
    umbra_json_put_uint(j, "accepted", cli_sum_drafts(s.accepted));
    umbra_json_put_uint(j, "checks", s.checks);
    umbra_json_put_double(j, "step_experts", cli_share(s.step_experts, s.steps - s.checks), 6);
    umbra_json_put_double(j, "check_experts", cli_share(s.check_experts, s.checks), 6);
    umbra_json_put_double(j, "draft_gain", s.gain, 6);
}

void run_print_json(const run_machine *m, const umbra_generation *g, const run_output *o)
{
    umbra_store_stats s;
    umbra_prefetch_stats f;
    umbra_engine_get_store_stats(m->engine, &s);
    umbra_prefetch_get_stats(m->prefetch, &f);
    umbra_ahead_stats a;
    umbra_store_sum_ahead(&s, &a);
    const umbra_memory_plan *p = umbra_engine_get_plan(m->engine);
    umbra_json j;
    umbra_json_begin(&j, stdout);
    umbra_json_open(&j, '{');
    umbra_json_key(&j, "text");
    umbra_json_string(&j, o->text ? o->text : "", o->bytes);
    umbra_json_key(&j, "tokens");
    umbra_json_open(&j, '[');
    for (int i = 0; i < o->count; i++)
        umbra_json_int(&j, o->tokens[i]);
    umbra_json_close(&j, ']');
    umbra_json_put_uint(&j, "prompt_tokens", (uint64_t)g->prompt_tokens);
    umbra_json_put_bool(&j, "ended", g->ended);
    umbra_json_put_bool(&j, "stopped", o->stopped);
    umbra_json_put_double(&j, "prefill_tok_s", per_second(g->prompt_tokens, g->prefill_seconds), 6);
    umbra_json_put_double(&j, "decode_tok_s", per_second(g->decode_tokens, g->decode_seconds), 6);
    umbra_json_put_uint(&j, "decode_steps", (uint64_t)g->decode_steps);
    json_drafts(&j, m->drafts);
    umbra_json_put_uint(&j, "expert_hits", s.hits);
    umbra_json_put_uint(&j, "expert_misses", s.late + s.misses);
    umbra_json_put_uint(&j, "bytes_read", s.bytes_read);
    umbra_json_put_uint(&j, "reads", s.reads);
    umbra_json_put_double(&j, "wait_s", (double)s.wait_ns * 1e-9, 6);
    umbra_json_put_double(&j, "decode_wait_s", g->decode_wait_seconds, 6);
    umbra_json_put_text(&j, "prefetch", umbra_policy_name(f.policy));
    umbra_json_put_uint(&j, "prefetch_tokens", f.tokens_on);
    umbra_json_put_uint(&j, "ahead_bytes", a.bytes);
    umbra_json_put_uint(&j, "useful_bytes", a.useful_bytes);
    umbra_json_put_uint(&j, "late_bytes", a.late_bytes);
    umbra_json_put_uint(&j, "wasted_bytes", a.wasted_bytes);
    umbra_json_put_uint(&j, "resident_bytes_max", s.resident_bytes_max);
    umbra_json_put_uint(&j, "cache_bytes", s.budget_bytes);
    umbra_json_put_uint(&j, "ram_bytes", p->ram_bytes);
    umbra_json_put_uint(&j, "rss_bytes_max", umbra_process_rss_max());
    umbra_json_put_uint(&j, "threads", (uint64_t)p->threads);
    umbra_json_put_text(&j, "kernels", p->kernels);
    umbra_json_put_text(&j, "io", s.io);
    umbra_json_close(&j, '}');
    putchar('\n');
}
