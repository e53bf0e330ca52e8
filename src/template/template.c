/* The public calls: opening a template and rendering it. */
#include <string.h>

#include <umbra/template.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "template/render.h"
#include "template/tree.h"

enum { PARSE_MEMORY_BYTES = 256 << 20, PARSE_DEPTH = 200 };

struct umbra_template {
    umbra_tpl_context c; /* its arena holds the nodes */
    umbra_tpl_words words;
    umbra_tpl_node *body;
};

int umbra_template_open(umbra_template **out, const char *source, size_t bytes, umbra_error *err)
{
    umbra_error own = {0};
    err = err ? err : &own;
    *out = NULL;
    if (bytes > UMBRA_TEMPLATE_SOURCE_BYTES)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "the template has %zu bytes, the most that is read is %d", bytes,
                          UMBRA_TEMPLATE_SOURCE_BYTES);
    umbra_template *t = umbra_calloc(1, sizeof *t);
    if (!t)
        return umbra_fail_nomem(err, "a chat template", sizeof *t);
    t->c = (umbra_tpl_context){.memory_limit = PARSE_MEMORY_BYTES,
                               .step_limit = UINT64_MAX,
                               .depth_limit = PARSE_DEPTH,
                               .output_limit = UMBRA_TEMPLATE_SOURCE_BYTES,
                               .err = err};
    int rc = umbra_tpl_parse(&t->c, source, bytes, &t->words, &t->body);
    t->c.err = NULL;
    if (rc != UMBRA_OK) {
        umbra_template_close(&t);
        return err->status;
    }
    *out = t;
    return UMBRA_OK;
}

void umbra_template_close(umbra_template **t)
{
    if (!*t)
        return;
    umbra_tpl_drop(&(*t)->c);
    umbra_free(*t);
    *t = NULL;
}

static size_t count_spans(const umbra_tpl_string *s)
{
    size_t n = s->bytes > 0;
    for (size_t i = 1; s->marks && i < s->bytes; i++)
        n += s->marks[i] != s->marks[i - 1];
    return n;
}

static void fill_spans(const umbra_tpl_string *s, umbra_template_span *spans)
{
    size_t n = 0;
    for (size_t i = 0; i < s->bytes; i++) {
        bool input = s->marks ? s->marks[i] : s->input;
        if (i == 0 || (s->marks && s->marks[i] != s->marks[i - 1]))
            spans[n++] = (umbra_template_span){.begin = i, .input = input};
        spans[n - 1].end = i + 1;
    }
}

/* Out of the arena, which goes. */
static int hand_over(const umbra_tpl_string *s, umbra_template_output *out, umbra_error *err)
{
    size_t n = count_spans(s);
    out->text = umbra_calloc(s->bytes + 1, 1);
    out->spans = umbra_calloc(n, sizeof *out->spans);
    if (!out->text || !out->spans) {
        umbra_template_output_free(out);
        return umbra_fail_nomem(err, "a rendered chat template", s->bytes);
    }
    if (s->bytes)
        memcpy(out->text, s->data, s->bytes);
    out->bytes = s->bytes;
    out->n_spans = n;
    fill_spans(s, out->spans);
    return UMBRA_OK;
}

static int run(umbra_tpl_context *c, const umbra_template *t, const umbra_template_value *variables,
               umbra_tpl_value *out)
{
    umbra_tpl_value given = umbra_tpl_none();
    int rc = variables ? umbra_tpl_copy_tree(c, umbra_tpl_of_tree(variables), &given) : UMBRA_OK;
    if (rc == UMBRA_OK && variables && given.kind != TPL_DICT)
        return umbra_tpl_fail(c, "the variables of a template must be a dict");
    umbra_tpl_scope *outer = NULL, *top = NULL;
    if (rc == UMBRA_OK)
        rc = umbra_tpl_open_scope(c, NULL, &outer);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_open_scope(c, outer, &top);
    if (rc != UMBRA_OK)
        return rc;
    outer->given = given.kind == TPL_DICT ? given.u.dict : NULL;
    c->scope = top;
    return umbra_tpl_capture(c, t->body, out);
}

int umbra_template_render(const umbra_template *t, const umbra_template_value *variables,
                          const umbra_template_options *options, umbra_template_output *out,
                          umbra_error *err)
{
    umbra_error own = {0};
    umbra_template_options o = options ? *options : (umbra_template_options){0};
    err = err ? err : &own;
    *out = (umbra_template_output){0};
    umbra_tpl_context c = {
        .memory_limit = o.memory_bytes ? o.memory_bytes : UMBRA_TEMPLATE_MEMORY_BYTES,
        .step_limit = o.steps ? o.steps : UMBRA_TEMPLATE_STEPS,
        .depth_limit = o.depth ? o.depth : UMBRA_TEMPLATE_DEPTH,
        .output_limit = o.output_bytes ? o.output_bytes : UMBRA_TEMPLATE_OUTPUT_BYTES,
        .err = err,
        .now = o.now,
        .words = &t->words};
    umbra_tpl_value text;
    int rc = UMBRA_CHECK_RESERVED(&o, err);
    if (rc == UMBRA_OK)
        rc = run(&c, t, variables, &text);
    if (rc >= 0)
        rc = hand_over(text.u.string, out, err);
    umbra_tpl_drop(&c);
    return rc < 0 ? err->status : UMBRA_OK;
}

void umbra_template_output_free(umbra_template_output *out)
{
    umbra_free(out->text);
    umbra_free(out->spans);
    *out = (umbra_template_output){0};
}
