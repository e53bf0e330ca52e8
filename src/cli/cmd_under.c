/* umbra under: starts a program of llama.cpp's with its experts in Umbra's store. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/quote.h"
#include "cli/cli.h"

/* The library, as seen from the folder of this program: where it is built, where it is installed.
 */
static const char *const libraries[] = {"../libumbra-llama.so", UMBRA_LLAMA_INSTALLED};

static bool find_library(char out[PATH_MAX])
{
    char self[PATH_MAX], path[2 * PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash = n > 0 ? memrchr(self, '/', (size_t)n) : NULL;
    for (size_t i = 0; slash && i < sizeof libraries / sizeof libraries[0]; i++) {
        snprintf(path, sizeof path, "%.*s/%s", (int)(slash - self), self, libraries[i]);
        if (realpath(path, out))
            return true;
    }
    return false;
}

/* Where the shell would find the program. */
static bool find_program(const char *name, char out[PATH_MAX])
{
    const char *path = getenv("PATH");
    if (strchr(name, '/') || !path) {
        snprintf(out, PATH_MAX, "%s", name);
        return access(out, X_OK) == 0;
    }
    while (*path) {
        int n = (int)strcspn(path, ":");
        snprintf(out, PATH_MAX, "%.*s/%s", n > 0 ? n : 1, n > 0 ? path : ".", name);
        if (access(out, X_OK) == 0)
            return true;
        path += n + (path[n] == ':');
    }
    return false;
}

/* Whether nothing can be loaded before the program, which has no loader. Scripts have that of their
 * interpreter. */
static bool is_static(const char *path)
{
    Elf64_Ehdr head;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool loaded = fd < 0 || read(fd, &head, sizeof head) != sizeof head ||
                  memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
                  head.e_ident[EI_CLASS] != ELFCLASS64;
    for (int i = 0; !loaded && i < head.e_phnum; i++) {
        Elf64_Phdr part;
        off_t at = (off_t)(head.e_phoff + (uint64_t)i * head.e_phentsize);
        loaded = pread(fd, &part, sizeof part, at) != sizeof part || part.p_type == PT_INTERP;
    }
    if (fd >= 0)
        close(fd);
    return !loaded;
}

typedef struct under {
    uint64_t ram, experts;
    const char *prefetch, *shadow, *io, *collect;
    int metrics; /* port; 0: none */
    bool stats;
} under;

static void set_size(const char *name, uint64_t bytes)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, bytes);
    if (bytes > 0)
        setenv(name, text, 1);
}

static void set_text(const char *name, const char *value)
{
    if (value)
        setenv(name, value, 1);
}

/* What the library is told, and that it is loaded. */
static void set_environment(const under *u, const char *library)
{
    const char *others = getenv("LD_PRELOAD");
    char all[2 * PATH_MAX];
    snprintf(all, sizeof all, "%s%s%s", library, others && *others ? ":" : "",
             others ? others : "");
    setenv("LD_PRELOAD", all, 1);
    setenv("UMBRA_UNDER", "1", 1);
    set_size("UMBRA_UNDER_RAM", u->ram);
    set_size("UMBRA_UNDER_EXPERTS", u->experts);
    set_text("UMBRA_UNDER_PREFETCH", u->prefetch);
    set_text("UMBRA_UNDER_SHADOW", u->shadow);
    set_text("UMBRA_UNDER_IO", u->io);
    set_text("UMBRA_UNDER_COLLECT", u->collect);
    set_size("UMBRA_UNDER_METRICS", (uint64_t)u->metrics);
    set_text("UMBRA_UNDER_STATS", u->stats ? "1" : NULL);
}

static int start(const under *u, char **program)
{
    char library[PATH_MAX], path[PATH_MAX];
    const char *name = umbra_quote(program[0], strlen(program[0])).text;
    if (!find_library(library)) {
        fputs("umbra: libumbra-llama.so is not where this umbra was built or installed\n", stderr);
        return EXIT_FAILED;
    }
    if (!find_program(program[0], path)) {
        fprintf(stderr, "umbra: there is no program \"%s\" to run\n", name);
        return EXIT_FAILED;
    }
    if (is_static(path)) {
        fprintf(stderr,
                "umbra: \"%s\" is linked statically: nothing can be loaded before it. Use a build "
                "with shared libraries, or call umbra/under.h from its source\n",
                name);
        return EXIT_FAILED;
    }
    set_environment(u, library);
    execv(path, program);
    fprintf(stderr, "umbra: cannot run \"%s\": %s\n", name, strerror(errno));
    return EXIT_FAILED;
}

/* Number of words before "--", which the program and its own words follow. */
static int own_words(int argc, char **argv)
{
    int n = 0;
    while (n < argc && strcmp(argv[n], "--") != 0)
        n++;
    return n;
}

int cli_under(int argc, char **argv)
{
    under u = {0};
    const cli_option options[] = {
        {"--experts", 0, CLI_SIZE, "SIZE",
         "hard budget for each model's experts, as 4G; at least the largest layer's. A model whose "
         "experts fit is left alone",
         &u.experts},
        {"--ram", 0, CLI_SIZE, "SIZE",
         "or: budget for the whole process; experts get what the rest leaves when a model is "
         "ready. One with room for twice its file and 1 GiB is left alone",
         &u.ram},
        {"--prefetch", 0, CLI_TEXT, "auto|off|gate|previous|shadow",
         "what experts are read ahead by (default: auto, the shadow model if one is named, else "
         "the model's own routers, while that saves time)",
         &u.prefetch},
        {"--shadow", 0, CLI_TEXT, "FILE", "shadow model to predict by", &u.shadow},
        {"--io", 0, CLI_TEXT, "auto|uring|threads|sim:RATE,LATENCY",
         "how experts are read (default: auto, io_uring where it can be used)", &u.io},
        {"--collect", 0, CLI_TEXT, "DIR",
         "record a trace of the prompts that are computed, to train a shadow model on", &u.collect},
        {"--stats", 0, CLI_FLAG, NULL,
         "print figures and what sets the pace when the program ends; `kill -USR1` prints them at "
         "any time",
         &u.stats},
        {"--metrics", 0, CLI_INT, "PORT",
         "answer GET http://127.0.0.1:PORT/metrics with live figures for Prometheus", &u.metrics, 1,
         65535},
        {0},
    };
    const cli_syntax syntax = {
        "under",
        "-- PROGRAM [ARGUMENT...]",
        "Runs a program that uses llama.cpp's shared libraries, and keeps the experts of its "
        "models in Umbra's store: read past the page cache, ahead of their use, within a budget. "
        "What it computes stays the same, bit for bit. Models without experts are left alone. "
        "Nothing of the program or its libraries is changed; weights are not repacked.",
        options,
        0,
        "umbra under --experts 8G -- llama-server -m MODEL.gguf\n"
        "umbra under --ram 12G --stats -- llama-cli -m MODEL.gguf -p \"Hello\"\n"};
    int n = own_words(argc, argv), code = cli_parse(&syntax, n, argv, NULL);
    if (code >= 0)
        return code;
    if (n + 1 >= argc) {
        fputs("umbra under: name the program behind \"--\", as in \"umbra under --experts 8G -- "
              "llama-server -m MODEL.gguf\"\n",
              stderr);
        return EXIT_MISUSE;
    }
    if (u.ram > 0 && u.experts > 0) {
        fputs("umbra under: give --ram or --experts, not both\n", stderr);
        return EXIT_MISUSE;
    }
    return start(&u, argv + n + 1);
}
