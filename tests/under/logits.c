/* Prints a checksum of every logit that llama.cpp computes for some made-up texts, in two contexts
 * of one model: a prompt, single tokens behind it, and four texts at once; a prompt in several
 * pieces of which the last row's logits alone are wanted, and tokens behind it. Usage: logits MODEL
 * THREADS [repack] [gpu] [tokens] [bytes=N]; gpu: all but the experts on a card; tokens: the
 * likeliest token of each row in place of the checksum; bytes: the program itself, where it was
 * built with Umbra's library, has experts kept in so many */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llama.h>

#ifdef OWN_UMBRA
#include <umbra/under.h>
#endif

static bool print_tokens;

enum { PROMPT = 70, DECODED = 12, TEXTS = 4, CONTEXT = 512, PIECE = 32 };

static uint64_t sum_of(const float *logits, int n)
{
    uint64_t sum = 14695981039346656037u;
    for (int i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &logits[i], sizeof bits);
        sum = (sum ^ bits) * 1099511628211u;
    }
    return sum;
}

static llama_token best_of(const float *logits, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

static void add(llama_batch *batch, llama_token token, int position, int text)
{
    int i = batch->n_tokens++;
    batch->token[i] = token;
    batch->pos[i] = position;
    batch->n_seq_id[i] = 1;
    batch->seq_id[i][0] = text;
    batch->logits[i] = 1;
}

/* Computes the batch and prints a line; the best token of each text's last row goes to next. */
static void decode(struct llama_context *context, llama_batch *batch, int vocabulary,
                   llama_token next[TEXTS])
{
    if (llama_decode(context, *batch) != 0) {
        fputs("llama_decode failed\n", stderr);
        exit(1);
    }
    for (int i = 0; i < batch->n_tokens; i++) {
        if (!batch->logits[i])
            continue;
        const float *logits = llama_get_logits_ith(context, i);
        llama_token best = best_of(logits, vocabulary);
        next[batch->seq_id[i][0]] = best;
        printf("%0*llx%c", print_tokens ? 1 : 16,
               print_tokens ? (unsigned long long)best
                            : (unsigned long long)sum_of(logits, vocabulary),
               i + 1 < batch->n_tokens ? ' ' : '\n');
    }
    batch->n_tokens = 0;
}

static void run(struct llama_context *context, int vocabulary)
{
    llama_batch batch = llama_batch_init(PROMPT, 0, 1);
    llama_token next[TEXTS];
    for (int i = 0; i < PROMPT; i++)
        add(&batch, (i * 97 + 11) % vocabulary, i, 0);
    decode(context, &batch, vocabulary, next);
    for (int i = 0; i < DECODED; i++) {
        add(&batch, next[0], PROMPT + i, 0);
        decode(context, &batch, vocabulary, next);
    }
    for (int text = 1; text < TEXTS; text++)
        for (int i = 0; i < 5; i++)
            add(&batch, (i * 31 + text * 1009) % vocabulary, i, text);
    decode(context, &batch, vocabulary, next);
    for (int i = 0; i < DECODED; i++) {
        for (int text = 0; text < TEXTS; text++)
            add(&batch, next[text], (text ? 5 : PROMPT + DECODED) + i, text);
        decode(context, &batch, vocabulary, next);
    }
    llama_batch_free(batch);
}

/* Whom a context tells of its nodes. */
typedef struct callback {
    ggml_backend_sched_eval_callback eval; /* NULL: nobody */
    void *user;
} callback;

/* A context with room for `piece` rows in a graph. */
static struct llama_context *open_context(struct llama_model *model, int threads, int piece,
                                          callback back)
{
    struct llama_context_params p = llama_context_default_params();
    p.n_ctx = CONTEXT;
    p.n_batch = CONTEXT;
    p.n_ubatch = (uint32_t)piece;
    p.n_seq_max = TEXTS;
    p.kv_unified = true;
    p.n_threads = p.n_threads_batch = threads;
    p.cb_eval = back.eval;
    p.cb_eval_user_data = back.user;
    struct llama_context *context = llama_init_from_model(model, p);
    if (!context)
        exit(1);
    return context;
}

/* Two prompts, each from its beginning, and tokens behind them. */
static void run_prompts(struct llama_context *context, int vocabulary, bool all)
{
    llama_batch batch = llama_batch_init(PROMPT, 0, 1);
    llama_token next[TEXTS];
    for (int prompt = 0; prompt < 2; prompt++) {
        llama_memory_clear(llama_get_memory(context), true);
        for (int i = 0; i < PROMPT; i++) {
            add(&batch, (i * 61 + prompt * 101 + 5) % vocabulary, i, 0);
            batch.logits[i] = all || i + 1 == PROMPT;
        }
        decode(context, &batch, vocabulary, next);
        for (int i = 0; i < 3; i++) {
            add(&batch, next[0], PROMPT + i, 0);
            decode(context, &batch, vocabulary, next);
        }
    }
    llama_batch_free(batch);
}

static void quiet(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    if (level >= GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static bool has_word(int argc, char **argv, const char *word)
{
    for (int i = 3; i < argc; i++)
        if (strcmp(argv[i], word) == 0)
            return true;
    return false;
}

static struct llama_model *open_model(int argc, char **argv)
{
    struct llama_model_params p = llama_model_default_params();
    const struct llama_model_tensor_buft_override experts[] = {
        {"\\.ffn_(up|down|gate|gate_up)_(ch|)exps", ggml_backend_cpu_buffer_type()}, {0}};
    p.use_extra_bufts = has_word(argc, argv, "repack");
    p.n_gpu_layers = 0;
    if (has_word(argc, argv, "gpu")) {
        p.n_gpu_layers = 999;
        p.tensor_buft_overrides = experts;
    }
    return llama_model_load_from_file(argv[1], p);
}

/* ---- Umbra by its C API ---- */

enum { CONTEXTS = 2 };

#ifdef OWN_UMBRA

static umbra_under *under;
static umbra_under_context *kept[CONTEXTS];

static void take_over(int argc, char **argv, callback back[CONTEXTS])
{
    umbra_error err = {0};
    umbra_under_options o = {0};
    for (int i = 3; i < argc; i++)
        if (strncmp(argv[i], "bytes=", 6) == 0)
            o.expert_bytes = strtoull(argv[i] + 6, NULL, 10);
    int rc = o.expert_bytes > 0 ? umbra_under_model(&under, argv[1], &o, &err) : UMBRA_OK;
    for (int i = 0; under && i < CONTEXTS && rc == UMBRA_OK; i++) {
        rc = umbra_under_context_open(&kept[i], under, NULL, NULL, &err);
        back[i] = (callback){umbra_under_eval, kept[i]};
    }
    if (rc == UMBRA_OK)
        return;
    fprintf(stderr, "%s\n", err.message);
    exit(1);
}

static void give_back(void)
{
    for (int i = 0; i < CONTEXTS; i++)
        umbra_under_context_close(&kept[i]);
    umbra_under_detach(&under);
}

#else

static void take_over(int argc, char **argv, callback back[CONTEXTS])
{
    (void)argc, (void)argv, (void)back;
}

static void give_back(void)
{
}

#endif

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    llama_log_set(quiet, NULL);
    print_tokens = has_word(argc, argv, "tokens");
    ggml_backend_load_all(); /* where llama.cpp was built with backends to be loaded */
    llama_backend_init();
    struct llama_model *model = open_model(argc, argv);
    if (!model)
        return 1;
    int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model)), threads = atoi(argv[2]);
    callback back[CONTEXTS] = {0};
    take_over(argc, argv, back);
    struct llama_context *whole = open_context(model, threads, CONTEXT, back[0]);
    struct llama_context *pieces = open_context(model, threads, PIECE, back[1]);
    run(whole, vocabulary);
    run_prompts(whole, vocabulary, true);
    run_prompts(pieces, vocabulary, false);
    llama_free(pieces);
    llama_free(whole);
    give_back();
    llama_model_free(model);
    llama_backend_free();
    return 0;
}
