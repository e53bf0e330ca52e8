/* A made-up evaluation with plausible figures. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "lab/evaluate/synthetic.h"

enum { L = 16, E = 64, K = 8, D = UMBRA_MAX_DISTANCE, POSITIONS = 24, EPOCHS = 12 };

static const char nasty[] = "<script>alert(1)</script>&\"'</td>\x1b[31m\xff\xc0\x80.safetensors";

/* The used experts carry a signal of this strength over noise of one unit. */
static void fill_tally(umbra_tally *t, umbra_random *random, double signal, bool forecasts)
{
    float scores[E];
    uint16_t used[K], ranks[K];
    for (int i = 0; i < POSITIONS; i++) {
        bool is_used[E] = {false};
        for (int j = 0; j < K; j++) {
            do
                used[j] = (uint16_t)umbra_random_below(random, E);
            while (is_used[used[j]]);
            is_used[used[j]] = true;
        }
        for (int e = 0; e < E; e++)
            scores[e] = (float)(umbra_random_normal(random) + (is_used[e] ? signal : 0));
        umbra_tally_rank(scores, E, used, K, ranks);
        umbra_tally_add(t, ranks, K);
        /* The true posterior of this game, bent a little. */
        for (int e = 0; e < E; e++) {
            double z = signal * (double)scores[e] - signal * signal / 2 + log(K / (double)(E - K));
            scores[e] = (float)(1 / (1 + exp(-1.15 * z)));
        }
        if (forecasts)
            umbra_tally_forecast(t, scores, E, used, K);
    }
}

static void add_row(umbra_evaluation *e, umbra_eval_kind kind, const char *name, int shadow,
                    double signal, double fall, uint64_t bytes, uint64_t macs)
{
    umbra_random random;
    umbra_random_seed(&random, (uint64_t)e->n_rows + 7);
    umbra_eval_row *row = &e->rows[e->n_rows++];
    snprintf(row->name, sizeof row->name, "%s", name);
    row->kind = kind;
    row->shadow = shadow;
    row->bytes = bytes;
    row->macs = macs;
    row->forecast = kind == UMBRA_EVAL_SHADOW   ? UMBRA_EVAL_OWN
                    : kind == UMBRA_EVAL_ORACLE ? UMBRA_EVAL_NO_FORECAST
                                                : UMBRA_EVAL_PLATT;
    assert_int_equal(umbra_eval_row_open(e, row, NULL), UMBRA_OK);
    for (int s = 0; s < L; s++) {
        for (int d = 1; d <= D; d++) {
            if (!umbra_eval_predicts(e, s, d))
                continue;
            double layer = umbra_shadow_target(s, d), at = signal - fall * (d - 1);
            at *= 1 + 0.12 * sin(layer * 1.7) - (s == 0 && kind != UMBRA_EVAL_ORACLE ? 0.35 : 0);
            fill_tally(umbra_eval_tally(row, s, d), &random, at, kind != UMBRA_EVAL_ORACLE);
        }
    }
    for (int d = 0; d < D; d++)
        row->deviation[d] = kind == UMBRA_EVAL_ORACLE ? 0 : 0.004;
}

static void add_folder(umbra_evaluation *e, const char *path)
{
    umbra_eval_folder *f = &e->folders[e->n_folders++];
    f->path = umbra_strdup(path);
    f->collection = umbra_strdup("{\"made_by\":\"umbra collect\",\"seed\":7,\"temperature\":0.8,"
                                 "\"text\":[\"<b>heldout</b>\"]}");
    f->stride = 1;
    f->generated = (umbra_eval_amount){40, 20480};
    f->read = (umbra_eval_amount){16, 24910};
    f->short_documents = 2;
}

static void add_shadow(umbra_evaluation *e, const char *path, bool plain)
{
    umbra_eval_shadow *s = &e->shadows[e->n_shadows++];
    s->path = umbra_strdup(path);
    s->spec = (umbra_shadow_spec){
        .layers = L,
        .hidden = 384,
        .experts = E,
        .used = K,
        .width = 256,
        .features = plain ? 0 : UMBRA_FEATURE_NOW | UMBRA_FEATURE_PREVIOUS,
        .averages = plain ? 0 : 2,
        .weights = UMBRA_SHADOW_BF16,
    };
    umbra_training *t = &s->training;
    t->n_hashes = 384;
    t->tokens = 311296;
    t->seconds = 95;
    t->epochs = umbra_calloc(EPOCHS, sizeof *t->epochs);
    t->n_epochs = EPOCHS;
    for (int i = 0; i < EPOCHS; i++) {
        t->epochs[i].loss = 0.14 + 0.1 * exp(-0.4 * i);
        for (int d = 0; d < D; d++)
            t->epochs[i].recall[d] = 0.87 - 0.04 * d - 0.12 * exp(-0.5 * i);
    }
    static const umbra_eval_ablation parts[] = {{.without = "experts used now"},
                                                {.without = "experts of the token before"},
                                                {.without = "running averages"},
                                                {.without = "inner part (MLP)"},
                                                {.without = "linear part"}};
    s->n_ablations = plain ? 0 : 5;
    for (int a = 0; a < s->n_ablations; a++) {
        s->ablations[a] = parts[a];
        for (int d = 0; d < D; d++) {
            s->hits[d] = 86000 - 4000 * (uint64_t)d;
            s->ablations[a].hits[d] = s->hits[d] - 900 * (uint64_t)(a + d) + 50;
        }
    }
    for (int d = 0; d < D; d++)
        e->ablation_slots[d] = 100000;
}

/* Gate, a shadow, roll and runahead at two residencies; the farther, the worse. */
static void add_walks(umbra_evaluation *e)
{
    static const umbra_eval_kind kinds[] = {UMBRA_EVAL_GATE, UMBRA_EVAL_SHADOW, UMBRA_EVAL_ROLL,
                                            UMBRA_EVAL_RUNAHEAD};
    static const char *const names[] = {"gate", "", "roll", "runahead"};
    e->walk_reach = L;
    e->walks = umbra_calloc(8, sizeof *e->walks);
    for (int i = 0; i < 8; i++) {
        umbra_eval_walk *w = &e->walks[e->n_walks++];
        w->kind = kinds[i % 4];
        w->shadow = w->kind == UMBRA_EVAL_SHADOW ? 0 : -1;
        snprintf(w->name, sizeof w->name, "%s", i % 4 == 1 ? e->rows[4].name : names[i % 4]);
        w->residency = i < 4 ? 0.3 : 0.5;
        w->bytes = 900000;
        w->macs = 400000;
        w->shares = umbra_calloc(5 * L, sizeof *w->shares);
        for (int which = 0; which < UMBRA_EVAL_WHICH; which++) {
            w->within[which] = w->shares + which * L;
            w->beyond[which] = w->shares + (2 + which) * L;
        }
        w->next = w->shares + 4 * L;
        for (int d = 0; d < (i % 4 < 2 ? D : L - 1); d++)
            for (int part = 0; part < (i % 4 < 2 ? 2 : 5); part++)
                w->shares[part * L + d] =
                    (umbra_eval_share){1000, (uint64_t)(700 + 60 * (i % 4) - 9 * d)};
    }
    e->walked = (umbra_eval_amount){3, 320};
}

umbra_evaluation *synthetic_evaluation(bool hostile)
{
    umbra_evaluation *e = umbra_calloc(1, sizeof *e);
    assert_non_null(e);
    e->model = (umbra_trace_info){.layers = L, .hidden = 384, .experts = E, .used = K};
    snprintf(e->model.model_name, sizeof e->model.model_name, "%s", hostile ? nasty : "lab");
    snprintf(e->model.model_hash, sizeof e->model.model_hash, "%032d", 42);
    snprintf(e->model.architecture, sizeof e->model.architecture, "qwen3moe");
    e->has_layer = umbra_calloc(L, sizeof *e->has_layer);
    e->folders = umbra_calloc(2, sizeof *e->folders);
    e->shadows = umbra_calloc(2, sizeof *e->shadows);
    e->rows = umbra_calloc(6, sizeof *e->rows);
    e->control = umbra_calloc(L + 1, sizeof *e->control);
    memset(e->has_layer, 1, L);
    e->control_counts = umbra_eval_histograms(e->control, L + 1, E);
    e->control_sum = e->control[L];
    e->n_budgets = 3;
    memcpy(e->budgets, (const int[]){8, 12, 16}, sizeof e->budgets);
    e->curve_last = 32;
    e->table = (umbra_eval_amount){50, 40211};
    e->calibration = (umbra_eval_amount){6, 5179};
    e->ablation = (umbra_eval_amount){12, 9214};
    e->frequency_from = "counted on the first shadow's training documents";
    e->threads = 2;
    e->seconds = 12.5;
    add_folder(e, hostile ? nasty : "traces/lab-test");
    add_shadow(e, hostile ? nasty : "shadows/lab.shadow.safetensors", false);
    add_shadow(e, hostile ? "plain" : "shadows/lab-plain.shadow.safetensors", true);
    add_row(e, UMBRA_EVAL_ORACLE, "oracle", -1, 40, 0, 0, 0);
    add_row(e, UMBRA_EVAL_FREQUENCY, "frequency", -1, 0.6, 0, 1024, 0);
    add_row(e, UMBRA_EVAL_PREVIOUS, "previous", -1, 1.05, -0.02, 128, 0);
    add_row(e, UMBRA_EVAL_GATE, "gate", -1, 2.5, 0.25, 393216, 98304);
    add_row(e, UMBRA_EVAL_SHADOW, hostile ? nasty : "lab", 0, 3.2, 0.2, 1415168, 704512);
    add_row(e, UMBRA_EVAL_SHADOW, hostile ? "plain" : "lab-plain", 1, 2.9, 0.22, 1184000, 591000);
    umbra_random random;
    umbra_random_seed(&random, 3);
    for (int s = 1; s < L; s++)
        fill_tally(&e->control[s], &random, 40, false);
    umbra_eval_sum(e);
    add_walks(e);
    return e;
}
