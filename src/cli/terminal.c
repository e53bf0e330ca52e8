/* Errors, progress and interruption on the terminal. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/quote.h"
#include "cli/cli.h"

int cli_fail(const umbra_error *err)
{
    cli_progress_end();
    if (err->status == UMBRA_E_INTERRUPTED) {
        fputs("umbra: interrupted\n", stderr);
        return EXIT_INTERRUPTED;
    }
    fprintf(stderr, "umbra: %s\n", err->message);
    return err->status == UMBRA_E_ARGUMENT ? EXIT_MISUSE : EXIT_FAILED;
}

int cli_fail_text(void)
{
    const umbra_error err = {.status = UMBRA_E_NOMEM, .message = "no memory for the text"};
    return ferror(stdout) ? EXIT_FAILED : cli_fail(&err); /* the end says that it cannot write */
}

void cli_warn_budget(const umbra_model *model, const umbra_engine_options *options)
{
    umbra_memory_plan plan;
    if (umbra_engine_plan(model, options, &plan, NULL) == UMBRA_OK && plan.memory_note[0] != '\0')
        fprintf(stderr, "umbra: warning: %s\n", plan.memory_note);
}

void cli_warn_without(void *user, const char *message)
{
    (void)user;
    cli_progress_end();
    fprintf(stderr, "umbra: warning: %s; going on without it\n", message);
}

/* ---- progress ---- */

static atomic_bool interrupted;
static volatile sig_atomic_t last_signal;

typedef struct progress_line {
    const char *stage;
    double started, shown; /* seconds; shown 0: nothing on the line */
    uint64_t first;        /* `done` when the stage began */
} progress_line;

static progress_line line;
static double bytes_per_unit;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void on_signal(int number)
{
    last_signal = number;
    atomic_store(&interrupted, true);
    signal(number, SIG_DFL); /* a second one ends the process */
}

static void print_amount(uint64_t amount, const char *unit)
{
    if (strcmp(unit, "bytes") == 0)
        fputs(cli_size(amount), stderr);
    else
        fprintf(stderr, "%llu", (unsigned long long)amount);
}

static void report(void *user, const char *stage, const char *unit, uint64_t done, uint64_t total)
{
    (void)user;
    double t = now();
    if (!line.stage || strcmp(line.stage, stage) != 0)
        line = (progress_line){stage, t, line.shown, done};
    if (t - line.started < 1 || t - line.shown < 0.2 || !isatty(STDERR_FILENO))
        return;
    line.shown = t;
    double rate = (double)(done - line.first) / (t - line.started);
    fprintf(stderr, "\r\033[K%s: ", stage);
    print_amount(done, unit);
    if (total > 0) {
        fputs(" of ", stderr);
        print_amount(total, unit);
    }
    fprintf(stderr, "%s, ", strcmp(unit, "bytes") == 0 ? "" : unit);
    if (strcmp(unit, "bytes") == 0)
        fprintf(stderr, "%s/s", cli_size((uint64_t)rate));
    else
        fprintf(stderr, "%.1f/s", rate);
    if (bytes_per_unit > 0)
        fprintf(stderr, ", %s", cli_size((uint64_t)((double)done * bytes_per_unit)));
    if (total > done && rate > 0)
        fprintf(stderr, ", %.0f s left", (double)(total - done) / rate);
}

void cli_progress_scale(double bytes)
{
    bytes_per_unit = bytes;
}

void cli_progress_end(void)
{
    if (line.shown > 0)
        fputs("\r\033[K", stderr);
    line = (progress_line){0};
}

int cli_take_signal(void)
{
    int number = last_signal;
    last_signal = 0;
    atomic_store(&interrupted, false);
    (void)cli_progress();
    return number;
}

const umbra_progress *cli_progress(void)
{
    static const umbra_progress progress = {.report = report, .interrupted = &interrupted};
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return &progress;
}

/* ---- small things ---- */

const char *cli_size(uint64_t bytes)
{
    static char ring[8][32];
    static int next;
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1000 && unit < 5) {
        value /= 1000;
        unit++;
    }
    char *out = ring[next++ % 8];
    snprintf(out, sizeof ring[0],
             unit == 0    ? "%.0f %s"
             : value < 10 ? "%.2f %s"
                          : "%.1f %s",
             value, units[unit]);
    return out;
}

const char *cli_plain(const char *text)
{
    static char plain[4 * PATH_MAX];
    umbra_plain_text(plain, sizeof plain, text, strlen(text));
    return plain;
}

static int read_failed(const char *path, const char *why)
{
    fprintf(stderr, "umbra: %s: cannot read: %s\n", cli_plain(path), why);
    return EXIT_FAILED;
}

void cli_print_notes(const umbra_model *model)
{
    const char *note;
    for (int i = 0; (note = umbra_model_get_note(model, i)) != NULL; i++)
        fprintf(stderr, "umbra: note: %s\n", note);
}

size_t cli_most_text(uint64_t ram, size_t most)
{
    enum { TEXT_SHARE = 8 }; /* a byte may become a token of 4 bytes, in a list that grows */
    return ram > 0 && ram / TEXT_SHARE < most ? (size_t)(ram / TEXT_SHARE) : most;
}

int cli_read_file(const char *path, size_t most, char **text, size_t *bytes)
{
    *text = NULL;
    *bytes = 0;
    bool standard = strcmp(path, "-") == 0;
    FILE *f = standard ? stdin : fopen(path, "rbe");
    if (!f)
        return read_failed(path, strerror(errno));
    size_t room = 1 << 16, used = 0;
    char *data = malloc(room);
    while (data) {
        used += fread(data + used, 1, room - used - 1, f);
        if (used < room - 1 || used > most)
            break;
        room = room < most / 2 ? room * 2 : most + 2; /* one more shows that there is more */
        char *larger = realloc(data, room);
        if (!larger)
            free(data);
        data = larger;
    }
    int error = ferror(f) ? errno : 0;
    if (!standard)
        fclose(f);
    if (!data)
        return read_failed(path, strerror(ENOMEM));
    if (error || used > most) {
        char size[64];
        snprintf(size, sizeof size, "it has more than %s, the most that fits", cli_size(most));
        free(data);
        return read_failed(path, error ? strerror(error) : size);
    }
    data[used] = '\0';
    *text = data;
    *bytes = used;
    return 0;
}
