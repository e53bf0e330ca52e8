/* Prints a checksum of every logit that llama.cpp computes for some made-up texts: a prompt, single
 * tokens behind it, and four texts at once.
 * Usage: logits MODEL THREADS [REPACK] */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llama.h>

enum { PROMPT = 70, DECODED = 12, TEXTS = 4, CONTEXT = 512 };

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
        const float *logits = llama_get_logits_ith(context, i);
        printf("%016llx%c", (unsigned long long)sum_of(logits, vocabulary),
               i + 1 < batch->n_tokens ? ' ' : '\n');
        next[batch->seq_id[i][0]] = best_of(logits, vocabulary);
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

static void quiet(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    if (level >= GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    llama_log_set(quiet, NULL);
    llama_backend_init();
    struct llama_model_params mp = llama_model_default_params();
    mp.use_extra_bufts = argc > 3;
    struct llama_model *model = llama_model_load_from_file(argv[1], mp);
    if (!model)
        return 1;
    struct llama_context_params cp = llama_context_default_params();
    cp.n_ctx = CONTEXT;
    cp.n_batch = CONTEXT;
    cp.n_ubatch = CONTEXT;
    cp.n_seq_max = TEXTS;
    cp.kv_unified = true;
    cp.n_threads = cp.n_threads_batch = atoi(argv[2]);
    struct llama_context *context = llama_init_from_model(model, cp);
    if (!context)
        return 1;
    run(context, llama_vocab_n_tokens(llama_model_get_vocab(model)));
    llama_free(context);
    llama_model_free(model);
    llama_backend_free();
    return 0;
}
