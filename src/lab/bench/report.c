/* Puts the page of a benchmark together. */
#include "lab/bench/report.h"

#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "lab/report/html.h"

/* What follows the common style sheet; its colours are used for what fills, too. */
const char *const umbra_bench_report_style[] = {
    ".off{color:var(--ink)}\n.auto{color:var(--s1)}\n.auto path{stroke-dasharray:12 3}\n"
    ".shadowed{color:var(--s0)}\n.oracle{color:var(--s3)}\n.oracle path{stroke-dasharray:9 4 2 4}\n"
    ".walk{color:var(--s0)}\n.walk path{stroke-dasharray:3 3}\n"
    ".other{color:var(--s2)}\n.peer{color:var(--frequency)}\n"
    ".line.peer path{stroke-width:1;stroke-dasharray:9 3 2 3}\n"
    ".resident{color:var(--soft)}\n.line.resident path{stroke-width:1}\n"
    "svg .rest{fill:var(--frequency)}\nsvg .useful,svg .d2{fill:var(--s1)}\n"
    "svg .late,svg .d0{fill:var(--gate)}\nsvg .wasted,svg .d3{fill:var(--s2)}\n"
    "svg .d1,svg .whole{fill:var(--s0)}\nsvg .d4{fill:var(--s3)}\nsvg .wait{fill:var(--ink)}\n"
    "svg .band0{fill:var(--strong)}\nsvg .band1{fill:var(--line)}\n",
    ".verdicts{margin:0 0 1rem;padding:0 0 0 1.2rem;max-width:48rem}\n"
    ".verdicts li{margin:0 0 .5rem}\n"
    "td.drawn{text-align:left;vertical-align:middle}\ntd.drawn svg{display:block}\n"
    "figcaption small{font-weight:400}\n.gauge rect{opacity:.5}\n"
    ".gauge{width:8.25rem;height:.75rem}\n.gauge "
    "path{stroke:var(--ink);stroke-width:1.5;fill:none}\n"
    ".gauge path.bound{stroke-dasharray:2 2;stroke:var(--soft)}\n"
    ".stack{width:6.75rem;height:.75rem}\n"
    ".smalls{display:grid;gap:1rem 1.5rem;margin:0 0 1rem;"
    "grid-template-columns:repeat(auto-fill,minmax(min(100%,10rem),1fr))}\n"
    "@media (min-width:48rem){.smalls{grid-template-columns:repeat(auto-fill,minmax(13rem,1fr))}}\n"
    ".timeline{display:block;width:100%;min-width:60rem;height:auto}\n"
    "svg .digit{font-size:8px;fill:var(--paper);text-anchor:middle}\n"
    "summary{font-weight:600}\nsummary h3{display:inline}\n"
    "details[open]>summary{margin-bottom:.5rem}\n"
    "@media print{.scroll{overflow:visible}.timeline{min-width:0}}\n",
    NULL,
};

/* ---- groups ---- */

static bool is(const umbra_bench_row *row, const char *policy)
{
    return strcmp(row->policy, policy) == 0;
}

static void add_row(umbra_bench_group *g, const umbra_bench_row *row)
{
    g->n++;
    if (is(row, "off"))
        g->off = row;
    else if (is(row, "oracle"))
        g->oracle = row;
    else if (!g->ahead || row->tok_s.median > g->ahead->tok_s.median)
        g->ahead = row;
}

static void make_groups(umbra_bench_page *p)
{
    const umbra_bench_row *last = NULL;
    for (int i = 0; i < p->bench->n_rows; i++) {
        const umbra_bench_row *row = &p->bench->rows[i];
        p->fastest = row->tok_s.max > p->fastest ? row->tok_s.max : p->fastest;
        if (is(row, "resident")) {
            p->resident = row;
            last = NULL;
            continue;
        }
        bool same_io = last && strcmp(last->io, row->io) == 0;
        if (!same_io || last->ram_bytes != row->ram_bytes)
            p->groups[p->n_groups++] = (umbra_bench_group){.rows = row, .opens = !same_io};
        add_row(&p->groups[p->n_groups - 1], row);
        last = row;
    }
}

/* Reading ahead has most to say where the one that does not waits most. */
static int most_stalled(const umbra_bench_page *p)
{
    int most = 0;
    double highest = -1;
    for (int i = 0; i < p->n_groups; i++) {
        const umbra_bench_group *g = &p->groups[i];
        const umbra_bench_row *row = g->off ? g->off : &g->rows[0];
        double share = row->token_s > 0 ? row->stall_s / row->token_s : 0;
        if (share > highest) {
            highest = share;
            most = i;
        }
    }
    return most;
}

double umbra_bench_bound(const umbra_bench_row *row)
{
    double most = row->compute_s > row->io_s ? row->compute_s : row->io_s;
    return most > 0 ? 1 / most : 0;
}

const umbra_bench_row *umbra_bench_fastest(const umbra_bench_group *g)
{
    if (!g->off || (g->ahead && g->ahead->tok_s.median > g->off->tok_s.median))
        return g->ahead;
    return g->off;
}

const char *umbra_bench_line_style(const char *policy)
{
    static const char *const styles[][2] = {
        {"off", "off"},   {"previous", "previous"}, {"gate", "gate"},     {"shadow", "shadowed"},
        {"auto", "auto"}, {"oracle", "oracle"},     {"runahead", "walk"}, {"bound", "ideal"},
        {"peer", "peer"}, {"resident", "resident"}};
    for (size_t i = 0; i < sizeof styles / sizeof styles[0]; i++)
        if (strcmp(policy, styles[i][0]) == 0)
            return styles[i][1];
    return "other";
}

/* ---- the page ---- */

double umbra_bench_unit(double most, const char **name)
{
    static const char *const names[] = {"B", "kB", "MB", "GB", "TB"};
    double unit = 1;
    int i = 0;
    for (; most / unit >= 1000 && i < 4; i++)
        unit *= 1000;
    *name = names[i];
    return unit;
}

void umbra_bench_group_name(const umbra_bench_group *g, char *out, size_t room)
{
    const char *unit;
    double ram = (double)g->rows[0].ram_bytes, part = umbra_bench_unit(ram, &unit);
    snprintf(out, room, "%s, budget %.4g %s", g->rows[0].io, ram / part, unit);
}

void umbra_bench_put_group(FILE *f, const umbra_bench_group *g)
{
    char name[128];
    umbra_bench_group_name(g, name, sizeof name);
    umbra_html_text(f, name);
}

void umbra_bench_begin_details(const umbra_bench_page *p, FILE *f, int group)
{
    fprintf(f, "<details%s><summary>", group == p->open ? " open" : "");
    umbra_bench_put_group(f, &p->groups[group]);
    fputs("</summary>\n", f);
}

void umbra_bench_end_details(FILE *f)
{
    fputs("</details>\n", f);
}

static void write_page(FILE *f, void *user)
{
    const umbra_bench_page *p = user;
    umbra_html_begin_page(f, "Speed of ", p->bench->model, umbra_bench_report_style);
    umbra_bench_report_head(p, f);
    if (p->n_groups > 0) {
        umbra_bench_report_verdicts(p, f);
        umbra_bench_report_peer(p, f);
        umbra_bench_report_speed(p, f);
        umbra_bench_report_tables(p, f);
        umbra_bench_report_waste(p, f);
        umbra_bench_report_stall(p, f);
        umbra_bench_report_timelines(p, f);
    }
    umbra_bench_report_words(f);
    umbra_html_end_page(f);
}

int umbra_bench_report(const umbra_bench *bench, const char *path, umbra_error *err)
{
    umbra_bench_page p = {.bench = bench};
    size_t n = (size_t)bench->n_rows + 1, most = 1;
    for (int i = 0; i < bench->n_rows; i++)
        if ((size_t)bench->rows[i].n_events > most)
            most = (size_t)bench->rows[i].n_events;
    p.groups = umbra_calloc(n, sizeof *p.groups);
    p.x = umbra_calloc(2 * n, sizeof *p.x);
    p.events = umbra_calloc(most, sizeof *p.events);
    int rc = UMBRA_OK;
    if (p.groups && p.x && p.events) {
        p.y = p.x + n;
        make_groups(&p);
        p.open = most_stalled(&p);
        rc = umbra_replace_file(path, write_page, &p, NULL, err);
    } else {
        rc = umbra_fail_nomem(err, "the report", n * sizeof *p.groups);
    }
    umbra_free(p.groups);
    umbra_free(p.x);
    umbra_free(p.events);
    return rc;
}
