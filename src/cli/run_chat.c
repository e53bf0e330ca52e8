/* umbra run --chat: a talk in the terminal. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/ranks.h"
#include "cli/run_chat.h"

enum { MOST_CONTEXT = 4096 /* unless --ctx says otherwise */ };

typedef struct talk {
    const umbra_model *model;
    const run_options *r;
    run_machine m;
    umbra_chat *chat;
    umbra_template_tree *tree; /* that the messages lie in */
    umbra_template_value *messages;
    int32_t *held; /* (n_held of context) what the sequence holds */
    int n_held, context;
    bool terminal;

    /* The answer in work. */
    umbra_answer *answer;
    umbra_stops *stops;
    char *text; /* (bytes) of it */
    size_t bytes, room;
    bool reasoning; /* is what was printed last */
    bool stopped, failed;
} talk;

/* ---- messages ---- */

static bool add_message(talk *t, const char *role, const char *text, size_t bytes)
{
    umbra_template_value *m = umbra_template_dict(t->tree);
    umbra_template_value *v =
        umbra_template_text(t->tree, role, strlen(role), UMBRA_TEMPLATE_INPUT);
    bool whole = umbra_template_set(t->tree, m, "role", 4, v) == UMBRA_OK;
    v = umbra_template_text(t->tree, text, bytes, UMBRA_TEMPLATE_INPUT);
    return whole && umbra_template_set(t->tree, m, "content", 7, v) == UMBRA_OK &&
           umbra_template_append(t->tree, t->messages, m) == UMBRA_OK;
}

/* A talk without messages but the system's. */
static bool begin(talk *t)
{
    umbra_template_tree_close(&t->tree);
    if (umbra_template_tree_open(&t->tree, NULL) != UMBRA_OK)
        return false;
    t->messages = umbra_template_list(t->tree);
    const char *system = t->r->system;
    return t->messages && (!system || add_message(t, "system", system, strlen(system)));
}

/* ---- answers ---- */

static void keep(talk *t, const char *text, size_t n)
{
    if (t->bytes + n > t->room) {
        size_t room = 2 * (t->bytes + n);
        char *larger = realloc(t->text, room);
        if (!larger) {
            t->failed = true;
            return;
        }
        t->text = larger;
        t->room = room;
    }
    memcpy(t->text + t->bytes, text, n);
    t->bytes += n;
}

static void print(talk *t, const char *text, size_t n)
{
    if (n == 0)
        return;
    cli_progress_end();
    if (t->reasoning)
        fputs("\033[0m\n\n", stdout);
    t->reasoning = false;
    keep(t, text, n);
    fwrite(text, 1, n, stdout);
    t->failed = t->failed || fflush(stdout) != 0;
}

/* Reasoning is shown dim, and only to people. */
static void print_reasoning(talk *t, const umbra_answer_event *e)
{
    if (!t->terminal)
        return;
    cli_progress_end();
    if (!t->reasoning)
        fputs("\033[2m", stdout);
    t->reasoning = true;
    fwrite(e->text, 1, e->bytes, stdout);
    fflush(stdout);
}

static int hear(void *user, const umbra_answer_event *e)
{
    talk *t = user;
    const char *out;
    size_t n;
    if (e->part == UMBRA_ANSWER_REASONING)
        print_reasoning(t, e);
    if (e->part != UMBRA_ANSWER_TEXT)
        return 0;
    int rc = umbra_stops_take(t->stops, e->text, e->bytes, &out, &n);
    t->failed = t->failed || rc < 0;
    print(t, out, n);
    t->stopped = rc > 0;
    return t->stopped || t->failed;
}

static int take_token(void *user, int32_t id)
{
    talk *t = user;
    if (t->n_held < t->context)
        t->held[t->n_held++] = id;
    if (!t->r->ignore_end && umbra_chat_is_end(t->chat, id))
        return 1;
    return umbra_answer_take(t->answer, id);
}

/* Opens what takes the answer apart. */
static int listen(talk *t, const umbra_chat_prompt *prompt, umbra_error *err)
{
    const cli_list *stop = &t->r->stop;
    t->bytes = 0;
    t->reasoning = t->stopped = false;
    int rc = umbra_stops_open(&t->stops, (const char *const *)stop->words, stop->count, err);
    if (rc == UMBRA_OK)
        rc = umbra_answer_open(&t->answer, t->chat, prompt, NULL, hear, t, err);
    return rc;
}

static void end_answer(talk *t)
{
    const char *out;
    size_t n;
    if (t->answer && !t->stopped)
        umbra_answer_end(t->answer);
    if (t->stops) {
        umbra_stops_end(t->stops, &out, &n);
        print(t, out, n);
    }
    if (t->reasoning)
        fputs("\033[0m", stdout);
    putchar('\n');
    fflush(stdout);
    umbra_answer_close(&t->answer);
    umbra_stops_close(&t->stops);
}

/* What the sequence and the prompt have in common stays; at least one token is left to compute.
 * Returns how many stay. */
static int reuse(talk *t, const umbra_chat_prompt *prompt)
{
    int same = 0;
    while (same < t->n_held && same + 1 < (int)prompt->count &&
           t->held[same] == prompt->tokens[same])
        same++;
    return umbra_engine_truncate(t->m.engine, 0, same);
}

static int generate(talk *t, const umbra_chat_prompt *prompt, umbra_error *err)
{
    int same = reuse(t, prompt), count = (int)prompt->count;
    memcpy(t->held, prompt->tokens, (size_t)count * sizeof *t->held);
    t->n_held = count;
    int room = t->context - count + 1;
    const umbra_generate_options options = {
        .sampling = t->r->sampling,
        .max_tokens = t->r->tokens < 0 || t->r->tokens > room ? 0 : cli_count(t->r->tokens),
        .ignore_end = true,
        .on_token = take_token,
        .user = t,
        .progress = cli_progress(),
        .before = t->held,
        .drafts = t->m.drafts,
    };
    umbra_generation did = {0};
    int rc = umbra_generate(t->m.engine, t->model, prompt->tokens + same, count - same, &options,
                            &did, err);
    int length = umbra_engine_length(t->m.engine, 0);
    t->n_held = t->n_held < length ? t->n_held : length; /* the last is not computed */
    end_answer(t);
    if (t->r->stats && (rc == UMBRA_OK || rc == UMBRA_E_INTERRUPTED)) {
        fprintf(stderr, "kept       %d of %d tokens of the prompt\n", same, count);
        run_print_stats(&t->m, &did);
    }
    return rc;
}

/* Answers the messages so far. Returns UMBRA_OK where the talk can go on. */
static int answer(talk *t, umbra_error *err)
{
    umbra_chat_prompt prompt;
    const umbra_chat_request request = {.tree = t->tree, .messages = t->messages};
    int rc = umbra_chat_render(t->chat, &request, &prompt, err);
    if (rc != UMBRA_OK)
        return rc;
    if (prompt.count > (size_t)t->context) {
        fprintf(stderr,
                "umbra: the talk has %zu tokens and does not fit into a context of %d any more: it "
                "begins anew; --ctx gives it more room\n",
                prompt.count, t->context);
        umbra_chat_prompt_free(&prompt);
        return begin(t) ? UMBRA_OK : UMBRA_E_NOMEM;
    }
    rc = listen(t, &prompt, err);
    if (rc == UMBRA_OK)
        rc = generate(t, &prompt, err);
    umbra_answer_close(&t->answer);
    umbra_stops_close(&t->stops);
    umbra_chat_prompt_free(&prompt);
    if (rc == UMBRA_E_INTERRUPTED && cli_take_signal() == SIGINT) {
        fputs("(stopped)\n", stderr);
        rc = UMBRA_OK;
    }
    if (rc == UMBRA_OK && !add_message(t, "assistant", t->text ? t->text : "", t->bytes))
        rc = UMBRA_E_NOMEM;
    return rc;
}

/* ---- the talk ---- */

static int converse(talk *t)
{
    umbra_error err = {.status = UMBRA_E_NOMEM, .message = "no memory for the talk"};
    int rc = begin(t) ? UMBRA_OK : UMBRA_E_NOMEM;
    while (rc == UMBRA_OK && !t->failed) {
        char *text;
        size_t bytes;
        talk_input what = talk_read(t->terminal, &text, &bytes);
        if (what == TALK_END)
            break;
        if (what == TALK_STOPPED)
            return EXIT_INTERRUPTED;
        if (what == TALK_RESET)
            rc = begin(t) ? UMBRA_OK : UMBRA_E_NOMEM;
        else if (bytes > 0) {
            rc = add_message(t, "user", text, bytes) ? answer(t, &err) : UMBRA_E_NOMEM;
        }
        free(text);
    }
    if (rc == UMBRA_OK && t->r->usage)
        rc = umbra_usage_add(t->m.engine, t->r->usage, &err);
    return rc != UMBRA_OK ? cli_fail(&err) : t->failed ? cli_fail_text() : EXIT_DONE;
}

/* The template of the option, or the file's. */
static int open_chat(talk *t, const char *path)
{
    umbra_error err = {0};
    char *source = NULL;
    size_t bytes;
    int code = 0;
    if (t->r->template)
        code = cli_read_file(t->r->template, CLI_MOST_TEMPLATE_BYTES, &source, &bytes);
    else if (umbra_model_read_template(path, &source, &bytes, &err) != UMBRA_OK)
        code = cli_fail(&err);
    if (code == 0 && umbra_chat_open(&t->chat, t->model, source, bytes, &err) != UMBRA_OK)
        code = cli_fail(&err);
    free(source);
    if (code == 0 && !umbra_chat_family(t->chat))
        fputs("umbra: warning: the template is of no family that is known: reasoning is shown as "
              "text\n",
              stderr);
    return code;
}

int run_chat(const umbra_model *model, const char *path, run_options *r)
{
    talk t = {.model = model, .r = r, .terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)};
    int most = umbra_model_get_info(model)->context;
    int code = open_chat(&t, path);
    if (r->engine.context == 0)
        r->engine.context = most < MOST_CONTEXT ? most : MOST_CONTEXT;
    if (code == 0)
        code = run_open(model, r, &t.m);
    if (code == 0 && cli_ranks_follows()) {
        code = cli_ranks_follow(t.m.engine);
    } else if (code == 0) {
        t.context = umbra_engine_get_plan(t.m.engine)->context;
        t.held = calloc((size_t)t.context + 1, sizeof *t.held);
        code = t.held ? converse(&t) : cli_fail_text();
    }
    free(t.held);
    free(t.text);
    umbra_template_tree_close(&t.tree);
    run_close(&t.m);
    umbra_chat_close(&t.chat);
    return code;
}
