/* Which tokens may come: a grammar beside a text that grows, is taken back and grows again. */
#include <string.h>

#include <umbra/grammar.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "grammar/automaton.h"
#include "grammar/calls.h"
#include "grammar/schema.h"
#include "grammar/spellings.h"

enum {
    WORD_BITS = 64,
    MOST_STATES = 1 << 15, /* then all are forgotten, and those of the text made again */
    MOST_MASKS = 1 << 10,
    TOKEN_BYTES = 1024
};

/* A place in a text. Without padding: compared byte by byte. */
typedef struct place {
    int32_t state;   /* of the automaton, or what is waited for */
    watch_seen seen; /* and how much of it was seen */
} place;

enum { OUTSIDE = WATCH_OUTSIDE, REASONING = WATCH_REASONING, NOWHERE = -3 };

/* A token of the text, and where it leads. */
typedef struct mark {
    int32_t id;
    place to;
} mark;

typedef struct mask {
    place from; /* NOWHERE: empty */
    bool all;   /* everything may come */
    uint64_t *allowed;
} mask;

struct umbra_grammar {
    const umbra_spellings *spellings;
    umbra_net net;
    int rule;
    umbra_automaton *automaton;
    int begin;
    umbra_watch watch;
    place origin; /* where the text begins, if not in the automaton */
    bool waits;   /* what is waited for comes before, and, where it `returns`, behind the rule */
    bool returns;
    char *after; /* owned; NULL: nothing stands before */
    mark *marks; /* (n_marks) of the tokens from `begin` on */
    int n_marks, marks_room;
    mask *masks; /* (MOST_MASKS) by place */
};

/* ---- opening ---- */

static size_t words(const umbra_grammar *g)
{
    return (size_t)g->spellings->vocabulary / WORD_BITS + 1;
}

static void drop_masks(umbra_grammar *g)
{
    for (int i = 0; i < MOST_MASKS; i++) {
        umbra_free(g->masks[i].allowed);
        g->masks[i] = (mask){.from.state = NOWHERE};
    }
}

/* Hands a JSON text's value to one of the compilers below. */
static int with_value(const char *text, size_t bytes, const char *what, umbra_error *err,
                      int (*compile)(umbra_grammar *g, umbra_tpl_value v, const void *user,
                                     umbra_error *err),
                      umbra_grammar *g, const void *user)
{
    umbra_template_tree *tree;
    int rc = umbra_template_tree_open(&tree, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_error problem = {.status = UMBRA_E_NOMEM, .message = "out of memory"};
    umbra_template_value *v = umbra_template_json(tree, text, bytes, &problem);
    if (v)
        rc = compile(g, umbra_tpl_of_tree(v), user, err);
    else
        rc = umbra_fail(err, problem.status, "%s: %s", what, problem.message);
    umbra_template_tree_close(&tree);
    return rc;
}

static int compile_value(umbra_grammar *g, umbra_tpl_value v, const void *user, umbra_error *err)
{
    (void)user;
    return umbra_schema_compile(&g->net, v, &g->rule, err);
}

/* The space before a value that stands behind something else. */
static int add_lead(umbra_grammar *g)
{
    int value = umbra_net_call(&g->net, g->rule, 0);
    int lead = umbra_net_call(&g->net, g->net.space, value);
    return umbra_net_call(&g->net, g->net.space, lead);
}

static int compile_schema(umbra_grammar *g, const char *schema, size_t bytes, const char *after,
                          umbra_error *err)
{
    int rc = UMBRA_OK;
    umbra_net_init(&g->net);
    umbra_net_json(&g->net);
    g->rule = g->net.object;
    if (schema)
        rc = with_value(schema, bytes, "the schema", err, compile_value, g, NULL);
    if (rc != UMBRA_OK || !after || !*after)
        return rc;
    if (strlen(after) >= SPELLING_BYTES)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "what a grammar begins behind is too long");
    g->after = umbra_strdup(after);
    g->waits = true;
    g->rule = add_lead(g);
    g->origin = (place){.state = OUTSIDE};
    umbra_watch_add(&g->watch.outside, g->after, g->rule);
    return g->after ? UMBRA_OK : umbra_fail_nomem(err, "a grammar", 0);
}

static int compile_tools(umbra_grammar *g, umbra_tpl_value tools, const void *user,
                         umbra_error *err)
{
    const umbra_call_options *o = user;
    compiled_calls calls;
    if (tools.kind != TPL_LIST)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "the tools are no list");
    int rc = umbra_calls_compile(&g->net, g->spellings->model, o, tools, &calls, err);
    g->waits = g->returns = !o->must;
    g->rule = o->must ? calls.rule : calls.watch.outside.to[0];
    g->watch = calls.watch;
    g->origin = (place){calls.reasons ? REASONING : OUTSIDE, calls.seen};
    return rc;
}

static int start(umbra_grammar *g, umbra_error *err)
{
    umbra_net_settle(&g->net);
    g->automaton = g->net.failed ? NULL : umbra_automaton_open(&g->net, g->rule);
    if (!g->automaton)
        return umbra_fail_nomem(err, "a grammar", 0);
    if (umbra_automaton_start(g->automaton) == AUTOMATON_DEAD)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED, "nothing can be written by the schema");
    return UMBRA_OK;
}

static umbra_grammar *new_grammar(const umbra_spellings *spellings, int begin)
{
    umbra_grammar *g = umbra_calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->spellings = spellings;
    g->begin = begin;
    g->masks = umbra_calloc(MOST_MASKS, sizeof *g->masks);
    if (g->masks)
        drop_masks(g);
    else
        umbra_grammar_close(&g);
    return g;
}

/* Hands out a grammar that was compiled with this result. */
static int finish(umbra_grammar **out, umbra_grammar *g, int rc, umbra_error *err)
{
    if (rc == UMBRA_OK)
        rc = start(g, err);
    if (rc != UMBRA_OK)
        umbra_grammar_close(&g);
    *out = g;
    return rc;
}

int umbra_grammar_open(umbra_grammar **out, const umbra_spellings *spellings, const char *schema,
                       size_t bytes, const umbra_grammar_options *o, umbra_error *err)
{
    static const umbra_grammar_options defaults = {0};
    *out = NULL;
    o = o ? o : &defaults;
    int rc = UMBRA_CHECK_RESERVED(o, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_grammar *g = new_grammar(spellings, o->begin);
    if (!g)
        return umbra_fail_nomem(err, "a grammar", sizeof *g);
    return finish(out, g, compile_schema(g, schema, bytes, o->after, err), err);
}

int umbra_grammar_open_calls(umbra_grammar **out, const umbra_spellings *spellings,
                             const umbra_call_options *o, umbra_error *err)
{
    *out = NULL;
    int rc = UMBRA_CHECK_RESERVED(o, err);
    if (rc == UMBRA_OK && (!o->chat || !o->prompt || !o->tools))
        rc = umbra_fail(err, UMBRA_E_ARGUMENT, "calls need a chat, a prompt and tools");
    if (rc != UMBRA_OK)
        return rc;
    umbra_grammar *g = new_grammar(spellings, (int)o->prompt->count);
    if (!g)
        return umbra_fail_nomem(err, "a grammar", sizeof *g);
    return finish(out, g, with_value(o->tools, o->bytes, "the tools", err, compile_tools, g, o),
                  err);
}

void umbra_grammar_close(umbra_grammar **p)
{
    umbra_grammar *g = *p;
    if (!g)
        return;
    if (g->masks)
        drop_masks(g);
    umbra_free(g->masks);
    umbra_automaton_close(g->automaton);
    umbra_net_release(&g->net);
    umbra_free(g->after);
    umbra_free(g->marks);
    umbra_free(g);
    *p = NULL;
}

/* ---- the text ---- */

static bool is_free(place p)
{
    return p.state < 0;
}

/* Where a byte leads. UMBRA_E_ARGUMENT: it may not come. */
static int step(umbra_grammar *g, place *at, unsigned char byte)
{
    if (is_free(*at)) {
        const watch_list *list = at->state == OUTSIDE ? &g->watch.outside : &g->watch.reasoning;
        bool edge =
            byte == (unsigned char)SPELLING_CONTROL || byte == (unsigned char)SPELLING_CONTROL_END;
        int to = edge ? 0 : umbra_watch_see(list, &at->seen, byte);
        if (to != 0)
            at->state = to < 0 ? to : umbra_automaton_enter(g->automaton, to);
        return to > 0 && at->state == AUTOMATON_NO_MEMORY ? UMBRA_E_NOMEM : UMBRA_OK;
    }
    int state = umbra_automaton_step(g->automaton, at->state, byte);
    /* The edge of a control token with which what was waited for has come. */
    if (state == AUTOMATON_DEAD && byte == (unsigned char)SPELLING_CONTROL_END)
        return UMBRA_OK;
    if (state < 0)
        return state == AUTOMATON_DEAD ? UMBRA_E_ARGUMENT : UMBRA_E_NOMEM;
    at->state = state;
    if (g->returns && umbra_automaton_ends(g->automaton, state))
        *at = (place){.state = OUTSIDE};
    return UMBRA_OK;
}

/* The mark behind a token. */
static int advance(umbra_grammar *g, place from, int32_t id, mark *out)
{
    char bytes[TOKEN_BYTES] = {0};
    size_t n = umbra_spell(g->spellings->model, id, bytes, sizeof bytes);
    *out = (mark){id, from};
    bool known = n <= sizeof bytes;
    int rc = known || is_free(from) ? UMBRA_OK : UMBRA_E_ARGUMENT;
    for (size_t i = 0; known && i < n && rc == UMBRA_OK; i++)
        rc = step(g, &out->to, (unsigned char)bytes[i]);
    /* A text that may end may go on with an end token. */
    if (rc == UMBRA_E_ARGUMENT && bytes[0] == SPELLING_CONTROL && !is_free(from) &&
        umbra_automaton_ends(g->automaton, from.state)) {
        out->to = from;
        rc = UMBRA_OK;
    }
    return rc;
}

/* Where the text begins. */
static place origin(const umbra_grammar *g)
{
    return g->waits ? g->origin : (place){.state = umbra_automaton_start(g->automaton)};
}

/* Follows the tokens from the first that is not the one before. */
static int follow(umbra_grammar *g, const int32_t *tokens, int n)
{
    int same = 0, rc = UMBRA_OK;
    while (same < n && same < g->n_marks && g->marks[same].id == tokens[same])
        same++;
    g->n_marks = same;
    if (n > g->marks_room) {
        mark *marks = umbra_reallocarray(g->marks, 2 * (size_t)n + 64, sizeof *marks);
        if (!marks)
            return UMBRA_E_NOMEM;
        g->marks = marks;
        g->marks_room = 2 * n + 64;
    }
    for (; g->n_marks < n; g->n_marks++) {
        place from = g->n_marks > 0 ? g->marks[g->n_marks - 1].to : origin(g);
        rc = advance(g, from, tokens[g->n_marks], &g->marks[g->n_marks]);
        if (rc != UMBRA_OK)
            return rc;
    }
    return UMBRA_OK;
}

/* Texts of many places meet many states: begins anew once there are too many. */
static int limit_states(umbra_grammar *g)
{
    if (umbra_automaton_states(g->automaton) < MOST_STATES)
        return UMBRA_OK;
    umbra_automaton *fresh = umbra_automaton_open(&g->net, g->rule);
    if (!fresh)
        return UMBRA_E_NOMEM;
    umbra_automaton_close(g->automaton);
    g->automaton = fresh;
    g->n_marks = 0;
    drop_masks(g);
    return UMBRA_OK;
}

/* ---- masks ---- */

static void allow(uint64_t *allowed, int32_t id)
{
    allowed[id / WORD_BITS] |= UINT64_C(1) << id % WORD_BITS;
}

static void allow_ends(const umbra_grammar *g, uint64_t *allowed)
{
    int32_t ends[128];
    int n = umbra_model_get_end_tokens(g->spellings->model, ends, 128);
    for (int i = 0; i < n && i < 128; i++)
        allow(allowed, ends[i]);
}

static void forbid(const umbra_spellings *s, uint32_t from, uint32_t to, uint64_t *allowed)
{
    for (uint32_t i = from; i < to; i++)
        for (int32_t id = s->nodes[i].token; id >= 0; id = s->again[id])
            allowed[id / WORD_BITS] &= ~(UINT64_C(1) << id % WORD_BITS);
}

/* Walks through the tree of spellings, past what cannot come. In what is written freely all may
 * come but what goes on wrongly behind a text that is waited for. */
static int fill(umbra_grammar *g, place from, uint64_t *allowed, bool *all)
{
    const umbra_spellings *s = g->spellings;
    place behind[SPELLING_BYTES + 1];
    *all = is_free(from);
    memset(allowed, is_free(from) ? 0xff : 0, words(g) * sizeof *allowed);
    for (uint32_t i = 0; i < s->n;) {
        const spelling_node *node = &s->nodes[i];
        place to = node->depth > 0 ? behind[node->depth - 1] : from;
        int rc = step(g, &to, node->byte);
        if (rc == UMBRA_E_NOMEM)
            return rc;
        if (rc != UMBRA_OK) {
            *all = false;
            if (is_free(from))
                forbid(s, i, node->skip, allowed);
            i = node->skip;
            continue;
        }
        behind[node->depth] = to;
        for (int32_t id = node->token; id >= 0; id = s->again[id])
            allow(allowed, id);
        i++;
    }
    if (!is_free(from) && umbra_automaton_ends(g->automaton, from.state))
        allow_ends(g, allowed);
    return UMBRA_OK;
}

static mask *mask_at(umbra_grammar *g, place from)
{
    uint32_t hash = (uint32_t)from.state;
    for (int i = 0; i < WATCH_TEXTS; i++)
        hash = hash * 31 + from.seen.bytes[i];
    return &g->masks[hash % MOST_MASKS];
}

static int get_mask(umbra_grammar *g, place from, const mask **out)
{
    mask *m = mask_at(g, from);
    if (memcmp(&m->from, &from, sizeof from) != 0) {
        uint64_t *allowed = m->allowed;
        if (!allowed)
            allowed = umbra_calloc(words(g), sizeof *allowed);
        if (!allowed)
            return UMBRA_E_NOMEM;
        *m = (mask){.from.state = NOWHERE, .allowed = allowed};
        int rc = fill(g, from, allowed, &m->all);
        if (rc != UMBRA_OK)
            return rc;
        m->from = from;
    }
    *out = m;
    return UMBRA_OK;
}

int umbra_grammar_allow(void *grammar, const int32_t *tokens, int n, uint64_t *allowed)
{
    umbra_grammar *g = grammar;
    const mask *have = NULL;
    int rc = limit_states(g);
    if (rc == UMBRA_OK && n < g->begin)
        rc = UMBRA_E_ARGUMENT;
    if (rc == UMBRA_OK)
        rc = follow(g, tokens + g->begin, n - g->begin);
    if (rc == UMBRA_OK)
        rc = get_mask(g, g->n_marks > 0 ? g->marks[g->n_marks - 1].to : origin(g), &have);
    if (rc != UMBRA_OK)
        return rc;
    if (have->all)
        return 0;
    memcpy(allowed, have->allowed, words(g) * sizeof *allowed);
    return 1;
}
