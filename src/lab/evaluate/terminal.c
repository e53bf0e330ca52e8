/* An evaluation as text for the terminal. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "lab/evaluate/evaluation.h"

enum { D = UMBRA_MAX_DISTANCE, NAME_COLUMNS = 17, COLUMNS_PER_M = 20 };

/* Text of a file in so many columns, cut with a tilde; control characters would act on the
 * terminal, so they and bad bytes become question marks. One column a character. */
static void put_text(FILE *f, const char *text, int columns)
{
    int width = 0;
    for (const char *c = text; *c && width < columns;) {
        size_t n = umbra_utf8_length(c, strnlen(c, 4));
        bool plain = n > 1 ? umbra_utf8_decode(c, n) >= 0xa0
                           : n == 1 && (unsigned char)*c >= 0x20 && *c != 0x7f;
        const char *next = c + (n > 0 ? n : 1);
        if (width == columns - 1 && *next)
            fputc('~', f);
        else if (plain)
            fwrite(c, 1, n, f);
        else
            fputc('?', f);
        width++;
        c = next;
    }
    fprintf(f, "%*s", columns - width, "");
}

static void put_percent(FILE *f, double share)
{
    if (isnan(share))
        fputs("    -", f);
    else if (share > 0.9995)
        fputs("  100", f);
    else
        fprintf(f, "%5.1f", 100 * share);
}

/* Rows: predictors; columns: distances within each m. */
static void put_table(const umbra_evaluation *e, FILE *f, const char *title, bool start,
                      umbra_eval_figure figure, const int *m, int n_m)
{
    fputc('\n', f);
    put_text(f, title, NAME_COLUMNS);
    for (int i = 0, head = COLUMNS_PER_M; i < n_m; i++) {
        int gap = COLUMNS_PER_M - head + (i > 0);
        head = fprintf(f, "%*s m = %d", gap, "", m[i]) - gap;
    }
    fprintf(f, "\n%*s", NAME_COLUMNS, "");
    for (int i = 0; i < n_m; i++)
        fprintf(f, "%s  d=1  d=2  d=3  d=4", i > 0 ? " " : "");
    fputc('\n', f);
    for (int r = 0; r < e->n_rows; r++) {
        const umbra_eval_row *row = &e->rows[r];
        put_text(f, row->name, NAME_COLUMNS);
        for (int i = 0; i < n_m; i++) {
            if (i > 0)
                fputc(' ', f);
            for (int d = 0; d < D; d++)
                put_percent(f, figure(e, start ? &row->start[d] : &row->inner[d], m[i]));
        }
        fputc('\n', f);
    }
}

static void put_amount(FILE *f, uint64_t n)
{
    if (n < 10000)
        fprintf(f, "%8" PRIu64, n);
    else if (n < 10000000)
        fprintf(f, "%6.0f k", (double)n / 1e3);
    else
        fprintf(f, "%6.0f M", (double)n / 1e6);
}

static void put_forecasts(const umbra_evaluation *e, FILE *f)
{
    fprintf(f, "\n%-*s NLL, millinats      ECE, %%                bytes   mult-adds\n",
            NAME_COLUMNS, "Probabilities");
    fprintf(f, "%*s  d=1  d=2  d=3  d=4   d=1  d=2  d=3  d=4\n", NAME_COLUMNS, "");
    for (int r = 0; r < e->n_rows; r++) {
        const umbra_eval_row *row = &e->rows[r];
        put_text(f, row->name, NAME_COLUMNS);
        for (int d = 0; d < D; d++) {
            double nll = umbra_tally_nll(&row->inner[d]);
            if (isnan(nll))
                fputs("    -", f);
            else
                fprintf(f, "%5.0f", 1000 * nll);
        }
        fputc(' ', f);
        for (int d = 0; d < D; d++) {
            double ece = umbra_tally_ece(&row->inner[d]);
            if (isnan(ece))
                fputs("    -", f);
            else
                fprintf(f, "%5.2f", 100 * ece);
        }
        fputs("  ", f);
        put_amount(f, row->bytes);
        fputs("    ", f);
        put_amount(f, row->macs);
        fputc('\n', f);
    }
}

static void put_ablations(const umbra_evaluation *e, FILE *f)
{
    for (int s = 0; s < e->n_shadows; s++) {
        const umbra_eval_shadow *shadow = &e->shadows[s];
        if (shadow->n_ablations == 0)
            continue;
        fprintf(f, "\nPoints of recall at m = %d that each part gives, on %" PRIu64 " tokens\n",
                e->model.used, e->ablation.tokens);
        put_text(f, shadow->path, 36);
        fputs("  d=1  d=2  d=3  d=4\n", f);
        for (int a = 0; a < shadow->n_ablations; a++) {
            put_text(f, shadow->ablations[a].without, 36);
            for (int d = 1; d <= D; d++) {
                double points = 100 * umbra_eval_loss(e, s, a, d);
                fprintf(f, "%5.1f", fabs(points) < 0.05 ? 0 : points); /* never "-0.0" */
            }
            fputc('\n', f);
        }
    }
}

static void put_head(const umbra_evaluation *e, FILE *f)
{
    const umbra_trace_info *m = &e->model;
    put_text(f, m->model_name, (int)strnlen(m->model_name, 40));
    fprintf(f, ": %d layers, %d experts, %d used\n", m->layers, m->experts, m->used);
    fprintf(f, "Judged on %d documents, %" PRIu64 " tokens", e->table.documents, e->table.tokens);
    if (e->n_shadows > 0)
        fputs(", none of which a shadow was trained on", f);
    fputs(".\n", f);
    if (e->calibration.documents > 0)
        fprintf(f, "%d more, %" PRIu64 " tokens, calibrate the untrained predictors.\n",
                e->calibration.documents, e->calibration.tokens);
    if (e->frequency_from)
        fprintf(f, "Frequency: %s.\n", e->frequency_from);
}

static void put_control(const umbra_evaluation *e, FILE *f)
{
    double recall = umbra_tally_recall(&e->control_sum, e->model.used, e->model.used), worst = 0;
    for (int r = 0; r < e->n_rows; r++)
        for (int d = 0; d < D; d++)
            worst = fmax(worst, e->rows[r].deviation[d]);
    fprintf(f, "control, d = 0: recall %.1f, all-k %.1f. Standard errors of recall: up to %.1f.\n",
            100 * recall, 100 * umbra_tally_all(&e->control_sum, e->model.used), 100 * worst);
    if (recall < UMBRA_EVAL_CONTROL)
        fputs("Warning: states and routing of these traces do not fit the routers: the control\n"
              "should be near 100. Trust none of these figures.\n",
              f);
}

/* ---- walks ---- */

static void put_shares(FILE *f, const umbra_eval_share *shares, int reach)
{
    for (int d = 0; d < D; d++)
        put_percent(f, d < reach ? umbra_eval_share_of(&shares[d]) : NAN);
    fputc(' ', f);
}

/* The next token from the first layer, a third, two thirds of the way, and from the last one. */
static void put_next(const umbra_evaluation *e, FILE *f, const umbra_eval_walk *walk)
{
    int last = e->walk_reach - 1;
    const int sources[] = {0, last / 3, 2 * last / 3, last};
    put_text(f, walk->name, NAME_COLUMNS);
    for (int i = 0; i < 4; i++)
        put_percent(f, umbra_eval_share_of(&walk->next[sources[i]]));
    fputs("  ", f);
    put_amount(f, walk->bytes);
    fputs("    ", f);
    put_amount(f, walk->macs);
    fputc('\n', f);
}

static bool is_walk(const umbra_eval_walk *walk)
{
    return walk->kind == UMBRA_EVAL_ROLL || walk->kind == UMBRA_EVAL_RUNAHEAD;
}

/* [first, end): the predictors of one residency. */
static void put_residency(const umbra_evaluation *e, FILE *f, int first, int end)
{
    int reach = e->walk_reach, last = reach - 1;
    fprintf(f,
            "\n%3.0f %% in memory  recall at m = %-2d      missing experts      the next token\n",
            100 * e->walks[first].residency, e->model.used);
    fprintf(f, "%*s  d=1  d=2  d=3  d=4   d=1  d=2  d=3  d=4   d=1  d=2  d=3  d=4\n", NAME_COLUMNS,
            "");
    for (int i = first; i < end; i++) {
        const umbra_eval_walk *walk = &e->walks[i];
        put_text(f, walk->name, NAME_COLUMNS);
        put_shares(f, walk->within[UMBRA_EVAL_ALL], reach);
        put_shares(f, walk->within[UMBRA_EVAL_MISSING], reach);
        put_shares(f, walk->beyond[UMBRA_EVAL_ALL], reach);
        fputc('\n', f);
    }
    fprintf(f, "next token named %4d %4d %4d %4d (from the layer) bytes   mult-adds a layer\n", 0,
            last / 3, 2 * last / 3, last);
    for (int i = first; i < end; i++)
        if (is_walk(&e->walks[i]))
            put_next(e, f, &e->walks[i]);
}

static void put_walks(const umbra_evaluation *e, FILE *f)
{
    for (int first = 0, end; first < e->n_walks; first = end) {
        for (end = first + 1; end < e->n_walks && e->walks[end].kind != UMBRA_EVAL_GATE; end++)
            ;
        put_residency(e, f, first, end);
    }
    if (e->n_walks > 0)
        fprintf(f,
                "(while the model decodes %" PRIu64
                " tokens of %d documents; the first 64 only fill "
                "the\nmemory. The next token: its layers, with the token as the walk guesses it)\n",
                e->walked.tokens, e->walked.documents);
}

void umbra_evaluation_print(const umbra_evaluation *e, FILE *f)
{
    static const int tops[] = {1, 4, 8};
    put_head(e, f);
    put_table(e, f, "Slot recall, %", false, umbra_eval_recall, e->budgets, e->n_budgets);
    put_control(e, f);
    put_table(e, f, "All-k, %", false, umbra_eval_all, e->budgets, e->n_budgets);
    put_table(e, f, "Top expert, %", false, umbra_eval_top, tops, 3);
    fputs("(how often the m experts ranked first hold the one with the largest weight)\n", f);
    put_forecasts(e, f);
    fputs("(per expert; bytes and multiply-adds of one prediction of all distances)\n", f);
    if (umbra_eval_predicts(e, 0, 1)) {
        put_table(e, f, "From embeddings", true, umbra_eval_recall, e->budgets, e->n_budgets);
        fputs("(slot recall, %, from the token's embedding alone: distance d is layer d - 1)\n", f);
    }
    put_walks(e, f);
    put_ablations(e, f);
}
