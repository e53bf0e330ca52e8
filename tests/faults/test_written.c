/* What commands write: where, with which rights, and what is done where something else stands in
 * the way. */
#include "faults.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

/* Beside the commands that faults are tried on: a program of another's is the one that runs here.
 */
static const command recording = {.line = "under --experts 600K --io threads --collect " OUT
                                          "/trace -- " UMBRA_HOST " " MODEL,
                                  .output = OUT "/trace"};

/* All that may write, i from 0; NULL: no more. */
static const command *command_at(int i)
{
    return i < n_commands ? &commands[i] : i == n_commands ? &recording : NULL;
}

/* The next that is asked to write, from *i on. */
static const command *next_writer(int *i)
{
    const command *c;
    while ((c = command_at((*i)++)) != NULL && !c->output)
        ;
    return c;
}

static void replace_output(const command *c, const char *by)
{
    char line[1200];
    remove_output(c);
    snprintf(line, sizeof line, by, c->output);
    shell(line);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        fail_msg("%s is not there", path);
    return st.st_mode;
}

static void expect_modes(const char *path, mode_t files, mode_t folders)
{
    mode_t mode = mode_of(path);
    assert_int_equal(mode & 07777, S_ISDIR(mode) ? folders : files);
    DIR *d = S_ISDIR(mode) ? opendir(path) : NULL;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        char inside[1200];
        snprintf(inside, sizeof inside, "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.')
            expect_modes(inside, files, folders);
    }
    if (d)
        closedir(d);
}

static void rights_are_the_umask_s(void **state)
{
    (void)state;
    static const mode_t masks[] = {0, 027, 077};
    const command *c;
    for (int m = 0; m < 3; m++)
        for (int i = 0; (c = next_writer(&i)) != NULL;) {
            remove_output(c);
            mode_t before = umask(masks[m]);
            run_good(c->line);
            umask(before);
            expect_modes(c->output, 0666 & ~masks[m], 0777 & ~masks[m]);
        }
}

static bool makes_folder(const command *c)
{
    return c == &recording || strncmp(c->line, "collect", 7) == 0;
}

/* A program that is recorded goes on without. */
static void expect_refusal(const command *c, const char *why, const char *words)
{
    inject_result r = run_line(c->line, &(inject){.seconds = 20});
    bool refused = c == &recording ? r.code == 0 : r.code == 1 || r.code == 2;
    if (r.late || !refused || !file_says(TOLD, words)) {
        (void)!system("cat " TOLD " >&2");
        fail_msg("%s: exit code %d: umbra %s", why, r.code, c->line);
    }
}

/* A folder, a pipe, a link that leads nowhere. */
static void what_stands_in_the_way(void **state)
{
    (void)state;
    const command *c;
    for (int i = 0; (c = next_writer(&i)) != NULL;) {
        replace_output(c, "mkfifo '%s'");
        expect_refusal(c, "a pipe", c->output);
        assert_true(S_ISFIFO(mode_of(c->output)));
        replace_output(c, "ln -s /nowhere/at/all '%s'");
        expect_refusal(c, "a link that leads nowhere", c->output);
        assert_true(S_ISLNK(mode_of(c->output)));
        if (makes_folder(c)) {
            replace_output(c, "echo mine >'%s'");
            expect_refusal(c, "a file", c->output);
            assert_true(file_says(c->output, "mine"));
        } else {
            replace_output(c, "mkdir '%s'");
            expect_refusal(c, "a folder", c->output);
            assert_true(S_ISDIR(mode_of(c->output)));
        }
    }
}

/* In place of the server's folder of states. */
static void what_stands_for_states(void **state)
{
    (void)state;
#ifdef UMBRA_SERVES
    static const command serve = {.line = "serve " MODEL
                                          " --port 0 --no-probe --ram 40M --state " OUT "/states",
                                  .output = OUT "/states"};
    static const char *const others[] = {"mkfifo '%s'", "ln -s /nowhere/at/all '%s'",
                                         "echo mine >'%s'"};
    for (int i = 0; i < 3; i++) {
        replace_output(&serve, others[i]);
        mode_t before = mode_of(serve.output);
        expect_refusal(&serve, others[i], serve.output);
        assert_int_equal(mode_of(serve.output), before);
    }
    assert_true(file_says(serve.output, "mine"));
#else
    skip();
#endif
}

static void a_link_stays_one(void **state)
{
    (void)state;
    const command *c;
    for (int i = 0; (c = next_writer(&i)) != NULL;) {
        if (strstr(c->line, "--usage")) /* is read before, so it needs one of its own */
            continue;
        bool folder = makes_folder(c);
        shell("rm -rf '" WORK "/elsewhere'");
        shell(folder ? "mkdir '" WORK "/elsewhere'" : "echo what was there >'" WORK "/elsewhere'");
        replace_output(c, "ln -s '" WORK "/elsewhere' '%s'");
        run_good(c->line);
        assert_true(S_ISLNK(mode_of(c->output)));
        assert_false(file_says(WORK "/elsewhere", "what was there"));
    }
    shell("rm -rf '" WORK "/elsewhere'");
}

static void a_link_to_counts_stays_one(void **state)
{
    (void)state;
    const command *c = command_of("run " MODEL " -p the -n 6 --ignore-eos -t 2 --usage");
    remove_output(c);
    run_good(c->line);
    shell("mv '" OUT "/usage.json' '" WORK "/elsewhere'");
    uint64_t before = hash_of(WORK "/elsewhere");
    replace_output(c, "ln -s '" WORK "/elsewhere' '%s'");
    run_good(c->line);
    assert_true(S_ISLNK(mode_of(c->output)));
    assert_true(hash_of(WORK "/elsewhere") != before);
    shell("rm '" WORK "/elsewhere'");
}

/* Where the name of an unfinished file is taken by what is none, nothing is written through it. */
static void what_stands_for_an_unfinished_file(void **state)
{
    (void)state;
    static const char *const others[] = {"mkfifo '%s.part'", "mkdir '%s.part'",
                                         "ln -s '" WORK "/elsewhere' '%s.part'"};
    const command *c;
    shell("echo mine >'" WORK "/elsewhere'");
    for (int k = 0; k < 3; k++)
        for (int i = 0; (c = next_writer(&i)) != NULL;) {
            if (makes_folder(c)) /* its unfinished files lie in that folder */
                continue;
            replace_output(c, others[k]);
            expect_refusal(c, others[k], c->output);
            assert_int_equal(access(c->output, F_OK), -1);
            assert_true(file_says(WORK "/elsewhere", "mine"));
        }
    shell("rm '" WORK "/elsewhere'");
}

/* Names and bytes of all but what was asked for. */
static uint64_t hash_of_inputs(void)
{
    static const char *const inputs[] = {MODEL, WORK "/trace", WORK "/held", WORK "/shadow.st"};
    uint64_t sum = 0;
    int n = 0;
    for (int i = 0; i < 4; i++)
        sum = sum * 31 + hash_of(inputs[i]);
    DIR *d = opendir(WORK);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return sum * 31 + (uint64_t)n;
}

static void nothing_is_written_beside_the_model(void **state)
{
    (void)state;
    run_good(commands[0].line); /* its output's files are there now */
    uint64_t before = hash_of_inputs();
    const command *c;
    for (int i = 0; (c = command_at(i)) != NULL; i++) {
        remove_output(c);
        run_good(c->line);
        if (hash_of_inputs() != before)
            fail_msg("umbra %s writes elsewhere", c->line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rights_are_the_umask_s),
        cmocka_unit_test(what_stands_in_the_way),
        cmocka_unit_test(what_stands_for_states),
        cmocka_unit_test(a_link_stays_one),
        cmocka_unit_test(a_link_to_counts_stays_one),
        cmocka_unit_test(what_stands_for_an_unfinished_file),
        cmocka_unit_test(nothing_is_written_beside_the_model),
    };
    return cmocka_run_group_tests(tests, faults_set_up, faults_tear_down);
}
