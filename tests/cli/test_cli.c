/* The program as a user meets it: output, errors, exit codes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../gguf/builder.h"
#include "program.h"
#include "shared.h"

static const char tiny[] = "models/tiny-q8_0.gguf";

static void inspect_tells_the_shape(void **state)
{
    (void)state;
    result r = umbra("inspect %s --json", tiny);
    json_t *j = parse(&r);
    assert_true(json_is_true(json_object_get(j, "runs")));
    assert_string_equal(json_string_value(json_object_get(j, "architecture")), "qwen3moe");
    assert_int_equal(integer(j, "layers"), 8);
    assert_int_equal(integer(j, "experts"), 32);
    assert_int_equal(integer(j, "experts_used"), 4);
    assert_int_equal(integer(j, "bytes_per_expert"), 3 * 17408);
    assert_int_equal(integer(j, "expert_bytes"), 8 * 32 * 3 * 17408);
    assert_int_equal(integer(j, "dense_bytes"), 6411264);
    assert_true(integer(j, "min_budget_bytes") > 6411264);
    assert_int_equal(json_array_size(json_object_get(j, "budgets")), 4);
    json_decref(j);
    r = umbra("inspect %s", tiny);
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.out, "32 per layer, 4 used"));
    assert_non_null(strstr(r.out, "Q8_0"));
    free(r.out);
    r = umbra("inspect %s --ram 24M --json", tiny);
    j = parse(&r);
    const json_t *plan = json_array_get(json_object_get(j, "budgets"), 0);
    assert_int_equal(integer(plan, "ram_bytes"), 24000000);
    double residency = json_real_value(json_object_get(plan, "residency"));
    assert_true(residency > 0.1 && residency < 0.9);
    json_decref(j);
}

/* Of a file that cannot be run it says what it is and why not, and fails. */
static void inspect_tells_what_stands_in_the_way(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "/tmp/umbra-inspect-%d.gguf", (int)getpid());
    umbra_builder b;
    umbra_builder_init(&b, 3);
    umbra_builder_string(&b, "general.architecture", "newest");
    umbra_builder_u32(&b, "newest.expert_count", 160);
    umbra_builder_tensor(&b, "blk.0.attn_mix.weight", 0, 1, (uint64_t[]){64}, NULL);
    umbra_builder_tensor(&b, "blk.0.ffn_up_exps.weight", 0, 3, (uint64_t[]){64, 2, 160}, NULL);
    umbra_builder_finish(&b);
    umbra_builder_write(&b, path);
    umbra_builder_release(&b);
    result r = umbra("inspect %s --json", path);
    assert_int_equal(r.code, 1);
    json_t *j = json_loads(r.out, 0, NULL);
    assert_non_null(j);
    assert_true(json_is_false(json_object_get(j, "runs")));
    assert_string_equal(json_string_value(json_object_get(j, "architecture")), "newest");
    assert_int_equal(integer(j, "experts"), 160);
    assert_int_equal(integer(j, "expert_bytes"), 64 * 2 * 160 * 4);
    const char *obstacle = json_string_value(json_array_get(json_object_get(j, "obstacles"), 0));
    assert_non_null(obstacle ? strstr(obstacle, "no layout") : NULL);
    json_decref(j);
    free(r.out);
    r = umbra("inspect %s", path);
    unlink(path);
    assert_int_equal(r.code, 1);
    assert_non_null(strstr(r.err, "\"newest\" is not supported"));
    static const char *const told[] = {"newest: Umbra cannot run this file",
                                       "no layout",
                                       "tokenizer.ggml.model",
                                       "160 per layer",
                                       "attn_mix, ffn_up_exps",
                                       "50.0%"};
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++)
        if (!strstr(r.out, told[i]))
            fail_msg("\"%s\" is not in: %s", told[i], r.out);
    free(r.out);
}

static void run_writes_the_same_text_at_every_budget(void **state)
{
    (void)state;
    result free_run = umbra("run %s -p 'The cache holds' -n 40", tiny);
    assert_int_equal(free_run.code, 0);
    assert_true(strlen(free_run.out) > 40);
    static const char *const options[] = {"--ram 24M", "--ram 30M -t 1", "--ram 20M --io threads",
                                          "--buffered --ram 22M"};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        result r = umbra("run %s -p 'The cache holds' -n 40 %s", tiny, options[i]);
        assert_int_equal(r.code, 0);
        assert_string_equal(r.out, free_run.out);
        free(r.out);
    }
    result r = umbra("run %s -p 'The cache holds' -n 40 --ram 24M --json", tiny);
    json_t *j = parse(&r);
    const char *text = json_string_value(json_object_get(j, "text"));
    assert_memory_equal(text, free_run.out, strlen(text));
    assert_int_equal(json_array_size(json_object_get(j, "tokens")), 40);
    assert_true(integer(j, "expert_misses") > 0 && integer(j, "expert_hits") > 0);
    assert_true(integer(j, "bytes_read") > 0);
    assert_true(integer(j, "resident_bytes_max") <= integer(j, "cache_bytes"));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(integer(j, "rss_bytes_max") <= 24000000);
#endif
    assert_true(json_number_value(json_object_get(j, "prefill_tok_s")) > 0);
    assert_true(json_number_value(json_object_get(j, "decode_tok_s")) > 0);
    json_decref(j);
    free(free_run.out);
}

/* What `inspect` names as the smallest budget works, one byte less does not, and the process stays
 * inside it. */
static void the_smallest_budget_works(void **state)
{
    (void)state;
    result r = umbra("inspect %s --json", tiny);
    json_t *j = parse(&r);
    json_int_t least = integer(j, "min_budget_bytes");
    json_decref(j);
    r = umbra("run %s -p 'Once' -n 20 --json --ram %lld", tiny, (long long)least);
    j = parse(&r);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(integer(j, "rss_bytes_max") <= least);
#endif
    json_decref(j);
    char wanted[32];
    snprintf(wanted, sizeof wanted, "%lld", (long long)least);
    assert_fails(1, wanted, "run %s -p 'Once' --ram %lld", tiny, (long long)least - 1);
    assert_fails(1, wanted, "score %s --text LICENSE --ctx 512 --ram 1M", tiny);
}

static void stats_and_prompt_files(void **state)
{
    (void)state;
    result r = umbra("run %s --file tests/golden/own-chat.txt -n 8 --stats", tiny);
    assert_int_equal(r.code, 0);
    static const char *const words[] = {"prefill", "decode",   "hits", "misses",
                                        "read",    "resident", "peak"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        assert_non_null(strstr(r.err, words[i]));
    free(r.out);
    result piped = umbra("run %s -f - -n 8 <tests/golden/own-chat.txt", tiny);
    result again = umbra("run %s -f tests/golden/own-chat.txt -n 8", tiny);
    assert_string_equal(piped.out, again.out);
    free(piped.out);
    free(again.out);
    r = umbra("run %s -n 0", tiny); /* no prompt: the model begins */
    assert_int_equal(r.code, 0);
    assert_string_equal(r.out, "");
    free(r.out);
}

static void profiles(void **state)
{
    (void)state;
    result r = umbra("run %s -p 'The cache holds' -n 8 --profile", tiny);
    assert_int_equal(r.code, 0);
    static const char *const words[] = {"prefill of",       "decode of", "attention matrices",
                                        "experts gate, up", "output",    "floor ms"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        assert_non_null(strstr(r.err, words[i]));
    result without = umbra("run %s -p 'The cache holds' -n 8", tiny);
    assert_string_equal(r.out, without.out);
    assert_string_equal(without.err, "");
    free(r.out);
    free(without.out);
    r = umbra("score %s --text tests/golden/own-chat.txt --profile", tiny);
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.err, "prefill of"));
    free(r.out);
}

/* A number that is 0 is what it says, or refused by the option's name and range. */
static void zero_is_a_number(void **state)
{
    (void)state;
    static const struct {
        const char *option, *arguments;
    } refused[] = {
        {"--ram SIZE: at least 1", "run %s -p a --ram 0"},
        {"--ram SIZE: at least 1", "run %s -p a --ram 0.5"},
        {"--ram SIZE: at least 1", "inspect %s --ram 0G"},
        {"--threads N: 1 to 256", "run %s -p a -t 0"},
        {"--ctx N: 1 or more", "score %s --text LICENSE --ctx 0"},
        {"--tokens N: 1 or more", "collect %s -o none -n 0"},
        {"--stride N: 1 to 1024", "collect %s -o none --stride 0"},
        {"--tokens N: 1 or more", "eval %s -n 0"},
        {"--residency 0.5,: shares", "eval %s --residency 0.5,"},
        {"--residency 0: shares", "eval %s --residency 0"},
        {"--residency 0.3,1.1: shares", "eval %s --residency 0.3,1.1"},
        {"--residency nan: shares", "eval %s --residency nan"},
        {"--tokens N: 1 or more", "quantize-shadow %s b -n 0"},
        {"--epochs N: 1 to", "train %s -o none --epochs 0"},
        {"--hidden N: 1 to", "train %s -o none --hidden 0"},
        {"--batch N: 1 to", "train %s -o none --batch 0"},
        {"--lr X: 1e-09 to 10", "train %s -o none --lr 0"},
        {"--val SHARE: 1e-06 to 0.9", "train %s -o none --val 0"},
        {"--top-p P: 0 to 1", "run %s -p a --top-p 1.5"},
        {"--top-p P: 0 to 1", "run %s -p a --top-p -0.5"},
        {"--temp T: 0 to 100", "run %s -p a --temp 101"},
        {"--temp T: 0 to 100", "run %s -p a --temp nan"},
        {"--pin PERCENT: 0 to 50", "run %s -p a --pin 51"},
        {"--top K: 0 to 1000", "score %s --text LICENSE --top 1001"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        char arguments[256];
        const char *model = strstr(refused[i].arguments, "%s");
        snprintf(arguments, sizeof arguments, "%.*s%s%s", (int)(model - refused[i].arguments),
                 refused[i].arguments, tiny, model + 2);
        assert_fails(2, refused[i].option, "%s", arguments);
    }
    result r = umbra("run %s -p 'The cache' -n 0 --json --ignore-eos", tiny);
    json_t *j = parse(&r);
    assert_int_equal(json_array_size(json_object_get(j, "tokens")), 0);
    assert_true(integer(j, "prompt_tokens") > 0);
    json_decref(j);
    result greedy = umbra("run %s -p 'The cache' -n 12", tiny);
    r = umbra("run %s -p 'The cache' -n 12 --temp 1 --top-p 0 --seed 5", tiny);
    assert_string_equal(r.out, greedy.out);
    free(r.out);
    free(greedy.out);
}

static void sizes_as_people_write_them(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        json_int_t bytes;
    } sizes[] = {
        {"8G", 8000000000},      {"8g", 8000000000},     {"8GB", 8000000000},
        {"8 GB", 8000000000},    {"8gb", 8000000000},    {"8Gi", 8589934592},
        {"8GiB", 8589934592},    {"8gib", 8589934592},   {"8 GiB", 8589934592},
        {"0.5Ti", 549755813888}, {"64000000", 64000000}, {"64000000B", 64000000},
        {"1e9", 1000000000},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        result r = umbra("inspect %s --ram '%s' --json", tiny, sizes[i].text);
        json_t *j = parse(&r);
        const json_t *plan = json_array_get(json_object_get(j, "budgets"), 0);
        assert_int_equal(integer(plan, "ram_bytes"), sizes[i].bytes);
        json_decref(j);
    }
    static const char *const wrong[] = {"8X", "8GG", "8iB", "G", "-1G", "8 G B", "inf", "nan", ""};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_fails(2, "--ram SIZE", "inspect %s --ram '%s'", tiny, wrong[i]);
}

static void a_command(const char *line)
{
    if (system(line) != 0)
        fail_msg("%s", line);
}

/* What nobody named is told of and passed over; what was named is an error. */
static void a_damaged_shadow_is_passed_over(void **state)
{
    (void)state;
    static const char model[] = UMBRA_TEST_DIR "/passed.gguf";
    static const char shadow[] = UMBRA_TEST_DIR "/passed.shadow.safetensors";
    char line[1024];
    snprintf(line, sizeof line, "ln -sf \"$PWD/%s\" %s", tiny, model);
    a_command(line);
    static const char *const damages[] = {"echo garbage >$S", ": >$S", "rm $S && mkdir $S",
                                          "rmdir $S && head -c 999 models/tiny-q8_0.gguf >$S"};
    setenv("S", shadow, 1);
    result plain = umbra("run %s -p 'The cache' -n 5", tiny);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        a_command(damages[i]);
        result r = umbra("run %s -p 'The cache' -n 5", model);
        assert_int_equal(r.code, 0);
        assert_string_equal(r.out, plain.out);
        assert_non_null(strstr(r.err, "warning"));
        assert_non_null(strstr(r.err, "passed.shadow.safetensors"));
        assert_non_null(strstr(r.err, "going on without it"));
        free(r.out);
        assert_fails(1, "passed.shadow.safetensors", "run %s -p a -n 2 --shadow %s", model, shadow);
    }
    free(plain.out);
}

static void score_gives_every_position(void **state)
{
    (void)state;
    result r = umbra("score %s --text tests/golden/own-chat.txt tests/golden/own-code.txt --top 3 "
                     "--experts --json",
                     tiny);
    json_t *j = parse(&r);
    const json_t *files = json_object_get(j, "files");
    assert_int_equal(json_array_size(files), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *file = json_array_get(files, i);
        size_t n = json_array_size(json_object_get(file, "tokens"));
        assert_int_equal(n, i == 0 ? 46 : 74);
        assert_int_equal(json_array_size(json_object_get(file, "lse")), n);
        const json_t *top = json_object_get(file, "top"),
                     *experts = json_object_get(file, "experts");
        assert_int_equal(json_array_size(top), n);
        assert_int_equal(json_array_size(json_array_get(top, 0)), 3);
        assert_int_equal(json_array_size(experts), 8);
        assert_int_equal(json_array_size(json_array_get(experts, 7)), n);
        assert_int_equal(json_array_size(json_array_get(json_array_get(experts, 7), n - 1)), 4);
        assert_true(json_number_value(json_object_get(file, "nll_mean")) > 0);
    }
    json_decref(j);
    r = umbra("score %s --text tests/golden/own-chat.txt", tiny);
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.out, "46 tokens"));
    free(r.out);
}

static void score_is_bit_identical(void **state)
{
    (void)state;
    static const char *const options[] = {"-t 1", "-t 2", "--ram 25M -t 1", "--ram 22M -t 2",
                                          "--ram 20M -t 2"};
    char *expected = NULL;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        result r = umbra("score %s --text tests/golden/own-mixed.txt --top 8 --experts --json %s",
                         tiny, options[i]);
        json_t *j = parse(&r);
        json_t *file = json_array_get(json_object_get(j, "files"), 0);
        json_object_del(file, "tok_s");
        char *text = json_dumps(file, JSON_REAL_PRECISION(17));
        json_decref(j);
        if (!expected)
            expected = text;
        else
            assert_string_equal(text, expected);
        if (text != expected)
            free(text);
    }
    free(expected);
}

static void misuse_is_explained(void **state)
{
    (void)state;
    assert_fails(2, "usage", "%s", "");
    assert_fails(2, "no command", "fly");
    assert_fails(2, "unknown option", "run %s --fast", tiny);
    assert_fails(2, "needs a value", "run %s --ram", tiny);
    assert_fails(2, "not a valid value", "run %s --ram 8X", tiny);
    assert_fails(2, "not a valid value", "run %s -n -3", tiny);
    assert_fails(2, "missing", "run");
    assert_fails(2, "a name is empty, wanted: MODEL", "inspect ''");
    assert_fails(2, "a name is empty", "eval ''");
    assert_fails(2, "a name is empty", "train '' -o /nonexistent/s");
    assert_fails(2, "\"\" is not a valid value for --file FILE", "run %s -f ''", tiny);
    assert_fails(2, "--usage FILE", "run %s -p a --usage ''", tiny);
    assert_fails(2, "--output DIR", "collect %s -o ''", tiny);
    assert_fails(2, "a word is empty after the option: --text", "score %s --text ''", tiny);
    assert_fails(2, "too many", "inspect a b");
    assert_fails(2, "--text", "score %s", tiny);
    assert_fails(2, "\"turbo\" is not a valid value for --kernels auto|", "run %s --kernels turbo",
                 tiny);
    assert_fails(2, "--io auto|uring|threads", "run %s --io=aut", tiny);
    assert_fails(2, "missing", "bench");
    assert_fails(2, "no command \"bench fly\"", "help bench fly");
    assert_fails(2, "no command \"fly\"", "help --man fly");
    assert_fails(2, "not both", "run %s -p a -f b", tiny);
    assert_fails(1, "no/such/file", "inspect no/such/file");
    assert_fails(1, "not a GGUF", "inspect README.md");
    assert_fails(1, "no/such/text", "score %s --text no/such/text", tiny);
    assert_fails(1, "do not fit", "run %s -p a -n 600", tiny);
    result r = umbra("help run");
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.out, "--top-p"));
    free(r.out);
    r = umbra("help bench");
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.out, "bench predictor"));
    free(r.out);
    r = umbra("--version");
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.out, "reference"));
    assert_non_null(strstr(r.out, "io_uring"));
    free(r.out);
}

/* Ctrl-C while it writes: it ends soon, cleanly, with the code of an interruption. */
/* What would act on a terminal is shown, not sent to it. */
static void words_are_printed_plainly(void **state)
{
    (void)state;
    assert_fails(2, "\\x1b[31mfly", "'\033[31mfly'");
    assert_fails(2, "\\x1b[31mfly", "help '\033[31mfly'");
    assert_fails(2, "\\x1b[31mfast", "run %s '--\033[31mfast'", tiny);
    assert_fails(2, "\\x1b[31m8G", "run %s --ram '\033[31m8G'", tiny);
    assert_fails(2, "\\x1b[31mb", "run %s '\033[31mb'", tiny);
    assert_fails(2, "\\x1b[31m8", "bench %s --ram '\033[31m8'", tiny);
    assert_fails(1, "no\\x1b[31m/text", "score %s --text 'no\033[31m/text'", tiny);
}

/* No file is read further than there is use for it: those without an end are refused. */
static void files_without_an_end_are_refused(void **state)
{
    (void)state;
    assert_fails(1, "/dev/zero: cannot read: it has more than 525.3 kB", "run %s -f /dev/zero",
                 tiny);
    assert_fails(1, "it has more than 3.75 MB", "score %s --text /dev/zero --ram 30M", tiny);
    assert_fails(1, "it has more than 65.", "run %s --ctx 63 -f - </dev/zero", tiny);
    assert_fails(1, "cannot read: it has more than", "template /dev/zero /dev/null");
    assert_fails(1, "no chat template", "template %s /dev/zero", tiny);
}

/* A file that is none is refused before there is a text that it could not count. */
static void a_file_that_counts_no_experts_is_refused(void **state)
{
    (void)state;
    result r = umbra("run %s -p a -n 2 --usage README.md", tiny);
    assert_int_equal(r.code, 1);
    assert_string_equal(r.out, "");
    assert_non_null(strstr(r.err, "README.md: this is no usage file"));
    free(r.out);
}

static void interrupts_end_cleanly(void **state)
{
    (void)state;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        close(pipes[0]);
        FILE *quiet = freopen("/dev/null", "w", stderr);
        (void)quiet;
        execl(UMBRA_CLI, UMBRA_CLI, "run", tiny, "-p", "The", "-n", "500", "--ignore-eos",
              "--kernels", "reference", (char *)NULL);
        _exit(99);
    }
    close(pipes[1]);
    char byte;
    assert_int_equal(read(pipes[0], &byte, 1), 1); /* it has begun to write */
    kill(child, SIGINT);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 130);
    close(pipes[0]);
}

static void a_full_disk_is_reported(void **state)
{
    (void)state;
    assert_fails(1, "cannot write", "run %s -p a -n 4 --json >/dev/full", tiny);
}

static void bench_writes_a_report(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "/tmp/umbra-bench-%ld.html", (long)getpid());
    result r = umbra("bench %s --ram 24M --policy off gate --rounds 1 -n 4 --warm 1 --json "
                     "--report %s",
                     tiny, path);
    json_t *j = parse(&r);
    assert_int_equal(json_array_size(json_object_get(j, "rows")), 3);
    json_decref(j);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char begin[16] = "";
    assert_int_equal(fread(begin, 1, 15, f), 15);
    assert_string_equal(begin, "<!DOCTYPE html>");
    fclose(f);
    unlink(path);
    assert_fails(1, "/nonexistent/r.html.part: cannot create",
                 "bench %s --ram 24M --policy off --rounds 1 -n 2 --warm 1 --report "
                 "/nonexistent/r.html",
                 tiny);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inspect_tells_the_shape),
        cmocka_unit_test(inspect_tells_what_stands_in_the_way),
        cmocka_unit_test(run_writes_the_same_text_at_every_budget),
        cmocka_unit_test(the_smallest_budget_works),
        cmocka_unit_test(stats_and_prompt_files),
        cmocka_unit_test(profiles),
        cmocka_unit_test(zero_is_a_number),
        cmocka_unit_test(sizes_as_people_write_them),
        cmocka_unit_test(a_damaged_shadow_is_passed_over),
        cmocka_unit_test(score_gives_every_position),
        cmocka_unit_test(score_is_bit_identical),
        cmocka_unit_test(misuse_is_explained),
        cmocka_unit_test(words_are_printed_plainly),
        cmocka_unit_test(files_without_an_end_are_refused),
        cmocka_unit_test(a_file_that_counts_no_experts_is_refused),
        cmocka_unit_test(interrupts_end_cleanly),
        cmocka_unit_test(a_full_disk_is_reported),
        cmocka_unit_test(bench_writes_a_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
