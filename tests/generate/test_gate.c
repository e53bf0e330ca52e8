/* The gate of drafting, on steps whose cost and agreement are made up: it finds the width that
 * pays, leaves drafting alone where none does, and follows when things change. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>

#include "base/random.h"
#include "generate/gate.h"

enum { MOST = UMBRA_DRAFT_MOST, STEPS = 8000 };

/* A world: drafts agree with the text with a fixed probability each, as long as those before did; a
 * step of n drafts takes a time of its own. */
typedef struct world {
    double agree;
    double step_s[MOST + 1];
    double make_s; /* of a draft */
    double noise;  /* of a step's time: a factor of 1 +- this */
    double cold;   /* times its usual time that the first step takes more: caches fill */
    bool free;     /* drafts are made at every step */
    umbra_watch watch;
    umbra_random random;
    double seconds, tokens;     /* what came of it */
    double none_s;              /* and what that many steps without drafts take */
    double last_s, last_tokens; /* of the second half of the steps */
} world;

static const char *const curves[] = {"flat", "shared", "half", "steep", "apart", "late", "early"};
enum { CURVES = sizeof curves / sizeof curves[0] };

/* Times of steps, as shares of a single one. */
static double curve(int which, int n)
{
    switch (which) {
    case 0:
        return 1 + 0.03 * n; /* reads and weights are shared by nearly all */
    case 1:
        return 1 + 0.25 * n;
    case 2:
        return 1 + 0.5 * n;
    case 3:
        return 1 + 0.8 * n;
    case 4:
        return 1 + 1.0 * n; /* nothing is shared */
    case 5:
        return n < 4 ? 1 + 0.1 * n : 1.3 + 1.2 * (n - 3); /* a wall behind three */
    default:
        return n == 0 ? 1 : 1.8 + 0.1 * n; /* the first costs, further ones hardly */
    }
}

static double tokens_of(double agree, int n)
{
    double all = 1, tokens = 1;
    for (int i = 0; i < n; i++)
        tokens += all *= agree;
    return tokens;
}

/* Tokens per second of the best fixed width. */
static double best_rate(const world *w)
{
    double best = 0;
    for (int n = 0; n <= MOST; n++)
        best = fmax(best, tokens_of(w->agree, n) / (w->step_s[n] + n * w->make_s));
    return best;
}

/* The text is all zeros; a draft is 0 where it agrees. */
static int draft(world *w, int32_t *out, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = umbra_random_unit(&w->random) >= w->agree;
    return n;
}

/* Of one text. */
static int choose(umbra_gate *g, int kind, int most)
{
    umbra_offer offer = {.kind = kind, .n = most};
    int n = umbra_gate_choose(g, &offer, 1, most);
    assert_int_equal(n, offer.taken);
    return n;
}

static void one_step(world *w, umbra_gate *g)
{
    int32_t drafts[MOST];
    int made = w->free ? draft(w, drafts, MOST) : 0;
    if (w->free)
        umbra_gate_made(g, &w->watch, 0, drafts, made, 0);
    int n = choose(g, 0, MOST), agreed = 0;
    assert_in_range(n, 0, MOST);
    if (!w->free && n > 0) {
        draft(w, drafts, n);
        umbra_gate_made(g, &w->watch, 0, drafts, n, n * w->make_s);
    }
    while (agreed < n && drafts[agreed] == 0)
        agreed++;
    double now = 1 + w->cold * exp(-w->tokens / 30);
    double s = now * w->step_s[n] * (1 + w->noise * (2 * umbra_random_unit(&w->random) - 1));
    umbra_gate_step(g, 1, n, agreed + 1, &(umbra_step_cost){.seconds = s});
    for (int i = 0; i <= agreed; i++)
        umbra_gate_came(g, &w->watch, 0);
    w->seconds += s + n * w->make_s;
    for (int i = 0; i <= agreed; i++)
        w->none_s += w->step_s[0] * (1 + w->cold * exp(-(w->tokens + i) / 30));
    w->tokens += agreed + 1;
}

static void run(world *w, umbra_gate *g, int steps)
{
    w->seconds = w->tokens = w->none_s = 0;
    double half_s = 0, half_tokens = 0;
    for (int i = 0; i < steps; i++) {
        if (i == steps / 2) {
            half_s = w->seconds;
            half_tokens = w->tokens;
        }
        one_step(w, g);
    }
    w->last_s = w->seconds - half_s;
    w->last_tokens = w->tokens - half_tokens;
}

static world world_of(double agree, int which, double noise, bool is_free)
{
    world w = {.agree = agree, .noise = noise, .free = is_free};
    umbra_random_seed(&w.random, 7);
    for (int n = 0; n <= MOST; n++)
        w.step_s[n] = 0.01 * curve(which, n);
    if (!is_free)
        w.make_s = 0.0005;
    return w;
}

static const double agreements[] = {0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1};
enum { AGREEMENTS = sizeof agreements / sizeof agreements[0] };

/* Once it has learnt, 97 % of the best width's speed; 98 % of that without drafts from the
 * beginning, and 99 % where drafts are of no use. */
static void check(double agree, int which, bool is_free)
{
    world w = world_of(agree, which, 0.1, is_free);
    umbra_gate g;
    umbra_gate_init(&g);
    run(&w, &g, STEPS);
    double of_best = w.last_tokens / w.last_s / best_rate(&w);
    double of_none = w.tokens / w.seconds * w.step_s[0];
    if (of_best < 0.97 || of_none < (agree > 0 ? 0.98 : 0.99))
        fail_msg("agreement %.2f, curve %s%s: %.3f of the best, %.3f of none", agree, curves[which],
                 is_free ? ", free drafts" : "", of_best, of_none);
}

static void the_width_that_pays_is_found(void **state)
{
    (void)state;
    for (int a = 0; a < AGREEMENTS; a++)
        for (int c = 0; c < CURVES; c++) {
            check(agreements[a], c, true);
            check(agreements[a], c, false);
        }
}

/* Two hundred tokens by a gate that knows nothing yet. Returns the time without drafts over the
 * time that was taken, over many texts. */
static double short_texts(double agree, int which, double cold)
{
    double seconds = 0, none_s = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        world w = world_of(agree, which, 0.1, true);
        umbra_gate g;
        w.cold = cold;
        umbra_random_seed(&w.random, seed);
        umbra_gate_init(&g);
        while (w.tokens < 200)
            one_step(&w, &g);
        seconds += w.seconds;
        none_s += w.none_s;
    }
    return none_s / seconds;
}

/* Also where there is no time to make good for what trying costs, and where steps become quicker
 * all the time, which is not the drafts' doing. */
static void short_texts_lose_little(void **state)
{
    (void)state;
    for (int cold = 0; cold <= 2; cold++)
        for (int a = 0; a < AGREEMENTS; a++)
            for (int c = 0; c < CURVES; c++) {
                double gain = short_texts(agreements[a], c, cold);
                double least = 0.98 - 0.01 * cold;
                if (gain < (agreements[a] > 0 ? least : 0.99))
                    fail_msg("agreement %.2f, curve %s, cold %d: %.3f of none", agreements[a],
                             curves[c], cold, gain);
            }
}

/* A trial that somebody else's work interrupts is charged no more than as many single steps, so
 * that others may follow. */
static void pauses_are_not_charged_to_trials(void **state)
{
    (void)state;
    umbra_gate g;
    int n = 0;
    umbra_gate_init(&g);
    while (n == 0) {
        umbra_gate_step(&g, 1, 0, 1, &(umbra_step_cost){.seconds = 0.01});
        n = choose(&g, 0, MOST);
    }
    assert_true(g.trying);
    umbra_gate_step(&g, 1, n, 1, &(umbra_step_cost){.seconds = 5});
    assert_true(g.lost_s > 0 && g.lost_s <= 0.01 * (n + 1));
}

/* A prompt as long as that, drafted on paper. */
static void read_prompt(world *w, umbra_gate *g, int tokens)
{
    int32_t drafts[MOST];
    for (int i = 0; i < tokens; i++) {
        umbra_gate_made(g, &w->watch, 0, drafts, draft(w, drafts, MOST), 0);
        umbra_gate_came(g, &w->watch, 0);
    }
    umbra_gate_forget(g, &w->watch, true);
}

/* Behind texts that agree otherwise: what steps take is known by then, so it is found at once how
 * many drafts pay, and what others agreed to says little. Returns the speed of a text of 200 tokens
 * beside the best fixed width's; *of_none: beside that without drafts. */
static double later_text(double agree, int which, int prompt, double *of_none)
{
    double seconds = 0, tokens = 0;
    const world truth = world_of(agree, which, 0.1, true);
    for (uint64_t seed = 0; seed < 8; seed++) {
        umbra_gate g;
        umbra_gate_init(&g);
        for (int t = 0; t < 4; t++) {
            world w = truth;
            w.agree = t < 3 ? agreements[(seed + 4 * (uint64_t)t) % AGREEMENTS] : agree;
            umbra_random_seed(&w.random, 4 * seed + (uint64_t)t);
            umbra_gate_forget(&g, &w.watch, false);
            read_prompt(&w, &g, prompt);
            while (w.tokens < 200)
                one_step(&w, &g);
            seconds += t == 3 ? w.seconds : 0;
            tokens += t == 3 ? w.tokens : 0;
        }
    }
    *of_none = tokens / seconds * truth.step_s[0];
    return tokens / seconds / best_rate(&truth);
}

static void later_texts_know_what_steps_take(void **state)
{
    (void)state;
    static const double least[] = {0.96, 0.97};
    for (int i = 0; i < 2; i++) {
        double sum = 0;
        for (int a = 0; a < AGREEMENTS; a++)
            for (int c = 0; c < CURVES; c++) {
                double of_none, of_best = later_text(agreements[a], c, 100 * i, &of_none);
                sum += of_best;
                if (of_none < least[i])
                    fail_msg("agreement %.2f, curve %s, prompt %d: %.3f of none", agreements[a],
                             curves[c], 100 * i, of_none);
            }
        if (sum < least[i] * AGREEMENTS * CURVES)
            fail_msg("prompt %d: %.3f of the best on average", 100 * i,
                     sum / (AGREEMENTS * CURVES));
    }
}

/* A text that repeats itself no more costs little, and one that begins to is soon followed. */
static void changes_are_followed(void **state)
{
    (void)state;
    world w = world_of(0.95, 1, 0.1, true);
    umbra_gate g;
    umbra_gate_init(&g);
    run(&w, &g, 1000);
    assert_true(w.last_tokens / w.last_s > 0.95 * best_rate(&w));
    w.agree = 0.02;
    run(&w, &g, 1000);
    assert_true(w.last_tokens / w.last_s > 0.98 / w.step_s[0]);
    w.agree = 0.95;
    run(&w, &g, 1000);
    assert_true(w.last_tokens / w.last_s > 0.95 * best_rate(&w));
    for (int n = 1; n <= MOST; n++) /* now rows share nothing: a disk that is the bottleneck */
        w.step_s[n] = 0.01 * (1 + 1.2 * n);
    run(&w, &g, 1000);
    assert_true(w.last_tokens / w.last_s > 0.97 / w.step_s[0]);
}

/* A step of n drafts that all agree or all do not, whose rows wait for so long each. */
static void waiting_step(umbra_gate *g, int n, bool agree, double compute_s, double row_s)
{
    double waited_s = (1 + n) * row_s;
    umbra_gate_step(g, 1, n, agree ? n + 1 : 1,
                    &(umbra_step_cost){.seconds = compute_s + waited_s, .waited_s = waited_s});
}

/* The first steps wait for a cache to fill: what they took is not held against single steps, nor
 * for wide ones. */
static void a_cold_cache_is_no_reason_to_draft(void **state)
{
    (void)state;
    umbra_watch watch = {.n = 0};
    umbra_gate g;
    int drafted = 0;
    umbra_gate_init(&g);
    for (int i = 0; i < 400; i++) {
        const int32_t drafts[MOST] = {0};
        umbra_gate_made(&g, &watch, 0, drafts, MOST, 0);
        int n = choose(&g, 0, MOST);
        bool agree = i < 20; /* and then never again */
        waiting_step(&g, n, agree, 0.005 * (1 + 0.8 * n), i < 4 ? 25.6e-3 : 1.28e-4);
        for (int t = 0; t <= (agree ? n : 0); t++)
            umbra_gate_came(&g, &watch, agree ? 0 : 1);
        drafted += i >= 100 ? n : 0;
    }
    assert_true(drafted < 20);
}

/* Reads that are waited for are priced, on whatever width they were measured: where each row waits
 * for as many again, nothing is gained once disks are the bottleneck. */
static void waits_are_priced(void **state)
{
    (void)state;
    const double waits_s[] = {0, 0.128};
    for (int w = 0; w < 2; w++) {
        umbra_watch watch = {.n = 0};
        umbra_gate g;
        int last = 0;
        umbra_gate_init(&g);
        for (int i = 0; i < 600; i++) {
            const int32_t drafts[4] = {0, 0, 0, 0};
            umbra_gate_made(&g, &watch, 0, drafts, 4, 0);
            int n = choose(&g, 0, 4);
            bool agree = i % 5 != 0;
            waiting_step(&g, n, agree, 0.005 * (1 + 0.1 * n), waits_s[w]);
            for (int t = 0; t <= (agree ? n : 0); t++)
                umbra_gate_came(&g, &watch, agree ? 0 : 1);
            last += i >= 500 ? n : 0;
        }
        assert_true(w == 0 ? last > 350 : last < 30);
    }
}

/* Kinds are judged apart: one that is always wrong is not checked because another is right. */
static void kinds_are_judged_apart(void **state)
{
    (void)state;
    umbra_watch watch = {.n = 0};
    umbra_gate g;
    int checked[2] = {0, 0};
    umbra_gate_init(&g);
    for (int i = 0; i < 1000; i++) {
        int kind = i % 2;
        const int32_t drafts[4] = {kind, kind, kind, kind};
        umbra_gate_made(&g, &watch, kind, drafts, 4, 0);
        int n = choose(&g, kind, 4), agreed = kind == 0 ? n : 0;
        umbra_gate_step(&g, 1, n, agreed + 1, &(umbra_step_cost){.seconds = 0.01 * (1 + 0.2 * n)});
        for (int t = 0; t <= agreed; t++)
            umbra_gate_came(&g, &watch, 0);
        checked[kind] += n;
    }
    assert_true(checked[0] > 1900);
    assert_true(checked[1] < 50);
}

/* Of several texts the drafts that come true are taken, and no more in all than there is room for.
 */
static void the_likeliest_of_several_texts_are_taken(void **state)
{
    (void)state;
    umbra_gate g;
    umbra_watch watch[2] = {{.n = 0}, {.n = 0}};
    int taken[2] = {0, 0};
    umbra_gate_init(&g);
    for (int i = 0; i < 400; i++) {
        umbra_offer offers[3] = {{.kind = 0, .n = 4}, {.kind = 1, .n = 4}, {.n = 0}};
        for (int k = 0; k < 2; k++) {
            const int32_t drafts[4] = {k, k, k, k};
            umbra_gate_made(&g, &watch[k], k, drafts, 4, 0);
        }
        int n = umbra_gate_choose(&g, offers, 3, 3);
        assert_in_range(n, 0, 3);
        assert_int_equal(n, offers[0].taken + offers[1].taken);
        assert_int_equal(offers[2].taken, 0);
        umbra_gate_step(&g, 3, n, 3 + offers[0].taken,
                        &(umbra_step_cost){.seconds = 0.01 * (3 + 0.2 * n)});
        for (int t = 0; t <= offers[0].taken; t++)
            umbra_gate_came(&g, &watch[0], 0);
        umbra_gate_came(&g, &watch[1], 0);
        for (int k = 0; k < 2; k++)
            taken[k] += offers[k].taken;
    }
    assert_true(taken[0] > 1000 && taken[1] < 20);
    umbra_offer many[UMBRA_GATE_ROWS + 1] = {{.n = 4}};
    assert_int_equal(umbra_gate_choose(&g, many, UMBRA_GATE_ROWS + 1, 8), 0);
    assert_true(umbra_gate_rate(&g, many, UMBRA_GATE_ROWS + 1, 8) <= 0);
}

/* More drafts than can be waited for, and an end of the text among them. */
static void drafts_that_wait_are_bounded(void **state)
{
    (void)state;
    umbra_watch watch = {.n = 0};
    umbra_gate g;
    const int32_t drafts[MOST] = {0};
    umbra_gate_init(&g);
    for (int i = 0; i < 3 * UMBRA_GATE_WATCHED; i++)
        umbra_gate_made(&g, &watch, 0, drafts, MOST, 0);
    assert_int_equal(watch.n, UMBRA_GATE_WATCHED);
    for (int i = 0; i < MOST; i++)
        umbra_gate_came(&g, &watch, 0);
    assert_int_equal(watch.n, 0);
    umbra_gate_made(&g, &watch, 0, drafts, MOST, 0);
    umbra_gate_forget(&g, &watch, false);
    assert_int_equal(watch.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_width_that_pays_is_found),
        cmocka_unit_test(short_texts_lose_little),
        cmocka_unit_test(pauses_are_not_charged_to_trials),
        cmocka_unit_test(later_texts_know_what_steps_take),
        cmocka_unit_test(changes_are_followed),
        cmocka_unit_test(kinds_are_judged_apart),
        cmocka_unit_test(a_cold_cache_is_no_reason_to_draft),
        cmocka_unit_test(waits_are_priced),
        cmocka_unit_test(the_likeliest_of_several_texts_are_taken),
        cmocka_unit_test(drafts_that_wait_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
