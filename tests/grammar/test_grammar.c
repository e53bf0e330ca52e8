/* Grammars: whatever they let through is JSON of their schema, and what is not known is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <umbra/grammar.h>

#include "base/memory.h"
#include "judge.h"

static const char tiny[] = "models/tiny-q8_0.gguf";

typedef struct fixture {
    umbra_model *model;
    umbra_spellings *spellings;
    uint64_t *allowed;
    int vocabulary;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(umbra_model_open(&f->model, tiny, NULL), UMBRA_OK);
    f->vocabulary = umbra_model_get_info(f->model)->vocabulary;
    f->allowed = calloc((size_t)f->vocabulary / 64 + 1, sizeof *f->allowed);
    assert_int_equal(umbra_spellings_open(&f->spellings, f->model, NULL), UMBRA_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    umbra_spellings_close(&f->spellings);
    umbra_model_close(&f->model);
    free(f->allowed);
    free(f);
    return 0;
}

static umbra_grammar *open_grammar(const fixture *f, const char *schema, const char *after)
{
    umbra_grammar *g;
    umbra_error err = {0};
    umbra_grammar_options o = {.after = after};
    if (umbra_grammar_open(&g, f->spellings, schema, schema ? strlen(schema) : 0, &o, &err) !=
        UMBRA_OK)
        fail_msg("%s: %s", schema, err.message);
    return g;
}

/* ---- random texts ---- */

static uint64_t seed;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

static bool may_come(const fixture *f, int32_t id)
{
    return f->allowed[id / 64] >> id % 64 & 1;
}

/* The n-th token that may come, going round. */
static int32_t choose(const fixture *f, bool short_ones)
{
    char bytes[256];
    int32_t id = (int32_t)draw((uint32_t)f->vocabulary), fallback = -1;
    for (int i = 0; i < f->vocabulary; i++, id = (id + 1) % f->vocabulary) {
        if (!may_come(f, id))
            continue;
        size_t n = umbra_detokenize(f->model, id, false, bytes, sizeof bytes);
        /* To come to an end: what closes, rather than what goes on. */
        if (!short_ones || n == 0 || (n == 1 && strchr("\"]}0", bytes[0])))
            return id;
        fallback = id;
    }
    return fallback;
}

enum { MOST_TOKENS = 4000, WANDER = 40 };

/* Writes a text by random tokens; after some it makes for the end. Returns its length. */
static size_t write_text(const fixture *f, umbra_grammar *g, char *text, size_t room)
{
    static int32_t tokens[MOST_TOKENS];
    size_t used = 0;
    int wander = (int)draw(WANDER);
    for (int n = 0; n < MOST_TOKENS; n++) {
        int rc = umbra_grammar_allow(g, tokens, n, f->allowed);
        assert_int_equal(rc, 1);
        if (may_come(f, 0) && n > wander)
            return used;
        do
            tokens[n] = choose(f, n > wander);
        while (tokens[n] == 0 && !may_come(f, 0));
        assert_true(tokens[n] >= 0);
        if (tokens[n] == 0)
            return used;
        used += umbra_detokenize(f->model, tokens[n], false, text + used, room - used);
        assert_true(used < room);
    }
    fail_msg("no end after %d tokens", MOST_TOKENS);
    return 0;
}

static const char *const schemas[] = {
    "{\"type\":\"object\"}",
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":"
    "\"integer\",\"minimum\":0},\"tall\":{\"type\":\"boolean\"}},\"required\":[\"name\"],"
    "\"additionalProperties\":false}",
    "{\"type\":\"object\",\"properties\":{\"a\\\"\\u00e5\":{\"const\":1.5}},\"required\":"
    "[\"a\\\"\\u00e5\"]}",
    "{\"type\":\"array\",\"items\":{\"type\":\"number\",\"minimum\":0},\"minItems\":2,"
    "\"maxItems\":4}",
    "{\"type\":\"array\",\"items\":{\"enum\":[\"red\",\"green\",3,null,[1,{\"a\":true}]]}}",
    "{\"type\":\"string\",\"minLength\":2,\"maxLength\":5}",
    "{\"type\":[\"string\",\"null\"],\"maxLength\":3}",
    "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":1},{\"type\":\"array\",\"items\":{\"type\":"
    "\"null\"},\"maxItems\":2}]}",
    "{\"$defs\":{\"tree\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},"
    "\"below\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/tree\"}}},\"required\":[\"v\"],"
    "\"additionalProperties\":false}},\"$ref\":\"#/$defs/tree\"}",
    "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"boolean\"}}",
    "{\"type\":\"object\",\"properties\":{\"x\":{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}"
    "},\"required\":[\"x\"],\"additionalProperties\":false}",
    "{\"properties\":{\"any\":{},\"all\":true}}",
    "{\"type\":\"array\",\"maxItems\":0}",
    "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}",
};

enum { SCHEMAS = sizeof schemas / sizeof *schemas, TEXTS = 12 };

static void what_is_written_is_of_the_schema(void **state)
{
    const fixture *f = *state;
    static char text[1 << 16];
    for (int i = 0; i < SCHEMAS; i++) {
        umbra_grammar *g = open_grammar(f, schemas[i], NULL);
        json_t *schema = json_loads(schemas[i], 0, NULL);
        for (int k = 0; k < TEXTS; k++) {
            seed = (uint64_t)(i * 1000 + k);
            size_t n = write_text(f, g, text, sizeof text);
            json_error_t wrong;
            json_t *v = json_loadb(text, n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &wrong);
            if (!v && strstr(wrong.text, "duplicate"))
                v = json_loadb(text, n, JSON_DECODE_ANY, &wrong);
            if (!v || !judge_is_of(v, schema, schema))
                fail_msg("%s\nwrote %.*s\n%s", schemas[i], (int)n, text, v ? "" : wrong.text);
            json_decref(v);
        }
        json_decref(schema);
        umbra_grammar_close(&g);
    }
}

/* ---- single texts ---- */

/* Whether a text, byte by byte where it must, may be written from beginning to end. */
static bool takes(const fixture *f, umbra_grammar *g, const char *text)
{
    int32_t *ids;
    size_t n;
    bool good = true;
    assert_int_equal(umbra_tokenize(f->model, text, strlen(text), false, false, &ids, &n, NULL), 0);
    for (size_t i = 0; i < n && good; i++)
        good = umbra_grammar_allow(g, ids, (int)i, f->allowed) == 1 && may_come(f, ids[i]);
    good = good && umbra_grammar_allow(g, ids, (int)n, f->allowed) == 1 && may_come(f, 0);
    umbra_free_tokens(ids);
    return good;
}

typedef struct text_case {
    const char *schema, *text;
    bool fits;
} text_case;

static const text_case texts[] = {
    {NULL, "{}", true},
    {NULL, "{\"a\": [1, -2.5e3, true, null, {\"b\": \"\\u00e5\\n\"}], \"c\": {}}", true},
    {NULL, "{\n  \"a\": 1,\n  \"b\": 2\n}", true},
    {NULL, "[1]", false},
    {NULL, "{\"a\": 01}", false},
    {NULL, "{\"a\": \"\\ud800\"}", false},
    {NULL, "{\"a\": \"\n\"}", false},
    {NULL, "{\"a\"}", false},
    {NULL, "{\"a\": 1,}", false},
    {NULL, "{\"a\": 1}x", false},
    {NULL, "{\"a\": \"\xc3\xa5\xf0\x9f\xa6\x8a\"}", true},
    {"{\"type\":\"integer\"}", "-12", true},
    {"{\"type\":\"integer\"}", "1.5", false},
    {"{\"enum\":[\"ab\",\"abc\"]}", "\"ab\"", true},
    {"{\"enum\":[\"ab\",\"abc\"]}", "\"abc\"", true},
    {"{\"enum\":[\"ab\",\"abc\"]}", "\"a\"", false},
    {"{\"enum\":[1.5,2],\"type\":\"number\"}", "1.5", true},
    {"{\"type\":\"string\",\"minLength\":1,\"maxLength\":2}", "\"\xc3\xa5\\n\"", true},
    {"{\"type\":\"string\",\"minLength\":1,\"maxLength\":2}", "\"\"", false},
    {"{\"type\":\"string\",\"minLength\":1,\"maxLength\":2}", "\"abc\"", false},
    {"{\"properties\":{\"a\":{},\"b\":{}},\"required\":[\"b\"]}", "{\"b\": 1}", true},
    {"{\"properties\":{\"a\":{},\"b\":{}},\"required\":[\"b\"]}", "{\"a\": 1, \"b\": 1}", true},
    {"{\"properties\":{\"a\":{},\"b\":{}},\"required\":[\"b\"]}", "{\"a\": 1}", false},
    {"{\"properties\":{\"a\":{},\"b\":{}},\"required\":[\"b\"]}", "{\"b\": 1, \"c\": 1}", false},
    {"{\"minItems\":1}", "[true]", true},
    {"{\"minItems\":1}", "[]", false},
    {"{\"minLength\":2}", "\"ab\"", true},
    {"{\"minLength\":2}", "\"a\"", false},
    {"{\"minimum\":0}", "2.5", true},
    {"{\"minimum\":0}", "-2.5", false},
};

static void texts_fit_or_do_not(void **state)
{
    const fixture *f = *state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        umbra_grammar *g = open_grammar(f, texts[i].schema, NULL);
        if (takes(f, g, texts[i].text) != texts[i].fits)
            fail_msg("case %zu: %s", i, texts[i].text);
        /* Going back to another beginning changes nothing. */
        if (takes(f, g, texts[i].text) != texts[i].fits)
            fail_msg("case %zu again", i);
        umbra_grammar_close(&g);
    }
}

static void a_grammar_may_begin_later(void **state)
{
    const fixture *f = *state;
    umbra_grammar *g = open_grammar(f, NULL, "</think>");
    int32_t *ids;
    size_t n, free_ones = 0;
    static const char text[] = "a { b <</think <</think>\n\n{\"a\": 1}";
    assert_int_equal(umbra_tokenize(f->model, text, strlen(text), false, false, &ids, &n, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        int rc = umbra_grammar_allow(g, ids, (int)i, f->allowed);
        assert_in_range(rc, 0, 1);
        free_ones += rc == 0;
        assert_true(rc == 0 || may_come(f, ids[i]));
    }
    assert_in_range(free_ones, 5, n - 5);
    assert_int_equal(umbra_grammar_allow(g, ids, (int)n, f->allowed), 1);
    assert_true(may_come(f, 0));
    umbra_free_tokens(ids);
    umbra_grammar_close(&g);
}

static void what_is_not_known_is_refused_by_name(void **state)
{
    const fixture *f = *state;
    static const struct {
        const char *schema, *words;
        int status;
    } cases[] = {
        {"{\"type\":\"string\",\"pattern\":\"a\"}", "at #: the keyword \"pattern\"", -4},
        {"{\"properties\":{\"a\":{\"oneOf\":[]}}}", "#/properties/a: the keyword \"oneOf\"", -4},
        {"{\"type\":\"date\"}", "the type \"date\"", -4},
        {"{\"type\":1}", "\"type\" must be a name", -4},
        {"{\"minimum\":5,\"type\":\"integer\"}", "\"minimum\" is supported where", -4},
        {"{\"type\":\"array\",\"maxItems\":5000}", "\"maxItems\" must be", -4},
        {"{\"type\":\"array\",\"maxItems\":1,\"minItems\":2}", "less than the minimum", -4},
        {"{\"$ref\":\"other.json\"}", "the reference \"other.json\"", -4},
        {"{\"$ref\":\"#/$defs/no\"}", "the reference", -4},
        {"{\"anyOf\":[{}],\"type\":\"string\"}", "\"type\" beside \"anyOf\"", -4},
        {"{\"required\":[\"a\"]}", "names what \"properties\" does not have", -4},
        {"{\"$ref\":\"#\"}", "nothing can be written", -4},
        {"{\"enum\":[1],\"type\":\"string\"}", "\"type\" does not fit", -4},
        {"{\"const\":1,\"minimum\":0}", "\"minimum\" beside \"const\"", -4},
        {"{\"enum\":[]}", "\"enum\" must be", -4},
        {"{\"type\":[\"string\",1]}", "\"type\" must be a name or a list of names", -4},
        {"{\"anyOf\":5}", "\"anyOf\" must be a list of schemas", -4},
        {"{\"anyOf\":[]}", "\"anyOf\" must be a list of schemas", -4},
        {"{\"$ref\":5}", "\"$ref\" must be", -4},
        {"{\"required\":5}", "\"required\" must be a list of names", -4},
        {"{\"properties\":5}", "\"properties\" must be an object", -4},
        {"false", "is no object", -4},
        {"{\"type\":", "the schema: this is no JSON", 0},
        {"3", "is no object", -4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        umbra_grammar *g;
        umbra_error err = {0};
        int rc = umbra_grammar_open(&g, f->spellings, cases[i].schema, strlen(cases[i].schema),
                                    NULL, &err);
        assert_int_equal(rc, cases[i].status ? UMBRA_E_UNSUPPORTED : UMBRA_E_FORMAT);
        assert_null(g);
        if (!strstr(err.message, cases[i].words))
            fail_msg("case %zu: %s", i, err.message);
    }
}

/* However deep a model would nest, it comes to an end. */
static void nesting_is_bounded(void **state)
{
    const fixture *f = *state;
    umbra_grammar *g = open_grammar(f, "{\"type\":\"array\"}", NULL);
    enum { DEEP = 400 };
    int32_t *open, tokens[DEEP];
    size_t n;
    assert_int_equal(umbra_tokenize(f->model, "[", 1, false, false, &open, &n, NULL), 0);
    assert_int_equal(n, 1);
    int depth = 0;
    while (depth < DEEP && umbra_grammar_allow(g, tokens, depth, f->allowed) == 1 &&
           may_come(f, open[0]))
        tokens[depth++] = open[0];
    assert_in_range(depth, 60, DEEP - 1);
    umbra_free_tokens(open);
    umbra_grammar_close(&g);
}

static void expect_too_deep(const fixture *f, const char *schema, int status)
{
    umbra_grammar *g;
    umbra_error err = {0};
    assert_int_equal(umbra_grammar_open(&g, f->spellings, schema, strlen(schema), NULL, &err),
                     status);
    if (!strstr(err.message, "deep"))
        fail_msg("%s", err.message);
}

/* Inside each other as text, and by references. */
static void schemas_nest_to_a_limit(void **state)
{
    enum { DEEP = 100 };
    char schema[DEEP * 64] = "";
    size_t n = 0;
    for (int i = 0; i < DEEP; i++)
        n += (size_t)sprintf(schema + n, "{\"items\":");
    n += (size_t)sprintf(schema + n, "true");
    memset(schema + n, '}', DEEP);
    expect_too_deep(*state, schema, UMBRA_E_FORMAT);
    memset(schema, 0, sizeof schema);
    n = (size_t)sprintf(schema, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{\"last\":true");
    for (int i = 0; i < DEEP; i++)
        n += (size_t)sprintf(schema + n, ",\"d%d\":{\"items\":{\"$ref\":\"#/$defs/d%d\"}}", i,
                             i + 1);
    sprintf(schema + n, ",\"d%d\":true}}", DEEP);
    expect_too_deep(*state, schema, UMBRA_E_UNSUPPORTED);
}

/* More alternatives at once, and more states in a text, than there is room for at first. */
static void large_grammars_are_followed(void **state)
{
    const fixture *f = *state;
    enum { WORDS = 600, LONG = 40000 };
    char *schema = calloc(LONG + 64, 1), *text = calloc(LONG + 64, 1);
    size_t n = (size_t)sprintf(schema, "{\"enum\":[\"last\"");
    for (int i = 0; i < WORDS; i++)
        n += (size_t)sprintf(schema + n, ",\"w%d\"", i);
    sprintf(schema + n, "]}");
    umbra_grammar *g = open_grammar(f, schema, NULL);
    assert_true(takes(f, g, "\"w599\""));
    assert_false(takes(f, g, "\"w600\""));
    umbra_grammar_close(&g);

    memset(text + 1, 'x', LONG);
    text[0] = text[LONG + 1] = '"';
    sprintf(schema, "{\"const\":%s}", text);
    g = open_grammar(f, schema, NULL);
    int32_t *ids;
    size_t tokens;
    assert_int_equal(
        umbra_tokenize(f->model, text, strlen(text), false, false, &ids, &tokens, NULL), UMBRA_OK);
    for (int i = 0; i < 3; i++) { /* each time all states but those of the text are forgotten */
        assert_int_equal(umbra_grammar_allow(g, ids, (int)tokens - 1, f->allowed), 1);
        assert_true(may_come(f, ids[tokens - 1]));
        assert_false(may_come(f, 0));
        assert_int_equal(umbra_grammar_allow(g, ids, (int)tokens, f->allowed), 1);
        assert_true(may_come(f, 0));
    }
    umbra_free_tokens(ids);
    umbra_grammar_close(&g);
    free(schema);
    free(text);
}

/* What is no text of the grammar is told apart from lack of memory; an end token may follow. */
static void tokens_that_may_not_come(void **state)
{
    const fixture *f = *state;
    umbra_grammar *g = open_grammar(f, "{\"type\":\"null\"}", NULL);
    int32_t *ids, tokens[16];
    size_t n;
    assert_int_equal(umbra_tokenize(f->model, "nullx", 5, false, false, &ids, &n, NULL), UMBRA_OK);
    assert_int_equal(umbra_grammar_allow(g, ids, (int)n, f->allowed), UMBRA_E_ARGUMENT);
    umbra_free_tokens(ids);
    assert_int_equal(umbra_tokenize(f->model, "null", 4, false, false, &ids, &n, NULL), UMBRA_OK);
    assert_in_range(n, 1, 15);
    memcpy(tokens, ids, n * sizeof *ids);
    tokens[n] = 0; /* the end of a text */
    assert_int_equal(umbra_grammar_allow(g, tokens, (int)n + 1, f->allowed), 1);
    umbra_free_tokens(ids);
    umbra_grammar_close(&g);
}

static void options_are_looked_at(void **state)
{
    const fixture *f = *state;
    umbra_grammar *g;
    umbra_error err = {0};
    char after[1000];
    memset(after, 'x', sizeof after - 1);
    after[sizeof after - 1] = '\0';
    umbra_grammar_options o = {.after = after};
    assert_int_equal(umbra_grammar_open(&g, f->spellings, NULL, 0, &o, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "too long"));
    assert_null(g);
    umbra_call_options calls = {0};
    assert_int_equal(umbra_grammar_open_calls(&g, f->spellings, &calls, &err), UMBRA_E_ARGUMENT);
    assert_null(g);
}

/* Whichever allocation fails: an error, and nothing is lost. */
static void memory_may_be_out(void **state)
{
    const fixture *f = *state;
    static const char schema[] = "{\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[1,[2]]},"
                                 "\"b\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}}}";
    int rc = UMBRA_E_NOMEM;
    for (long n = 1; rc != 1; n++) {
        umbra_grammar *g;
        umbra_error err = {0};
        const int32_t none[1] = {0};
        umbra_memory_fail_after(n);
        rc = umbra_grammar_open(&g, f->spellings, schema, strlen(schema), NULL, &err);
        if (rc == UMBRA_OK)
            rc = umbra_grammar_allow(g, none, 0, f->allowed);
        else
            assert_int_equal(err.status, UMBRA_E_NOMEM);
        umbra_memory_fail_after(0);
        assert_true(rc == 1 || rc == UMBRA_E_NOMEM);
        assert_true(n < 100000);
        umbra_grammar_close(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_of_the_schema),
        cmocka_unit_test(texts_fit_or_do_not),
        cmocka_unit_test(a_grammar_may_begin_later),
        cmocka_unit_test(what_is_not_known_is_refused_by_name),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(schemas_nest_to_a_limit),
        cmocka_unit_test(large_grammars_are_followed),
        cmocka_unit_test(tokens_that_may_not_come),
        cmocka_unit_test(options_are_looked_at),
        cmocka_unit_test(memory_may_be_out),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
