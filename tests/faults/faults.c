/* Commands on a small model, and what is left of them. */
#include "faults.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../model/make.h"
#include "base/random.h"

const command commands[] = {
    {.line = "inspect " MODEL},
    {.line = "inspect " MODEL " --json --ram 40M"},
    {.line = "help run"},
    {.line = "version"},
    {.line = "run " MODEL " -p the -n 6 --ignore-eos -t 2 --usage " OUT "/usage.json",
     .output = OUT "/usage.json"},
    {.line = "run " MODEL " -p the -n 6 --ignore-eos -t 2 --ram 40M --io threads --prefetch "
             "runahead"},
    {.line = "run " MODEL " -f " WORK "/text.txt -n 8 --draft lookup --temp 0.7 --top-k 9 --json "
             "--stats --profile --verify -t 2"},
    {.line = "run " MODEL " --chat --template " WORK "/chat.jinja --system the -n 4 -t 2"},
    {.line = "score " MODEL " --text " WORK "/text.txt --top 2 --experts --json -t 2"},
    {.line = "collect " MODEL " -o " OUT "/trace --tokens 600 --seed 3 --ctx 32 -t 2",
     .output = OUT "/trace",
     .resume = "collect " MODEL " -o " OUT "/trace --tokens 600 --seed 3 --ctx 32 -t 2 --resume"},
    {.line = "train " WORK "/trace -o " OUT "/x.st --epochs 2 --hidden 8 --batch 64 --averages "
             "none -t 2",
     .output = OUT "/x.st",
     .resume = "train " WORK "/trace -o " OUT "/x.st --epochs 2 --hidden 8 --batch 64 --averages "
               "none -t 2 --resume"},
    {.line = "quantize-shadow " WORK "/shadow.st " OUT "/i8.st --on " WORK "/held --force -t 2",
     .output = OUT "/i8.st"},
    {.line = "eval " WORK "/held --shadow " WORK "/shadow.st --report " OUT "/eval.html -t 2",
     .output = OUT "/eval.html"},
    {.line = "split " MODEL " " OUT " --ranks 2 --experts-of 1", .output = OUT "/model.gguf"},
    {.line = "bench " MODEL " --ram 40M --io threads --policy off --rounds 1 -n 4 --warm 1 -p the "
             "--report " OUT "/bench.html",
     .output = OUT "/bench.html"},
    {.line = "bench predictor --shadow " WORK "/shadow.st --calls 5"},
    {.line = "template " WORK "/chat.jinja " WORK "/case.json"},
    {.line = "template " WORK "/chat.jinja " WORK "/case.json --spans"},
    {.line = "under --experts 600K --io threads --stats -- " UMBRA_HOST " " MODEL},
};
const int n_commands = sizeof commands / sizeof *commands;

void shell(const char *line)
{
    if (system(line) != 0)
        fail_msg("%s", line);
}

const command *command_of(const char *first_words)
{
    for (int i = 0; i < n_commands; i++)
        if (strncmp(commands[i].line, first_words, strlen(first_words)) == 0)
            return &commands[i];
    fail_msg("no command \"%s\"", first_words);
    return NULL;
}

inject_result run_line(const char *line, const inject *what)
{
    char text[1024], *rest = text, *argv[64] = {(char *)(uintptr_t)UMBRA_CLI};
    inject w = what ? *what : (inject){0};
    int n = 1;
    w.out = SAID;
    w.err = TOLD;
    w.in = WORK "/lines.txt";
    snprintf(text, sizeof text, "%s", line);
    while (n < 63 && (argv[n] = strsep(&rest, " ")) != NULL)
        n++;
    argv[n] = NULL;
    return inject_run(&w, argv);
}

void run_good(const char *line)
{
    inject_result r = run_line(line, NULL);
    if (r.code != 0) {
        (void)!system("cat " TOLD " >&2");
        fail_msg("exit code %d: %s", r.code, line);
    }
}

int faults_set_up(void **state)
{
    (void)state;
    umbra_builder b;
    shell("rm -rf '" WORK "' && mkdir -p '" OUT "'");
    make_build(&b, &make_olmoe, NULL, NULL, NULL);
    umbra_builder_write(&b, MODEL);
    umbra_builder_release(&b);
    shell("echo 'The quick brown fox' >" WORK "/text.txt");
    shell("printf 'the\\nfox\\n' >" WORK "/lines.txt");
    shell("echo '{% for m in messages %}{{ m.content }}{% endfor %}' >" WORK "/chat.jinja");
    shell("echo '{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}' >" WORK "/case.json");
    run_good("collect " MODEL " -o " WORK "/trace --tokens 600 --seed 1 --ctx 32");
    run_good("collect " MODEL " -o " WORK "/held --tokens 200 --seed 2 --ctx 32");
    run_good("train " WORK "/trace -o " WORK "/shadow.st --epochs 1 --hidden 8 --averages none");
    return 0;
}

int faults_tear_down(void **state)
{
    (void)state;
    return system("rm -rf '" WORK "'");
}

void expect_order(const command *c, const char *what, int n, inject_result r)
{
    if (n == 0 && r.code != 0)
        fail_msg("%s: exit code %d: umbra %s", what, r.code, c->line);
    struct stat st;
    bool said = stat(TOLD, &st) == 0 && st.st_size > 0;
    if (r.late || r.code > 2 || (r.code != 0 && !said)) {
        (void)!system("cat " TOLD " >&2");
        fail_msg("%s %d: exit code %d%s%s: umbra %s", what, n, r.code, r.late ? ", hangs" : "",
                 said ? "" : ", without a word", c->line);
    }
}

void remove_output(const command *c)
{
    (void)c;
    shell("rm -rf '" OUT "' && mkdir '" OUT "'");
}

static uint64_t mix(uint64_t h, const void *data, size_t n)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < n; i++)
        h = (h ^ bytes[i]) * 0x100000001b3u;
    return h;
}

/* A shadow file says how long its training took, in a header of a length that depends on it. */
static void forget_seconds(char *text, size_t n)
{
    uint64_t header;
    static const char word[] = "seconds\\\":";
    memcpy(&header, text, sizeof header);
    if (n < 9 || text[8] != '{' || header > n - 8)
        return;
    char *at = memmem(text, 8 + (size_t)header, word, sizeof word - 1);
    if (at)
        memset(at, ' ', strcspn(at, ","));
    memset(text, 0, sizeof header);
}

static uint64_t hash_file(const char *path)
{
    static char text[4 << 20];
    uint64_t h = 0xcbf29ce484222325u;
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    forget_seconds(text, n);
    for (size_t i = 0; i < n; i++)
        if (text[i] != ' ')
            h = mix(h, &text[i], 1);
    return h;
}

uint64_t hash_of(const char *path)
{
    struct stat st;
    uint64_t sum = 1; /* does not depend on the order of names */
    if (stat(path, &st) != 0)
        return 0;
    if (S_ISREG(st.st_mode))
        return hash_file(path);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char file[1024];
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.')
            sum += mix(hash_of(file), e->d_name, strlen(e->d_name));
    }
    closedir(d);
    return sum;
}

bool file_says(const char *path, const char *words)
{
    static char text[1 << 16];
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    return strstr(text, words) != NULL;
}

/* The i-th of all, or of a part of them: "2/16" is the second of sixteen parts. */
static int sample_all(int i, int most, const char *which)
{
    int part, parts;
    if (sscanf(which, "%d/%d", &part, &parts) != 2)
        part = parts = 1;
    int n = part + i * parts;
    return n <= most ? n : 0;
}

int sample(int i, int most, int room)
{
    const char *all = getenv("UMBRA_ALL_FAULTS");
    if (all || most <= room)
        return sample_all(i, most, all ? all : "");
    return i < room ? 1 + (int)((int64_t)i * most / room) : 0;
}
