/* Which tokens may come: a grammar beside a text that grows, is taken back and grows again. */
#include <string.h>

#include <umbra/grammar.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "grammar/automaton.h"
#include "grammar/schema.h"
#include "grammar/spellings.h"

enum {
    WORD_BITS = 64,
    MOST_STATES = 1 << 15, /* then all are forgotten, and those of the text made again */
    MOST_MASKS = 1 << 10,
    TOKEN_BYTES = 1024
};

/* A token of the text, and where it leads. */
typedef struct mark {
    int32_t id;
    int state;   /* behind it; FREE: the grammar has not begun */
    size_t seen; /* bytes of `after` that the text ends with */
} mark;

enum { FREE = -1 };

typedef struct mask {
    int state;
    uint64_t *allowed;
} mask;

struct umbra_grammar {
    const umbra_spellings *spellings;
    umbra_net net;
    int rule;
    umbra_automaton *automaton;
    int begin;
    char *after; /* NULL: nothing stands before */
    mark *marks; /* (n_marks) of the tokens from `begin` on */
    int n_marks, marks_room;
    mask *masks; /* (MOST_MASKS) by state; state -1: empty */
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
        g->masks[i] = (mask){.state = -1};
    }
}

static int compile(umbra_grammar *g, const char *schema, size_t bytes, umbra_error *err)
{
    umbra_template_tree *tree;
    umbra_net_init(&g->net);
    umbra_net_json(&g->net);
    g->rule = g->net.object;
    if (!schema)
        return g->net.failed ? umbra_fail_nomem(err, "a grammar", 0) : UMBRA_OK;
    int rc = umbra_template_tree_open(&tree, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_error problem = {.status = UMBRA_E_NOMEM, .message = "no memory for a schema"};
    umbra_template_value *v = umbra_template_json(tree, schema, bytes, &problem);
    if (v)
        rc = umbra_schema_compile(&g->net, umbra_tpl_of_tree(v), &g->rule, err);
    else
        rc = umbra_fail(err, problem.status, "the schema: %s", problem.message);
    umbra_template_tree_close(&tree);
    return rc;
}

/* The space before a value that stands behind something else. */
static int add_lead(umbra_grammar *g)
{
    int value = umbra_net_call(&g->net, g->rule, 0);
    int lead = umbra_net_call(&g->net, g->net.space, value);
    return umbra_net_call(&g->net, g->net.space, lead);
}

static int start(umbra_grammar *g, umbra_error *err)
{
    if (g->after)
        g->rule = add_lead(g);
    umbra_net_settle(&g->net);
    g->automaton = g->net.failed ? NULL : umbra_automaton_open(&g->net, g->rule);
    if (!g->automaton)
        return umbra_fail_nomem(err, "a grammar", 0);
    if (umbra_automaton_start(g->automaton) == AUTOMATON_DEAD)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED, "nothing can be written by the schema");
    return UMBRA_OK;
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
    umbra_grammar *g = umbra_calloc(1, sizeof *g);
    if (!g)
        return umbra_fail_nomem(err, "a grammar", sizeof *g);
    g->spellings = spellings;
    g->begin = o->begin;
    g->masks = umbra_calloc(MOST_MASKS, sizeof *g->masks);
    g->after = o->after && *o->after ? umbra_strdup(o->after) : NULL;
    rc = g->masks && (g->after || !o->after || !*o->after) ? UMBRA_OK
                                                           : umbra_fail_nomem(err, "a grammar", 0);
    if (rc == UMBRA_OK) {
        drop_masks(g);
        rc = compile(g, schema, bytes, err);
    }
    if (rc == UMBRA_OK)
        rc = start(g, err);
    if (rc != UMBRA_OK) {
        umbra_grammar_close(&g);
        return rc;
    }
    *out = g;
    return UMBRA_OK;
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

/* How much of `after` the text ends with once a byte has come. */
static size_t see(const char *after, size_t seen, char byte)
{
    size_t n = seen;
    while (n > 0 && after[n] != byte) {
        size_t k = n - 1; /* the longest end of what was seen that begins it too */
        while (k > 0 && memcmp(after, after + n - k, k) != 0)
            k--;
        n = k;
    }
    return after[n] == byte ? n + 1 : 0;
}

/* The mark behind a token. */
static int advance(umbra_grammar *g, mark from, int32_t id, mark *out)
{
    char bytes[TOKEN_BYTES];
    bool is_free = from.state == FREE;
    size_t n = umbra_detokenize(g->spellings->model, id, is_free, bytes, sizeof bytes);
    *out = (mark){id, from.state, from.seen};
    for (size_t i = 0; i < n && n <= sizeof bytes; i++) {
        if (out->state != FREE) {
            out->state = umbra_automaton_step(g->automaton, out->state, (unsigned char)bytes[i]);
            if (out->state < 0)
                return out->state == AUTOMATON_DEAD ? UMBRA_E_ARGUMENT : UMBRA_E_NOMEM;
            continue;
        }
        out->seen = see(g->after, out->seen, bytes[i]);
        if (g->after[out->seen] == '\0')
            out->state = umbra_automaton_start(g->automaton);
    }
    return UMBRA_OK;
}

/* Where the text begins. */
static mark origin(const umbra_grammar *g)
{
    return (mark){-1, g->after ? FREE : umbra_automaton_start(g->automaton), 0};
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
        mark from = g->n_marks > 0 ? g->marks[g->n_marks - 1] : origin(g);
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

/* Walks through the tree of spellings, past what cannot come. */
static int fill(umbra_grammar *g, int state, uint64_t *allowed)
{
    const umbra_spellings *s = g->spellings;
    int behind[SPELLING_BYTES + 1];
    for (uint32_t i = 0; i < s->n;) {
        const spelling_node *node = &s->nodes[i];
        int from = node->depth > 0 ? behind[node->depth - 1] : state;
        int to = umbra_automaton_step(g->automaton, from, node->byte);
        if (to == AUTOMATON_NO_MEMORY)
            return UMBRA_E_NOMEM;
        if (to == AUTOMATON_DEAD) {
            i = node->skip;
            continue;
        }
        behind[node->depth] = to;
        for (int32_t id = node->token; id >= 0; id = s->again[id])
            allow(allowed, id);
        i++;
    }
    if (umbra_automaton_ends(g->automaton, state))
        allow_ends(g, allowed);
    return UMBRA_OK;
}

static int get_mask(umbra_grammar *g, int state, const uint64_t **out)
{
    mask *m = &g->masks[state % MOST_MASKS];
    if (m->state != state) {
        uint64_t *allowed = m->allowed;
        if (!allowed)
            allowed = umbra_calloc(words(g), sizeof *allowed);
        if (!allowed)
            return UMBRA_E_NOMEM;
        memset(allowed, 0, words(g) * sizeof *allowed);
        *m = (mask){.state = -1, .allowed = allowed};
        int rc = fill(g, state, allowed);
        if (rc != UMBRA_OK)
            return rc;
        m->state = state;
    }
    *out = m->allowed;
    return UMBRA_OK;
}

int umbra_grammar_allow(void *grammar, const int32_t *tokens, int n, uint64_t *allowed)
{
    umbra_grammar *g = grammar;
    const uint64_t *have = NULL;
    int rc = limit_states(g);
    if (rc == UMBRA_OK && n < g->begin)
        rc = UMBRA_E_ARGUMENT;
    if (rc == UMBRA_OK)
        rc = follow(g, tokens + g->begin, n - g->begin);
    if (rc != UMBRA_OK)
        return rc;
    int state = g->n_marks > 0 ? g->marks[g->n_marks - 1].state : origin(g).state;
    if (state == FREE)
        return 0;
    rc = get_mask(g, state, &have);
    if (rc != UMBRA_OK)
        return rc;
    memcpy(allowed, have, words(g) * sizeof *allowed);
    return 1;
}
