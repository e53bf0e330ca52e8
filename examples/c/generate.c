/* Opens a model under a memory budget, continues a prompt and prints it as it comes.
 *
 *   generate MODEL.gguf PROMPT [BUDGET_BYTES]
 *
 * With pkg-config:  cc generate.c -o generate $(pkg-config --cflags --libs umbra)
 * (with --static before --cflags if libumbra was built as a static library). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <umbra/umbra.h>

enum { NEW_TOKENS = 32 };

/* Called for every new token. A token's bytes need not be whole characters, but a terminal puts
 * them together. Returning non-zero would stop the generation. */
static int print_token(void *user, int32_t id)
{
    const umbra_model *model = user;
    char bytes[256];
    size_t n = umbra_detokenize(model, id, false, bytes, sizeof bytes);
    if (n <= sizeof bytes)
        fwrite(bytes, 1, n, stdout);
    return fflush(stdout) != 0;
}

static int generate(umbra_engine *engine, const umbra_model *model, const char *text,
                    umbra_error *err)
{
    int32_t *prompt;
    size_t count;
    int rc = umbra_tokenize(model, text, strlen(text), true, false, &prompt, &count, err);
    if (rc != UMBRA_OK)
        return rc;
    const umbra_generate_options options = {
        .max_tokens = NEW_TOKENS, /* everything else 0: the best token each time */
        .on_token = print_token,
        .user = (void *)model,
    };
    umbra_generation result;
    rc = umbra_generate(engine, model, prompt, (int)count, &options, &result, err);
    umbra_free_tokens(prompt);
    if (rc != UMBRA_OK)
        return rc;
    putchar('\n');

    umbra_store_stats stats;
    umbra_engine_get_store_stats(engine, &stats);
    fprintf(stderr, "%d tokens in %.3f s; %llu of %llu experts were in memory when asked for\n",
            result.new_tokens, result.prefill_seconds + result.decode_seconds,
            (unsigned long long)stats.hits, (unsigned long long)(stats.hits + stats.misses));
    return UMBRA_OK;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fputs("usage: generate MODEL.gguf PROMPT [BUDGET_BYTES]\n", stderr);
        return 2;
    }
    umbra_error err = {0};
    umbra_model *model = NULL;
    umbra_engine *engine = NULL;
    const umbra_engine_options options = {
        .ram_bytes = argc > 3 ? strtoull(argv[3], NULL, 10) : 0, /* 0: all in memory if it fits */
    };
    int rc = umbra_model_open(&model, argv[1], &err);
    if (rc == UMBRA_OK)
        rc = umbra_engine_open(&engine, model, &options, &err);
    if (rc == UMBRA_OK)
        rc = generate(engine, model, argv[2], &err);
    if (rc != UMBRA_OK)
        fprintf(stderr, "generate: %s (%s)\n", err.message, umbra_status_name(rc));
    umbra_engine_close(&engine); /* before its model; both take NULL */
    umbra_model_close(&model);
    return rc == UMBRA_OK ? 0 : 1;
}
