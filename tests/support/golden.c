/* Reads golden files, and compares a model's logits and experts with them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"

static FILE *open_file(const char *folder, const char *name, const char *ending)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s%s", folder, name, ending);
    FILE *f = fopen(path, "r");
    if (!f)
        print_error("cannot open %s\n", path);
    assert_non_null(f);
    return f;
}

static void read_tokens(golden *g, FILE *f)
{
    int room = 0, id;
    while (fscanf(f, "%d", &id) == 1) {
        if (g->tokens == room) {
            room = room ? room * 2 : 256;
            g->token = realloc(g->token, (size_t)room * sizeof *g->token);
        }
        g->token[g->tokens++] = id;
    }
    fclose(f);
}

static void read_tops(golden *g, FILE *f)
{
    char line[1024];
    size_t n = (size_t)g->tokens;
    g->lse = calloc(n, sizeof *g->lse);
    g->best = calloc(n, sizeof *g->best);
    g->margin = calloc(n, sizeof *g->margin);
    while (g->tops < g->tokens && fgets(line, sizeof line, f)) {
        double first, second;
        if (sscanf(line, "%lf %d:%lf %*d:%lf", &g->lse[g->tops], &g->best[g->tops], &first,
                   &second) != 4)
            continue;
        g->margin[g->tops++] = first - second;
    }
    fclose(f);
}

static void read_experts(golden *g, FILE *f)
{
    size_t n = (size_t)g->layers * (size_t)g->tokens * (size_t)g->used;
    g->expert = malloc(n * sizeof *g->expert);
    memset(g->expert, 0xff, n * sizeof *g->expert);
    char line[1024];
    while (fgets(line, sizeof line, f)) {
        char *at = line;
        long layer = strtol(at, &at, 10), position = strtol(at, &at, 10);
        if (layer >= g->layers || position >= g->tokens)
            continue;
        uint16_t *row =
            g->expert + ((size_t)layer * (size_t)g->tokens + (size_t)position) * (size_t)g->used;
        for (int k = 0; k < g->used; k++)
            row[k] = (uint16_t)strtol(at, &at, 10);
    }
    fclose(f);
}

void golden_read(golden *g, const char *folder, const char *tops, const char *name, int layers,
                 int used)
{
    *g = (golden){.layers = layers, .used = used};
    read_tokens(g, open_file(folder, name, ".tokens"));
    read_tops(g, open_file(tops, name, ".top"));
    read_experts(g, open_file(tops, name, ".experts"));
    assert_true(g->tokens > 0 && g->tops > 0);
}

void golden_free(golden *g)
{
    free(g->token);
    free(g->lse);
    free(g->best);
    free(g->margin);
    free(g->expert);
}

static bool contains(const uint16_t *ids, int n, uint16_t id)
{
    for (int i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

void distance_add(distance *d, const golden *g, const umbra_scores *s)
{
    for (int i = 0; i < g->tops; i++) {
        if (d->count == d->room) {
            d->room = d->room ? d->room * 2 : 1024;
            d->lse_error = realloc(d->lse_error, (size_t)d->room * sizeof *d->lse_error);
        }
        d->lse_error[d->count++] = fabs(g->lse[i] - s->lse[i]);
        if (g->margin[i] > 0.1) {
            d->best_asked++;
            d->best_right += s->top_id[(size_t)i * (size_t)s->top] == g->best[i];
        }
    }
    size_t rows = (size_t)g->layers * (size_t)g->tokens;
    for (size_t r = 0; r < rows; r++) {
        const uint16_t *wanted = g->expert + r * (size_t)g->used;
        for (int k = 0; k < g->used && wanted[0] != 0xffff; k++) {
            d->expert_asked++;
            d->expert_right += contains(s->experts + r * (size_t)s->used, s->used, wanted[k]);
        }
    }
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double distance_quantile(distance *d, double q)
{
    qsort(d->lse_error, (size_t)d->count, sizeof *d->lse_error, compare_doubles);
    int at = (int)(q * d->count);
    return d->lse_error[at < d->count ? at : d->count - 1];
}

double distance_share_within(const distance *d, double error)
{
    int n = 0;
    for (int i = 0; i < d->count; i++)
        n += d->lse_error[i] <= error;
    return (double)n / d->count;
}

double distance_best(const distance *d)
{
    return (double)d->best_right / d->best_asked;
}

double distance_experts(const distance *d)
{
    return (double)d->expert_right / (double)d->expert_asked;
}

void distance_free(distance *d)
{
    free(d->lse_error);
}
