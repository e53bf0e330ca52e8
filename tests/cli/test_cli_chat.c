/* umbra run --chat: turns, what is reused, what is refused, and Ctrl-C. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "program.h"

#define WORK UMBRA_TEST_DIR "/"
#define TALK "run models/tiny-q8_0.gguf --chat --template " WORK "chat.jinja"

static const char source[] = "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
                             "{% if add_generation_prompt %}assistant:{% endif %}";

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static int write_template(void **state)
{
    (void)state;
    write_file(WORK "chat.jinja", source);
    return 0;
}

static result talk(const char *options, const char *input)
{
    write_file(WORK "input", input);
    return umbra(TALK " %s <" WORK "input", options);
}

static void assert_says(const char *options, const char *input, const char *words)
{
    result r = talk(options, input);
    assert_int_equal(r.code, 0);
    if (!strstr(r.err, words))
        fail_msg("%s", r.err);
    free(r.out);
}

/* The answer is what the same prompt is continued with, in whatever way it is typed. */
static void an_answer_is_the_rendered_prompts(void **state)
{
    (void)state;
    result run =
        umbra("run models/tiny-q8_0.gguf -n 12 -p 'system:Be brief.\nuser:The cache\nholds\n"
              "assistant:'");
    result typed = talk("-n 12 --system 'Be brief.'", "The cache\\\nholds\n");
    result quoted = talk("-n 12 --system 'Be brief.'", "\"\"\"\nThe cache\nholds\n"
                                                       "\"\"\"\n");
    assert_int_equal(typed.code, 0);
    assert_non_null(strstr(typed.err, "no family that is known"));
    assert_string_equal(typed.out, run.out);
    result lines = talk("-n 12 --system 'Be brief.'", "The cache\nholds\n");
    assert_true(strlen(lines.out) > strlen(typed.out)); /* two messages have two answers */
    assert_string_equal(quoted.out, run.out);
    free(typed.out);
    free(run.out);
    free(quoted.out);
    free(lines.out);
}

static int kept(const char *text, int turn)
{
    int n = -1;
    for (int i = 0; i <= turn && text; i++) {
        text = strstr(text, "kept ");
        text = text ? text + 5 : NULL;
    }
    return text && sscanf(text, "%d", &n) == 1 ? n : -1;
}

/* A later turn computes what is new: the first prompt and most of the first answer stay. */
static void turns_reuse_what_is_held(void **state)
{
    (void)state;
    result r = talk("-n 12 --stats", "The cache holds\nAnd then?\n/reset\n"
                                     "The cache holds\n");
    assert_int_equal(r.code, 0);
    assert_int_equal(kept(r.err, 0), 0);
    assert_in_range(kept(r.err, 1), 8, 24);
    assert_in_range(kept(r.err, 2), 6, 12);
    free(r.out);
}

static void a_talk_ends_before_a_stop_string(void **state)
{
    (void)state;
    result whole = talk("-n 16", "The cache holds\n");
    result cut = talk("-n 16 --stop e", "The cache holds\n");
    assert_int_equal(cut.code, 0);
    const char *at = strchr(whole.out, 'e');
    assert_non_null(at);
    assert_int_equal(strlen(cut.out), (size_t)(at - whole.out) + 1); /* and a line's end */
    assert_memory_equal(cut.out, whole.out, (size_t)(at - whole.out));
    free(whole.out);
    free(cut.out);
}

static void what_does_not_go_with_it_is_refused(void **state)
{
    (void)state;
    assert_fails(2, "--chat reads messages from stdin", TALK " -p a </dev/null");
    assert_fails(2, "--chat reads messages from stdin", TALK " --json </dev/null");
    assert_fails(1, "no chat template", "run models/tiny-q8_0.gguf --chat </dev/null");
    assert_says("", "/help\n/exit\nmore\n", "/reset begins a new talk");
}

static void a_talk_that_does_not_fit_begins_anew(void **state)
{
    (void)state;
    assert_says("--ctx 24 -n 4",
                "one two three\nfour five six seven eight nine ten eleven twelve thirteen fourteen "
                "fifteen sixteen seventeen eighteen nineteen\nhi\n",
                "does not fit into a context of 24");
}

/* The first signal ends the answer, and the talk goes on. */
static void an_interrupt_stops_the_answer_alone(void **state)
{
    (void)state;
    int in[2], out[2];
    char byte;
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[1]);
        close(out[0]);
        FILE *quiet = freopen("/dev/null", "w", stderr);
        (void)quiet;
        execl(UMBRA_CLI, UMBRA_CLI, "run", "models/tiny-q8_0.gguf", "--chat", "--template",
              WORK "chat.jinja", "--ignore-eos", "--ctx", "500", "--kernels", "reference",
              (char *)NULL);
        _exit(99);
    }
    close(in[0]);
    close(out[1]);
    assert_int_equal(write(in[1], "The\n", 4), 4);
    assert_int_equal(read(out[0], &byte, 1), 1); /* it has begun to answer */
    kill(child, SIGINT);
    assert_int_equal(write(in[1], "/exit\n", 6), 6);
    while (read(out[0], &byte, 1) == 1)
        ;
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(in[1]);
    close(out[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_the_rendered_prompts),
        cmocka_unit_test(turns_reuse_what_is_held),
        cmocka_unit_test(a_talk_ends_before_a_stop_string),
        cmocka_unit_test(what_does_not_go_with_it_is_refused),
        cmocka_unit_test(a_talk_that_does_not_fit_begins_anew),
        cmocka_unit_test(an_interrupt_stops_the_answer_alone),
    };
    return cmocka_run_group_tests(tests, write_template, NULL);
}
