/* Reading ahead changes when experts are read and nothing else: the logits of every token are the
 * same bit for bit, whoever foretells, wherever experts lie, and whenever it begins and ends. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <umbra/umbra.h>

#include "base/memory.h"
#include "store/io/io.h"

static const char tiny[] = "models/tiny-q8_0.gguf";
static const char shadow[] = "models/tiny-q8_0.shadow.safetensors";
static const char text[] =
    "A shelf keeps what was read last. Who guesses the next page right has it at hand in time; who "
    "guesses wrong has walked for nothing.";

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { STEP = 4 }; /* every fourth setup: they are 20 times as slow */
#else
enum { STEP = 1 };
#endif
enum {
    CONTEXT = 64,
    SEQUENCES = 3,
    MOST_RESULTS = 128,
    PROMPT = 20,
    LAYERS = 8,
    USED = 4,
    EXPERTS = 64
};

/* What one run computed, in the order of its evaluations. */
typedef struct results {
    int vocabulary, n;
    uint64_t hash[MOST_RESULTS];
    /* Of the tokens decoded one by one. */
    uint16_t routing[MOST_RESULTS][LAYERS * USED];
    int decoded;
    bool decoding;
} results;

typedef struct setup {
    umbra_policy policy;
    const char *io;
    uint64_t ram;
    int threads, every;
} setup;

typedef struct run {
    umbra_engine *engine;
    umbra_prefetch *prefetch;
    const setup *s;
    const results *reference; /* for the oracle; may be NULL */
    results out;
} run;

static umbra_model *model;
static int32_t *ids;
static int n_ids;
static results reference;

static int take_logits(void *user, int index, const float *logits)
{
    (void)index;
    results *r = user;
    uint64_t h = 1469598103934665603u;
    const unsigned char *bytes = (const unsigned char *)logits;
    for (size_t i = 0; i < (size_t)r->vocabulary * sizeof *logits; i++)
        h = (h ^ bytes[i]) * 1099511628211u;
    assert_true(r->n < MOST_RESULTS);
    r->hash[r->n++] = h;
    return 0;
}

static int take_routing(void *user, const umbra_rows *rows)
{
    results *r = user;
    for (int i = 0; r->decoding && i < USED; i++)
        r->routing[r->decoded][rows->layer * USED + i] = (uint16_t)rows->experts[i];
    return 0;
}

static void eval(run *r, const umbra_token *tokens, int n)
{
    umbra_error err = {0};
    umbra_tap tap = {
        .user = &r->out, .logits = take_logits, .at = {[UMBRA_TAP_ROUTED] = take_routing}};
    r->out.decoding = n == 1;
    if (umbra_engine_eval(r->engine, tokens, n, &tap, &err) != 0)
        fail_msg("%s", err.message);
    r->out.decoded += n == 1;
}

/* The next n tokens of a sequence, together. Sequences read the text from places of their own. */
static void read_on(run *r, int sequence, int n)
{
    umbra_token tokens[CONTEXT];
    for (int i = 0; i < n; i++) {
        int at = umbra_engine_length(r->engine, sequence) + i + 5 * sequence;
        tokens[i] = (umbra_token){ids[at % n_ids], sequence, true};
    }
    eval(r, tokens, n);
}

static void decode(run *r, int sequence, int n)
{
    for (int i = 0; i < n; i++)
        read_on(r, sequence, 1);
}

static void attach(run *r)
{
    umbra_error err = {0};
    umbra_prefetch_options o = {.policy = r->s->policy, .shadow = shadow, .every = r->s->every};
    if (umbra_prefetch_open(&r->prefetch, r->engine, &o, &err) != 0)
        fail_msg("%s", err.message);
    if (r->reference)
        umbra_prefetch_set_oracle(r->prefetch, 0, r->reference->routing[r->out.decoded],
                                  r->reference->decoded - r->out.decoded);
}

static uint64_t guessed_bytes(const run *r, const umbra_store_stats *stats)
{
    (void)r;
    uint64_t bytes = 0;
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++) {
        const umbra_ahead_stats *a = &stats->ahead[d];
        assert_true(a->useful_bytes + a->late_bytes + a->wasted_bytes <= a->bytes);
        bytes += a->bytes;
    }
    return bytes;
}

/* Prompts in chunks, tokens one by one, sequences in turns and together, texts cut short and begun
 * again, and reading ahead that begins late, ends early and begins once more. */
static void play(run *r)
{
    decode(r, 0, 2);
    attach(r);
    read_on(r, 0, PROMPT);
    decode(r, 0, 7);
    read_on(r, 1, 9);
    for (int i = 0; i < 3; i++) {
        decode(r, 0, 1);
        decode(r, 1, 1);
    }
    umbra_token together[SEQUENCES];
    for (int i = 0; i < SEQUENCES; i++)
        together[i] = (umbra_token){ids[i], i, true};
    eval(r, together, SEQUENCES);
    decode(r, 2, 3);
    umbra_engine_truncate(r->engine, 0, 11);
    decode(r, 0, 4);
    umbra_prefetch_close(&r->prefetch);
    assert_null(r->prefetch);
    decode(r, 0, 2);
    attach(r);
    umbra_engine_truncate(r->engine, 1, 0);
    decode(r, 1, 5);
}

static results result_of(const setup *s, const results *known, uint64_t *guessed)
{
    umbra_error err = {0};
    run r = {.s = s, .reference = known, .out.vocabulary = umbra_model_get_info(model)->vocabulary};
    umbra_engine_options o = {.ram_bytes = s->ram,
                              .io = s->io,
                              .threads = s->threads,
                              .context = CONTEXT,
                              .sequences = SEQUENCES,
                              .chunk = 7};
    if (umbra_engine_open(&r.engine, model, &o, &err) != 0)
        fail_msg("%s", err.message);
    play(&r);
    umbra_store_stats stats;
    umbra_engine_get_store_stats(r.engine, &stats);
    assert_true(stats.resident_bytes_max <= stats.budget_bytes);
    *guessed += guessed_bytes(&r, &stats);
    umbra_prefetch_close(&r.prefetch);
    umbra_engine_close(&r.engine);
    return r.out;
}

static void plan(uint64_t ram, umbra_memory_plan *out)
{
    umbra_engine_options o = {
        .ram_bytes = ram, .threads = 2, .context = CONTEXT, .sequences = SEQUENCES, .chunk = 7};
    (void)umbra_engine_plan(model, &o, out, NULL);
}

static int set_up(void **state)
{
    (void)state;
    umbra_error err = {0};
    size_t n;
    if (umbra_model_open(&model, tiny, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(umbra_tokenize(model, text, sizeof text - 1, true, false, &ids, &n, &err), 0);
    n_ids = (int)n;
    uint64_t none = 0;
    setup plain = {.policy = UMBRA_POLICY_OFF, .threads = 1};
    reference = result_of(&plain, NULL, &none);
    assert_int_equal(none, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    umbra_free_tokens(ids);
    umbra_model_close(&model);
    return 0;
}

static bool uring_works(void)
{
    return umbra_io_find("auto") == umbra_io_find("uring");
}

static void test_logits_do_not_change(void **state)
{
    (void)state;
    static const umbra_policy policies[] = {
        UMBRA_POLICY_OFF,  UMBRA_POLICY_PREVIOUS, UMBRA_POLICY_GATE,    UMBRA_POLICY_SHADOW,
        UMBRA_POLICY_AUTO, UMBRA_POLICY_ORACLE,   UMBRA_POLICY_RUNAHEAD};
    static const char *const backends[] = {"threads", "sim:20G,5us", "sim:400M,100us", "uring"};
    umbra_memory_plan all;
    plan(UINT64_C(1) << 40, &all);
    uint64_t budgets[] = {all.min_bytes, (all.min_bytes + all.all_bytes) / 2, all.all_bytes};
    int n_backends = uring_works() ? 4 : 3, turn = 0;
    uint64_t total = 0;
    for (int p = 0; p < 7; p++) {
        uint64_t guessed = 0;
        for (int b = 0; b < n_backends; b++) {
            for (int r = 0; r < 3; r++, turn++) {
                if ((turn + p) % STEP != 0)
                    continue;
                setup s = {policies[p], backends[b], budgets[r], 1 + (turn / STEP + p) % 2,
                           turn / STEP % 5};
                results out = result_of(&s, &reference, &guessed);
                if (out.n != reference.n ||
                    memcmp(out.hash, reference.hash, (size_t)out.n * sizeof *out.hash) != 0)
                    fail_msg("other logits with %s, %s, %llu bytes, %d threads, every %d",
                             umbra_policy_name(s.policy), s.io, (unsigned long long)s.ram,
                             s.threads, s.every);
            }
        }
        if (policies[p] == UMBRA_POLICY_OFF)
            assert_int_equal(guessed, 0);
        total += guessed;
    }
    assert_true(total > 0);
}

/* ---- several sequences in a step ---- */

enum { TOGETHER = 8, STEPS = 14 };

/* What the tap of a step sees: the experts that its rows name, layer by layer. */
typedef struct distinct {
    results *out;
    bool named[LAYERS][EXPERTS];
} distinct;

static int note_logits(void *user, int index, const float *logits)
{
    return take_logits(((distinct *)user)->out, index, logits);
}

static int note_experts(void *user, const umbra_rows *rows)
{
    distinct *d = user;
    for (int i = 0; i < rows->n * USED; i++)
        d->named[rows->layer][rows->experts[i]] = true;
    return 0;
}

/* Evaluates a chunk, of which every expert must be asked for once, whoever uses it. */
static void eval_shared(run *r, const umbra_token *tokens, int n)
{
    umbra_error err = {0};
    distinct d = {.out = &r->out};
    umbra_tap tap = {.user = &d, .logits = note_logits, .at = {[UMBRA_TAP_ROUTED] = note_experts}};
    umbra_store_stats before, after;
    umbra_engine_get_store_stats(r->engine, &before);
    if (umbra_engine_eval(r->engine, tokens, n, &tap, &err) != 0)
        fail_msg("%s", err.message);
    umbra_engine_get_store_stats(r->engine, &after);
    uint64_t asked = 0;
    for (int l = 0; l < LAYERS; l++)
        for (int e = 0; e < EXPERTS; e++)
            asked += d.named[l][e];
    assert_int_equal(after.hits + after.late + after.misses -
                         (before.hits + before.late + before.misses),
                     asked);
}

/* So many sequences decode together. From the 4th step on some stay away, in turns; one begins
 * again; one reads a piece of a prompt beside the others that decode. */
static void play_together(run *r, int most)
{
    for (int t = 0; t < STEPS; t++) {
        umbra_token tokens[TOGETHER + 3];
        int n = 0;
        if (t == 6)
            umbra_engine_truncate(r->engine, most - 1, 0);
        for (int q = 0; q < most; q++) {
            if (t >= 4 && most > 1 && (t + q) % 4 == 0)
                continue;
            for (int k = t == 9 && q == 0 ? 3 : 1; k > 0; k--) {
                int at = umbra_engine_length(r->engine, q) + k + 7 * q;
                tokens[n++] = (umbra_token){ids[at % n_ids], q, true};
            }
        }
        eval_shared(r, tokens, n);
        if (t == 1)
            attach(r);
    }
}

static results together_of(const setup *s, int most, uint64_t *guessed,
                           umbra_prefetch_stats *stats_out)
{
    umbra_error err = {0};
    run r = {.s = s, .out.vocabulary = umbra_model_get_info(model)->vocabulary};
    umbra_engine_options o = {.ram_bytes = s->ram,
                              .io = s->io,
                              .threads = s->threads,
                              .context = CONTEXT,
                              .sequences = most,
                              .chunk = TOGETHER + 3};
    if (umbra_engine_open(&r.engine, model, &o, &err) != 0)
        fail_msg("%s", err.message);
    play_together(&r, most);
    umbra_store_stats stats;
    umbra_engine_get_store_stats(r.engine, &stats);
    assert_true(stats.resident_bytes_max <= stats.budget_bytes);
    *guessed += guessed_bytes(&r, &stats);
    umbra_prefetch_get_stats(r.prefetch, stats_out);
    umbra_prefetch_close(&r.prefetch);
    umbra_engine_close(&r.engine);
    return r.out;
}

static uint64_t least_ram(int sequences)
{
    umbra_memory_plan least;
    umbra_engine_options o = {.ram_bytes = 1,
                              .threads = 2,
                              .context = CONTEXT,
                              .sequences = sequences,
                              .chunk = TOGETHER + 3};
    (void)umbra_engine_plan(model, &o, &least, NULL);
    return least.min_bytes;
}

static void test_logits_of_many_do_not_change(void **state)
{
    (void)state;
    static const umbra_policy policies[] = {UMBRA_POLICY_PREVIOUS, UMBRA_POLICY_GATE,
                                            UMBRA_POLICY_SHADOW,   UMBRA_POLICY_AUTO,
                                            UMBRA_POLICY_ORACLE,   UMBRA_POLICY_RUNAHEAD};
    for (int most = 1; most <= TOGETHER; most *= 2) {
        uint64_t guessed = 0, ram = least_ram(most);
        umbra_prefetch_stats stats;
        setup plain = {.policy = UMBRA_POLICY_OFF, .threads = 1};
        results expected = together_of(&plain, most, &guessed, &stats);
        assert_int_equal(guessed, 0);
        for (int p = 0; p < 6; p++) {
            for (int i = 0; i < 2; i++) {
                setup s = {policies[p], i ? "threads" : "sim:2G,30us", ram + (uint64_t)i * 3000000,
                           1 + (p + i) % 2, p % 3};
                results out = together_of(&s, most, &guessed, &stats);
                if (out.n != expected.n ||
                    memcmp(out.hash, expected.hash, (size_t)out.n * sizeof *out.hash) != 0)
                    fail_msg("other logits of %d sequences with %s, %s, %llu bytes", most,
                             umbra_policy_name(s.policy), s.io, (unsigned long long)s.ram);
                /* All but two steps, and the three rows of the prompt. */
                assert_int_equal(stats.tokens, out.n - 2 * most - 3);
            }
        }
        assert_true(guessed > 0);
    }
}

/* ---- what is refused ---- */

static umbra_engine *open_engine(void)
{
    umbra_error err = {0};
    umbra_engine *engine;
    umbra_engine_options o = {.context = CONTEXT, .threads = 1};
    if (umbra_engine_open(&engine, model, &o, &err) != 0)
        fail_msg("%s", err.message);
    return engine;
}

static void assert_refused(umbra_engine *engine, const umbra_prefetch_options *o, int status,
                           const char *words)
{
    umbra_error err = {0};
    umbra_prefetch *p;
    umbra_prefetch_options copy = *o;
    umbra_engine_options eo = {0};
    assert_int_equal(umbra_prefetch_open(&p, engine, o, &err), status);
    assert_null(p);
    if (!strstr(err.message, words))
        fail_msg("no \"%s\" in \"%s\"", words, err.message);
    memset(&err, 0, sizeof err);
    assert_int_equal(umbra_prefetch_fit(model, &eo, &copy, &err), status);
    if (!strstr(err.message, words))
        fail_msg("no \"%s\" in \"%s\"", words, err.message);
}

/* A model beside which no shadow lies. */
static umbra_model *open_alone(const char *path)
{
    char there[4096];
    umbra_model *alone;
    (void)remove(path);
    assert_non_null(realpath(tiny, there));
    assert_int_equal(symlink(there, path), 0);
    assert_int_equal(umbra_model_open(&alone, path, NULL), 0);
    return alone;
}

/* The bytes that a policy takes within a budget. most: the least of a seventh of the cache and an
 * eighth of what it does not hold, where nothing is taken. */
static uint64_t fit(const umbra_model *m, uint64_t ram, umbra_prefetch_options *o, double *most)
{
    umbra_memory_plan plan;
    umbra_engine_options eo = {.context = CONTEXT, .threads = 1, .ram_bytes = ram};
    o->every = 4;
    assert_int_equal(umbra_prefetch_fit(m, &eo, o, NULL), 0);
    uint64_t bytes = eo.reserved_bytes;
    eo.reserved_bytes = 0;
    assert_int_equal(umbra_engine_plan(m, &eo, &plan, NULL), 0);
    double cache = (double)plan.cache_bytes;
    *most = fmin(cache / 7, (cache / plan.residency - cache) / 8);
    return bytes;
}

/* Auto takes memory only where it is little beside the cache and beside what does not fit: a shadow
 * if that is, else running ahead if that is, else nothing. */
static void test_what_auto_may_take(void **state)
{
    (void)state;
    static const char lone[] = UMBRA_TEST_DIR "/lone.gguf"; /* auto without a shadow */
    umbra_model *alone = open_alone(lone);
    int on[2] = {0}, off[2] = {0}; /* without and with a shadow beside the model */
    for (int i = 0; i < 2; i++)
        for (uint64_t ram = 18000000; ram <= 34000000; ram += 1000000) {
            const umbra_model *m = i ? model : alone;
            umbra_prefetch_options walk = {.policy = UMBRA_POLICY_RUNAHEAD}, automatic = {0};
            umbra_prefetch_options read = {.policy = UMBRA_POLICY_SHADOW};
            double most;
            uint64_t walks = fit(m, ram, &walk, &most);
            uint64_t reads = i ? fit(m, ram, &read, &most) : 0;
            uint64_t taken = fit(m, ram, &automatic, &most);
            bool by_shadow = i && (double)reads <= most, by_walks = (double)walks <= most;
            assert_int_equal(taken, by_shadow ? reads : by_walks ? walks : 0);
            assert_int_equal(automatic.policy == UMBRA_POLICY_OFF, taken == 0);
            assert_int_equal(automatic.no_shadow, i && !by_shadow && by_walks);
            on[i] += taken > 0;
            off[i] += taken == 0;
        }
    assert_true(on[0] > 0 && off[0] > 0 && on[1] > 0 && off[1] > 0);
    umbra_model_close(&alone);
    remove(lone);
}

static void count_warning(void *user, const char *message)
{
    int *warnings = user;
    assert_non_null(strstr(message, "lone.shadow.safetensors"));
    ++*warnings;
}

/* Writes the first bytes of the tiny model's shadow beside lone.gguf, and 0xff to the end. */
static void write_damaged(const char *path, size_t sound, size_t bytes)
{
    char *data = malloc(bytes);
    FILE *from = fopen("models/tiny-q8_0.shadow.safetensors", "rb"), *to = fopen(path, "wb");
    assert_true(data && from && to);
    assert_int_equal(fread(data, 1, sound, from), sound);
    memset(data + sound, 0xff, bytes - sound);
    assert_int_equal(fwrite(data, 1, bytes, to), bytes);
    fclose(from);
    fclose(to);
    free(data);
}

/* A damaged shadow that nobody named: auto says so and goes on, by the gate where the header tells,
 * with nothing where the weights do. Who asks for it by policy or name gets an error. */
static void test_a_damaged_shadow_beside_the_model(void **state)
{
    (void)state;
    static const char lone[] = UMBRA_TEST_DIR "/lone.gguf";
    static const char beside[] = UMBRA_TEST_DIR "/lone.shadow.safetensors";
    umbra_model *alone = open_alone(lone);
    struct stat st;
    assert_int_equal(stat("models/tiny-q8_0.shadow.safetensors", &st), 0);
    for (int header = 0; header < 2; header++) {
        int warnings = 0;
        umbra_error err = {0};
        umbra_engine *engine;
        umbra_prefetch *p;
        umbra_prefetch_stats stats;
        umbra_engine_options eo = {.context = CONTEXT, .threads = 1, .ram_bytes = 26000000};
        umbra_prefetch_options o = {.warn = count_warning, .user = &warnings};
        write_damaged(beside, header ? 100 : 65536, (size_t)st.st_size);
        umbra_prefetch_options fitted = o;
        assert_int_equal(umbra_prefetch_fit(alone, &eo, &fitted, &err), 0);
        assert_true(fitted.no_shadow); /* by its header, or since it is large */
        assert_int_equal(warnings, header);
        eo.reserved_bytes = 0;
        assert_int_equal(umbra_engine_open(&engine, alone, &eo, &err), 0);
        o.no_shadow = header;
        assert_int_equal(umbra_prefetch_open(&p, engine, &o, &err), 0);
        umbra_prefetch_get_stats(p, &stats);
        assert_int_equal(stats.policy, header ? UMBRA_POLICY_RUNAHEAD : UMBRA_POLICY_OFF);
        assert_int_equal(warnings, 1);
        umbra_prefetch_close(&p);
        o = (umbra_prefetch_options){.policy = UMBRA_POLICY_SHADOW, .warn = count_warning};
        assert_int_equal(umbra_prefetch_open(&p, engine, &o, &err), UMBRA_E_FORMAT);
        o = (umbra_prefetch_options){.shadow = beside, .warn = count_warning};
        assert_int_equal(umbra_prefetch_open(&p, engine, &o, &err), UMBRA_E_FORMAT);
        umbra_engine_close(&engine);
    }
    umbra_model_close(&alone);
    remove(beside);
    remove(lone);
}

static void test_bad_options(void **state)
{
    (void)state;
    umbra_engine *engine = open_engine();
    umbra_prefetch_options wrong = {.policy = (umbra_policy)99},
                           none = {.policy = UMBRA_POLICY_SHADOW, .shadow = "no"};
    umbra_prefetch_options beyond = {.policy = UMBRA_POLICY_GATE, .every = 5}, below = beyond;
    below.every = -1;
    assert_refused(engine, &wrong, UMBRA_E_ARGUMENT, "no policy 99");
    umbra_prefetch_options later = {.reserved = {0, 1}};
    assert_refused(engine, &later, UMBRA_E_ARGUMENT, "this version of Umbra does not know");
    assert_refused(engine, &none, UMBRA_E_IO, "no");
    assert_refused(engine, &beyond, UMBRA_E_ARGUMENT, "every 5-th");
    assert_refused(engine, &below, UMBRA_E_ARGUMENT, "every -1-th");
    umbra_prefetch_options model_file = {.policy = UMBRA_POLICY_SHADOW, .shadow = tiny};
    assert_refused(engine, &model_file, UMBRA_E_FORMAT, tiny);
    umbra_engine_close(&engine);
}

/* The shadow with another hash in its header: the message names both. */
static void test_shadow_of_another_model(void **state)
{
    (void)state;
    char hash[UMBRA_MODEL_HASH_CHARS], path[] = UMBRA_TEST_DIR "/other.shadow.safetensors";
    assert_int_equal(umbra_model_hash(model, hash, NULL), 0);
    FILE *in = fopen(shadow, "rb"), *out = fopen(path, "wb");
    assert_true(in && out);
    fseek(in, 0, SEEK_END);
    size_t n = (size_t)ftell(in), words = strlen(hash);
    rewind(in);
    char *bytes = malloc(n);
    assert_int_equal(fread(bytes, 1, n, in), n);
    size_t at = 0;
    while (at + words < n && memcmp(bytes + at, hash, words) != 0)
        at++;
    assert_true(at + words < n);
    char other[UMBRA_MODEL_HASH_CHARS];
    memcpy(other, hash, sizeof other);
    other[0] = hash[0] == 'a' ? 'b' : 'a';
    bytes[at] = other[0];
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    fclose(in);
    fclose(out);
    free(bytes);
    umbra_engine *engine = open_engine();
    umbra_prefetch_options o = {.policy = UMBRA_POLICY_SHADOW, .shadow = path};
    assert_refused(engine, &o, UMBRA_E_MISMATCH, hash);
    assert_refused(engine, &o, UMBRA_E_MISMATCH, other);
    o.policy = UMBRA_POLICY_AUTO;
    assert_refused(engine, &o, UMBRA_E_MISMATCH, hash);
    umbra_engine_close(&engine);
    remove(path);
}

static void test_no_memory(void **state)
{
    (void)state;
    static const umbra_policy policies[] = {UMBRA_POLICY_PREVIOUS, UMBRA_POLICY_GATE,
                                            UMBRA_POLICY_SHADOW};
    umbra_engine *engine = open_engine();
    for (int i = 0; i < 3; i++) {
        umbra_prefetch_options o = {.policy = policies[i], .shadow = shadow};
        int rc = UMBRA_E_NOMEM;
        for (long n = 1; rc != UMBRA_OK; n++) {
            umbra_prefetch *p;
            assert_true(n < 2000);
            umbra_memory_fail_after(n);
            rc = umbra_prefetch_open(&p, engine, &o, NULL);
            umbra_memory_fail_after(0);
            assert_true(rc == UMBRA_OK || rc == UMBRA_E_NOMEM);
            assert_true((rc == UMBRA_OK) == (p != NULL));
            umbra_prefetch_close(&p);
        }
    }
    umbra_engine_close(&engine);
}

/* The kernels that an engine was opened with make its predictions too. */
static void test_kernels_of_the_engine_predict(void **state)
{
    (void)state;
    static const umbra_policy policies[] = {UMBRA_POLICY_SHADOW, UMBRA_POLICY_GATE,
                                            UMBRA_POLICY_PREVIOUS};
    const char *names[] = {"scalar", "auto"};
    for (int i = 0; i < 6; i++) {
        const char *name = names[i / 3];
        umbra_error err = {0};
        umbra_engine *engine;
        umbra_prefetch *p;
        umbra_prefetch_stats stats;
        umbra_engine_options eo = {
            .context = CONTEXT, .threads = 1, .ram_bytes = 26000000, .kernels = name};
        umbra_prefetch_options o = {.policy = policies[i % 3], .shadow = shadow};
        assert_int_equal(umbra_engine_open(&engine, model, &eo, &err), 0);
        assert_int_equal(umbra_prefetch_open(&p, engine, &o, &err), 0);
        umbra_prefetch_get_stats(p, &stats);
        if (i % 3 == 2)
            assert_null(stats.runner.kernels);
        else
            assert_string_equal(stats.runner.kernels, umbra_engine_get_plan(engine)->kernels);
        if (i < 2)
            assert_string_equal(stats.runner.kernels, "scalar");
        umbra_prefetch_close(&p);
        umbra_engine_close(&engine);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits_do_not_change),
        cmocka_unit_test(test_logits_of_many_do_not_change),
        cmocka_unit_test(test_what_auto_may_take),
        cmocka_unit_test(test_a_damaged_shadow_beside_the_model),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_shadow_of_another_model),
        cmocka_unit_test(test_kernels_of_the_engine_predict),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
