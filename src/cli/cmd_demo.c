/* umbra demo: the whole way, as the command lines that a user would type. Each runs as a process of
 * its own, so that what is shown is what it does, and the memory that one has used does not count
 * against the budget of the next. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

static const char default_model[] = "models/tiny-q8_0.gguf";
static const char mark[] = "made-by-umbra-demo"; /* a folder with this file may be emptied */
static const char prompt[] = "The cache holds";

/* A disk that is to the embedded model, which computes a token in a millisecond or less, about what
 * an SSD is to a model that fills a computer: reading takes about as long as computing. */
static const char slow_disk[] = "sim:500M,20us";

enum { MOST_WORDS = 32, STAGES = 7, RING = 16 };

/* How much of everything. */
typedef struct amounts {
    int train_tokens, test_tokens, epochs, new_tokens, rounds, timed_tokens;
} amounts;

static const amounts whole = {16000, 5000, 3, 96, 5, 96};
static const amounts less = {3000, 1500, 1, 48, 3, 32};

typedef struct demo {
    const char *model, *folder;
    const amounts *n;
    char ram[32]; /* budget that keeps a third of the experts, as for --ram */
    int stage;
} demo;

/* ---- one command ---- */

static volatile sig_atomic_t child; /* that runs now, or 0 */
static volatile sig_atomic_t stopped;

/* A terminal's Ctrl-C reaches the child by itself; a signal from a process is handed on. */
static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    stopped = 1;
    if (child > 0 && info->si_code <= 0)
        kill((pid_t)child, number);
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int failed(const char *what, int error)
{
    fprintf(stderr, "umbra demo: %s: %s\n", what, strerror(error));
    return EXIT_FAILED;
}

/* A text that lasts until RING more have been made: no stage makes so many. */
__attribute__((format(printf, 1, 2))) static const char *text(const char *format, ...)
{
    static char ring[RING][PATH_MAX];
    static int next;
    char *out = ring[next++ % RING];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(out, sizeof ring[0], format, arguments);
    va_end(arguments);
    return out;
}

/* For where the command that ran did not say it. */
static int interrupted(void)
{
    fputs("umbra: interrupted\n", stderr);
    return EXIT_INTERRUPTED;
}

static int wait_for_child(const char *command)
{
    int status;
    while (waitpid((pid_t)child, &status, 0) < 0)
        if (errno != EINTR)
            return failed("waiting", errno);
    child = 0;
    bool said = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_INTERRUPTED;
    if (stopped) /* a command that has only begun dies of the signal, without a word */
        return said ? EXIT_INTERRUPTED : interrupted();
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    fprintf(stderr, "umbra demo: umbra %s was ended by signal %d%s\n", command, WTERMSIG(status),
            WTERMSIG(status) == SIGKILL ? "; was there too little memory?" : "");
    return EXIT_FAILED;
}

/* Shows a command line and runs it; words end with NULL. What it writes to the descriptor goes to
 * the file `to`, unless that is NULL. Returns its exit code. */
static int run(const char *const *words, int descriptor, const char *to)
{
    char *argv[MOST_WORDS + 2] = {(char[]){"umbra"}};
    fputs("$ umbra", stdout);
    for (int i = 0; i < MOST_WORDS && words[i]; i++) {
        argv[i + 1] = (char *)words[i];
        printf(strpbrk(words[i], " ") ? " \"%s\"" : " %s", words[i]);
    }
    putchar('\n');
    fflush(stdout);
    if (stopped)
        return interrupted();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (to)
        posix_spawn_file_actions_addopen(&actions, descriptor, to, O_WRONLY | O_CREAT | O_TRUNC,
                                         0666);
    pid_t pid;
    int error = posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error)
        return failed("cannot start umbra", error);
    child = pid;
    if (stopped)
        kill(pid, SIGTERM);
    return wait_for_child(words[0]);
}

#define RUN(descriptor, to, ...) run((const char *const[]){__VA_ARGS__, NULL}, descriptor, to)

static void begin(demo *d, const char *name, const char *why)
{
    printf("\n== %d/%d %s: %s ==\n", ++d->stage, STAGES, name, why);
}

/* ---- the stages ---- */

static int inspect(demo *d)
{
    begin(d, "inspect", "what the file holds, and how much of it a budget keeps in memory");
    return RUN(-1, NULL, "inspect", d->model);
}

static int collect(demo *d)
{
    begin(d, "collect", "the model writes; its layers' states and experts are recorded");
    int code = RUN(-1, NULL, "collect", d->model, "-o", text("%s/traces", d->folder), "--tokens",
                   text("%d", d->n->train_tokens), "--seed", "1");
    if (code == EXIT_DONE)
        code = RUN(-1, NULL, "collect", d->model, "-o", text("%s/unseen", d->folder), "--tokens",
                   text("%d", d->n->test_tokens), "--seed", "2");
    return code;
}

static int copy_to_stderr(const char *path)
{
    char *bytes;
    size_t n;
    int code = cli_read_file(path, CLI_MOST_TEXT_BYTES, &bytes, &n);
    if (code == EXIT_DONE)
        fwrite(bytes, 1, n, stderr);
    free(bytes);
    return code;
}

static int train(demo *d)
{
    begin(d, "train", "a small network per layer learns which experts the next layers will use");
    const char *log = text("%s/train.log", d->folder);
    int code = RUN(STDERR_FILENO, log, "train", text("%s/traces", d->folder), "-o",
                   text("%s/shadow.safetensors", d->folder), "--epochs", text("%d", d->n->epochs));
    if (code != EXIT_DONE && code != EXIT_INTERRUPTED)
        copy_to_stderr(log);
    return code;
}

static int evaluate(demo *d)
{
    begin(d, "eval", "every predictor is judged on documents that the shadow never saw");
    return RUN(-1, NULL, "eval", text("%s/unseen", d->folder), "--shadow",
               text("%s/shadow.safetensors", d->folder), "--model", d->model, "--residency", "0.5",
               "--walk-tokens", "200", "--report", text("%s/eval.html", d->folder));
}

/* Continues the prompt; the text is in the file `to`. */
static int write_text(const demo *d, const char *prefetch, const char *ram, const char *to)
{
    const char *words[MOST_WORDS] = {"run",  d->model, "-p",
                                     prompt, "-n",     text("%d", d->n->new_tokens)};
    int n = 6;
    if (ram) {
        words[n++] = "--ram";
        words[n++] = ram;
        words[n++] = "--stats";
    }
    words[n++] = "--draft"; /* so that the difference is reading ahead's alone */
    words[n++] = "off";
    words[n++] = "--prefetch";
    words[n++] = prefetch;
    if (strcmp(prefetch, "shadow") == 0) {
        words[n++] = "--shadow";
        words[n++] = text("%s/shadow.safetensors", d->folder);
    }
    return run(words, STDOUT_FILENO, to);
}

/* Prints the text if all files hold the same. */
static int compare(const char *const *paths, int n)
{
    char *first = NULL, *other = NULL;
    size_t first_bytes, bytes;
    int code = cli_read_file(paths[0], CLI_MOST_TEXT_BYTES, &first, &first_bytes);
    for (int i = 1; code == EXIT_DONE && i < n; i++) {
        code = cli_read_file(paths[i], CLI_MOST_TEXT_BYTES, &other, &bytes);
        if (code == EXIT_DONE && (bytes != first_bytes || memcmp(first, other, bytes) != 0)) {
            fprintf(stderr, "umbra demo: %s and %s differ; please report it\n", paths[0], paths[i]);
            code = EXIT_FAILED;
        }
        free(other);
    }
    if (code == EXIT_DONE)
        printf("All %d wrote the same text:\n%s%s", n, prompt, first);
    free(first);
    return code;
}

static int generate(demo *d)
{
    begin(d, "run", "a third of the experts in memory, reading ahead off and on: the same text");
    const char *const files[] = {text("%s/all.txt", d->folder), text("%s/off.txt", d->folder),
                                 text("%s/ahead.txt", d->folder), text("%s/on.txt", d->folder)};
    int code = write_text(d, "off", NULL, files[0]);
    if (code == EXIT_DONE)
        code = write_text(d, "off", d->ram, files[1]);
    if (code == EXIT_DONE) /* the model itself, run ahead: nothing was trained for it */
        code = write_text(d, "runahead", d->ram, files[2]);
    if (code == EXIT_DONE)
        code = write_text(d, "shadow", d->ram, files[3]);
    return code == EXIT_DONE ? compare(files, 4) : code;
}

static int bench(demo *d)
{
    begin(d, "bench",
          "what reading ahead gains or loses, on this disk and on a simulated slow one");
    int code =
        RUN(-1, NULL, "bench", d->model, "--ram", d->ram, "--io", "auto", slow_disk, "--policy",
            "off", "gate", "runahead", "shadow", "auto", "oracle", "--shadow",
            text("%s/shadow.safetensors", d->folder), "--rounds", text("%d", d->n->rounds), "-n",
            text("%d", d->n->timed_tokens), "--report", text("%s/bench.html", d->folder));
    if (code == EXIT_DONE)
        puts("A minus means that reading ahead lost. It can win where reading takes about as long "
             "as\ncomputing (I near C); auto leaves it where it does not pay.");
    return code;
}

static int reports(demo *d)
{
    begin(d, "reports", "the same figures with charts, to open in a browser");
    printf("%s/eval.html   which experts each predictor finds, how far ahead, how surely\n"
           "%s/bench.html  speed of every policy, what limits it, one token's timeline\n",
           d->folder, d->folder);
    return EXIT_DONE;
}

/* ---- the folder ---- */

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    return place->level > 0 ? remove(path) : 0;
}

/* Makes the folder, or empties what an earlier demo left in it. */
static int prepare_folder(const char *folder)
{
    const char *marked = text("%s/%s", folder, mark);
    if (strlen(folder) > PATH_MAX / 2)
        return failed(folder, ENAMETOOLONG);
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return failed(folder, errno);
    if (access(marked, F_OK) == 0)
        nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    int fd = -1;
    if (rmdir(folder) == 0 && mkdir(folder, 0777) == 0) /* it was empty */
        fd = open(marked, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd >= 0) {
        close(fd);
        return EXIT_DONE;
    }
    if (errno != ENOTEMPTY && errno != EEXIST)
        return failed(folder, errno);
    fprintf(stderr,
            "umbra demo: %s holds files that are not of a demo; name another folder with -o DIR\n",
            folder);
    return EXIT_MISUSE;
}

/* The budget that keeps a third of the experts in memory. */
static int plan_budget(demo *d)
{
    umbra_error err = {0};
    umbra_model *model;
    if (d->model == default_model && access(d->model, R_OK) != 0) {
        fprintf(stderr,
                "umbra demo: %s is not here; run it in the folder of Umbra's sources, or name a "
                "model with --model FILE\n",
                d->model);
        return EXIT_FAILED;
    }
    if (umbra_model_open(&model, d->model, &err) != UMBRA_OK)
        return cli_fail(&err);
    const umbra_engine_options engine = {0};
    umbra_memory_plan plan;
    int rc = cli_plan_residency(model, &engine, 1.0 / 3, &plan, &err);
    snprintf(d->ram, sizeof d->ram, "%.1fM", (double)plan.ram_bytes * 1e-6);
    umbra_model_close(&model);
    return rc == UMBRA_OK ? EXIT_DONE : cli_fail(&err);
}

static int go_through(demo *d)
{
    static int (*const stages[STAGES])(demo *) = {inspect,  collect, train,  evaluate,
                                                  generate, bench,   reports};
    time_t start = time(NULL);
    int code = plan_budget(d);
    if (code == EXIT_DONE)
        code = prepare_folder(d->folder);
    catch_signals();
    for (int i = 0; code == EXIT_DONE && i < STAGES; i++)
        code = stages[i](d);
    if (code == EXIT_DONE)
        printf("\ndone in %lld s; next: your own model, as examples/README.md shows\n",
               (long long)(time(NULL) - start));
    else if (code != EXIT_INTERRUPTED && d->stage > 0)
        fprintf(stderr, "umbra demo: the last command failed (exit code %d)\n", code);
    return code;
}

int cli_demo(int argc, char **argv)
{
    demo d = {.model = default_model, .n = &whole};
    bool fast = false;
    const cli_option options[] = {
        {"--model", 0, CLI_TEXT, "FILE", "model to show it on (default: models/tiny-q8_0.gguf)",
         &d.model},
        {"--output", 'o', CLI_TEXT, "DIR",
         "folder for traces, shadow model and reports; what an earlier demo left there is removed "
         "(default: build/demo, or umbra-demo where there is no folder build)",
         &d.folder},
        {"--quick", 0, CLI_FLAG, NULL, "less text and fewer rounds: under a minute", &fast},
        {0},
    };
    const cli_syntax syntax = {
        "demo",
        "",
        "Goes the whole way from a model file to reading ahead, and shows the command lines: "
        "inspect, collect, train, eval, run with reading ahead off and on, bench, and both "
        "reports. Takes one to four minutes on two cores with the embedded model.",
        options,
        0,
        "umbra demo\n"
        "umbra demo --quick\n"
        "umbra demo --model MODEL.gguf -o my-demo\n"};
    int code = cli_parse(&syntax, argc, argv, NULL);
    if (code >= 0)
        return code;
    if (!d.folder)
        d.folder = access("build", W_OK) == 0 ? "build/demo" : "umbra-demo";
    d.n = fast ? &less : &whole;
    return go_through(&d);
}
