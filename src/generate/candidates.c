/* Cuts the candidates for a token down: top-k, typical-p, top-p, min-p. */
#include <math.h>

#include "generate/candidates.h"

static bool before(const umbra_candidate *a, const umbra_candidate *b)
{
    return a->key != b->key ? a->key < b->key : a->id < b->id;
}

static void swap(umbra_candidate *a, umbra_candidate *b)
{
    umbra_candidate t = *a;
    *a = *b;
    *b = t;
}

/* Puts the middle one of three to the end, as the pivot. */
static void choose_pivot(umbra_candidate *c, int low, int high)
{
    umbra_candidate *first = &c[low], *middle = &c[low + (high - low) / 2], *last = &c[high - 1];
    if (before(middle, first))
        swap(middle, first);
    if (before(last, middle))
        swap(last, middle);
    if (before(middle, first))
        swap(middle, first);
    swap(middle, last);
}

static double amount(const umbra_candidate *c, bool counted)
{
    return counted ? 1 : (double)c->weight;
}

/* Moves to the front those that come first until they make up `wanted`: so many (counted), or so
 * much weight. Looks for the place of the last of them as quickselect does. Returns how many. */
static int keep_first(umbra_candidate *c, int n, double wanted, bool counted)
{
    int low = 0, high = n; /* what is below low is kept, from high on nothing is */
    while (high - low > 1) {
        choose_pivot(c, low, high);
        int at = low;
        double sum = 0;
        for (int i = low; i < high - 1; i++)
            if (before(&c[i], &c[high - 1])) {
                sum += amount(&c[i], counted);
                swap(&c[at++], &c[i]);
            }
        swap(&c[at], &c[high - 1]);
        if (sum >= wanted && at > low) {
            high = at;
            continue;
        }
        wanted -= sum + amount(&c[at], counted);
        low = at + 1;
        if (wanted <= 0)
            return low;
    }
    return high > low && (wanted > 0 || low == 0) ? low + 1 : low;
}

static void order_by_weight(umbra_candidate *c, int n)
{
    for (int i = 0; i < n; i++)
        c[i].key = -c[i].weight;
}

/* How far each one's surprise is from the expected one. */
static void order_by_surprise(umbra_candidate *c, int n, double sum)
{
    double expected = 0;
    for (int i = 0; i < n; i++)
        if (c[i].weight > 0)
            expected -= (double)c[i].weight / sum * log((double)c[i].weight / sum);
    for (int i = 0; i < n; i++)
        c[i].key =
            c[i].weight > 0 ? (float)fabs(-log((double)c[i].weight / sum) - expected) : INFINITY;
}

static int keep_from(umbra_candidate *c, int n, float least)
{
    int kept = 0;
    for (int i = 0; i < n; i++)
        if (c[i].weight >= least)
            swap(&c[kept++], &c[i]);
    return kept;
}

static float heaviest(const umbra_candidate *c, int n)
{
    float most = 0;
    for (int i = 0; i < n; i++)
        most = c[i].weight > most ? c[i].weight : most;
    return most;
}

double umbra_candidates_sum(const umbra_candidate *c, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)c[i].weight;
    return sum;
}

static bool is_share(float p)
{
    return p > 0 && p < 1;
}

int umbra_candidates_filter(umbra_candidate *c, int n, const umbra_sampling *s)
{
    order_by_weight(c, n);
    if (s->top_k > 0 && s->top_k < n)
        n = keep_first(c, n, s->top_k, true);
    if (is_share(s->typical_p)) {
        double sum = umbra_candidates_sum(c, n);
        order_by_surprise(c, n, sum);
        n = keep_first(c, n, (double)s->typical_p * sum, false);
        order_by_weight(c, n);
    }
    if (is_share(s->top_p))
        n = keep_first(c, n, (double)s->top_p * umbra_candidates_sum(c, n), false);
    if (s->min_p > 0)
        n = keep_from(c, n, s->min_p * heaviest(c, n));
    return n;
}
