/* Runs another program in turn with ours and reads its speed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/bench/bench.h"

/* How programs write a speed: a number and one of these, or a key of llama-bench's JSON. */
static const char *const units[] = {"tok/s", "t/s", "tokens/s", "tokens per second"};
static const char key[] = "\"avg_ts\":";

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* The last speed in the text; 0: none. */
static double last_speed(const char *text)
{
    double speed = 0;
    for (const char *p = text; *p;) {
        if (begins_with(p, key)) {
            speed = strtod(p + strlen(key), NULL);
            p += strlen(key);
            continue;
        }
        char *end;
        double number = *p >= '0' && *p <= '9' ? strtod(p, &end) : 0;
        if (!(*p >= '0' && *p <= '9') || end == p) {
            p++;
            continue;
        }
        const char *after = end + strspn(end, " ");
        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
            if (begins_with(after, units[i]))
                speed = number;
        p = end;
    }
    return speed;
}

int umbra_bench_peer(const char *command, double *tok_s, umbra_error *err)
{
    *tok_s = 0;
    FILE *pipe = popen(command, "r");
    if (!pipe)
        return umbra_fail(err, UMBRA_E_SYSTEM, "cannot run \"%s\": %s", command, strerror(errno));
    size_t used = 0, room = 0;
    char *text = NULL;
    for (;;) {
        if (used + 4096 > room) {
            char *larger = umbra_reallocarray(text, room + 65536, 1);
            if (!larger)
                break;
            text = larger;
            room += 65536;
        }
        size_t n = fread(text + used, 1, 4095, pipe);
        used += n;
        if (n == 0)
            break;
    }
    int status = pclose(pipe);
    if (text) {
        text[used] = '\0';
        *tok_s = last_speed(text);
    }
    umbra_free(text);
    /* A peer that is killed by a memory limit is a result, not a failure: its speed is 0. */
    if (WIFEXITED(status) && (WEXITSTATUS(status) == 126 || WEXITSTATUS(status) == 127))
        return umbra_fail(err, UMBRA_E_ARGUMENT, "cannot run \"%s\"", command);
    return UMBRA_OK;
}
