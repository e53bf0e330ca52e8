/* A server of the embedded model in this process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"

int port;
umbra_model *model;
umbra_draft drafted = UMBRA_DRAFT_OFF;
static umbra_engine *engine;
static umbra_drafts *drafts;
static serve_options served;

static const char chat_template[] =
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if reasoning_effort is defined %}({{ reasoning_effort }}, {{ enable_thinking }}){% endif %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}";

int open_model(void **state)
{
    (void)state;
    return umbra_model_open(&model, "models/tiny-q8_0.gguf", NULL);
}

int close_model(void **state)
{
    (void)state;
    umbra_model_close(&model);
    return 0;
}

static umbra_engine *open_engine(int texts)
{
    umbra_engine *e;
    umbra_error err = {0};
    const umbra_engine_options o = {
        .ram_bytes = 60000000, .threads = 1, .sequences = texts, .chunk = 16};
    if (umbra_engine_open(&e, model, &o, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    return e;
}

serve *open_server(const serve_options *options, int texts)
{
    serve *s = NULL;
    umbra_error err = {0};
    serve_options o = options ? *options : (serve_options){0};
    const umbra_draft_options draft = {.source = drafted};
    engine = open_engine(texts);
    assert_int_equal(umbra_drafts_open(&drafts, engine, &draft, NULL), 0);
    o.drafts = drafts;
    o.model = model;
    o.engine = engine;
    o.sequences = texts;
    o.name = "tiny";
    o.template_text = o.template_text ? o.template_text : chat_template;
    o.template_bytes = strlen(o.template_text);
    if (serve_open_states(&o, engine, &err) != UMBRA_OK || serve_open(&s, &o, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    served = o;
    port = serve_port(s);
    return s;
}

void close_server(serve **s)
{
    serve_close(s);
    serve_close_states(&served);
    umbra_drafts_close(&drafts);
    umbra_engine_close(&engine);
}

typedef struct writing {
    char text[8192];
    size_t n;
} writing;

static int add(void *user, int32_t id)
{
    writing *w = user;
    w->n += umbra_detokenize(model, id, false, w->text + w->n, sizeof w->text - w->n);
    return 0;
}

const char *expected_text(const char *prompt, int tokens)
{
    static writing w;
    w.n = 0;
    umbra_engine *e = open_engine(1);
    int32_t *ids;
    size_t n;
    umbra_generation did;
    const umbra_generate_options o = {.max_tokens = tokens, .on_token = add, .user = &w};
    assert_int_equal(umbra_tokenize(model, prompt, strlen(prompt), true, true, &ids, &n, NULL), 0);
    assert_int_equal(umbra_generate(e, model, ids, (int)n, &o, &did, NULL), 0);
    umbra_free_tokens(ids);
    umbra_engine_close(&e);
    w.text[w.n] = '\0';
    return w.text;
}
