/* GET /metrics: figures in the text form of Prometheus. */
#include <math.h>
#include <string.h>

#include "serve/internal.h"

static const double bounds[SERVE_BUCKETS] = {0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2,
                                             0.5,   1,     2,    5,    10,   30,  120};

static void observe(serve_histogram *h, double seconds)
{
    int i = 0;
    while (i < SERVE_BUCKETS && seconds > bounds[i])
        i++;
    h->count[i]++;
    h->sum += seconds;
}

void serve_figures_add_job(serve_figures *f, const umbra_job *job)
{
    pthread_mutex_lock(&f->mutex);
    if (job->first_token_ns)
        observe(&f->first_token, (double)(job->first_token_ns - job->submitted_ns) * 1e-9);
    if (job->first_token_ns && job->new_tokens > 1)
        observe(&f->per_token,
                (double)(job->ended_ns - job->first_token_ns) * 1e-9 / (job->new_tokens - 1));
    observe(&f->request, (double)(job->ended_ns - job->submitted_ns) * 1e-9);
    pthread_mutex_unlock(&f->mutex);
}

static void print_head(serve_buffer *b, const char *name, const char *type, const char *help)
{
    serve_buffer_print(b, "# HELP umbra_%s %s\n# TYPE umbra_%s %s\n", name, help, name, type);
}

static void print_histogram(serve_buffer *b, const char *name, const char *help,
                            const serve_histogram *h)
{
    uint64_t sum = 0;
    print_head(b, name, "histogram", help);
    for (int i = 0; i <= SERVE_BUCKETS; i++) {
        sum += h->count[i];
        if (i < SERVE_BUCKETS)
            serve_buffer_print(b, "umbra_%s_bucket{le=\"%g\"} %llu\n", name, bounds[i],
                               (unsigned long long)sum);
    }
    serve_buffer_print(b,
                       "umbra_%s_bucket{le=\"+Inf\"} %llu\numbra_%s_sum %.9g\n"
                       "umbra_%s_count %llu\n",
                       name, (unsigned long long)sum, name, h->sum, name, (unsigned long long)sum);
}

typedef struct figure {
    const char *name, *type, *help;
    double value;
} figure;

static void print_figures(serve_buffer *b, const figure *figures, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        print_head(b, figures[i].name, figures[i].type, figures[i].help);
        serve_buffer_print(b, "umbra_%s %.17g\n", figures[i].name, figures[i].value);
    }
}

static void print_scheduler(serve_buffer *b, const umbra_scheduler_stats *s)
{
    const figure figures[] = {
        {"steps_total", "counter", "Steps of the engine", (double)s->steps},
        {"busy_seconds_total", "counter", "Time in steps", (double)s->busy_ns * 1e-9},
        {"prompt_tokens_total", "counter", "Tokens of prompts", (double)s->prompt_tokens},
        {"prompt_tokens_computed_total", "counter", "Of these, computed",
         (double)s->computed_tokens},
        {"prompt_tokens_reused_total", "counter", "Of these, held in memory",
         (double)s->reused_tokens},
        {"prompt_tokens_restored_total", "counter", "Of these, read from disk",
         (double)s->restored_tokens},
        {"generated_tokens_total", "counter", "Tokens chosen", (double)s->new_tokens},
        {"requests_waiting", "gauge", "Requests without a slot", s->waiting},
        {"requests_reading", "gauge", "Requests whose prompt is read", s->reading},
        {"requests_writing", "gauge", "Requests whose answer is written", s->writing},
    };
    static const char *const ends[] = {NULL, "stopped", "length", "cancelled", "failed"};
    print_figures(b, figures, sizeof figures / sizeof figures[0]);
    print_head(b, "requests_total", "counter", "Requests by how they ended");
    for (int i = UMBRA_JOB_STOPPED; i <= UMBRA_JOB_FAILED; i++)
        serve_buffer_print(b, "umbra_requests_total{end=\"%s\"} %llu\n", ends[i],
                           (unsigned long long)s->jobs[i]);
}

static void print_store(serve_buffer *b, const umbra_store_stats *s)
{
    umbra_ahead_stats a;
    umbra_store_sum_ahead(s, &a);
    const figure figures[] = {
        {"expert_hits_total", "counter", "Experts that were in memory", (double)s->hits},
        {"expert_late_total", "counter", "Experts that were being read ahead", (double)s->late},
        {"expert_misses_total", "counter", "Experts that had to be read", (double)s->misses},
        {"read_bytes_total", "counter", "Bytes that the disk was asked for", (double)s->bytes_read},
        {"reads_total", "counter", "Reads of the disk", (double)s->reads},
        {"wait_seconds_total", "counter", "Time waited for reads", (double)s->wait_ns * 1e-9},
        {"ahead_bytes_total", "counter", "Bytes read ahead", (double)a.bytes},
        {"ahead_useful_bytes_total", "counter", "Of these, there when used",
         (double)a.useful_bytes},
        {"ahead_late_bytes_total", "counter", "Of these, waited for", (double)a.late_bytes},
        {"ahead_wasted_bytes_total", "counter", "Of these, never used", (double)a.wasted_bytes},
        {"refill_experts", "gauge", "Experts of before a restart that are to be read back",
         (double)s->refill_left},
        {"refill_reads_total", "counter", "Experts read back", (double)s->refill_reads},
        {"refill_bytes_total", "counter", "Their bytes", (double)s->refill_bytes},
        {"refill_used_total", "counter", "Of these experts, used since", (double)s->refill_used},
        {"expert_cache_bytes", "gauge", "Bytes of the experts' slots", (double)s->budget_bytes},
        {"expert_resident_bytes", "gauge", "Bytes of experts in memory", (double)s->resident_bytes},
    };
    print_figures(b, figures, sizeof figures / sizeof figures[0]);
}

static void print_drafts(serve_buffer *b, const umbra_draft_stats *s)
{
    double drafted = 0, accepted = 0;
    for (int i = 0; i < UMBRA_DRAFT_SOURCES; i++) {
        drafted += (double)s->drafted[i];
        accepted += (double)s->accepted[i];
    }
    const figure figures[] = {
        {"drafted_tokens_total", "counter", "Tokens guessed ahead and checked", drafted},
        {"draft_accepted_tokens_total", "counter", "Of these, part of the text", accepted},
        {"draft_steps_total", "counter", "Steps of texts that were alone", (double)s->steps},
        {"draft_checks_total", "counter", "Of these, with drafts", (double)s->checks},
        {"draft_step_experts_total", "counter", "Experts of steps without drafts",
         (double)s->step_experts},
        {"draft_check_experts_total", "counter", "Experts of steps with drafts",
         (double)s->check_experts},
        {"draft_gain", "gauge", "Time without drafts over time with them; 0: not known", s->gain},
    };
    print_figures(b, figures, sizeof figures / sizeof figures[0]);
}

static void print_states(serve_buffer *b, const umbra_states_stats *s)
{
    const figure figures[] = {
        {"state_files", "gauge", "States on disk", (double)s->files},
        {"state_bytes", "gauge", "Their bytes", (double)s->bytes},
        {"states_written_total", "counter", "States written", (double)s->written},
        {"states_read_total", "counter", "States read back", (double)s->read},
        {"states_evicted_total", "counter", "States that made room", (double)s->evicted},
        {"states_damaged_total", "counter", "States found damaged", (double)s->damaged},
    };
    print_figures(b, figures, sizeof figures / sizeof figures[0]);
}

static void print_http(serve_buffer *b, serve *s)
{
    serve_figures *f = &s->figures;
    pthread_mutex_lock(&f->mutex);
    print_histogram(b, "time_to_first_token_seconds", "From a request to its first token",
                    &f->first_token);
    print_histogram(b, "time_per_token_seconds", "Mean of an answer, behind its first token",
                    &f->per_token);
    print_histogram(b, "request_seconds", "From a request to its end", &f->request);
    print_head(b, "http_answers_total", "counter", "Answers by hundreds of their status");
    for (int i = 2; i < 6; i++)
        serve_buffer_print(b, "umbra_http_answers_total{status=\"%dxx\"} %llu\n", i,
                           (unsigned long long)f->answers[i]);
    pthread_mutex_unlock(&f->mutex);
}

enum MHD_Result serve_metrics(serve_exchange *x)
{
    serve *s = x->server;
    serve_buffer b = {0};
    umbra_scheduler_stats stats;
    umbra_states_stats states = {0};
    const umbra_memory_plan *p = umbra_engine_get_plan(s->o.engine);
    umbra_scheduler_get_stats(s->scheduler, &stats);
    if (s->o.states)
        umbra_states_get_stats(s->o.states, &states);
    const figure memory[] = {
        {"budget_bytes", "gauge", "Memory that may be used", (double)p->ram_bytes},
        {"process_resident_bytes", "gauge", "Memory that is", (double)umbra_process_rss()},
    };
    print_scheduler(&b, &stats);
    print_store(&b, &stats.store);
    print_drafts(&b, &stats.drafts);
    print_states(&b, &states);
    print_figures(&b, memory, 2);
    print_http(&b, s);
    enum MHD_Result result = MHD_NO;
    if (!b.failed)
        result = serve_reply(x, MHD_HTTP_OK, "text/plain; version=0.0.4", b.data, b.bytes);
    serve_buffer_free(&b);
    return result;
}
