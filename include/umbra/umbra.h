/* Umbra: runs Mixture-of-Experts language models that are bigger than memory. The experts stay on
 * disk; the program stays inside a budget that it is given; the text does not depend on the budget.
 * This header includes the whole of libumbra, which runs models. What makes shadow models and
 * measures is libumbra_lab, see <umbra/lab/lab.h>.
 *
 * The objects, and who owns what
 *
 *     umbra_model      a file: its shape, its tokenizer, its template; immutable      model.h
 *       umbra_engine   runs a model in a budget; holds the texts in progress          engine.h
 *         umbra_store    the experts: cache, reads, reading ahead                     store.h
 *         umbra_prefetch   foretells to the engine's store what comes next            prefetch.h
 *           umbra_runner     the same for any engine that has a store                 runner.h
 *         umbra_drafts     guesses tokens, to check several in a step                 draft.h
 *       umbra_sampler  chooses a token from logits                                    generate.h
 *       umbra_chat     messages to a prompt in the model's own form                   chat.h
 *         umbra_answer   what the model wrote: text, reasoning, calls of tools        answer.h
 *       umbra_spellings  the bytes of its tokens                                     grammar.h
 *         umbra_grammar    what may be drawn for a JSON schema                        grammar.h
 *     umbra_template   the Jinja engine under it; needs nothing else                  template.h
 *     umbra_stops      ends a text at what must not stand in it                       stops.h
 *
 * Each is made by its function _open, which writes *out, and belongs to who called that and ends it
 * by its function _close, which accepts NULL and nulls the pointer. An object further in uses the
 * one it stands under: close it first.
 * On failure *out is NULL and there is nothing to close. Texts, paths and arrays that are handed in
 * are copied or read during the call only, unless their comment says how long they must stay; what
 * a function returns as const is the object's and is valid until it is closed.
 *
 * Defaults: zero is the default
 *
 * In every struct of options, 0, false, NULL and the first enumerator ask for what suits most. So
 * {0} is a good set of options, a designated initialiser names only what differs, and a NULL in
 * place of the struct is the same as {0} (where something must be given, that is
 * UMBRA_E_ARGUMENT). Flags are named so that false is usual. Where 0 is an amount of its own, it is
 * asked for by a negative number, and the comment says so ("negative: none"). Units are in the
 * names: _bytes, _seconds, _ns.
 *
 * Structs grow: options end in `reserved`, zeros, which later versions turn into
 * options whose 0 is what was before. A library that is older than its caller refuses what it does
 * not know (UMBRA_E_ARGUMENT) instead of passing over it. Structs that the library fills end in
 * room as well, filled with zeros. So a struct keeps its size, and a program that was compiled with
 * older headers still hands over and gets what it expects; a `size` in front would ask every
 * designated initialiser to fill it. Do not name `reserved` in your own code. What callers do not
 * allocate (umbra_model_info, what callbacks are handed) may grow at its end.
 *
 * Threads
 *
 * An umbra_model and an umbra_template may be used by any number of threads at once. Everything
 * else serves one thread at a time; who shares one, locks it. Different objects do not know each
 * other: two engines on one model may run at once. Functions that may be called from any thread at
 * any time say so. Callbacks come from the thread that made the call, from inside it, and must not
 * call functions of the same object that change it. libumbra keeps no global state that a caller
 * can see, installs no signal handler, changes neither locale nor directory nor environment, prints
 * nothing and never ends the process (builds with UMBRA_ASSERTIONS do, on a defect of its own).
 * Threads are started only by engines, by stores whose io is "threads", and by runners that are
 * asked to; they end with the object.
 *
 * Errors
 *
 * What can fail returns UMBRA_OK (0) or a negative umbra_status, and fills an umbra_error, which
 * may be NULL, with what failed, where, and what to do; see status.h. Files may be hostile: they
 * end in UMBRA_E_FORMAT or its like, with the offset, never in a crash (SECURITY.md). Pointers that
 * a comment does not allow to be NULL must be valid; indices and sequences that a caller makes up
 * are checked wherever a call can return an error.
 *
 * Memory
 *
 * ram_bytes of an engine is for the whole process: the weights that every token needs, the states
 * of its texts, the experts' cache and a fixed allowance; umbra_engine_plan tells how it is divided
 * before anything is opened. Nothing grows while tokens are computed. Where memory is out, the call
 * fails with UMBRA_E_NOMEM (or _BUDGET, which names the least that works) and what was there
 * before is as it was.
 *
 * A program
 *
 * Writes on from argv[2] with the model argv[1], in 8 GB or in what argv[3] says (a test compiles
 * and runs it, as it stands here):
 *
 * @code
 *     #include <stdio.h>
 *     #include <stdlib.h>
 *     #include <string.h>
 *     #include <umbra/umbra.h>
 *
 *     static int show(void *user, int32_t id)
 *     {
 *         char text[256];
 *         size_t n = umbra_detokenize(user, id, false, text, sizeof text);
 *         fwrite(text, 1, n <= sizeof text ? n : 0, stdout);
 *         return 0;
 *     }
 *
 *     int main(int argc, char **argv)
 *     {
 *         umbra_error err = {0};
 *         umbra_model *model = NULL;
 *         umbra_engine *engine = NULL;
 *         int32_t *ids = NULL;
 *         size_t n = 0;
 *         umbra_engine_options o = {.ram_bytes = 8000000000};
 *         umbra_generate_options g = {.max_tokens = 32, .on_token = show};
 *         umbra_generation did;
 *         int rc = argc < 3 ? UMBRA_E_ARGUMENT : umbra_model_open(&model, argv[1], &err);
 *         if (rc == UMBRA_OK)
 *             rc = umbra_tokenize(model, argv[2], strlen(argv[2]), true, true, &ids, &n, &err);
 *         if (rc == UMBRA_OK && argc > 3)
 *             o.ram_bytes = strtoull(argv[3], NULL, 10);
 *         if (rc == UMBRA_OK)
 *             rc = umbra_engine_open(&engine, model, &o, &err);
 *         g.user = model;
 *         if (rc == UMBRA_OK)
 *             rc = umbra_generate(engine, model, ids, (int)n, &g, &did, &err);
 *         if (rc != UMBRA_OK)
 *             fprintf(stderr, "%s: %s\n", umbra_status_name(rc), err.message);
 *         umbra_free_tokens(ids);
 *         umbra_engine_close(&engine);
 *         umbra_model_close(&model);
 *         return rc != UMBRA_OK;
 *     }
 * @endcode
 */
#ifndef UMBRA_UMBRA_H
#define UMBRA_UMBRA_H

#include <umbra/answer.h>
#include <umbra/chat.h>
#include <umbra/engine.h>
#include <umbra/draft.h>
#include <umbra/generate.h>
#include <umbra/grammar.h>
#include <umbra/model.h>
#include <umbra/prefetch.h>
#include <umbra/profile.h>
#include <umbra/progress.h>
#include <umbra/runner.h>
#include <umbra/score.h>
#include <umbra/shadow.h>
#include <umbra/status.h>
#include <umbra/stops.h>
#include <umbra/store.h>
#include <umbra/template.h>
#include <umbra/usage.h>
#include <umbra/version.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { UMBRA_BUILD_KERNELS = 8 /* room for names, NULL behind the last */ };

/* What a build is made of and can use on this machine. All texts are static storage. */
typedef struct umbra_build {
    const char *version;                      /* as umbra_version */
    const char *compiler;                     /* "gcc 12.2.0" */
    const char *kernels[UMBRA_BUILD_KERNELS]; /* kernel tables in the build, best first, NULL behind
                                                 the last; umbra_kernel_name tells which of them
                                                 this CPU runs */
    const char *pcre2;                        /* version that was built against */
    const char *liburing;                     /* version that was built against */
    const char *xxhash;                       /* version that was built against */
    const char *utf8proc;                     /* version that was built against */
    bool io_uring; /* a ring could be opened just now; kernels and containers may forbid it */
    uint64_t reserved[4]; /* room for figures to come: zeros */
} umbra_build;

/* Fills *out; tries to open an io_uring. Any thread may call it. */
UMBRA_API void umbra_get_build(umbra_build *out);

#ifdef __cplusplus
}
#endif
#endif
