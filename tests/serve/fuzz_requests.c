/* Any bytes as the body of a request to any path. A stand-in for the HTTP library takes the
 * answers, so that a body costs microseconds; texts end before their first token. Built with
 * libFuzzer this is the fuzz target; with fuzz_driver.c it runs the corpus as an ordinary test. The
 * first byte chooses the path. */
#include <stdlib.h>
#include <string.h>

#include "fuzz_target.h"
#include "serve/internal.h"

static serve server;

static const char template_text[] =
    "{# <tool_call> #}{% for m in messages %}{{ m.role }}{{ m.content }}{{ m.tool_calls }}"
    "{% endfor %}{{ tools }}";

/* Once: the parts of a server that requests use. Its scheduler takes nothing. */
static void open_once(void)
{
    static umbra_model *model;
    static umbra_engine *engine;
    const umbra_engine_options o = {.ram_bytes = 40000000, .threads = 1};
    if (model)
        return;
    if (umbra_model_open(&model, "models/tiny-q8_0.gguf", NULL) != UMBRA_OK ||
        umbra_engine_open(&engine, model, &o, NULL) != UMBRA_OK)
        abort();
    server = (serve){.o = {.model = model,
                           .engine = engine,
                           .sequences = 1,
                           .name = "tiny",
                           .body_bytes = 1 << 20,
                           .template_text = template_text,
                           .template_bytes = sizeof template_text - 1},
                     .vocabulary = umbra_model_get_info(model)->vocabulary,
                     .context = 512};
    const umbra_scheduler_options s = {.engine = engine, .model = model, .sequences = 1};
    pthread_mutex_init(&server.figures.mutex, NULL);
    if (umbra_scheduler_open(&server.scheduler, &s, NULL) != UMBRA_OK ||
        umbra_chat_open(&server.chat, model, template_text, sizeof template_text - 1, NULL) !=
            UMBRA_OK)
        abort();
    umbra_scheduler_finish(server.scheduler, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const paths[] = {
        "/v1/completions", "/v1/chat/completions", "/v1/responses",   "/v1/messages",
        "/tokenize",       "/detokenize",          "/apply-template", "/v1/messages/count_tokens",
    };
    bool known;
    if (size == 0)
        return 0;
    open_once();
    serve_exchange x = {.server = &server,
                        .route = serve_find_route("POST", paths[data[0] % 8], &known),
                        .bytes = size - 1};
    x.body = malloc(size);
    if (!x.body || !x.route)
        abort();
    memcpy(x.body, data + 1, size - 1);
    x.body[size - 1] = '\0';
    x.route->answer(&x);
    free(x.body);
    return 0;
}
