/* Calls of tools, in every family: whatever a grammar lets through is read back as calls that were
 * allowed, with arguments of their schema. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <umbra/answer.h>
#include <umbra/grammar.h>

#include "../model/make.h"
#include "base/memory.h"
#include "call_families.h"
#include "judge.h"

#define STRICT_PARAMETERS                                                                          \
    "{\"type\":\"object\",\"properties\":{\"text\":{\"type\":\"string\"},\"n\":{\"type\":"         \
    "\"integer\",\"minimum\":0},\"kind\":{\"type\":\"string\",\"enum\":[\"red\",\"green\"]},"      \
    "\"deep\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"maxItems\":2,"      \
    "\"items\":{\"type\":\"string\"}}},\"required\":[\"a\"],\"additionalProperties\":false},"      \
    "\"maybe\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}},\"required\":[\"text\","   \
    "\"deep\"],\"additionalProperties\":false}"
#define TOOL(name, strict, parameters)                                                             \
    "{\"type\":\"function\",\"function\":{\"name\":\"" name "\",\"strict\":" strict                \
    ",\"parameters\":" parameters "}}"
#define LOOSE                                                                                      \
    TOOL("add", "false",                                                                           \
         "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"x\"}}}")

static const char tools[] =
    "[" TOOL("find", "true",
             STRICT_PARAMETERS) "," LOOSE
                                ",{\"type\":\"function\",\"function\":{\"name\":\"stop-it\"}}]";

typedef struct fixture {
    umbra_memory_file file;
    umbra_model *models[2]; /* markers are text; some are control tokens */
    umbra_spellings *spellings[2];
    uint64_t *allowed;
    /* What is open. */
    int which;
    umbra_chat *chat;
    umbra_chat_prompt prompt;
    umbra_grammar *grammar;
} fixture;

static const char *const controls[MAKE_CONTROLS] = {
    "<|open|>",
    "<|close|>",
    "<|sep|>",
    "<|channel|>",
    "<|message|>",
    "[TOOL_CALLS]",
    "<|tool_call_end|>",
    D("tool" U "call" U "begin"),
    "<|tool_call>",
    DSML,
    "<|tool_call_begin|>",
};

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(umbra_model_open(&f->models[0], "models/tiny-q8_0.gguf", NULL), UMBRA_OK);
    memcpy(make_controls, controls, sizeof controls);
    assert_int_equal(make_open(&make_olmoe, NULL, NULL, NULL, &f->file, &f->models[1], NULL), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(umbra_spellings_open(&f->spellings[i], f->models[i], NULL), UMBRA_OK);
    f->allowed = calloc(1 << 12, sizeof *f->allowed);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        umbra_spellings_close(&f->spellings[i]);
        umbra_model_close(&f->models[i]);
    }
    umbra_memory_file_release(&f->file);
    free(f->allowed);
    free(f);
    return 0;
}

static const umbra_model *model(const fixture *f)
{
    return f->models[f->which];
}

static int open_calls(fixture *f, const family_case *c, const char *of, bool must, const char *only,
                      umbra_error *err)
{
    static char text[128];
    snprintf(text, sizeof text, "%s", c->prompt);
    f->prompt = (umbra_chat_prompt){.rendering = {.text = text, .bytes = strlen(text)}};
    assert_int_equal(umbra_chat_open(&f->chat, model(f), c->signs, strlen(c->signs), err), 0);
    const umbra_call_options o = {f->chat, &f->prompt, of, strlen(of), must, only, {0}};
    return umbra_grammar_open_calls(&f->grammar, f->spellings[f->which], &o, err);
}

static void close_calls(fixture *f)
{
    umbra_grammar_close(&f->grammar);
    umbra_chat_close(&f->chat);
}

/* Whether a token may come behind others. */
static int look(fixture *f, const int32_t *tokens, int n)
{
    int rc = umbra_grammar_allow(f->grammar, tokens, n, f->allowed);
    if (rc == 0)
        memset(f->allowed, 0xff, (1 << 12) * sizeof *f->allowed);
    return rc;
}

static bool may_come(const fixture *f, int32_t id)
{
    return f->allowed[id / 64] >> id % 64 & 1;
}

static bool may_end(const fixture *f)
{
    int32_t end;
    assert_int_equal(umbra_model_get_end_tokens(model(f), &end, 1), 1);
    return may_come(f, end);
}

/* ---- reading back ---- */

typedef struct heard {
    int calls, wrong;
    size_t text; /* bytes of it */
    char name[32];
} heard;

static int hear(void *user, const umbra_answer_event *e)
{
    heard *h = user;
    h->text += e->part == UMBRA_ANSWER_TEXT ? e->bytes : 0;
    if (e->part == UMBRA_ANSWER_CALL)
        snprintf(h->name, sizeof h->name, "%.*s", (int)e->bytes, e->text);
    if (e->part != UMBRA_ANSWER_CALL_END)
        return 0;
    h->calls++;
    json_t *schema = json_loads(STRICT_PARAMETERS, 0, NULL);
    json_t *v = json_loadb(e->text, e->bytes, 0, NULL);
    bool known = strcmp(h->name, "find") == 0 || strcmp(h->name, "add") == 0 ||
                 strcmp(h->name, "stop-it") == 0;
    if (!v || !e->whole || !known ||
        (strcmp(h->name, "find") == 0 && !judge_is_of(v, schema, schema))) {
        print_error("%s(%.*s)\n", h->name, (int)e->bytes, e->text);
        h->wrong++;
    }
    json_decref(v);
    json_decref(schema);
    return 0;
}

static heard read_back(const fixture *f, const int32_t *tokens, int n)
{
    heard h = {0};
    umbra_answer *a;
    umbra_template_tree *tree;
    assert_int_equal(umbra_template_tree_open(&tree, NULL), 0);
    umbra_template_value *v = umbra_template_json(tree, tools, strlen(tools), NULL);
    assert_int_equal(umbra_answer_open(&a, f->chat, &f->prompt, v, hear, &h, NULL), 0);
    for (int i = 0; i < n; i++)
        umbra_answer_take(a, tokens[i]);
    umbra_answer_end(a);
    umbra_answer_close(&a);
    umbra_template_tree_close(&tree);
    return h;
}

/* ---- random texts ---- */

static uint64_t seed;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

static int vocabulary(const fixture *f)
{
    return umbra_model_get_info(model(f))->vocabulary;
}

/* The longest token that may come and with which `text` begins; -1: none. */
static int32_t token_of(const fixture *f, const char *text)
{
    char bytes[256];
    int32_t best = -1;
    size_t longest = 0;
    for (int32_t id = 0; id < vocabulary(f); id++) {
        size_t n = may_come(f, id) ? umbra_detokenize(model(f), id, true, bytes, sizeof bytes) : 0;
        if (n > longest && n <= strlen(text) && memcmp(bytes, text, n) == 0) {
            best = id;
            longest = n;
        }
    }
    return best;
}

/* What goes on with a text that makes for the end: of the markers at its end the longest beginning;
 * at times a marker, or what closes JSON. */
static int32_t make_for_end(const fixture *f, const family_case *c, const char *text, size_t used)
{
    static const char *const closing[] = {"\"", "]", "}", ">", "0"};
    const char *rest = NULL;
    size_t longest = 0;
    const char *ends[ENDS + 1] = {"</think>"};
    int n = 1;
    for (int i = 0; i < ENDS && c->ends[i]; i++)
        ends[n++] = c->ends[i];
    for (int i = 0, at = (int)draw((uint32_t)n); i < n; i++, at++)
        for (size_t k = strlen(ends[at % n]) - 1; k > longest; k--)
            if (used >= k && memcmp(text + used - k, ends[at % n], k) == 0) {
                longest = k;
                rest = ends[at % n] + k;
            }
    int32_t id = rest && draw(40) > 0 ? token_of(f, rest) : -1;
    if (id < 0 && n > 0 && draw(3) > 0)
        id = token_of(f, ends[draw((uint32_t)n)]);
    for (size_t i = 0; id < 0 && i < sizeof closing / sizeof *closing; i++)
        id = token_of(f, closing[i]);
    return id;
}

static int32_t any_token(const fixture *f)
{
    int32_t id = (int32_t)draw((uint32_t)vocabulary(f));
    for (int i = 0; i < vocabulary(f); i++, id = (id + 1) % vocabulary(f))
        if (may_come(f, id))
            return id;
    fail_msg("nothing may come");
    return -1;
}

enum { MOST_TOKENS = 3000 };

/* Writes calls that must come, by random tokens. Returns how many. */
static int write_calls(fixture *f, const family_case *c, int32_t tokens[MOST_TOKENS])
{
    static char text[1 << 17];
    size_t used = 0;
    int wander = (int)draw(60);
    for (int n = 0; n < MOST_TOKENS; n++) {
        assert_int_equal(look(f, tokens, n), 1);
        if (may_end(f) && n > wander)
            return n;
        int32_t id = n > wander ? make_for_end(f, c, text, used) : -1;
        while (id < 0 || umbra_is_end_token(model(f), id)) {
            id = any_token(f);
            if (umbra_is_end_token(model(f), id) && n > 0)
                return n;
        }
        tokens[n] = id;
        used += umbra_detokenize(model(f), id, true, text + used, sizeof text - used);
    }
    fail_msg("%d, %s: no end: %.*s ... %.*s", f->which, c->signs, 300, text, 300,
             text + used - 300);
    return 0;
}

static void what_is_written_is_read_as_calls(void **state)
{
    fixture *f = *state;
    static int32_t tokens[MOST_TOKENS];
    for (f->which = 0; f->which < 2; f->which++)
        for (int i = 0; i < FAMILIES; i++)
            for (int k = 0; k < (f->which ? 4 : 1); k++) {
                umbra_error err = {0};
                const char *only = k % 3 == 0 ? "find" : NULL;
                if (open_calls(f, &families[i], tools, true, only, &err) != UMBRA_OK)
                    fail_msg("%s: %s", families[i].signs, err.message);
                seed = (uint64_t)(i * 100 + k);
                int n = write_calls(f, &families[i], tokens);
                heard h = read_back(f, tokens, n);
                if (h.calls == 0 || h.wrong > 0 || h.text > 0 || (only && strcmp(h.name, only)))
                    fail_msg("%s: %d calls, %d wrong, %zu bytes of text", families[i].signs,
                             h.calls, h.wrong, h.text);
                close_calls(f);
            }
}

/* ---- given texts ---- */

/* How many tokens of a text may come, all from the beginning; *ended: and it may end there. */
static int follow(fixture *f, const char *text, int32_t **ids, int *n, bool *ended)
{
    size_t count;
    int at = 0;
    assert_int_equal(umbra_tokenize(model(f), text, strlen(text), false, true, ids, &count, NULL),
                     0);
    *n = (int)count;
    while (at < *n && look(f, *ids, at) >= 0 && may_come(f, (*ids)[at]))
        at++;
    *ended = at == *n && look(f, *ids, at) >= 0 && may_end(f);
    return at;
}

static void calls_are_written_as_models_do(void **state)
{
    fixture *f = *state;
    for (f->which = 0; f->which < 2; f->which++)
        for (int i = 0; i < FAMILIES; i++) {
            umbra_error err = {0};
            int32_t *ids;
            int n;
            bool ended;
            assert_int_equal(open_calls(f, &families[i], tools, true, NULL, &err), 0);
            int at = follow(f, families[i].natural, &ids, &n, &ended);
            if (!ended)
                fail_msg("%s: %d of %d tokens", families[i].natural, at, n);
            heard h = read_back(f, ids, n);
            if (h.calls != 1 || h.wrong || h.text)
                fail_msg("%s: %d calls, %zu of text", families[i].natural, h.calls, h.text);
            umbra_free_tokens(ids);
            close_calls(f);
        }
}

/* Text before and behind calls is free; between, a wrong name or argument cannot come. */
static void calls_that_may_come_are_held_too(void **state)
{
    fixture *f = *state;
    for (f->which = 0; f->which < 2; f->which++)
        for (int i = 0; i < FAMILIES; i++) {
            umbra_error err = {0};
            int32_t *ids;
            int n;
            bool ended;
            char wrong[1024];
            int rc = open_calls(f, &families[i], tools, false, NULL, &err);
            if (strstr(families[i].signs, "dictionary")) {
                assert_int_equal(rc, UMBRA_E_UNSUPPORTED);
                assert_non_null(strstr(err.message, "llama-3"));
                close_calls(f);
                continue;
            }
            assert_int_equal(rc, 0);
            int at = follow(f, families[i].natural, &ids, &n, &ended);
            if (!ended)
                fail_msg("%d, %s: %d of %d tokens", f->which, families[i].natural, at, n);
            umbra_free_tokens(ids);
            /* Of the name the last letter is another. */
            const char *name = strstr(families[i].natural, "stop-it");
            size_t bytes = 7;
            if (!name) {
                name = strstr(families[i].natural, "find");
                bytes = 4;
            }
            snprintf(wrong, sizeof wrong, "%.*s!", (int)(name + bytes - 1 - families[i].natural),
                     families[i].natural);
            at = follow(f, wrong, &ids, &n, &ended);
            if (at == n)
                fail_msg("%s may come", wrong);
            umbra_free_tokens(ids);
            close_calls(f);
        }
}

static void text_is_free(void **state)
{
    fixture *f = *state;
    static const char text[] = "Some <text> with { braces, <tool_cal and \"quotes\". <think>There "
                               "<tool_call> is none</think> Then \xc3\xa5.";
    int32_t *ids;
    int n;
    bool ended;
    f->which = 0;
    assert_int_equal(open_calls(f, &families[0], tools, false, NULL, NULL), 0);
    int at = follow(f, text, &ids, &n, &ended);
    assert_int_equal(at, n);
    assert_true(ended);
    umbra_free_tokens(ids);
    close_calls(f);
}

static void what_cannot_be_held_is_refused_by_name(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *signs, *tools, *only, *words;
    } cases[] = {
        {"no signs", tools, NULL, "family unknown"},
        {"<think>", tools, NULL, "family think"},
        {"<tool_call>", "[" TOOL("f", "true", "{\"type\":\"object\",\"allOf\":[]}") "]", NULL,
         "the tool \"f\": the schema at #: the keyword \"allOf\""},
        {"<tool_call>", "[" TOOL("f", "true", "{\"type\":\"string\"}") "]", NULL,
         "no schema of objects"},
        {"<tool_call>",
         "[" TOOL("f", "true",
                  "{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"type\":\"string\"}}}") "]",
         NULL, "no schema of objects"},
        {"<arg_key><arg_value>",
         "[" TOOL("f", "true",
                  "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}") "]",
         NULL, "properties that are not named"},
        {"<tool_call>", tools, "none", "there is no tool \"none\""},
        {"<tool_call>", "[]", NULL, "there is no tool"},
        {"<tool_call>", "[{}]", NULL, "tool 1 has no name"},
        {"<tool_call>", "{}", NULL, "are no list"},
        {"<tool_call>", "[", NULL, "the tools: "},
        {"<function=<parameter=",
         "[" TOOL("f", "true",
                  "{\"properties\":{\"a\":{\"type\":\"string\",\"maxLength\":3}}}") "]",
         NULL, "lengths of texts"},
        {"<function=<parameter=",
         "[" TOOL("f", "true",
                  "{\"properties\":{\"a\":{\"type\":\"string\",\"const\":\"<b>\"}}}") "]",
         NULL, "a listed text"},
        {"<function=<parameter=", "[" TOOL("f>", "true", "{}") "]", NULL, "its name may have"},
        {"<|tool_call>call:",
         "[" TOOL("f", "true", "{\"properties\":{\"a b\":{\"type\":\"integer\"}}}") "]", NULL,
         "cannot write"},
    };
    f->which = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const family_case c = {cases[i].signs, "", {NULL}, ""};
        umbra_error err = {0};
        assert_int_not_equal(open_calls(f, &c, cases[i].tools, true, cases[i].only, &err), 0);
        assert_null(f->grammar);
        if (!strstr(err.message, cases[i].words))
            fail_msg("case %zu: %s", i, err.message);
        close_calls(f);
    }
}

/* Whichever allocation fails: an error, and nothing is lost. */
static void memory_may_be_out(void **state)
{
    fixture *f = *state;
    static const char one[] =
        "[" TOOL("f", "true", "{\"properties\":{\"a\":{\"type\":\"string\"}}}") "]";
    static const int some[] = {2, 13, FAMILIES - 1};
    f->which = 1;
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        int rc = UMBRA_E_NOMEM;
        assert_int_equal(open_calls(f, &families[some[i]], one, true, NULL, NULL), 0);
        umbra_grammar_close(&f->grammar);
        const umbra_call_options o = {f->chat, &f->prompt, one, strlen(one), true, NULL, {0}};
        for (long n = 1; rc != UMBRA_OK; n++) {
            umbra_error err = {0};
            umbra_memory_fail_after(n);
            rc = umbra_grammar_open_calls(&f->grammar, f->spellings[1], &o, &err);
            umbra_memory_fail_after(0);
            if (rc != UMBRA_OK)
                assert_int_equal(err.status, UMBRA_E_NOMEM);
            umbra_grammar_close(&f->grammar);
        }
        close_calls(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_as_calls),
        cmocka_unit_test(calls_are_written_as_models_do),
        cmocka_unit_test(calls_that_may_come_are_held_too),
        cmocka_unit_test(text_is_free),
        cmocka_unit_test(what_cannot_be_held_is_refused_by_name),
        cmocka_unit_test(memory_may_be_out),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
