/* bench_drafts MODEL [--ram SIZE...] [--io IO...] [--agree SHARE...] [--width N...] [--tokens N]
 * [--warm N] [--turn N] [--rounds N] [--seconds N] [--threads N] [--kernels NAME]: what drafts are
 * worth by their number, and how near the gate comes to the best number, told so that a machine
 * which drifts takes no part in it. One engine without drafts, one for each number of drafts (1 2 4
 * 8) and one with the gate write the same text side by side, --turn tokens (16) in turns. Drafts
 * are the true text's, but where it is hard to guess: a share 1 - agree (.9) of its places, the
 * same for all.
 *
 * A round (9; none begins later than --seconds after the first) is a text, drawn at .8: a beginning
 * of 32 tokens, --warm (256) that are not counted and --tokens (256) that are. Printed are by disk,
 * budget and agreement: milliseconds of a token without drafts and how many of its experts are in
 * memory; the gain in time over that by number of drafts and of the gate (auto); what the gate is
 * of the number whose gain is best, none included; how many drafts a step of the gate checks, and
 * megabytes read per token without drafts and by the gate. Gains are geometric means of the rounds,
 * with the standard error behind them. */
#include <math.h>

#include <umbra/umbra.h>

#include "base/random.h"
#include "engine/engine.h"
#include "generate/drafts.h"
#include "numbers.h"

enum { MOST_WORDS = 16, MOST_ROUNDS = 256, MOST_TOKENS = 1 << 12, BEGIN = 32, FOREVER = 1 << 30 };

typedef struct settings {
    const char *model, *kernels, *io[MOST_WORDS];
    uint64_t ram[MOST_WORDS];
    double agree[MOST_WORDS];
    int width[MOST_WORDS];
    int n_io, n_ram, n_agree, n_widths, tokens, warm, turn, rounds, seconds, threads;
} settings;

/* The text of a round, and what of it can be guessed. */
typedef struct tale {
    int length; /* tokens */
    int32_t token[MOST_TOKENS + 1];
    bool easy[MOST_TOKENS + 1];
    int32_t wrong[MOST_TOKENS + 1]; /* what is guessed where it is not easy */
    umbra_sampler *sampler;         /* while it is written */
} tale;

/* One of those that write it. */
typedef struct writer {
    const tale *of;
    umbra_engine *engine;
    umbra_drafts *drafts; /* or NULL */
    int at;               /* of the token to be computed next */
    int came;             /* tokens of which the teller was told */
    double seconds;       /* of the tokens that count, */
    int steps, checked;   /* with so many steps and drafts in them */
} writer;

/* What a round gave. */
typedef struct outcome {
    double token_s[MOST_WORDS + 2]; /* seconds per token, by place in the table */
    double checked;                 /* drafts of a step, the gate's */
    double hits;                    /* of the experts without drafts: in memory, a share */
    double read[2];                 /* bytes per token: without drafts, the gate's */
} outcome;

/* ---- the text and its drafts ---- */

static int draw(void *user, int index, const float *logits)
{
    tale *s = user;
    (void)index;
    s->token[s->length] = umbra_sampler_next(s->sampler, logits, s->token, s->length);
    return s->token[s->length] < 0 ? s->token[s->length] : 0;
}

static void open_engine(umbra_engine **engine, const umbra_model *model, const settings *s,
                        const char *io, uint64_t ram)
{
    umbra_error err = {0};
    const umbra_engine_options o = {.ram_bytes = ram,
                                    .io = io,
                                    .threads = s->threads,
                                    .context = BEGIN + s->warm + s->tokens + 1,
                                    .kernels = s->kernels};
    must(umbra_engine_open(engine, model, &o, &err), &err);
}

static void write_tale(tale *w, const umbra_model *model, const settings *s, double agree,
                       uint64_t seed)
{
    umbra_error err = {0};
    umbra_engine *engine;
    umbra_random luck;
    const umbra_sampling sampling = {.temperature = 0.8f, .top_p = 0.95f, .seed = seed};
    const umbra_tap tap = {.user = w, .logits = draw};
    int vocabulary = umbra_model_get_info(model)->vocabulary;
    *w = (tale){.token = {1000 % vocabulary}};
    open_engine(&engine, model, s, NULL, 0);
    must(umbra_sampler_open(&w->sampler, &sampling, vocabulary, &err), &err);
    while (w->length < BEGIN + s->warm + s->tokens) {
        umbra_token token = {w->token[w->length++], 0, true};
        must(umbra_engine_eval(engine, &token, 1, &tap, &err), &err);
    }
    umbra_sampler_close(&w->sampler);
    umbra_engine_close(&engine);
    umbra_random_seed(&luck, seed);
    for (int i = 0; i <= w->length; i++) {
        w->easy[i] = umbra_random_unit(&luck) < agree;
        w->wrong[i] = (int32_t)umbra_random_below(&luck, (uint64_t)vocabulary);
    }
}

static void begin(void *self, int sequence, int length)
{
    (void)sequence;
    ((writer *)self)->came = length;
}

static void add(void *self, int sequence, const int32_t *tokens, int n)
{
    (void)sequence;
    (void)tokens;
    ((writer *)self)->came += n;
}

static int make(void *self, int sequence, int most, int32_t *out, int *kind)
{
    const writer *w = self;
    int n = 0;
    (void)sequence;
    *kind = 0;
    for (int i = w->came; n < most && i <= w->of->length; i++)
        out[n++] = w->of->easy[i] ? w->of->token[i] : w->of->wrong[i];
    return n;
}

/* ---- writing it ---- */

/* drafts: of every step; 0: none; -1: as many as the gate takes. */
static void open_writer(writer *w, const tale *of, const umbra_model *model, const settings *s,
                        const char *io, uint64_t ram, int drafts)
{
    umbra_error err = {0};
    const umbra_draft_options o = {.source = UMBRA_DRAFT_LOOKUP, .most = drafts > 0 ? drafts : 0};
    const umbra_draft_source source = {.name = UMBRA_DRAFT_AUTO, /* none of those there are */
                                       .kinds = 1,
                                       .free = true,
                                       .begin = begin,
                                       .add = add,
                                       .make = make,
                                       .self = w};
    *w = (writer){.of = of};
    open_engine(&w->engine, model, s, io, ram);
    if (drafts != 0)
        must(umbra_drafts_open_with(&w->drafts, w->engine, &o, &source, drafts < 0, NULL, &err),
             &err);
}

static int ignore(void *user, int index, const float *logits)
{
    (void)user;
    (void)index;
    (void)logits;
    return 0;
}

/* As a text begins: all but the token that goes on from there. */
static void read_beginning(writer *w)
{
    umbra_error err = {0};
    umbra_token rows[BEGIN];
    for (w->at = 0; w->at < BEGIN - 1; w->at++)
        rows[w->at] = (umbra_token){w->of->token[w->at], 0, false};
    must(umbra_engine_eval(w->engine, rows, w->at, NULL, &err), &err);
    if (w->drafts)
        umbra_drafts_begin(w->drafts, 0, 0, w->of->token, w->at, w->of->token[w->at]);
}

/* Checks no draft from place `end` on. */
static void step(writer *w, int end)
{
    umbra_error err = {0};
    const umbra_tap tap = {.logits = ignore};
    umbra_token rows[UMBRA_DRAFT_MOST + 1];
    umbra_drafted part = {.most = UMBRA_DRAFT_MOST};
    const int32_t *text = w->of->token + w->at;
    int left = end - w->at, agreed = 0;
    part.most = left - 1 < part.most ? left - 1 : part.most;
    int n = w->drafts ? umbra_drafts_make(w->drafts, &part, 1, part.most, false) : 0;
    rows[0] = (umbra_token){text[0], 0, true};
    for (int i = 0; i < n; i++)
        rows[i + 1] = (umbra_token){part.token[i], 0, true};
    while (agreed < n && part.token[agreed] == text[agreed + 1])
        agreed++;
    umbra_engine_set_checking(w->engine, 0, n > 0);
    must(umbra_engine_eval(w->engine, rows, n + 1, &tap, &err), &err);
    umbra_engine_set_checking(w->engine, 0, false);
    w->at += agreed + 1;
    w->steps++;
    w->checked += n;
    if (agreed < n && umbra_engine_truncate(w->engine, 0, w->at) != w->at) {
        fputs("bench_drafts: this model cannot take drafts back one by one\n", stderr);
        exit(1);
    }
    part.n = agreed + 1;
    memcpy(part.token, text + 1, (size_t)part.n * sizeof *part.token);
    if (w->drafts)
        umbra_drafts_end(w->drafts, &part, 1);
}

static void write_to(writer *w, int place, int end)
{
    double start = now();
    while (w->at < place)
        step(w, end);
    w->seconds += now() - start;
}

/* What it did so far does not count. */
static void begin_counting(writer *w)
{
    w->seconds = 0;
    w->steps = w->checked = 0;
    umbra_store_reset_stats(umbra_engine_store(w->engine));
}

/* They write the text from place to place in turns, of which each begins with another one, this way
 * round and that. */
static void take_turns(writer *w, int n, const settings *s, int begin, int end, int turn)
{
    for (int at = begin; at < end; turn++) {
        at = end - at < s->turn ? end : at + s->turn;
        for (int i = 0; i < n; i++)
            write_to(&w[(turn + (turn % 2 ? n - i : i)) % n], at, end);
    }
}

/* Bytes. */
static double read_by(const writer *w, double *hits)
{
    umbra_store_stats store;
    umbra_engine_get_store_stats(w->engine, &store);
    *hits = (double)store.hits / (double)(store.hits + store.late + store.misses);
    return (double)store.bytes_read;
}

/* All write the round's text: without drafts, with each number of them, by the gate. */
static void run_round(const umbra_model *model, const settings *s, const char *io, uint64_t ram,
                      double agree, int round, outcome *out)
{
    static tale text;
    writer w[MOST_WORDS + 2];
    int n = s->n_widths + 2, gate = n - 1, counted = BEGIN + s->warm;
    double hits;
    write_tale(&text, model, s, agree, (uint64_t)round + 1);
    for (int i = 0; i < n; i++) {
        int k = (i + round) % n; /* also whose memory is laid out first takes turns */
        int drafts = k == 0 ? 0 : k == gate ? -1 : s->width[k - 1];
        open_writer(&w[k], &text, model, s, io, ram, drafts);
        read_beginning(&w[k]);
    }
    take_turns(w, n, s, BEGIN, counted, round);
    for (int i = 0; i < n; i++)
        begin_counting(&w[i]);
    take_turns(w, n, s, counted, text.length, round);
    out->checked = (double)w[gate].checked / w[gate].steps;
    out->read[1] = read_by(&w[gate], &hits) / s->tokens;
    out->read[0] = read_by(&w[0], &out->hits) / s->tokens;
    for (int i = 0; i < n; i++) {
        out->token_s[i] = w[i].seconds / s->tokens;
        umbra_drafts_close(&w[i].drafts);
        umbra_engine_close(&w[i].engine);
    }
}

/* ---- what is printed ---- */

/* By what one is quicker than another: the geometric mean of the rounds, and its standard error, a
 * share of it. */
static double gain(const outcome *of, int rounds, int one, int other, double *error)
{
    double sum = 0, squares = 0;
    for (int r = 0; r < rounds; r++) {
        double x = log(of[r].token_s[other] / of[r].token_s[one]);
        sum += x;
        squares += x * x;
    }
    double mean = sum / rounds;
    *error = rounds > 1 ? sqrt(fmax(squares / rounds - mean * mean, 0) / (rounds - 1)) : 0;
    return exp(mean);
}

static void print_gains(const settings *s, const outcome *of, int rounds)
{
    int n = s->n_widths + 2, gate = n - 1, best = 0;
    double error, best_gain = 1;
    for (int i = 1; i < gate; i++) {
        double of_i = gain(of, rounds, i, 0, &error);
        printf(" %5.2f", of_i);
        best = of_i > best_gain ? i : best;
        best_gain = fmax(best_gain, of_i);
    }
    printf(" | %5.2f", gain(of, rounds, gate, 0, &error));
    printf(" %5.3f", error);
    printf(" | %5.3f", gain(of, rounds, gate, best, &error));
    printf(" %5.3f |", error);
}

static void measure(const umbra_model *model, const settings *s, const char *io, uint64_t ram,
                    double agree)
{
    outcome *of = need(calloc((size_t)s->rounds, sizeof *of)), sum = {.checked = 0};
    int rounds = 0;
    for (double start = now(); rounds < s->rounds && now() < start + s->seconds; rounds++) {
        outcome *round = &of[rounds];
        run_round(model, s, io, ram, agree, rounds, round);
        sum.token_s[0] += round->token_s[0];
        sum.hits += round->hits;
        sum.checked += round->checked;
        for (int i = 0; i < 2; i++)
            sum.read[i] += round->read[i];
    }
    double each = 1.0 / rounds;
    printf("%-16s %9.3g %4.0f %6d %7.2f %4.0f |", io, (double)ram, 100 * agree, rounds,
           1e3 * each * sum.token_s[0], 100 * each * sum.hits);
    print_gains(s, of, rounds);
    printf(" %6.2f %6.2f %6.2f\n", each * sum.checked, 1e-6 * each * sum.read[0],
           1e-6 * each * sum.read[1]);
    fflush(stdout);
    free(of);
}

static void print_head(const settings *s)
{
    printf("%s, %d tokens behind %d\n%-16s %9s %4s %6s %7s %4s |", s->model, s->tokens,
           BEGIN + s->warm, "disk", "ram", "%", "rounds", "ms", "hits");
    for (int i = 0; i < s->n_widths; i++)
        printf("   x%-2d", s->width[i]);
    printf(" |  auto    +- |  best    +- |drafts   MB, auto's\n");
}

/* ---- the command line ---- */

static void usage(void)
{
    fputs("usage: bench_drafts MODEL [--ram SIZE...] [--io IO...] [--agree SHARE...]\n"
          "                    [--width N...] [--tokens N] [--warm N] [--turn N] [--rounds N]\n"
          "                    [--seconds N] [--threads N] [--kernels NAME]\n",
          stderr);
    exit(2);
}

static double share_of(const char *word)
{
    char *end;
    double share = strtod(word, &end);
    if (end == word || *end != '\0' || !(share >= 0 && share <= 1))
        usage();
    return share;
}

static void take_word(void *self, const char *option, const char *word)
{
    settings *s = self;
    if (strcmp(option, "--ram") == 0 && s->n_ram < MOST_WORDS)
        s->ram[s->n_ram++] = bytes_of(word, usage);
    else if (strcmp(option, "--io") == 0 && s->n_io < MOST_WORDS)
        s->io[s->n_io++] = word;
    else if (strcmp(option, "--agree") == 0 && s->n_agree < MOST_WORDS)
        s->agree[s->n_agree++] = share_of(word);
    else if (strcmp(option, "--width") == 0 && s->n_widths < MOST_WORDS)
        s->width[s->n_widths++] = number_of(word, UMBRA_DRAFT_MOST, usage);
    else if (strcmp(option, "--tokens") == 0)
        s->tokens = number_of(word, MOST_TOKENS / 2, usage);
    else if (strcmp(option, "--warm") == 0)
        s->warm = number_of(word, MOST_TOKENS / 2 - BEGIN, usage);
    else if (strcmp(option, "--turn") == 0)
        s->turn = number_of(word, MOST_TOKENS, usage);
    else if (strcmp(option, "--rounds") == 0)
        s->rounds = number_of(word, MOST_ROUNDS, usage);
    else if (strcmp(option, "--seconds") == 0)
        s->seconds = number_of(word, FOREVER, usage);
    else if (strcmp(option, "--kernels") == 0)
        s->kernels = word;
    else if (strcmp(option, "--threads") == 0)
        s->threads = number_of(word, 1 << 10, usage);
    else if (*option == '\0' && !s->model)
        s->model = word;
    else
        usage();
}

int main(int argc, char **argv)
{
    settings s = {.io = {"auto"},
                  .agree = {0.9},
                  .tokens = 256,
                  .warm = 256,
                  .turn = 16,
                  .rounds = 9,
                  .seconds = FOREVER};
    umbra_error err = {0};
    umbra_model *model;
    each_word(argc, argv, take_word, &s);
    if (!s.model)
        usage();
    if (s.n_widths == 0)
        for (int n = 1; n <= 8; n *= 2)
            s.width[s.n_widths++] = n;
    s.n_io += s.n_io == 0; /* the first word of main's */
    s.n_agree += s.n_agree == 0;
    s.n_ram += s.n_ram == 0; /* 0: what is free */
    must(umbra_model_open(&model, s.model, &err), &err);
    print_head(&s);
    for (int i = 0; i < s.n_io; i++)
        for (int r = 0; r < s.n_ram; r++)
            for (int a = 0; a < s.n_agree; a++)
                measure(model, &s, s.io[i], s.ram[r], s.agree[a]);
    umbra_model_close(&model);
    return 0;
}
